"""What the Events API v2 accepts, as JSON Schemas, and its error messages for the rest.

An error names the property and the rule, never the value: a value may be a routing key.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol, TypedDict
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker

type Document = Mapping[str, object]

# https://developer.pagerduty.com/docs/events-api-v2-overview
MAX_EVENT_BYTES = 512_000
ROUTING_KEY_LENGTH = 32
# https://developer.pagerduty.com/docs/send-alert-event
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "warning", "error", "info")
MAX_DEDUP_KEY_LENGTH = 255
MAX_SUMMARY_LENGTH = 1024
# https://developer.pagerduty.com/docs/send-change-event
ORCHESTRATION_KEY_PREFIX = "R"


class Payload(TypedDict, total=False):
    """The `payload` of a valid event; a trigger has the first three, a change event the first."""

    summary: str
    source: str
    severity: str
    timestamp: str
    component: str
    group: str
    custom_details: Document


class Event(TypedDict, total=False):
    """A valid event; what its kind requires is there."""

    routing_key: str
    event_action: str
    dedup_key: str
    payload: Payload
    links: list[Document]
    images: list[Document]
    client: str
    client_url: str


# Of the rules that one value breaks, the first written is the one reported: "not blank" comes first.
_TEXT: Document = {"type": "string"}
_FILLED: Document = {"type": "string", "pattern": r"\S"}
_SUMMARY: Document = {**_FILLED, "maxLength": MAX_SUMMARY_LENGTH}
_TIMESTAMP: Document = {"type": "string", "format": "date-time"}
_ROUTING_KEY: Document = {**_FILLED, "minLength": ROUTING_KEY_LENGTH, "maxLength": ROUTING_KEY_LENGTH}
_LINK: Document = {
    "type": "object",
    "required": ["href"],
    "properties": {"href": {**_FILLED, "format": "http-url"}, "text": _TEXT},
}
_IMAGE: Document = {
    "type": "object",
    "required": ["src"],
    "properties": {"src": {**_FILLED, "format": "https-url"}, "href": _TEXT, "alt": _TEXT},
}
_TRIGGER_PAYLOAD: Document = {
    "summary": _SUMMARY,
    "source": _FILLED,
    "severity": {**_FILLED, "enum": list(SEVERITIES)},
    "timestamp": _TIMESTAMP,
    "component": _TEXT,
    "group": _TEXT,
    "class": _TEXT,
    "custom_details": {"type": "object"},
}
_CHANGE_PAYLOAD: Document = {
    "summary": _SUMMARY,
    "source": _TEXT,
    "timestamp": _TIMESTAMP,
    "custom_details": {"type": "object"},
}
_ALERT: Document = {
    "routing_key": _ROUTING_KEY,
    "event_action": {**_FILLED, "enum": list(ACTIONS)},
    "dedup_key": {**_FILLED, "maxLength": MAX_DEDUP_KEY_LENGTH},
    "payload": True,
    "links": {"type": "array", "items": _LINK},
    "images": {"type": "array", "items": _IMAGE},
    "client": _TEXT,
    "client_url": {"type": "string", "format": "http-url"},
}
_CHANGE: Document = {
    "routing_key": {**_ROUTING_KEY, "not": {"pattern": f"^{ORCHESTRATION_KEY_PREFIX}"}},
    "payload": {"type": "object", "required": ["summary"], "properties": _CHANGE_PAYLOAD},
    "links": {"type": "array", "items": _LINK},
    "images": {"type": "array", "items": _IMAGE},
}


def _when_action_is(actions: list[str], then: Document) -> Document:
    return {"if": {"required": ["event_action"], "properties": {"event_action": {"enum": actions}}}, "then": then}


ALERT_SCHEMA: Document = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "POST /v2/enqueue",
    "type": "object",
    "required": ["routing_key", "event_action"],
    "properties": _ALERT,
    "allOf": [
        _when_action_is(
            ["trigger"],
            {
                "required": ["payload"],
                "properties": {
                    "payload": {
                        "type": "object",
                        "required": ["summary", "source", "severity"],
                        "properties": _TRIGGER_PAYLOAD,
                    }
                },
            },
        ),
        _when_action_is(["acknowledge", "resolve"], {"required": ["dedup_key"]}),
    ],
}
CHANGE_SCHEMA: Document = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "POST /v2/change/enqueue",
    "type": "object",
    "required": ["routing_key", "payload"],
    "properties": _CHANGE,
}


def _is_timestamp(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(datetime.fromisoformat(value)))


def _is_url(value: object, *schemes: str) -> bool:
    if not isinstance(value, str):
        return True
    url = urlsplit(value)
    return url.scheme in schemes and bool(url.hostname) and not any(character.isspace() for character in value)


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("date-time", raises=ValueError)(_is_timestamp)
_FORMATS.checks("http-url", raises=ValueError)(lambda value: _is_url(value, "http", "https"))
_FORMATS.checks("https-url", raises=ValueError)(lambda value: _is_url(value, "https"))

_WORDS: Mapping[str, str] = {
    "string": "a string",
    "object": "an object",
    "array": "an array",
    "date-time": "an ISO 8601 date and time",
    "http-url": "an http or https URL",
    "https-url": "an https URL",
}


class _Violation(Protocol):
    """What is used of `jsonschema.ValidationError`, which comes without types."""

    absolute_path: list[str | int]
    instance: object
    validator: str
    validator_value: object


@dataclass(frozen=True)
class EventKind:
    """One of the two kinds of event: its schema, and the properties that PagerDuty knows of it."""

    schema: Document
    properties: Document
    payload_properties: Document

    def errors(self, document: Document) -> tuple[str, ...]:
        """Return what PagerDuty would answer in `errors`; empty if it accepts the document."""
        found: dict[str, str] = {}
        for violation in Draft202012Validator(self.schema, format_checker=_FORMATS).iter_errors(document):
            for name, text in _explain(violation):
                found.setdefault(name, text)
        return tuple(found.values())

    def warnings(self, document: Document) -> tuple[str, ...]:
        """Return what a valid document contains that PagerDuty ignores."""
        ignored = [f"'{name}' is unknown and ignored" for name in document if name not in self.properties]
        payload, action = document.get("payload"), document.get("event_action")
        if action in ("acknowledge", "resolve"):
            if payload is not None:
                ignored.append(f"'payload' is ignored: the event is not a trigger but of type {action}")
        elif isinstance(payload, Mapping):
            ignored += [
                f"'payload.{name}' is unknown and ignored" for name in payload if name not in self.payload_properties
            ]
        return tuple(ignored)


ALERT = EventKind(ALERT_SCHEMA, _ALERT, _TRIGGER_PAYLOAD)
CHANGE = EventKind(CHANGE_SCHEMA, _CHANGE, _CHANGE_PAYLOAD)


def parse(body: bytes) -> Document:
    """Read a request's body.

    Raises:
        ValueError: the body is not UTF-8, not JSON in the strict sense (no NaN), or no object.
    """
    try:
        document = json.loads(body.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _explain(violation: _Violation) -> Iterator[tuple[str, str]]:
    """Return the name of each property at fault and PagerDuty's words for it."""
    path, rule = list(violation.absolute_path), violation.validator_value
    name = _name(path)
    match violation.validator:
        case "required" if isinstance(rule, list) and isinstance(violation.instance, dict):
            for missing in rule:
                if missing not in violation.instance:
                    name = _name([*path, missing])
                    yield name, f"'{name}' is missing or blank"
        case "pattern":
            yield name, f"'{name}' is missing or blank"
        case "minLength" | "maxLength" if name == "routing_key":
            yield name, f"Length of 'routing_key' is incorrect (should be {rule} characters)"
        case "maxLength":
            yield name, f"'{name}' is too long (maximum is {rule} characters)"
        case "enum" if isinstance(rule, list):
            *others, last = (f"'{word}'" for word in rule)
            yield name, f"'{name}' is invalid (must be one of the following: {', '.join(others)} or {last})"
        case "type" | "format":
            yield name, f"'{name}' is invalid (must be {_WORDS[str(rule)]})"
        case _:  # the one rule left: `not`
            yield name, f"'{name}' is invalid (change events need the integration key of a service)"


def _name(path: list[str | int]) -> str:
    """Name a property as PagerDuty does: `payload.summary`, `link href`, `image src`."""
    match path:
        case ["links" | "images" as items, int(), *rest]:
            return " ".join([str(items).removesuffix("s"), *map(str, rest)])
        case _:
            return ".".join(map(str, path))
