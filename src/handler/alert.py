"""The alert in the one shape that every source returns. Knows no AWS service and no wire format."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity, parse_severity

CHANGE_EVENT_LABEL = "change_event"
GENERIC = "generic"
"""The origin of alerts in messages of no known source."""
MAX_TARGETS = 20
"""The most targets that one message may name."""
LOCATION_LABELS = ("instance", "host", "hostname", "node", "pod", "service", "job", "cluster", "namespace")
"""Labels that name the affected resource, most specific first."""


class Status(StrEnum):
    """The alert's state at its source."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Link:
    """A link shown on the incident."""

    href: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image shown on the incident; `src` must be https."""

    src: str
    href: str = ""
    alt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert, normalised.

    Attributes:
        fingerprint: the alert's identity at its source; the same for its trigger and its resolve. Never empty.
        observed_at: when this state was published, in UTC. Decides which of two states of an alert is newer.
        severity_word: the source's word for the severity; `severity` interprets it.
        location: the affected system (PagerDuty calls it the payload's source); empty if unknown.
        details: everything else from the source, shown in the incident's custom details.
        targets: the names of the targets that the publisher asks for; empty if the matchers decide.
        message_id: of the innermost wrapping (SNS MessageId, EventBridge id, SQS messageId); a message that comes twice
            has the same one. Empty where there was none. Alerts are equal whichever message brought them.
    """

    fingerprint: str
    name: str
    status: Status
    observed_at: datetime
    origin: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    generator_url: str = ""
    classification: Mapping[str, Any] | None = None
    severity_word: str = ""
    summary: str = ""
    location: str = ""
    component: str = ""
    group: str = ""
    class_: str = ""
    client: str = ""
    client_url: str = ""
    links: tuple[Link, ...] = ()
    images: tuple[Image, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    message_id: str = field(default="", compare=False)

    @property
    def severity(self) -> Severity | None:
        """The severity that the source names; None if it names none, or an unknown one."""
        return parse_severity(self.severity_word) if self.severity_word else None

    @property
    def is_change(self) -> bool:
        """Whether this is a change event: it notifies nobody and is sent once per occurrence, whatever the status."""
        return self.labels.get(CHANGE_EVENT_LABEL, "").lower() == "true"

    @property
    def source(self) -> str:
        """The affected resource that PagerDuty shows: the location, else a label that names one, else the name."""
        named = next((self.labels[label] for label in LOCATION_LABELS if self.labels.get(label, "").strip()), "")
        return self.location if self.location.strip() else named or _host(self.generator_url) or self.name

    def matching_labels(self) -> dict[str, str]:
        """Return what targets match on: the labels, and the alert's fields under the names below.

        `alertname`, `origin` (the parser), `source` (the affected resource), `status`, `component`, `group`, `class`,
        and `severity`, as one of PagerDuty's four if the word is known. A label takes precedence over a field, except
        for `severity`.
        """
        fields = {
            "alertname": self.name,
            "origin": self.origin,
            "source": self.source,
            "status": str(self.status),
            "component": self.component,
            "group": self.group,
            "class": self.class_,
        }
        severity = str(self.severity) if self.severity else self.severity_word
        return {**fields, **self.labels, "severity": severity}


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


class Ignored(NamedTuple):
    """A message that a source recognised and for which nothing is sent.

    Attributes:
        reason: why, as `AlertsSkipped` counts it.
        name: what it was, for the log line.
    """

    reason: SkipReason
    name: str


class WhenUndetermined(StrEnum):
    """What to do with an alert whose source does not know whether it is firing."""

    IGNORE = "ignore"
    TRIGGER = "trigger"
    RESOLVE = "resolve"


class Undetermined(NamedTuple):
    """An alert whose source does not know whether it is firing; its `status` is a placeholder."""

    alert: Alert


_PATH_OR_BREAK = r"(?<![A-Za-z])[A-Za-z]:\\\S*+|(?<!\\)(?:\\++r)?+\\++n"


def without_written_breaks(text: str) -> str:
    """Return a text with line breaks for those that are written out, as AWS Health's are; paths of Windows stay."""
    if "\\n" not in text:
        return text
    return re.sub(_PATH_OR_BREAK, lambda found: found[0] if found[0][1] == ":" else "\n", text)


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Compute a fingerprint from labels; their order does not matter.

    Names and values are separated by the byte 0xFF, which no UTF-8 text contains, so `{a: bc}` and `{ab: c}` differ.
    """
    digest = hashlib.sha256()
    for name in sorted(labels):
        for part in (name, labels[name]):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\xff")
    return digest.hexdigest()[:32]
