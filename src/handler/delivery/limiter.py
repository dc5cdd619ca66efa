"""The rate limit of a routing key, shared by all executions through one item of the table. Arithmetic is in `rate`.

Taking a turn is one conditional increment; only the first turn of a segment rewrites the window, by compare-and-set on
what was read, or on what this execution left behind if it seems to be alone with the key. Who gets no turn is told when
to come, by a place in the line, so that N who wait do not cost N² writes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from handler.delivery.dynamodb import (
    KEY,
    TTL_ATTRIBUTE,
    number,
    update_if,
)
from handler.delivery.rate import (
    PERIOD_MS,
    SEGMENT_MS,
    SEGMENTS,
    WINDOW_MS,
    Limit,
    Priority,
    Window,
    interval_ms,
    segment_of,
)
from handler.errors import RateLimitExceededError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

MAX_ROUNDS = 12
"""How often a lost race for the window is run again before the caller is sent to wait."""
KEPT_SECONDS = 3600
_SLOT = "turns_"
_UNBLOCKED = "(attribute_not_exists(#blocked_until) OR #blocked_until <= :now)"
_NO_LINE = "(attribute_not_exists(#line_until) OR #line_until <= :now)"


class RateLimiter:
    """Gives turns.

    Every method raises TableUnavailableError or TableMissingError where the table fails.

    Args:
        client: a DynamoDB client.
        table: the table's name.
        requests_a_minute: never exceeded in any rolling minute, for one routing key.
    """

    def __init__(self, client: "DynamoDBClient", table: str, requests_a_minute: float) -> None:
        self._client = client
        self._table = table
        self._limit = Limit.of(requests_a_minute)
        self._left_behind: dict[str, Window] = {}
        self._crowded_until: dict[str, int] = {}

    def take(self, routing_key: SecretStr, priority: Priority, now: float, turn_at: float | None = None) -> None:
        """Take one turn at `now` (epoch seconds), or say when to come again.

        Args:
            routing_key: whose minute.
            priority: who goes first when turns are short.
            now: epoch seconds.
            turn_at: the place in the line that an earlier refusal gave, in epoch seconds.

        Raises:
            RateLimitExceededError: no turn; has when to look again, and the place in the line to come with.
        """
        identity, now_ms = _identity(routing_key), round(now * 1000)
        has_place = turn_at is not None
        if self._take_alone(identity, priority, now_ms, has_place=has_place):
            return
        window: Window | None = None
        for _ in range(MAX_ROUNDS):
            segment = max(segment_of(now_ms), window.segment if window else 0)
            taken, item = self._increment(identity, segment, priority, now_ms, has_place=has_place)
            window = _window(item)
            if taken:
                self._leave_behind(identity, window.at(segment) if window else Window(segment))
                return
            current = window.at(segment) if window else Window(segment)
            if not current.has_turn(self._limit, priority, now_ms, has_place=has_place):
                raise self._refusal(identity, current, priority, now_ms, turn_at)
            if (window is None or window.segment < segment) and self._roll(
                identity, window, current, priority, now_ms, has_place=has_place
            ):
                return
        raise RateLimitExceededError(1.0, turn_at)

    def _take_alone(self, identity: str, priority: Priority, now_ms: int, *, has_place: bool) -> bool:
        """Begin a segment on what was left behind, in one call instead of two; true if nobody has been here since."""
        left, segment = self._left_behind.get(identity), segment_of(now_ms)
        if left is None or left.segment >= segment or self._crowded_until.get(identity, 0) > now_ms:
            return False
        current = left.at(segment)
        if not current.has_turn(self._limit, priority, now_ms, has_place=has_place):
            return False
        if self._roll(identity, left, current, priority, now_ms, has_place=has_place):
            return True
        self._crowded_until[identity] = now_ms + WINDOW_MS
        return False

    def _leave_behind(self, identity: str, before: Window) -> None:
        """Remember the window with the turn that was taken in its last segment."""
        counts = {**before.counts, before.segment: before.counts.get(before.segment, 0) + 1}
        self._left_behind[identity] = replace(before, counts=counts)

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None:
        """Let nobody take a turn for so many seconds: PagerDuty refused a request for its own limit."""
        until, segment = round((now + seconds) * 1000), segment_of(round(now * 1000))
        update_if(
            self._client,
            self._table,
            _identity(routing_key),
            update=(
                "SET #blocked_until = :until, #segment = if_not_exists(#segment, :segment), "
                f"#used = if_not_exists(#used, :zero), #{TTL_ATTRIBUTE} = :ttl"
            ),
            condition="attribute_not_exists(#blocked_until) OR #blocked_until < :until",
            names=_names("segment", "used", "blocked_until", TTL_ATTRIBUTE),
            values={":until": until, ":segment": segment, ":zero": 0, ":ttl": _expires_at(until)},
        )

    def _increment(
        self, identity: str, segment: int, priority: Priority, now_ms: int, *, has_place: bool
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Take a turn in a segment that has begun, if there is one; the same question as `Window.has_turn`."""
        condition = f"#segment = :segment AND #used < :limit AND {_UNBLOCKED}"
        names = _names("segment", "used", "blocked_until")
        if priority is Priority.LATER and not has_place:
            condition += f" AND {_NO_LINE}"
            names |= _names("line_until")
        return update_if(
            self._client,
            self._table,
            identity,
            update="SET #used = #used + :one, #now = if_not_exists(#now, :zero) + :one",
            condition=condition,
            names={**names, "#now": _slot(segment)},
            values={
                ":segment": segment,
                ":one": 1,
                ":zero": 0,
                ":limit": self._limit.of_priority(priority),
                ":now": now_ms,
            },
        )

    def _roll(
        self,
        identity: str,
        read: Window | None,
        current: Window,
        priority: Priority,
        now_ms: int,
        *,
        has_place: bool,
    ) -> bool:
        """Begin a segment with a turn taken, if the window is still as it was read, and nobody is held back since."""
        values: dict[str, Any] = {
            ":segment": current.segment,
            ":used": current.used + 1,
            ":one": 1,
            ":ttl": _expires_at(current.segment * SEGMENT_MS),
        }
        slot = _slot(current.segment)
        names = {**_names("segment", "used", TTL_ATTRIBUTE), "#now": slot}
        update = f"SET #segment = :segment, #used = :used, #now = :one, #{TTL_ATTRIBUTE} = :ttl"
        outdated = {_slot(taken) for taken in (read.counts if read else {}) if taken not in current.counts} - {slot}
        if outdated:
            update += f" REMOVE {', '.join(f'#{name}' for name in sorted(outdated))}"
            names |= _names(*outdated)
        if read is None:
            condition = f"attribute_not_exists(#{KEY})"
            names |= _names(KEY)
        else:
            condition = f"#segment = :read_segment AND #used = :read_used AND {_UNBLOCKED}"
            names |= _names("blocked_until")
            values |= {":read_segment": read.segment, ":read_used": read.used, ":now": now_ms}
            if priority is Priority.LATER and not has_place:
                condition += f" AND {_NO_LINE}"
                names |= _names("line_until")
        rolled, _ = update_if(
            self._client,
            self._table,
            identity,
            update=update,
            condition=condition,
            names=names,
            values=values,
        )
        if rolled:
            self._leave_behind(identity, current)
        return rolled

    def _refusal(
        self, identity: str, window: Window, priority: Priority, now_ms: int, turn_at: float | None
    ) -> RateLimitExceededError:
        """Make the error that says when to look again; who has no place in the line, or long passed it, gets one."""
        place = round(turn_at * 1000) if turn_at is not None else 0
        if place <= now_ms - PERIOD_MS:
            place = self._stand_in_line(identity, max(now_ms, window.blocked_until))
        looks_at = window.looks_at(self._limit, priority, place, now_ms)
        return RateLimitExceededError((looks_at - now_ms) / 1000, place / 1000)

    def _stand_in_line(self, identity: str, begins_at: int) -> int:
        """Add one to the line, which begins at this time where nobody stands in it; give the place."""
        interval = interval_ms(self._limit)
        for _ in range(MAX_ROUNDS):
            stands, item = update_if(
                self._client,
                self._table,
                identity,
                update="SET #line_until = #line_until + :interval",
                condition="#line_until > :begins",
                names=_names("line_until"),
                values={":interval": interval, ":begins": begins_at},
            )
            if stands and item:
                return (number(item, "line_until") or begins_at) + interval
            begun, _ = update_if(
                self._client,
                self._table,
                identity,
                update="SET #line_until = :first",
                condition="attribute_not_exists(#line_until) OR #line_until <= :begins",
                names=_names("line_until"),
                values={":first": begins_at + interval, ":begins": begins_at},
            )
            if begun:
                break
        return begins_at + interval


def _identity(routing_key: SecretStr) -> str:
    """Give the item's key: a digest, for the routing key itself is in no table."""
    return f"rate#{hashlib.sha256(routing_key.get_secret_value().encode()).hexdigest()[:32]}"


def _slot(segment: int) -> str:
    """Give the attribute that counts the turns of a segment; the same one again when a period has passed."""
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
        segment - (segment - int(name.removeprefix(_SLOT))) % SEGMENTS: int(turns["N"])
        for name, turns in item.items()
        if name.startswith(_SLOT)
    }
    return Window(
        segment=segment,
        counts=counts,
        blocked_until=number(item, "blocked_until") or 0,
        line_until=number(item, "line_until") or 0,
    )
