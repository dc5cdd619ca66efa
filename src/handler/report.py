"""How one alert ended at one target: for the log line, the metrics and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.alert import Alert, Ignored
from handler.errors import PublishError, QueueUnavailableError
from handler.mapping import dedup_key_of
from handler.outcome import (
    Accepted,
    Deferred,
    Rejected,
    Result,
    Skipped,
    SkipReason,
)
from handler.pagerduty.client import Attempt
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import truncate

MAX_LOGGED_CHARACTERS = 256
"""The limit for an alert's name in the log, which repeats it for each delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How one alert ended at one target, or before it had one.

    Attributes:
        alert: None where the record could not be read as one.
        target: its name; empty if it has none.
        severity: as it was sent: the alert's own, or the target's default.
        waiting_milliseconds: how long the delivery had waited when it was sent, or tried again.
        known: whether the dedup table knew it; None where it was not asked.
        errors: what went wrong without deciding the result.
        lost: why it could not be put on a queue; the invocation has to fail then.
    """

    result: Result | Ignored
    alert: Alert | None = None
    action: Action | None = None
    target: str = ""
    severity: Severity | None = None
    attempts: Sequence[Attempt] = ()
    waiting_milliseconds: float = 0.0
    known: bool | None = None
    errors: Sequence[PublishError] = field(default_factory=tuple)
    lost: QueueUnavailableError | None = None

    @property
    def outcome(self) -> str:
        """One of accepted, skipped, deferred, rejected."""
        match self.result:
            case Ignored():
                return "skipped"
            case _:
                return type(self.result).__name__.lower()

    @property
    def is_superseded_firing(self) -> bool:
        """Whether a firing alert was skipped because the record was newer: a reason to check clocks."""
        is_superseded = isinstance(self.result, Skipped) and self.result.reason is SkipReason.SUPERSEDED
        return is_superseded and self.action is Action.TRIGGER

    @property
    def all_errors(self) -> list[PublishError]:
        """Everything that went wrong."""
        decisive = self.result.error if isinstance(self.result, Deferred | Rejected) else None
        return [*self.errors, *(e for e in (decisive, self.lost) if e)]

    @property
    def milliseconds_since_observed(self) -> float | None:
        """From the alert's publishing to PagerDuty's acceptance; never negative."""
        if isinstance(self.result, Accepted) and self.alert:
            return max(0.0, (self.result.at - self.alert.observed_at.timestamp()) * 1000)
        return None

    @property
    def _name(self) -> str | None:
        if self.alert:
            return self.alert.name
        return self.result.name if isinstance(self.result, Ignored) else None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the log line and of the answer; empty fields are left out."""
        result = self.result
        since_observed = self.milliseconds_since_observed
        fields: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": str(result.reason) if isinstance(result, Skipped | Deferred | Ignored) else None,
            "alert_name": self._name and truncate(self._name, MAX_LOGGED_CHARACTERS),
            "event_type": str(self.action) if self.action else None,
            "target": self.target,
            "dedup_key": dedup_key_of(self.alert) if self.alert else None,
            "severity": str(self.severity) if self.severity else None,
            "unknown_severity": truncate(self.alert.severity_word, MAX_LOGGED_CHARACTERS)
            if self.alert and not self.alert.severity
            else None,
            "attempts": len(self.attempts),
            "status": self.attempts[-1].status if self.attempts else None,
            "api_ms": round(sum(attempt.milliseconds for attempt in self.attempts), 1),
            "since_observed_ms": None if since_observed is None else round(since_observed),
            "waiting_ms": round(self.waiting_milliseconds),
            "delay_seconds": round(result.delay_seconds, 1) if isinstance(result, Deferred) else None,
            "errors": [{"type": str(error.reason), "message": str(error)} for error in self.all_errors],
        }
        return {name: value for name, value in fields.items() if value not in (None, "", 0, [])}
