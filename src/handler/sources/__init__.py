"""The sources: one module a kind of input, tried in this order. Adding one is a module here and a line below."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, cast

from handler.alert import (
    Alert,
    Ignored,
    Status,
    Undetermined,
    WhenUndetermined,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.outcome import SkipReason

type Parsed = list[Alert | Ignored | InvalidAlertError]
"""What a record holds: alerts, what needs nothing sent, and entries that are damaged while their siblings are not."""

TARGETS_ATTRIBUTE = "targets"


class Source(Protocol):
    """What a source module offers."""

    def recognises(self, record: Record) -> bool:
        """Whether this record is of this kind, by its shape or its detail-type alone."""
        ...

    def parse(self, record: Record) -> Iterable[Alert | Ignored | Undetermined | InvalidAlertError]:
        """Give the record's alerts; raise InvalidAlertError naming the field where it is damaged."""
        ...


@dataclass(frozen=True, slots=True)
class OnDemand:
    """A source whose module is imported when a record first comes to it: an environment meets few of them."""

    name: str

    @property
    def module(self) -> Source:
        """The module."""
        return cast(Source, import_module(f"{__name__}.{self.name}"))

    def recognises(self, record: Record) -> bool:
        """Whether this record is of this kind."""
        return self.module.recognises(record)

    def parse(self, record: Record) -> Iterable[Alert | Ignored | Undetermined | InvalidAlertError]:
        """Give the record's alerts."""
        return self.module.parse(record)


SOURCES: tuple[Source, ...] = (
    OnDemand("native"),
    OnDemand("cloudwatch"),
    OnDemand("alertmanager"),
    OnDemand("guardduty"),
    OnDemand("securityhub"),
    OnDemand("health"),
    OnDemand("codepipeline"),
    OnDemand("codebuild"),
    OnDemand("codedeploy"),
    OnDemand("ecs"),
    OnDemand("rds"),
    OnDemand("autoscaling"),
    OnDemand("backup"),
    OnDemand("notices"),
    OnDemand("generic"),
)


def parse(record: Record, when_undetermined: WhenUndetermined = WhenUndetermined.IGNORE) -> Parsed:
    """Give the alerts of a record by the first source that recognises it, with what its SNS attributes ask for.

    Raises:
        InvalidAlertError: recognised, but a field is missing or wrong.
        NotAnAlertError: it came by no topic, bus or queue, and no source recognises it.
    """
    for source in SOURCES:
        if source.recognises(record):
            determined = (_determine(found, when_undetermined) for found in source.parse(record))
            return [_ask(found, record.attributes) if isinstance(found, Alert) else found for found in determined]
    raise NotAnAlertError(f"not an alert: {_shape(record)} is of no known source, and came by no topic, bus or queue")


def _determine(
    found: Alert | Ignored | Undetermined | InvalidAlertError, when: WhenUndetermined
) -> Alert | Ignored | InvalidAlertError:
    if not isinstance(found, Undetermined):
        return found
    match when:
        case WhenUndetermined.IGNORE:
            return Ignored(SkipReason.INSUFFICIENT_DATA, found.alert.name)
        case WhenUndetermined.TRIGGER:
            return replace(found.alert, status=Status.FIRING)
        case WhenUndetermined.RESOLVE:
            return replace(found.alert, status=Status.RESOLVED)


def _ask(alert: Alert, attributes: Mapping[str, str]) -> Alert:
    """Let the message's attributes choose severity, labels and targets where the alert itself says nothing of them."""
    if not attributes:
        return alert
    labels = {name: value for name, value in attributes.items() if name != TARGETS_ATTRIBUTE}
    return replace(
        alert,
        labels={**labels, **alert.labels},
        severity_word=alert.severity_word or labels.get("severity", ""),
        targets=alert.targets or target_names(attributes.get(TARGETS_ATTRIBUTE, "")),
    )


def target_names(text: str) -> tuple[str, ...]:
    """Read the names of targets: separated by commas, or a JSON list (SNS calls that a String.Array)."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else text.split(",")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _shape(record: Record) -> str:
    """Describe a payload without its values, which may be secrets."""
    payload: Any = record.payload
    if isinstance(payload, dict):
        return f"a JSON object with the keys {', '.join(sorted(map(str, payload))[:8]) or '(none)'}"
    if isinstance(payload, str):
        return "a text that is not JSON" if payload.strip() else "an empty message"
    return f"a JSON {type(payload).__name__}"
