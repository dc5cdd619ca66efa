"""Targets: the PagerDuty integrations that alerts go to, and which of them take an alert.

The routing key is a `SecretStr` from here to the line that builds the request.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, SecretStr, field_validator

from handler.alert import Alert, Status
from handler.errors import InvalidTargetError, NoTargetError, PublishError
from handler.outcome import SkipReason
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS
from handler.pagerduty.severity import Severity, parse_severity
from handler.targets.matchers import Matcher, parse_matcher


def _severity(value: Any) -> Any:
    return (parse_severity(value) or value) if isinstance(value, str) else value


def _matcher(value: Any) -> Any:
    return parse_matcher(value) if isinstance(value, str) else value


Condition = Annotated[InstanceOf[Matcher], BeforeValidator(_matcher)]
SeverityWord = Annotated[Severity, BeforeValidator(_severity)]


class Headers(BaseModel):
    """Where the routing key is kept."""

    routing_key: SecretStr

    @field_validator("routing_key")
    @classmethod
    def _has_the_right_length(cls, key: SecretStr) -> SecretStr:
        if len(key) != ROUTING_KEY_CHARACTERS:
            raise ValueError(f"{len(key)} characters, an Events API v2 integration key has {ROUTING_KEY_CHARACTERS}")
        return key


class Target(BaseModel):
    """A PagerDuty integration, as its secret describes it.

    Attributes:
        name: how it is called in logs, metrics and records.
        match: Alertmanager matchers, all of which must match; a target with none takes what no other took.
        default_severity: of alerts that name none, or an unknown one.
        severity_threshold: the least severity that triggers here.
        auto_resolve: whether resolves are sent.
    """

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^#\s]+$")]
    type: Literal["pagerduty"]
    format: Literal["pagerduty"] = "pagerduty"
    url: str | None = None
    enabled: bool = True
    headers: Headers
    match: tuple[Condition, ...] = ()
    default_severity: SeverityWord = Severity.ERROR
    severity_threshold: SeverityWord | None = None
    auto_resolve: bool = True

    @property
    def routing_key(self) -> SecretStr:
        """The secret."""
        return self.headers.routing_key

    def skip_reason(self, alert: Alert, *, has_open_incident: bool = False) -> SkipReason | None:
        """Return why this target wants nothing of an alert that matches it, or None."""
        if not self.enabled and not (has_open_incident and alert.status is not Status.FIRING):
            return SkipReason.TARGET_DISABLED
        if alert.is_change:
            return None
        severity = alert.severity or self.default_severity
        if (
            alert.status is Status.FIRING
            and self.severity_threshold
            and severity.urgency < self.severity_threshold.urgency
        ):
            return SkipReason.BELOW_THRESHOLD
        if alert.status is Status.RESOLVED and not self.auto_resolve:
            return SkipReason.AUTO_RESOLVE_OFF
        return None

    def check(self, alert: Alert) -> None:
        """Raise InvalidTargetError where this target's kind of key cannot take the alert."""
        if alert.is_change and self.routing_key.get_secret_value().startswith("R"):
            raise InvalidTargetError(
                f"target {self.name}: its routing key is of an event orchestration (R…), which takes no change events; "
                "give change events a target with a service's integration key"
            )


@dataclass(frozen=True, slots=True)
class TargetSet:
    """All targets that were read at one time, and what is wrong with those that could not be."""

    targets: tuple[Target, ...] = ()
    problems: tuple[PublishError, ...] = ()

    def named(self, name: str) -> Target | None:
        """Return the target of this name, enabled or not."""
        return next((target for target in self.targets if target.name == name), None)

    def with_key(self, routing_key: SecretStr) -> list[Target]:
        """Return the targets that share a routing key."""
        return [target for target in self.targets if target.routing_key == routing_key]

    def taking(self, alert: Alert) -> list[Target]:
        """Give the enabled targets that the alert asks for by name, or where it names none, that match.

        Where none matches, those that take what no other took.

        Raises:
            NoTargetError: the alert names none, and none takes it.
        """
        if alert.targets:
            return [target for name in alert.targets if (target := self.named(name))]
        labels = alert.matching_labels()
        enabled = [target for target in self.targets if target.enabled]
        matching = [t for t in enabled if t.match and all(matcher.matches(labels) for matcher in t.match)]
        taking = matching or [target for target in enabled if not target.match]
        if not taking:
            known = f"{len(enabled)} enabled, none matches and none is without `match`" if enabled else "there is none"
            broken = "".join(f"; {problem}" for problem in self.problems)
            raise NoTargetError(f"no target takes this alert: {known}{broken}")
        return taking
