"""What waits for one routing key, as its drainer sees it: which deliveries go out next, and when.

The index and the window are read every second, and may be outdated at any time. A record is read before its delivery is
chosen, and whether there is a permit is decided where it is taken.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from handler.delivery.limiter import NoPermitError, Permit, RateLimiter, Taker
from handler.delivery.rate import Window, may_drain, segment_of
from handler.delivery.record import Order, Record
from handler.delivery.table import DedupTable, Place
from handler.errors import TableContendedError, TableThrottledError
from handler.identity import is_of_change
from handler.outcome import Deferred
from handler.report import Report
from handler.targets.target import Target

BATCH = 30
"""Deliveries at a time, of all routing keys. They share threads; a burst takes its permits in few writes."""
VISIBLE = 50
"""Entries of each shard of the index that one look reads."""
LOOK_SECONDS = 1.0
"""The interval between two looks at the index."""
NAP_SECONDS = 0.05
"""The shortest pause."""
CATCH_UP_MS = 2000
"""How much of the pace a drainer may make up after a pause, such as between two drainers."""
SUSPECT_TRIES = 1
"""A delivery that was claimed this often without an answer may kill its sender: it goes alone, last of its class."""
LAST_TRIES = 2
"""After so many it is the last of all: one death may have any cause, and must not put a page behind a storm."""
HIDDEN_SECONDS = 5.0
"""How long the index may still show a settled delivery."""
LOST_SECONDS = 60.0
"""How long a delivery pauses whose dead letter the queue did not take: each try costs a permit."""


class Taken(NamedTuple):
    """A delivery that goes out next.

    Attributes:
        permit: that was taken for it; None where nothing is sent: its target skips it by now, or it is damaged.
    """

    place: Place
    record: Record
    permit: Permit | None


class Backlog:
    """What waits for one routing key.

    Args:
        targets: all with that key.
        table: the records and their index.
        limiter: hands out permits.
        clock: epoch seconds.
        batch: the most deliveries at a time.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        table: DedupTable,
        limiter: RateLimiter,
        clock: Callable[[], float],
        batch: int = BATCH,
    ) -> None:
        self.targets = targets
        self.key = targets[0].routing_key
        self.places: list[Place] = []
        """What the last look found, without what is not due yet."""
        self.looked_at = float("-inf")
        self._table = table
        self._limiter = limiter
        self._clock = clock
        self._batch = batch
        self._window = Window(0)
        self._hidden_until: dict[str, float] = {}
        self._held_until = 0.0
        self._paced_until = 0.0
        self._alternates = False

    def look(self) -> None:
        """Read the index and the window."""
        now = self._clock()
        found = [place for target in self.targets for place in self._table.waiting(target.name, VISIBLE)]
        self.places = [place for place in found if not is_due_later(place, now)]
        self._hidden_until = {identity: until for identity, until in self._hidden_until.items() if until > now}
        self._window = self._limiter.look(self.key, now)
        self.looked_at = now

    def take(self) -> list[Taken]:
        """Choose the next deliveries, and take a permit for each; none if nothing can go out now.

        What is skipped or damaged goes first: it takes no permit, which others need, and is no probe.
        """
        now = self._clock()
        now_ms = round(now * 1000)
        visible = [place for place in self.places if self._hidden_until.get(place.identity, 0.0) <= now]
        candidates = in_turn(visible, alternates=self._alternates)
        if not candidates or not self._may_take(candidates[0], now_ms, 0):
            return []
        found = self._read(candidates[:BATCH])
        if skipped := [(place, record) for place, record in found if record.is_damaged or self._skips(place, record)]:
            return self._taken(skipped, None, now)
        chosen = self._choose(found, now_ms)
        if not chosen:
            return []
        permit = self._take_permits(len(chosen))
        if permit is None:
            return []
        self._window = permit.window
        self._pace([place for place, _ in chosen], now_ms)
        return self._taken(chosen, permit, now)

    def target_of(self, place: Place) -> Target:
        """Return the target of a delivery."""
        return next(target for target in self.targets if target.name == place.target)

    def note(self, place: Place, report: Report) -> None:
        """Remember how a delivery ended: one that failed pauses, so that it does not hold up the others."""
        if report.lost:
            self._hide(place, self._clock() + LOST_SECONDS)
        if isinstance(report.result, Deferred):
            self._hide(place, self._clock() + report.result.delay_seconds)

    def pause_seconds(self) -> float:
        """Return how long nothing can happen: until a permit comes free, or the index is read again."""
        now = self._clock()
        until = self.looked_at + LOOK_SECONDS
        if self.places:
            is_small = len(self.places) <= self._limiter.limit.large_backlog
            window = self._window.at(segment_of(round(now * 1000)))
            free_at = window.free_at(self._limiter.limit.lesser, round(now * 1000)) if is_small else self._paced_until
            free_at = max(free_at / 1000, self._held_until)
            until = min(until, free_at if free_at > now else now + 0.25)
        return max(NAP_SECONDS, until - now)

    def _taken(self, chosen: Sequence[tuple[Place, Record]], permit: Permit | None, now: float) -> list[Taken]:
        for place, _ in chosen:
            self._hide(place, now + HIDDEN_SECONDS)
        return [Taken(place, record, permit) for place, record in chosen]

    def _skips(self, place: Place, record: Record) -> bool:
        """Whether the target skips what waits: it was disabled meanwhile, or takes less than it did."""
        reason = self.target_of(place).skip_reason_of(
            record.status, record.urgency, is_change=is_of_change(place.identity), has_open_incident=record.open
        )
        return reason is not None

    def _choose(self, found: Sequence[tuple[Place, Record]], now_ms: int) -> list[tuple[Place, Record]]:
        """Return the deliveries for which there may be permits, at most one batch."""
        if self._window.probe_at is not None:
            # the probe: the most urgent that has not failed, else the one that failed longest ago
            return sorted(found, key=lambda pair: pair[1].lease_until)[:1]
        chosen: list[tuple[Place, Record]] = []
        for place, record in found[: self._batch]:
            is_suspect = record.tries >= SUSPECT_TRIES  # it may kill this drainer, so it goes alone
            if (is_suspect and chosen) or not self._may_take(place, now_ms, len(chosen)):
                break
            chosen.append((place, record))
            if is_suspect:
                break
        return chosen

    def _read(self, candidates: Sequence[Place]) -> list[tuple[Place, Record]]:
        """Return those of the places whose records may be sent now, suspects after the others."""
        now = self._clock()
        now_ms = round(now * 1000)
        try:
            records = self._table.read([place.identity for place in candidates], now_ms)
        except (TableThrottledError, TableContendedError):
            self._held_until = now + LOOK_SECONDS
            return []
        found: list[tuple[Place, Record]] = []
        for place in candidates:
            record = records.get(place.identity)
            if record is None or not (record.waiting or record.is_damaged):
                self._hide(place, now + HIDDEN_SECONDS)  # settled; the index lags
            elif not record.can_be_drained(now_ms):
                self._hide(place, max(now + NAP_SECONDS, record.lease_until / 1000))
            else:
                found.append((place, record))
        return sorted(found, key=_suspicion)

    def _may_take(self, place: Place, now_ms: int, taken: int) -> bool:
        """Whether a permit may be taken for it now, after `taken` others, as far as is known without asking."""
        if self._clock() < self._held_until:
            return False
        window, limit = self._window.at(segment_of(now_ms)), self._limiter.limit
        if window.blocked_until > now_ms or (window.probe_at is not None and window.probe_at > now_ms):
            return False
        if place.order is Order.CRITICAL or window.probe_at is not None:
            return window.used + taken < limit.all
        return may_drain(window, limit, len(self.places), now_ms, self._paced_until, taken)

    def _take_permits(self, count: int) -> Permit | None:
        """Take so many permits; without them, ask for none until there may be some, or the window is read again."""
        try:
            return self._limiter.take(self.key, Taker.DRAINER, self._clock(), count=count)
        except NoPermitError as error:
            self._held_until = self._clock() + min(error.retry_after_seconds, LOOK_SECONDS)
        except TableThrottledError:
            self._held_until = self._clock() + LOOK_SECONDS
        return None

    def _pace(self, places: Sequence[Place], now_ms: int) -> None:
        """Keep the pace of a large backlog, and let triggers alternate with what follows them."""
        lesser = [place for place in places if place.order is not Order.CRITICAL]
        if lesser:
            interval_ms = self._limiter.limit.interval_ms
            self._paced_until = max(self._paced_until, now_ms - CATCH_UP_MS) + interval_ms * len(lesser)
            self._alternates = lesser[-1].order is Order.TRIGGER

    def _hide(self, place: Place, until: float) -> None:
        """Skip a place until then."""
        self._hidden_until[place.identity] = until


def _suspicion(found: tuple[Place, Record]) -> tuple[bool, bool, int]:
    """Rank what may kill its sender behind the others of its class, critical or not, and at last behind all."""
    place, record = found
    return record.tries >= LAST_TRIES, place.order is not Order.CRITICAL, record.tries


def in_turn(places: Sequence[Place], *, alternates: bool = False) -> list[Place]:
    """Return the order in which places are served: critical triggers, then triggers alternating with what follows.

    Within an order the oldest goes first. `alternates` says whether it is the turn of what follows triggers.
    """
    by_order: dict[Order, list[Place]] = {order: [] for order in Order}
    for place in sorted(places):
        by_order[place.order].append(place)
    first, second = by_order[Order.TRIGGER], by_order[Order.FOLLOWING]
    if alternates:
        first, second = second, first
    turns = [place for pair in zip_longest(first, second) for place in pair if place]
    return [*by_order[Order.CRITICAL], *turns, *by_order[Order.REPEAT]]


def is_due_later(place: Place, now: float) -> bool:
    """Whether a place is of a repeat whose time has not come."""
    return place.order is Order.REPEAT and place.due > now * 1000
