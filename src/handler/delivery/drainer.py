"""Sends what waits, as permits come free: one drainer for a routing key, serving all targets with that key.

Nothing depends on it being the only one, on the index being current, or on any wake-up: the record's condition decides
who sends, and the permit when. A drainer that dies leaves everything where it was; a schedule starts the next one
within a minute.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Protocol

from pydantic import SecretStr

from handler.delivery.body import unpack
from handler.delivery.limiter import BELIEVED_MS, NoPermitError, Permit, RateLimiter, Refusal, Taker
from handler.delivery.rate import Window, may_drain, segment_of
from handler.delivery.record import Order, Record
from handler.delivery.sender import Sender
from handler.delivery.table import MAX_KEYS, DedupTable, Place
from handler.errors import (
    ExhaustedError,
    InvalidAlertError,
    NoTargetError,
    PublishError,
    QueueUnavailableError,
    TableContendedError,
    TableMissingError,
    TableThrottledError,
    TableUnavailableError,
)
from handler.mapping import action_of
from handler.messages import WakeUp
from handler.outcome import Deferred, Rejected, Skipped, SkipReason
from handler.report import Report
from handler.targets.target import Target, TargetSet

BATCH = 30
"""Deliveries at a time. They share the connections; a burst takes its permits in few writes."""
VISIBLE = 50
"""Entries of each shard of the index that one look reads."""
LOOK_SECONDS = 1.0
"""The interval between two looks at the index."""
NAP_SECONDS = 0.05
"""The shortest pause."""
CATCH_UP_MS = 2000
"""How much of the pace a drainer may make up after a pause, such as between two drainers."""
LINGER_SECONDS = 3.0
"""How long an idle drainer stays: longer than executions rely on what they last read of it."""
RENEW_SECONDS = 3.0
RUN_SECONDS = 8.0
"""The end of an invocation in which no attempt begins, so that those under way can finish."""
UNKNOWN_TARGET_SECONDS = 900.0
"""How long a delivery waits for a deleted target before it is dead-lettered."""
UNREAD_TARGET_SECONDS = 86_400.0
"""The same while a secret that could not be read may hold the target."""
MAX_TRIES = 5
"""After this many claims without any answer, a waiting delivery counts as one that kills its sender."""
SUSPECT_TRIES = 1
"""A delivery that was claimed this often without an answer may kill its sender: it goes last, and alone."""
HIDDEN_SECONDS = 5.0
"""How long the index may still show a settled delivery."""
LEASE_SECONDS = 30.0
"""The most time that one delivery may take."""


MAX_HANDOVERS = 3
"""So often a drainer hands over to the next by a message; the schedule's drainer, which takes over every minute, begins
a new chain. Lambda stops a chain of Lambda and SQS after about 16 invocations: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"""
REQUEST = {"drain": True}
"""The invocation that drains everything: the input of the schedule in the template."""


class MapConcurrently(Protocol):
    """Calls a function for each of several things, as the built-in `map` does, but perhaps at the same time."""

    def __call__[A, B](self, function: Callable[[A], B], things: Iterable[A], /) -> Iterable[B]:
        """Return the results in the order of the things."""
        ...


type Tell = Callable[[Sequence[Report]], None]
type Reject = Callable[[Report], Report]
type RejectRecord = Callable[[object, PublishError], Report]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drainer did.

    Attributes:
        count: of the deliveries.
        errors: what went wrong beside them.
        left: the name of a target for which something still waits at the end of the drainer's time; empty if nothing
            does.
    """

    count: int = 0
    errors: Sequence[PublishError] = ()
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drainer:
    """Drains what waits.

    Attributes:
        tell: logs and counts deliveries as they end, for a drainer may be killed before it does.
        reject: puts a report's alert on the dead-letter queue; the report it returns says where that failed.
        reject_record: does the same with what cannot be read as an alert.
        explain: logs an unexpected exception, and returns it as an error.
        map_concurrently: sends the deliveries of one batch.
        map_keys: drains several routing keys.
        wake: starts the drainer that goes on for a target, after so many have handed over to each other.
        clock: epoch seconds.
    """

    sender: Sender
    table: DedupTable
    limiter: RateLimiter
    tell: Tell
    reject: Reject
    reject_record: RejectRecord
    explain: Callable[[Exception], PublishError]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    new_owner: Callable[[], str]
    wake: Callable[[str, int], None]
    map_concurrently: MapConcurrently = map
    map_keys: MapConcurrently = map

    def run(
        self, targets: TargetSet, deadline: float, wake_up: WakeUp, places: Sequence[Place] | None = None
    ) -> Drained:
        """Drain what a wake-up asks for: one routing key, or all that waits, each key at the same time.

        Args:
            targets: all targets.
            deadline: epoch seconds when the invocation must have ended.
            wake_up: what started this.
            places: all that waits, where it was read already.

        Raises:
            TableUnavailableError, TableMissingError: records cannot be read.
        """
        woken = targets.named(wake_up.target) if wake_up.target else None
        if woken and woken.type != "none":
            return self._hand_over(self.drain(targets.with_key(woken.routing_key), deadline), wake_up)
        if places is None:
            places = list(self.table.all_waiting())
        keys, others = self._waiting_targets(targets, places)
        count = 0
        errors: list[PublishError] = []
        for drained in self.map_keys(lambda group: self.drain(group, deadline, takes_over=True), keys.values()):
            self._hand_over(drained, wake_up)
            count += drained.count
            errors += drained.errors
        try:
            count += self._end_without_key(others, targets)
        except (TableUnavailableError, TableMissingError) as error:
            errors.append(error)
        return Drained(count=count, errors=errors)

    def _hand_over(self, drained: Drained, wake_up: WakeUp) -> Drained:
        """Wake the next drainer if something is left; after too many handovers in a row the schedule does."""
        if drained.left and wake_up.handovers < MAX_HANDOVERS:
            with suppress(QueueUnavailableError):
                self.wake(drained.left, wake_up.handovers + 1)
        return drained

    def _waiting_targets(
        self, targets: TargetSet, places: Sequence[Place]
    ) -> tuple[dict[str, list[Target]], list[Place]]:
        """Return the targets for which something waits, by routing key, and what waits for a target without a key."""
        now = self.clock()
        keys: dict[str, list[Target]] = {}
        others: list[Place] = []
        for place in places:
            target = targets.named(place.target)
            if target is None or target.type == "none":
                others.append(place)
            elif not is_due_later(place, now):
                key = target.routing_key.get_secret_value()
                keys.setdefault(key, targets.with_key(target.routing_key))
        return keys, others

    def drain(self, targets: Sequence[Target], deadline: float, *, takes_over: bool = False) -> Drained:
        """Send what waits for these targets, which share a routing key, until nothing waits or time is up.

        Args:
            targets: one or more.
            deadline: epoch seconds when the invocation must have ended.
            takes_over: whether it takes the lease from a drainer at work.
        """
        key, me = targets[0].routing_key, self.new_owner()
        run = _Run(targets, deadline)
        try:
            while self._leads(key, me, run, takes_over=takes_over and not run.renewed_at):
                run.renewed_at = self.clock()
                try:
                    left = self._drain(key, me, run)
                finally:
                    self._patiently(run, lambda: self.limiter.leave(key, me, self.clock()))
                if run.is_replaced or left or self.clock() > run.deadline - RUN_SECONDS:
                    return Drained(count=run.count, errors=run.errors, left=left)
                # arrivals that saw this lease have not woken a drainer
                self.sleep(BELIEVED_MS / 1000 + NAP_SECONDS)
                self._patiently(run, lambda: self._look(key, run))
                if not run.places:
                    break
        except (TableUnavailableError, TableMissingError) as error:
            run.errors.append(error)
            return Drained(count=run.count, errors=run.errors, left=targets[0].name if error.retryable else "")
        return Drained(count=run.count, errors=run.errors)

    def _leads(self, key: SecretStr, me: str, run: "_Run", *, takes_over: bool) -> bool:
        return bool(self._patiently(run, lambda: self.limiter.lead(key, me, self.clock(), takes_over=takes_over)))

    def _patiently[T](self, run: "_Run", call: Callable[[], T]) -> T | None:
        """Call again while DynamoDB throttles, as long as there is time; return None when there is none."""
        while True:
            try:
                return call()
            except TableThrottledError:
                if self.clock() > run.deadline - RUN_SECONDS:
                    return None
                self.sleep(LOOK_SECONDS)

    def _end_without_key(self, places: Sequence[Place], targets: TargetSet) -> int:
        """End deliveries that wait for a target that does not page, or that was deleted.

        The first is skipped; the second becomes a dead letter after a quarter of an hour.
        """
        now = round(self.clock() * 1000)
        count = 0
        for start in range(0, len(places), MAX_KEYS):
            chosen = places[start : start + MAX_KEYS]
            records = self.table.read([place.identity for place in chosen], now)
            for place in chosen:
                record, target = records.get(place.identity), targets.named(place.target)
                if record is None or not record.can_be_drained(now):
                    continue
                if target is not None:
                    report = Report(result=Skipped(reason=SkipReason.NO_PAGE), target=place.target)
                    report = self._finish(place.identity, record, report)
                elif now - place.due > (UNREAD_TARGET_SECONDS if targets.is_partial else UNKNOWN_TARGET_SECONDS) * 1000:
                    what = f"no target is named {place.target!r} any more: restore its secret, then redrive"
                    report = self._reject(place.identity, record, place.target, NoTargetError(what))
                else:
                    continue
                self.tell([report])
                count += 1
        return count

    def _drain(self, key: SecretStr, me: str, run: "_Run") -> str:
        """Return the name of a target for which something is left when time is up, or may be."""
        idle_since = self.clock()
        while True:
            now = self.clock()
            if now > run.deadline - RUN_SECONDS:
                return run.targets[0].name if run.places or not run.has_looked else ""
            if not self._keeps_lease(key, me, run):
                run.is_replaced = True
                return ""
            if now - run.looked_at >= LOOK_SECONDS:
                self._patiently(run, lambda: self._look(key, run))
            if run.places:
                idle_since = now
            elif now - idle_since >= LINGER_SECONDS:
                return ""
            batch = self._next(key, run)
            if batch:
                ended = self.map_concurrently(lambda taken: self._deliver(taken, run), batch)
                reports = [report for report in ended if report]
                self.tell(reports)
                run.count += len(reports)
            else:
                self.sleep(self._pause_seconds(run))

    def _pause_seconds(self, run: "_Run") -> float:
        """Return how long nothing can happen: until a permit comes free, or the index is read again."""
        now = self.clock()
        until = run.looked_at + LOOK_SECONDS
        if run.places:
            is_small = len(run.places) <= 2 * self.limiter.limit.all
            window = run.window.at(segment_of(round(now * 1000)))
            free_at = window.free_at(self.limiter.limit.lesser, round(now * 1000)) if is_small else run.paced_until
            free_at = max(free_at / 1000, run.held_until)
            until = min(until, free_at if free_at > now else now + 0.25)
        return max(NAP_SECONDS, until - now)

    def _keeps_lease(self, key: SecretStr, me: str, run: "_Run") -> bool:
        """Renew the lease if it is time; return whether this drainer still has it."""
        now = self.clock()
        if now - run.renewed_at <= RENEW_SECONDS:
            return True
        run.renewed_at = now
        return self._leads(key, me, run, takes_over=False)

    def _look(self, key: SecretStr, run: "_Run") -> None:
        """Read the index and the window."""
        now = self.clock()
        found = [place for target in run.targets for place in self.table.waiting(target.name, VISIBLE)]
        run.places = [place for place in found if not is_due_later(place, now)]
        run.hidden = {identity: until for identity, until in run.hidden.items() if until > now}
        run.window = self.limiter.look(key, now)
        run.looked_at = now

    def _next(self, key: SecretStr, run: "_Run") -> list["_Taken"]:
        """Choose the next deliveries, and take a permit for each."""
        now = self.clock()
        now_ms = round(now * 1000)
        candidates = in_turn([place for place in run.places if run.hidden.get(place.identity, 0.0) <= now], run)
        if not candidates or not self._may_take(candidates[0], run, now_ms, 0):
            return []
        chosen = self._choose(candidates, run, now_ms)
        if not chosen:
            return []
        permit = self._take(key, run, len(chosen))
        if permit is None:
            return []
        run.took(permit, [place for place, _ in chosen], now_ms, self.limiter.limit.interval_ms)
        for place, _ in chosen:
            run.hide(place, now + HIDDEN_SECONDS)
        return [_Taken(place, record, permit) for place, record in chosen]

    def _choose(self, candidates: Sequence[Place], run: "_Run", now_ms: int) -> list[tuple[Place, Record]]:
        """Return the deliveries for which there may be permits, at most one batch."""
        found = self._read(candidates[:BATCH], run)
        if run.window.probe_at is not None:
            # the probe: the most urgent that has not failed, else the one that failed longest ago
            return sorted(found, key=lambda pair: pair[1].lease_until)[:1]
        chosen: list[tuple[Place, Record]] = []
        for place, record in found:
            is_suspect = record.tries >= SUSPECT_TRIES  # it may kill this drainer, so it goes last and alone
            if (is_suspect and chosen) or not self._may_take(place, run, now_ms, len(chosen)):
                break
            chosen.append((place, record))
            if is_suspect:
                break
        return chosen

    def _read(self, chosen: Sequence[Place], run: "_Run") -> list[tuple[Place, Record]]:
        """Return those of the places whose records may be sent now, suspects last."""
        now = self.clock()
        now_ms = round(now * 1000)
        try:
            records = self.table.read([place.identity for place in chosen], now_ms)
        except (TableThrottledError, TableContendedError):
            run.hold(now + LOOK_SECONDS)
            return []
        found: list[tuple[Place, Record]] = []
        for place in chosen:
            record = records.get(place.identity)
            if record is None or not record.waiting:
                run.hide(place, now + HIDDEN_SECONDS)  # settled; the index lags
            elif not record.can_be_drained(now_ms):
                run.hide(place, max(now + NAP_SECONDS, record.lease_until / 1000))
            else:
                found.append((place, record))
        return sorted(found, key=lambda pair: pair[1].tries)

    def _take(self, key: SecretStr, run: "_Run", count: int) -> Permit | None:
        """Take so many permits, or hold until there may be some."""
        try:
            return self.limiter.take(key, Taker.DRAINER, self.clock(), count=count)
        except NoPermitError as error:
            until = self.clock() + error.retry_after_seconds
            run.hold(until if error.refusal is Refusal.CLOSED else min(until, self.clock() + LOOK_SECONDS))
        except TableThrottledError:
            run.hold(self.clock() + LOOK_SECONDS)
        return None

    def _may_take(self, place: Place, run: "_Run", now_ms: int, taken: int) -> bool:
        """Whether a permit may be taken for it now, after `taken` others, as far as is known without asking."""
        if self.clock() < run.held_until:
            return False
        window = run.window.at(segment_of(now_ms))
        if window.blocked_until > now_ms or (window.probe_at is not None and window.probe_at > now_ms):
            return False
        if place.order is Order.CRITICAL or window.probe_at is not None:
            return window.used + taken < self.limiter.limit.all
        return may_drain(window, self.limiter.limit, len(run.places), now_ms, run.paced_until, taken)

    def _deliver(self, taken: "_Taken", run: "_Run") -> Report | None:
        """Deliver one; its failure does not affect the others."""
        identity, record = taken.place.identity, taken.record
        target = next(target for target in run.targets if target.name == taken.place.target)
        try:
            if record.tries >= MAX_TRIES:
                error = ExhaustedError(f"claimed {record.tries} times without an answer: it may kill the function")
                return self._reject(identity, record, target.name, error)
            deadline = min(run.deadline, self.clock() + LEASE_SECONDS)
            report = self.sender.deliver_waiting(identity, record, target, taken.permit, deadline)
            if report and isinstance(report.result, Rejected):
                report = self._finish(identity, record, self.reject(report))
        except Exception as error:  # noqa: BLE001 - its lease is its pause, and its tries are counted
            run.errors.append(self.explain(error))
            return None
        if report and isinstance(report.result, Deferred):
            run.failed.add(identity)
            run.hide(taken.place, self.clock() + report.result.delay_seconds)
        elif report:
            run.failed.clear()
        return report

    def _reject(self, identity: str, record: Record, target: str, error: PublishError) -> Report:
        """Dead-letter what waits, and only then take it out of the index."""
        try:
            alert = replace(unpack(record.body or b""), status=record.status)
        except Exception as damage:  # noqa: BLE001 - an unreadable delivery must not wait forever
            report = self.reject_record({"id": identity}, InvalidAlertError(f"{error}; its body is damaged: {damage}"))
        else:
            rejected = Report(result=Rejected(error=error), alert=alert, action=action_of(alert), target=target)
            report = self.reject(rejected)
        return self._finish(identity, record, report)

    def _finish(self, identity: str, record: Record, report: Report) -> Report:
        """Remove ended deliveries from the index; if that fails, they end again later."""
        if report.lost:
            return report
        try:
            self.sender.finish(identity, record)
        except (TableUnavailableError, TableMissingError) as error:
            return replace(report, errors=(*report.errors, error))
        return report


@dataclass(frozen=True, slots=True)
class _Taken:
    """A delivery with a permit taken for it."""

    place: Place
    record: Record
    permit: Permit


@dataclass(slots=True)
class _Run:
    """What a drainer knows while it runs."""

    targets: Sequence[Target]
    deadline: float
    count: int = 0
    errors: list[PublishError] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    hidden: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    window: Window = field(default_factory=lambda: Window(0))
    looked_at: float = float("-inf")
    renewed_at: float = 0.0
    held_until: float = 0.0
    paced_until: float = 0.0
    alternates: bool = False
    is_replaced: bool = False

    @property
    def has_looked(self) -> bool:
        """Whether the index was read at all."""
        return self.looked_at > float("-inf")

    def hide(self, place: Place, until: float) -> None:
        """Skip a place until then."""
        self.hidden[place.identity] = until

    def hold(self, until: float) -> None:
        """Do not ask for a permit before this time."""
        self.held_until = until

    def took(self, permit: Permit, places: Sequence[Place], now_ms: int, interval_ms: float) -> None:
        """Use the window that came with a permit."""
        self.window = permit.window
        lesser = [place for place in places if place.order is not Order.CRITICAL]
        if lesser:
            self.paced_until = max(self.paced_until, now_ms - CATCH_UP_MS) + interval_ms * len(lesser)
            self.alternates = lesser[-1].order is Order.TRIGGER


def in_turn(places: Sequence[Place], run: "_Run") -> list[Place]:
    """Return the order in which places are served: critical triggers, then triggers alternating with what follows.

    Within an order by age, but what has failed in this run goes last, so that a bad delivery is not the only probe.
    """
    by_order: dict[Order, list[Place]] = {order: [] for order in Order}
    for place in sorted(places, key=lambda place: (place.identity in run.failed, place)):
        by_order[place.order].append(place)
    first, second = by_order[Order.TRIGGER], by_order[Order.FOLLOWING]
    if run.alternates:
        first, second = second, first
    turns = [place for pair in zip_longest(first, second) for place in pair if place]
    return [*by_order[Order.CRITICAL], *turns, *by_order[Order.REPEAT]]


def is_due_later(place: Place, now: float) -> bool:
    """Whether a place is of a repeat whose time has not come."""
    return place.order is Order.REPEAT and place.due > now * 1000
