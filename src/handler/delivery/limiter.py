"""The rate limit of a routing key, shared by all executions through one item of the table. Arithmetic is in `rate`.

Taking a permit is one conditional increment; only the first permit of a segment rewrites the window, by
compare-and-set on what was read, or on what this execution left behind if it seems to be alone with the key. The item
also says whether a drainer is at work, whether PagerDuty asked for a pause, and whether the key is suspended. It stays
below 1 KB: a larger one takes 500 writes a second instead of 1,000.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import SecretStr

from handler.delivery.dynamodb import KEY, TTL_ATTRIBUTE, Table, number
from handler.delivery.rate import SEGMENT_MS, SEGMENTS, WINDOW_MS, Limit, Window, segment_of
from handler.errors import PublisherErrorReason
from handler.pagerduty.errors import RateLimitExceededError

MAX_ROUNDS = 12
"""How often a lost race for the window is repeated before the caller has to wait."""
KEPT_SECONDS = 3600
WOKEN_MS = 5000
"""How long a wake-up counts as on its way."""
LEASE_MS = 20_000
"""A drainer's lease: longer than a batch takes in which every request times out. It is renewed."""
BELIEVED_MS = 1000
"""How long an execution relies on what it last read of a drainer; shorter than an idle drainer stays."""
_SLOT = "t"
_UNBLOCKED = "(attribute_not_exists(#blocked_until) OR #blocked_until <= :now)"
_NO_DRAINER = "(attribute_not_exists(#drain_until) OR #drain_until <= :now)"
_NOT_SUSPENDED = "attribute_not_exists(#probe_at)"


class Taker(StrEnum):
    """Who asks for a permit."""

    CRITICAL = "critical"
    """A critical trigger: may use the permits that are kept, and need not wait while a drainer runs."""
    LESSER = "lesser"
    """Any other new arrival: it waits while a drainer runs."""
    DRAINER = "drainer"
    """What waited; the drainer itself keeps permits for critical triggers."""


class Refusal(StrEnum):
    """Why there is no permit."""

    LIMIT = "limit"
    DRAINER = "drainer"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    CONTENDED = "contended"


class NoPermitError(RateLimitExceededError):
    """No permit now; nothing was sent.

    Attributes:
        refusal: why.
        is_drained: whether a drainer is at work already, or was woken.
    """

    def __init__(self, refusal: Refusal, retry_after_seconds: float, *, is_drained: bool) -> None:
        is_suspended = refusal is Refusal.SUSPENDED
        suspended = (
            "PagerDuty was out of reach, or refused the routing key: it is tried again in "
            f"{retry_after_seconds:.1f} s, with one request"
        )
        super().__init__(retry_after_seconds, suspended if is_suspended else "")
        if is_suspended:
            self.reason = PublisherErrorReason.CIRCUIT_OPEN
        self.refusal = refusal
        self.is_drained = is_drained

    def again(self) -> "NoPermitError":
        """Return the same refusal as a new exception."""
        return NoPermitError(self.refusal, self.retry_after_seconds, is_drained=self.is_drained)


class Permit(NamedTuple):
    """The right to make one request.

    Attributes:
        window: as it is with this permit taken.
        is_probe: the key is suspended, and this request tests it.
    """

    window: Window
    is_probe: bool = False


class RateLimiter:
    """Hands out permits.

    Every method raises TableUnavailableError or TableMissingError where the table fails.

    Args:
        table: the table.
        requests_a_minute: never exceeded in any rolling minute, for one routing key.
    """

    def __init__(self, table: Table, requests_a_minute: float) -> None:
        self._table = table
        self.limit = Limit.of(requests_a_minute)
        self._left_behind: dict[str, Window] = {}
        self._crowded_until: dict[str, int] = {}
        self._refused: dict[str, tuple[int, NoPermitError]] = {}

    def take(self, routing_key: SecretStr, taker: Taker, now: float, *, count: int = 1) -> Permit:
        """Take one permit, or so many at once, at `now` (epoch seconds).

        Raises:
            NoPermitError: there are fewer.
        """
        identity, now_ms = _identity(routing_key), round(now * 1000)
        until, refused = self._refused.get(identity, (0, None))
        if taker is Taker.LESSER and refused and now_ms < until:
            raise refused.again()
        if permit := self._take_alone(identity, taker, now_ms, count):
            return permit
        window: Window | None = None
        for _ in range(MAX_ROUNDS):
            segment = max(segment_of(now_ms), window.segment if window else 0)
            if window is None or window.probe_at is None:
                taken, item = self._increment(identity, segment, taker, now_ms, count)
                window = _window(item)
                if taken:
                    return self._taken(identity, window.at(segment) if window else Window(segment), count)
            current = window.at(segment) if window else Window(segment)
            refusal = self._refusal(current, taker, now_ms, count)
            if refusal:
                raise self._remember(identity, current, refusal, taker, now_ms)
            is_probe = current.probe_at is not None
            is_next = window is None or window.segment < segment or is_probe
            if is_next and self._roll(identity, window, current, taker, now_ms, count):
                return self._taken(identity, current, count)
            if is_probe:
                break  # another execution probes
        raise NoPermitError(Refusal.CONTENDED, 1.0, is_drained=False)

    def _take_alone(self, identity: str, taker: Taker, now_ms: int, count: int) -> Permit | None:
        """Begin a segment on the last known window, with one call instead of two; None if others changed it since."""
        left, segment = self._left_behind.get(identity), segment_of(now_ms)
        if left is None or left.segment >= segment or self._crowded_until.get(identity, 0) > now_ms:
            return None
        current = left.at(segment)
        if current.probe_at is not None or self._refusal(current, taker, now_ms, count):
            return None
        if self._roll(identity, left, current, taker, now_ms, count):
            return self._taken(identity, current, count)
        self._crowded_until[identity] = now_ms + WINDOW_MS
        return None

    def look(self, routing_key: SecretStr, now: float) -> Window:
        """Return the window of a key, read consistently."""
        with self._table.calls() as client:
            answer: Any = client.get_item(
                TableName=self._table.name, Key={KEY: {"S": _identity(routing_key)}}, ConsistentRead=True
            )
        segment = segment_of(round(now * 1000))
        window = _window(answer.get("Item"))
        return window.at(segment) if window else Window(segment)

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None:
        """Stop handing out permits for this many seconds: PagerDuty answered 429."""
        until = round((now + seconds) * 1000)
        self._set(
            routing_key,
            now,
            update="#blocked_until = :until",
            condition="attribute_not_exists(#blocked_until) OR #blocked_until < :until",
            names=_names("blocked_until"),
            values={":until": until},
        )

    def suspend(self, routing_key: SecretStr, now: float, probe_seconds: float) -> None:
        """Hand out one permit per this many seconds, as a probe, until `resume`."""
        now_ms, probe_ms = round(now * 1000), round(probe_seconds * 1000)
        self._set(
            routing_key,
            now,
            update="#probe_at = :at, #probe_ms = :every",
            condition="attribute_not_exists(#probe_at) OR #probe_at < :at",
            names=_names("probe_at", "probe_ms"),
            values={":at": now_ms + probe_ms, ":every": probe_ms},
        )

    def resume(self, routing_key: SecretStr, now: float) -> None:
        """Hand out permits as usual again: PagerDuty answered."""
        self._refused.pop(_identity(routing_key), None)
        self._left_behind.pop(_identity(routing_key), None)
        self._set(
            routing_key,
            now,
            update="",
            remove="#probe_at, #probe_ms",
            condition="attribute_exists(#probe_at)",
            names=_names("probe_at", "probe_ms"),
            values={},
        )

    def wake(self, routing_key: SecretStr, now: float) -> bool:
        """Return whether the caller has to wake a drainer; False if one is at work or was woken."""
        now_ms = round(now * 1000)
        return self._set(
            routing_key,
            now,
            update="#drain_until = :until",
            remove="#drainer",
            condition=_NO_DRAINER,
            names=_names("drain_until", "drainer"),
            values={":until": now_ms + WOKEN_MS, ":now": now_ms},
        )

    def lead(self, routing_key: SecretStr, drainer: str, now: float, *, takes_over: bool = False) -> bool:
        """Take or renew the drainer's lease; return whether this drainer has it.

        Taking over ends the previous drainer at its next renewal; until then both may send, each with its own permits.
        """
        now_ms = round(now * 1000)
        return self._set(
            routing_key,
            now,
            update="#drain_until = :until, #drainer = :drainer",
            condition=None if takes_over else f"attribute_not_exists(#drainer) OR #drainer = :drainer OR {_NO_DRAINER}",
            names=_names("drain_until", "drainer"),
            values={":until": now_ms + LEASE_MS, ":drainer": drainer, **({} if takes_over else {":now": now_ms})},
        )

    def leave(self, routing_key: SecretStr, drainer: str, now: float) -> None:
        """Release the drainer's lease."""
        self._set(
            routing_key,
            now,
            update="",
            remove="#drain_until, #drainer",
            condition="#drainer = :drainer",
            names=_names("drain_until", "drainer"),
            values={":drainer": drainer},
        )

    def _set(
        self,
        routing_key: SecretStr,
        now: float,
        *,
        update: str,
        condition: str | None,
        names: Mapping[str, str],
        values: Mapping[str, Any],
        remove: str = "",
    ) -> bool:
        """Change the item's fields other than the window."""
        now_ms = round(now * 1000)
        sets = "#segment = if_not_exists(#segment, :segment), #used = if_not_exists(#used, :zero)"
        written, _ = self._table.update_if(
            _identity(routing_key),
            update=f"SET {sets}, #{TTL_ATTRIBUTE} = :ttl"
            + (f", {update}" if update else "")
            + (f" REMOVE {remove}" if remove else ""),
            condition=condition,
            names={**_names("segment", "used", TTL_ATTRIBUTE), **names},
            values={":segment": segment_of(now_ms), ":zero": 0, ":ttl": _expires_at(now_ms), **values},
        )
        return written

    def _taken(self, identity: str, before: Window, count: int) -> Permit:
        """Remember the window with the permit that was taken in its last segment."""
        counts = {**before.counts, before.segment: before.counts.get(before.segment, 0) + count}
        window = replace(before, counts=counts)
        self._left_behind[identity] = window
        return Permit(window, is_probe=before.probe_at is not None)

    def _remember(self, identity: str, window: Window, refusal: Refusal, taker: Taker, now_ms: int) -> NoPermitError:
        """Return the refusal; arrivals in the next moments are refused for the same reason without a call."""
        free_at = {
            Refusal.LIMIT: window.free_at(self._limit_of(taker), now_ms),
            Refusal.BLOCKED: window.blocked_until,
            Refusal.SUSPENDED: window.probe_at or now_ms,
        }.get(refusal, now_ms + BELIEVED_MS)
        is_drained = window.drain_until > now_ms
        error = NoPermitError(refusal, max(0.0, (free_at - now_ms) / 1000), is_drained=is_drained)
        if taker is Taker.LESSER and is_drained:
            self._refused[identity] = (min(now_ms + BELIEVED_MS, window.drain_until), error)
        return error

    def _limit_of(self, taker: Taker) -> int:
        return self.limit.lesser if taker is Taker.LESSER else self.limit.all

    def _refusal(self, window: Window, taker: Taker, now: int, count: int) -> Refusal | None:
        """Return why there is no permit; the conditions of the writes say the same."""
        if window.blocked_until > now:
            return Refusal.BLOCKED
        if window.probe_at is not None and window.probe_at > now:
            return Refusal.SUSPENDED
        if window.used + count > self._limit_of(taker):
            return Refusal.LIMIT
        if taker is Taker.LESSER and window.drain_until > now:
            return Refusal.DRAINER
        return None

    def _increment(
        self, identity: str, segment: int, taker: Taker, now_ms: int, count: int
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Take a permit in a segment that has begun, if there is one."""
        condition = f"#segment = :segment AND #used < :limit AND {_UNBLOCKED} AND {_NOT_SUSPENDED}"
        names = _names("segment", "used", "blocked_until", "probe_at")
        if taker is Taker.LESSER:
            condition += f" AND {_NO_DRAINER}"
            names |= _names("drain_until")
        return self._table.update_if(
            identity,
            update="SET #used = #used + :count, #slot = if_not_exists(#slot, :zero) + :count",
            condition=condition,
            names={**names, "#slot": _slot(segment)},
            values={
                ":segment": segment,
                ":count": count,
                ":zero": 0,
                ":limit": self._limit_of(taker) - count + 1,
                ":now": now_ms,
            },
        )

    def _roll(self, identity: str, read: Window | None, current: Window, taker: Taker, now_ms: int, count: int) -> bool:
        """Begin a segment or a probe and take a permit, if the window has not changed since it was read."""
        slot = _slot(current.segment)
        values: dict[str, Any] = {
            ":segment": current.segment,
            ":used": current.used + count,
            ":taken": current.counts.get(current.segment, 0) + count,
            ":ttl": _expires_at(current.segment * SEGMENT_MS),
        }
        names = {**_names("segment", "used", TTL_ATTRIBUTE), "#slot": slot}
        update = f"SET #segment = :segment, #used = :used, #slot = :taken, #{TTL_ATTRIBUTE} = :ttl"
        outdated = {_slot(taken) for taken in (read.counts if read else {}) if taken not in current.counts} - {slot}
        if read is None:
            condition = f"attribute_not_exists(#{KEY})"
            names |= _names(KEY)
        else:
            condition = f"#segment = :read_segment AND #used = :read_used AND {_UNBLOCKED}"
            names |= _names("blocked_until", "probe_at")
            values |= {":read_segment": read.segment, ":read_used": read.used, ":now": now_ms}
            if read.probe_at is None:
                condition += f" AND {_NOT_SUSPENDED}"
            else:
                condition += " AND #probe_at = :read_probe"
                update += ", #probe_at = :next_probe"
                values |= {":read_probe": read.probe_at, ":next_probe": now_ms + read.probe_ms}
            if taker is Taker.LESSER:
                condition += f" AND {_NO_DRAINER}"
                names |= _names("drain_until")
        if outdated:
            update += f" REMOVE {', '.join(f'#{name}' for name in sorted(outdated))}"
            names |= _names(*outdated)
        return self._table.update_if(identity, update=update, condition=condition, names=names, values=values)[0]


def _identity(routing_key: SecretStr) -> str:
    """Return the item's key, a digest, because no routing key may be in the table."""
    return f"permits#{hashlib.sha256(routing_key.get_secret_value().encode()).hexdigest()[:32]}"


def _slot(segment: int) -> str:
    """Return the attribute that counts the permits of a segment; the same one again when a period has passed."""
    return f"{_SLOT}{segment % SEGMENTS}"


def _names(*names: str) -> dict[str, str]:
    return {f"#{name}": name for name in names}


def _expires_at(now_ms: int) -> int:
    return now_ms // 1000 + KEPT_SECONDS


def _window(item: Mapping[str, Any] | None) -> Window | None:
    """Read an item; None where there is none."""
    if not item:
        return None
    segment = number(item, "segment") or 0
    counts = {
        segment - (segment - int(name.removeprefix(_SLOT))) % SEGMENTS: int(permits["N"])
        for name, permits in item.items()
        if name.startswith(_SLOT) and name.removeprefix(_SLOT).isdigit()
    }
    return Window(
        segment=segment,
        counts=counts,
        blocked_until=number(item, "blocked_until") or 0,
        drain_until=number(item, "drain_until") or 0,
        probe_at=number(item, "probe_at"),
        probe_ms=number(item, "probe_ms") or 0,
    )
