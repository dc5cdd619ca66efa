"""The stages between an invocation's record and the queues: unwrap, parse, find targets, deliver, keep what is left."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from handler import sources
from handler.alert import Alert, Ignored
from handler.delivery.retry import FIRST_DEFERRAL_SECONDS
from handler.delivery.sender import Delivery, Sender, Trace
from handler.envelope import Record, unwrap, without_dead_letters
from handler.errors import (
    NoTargetError,
    PagerDutyApiError,
    PublishError,
    QueueUnavailableError,
)
from handler.mapping import action_of
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Result,
)
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS, Action
from handler.pagerduty.severity import Severity
from handler.queues import Hop, Queues, hop_of
from handler.report import Report
from handler.targets.secrets import Targets
from handler.targets.target import Target


class Concurrently(Protocol):
    """Calls a function for each of several things, as the built-in `map` does, but perhaps at the same time."""

    def __call__[A, B](self, function: Callable[[A], B], things: Iterable[A], /) -> Iterable[B]:
        """Give the results in the order of the things."""
        ...


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes records. Every alert ends accepted, skipped for a reason, on a queue, or in a report as lost.

    Attributes:
        clock: epoch seconds.
        parse: gives a record's alerts.
        each: delivers the alerts of one record; those of one identity stay in their order.
        function_name: of this function: its own on-failure records are opened, those of others are alerts.
    """

    targets: Targets
    sender: Sender
    queues: Queues
    clock: Callable[[], float]
    parse: Callable[[Record], sources.Parsed] = sources.parse
    each: Concurrently = map
    function_name: str = ""

    def publish(self, raw: Any, deadline: float) -> list[Report]:
        """Publish the alerts of one record as it came; `deadline` is when the invocation must have ended."""
        try:
            record = unwrap(raw, datetime.fromtimestamp(self.clock(), UTC), self.function_name)
            hop = hop_of(record.payload)
            parsed = self.parse(record)
        except PublishError as error:
            return [self.reject(raw, error)]
        reports = self._publish_alerts([found for found in parsed if isinstance(found, Alert)], hop, deadline)
        for found in parsed:
            match found:
                case Ignored():
                    reports.append(Report(result=found))
                case PublishError():
                    reports.append(self.reject(raw, found))
        return reports

    def reject(self, raw: Any, error: PublishError) -> Report:
        """Keep a record that cannot be published on the dead-letter queue."""
        raw = without_dead_letters(raw)
        return Report(result=Rejected(error=error), lost=_lost(lambda: self.queues.bury_record(raw, error)))

    def _publish_alerts(self, alerts: Sequence[Alert], hop: Hop, deadline: float) -> list[Report]:
        """Publish the alerts of one record at the same time, what is urgent first in line."""
        by_identity: dict[str, list[Alert]] = {}
        for alert in alerts:
            by_identity.setdefault(alert.fingerprint, []).append(alert)

        def publish(same: list[Alert]) -> list[Report]:
            return [report for alert in same for report in self._publish_alert(alert, hop, deadline)]

        in_line = sorted(by_identity.values(), key=lambda same: max(map(_urgency, same)), reverse=True)
        each = self.each if len(in_line) > 1 else map
        return [report for reports in each(publish, in_line) for report in reports]

    def _publish_alert(self, alert: Alert, hop: Hop, deadline: float) -> list[Report]:
        try:
            targets, unknown = self._targets_of(alert, hop)
        except PublishError as error:
            result = (
                self.sender.defer(error, DeferReason.TARGETS_UNAVAILABLE, hop.failures, hop.failing_since)
                if error.retryable
                else Rejected(error=error)
            )
            return [self._keep(alert, None, hop, result, Trace())]
        return [
            *(self._deliver(alert, target, hop, deadline) for target in targets),
            *(self._refuse(alert, name, hop) for name in unknown),
        ]

    def _targets_of(self, alert: Alert, hop: Hop) -> tuple[list[Target], list[str]]:
        """Give the targets that take the alert, and the names it asks for that no enabled target has.

        A retried delivery is bound for one target.
        """
        known = self.targets.read()
        bound = known.named(hop.target) if hop.target else None
        if bound:
            return [bound], []
        return known.taking(alert), [name for name in alert.targets if not known.named(name)]

    def _refuse(self, alert: Alert, name: str, hop: Hop) -> Report:
        """Keep an alert that asks for a target that is not there, bound for it."""
        # whoever writes a routing key where a name belongs shall not find it in the log
        shown = (
            f"a target with a name of {len(name)} characters" if len(name) == ROUTING_KEY_CHARACTERS else f"{name!r}"
        )
        error = NoTargetError(f"the alert asks for {shown[:100]}: no enabled target has that name")
        lost = _lost(lambda: self.queues.bury(alert, hop.model_copy(update={"target": name}), error))
        return Report(result=Rejected(error=error), alert=alert, action=action_of(alert), lost=lost)

    def _deliver(self, alert: Alert, target: Target, hop: Hop, deadline: float) -> Report:
        hop = hop.model_copy(update={"target": target.name})
        trace = Trace()
        result = self.sender.deliver(_delivery(alert, target, hop), deadline, trace)
        if _blames_routing_key(result):
            rotated = self._rotated(target)
            if rotated:
                result = self.sender.deliver(_delivery(alert, rotated, hop), deadline, trace)
        return self._keep(alert, target, hop, result, trace)

    def _waiting_milliseconds(self, hop: Hop) -> float:
        since = hop.waiting_since
        return max(0.0, (self.clock() - since.timestamp()) * 1000) if since else 0.0

    def _rotated(self, target: Target) -> Target | None:
        """Read the secrets again, once, and give the target if its routing key has changed."""
        try:
            read_again = self.targets.read(anew=True).named(target.name)
        except PublishError:
            return None
        return read_again if read_again and read_again.routing_key != target.routing_key else None

    def _keep(self, alert: Alert, target: Target | None, hop: Hop, result: Result, trace: Trace) -> Report:
        """Put what was not delivered on its queue."""
        lost = None
        if isinstance(result, Accepted) and result.is_unclaimed:
            copy = hop.model_copy(update={"was_sent_unclaimed": True})
            deferred = Deferred(reason=DeferReason.TABLE_UNAVAILABLE, delay_seconds=FIRST_DEFERRAL_SECONDS)
            lost = _lost(lambda: self.queues.defer(alert, copy, deferred, self.clock()))
        elif isinstance(result, Deferred):
            lost = _lost(lambda: self.queues.defer(alert, hop, result, self.clock()))
        elif isinstance(result, Rejected):
            lost = _lost(lambda: self.queues.bury(alert, hop, result.error))
        return Report(
            result=result,
            alert=alert,
            action=action_of(alert),
            target=hop.target,
            severity=alert.severity or (target.default_severity if target else None),
            attempts=tuple(trace.attempts),
            waiting_milliseconds=self._waiting_milliseconds(hop),
            known=trace.known,
            errors=tuple(trace.errors),
            lost=lost,
        )


def _urgency(alert: Alert) -> tuple[bool, int]:
    """Rank triggers above the rest, and each by severity, as far as it is known before a target's default."""
    severity = alert.severity or Severity.ERROR
    return action_of(alert) is Action.TRIGGER, severity.urgency


def _delivery(alert: Alert, target: Target, hop: Hop) -> Delivery:
    return Delivery(
        alert=alert,
        target=target,
        failures=hop.failures,
        failing_since=hop.failing_since,
        turn_at=hop.turn_at,
        was_sent_unclaimed=hop.was_sent_unclaimed,
        was_never_attempted=hop.was_never_attempted,
    )


def _blames_routing_key(result: Result) -> bool:
    error = result.error if isinstance(result, Rejected) else None
    return (
        isinstance(error, PagerDutyApiError)
        and error.status_code == 400
        and any("routing" in said.lower() for said in (error.message, *error.errors))
    )


def _lost(put: Callable[[], None]) -> QueueUnavailableError | None:
    try:
        put()
    except QueueUnavailableError as error:
        return error
    return None
