"""One delivery: one alert to one target, claimed, sent, settled; what cannot go out now waits in its record."""

from collections.abc import Callable

from handler.alert import Status
from handler.delivery.claims import SKIPS, Decision, Verdict
from handler.delivery.delivery import Delivery
from handler.delivery.gateway import Gateway, Sent
from handler.delivery.ledger import Claim, Ledger
from handler.delivery.limiter import WOKEN_MS, NoPermitError, Permit, RateLimiter, Taker
from handler.delivery.record import Order, Record
from handler.delivery.retry import blames_routing_key, deferral_seconds, result_of_failure
from handler.delivery.table import Change
from handler.errors import (
    ExhaustedError,
    PublishError,
    TableContendedError,
    TableMissingError,
    TableThrottledError,
    TableUnavailableError,
)
from handler.mapping import action_of
from handler.outcome import Accepted, DeferReason, Deferred, Rejected, Result, Skipped
from handler.pagerduty.events import Action
from handler.report import Report
from handler.targets.target import Target

BUSY_SECONDS = 2.0


class Sender:
    """Delivers, in order per alert and target, however many executions try at once.

    Args:
        gateway: sends events.
        ledger: keeps the records.
        limiter: knows whether a drainer is at work.
        clock: epoch seconds; the client's clock too.
        random: uniform in [0, 1).
        give_up_after_seconds: how long a delivery may fail before it is dead-lettered.
        wake: wakes a drainer for a target's routing key; may fail silently, because a schedule does the same.
        keep_copy: puts a delivery on the retry queue for so many seconds, before it is sent without a record.
    """

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        give_up_after_seconds: float,
        wake: Callable[[str], None],
        keep_copy: Callable[[Delivery, float], None],
    ) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._limiter = limiter
        self._clock = clock
        self._random = random
        self._give_up_after_ms = round(give_up_after_seconds * 1000)
        self._wake = wake
        self._keep_copy = keep_copy
        self._woken_until: dict[str, float] = {}

    def deliver(self, delivery: Delivery, deadline: float) -> Report:
        """Deliver a new arrival; `deadline` (epoch seconds) is when the invocation must have ended."""
        alert, target = delivery.alert, delivery.target
        if reason := target.skip_reason(alert, has_open_incident=delivery.has_open_incident):
            return delivery.report(Skipped(reason=reason))
        try:
            target.check(alert)
        except PublishError as error:
            return delivery.report(Rejected(error=error))
        try:
            decision, change, claim = self._ledger.arrive(delivery, deadline)
        except TableContendedError:
            return delivery.report(Deferred(reason=DeferReason.BUSY, delay_seconds=BUSY_SECONDS))
        except (TableUnavailableError, TableMissingError) as error:
            return self._deliver_unclaimed(delivery, deadline, error)
        if claim:
            return self._send(claim, Taker.CRITICAL if decision.order is Order.CRITICAL else Taker.LESSER, deadline)
        result = self._unsent(decision, change, delivery)
        return delivery.report(result, known=change.before is not None)

    def _unsent(self, decision: Decision, change: Change, delivery: Delivery) -> Result:
        """Return the result of a delivery that this execution does not send."""
        if delivery.was_sent_unclaimed and change.after and change.after.waiting:
            self._wake_drainer(delivery.target)
            return Deferred(reason=DeferReason.BUSY, is_kept=True)
        match decision.verdict:
            case Verdict.WAIT:
                if decision.due is None:
                    self._wake_drainer(delivery.target)
                return Deferred(reason=DeferReason.BUSY, is_kept=True)
            case Verdict.FOLLOW:
                return Deferred(reason=DeferReason.BUSY, is_kept=True)
            case verdict:
                return Skipped(reason=SKIPS[verdict])

    def deliver_waiting(
        self, identity: str, record: Record, target: Target, permit: Permit | None, deadline: float
    ) -> Report | None:
        """Deliver what waits in a record; return None if it no longer waits.

        `permit` was taken for it before; it is None where its target skips it.

        Raises:
            InvalidAlertError: the alert that waits cannot be read; nothing was sent or claimed.
        """
        claim = self._ledger.claim_waiting(identity, record, target, deadline)
        if claim is None:
            return None
        if reason := target.skip_reason(claim.delivery.alert, has_open_incident=claim.delivery.has_open_incident):
            self._ledger.skip(claim)
            return claim.report(Skipped(reason=reason))
        return self._send(claim, Taker.DRAINER, deadline, permit)

    def finish(self, identity: str, ended: Record) -> None:
        """Remove a delivery from the index after its dead letter is on the queue."""
        self._ledger.finish(identity, ended)

    # --- sending what was claimed ---

    def _send(self, claim: Claim, taker: Taker, deadline: float, permit: Permit | None = None) -> Report:
        """Send what was claimed, and record the result."""
        sent = self._gateway.send(claim.delivery, taker, deadline, permit)
        match sent.outcome:
            case Accepted() as accepted:
                return self._settle(claim, sent, accepted)
            case error:
                return self._release(claim, sent, error)

    def _settle(self, claim: Claim, sent: Sent, accepted: Accepted) -> Report:
        """Record that PagerDuty accepted it; wake a drainer if something has to follow."""
        settled = self._ledger.settle(claim, round(accepted.at * 1000))
        errors = sent.errors
        if isinstance(settled, PublishError):
            errors += (settled,)
            if not claim.is_drained and claim.seen.status is Status.FIRING:
                # its carrier does not deliver it again, and an acknowledgement may have to follow
                errors += self._keep(claim.delivery)
        else:
            self._wake_for(settled, claim, sent.target)
        return claim.report(accepted, sent.attempts, errors)

    def _release(self, claim: Claim, sent: Sent, error: PublishError) -> Report:
        """Return the claim of what was not accepted: it waits in its record, or on the retry queue if that fails."""
        now = round(self._clock() * 1000)
        result = result_of_failure(error, claim.failing_since, now, self._give_up_after_ms)
        released = self._ledger.release(claim, result, attempted=bool(sent.attempts))
        errors = sent.errors
        if isinstance(released, PublishError):
            errors += (released,)
            if isinstance(result, Deferred):
                result = self._defer(result.error, claim.delivery)
        elif isinstance(result, Deferred) and not (isinstance(error, NoPermitError) and error.is_drained):
            self._wake_for(released, claim, sent.target)
        return claim.report(result, sent.attempts, errors)

    def _wake_for(self, change: Change, claim: Claim, target: Target) -> None:
        """Wake a drainer for what waits in a record, unless one has just sent it."""
        if change.after and change.after.waiting and not claim.is_drained:
            self._wake_drainer(target)

    def _wake_drainer(self, target: Target) -> None:
        """Wake a drainer, unless one is at work or was woken; a schedule does the same every minute."""
        key, now = target.routing_key.get_secret_value(), self._clock()
        if now < self._woken_until.get(key, 0.0):
            return
        try:
            is_first = self._limiter.wake(target.routing_key, now)
        except TableMissingError:
            return
        except TableUnavailableError:
            is_first = True  # one wake-up too many is harmless
            self._woken_until[key] = now + WOKEN_MS / 1000
        if is_first:
            self._wake(target.name)

    # --- without the table ---

    def _deliver_unclaimed(self, delivery: Delivery, deadline: float, error: PublishError) -> Report:
        """Send a page without a record: PagerDuty folds repeats. What needs order waits.

        The copy comes first: were it put on the queue after the page was accepted, a crash in between would leave an
        incident that no record knows of. It comes back when this invocation has ended.
        """
        action = action_of(delivery.alert)
        is_one_item = isinstance(error, TableThrottledError) and delivery.observation().order is not Order.CRITICAL
        if action not in (Action.TRIGGER, Action.CHANGE) or delivery.was_sent_unclaimed or is_one_item:
            return delivery.report(self._defer_if_retryable(error, delivery))
        needs_copy = action is Action.TRIGGER and error.retryable
        errors = (error, *(self._keep(delivery, deadline - self._clock()) if needs_copy else ()))
        sent = self._gateway.send_without_table(delivery, deadline)
        match sent.outcome:
            case Accepted() as accepted:
                return delivery.report(accepted, attempts=sent.attempts, errors=errors)
            case failure if blames_routing_key(failure):
                result = self.defer(failure, DeferReason.KEY_REFUSED, delivery.failures, delivery.failing_since)
                return delivery.report(result, attempts=sent.attempts, errors=errors)
            case failure:
                result = self._defer_if_retryable(failure, delivery)
                return delivery.report(result, attempts=sent.attempts, errors=errors)

    def defer(
        self, error: PublishError | None, reason: DeferReason, failures: int, since: float | None
    ) -> Deferred | Rejected:
        """Return how long a delivery waits on the retry queue, or that it has failed for too long.

        Args:
            error: what went wrong.
            reason: why it waits.
            failures: how often it came back from the queue.
            since: epoch seconds of when it was first put there.
        """
        if since is not None and (self._clock() - since) * 1000 > self._give_up_after_ms:
            hours = (self._clock() - since) / 3600
            return Rejected(error=ExhaustedError(f"given up after {failures} failures in {hours:.0f} h: {error}"))
        return Deferred(reason=reason, delay_seconds=deferral_seconds(failures + 1, self._random), error=error)

    def _defer(self, error: PublishError | None, delivery: Delivery) -> Deferred | Rejected:
        return self.defer(error, DeferReason.TABLE_UNAVAILABLE, delivery.failures, delivery.failing_since)

    def _defer_if_retryable(self, error: PublishError, delivery: Delivery) -> Deferred | Rejected:
        return self._defer(error, delivery) if error.retryable else Rejected(error=error)

    def _keep(self, delivery: Delivery, seconds: float = 0.0) -> tuple[PublishError, ...]:
        """Queue a copy of a trigger, which updates its record later; return the error if that fails."""
        try:
            self._keep_copy(delivery, seconds + BUSY_SECONDS)
        except PublishError as error:
            return (error,)
        return ()
