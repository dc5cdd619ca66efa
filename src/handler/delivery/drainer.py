"""Sends what waits, as permits come free: one drainer for a routing key, serving all targets with that key.

Nothing depends on it being the only one, on the index being current, or on any wake-up: the record's condition decides
who sends, and the permit when. A drainer that dies leaves everything where it was; a schedule starts the next one
within a minute.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from handler.delivery.backlog import BATCH, LOOK_SECONDS, NAP_SECONDS, Backlog, Taken, is_due_later
from handler.delivery.body import unpack
from handler.delivery.concurrency import MapConcurrently
from handler.delivery.limiter import BELIEVED_MS, RateLimiter
from handler.delivery.record import Record
from handler.delivery.sender import Sender
from handler.delivery.table import MAX_KEYS, DedupTable, Place
from handler.errors import (
    ExhaustedError,
    InvalidAlertError,
    NoTargetError,
    PublishError,
    QueueUnavailableError,
    TableMissingError,
    TableThrottledError,
    TableUnavailableError,
)
from handler.mapping import action_of
from handler.messages import WakeUp
from handler.outcome import Rejected, Skipped, SkipReason
from handler.report import Report
from handler.targets.target import Target, TargetSet

MAX_HANDOVERS = 3
"""So often a drainer hands over to the next by a message; the schedule's drainer, which takes over every minute, begins
a new chain. Lambda stops a chain of Lambda and SQS after about 16 invocations: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"""
LEAST_BATCH = 3
"""Deliveries at a time of each of many routing keys; ten keys are drained at a time."""
LINGER_SECONDS = 3.0
"""How long an idle drainer stays: longer than executions rely on what they last read of it."""
RENEW_SECONDS = 3.0
"""The interval between two renewals of a drainer's lease."""
RUN_SECONDS = 8.0
"""The end of an invocation in which no attempt begins, so that those under way can finish."""
LEASE_SECONDS = 30.0
"""The most time that one delivery may take."""
MAX_TRIES = 5
"""After this many claims without any answer, a waiting delivery counts as one that kills its sender."""
UNKNOWN_TARGET_SECONDS = 900.0
"""How long a delivery waits for a deleted target before it is dead-lettered."""
UNREAD_TARGET_SECONDS = 86_400.0
"""The same while a secret that could not be read may hold the target."""

type RecordAtOnce = Callable[[Sequence[Report]], None]
type Reject = Callable[[Report], Report]
type RejectRecord = Callable[[object, PublishError], Report]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drainer did.

    Attributes:
        count: of the deliveries.
        errors: what went wrong beside them.
        left: the name of a target for which something may wait at the end of the drainer's time; empty if nothing does.
    """

    count: int = 0
    errors: Sequence[PublishError] = ()
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drainer:
    """Drains what waits.

    Attributes:
        record_at_once: logs and counts deliveries as they end, for a drainer may be killed before it does.
        reject: puts a report's alert on the dead-letter queue; the report it returns says where that failed.
        reject_record: does the same with what cannot be read as an alert.
        record_exception: logs an unexpected exception, and returns it as an error.
        map_concurrently: sends the deliveries of one batch.
        map_keys: drains several routing keys.
        wake: starts the drainer that goes on for a target, after so many have handed over to each other.
        clock: epoch seconds.
    """

    sender: Sender
    table: DedupTable
    limiter: RateLimiter
    record_at_once: RecordAtOnce
    reject: Reject
    reject_record: RejectRecord
    record_exception: Callable[[Exception], PublishError]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    new_owner: Callable[[], str]
    wake: Callable[[str, int], None]
    map_concurrently: MapConcurrently = map
    map_keys: MapConcurrently = map

    def run(
        self,
        targets: TargetSet,
        deadline: float,
        wake_up: WakeUp,
        places: Sequence[Place] | None = None,
        *,
        wake_ups: int = 1,
    ) -> Drained:
        """Drain what a wake-up asks for: one routing key, or all that waits, each key at the same time.

        Args:
            targets: all targets.
            deadline: epoch seconds when the invocation must have ended.
            wake_up: what started this.
            places: all that waits, where it was read already.
            wake_ups: how many are followed at the same time; what they drain shares the threads.

        Raises:
            TableUnavailableError, TableMissingError: records cannot be read.
        """
        woken = targets.named(wake_up.target) if wake_up.target else None
        if woken and woken.type != "none":
            group = targets.with_key(woken.routing_key)
            return self._hand_over(self.drain(group, deadline, batch=_batch_size(wake_ups)), wake_up)
        if places is None:
            places = list(self.table.all_waiting())
        keys, others = self._waiting_targets(targets, places)
        count = 0
        errors: list[PublishError] = []
        batch = _batch_size(max(len(keys), wake_ups))
        for drained in self.map_keys(
            lambda group: self.drain(group, deadline, takes_over=True, batch=batch), keys.values()
        ):
            self._hand_over(drained, wake_up)
            count += drained.count
            errors += drained.errors
        try:
            count += self._end_without_key(others, targets, deadline)
        except (TableUnavailableError, TableMissingError) as error:
            errors.append(error)
        return Drained(count=count, errors=errors)

    def _hand_over(self, drained: Drained, wake_up: WakeUp) -> Drained:
        """Wake the next drainer if something may be left; after too many handovers in a row the schedule does."""
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

    def drain(
        self, targets: Sequence[Target], deadline: float, *, takes_over: bool = False, batch: int = BATCH
    ) -> Drained:
        """Send what waits for these targets, which share a routing key, until nothing waits or time is up.

        Args:
            targets: one or more.
            deadline: epoch seconds when the invocation must have ended.
            takes_over: whether it takes the lease from a drainer at work.
            batch: the most deliveries at a time.
        """
        run = _Run(Backlog(targets, self.table, self.limiter, self.clock, batch), self.new_owner(), deadline)
        try:
            while self._leads(run, takes_over=takes_over and not run.renewed_at):
                run.renewed_at = self.clock()
                try:
                    left = self._drain_until_idle(run)
                finally:
                    self._patiently(run, lambda: self.limiter.leave(run.backlog.key, run.me, self.clock()))
                if run.is_replaced or left:
                    return Drained(count=run.count, errors=run.errors, left=left)
                # arrivals that saw this lease have not woken a drainer
                self.sleep(BELIEVED_MS / 1000 + NAP_SECONDS)
                self._patiently(run, run.backlog.look)
                if not run.backlog.places:
                    break
        except (TableUnavailableError, TableMissingError) as error:
            run.errors.append(error)
            return Drained(count=run.count, errors=run.errors, left=targets[0].name if error.retryable else "")
        except Exception as error:  # noqa: BLE001 - another key's drainer goes on; the schedule tries this one again
            run.errors.append(self.record_exception(error))
        return Drained(count=run.count, errors=run.errors)

    def _drain_until_idle(self, run: "_Run") -> str:
        """Send until nothing has waited for a moment; return the name of a target if time is up before.

        Something may be left then, though nothing is seen: arrivals that see this drainer's lease wake nobody.
        """
        backlog = run.backlog
        idle_since = self.clock()
        while True:
            now = self.clock()
            if now > run.deadline - RUN_SECONDS:
                return backlog.targets[0].name
            if not self._keeps_lease(run):
                run.is_replaced = True
                return ""
            if now - backlog.looked_at >= LOOK_SECONDS:
                self._patiently(run, backlog.look)
            if backlog.places:
                idle_since = now
            elif now - idle_since >= LINGER_SECONDS:
                return ""
            if batch := backlog.take():
                self._deliver_all(batch, run)
            else:
                self.sleep(backlog.pause_seconds())

    def _keeps_lease(self, run: "_Run") -> bool:
        """Renew the lease if it is time; return whether this drainer still has it."""
        now = self.clock()
        if now - run.renewed_at <= RENEW_SECONDS:
            return True
        run.renewed_at = now
        return self._leads(run)

    def _leads(self, run: "_Run", *, takes_over: bool = False) -> bool:
        """Take or renew the lease; return whether this drainer has it."""
        key, me = run.backlog.key, run.me
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

    # --- deliveries ---

    def _deliver_all(self, batch: Sequence[Taken], run: "_Run") -> None:
        """Deliver a batch, then log and count how its deliveries ended."""
        ended = list(self.map_concurrently(lambda taken: self.deliver(taken, run.backlog, run.deadline), batch))
        reports = [report for report in ended if isinstance(report, Report)]
        run.errors += [error for error in ended if isinstance(error, PublishError)]
        self.record_at_once(reports)
        run.count += len(reports)

    def deliver(self, taken: Taken, backlog: Backlog, deadline: float) -> Report | PublishError | None:
        """Deliver what waits in one record; whatever goes wrong does not affect the others.

        Returns:
            The report; None if it no longer waits; an unexpected exception as an error.
        """
        try:
            target = backlog.target_of(taken.place)
            report = self._send(taken, target, min(deadline, self.clock() + LEASE_SECONDS))
        except Exception as error:  # noqa: BLE001 - its lease is its pause, and its tries are counted
            return self.record_exception(error)
        if report:
            backlog.note(taken.place, report)
        return report

    def _send(self, taken: Taken, target: Target, deadline: float) -> Report | None:
        """Send what waits, or dead-letter what cannot be sent; return None if it no longer waits."""
        place, record, permit = taken
        if record.is_damaged:
            return self._reject(place, record, InvalidAlertError("its record cannot be read"))
        if record.tries >= MAX_TRIES:
            error = ExhaustedError(f"claimed {record.tries} times without an answer: it may kill the function")
            return self._reject(place, record, error)
        try:
            report = self.sender.deliver_waiting(place.identity, record, target, permit, deadline)
        except InvalidAlertError:
            return self._reject(place, record, InvalidAlertError("it cannot be sent"))
        if report and isinstance(report.result, Rejected):
            return self._finish(place, record, self.reject(report))
        return report

    def _end_without_key(self, places: Sequence[Place], targets: TargetSet, deadline: float) -> int:
        """End deliveries that wait for a target that does not page, or that was deleted, until time is up.

        The first is skipped; the second becomes a dead letter after a quarter of an hour.
        """
        now = round(self.clock() * 1000)
        count = 0
        for start in range(0, len(places), MAX_KEYS):
            chosen = places[start : start + MAX_KEYS]
            records = self.table.read([place.identity for place in chosen], now)
            for place in chosen:
                if self.clock() > deadline:
                    return count
                record, target = records.pop(place.identity, None), targets.named(place.target)
                if record is None or not record.can_be_drained(now):
                    continue
                if target is not None:
                    report = Report(result=Skipped(reason=SkipReason.NO_PAGE), target=place.target)
                    report = self._finish(place, record, report)
                elif now - place.due > (UNREAD_TARGET_SECONDS if targets.is_partial else UNKNOWN_TARGET_SECONDS) * 1000:
                    what = f"no target is named {place.target!r} any more: restore its secret, then redrive"
                    report = self._reject(place, record, NoTargetError(what))
                else:
                    continue
                self.record_at_once([report])
                count += 1
        return count

    def _reject(self, place: Place, record: Record, error: PublishError) -> Report:
        """Dead-letter what waits, and only then take it out of the index."""
        try:
            alert = unpack(record.body or b"")
            alert = alert if record.is_damaged else replace(alert, status=record.status)
        except InvalidAlertError as damage:
            invalid = InvalidAlertError(f"{error}; {damage}")
            report = self.reject_record({"id": place.identity}, invalid)
        else:
            rejected = Report(result=Rejected(error=error), alert=alert, action=action_of(alert), target=place.target)
            report = self.reject(rejected)
        return self._finish(place, record, report)

    def _finish(self, place: Place, record: Record, report: Report) -> Report:
        """Remove ended deliveries from the index; if that fails, they end again later."""
        if report.lost:
            return report
        try:
            self.sender.finish(place.identity, record)
        except (TableUnavailableError, TableMissingError) as error:
            return replace(report, errors=(*report.errors, error))
        return report


def _batch_size(drainers: int) -> int:
    """Return how many deliveries at a time each of so many drainers sends, which share the threads."""
    return max(LEAST_BATCH, BATCH // max(1, drainers))


@dataclass(slots=True)
class _Run:
    """One drainer at work.

    Attributes:
        me: whose lease it is.
        deadline: epoch seconds when the invocation must have ended.
        count: of the deliveries.
        errors: what went wrong beside them.
        renewed_at: when the lease was taken or renewed, in epoch seconds.
        is_replaced: whether another drainer has taken the lease over.
    """

    backlog: Backlog
    me: str
    deadline: float
    count: int = 0
    errors: list[PublishError] = field(default_factory=list)
    renewed_at: float = 0.0
    is_replaced: bool = False
