"""The lines of a report: what there is to say of one alert, from a delivery's report, a record or a dead letter."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from handler.alert import Alert, Status
from handler.identity import key_of, target_of
from handler.mapping import event_of
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import truncate

LATE_AFTER_SECONDS = 115
"""From when on operators learn of a critical alert. The schedule looks once a minute, so that they do within three."""


class Kind(StrEnum):
    """What is reported."""

    LATE = "late"
    DEAD_LETTER = "dead_letter"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a report.

    Attributes:
        location: the affected system.
        since: when it began to wait or was written, in epoch seconds.
        note: the error of a dead letter, how a late alert ended.
    """

    kind: Kind
    name: str
    summary: str = ""
    severity: str = ""
    location: str = ""
    target: str = ""
    link: str = ""
    since: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAlert:
    """What the record says of a critical alert that waits, or waited.

    Attributes:
        alert: None where it waits no more.
        since: when it began to wait, in epoch seconds.
        ending: how it ended, in words; empty where the record does not say.
    """

    alert: Alert | None = None
    since: float | None = None
    ending: str = ""


def entry_of(alert: Alert, kind: Kind, **more: Any) -> Entry:
    """Return an alert as a line of a report."""
    event = event_of(replace(alert, status=Status.FIRING), alert.severity or Severity.ERROR)
    payload = event.payload
    severity = more.pop("severity", None) or alert.severity
    return bounded(
        Entry(
            kind=kind,
            name=alert.name if alert.status is Status.FIRING else f"{alert.name} ({alert.status})",
            summary=payload.summary if payload else "",
            location=payload.source if payload else "",
            link=str(event.links[0].href) if event.links else "",
            severity=str(severity) if severity else "",
            **more,
        )
    )


def bounded(entry: Entry) -> Entry:
    """Return a line that is fit to be read: names and errors on one line, nothing too long."""
    return replace(
        entry,
        name=truncate(" ".join(entry.name.split()), 256),
        summary=truncate(entry.summary, 500),
        location=truncate(entry.location, 200),
        link=entry.link if len(entry.link) <= 1000 else "",
        note=truncate(" ".join(entry.note.split()), 400),
    )


def entry_of_waiting(identity: str, waiting: WaitingAlert, now: float) -> Entry:
    """Return a critical alert that waits as a line of a report; its key alone where its record cannot be read."""
    target, key = target_of(identity), key_of(identity)
    since = now if waiting.since is None else waiting.since
    common: dict[str, Any] = {"target": target, "since": since, "severity": Severity.CRITICAL}
    if waiting.alert is None:
        return bounded(Entry(kind=Kind.LATE, name=key, **common))
    return entry_of(waiting.alert, Kind.LATE, **common)
