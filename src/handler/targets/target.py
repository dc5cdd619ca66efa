"""Targets: the PagerDuty integrations that alerts go to, and which of them take an alert.

The routing key is a `SecretStr` from here to the line that builds the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from handler.alert import Alert, Status
from handler.errors import InvalidTargetError, NoTargetError, NoTargetsYetError, PublishError
from handler.outcome import SkipReason
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS
from handler.pagerduty.severity import Severity, SeverityWord
from handler.targets.matchers import Matcher, parse_matcher, split_matchers


def _matcher(value: Any) -> Any:
    return parse_matcher(value) if isinstance(value, str) else value


Condition = Annotated[InstanceOf[Matcher], BeforeValidator(_matcher)]


class Headers(BaseModel):
    """Where the routing key is kept."""

    model_config = ConfigDict(defer_build=True)

    routing_key: SecretStr

    @field_validator("routing_key")
    @classmethod
    def _has_the_right_length(cls, key: SecretStr) -> SecretStr:
        if len(key) != ROUTING_KEY_CHARACTERS:
            raise ValueError(f"{len(key)} characters, an Events API v2 integration key has {ROUTING_KEY_CHARACTERS}")
        return key


class Target(BaseModel):
    """A PagerDuty integration, or `none`, as its secret describes it.

    Attributes:
        name: how it is called in logs, metrics and records.
        type: `none` takes what matches and sends it nowhere.
        enabled: where false, the target keeps its place in the matching, and what it takes is skipped.
        match: Alertmanager matchers, all of which must match; a target with none takes what no other took.
        default_severity: of alerts that name none, or an unknown one.
        severity_threshold: the least severity that triggers here.
        auto_resolve: whether resolves are sent.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^#\s]+$")]
    type: Literal["pagerduty", "none"]
    format: Literal["pagerduty"] = "pagerduty"
    url: str | None = None
    enabled: bool = True
    headers: Annotated[Headers | None, Field(validate_default=True)] = None
    match: tuple[Condition, ...] = ()
    default_severity: SeverityWord = Severity.ERROR
    severity_threshold: SeverityWord | None = None
    auto_resolve: bool = True

    @field_validator("match", mode="before")
    @classmethod
    def _one_by_one(cls, match: Any) -> Any:
        if not isinstance(match, list):
            return match
        return [each for given in match for each in (split_matchers(given) if isinstance(given, str) else [given])]

    @field_validator("headers")
    @classmethod
    def _pages_with_a_key(cls, headers: Headers | None, info: ValidationInfo) -> Headers | None:
        if headers is None and info.data.get("type") == "pagerduty":
            raise ValueError('has to hold the routing_key, unless the type is "none"')
        return headers

    @property
    def routing_key(self) -> SecretStr:
        """The secret; empty where the type is `none`."""
        return self.headers.routing_key if self.headers else SecretStr("")

    @property
    def is_paging(self) -> bool:
        """Whether it sends to PagerDuty now."""
        return self.enabled and self.type == "pagerduty"

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Return whether it has matchers, and all of them match."""
        return bool(self.match) and all(matcher.matches(labels) for matcher in self.match)

    def skip_reason(self, alert: Alert, *, has_open_incident: bool = False) -> SkipReason | None:
        """Return why nothing is sent of an alert that this target takes, or None where it is sent.

        A disabled target still resolves and acknowledges an incident that is open.
        """
        urgency = (alert.severity or self.default_severity).urgency
        return self.skip_reason_of(
            alert.status, urgency, is_change=alert.is_change, has_open_incident=has_open_incident
        )

    def skip_reason_of(
        self, status: Status, urgency: int, *, is_change: bool, has_open_incident: bool
    ) -> SkipReason | None:
        """Return the same of what a record says of an alert."""
        if self.type == "none":
            return SkipReason.NO_PAGE
        ends_incident = has_open_incident and status is not Status.FIRING and not is_change
        if not self.enabled and not ends_incident:
            return SkipReason.TARGET_DISABLED
        if is_change:
            return None
        if status is Status.FIRING and self.severity_threshold and urgency < self.severity_threshold.urgency:
            return SkipReason.BELOW_THRESHOLD
        if status is Status.RESOLVED and not self.auto_resolve:
            return SkipReason.AUTO_RESOLVE_OFF
        return None

    def check(self, alert: Alert) -> None:
        """Raise InvalidTargetError where this target's kind of key cannot take the alert."""
        if alert.is_change and self.routing_key.get_secret_value().startswith("R"):
            raise InvalidTargetError(
                f"target {self.name}: its routing key is of an event orchestration (R…), which takes no change events; "
                "send change events to a target with a service's integration key"
            )


@dataclass(frozen=True, slots=True)
class TargetSet:
    """All targets that were read at one time.

    Attributes:
        problems: what is wrong with secrets that are no targets.
        is_partial: a secret could not be read and never was, so a target may be missing.
    """

    targets: tuple[Target, ...] = ()
    problems: tuple[PublishError, ...] = ()
    is_partial: bool = False

    def named(self, name: str) -> Target | None:
        """Return the target of this name, which may be disabled."""
        return next((target for target in self.targets if target.name == name), None)

    def with_key(self, routing_key: SecretStr) -> list[Target]:
        """Return the targets that page with this key, disabled ones among them: they share its limit."""
        return [target for target in self.targets if target.type == "pagerduty" and target.routing_key == routing_key]

    def taking(self, alert: Alert) -> list[Target]:
        """Return the targets that the alert asks for by name, or where it names none, that match.

        Where none matches, those that take what no other took. Disabled targets and those of type `none` are among
        them: `skip_reason` says what becomes of the alert there.

        Raises:
            NoTargetsYetError: there is no target at all, or the one that takes it may be in a secret that was not read.
            NoTargetError: the alert names none, and none takes it.
        """
        if alert.targets:
            return [target for name in alert.targets if (target := self.named(name))]
        labels = alert.matching_labels()
        matching = [target for target in self.targets if target.takes(labels)]
        taking = matching or [target for target in self.targets if not target.match]
        if taking:
            return taking
        broken = "".join(f"; {problem}" for problem in self.problems)
        if not self.targets:
            raise NoTargetsYetError(f"no target takes this alert: there is none{broken}")
        why = f"of {len(self.targets)}, none matches and none is without `match`"
        error = NoTargetsYetError if self.is_partial else NoTargetError
        raise error(f"no target takes this alert: {why}{broken}")
