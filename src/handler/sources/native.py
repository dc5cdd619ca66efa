"""The native format: that of the retry queue and of dead letters, and for publishers of your own.

Fields: `alert.alert_name` and `alert.status` are required, the rest is optional; docs/sources.md lists them all.
"""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from handler.alert import MAX_TARGETS, Alert, Image, Link, Status, fingerprint_of
from handler.envelope import Record
from handler.validation import Instant, Model, Name, Names, Text, parse_model

ORIGIN = "native"


def _text(value: Any) -> Any:
    """Accept numbers and booleans as texts: missing quotation marks must not stop a page."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _labels(value: Any) -> Any:
    """Leave out nulls, and require the severity to be a text."""
    if not isinstance(value, dict):
        return {} if value is None else value
    severity = value.get("severity")
    if severity is not None and not isinstance(severity, str):
        raise ValueError('severity: must be a string such as "critical"')
    return {name: _text(text) for name, text in value.items() if text is not None}


def _status(word: Any) -> Any:
    """Read `silenced`, the older word for acknowledged."""
    return Status.ACKNOWLEDGED if word == "silenced" else word


Labels = Annotated[dict[str, str], BeforeValidator(_labels)]


def _with_address(name: str) -> BeforeValidator:
    """Leave out links and images without a URL, and nulls in the others."""

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        filled = [
            {k: v for k, v in entry.items() if v is not None} if isinstance(entry, dict) else entry for entry in value
        ]
        return [entry for entry in filled if not isinstance(entry, dict) or name in entry]

    return BeforeValidator(read)


class Classification(Model):
    """A classifier's result; shown whole, but only its severity has an effect."""

    model_config = ConfigDict(extra="allow")

    severity: str | None = None


class NativeAlert(Model):
    """The alert itself: the fields of `Alert`, under the names that they have in a message."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    fingerprint: Text = ""
    name: Name = Field(alias="alert_name")
    status: Annotated[Status, BeforeValidator(_status)]
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    starts_at: Instant = None
    ends_at: Instant = None
    observed_at: Instant = None
    generator_url: Text = ""
    origin: Text = ""
    severity_word: Text = Field("", alias="severity")
    summary: Text = ""
    location: Text = ""
    component: Text = ""
    group: Text = ""
    class_: Text = Field("", alias="class")
    client: Text = ""
    client_url: Text = ""
    links: Annotated[tuple[Link, ...], _with_address("href")] = ()
    images: Annotated[tuple[Image, ...], _with_address("src")] = ()
    details: dict[str, Any] = Field(default_factory=dict)
    targets: Annotated[Names, Field(max_length=MAX_TARGETS)] = Field(default_factory=list)


class NativeMessage(Model):
    """The whole message."""

    alert: NativeAlert
    classification: Classification | None = None


_FIELDS = tuple(field.name for field in fields(Alert) if field.name in NativeAlert.model_fields)


def parse(record: Record) -> list[Alert]:
    """Return the record's alert; raise InvalidAlertError naming each wrong field."""
    message = parse_model(NativeMessage, record.payload, "native alert")
    given, classification = message.alert, message.classification
    fields: dict[str, Any] = {
        **{name: getattr(given, name) for name in _FIELDS},
        "fingerprint": given.fingerprint
        if given.fingerprint.strip()
        else fingerprint_of({"alertname": given.name, **given.labels}),
        "observed_at": given.observed_at or record.published_at,
        "origin": given.origin or ORIGIN,
        "severity_word": (classification and classification.severity)
        or given.severity_word
        or given.labels.get("severity", ""),
        "targets": tuple(dict.fromkeys(given.targets)),
    }
    return [Alert(**fields, classification=(classification and classification.model_dump(exclude_none=True)) or None)]


def dump(alert: Alert) -> dict[str, Any]:
    """Return the message that `parse` reads as an equal alert; empty fields are left out."""
    native = NativeAlert.model_construct(
        **{**{name: getattr(alert, name) for name in _FIELDS}, "targets": list(alert.targets)}
    )
    message = {"alert": native.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
    if alert.classification:
        message["classification"] = dict(alert.classification)
    return message
