"""One delivery: one alert to one target, claimed, sent, settled. Knows no queue and no wrapping."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from handler.alert import Alert
from handler.delivery.claims import SKIPS, Observation
from handler.delivery.rate import Priority
from handler.delivery.retry import deferral_seconds
from handler.delivery.table import Claimed, Refused
from handler.errors import (
    CircuitOpenError,
    ExhaustedError,
    PagerDutyApiError,
    PublishError,
    RateLimitExceededError,
    TableMissingError,
    TableUnavailableError,
)
from handler.mapping import action_of, dedup_key_of, event_of
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Result,
    Skipped,
)
from handler.pagerduty.client import Answer, Attempt, PagerDutyClient
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.targets.target import Target

THROTTLED_SECONDS = 30.0
"""What PagerDuty advises to wait after a 429 that names no time."""
BUSY_SECONDS = 2.0
"""When to look again whether the one that is sending has finished: that mostly takes a fraction of a second."""


class ClaimTable(Protocol):
    """What a delivery needs of the dedup table."""

    def claim(self, observation: Observation, *, owner: str, now: float, lease_until: float) -> Claimed | Refused:
        """Claim the right to send."""
        ...

    def settle(self, observation: Observation, claimed: Claimed, now: float) -> None:
        """Record that it was accepted."""
        ...

    def release(self, observation: Observation, claimed: Claimed, *, attempted: bool) -> None:
        """Give the claim back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one target.

    Attributes:
        failures: how many deliveries of it have failed before this one; waiting for a turn is none.
        failing_since: when the first of them did.
        turn_at: its place in the rate limiter's line, where it has waited for a turn before.
        was_sent_unclaimed: PagerDuty took it in while the table was out, and this is the copy that tells the table.
        was_never_attempted: it waits, and the table says that there is no incident of it.
    """

    alert: Alert
    target: Target
    failures: int = 0
    failing_since: datetime | None = None
    turn_at: float | None = None
    was_sent_unclaimed: bool = False
    was_never_attempted: bool = False


@dataclass(slots=True, kw_only=True)
class Trace:
    """What happened on the way, for the log line and the metrics."""

    attempts: list[Attempt] = field(default_factory=list)
    errors: list[PublishError] = field(default_factory=list)
    known: bool | None = None


class TurnTaker(Protocol):
    """What a delivery needs of the rate limiter."""

    def take(self, routing_key: SecretStr, priority: Priority, now: float, turn_at: float | None = None) -> None:
        """Take a turn, or raise RateLimitExceededError."""
        ...

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None:
        """Let nobody take a turn for so long."""
        ...


def priority_of(alert: Alert, target: Target) -> Priority:
    """Give who goes first: critical triggers, then triggers, then the rest."""
    if action_of(alert) is not Action.TRIGGER:
        return Priority.LATER
    is_critical = (alert.severity or target.default_severity) is Severity.CRITICAL
    return Priority.CRITICAL if is_critical else Priority.TRIGGER


type Guard = Callable[[str, Callable[[], Answer]], Answer]


def unguarded(_: str, send: Callable[[], Answer]) -> Answer:
    """Call what sends."""
    return send()


class Sender:
    """Delivers, one at a time and in order per identity, however many executions try at once.

    Args:
        client: sends events.
        table: keeps the claims.
        limiter: gives turns, one for each request.
        clock: epoch seconds; the client's clock too.
        random: uniform in [0, 1).
        new_owner: a name for each claim, never given twice.
        give_up_after_seconds: how long a delivery may fail before it is put aside.
        guard: calls what sends to a URL, or raises CircuitOpenError instead.
    """

    def __init__(
        self,
        client: PagerDutyClient,
        table: ClaimTable,
        limiter: TurnTaker,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        new_owner: Callable[[], str],
        give_up_after_seconds: float,
        guard: Guard = unguarded,
    ) -> None:
        self._client = client
        self._table = table
        self._limiter = limiter
        self._clock = clock
        self._random = random
        self._new_owner = new_owner
        self._give_up_after_seconds = give_up_after_seconds
        self._guard = guard

    def deliver(self, delivery: Delivery, deadline: float, trace: Trace) -> Result:
        """Claim, send, settle; never raises a PublishError. `deadline` is when the invocation must have ended."""
        alert, target = delivery.alert, delivery.target
        if reason := target.skip_reason(alert):
            return Skipped(reason=reason)
        try:
            target.check(alert)
        except PublishError as error:
            return Rejected(error=error)
        observation = Observation.of(alert, target.name)
        now = self._clock()
        try:
            claim = self._table.claim(observation, owner=self._new_owner(), now=now, lease_until=deadline)
        except (TableUnavailableError, TableMissingError) as error:
            return self._deliver_unclaimed(delivery, deadline, trace, error)
        if isinstance(claim, Refused):
            if skip := SKIPS.get(claim.verdict):
                trace.known = True
                return Skipped(reason=skip)
            return Deferred(reason=DeferReason.BUSY, delay_seconds=BUSY_SECONDS)
        trace.known = claim.known
        result = self._send(delivery, deadline, trace, has_table=True)
        try:
            if isinstance(result, Accepted):
                self._table.settle(observation, claim, result.at)
            else:
                self._table.release(observation, claim, attempted=bool(trace.attempts))
        except (TableUnavailableError, TableMissingError) as error:
            trace.errors.append(error)  # the lease ends by itself; a repeat folds at PagerDuty by its dedup key
            return result
        if isinstance(result, Deferred) and not (trace.attempts or claim.attempted_before):
            return replace(result, was_never_attempted=True)
        return result

    def _deliver_unclaimed(self, delivery: Delivery, deadline: float, trace: Trace, error: PublishError) -> Result:
        """Fail open: without the table a page is still sent, for PagerDuty folds repeats; what needs order waits.

        So does a page that the table knows to have been waiting: its resolve would be left out as never opened.
        """
        action = action_of(delivery.alert)
        needs_table = delivery.was_sent_unclaimed or delivery.was_never_attempted
        if action in (Action.TRIGGER, Action.CHANGE) and not needs_table:
            trace.errors.append(error)
            result = self._send(delivery, deadline, trace, has_table=False)
            if isinstance(result, Accepted) and action is Action.TRIGGER and error.retryable:
                return replace(result, is_unclaimed=True)
            return result
        if error.retryable:
            reason = DeferReason.TABLE_UNAVAILABLE
            return self.defer(error, reason, delivery.failures, delivery.failing_since)
        return Rejected(error=error)

    def _take_turn(self, delivery: Delivery, trace: Trace) -> None:
        """Take a turn for one request; without the table a page is still sent, as it is without a claim."""
        priority = priority_of(delivery.alert, delivery.target)
        try:
            self._limiter.take(delivery.target.routing_key, priority, self._clock(), delivery.turn_at)
        except (TableUnavailableError, TableMissingError) as error:
            trace.errors.append(error)

    def _push_back(self, delivery: Delivery, seconds: float, trace: Trace) -> None:
        try:
            self._limiter.push_back(delivery.target.routing_key, self._clock(), seconds)
        except (TableUnavailableError, TableMissingError) as error:
            trace.errors.append(error)

    def _send(self, delivery: Delivery, deadline: float, trace: Trace, *, has_table: bool) -> Result:
        """Send the event; without the table a page takes no turn and asks no circuit."""
        event = event_of(delivery.alert, delivery.target.default_severity)

        def send() -> Answer:
            return self._client.send(
                event,
                delivery.target.routing_key,
                base_url=delivery.target.url,
                deadline=deadline,
                before_attempt=(lambda: self._take_turn(delivery, trace)) if has_table else lambda: None,
                on_attempt=trace.attempts.append,
            )

        try:
            answer = self._guard(delivery.target.url or "default", send) if has_table else send()
        except PublishError as error:
            return self._after(error, delivery, trace)
        return Accepted(dedup_key=answer.dedup_key or dedup_key_of(delivery.alert), at=self._clock())

    def _after(self, error: PublishError, delivery: Delivery, trace: Trace) -> Result:
        """Say what becomes of a delivery that was not accepted."""
        if isinstance(error, RateLimitExceededError):
            wait, turn_at = error.retry_after_seconds, error.turn_at
            return Deferred(reason=DeferReason.RATE_LIMIT, delay_seconds=wait, turn_at=turn_at)
        if isinstance(error, PagerDutyApiError) and error.status_code == 429:
            wait = error.retry_after_seconds or THROTTLED_SECONDS
            self._push_back(delivery, wait, trace)
            return Deferred(reason=DeferReason.RATE_LIMIT, delay_seconds=wait, error=error)
        if not error.retryable:
            return Rejected(error=error)
        reason = DeferReason.CIRCUIT_OPEN if isinstance(error, CircuitOpenError) else DeferReason.FAILED
        return self.defer(error, reason, delivery.failures, delivery.failing_since)

    def defer(self, error: PublishError, reason: DeferReason, failures: int, failing_since: datetime | None) -> Result:
        """Say how long a delivery waits that has failed once more, or that it has failed for too long."""
        failing_seconds = self._clock() - failing_since.timestamp() if failing_since else 0.0
        if failing_seconds > self._give_up_after_seconds:
            hours = failing_seconds / 3600
            return Rejected(error=ExhaustedError(f"given up after {failures} failures in {hours:.0f} h: {error}"))
        delay = deferral_seconds(failures + 1, self._random)
        return Deferred(reason=reason, delay_seconds=delay, error=error)
