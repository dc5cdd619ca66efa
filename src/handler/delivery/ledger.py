"""What a delivery writes into its record: it is claimed, settled when PagerDuty accepted it, or released.

Only the owner of a claim settles or releases it. `claims` decides, `transitions` says how a record changes, and `table`
writes it. If the end of a claim cannot be written, the error is returned, not raised: the claim ends with its lease,
and PagerDuty folds repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from handler.alert import Status
from handler.delivery import transitions
from handler.delivery.body import pack, unpack
from handler.delivery.claims import Decision, Verdict, decide
from handler.delivery.delivery import Delivery
from handler.delivery.record import Observation, Record, Waiting
from handler.delivery.retry import LONG_PAUSE_MS, PAUSE_MS, is_failure
from handler.delivery.table import Change, DedupTable
from handler.errors import PublishError, TableMissingError, TableUnavailableError
from handler.outcome import Deferred, Rejected, Result
from handler.pagerduty.client import Attempt
from handler.report import Report
from handler.targets.target import Target


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed delivery.

    Attributes:
        seen: the observation that is sent.
        before: the record before the claim; None where there was none.
        mine: the record as this claim left it.
        place: where the delivery waits if it cannot go out now.
        is_drained: whether a drainer sends it.
        waiting_milliseconds: how long it had waited.
    """

    delivery: Delivery
    seen: Observation
    before: Record | None
    mine: Record
    place: Waiting
    is_drained: bool = False
    waiting_milliseconds: float = 0.0

    @property
    def was_open(self) -> bool:
        """Whether an incident may have been open before the claim."""
        if self.delivery.was_sent_unclaimed:
            return True
        return self.before.open if self.before else self.seen.status is not Status.FIRING

    @property
    def failing_since(self) -> int | None:
        """Epoch milliseconds of the delivery's first failure; None where there was none."""
        if self.mine.failing_since is None and self.delivery.failing_since is not None:
            return round(self.delivery.failing_since * 1000)
        return self.mine.failing_since

    def report(self, result: Result, attempts: Sequence[Attempt] = (), errors: Sequence[PublishError] = ()) -> Report:
        """Return the report of a delivery that ended like this."""
        return self.delivery.report(
            result,
            attempts=attempts,
            errors=errors,
            known=self.before is not None,
            waiting_milliseconds=self.waiting_milliseconds,
        )


class Arrival(NamedTuple):
    """What became of a new arrival in its record.

    Attributes:
        claim: what this execution has to send; None where it sends nothing.
    """

    decision: Decision
    change: Change
    claim: Claim | None = None


class Ledger:
    """Keeps the records of deliveries.

    Args:
        table: the records.
        clock: epoch seconds.
        new_owner: a name for each claim, never returned twice.
        repeat_after_seconds: after which time the same state is sent again.
    """

    def __init__(
        self,
        table: DedupTable,
        *,
        clock: Callable[[], float],
        new_owner: Callable[[], str],
        repeat_after_seconds: float,
    ) -> None:
        self._table = table
        self._clock = clock
        self._new_owner = new_owner
        self._repeat_after_ms = round(repeat_after_seconds * 1000)

    def arrive(self, delivery: Delivery, deadline: float) -> Arrival:
        """Decide what to do with a new arrival, and write that into its record; a claim lasts until `deadline`.

        Raises:
            TableUnavailableError, TableMissingError: the table fails.
        """
        now, owner, seen = self._now(), self._new_owner(), delivery.observation()

        def decision_on(record: Record | None) -> Decision:
            return decide(seen, record, now, self._repeat_after_ms)

        def transition(record: Record | None) -> Record:
            return transitions.arrive(
                record,
                seen,
                decision_on(record),
                owner=owner,
                now=now,
                lease_until=round(deadline * 1000),
                pack=lambda: pack(delivery.alert),
                was_sent=delivery.was_sent_unclaimed,
            )

        change = self._table.change(seen.identity, transition, now, known=delivery.record)
        decision, mine = decision_on(change.before), change.after
        if decision.verdict is not Verdict.CLAIM or mine is None or mine.waiting:
            return Arrival(decision, change)
        place = Waiting(decision.order, self._now())
        return Arrival(decision, change, Claim(delivery, seen, change.before, mine, place))

    def claim_waiting(self, identity: str, record: Record, target: Target, deadline: float) -> Claim | None:
        """Claim what waits in a record until `deadline`; return None if it no longer waits, or the table fails.

        Raises:
            InvalidAlertError: the alert cannot be read; it is not claimed.
        """
        now, owner = self._now(), self._new_owner()
        read = cache(unpack)  # of the body that is claimed, too

        def transition(current: Record | None) -> Record | None:
            if current is None or current.is_damaged or not current.can_be_drained(now):
                return None
            read(current.body or b"")  # raises before the claim is written
            return transitions.claim_waiting(current, owner=owner, lease_until=round(deadline * 1000))

        try:
            change = self._table.change(identity, transition, now, known=record)
        except (TableUnavailableError, TableMissingError):
            return None
        before, mine = change.before, change.after
        if before is None or mine is None or mine.owner != owner or mine.body is None or mine.waiting is None:
            return None
        alert = replace(read(mine.body), status=mine.status)
        failing_since = mine.failing_since / 1000 if mine.failing_since is not None else None
        seen = Observation(
            identity=identity,
            status=mine.status,
            at=mine.at,
            urgency=mine.urgency,
            summary=mine.summary,
            is_change=alert.is_change,
        )
        waiting_since = mine.waiting_since if mine.waiting_since is not None else now
        return Claim(
            Delivery(alert=alert, target=target, has_open_incident=mine.open, failing_since=failing_since),
            seen,
            before,
            mine,
            mine.waiting,
            is_drained=True,
            waiting_milliseconds=float(max(0, now - waiting_since)),
        )

    def settle(self, claimed: Claim, now: int) -> Change | PublishError:
        """Record that PagerDuty accepted it; what has to follow waits from now on."""
        alert = claimed.delivery.alert

        def settled(record: Record | None) -> Record | None:
            if record is None:
                return None
            if record.owner == claimed.mine.owner:
                follows = record.acknowledge is not None or record.again
                return transitions.settle(record, claimed.seen, now, body=pack(alert) if follows else b"")
            if claimed.seen.status is Status.FIRING and record.status is Status.RESOLVED and not record.open:
                # the lease ran out, and its end was accepted before
                return transitions.reassert(record, now, body=pack(alert))
            return None

        return self._write(claimed, settled, now)

    def release(self, claimed: Claim, result: Deferred | Rejected, *, attempted: bool) -> Change | PublishError:
        """Return a claim: from now on the delivery waits in its record, or is dead-lettered.

        Args:
            claimed: the delivery.
            result: how it ended.
            attempted: whether a request was made.
        """
        now = self._now()
        waits = claimed.place if isinstance(result, Deferred) else None
        body = pack(claimed.delivery.alert) if waits else None
        failed = attempted and is_failure(result)
        pause_ms = LONG_PAUSE_MS if claimed.mine.failing_since is not None else PAUSE_MS

        def released(record: Record | None) -> Record | None:
            if record is None or record.owner != claimed.mine.owner:
                return None
            return transitions.release(
                record,
                was_open=claimed.was_open,
                attempted=attempted and claimed.seen.status is Status.FIRING,
                now=now,
                waits=waits,
                body=body,
                pause_until=now + pause_ms if failed else None,
            )

        return self._write(claimed, released, now)

    def skip(self, claimed: Claim) -> Change | PublishError:
        """Record that what waited became unnecessary."""
        now = self._now()

        def skipped(record: Record | None) -> Record | None:
            if record is None or record.owner != claimed.mine.owner:
                return None
            left = replace(transitions.forget_waiting(record, claimed.mine), open=claimed.was_open)
            return left if left.waiting else replace(left, delivered_at=now)

        return self._write(claimed, skipped, now)

    def finish(self, identity: str, ended: Record) -> None:
        """Remove a delivery from the index after its dead letter is on the queue.

        Raises:
            TableUnavailableError, TableMissingError: the table fails.
        """
        now = self._now()

        def finished(record: Record) -> Record | None:
            # another drainer that claimed it meanwhile ends it in its own way
            return None if record.owner and record.is_leased(now) else transitions.forget_waiting(record, ended)

        self._table.change_known(identity, finished, now)

    def _write(
        self, claimed: Claim, transition: Callable[[Record | None], Record | None], now: int
    ) -> Change | PublishError:
        try:
            return self._table.change(claimed.seen.identity, transition, now, known=claimed.mine)
        except (TableUnavailableError, TableMissingError) as error:
            return error

    def _now(self) -> int:
        return round(self._clock() * 1000)
