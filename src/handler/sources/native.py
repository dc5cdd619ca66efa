"""The native alert: the format of this publisher, of its retry queue and of its dead letters.

Fields: `alert.alert_name` and `alert.status` are required, the rest is optional; docs/sources.md lists them all.
"""

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from handler.alert import (
    Alert,
    Ignored,
    Image,
    Link,
    Status,
    fingerprint_of,
)
from handler.envelope import Record
from handler.validation import (
    Instant,
    Model,
    Name,
    Names,
    Text,
    parse_model,
)

ORIGIN = "native"


class NativeStatus(StrEnum):
    """The words for a status; `silenced` is an older one for acknowledged."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


_STATUS = {
    NativeStatus.FIRING: Status.FIRING,
    NativeStatus.ACKNOWLEDGED: Status.ACKNOWLEDGED,
    NativeStatus.SILENCED: Status.ACKNOWLEDGED,
    NativeStatus.RESOLVED: Status.RESOLVED,
}


def _text(value: Any) -> Any:
    """Accept numbers and booleans where a text belongs: a page is worth more than a quotation mark."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _labels(value: Any) -> Any:
    """Leave out what is null, and insist on a text for the severity."""
    if not isinstance(value, dict):
        return {} if value is None else value
    severity = value.get("severity")
    if severity is not None and not isinstance(severity, str):
        raise ValueError('severity: has to be a string such as "critical"')
    return {name: _text(text) for name, text in value.items() if text is not None}


Labels = Annotated[dict[str, str], BeforeValidator(_labels)]


class NativeLink(Model):
    """A link; one without an href is left out later."""

    href: Text = ""
    text: Text = ""


class NativeImage(Model):
    """An image; one without a src is left out later."""

    src: Text = ""
    href: Text = ""
    alt: Text = ""


class Classification(Model):
    """What a classifier thinks of the alert; kept whole, of which only the severity is acted upon."""

    model_config = ConfigDict(extra="allow")

    severity: str | None = None


class NativeAlert(Model):
    """The alert itself."""

    model_config = ConfigDict(populate_by_name=True)

    fingerprint: Text = ""
    alert_name: Name
    status: NativeStatus
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    starts_at: Instant = None
    ends_at: Instant = None
    observed_at: Instant = None
    generator_url: Text = ""
    origin: Text = ""
    severity: Text = ""
    summary: Text = ""
    location: Text = ""
    component: Text = ""
    group: Text = ""
    class_: Text = Field("", alias="class")
    client: Text = ""
    client_url: Text = ""
    links: list[NativeLink] = Field(default_factory=list)
    images: list[NativeImage] = Field(default_factory=list)
    details: dict[str, Any] = Field(default_factory=dict)
    targets: Names = Field(default_factory=list)


class NativeMessage(Model):
    """The whole message."""

    alert: NativeAlert
    classification: Classification | None = None


def parse(record: Record) -> list[Alert | Ignored]:
    """Give the one alert of the record; raise InvalidAlertError naming each wrong field."""
    message = parse_model(NativeMessage, record.payload, "native alert")
    return [_alert(message, record.published_at)]


def _alert(message: NativeMessage, published_at: datetime) -> Alert:
    given = message.alert
    classification = message.classification
    return Alert(
        fingerprint=given.fingerprint
        if given.fingerprint.strip()
        else fingerprint_of({"alertname": given.alert_name, **given.labels}),
        name=given.alert_name,
        status=_STATUS[given.status],
        observed_at=_observed_at(given, published_at),
        origin=given.origin or ORIGIN,
        labels=given.labels,
        annotations=given.annotations,
        starts_at=given.starts_at,
        ends_at=given.ends_at,
        generator_url=given.generator_url,
        classification=(classification.model_dump(exclude_none=True) or None) if classification else None,
        severity_word=(classification and classification.severity)
        or given.severity
        or given.labels.get("severity", ""),
        summary=given.summary,
        location=given.location,
        component=given.component,
        group=given.group,
        class_=given.class_,
        client=given.client,
        client_url=given.client_url,
        links=tuple(Link(link.href, link.text) for link in given.links),
        images=tuple(Image(image.src, image.href, image.alt) for image in given.images),
        details=given.details,
        targets=tuple(dict.fromkeys(given.targets)),
    )


def _observed_at(given: NativeAlert, published_at: datetime) -> datetime:
    """Find the source's time of the state change.

    An acknowledgement, and an end without a time, happened when they were published: `starts_at` is the time of an
    earlier change.
    """
    if given.observed_at:
        return given.observed_at
    match _STATUS[given.status]:
        case Status.FIRING:
            return given.starts_at or published_at
        case Status.ACKNOWLEDGED:
            return published_at
        case Status.RESOLVED:
            return given.ends_at or published_at


def dump(alert: Alert) -> dict[str, Any]:
    """Give the message that `parse` reads as this very alert; empty fields are left out."""
    fields = {
        "fingerprint": alert.fingerprint,
        "alert_name": alert.name,
        "status": str(alert.status),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_at": alert.starts_at.isoformat() if alert.starts_at else None,
        "ends_at": alert.ends_at.isoformat() if alert.ends_at else None,
        "observed_at": alert.observed_at.isoformat(),
        "generator_url": alert.generator_url,
        "origin": alert.origin,
        "severity": alert.severity_word,
        "summary": alert.summary,
        "location": alert.location,
        "component": alert.component,
        "group": alert.group,
        "class": alert.class_,
        "client": alert.client,
        "client_url": alert.client_url,
        "links": [asdict(link) for link in alert.links],
        "images": [asdict(image) for image in alert.images],
        "details": dict(alert.details),
        "targets": list(alert.targets),
    }
    message: dict[str, Any] = {"alert": {name: value for name, value in fields.items() if value}}
    if alert.classification:
        message["classification"] = dict(alert.classification)
    return message
