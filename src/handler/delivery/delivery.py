"""One alert on its way to one target: what is sent, what its record has to know of it, and how it ended."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from handler.alert import GENERIC, Alert, Status
from handler.delivery.record import Observation, Record
from handler.errors import PublishError
from handler.identity import identity_of, identity_of_change
from handler.mapping import action_of, dedup_key_of
from handler.outcome import Result
from handler.pagerduty.client import Attempt
from handler.pagerduty.severity import Severity
from handler.report import Report
from handler.targets.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one target.

    Attributes:
        routed_to: the names of all targets that the alert goes to.
        has_open_incident: a resolve or acknowledge of what a record says may be open.
        record: what was read of its record a moment ago; None where nothing was.
        failures: how often it came back from the retry queue.
        failing_since: epoch seconds of the first failure; None where there was none.
        was_sent_unclaimed: PagerDuty was sent it while the table was out; the record does not know.
    """

    alert: Alert
    target: Target
    routed_to: frozenset[str] = frozenset()
    has_open_incident: bool = False
    record: Record | None = None
    failures: int = 0
    failing_since: float | None = None
    was_sent_unclaimed: bool = False

    @property
    def severity(self) -> Severity:
        """The severity that is sent."""
        return self.alert.severity or self.target.default_severity

    def observation(self) -> Observation:
        """Return the observation for the record."""
        alert, target = self.alert, self.target
        at = round(alert.observed_at.timestamp() * 1000)
        key = dedup_key_of(alert)
        if alert.is_change:
            occurred = round(alert.starts_at.timestamp() * 1000) if alert.starts_at else at
            return Observation(
                identity=identity_of_change(target.name, key, occurred), status=Status.FIRING, at=at, is_change=True
            )
        return Observation(
            identity=identity_of(target.name, key),
            status=alert.status,
            at=at,
            message_id=alert.message_id,
            urgency=self.severity.urgency if alert.status is Status.FIRING else 0,
            summary=_digest(alert) if alert.status is Status.FIRING else "",
            is_generic=alert.origin == GENERIC,
            routed_to=self.routed_to if alert.status is Status.FIRING and len(self.routed_to) > 1 else frozenset(),
        )

    def report(
        self,
        result: Result,
        *,
        attempts: Sequence[Attempt] = (),
        errors: Sequence[PublishError] = (),
        known: bool | None = None,
        waiting_milliseconds: float = 0.0,
    ) -> Report:
        """Return the report of a delivery that ended like this."""
        return Report(
            result=result,
            alert=self.alert,
            action=action_of(self.alert),
            target=self.target.name,
            severity=self.severity,
            attempts=attempts,
            errors=errors,
            known=known,
            waiting_milliseconds=waiting_milliseconds,
        )


def _digest(alert: Alert) -> str:
    """Return a digest of what a person reads first."""
    texts = (alert.name, alert.summary, *(alert.annotations.get(name, "") for name in ("summary", "description")))
    text = "\0".join(texts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
