"""What the simulator refuses, and in which words."""

import json
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from local.simulator.schema import ALERT, CHANGE, parse

KEY = "0123456789abcdef0123456789abcdef"
TRIGGER: dict[str, Any] = {
    "routing_key": KEY,
    "event_action": "trigger",
    "dedup_key": "db/cpu",
    "payload": {
        "summary": "CPU at 97 %",
        "source": "db-1",
        "severity": "critical",
        "timestamp": "2026-11-23T03:40:01.315+0000",
        "component": "postgres",
        "group": "prod",
        "class": "cpu",
        "custom_details": {"free": "1 %"},
    },
    "links": [{"href": "http://runbook.example.com/cpu", "text": "Runbook"}],
    "images": [{"src": "https://graphs.example.com/cpu.png", "href": "", "alt": "CPU"}],
    "client": "Publisher",
    "client_url": "https://console.example.com/",
}
CHANGE_EVENT: dict[str, Any] = {
    "routing_key": KEY,
    "payload": {"summary": "Deployed 42", "source": "ci", "timestamp": "2026-11-23T03:40:01Z", "custom_details": {}},
    "links": [{"href": "https://ci.example.com/42"}],
    "images": [],
}
ABSENT = object()


def altered(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Copy a document with the value at `path` (dotted) replaced, or absent."""
    document = deepcopy(document)
    *parents, name = path.split(".")
    parent: Any = document
    for each in parents:
        parent = parent[int(each) if isinstance(parent, list) else each]
    if value is ABSENT:
        del parent[name]
    else:
        parent[name] = value
    return document


def test_schemas_are_schemas() -> None:
    """Both schemas are valid JSON Schemas."""
    Draft202012Validator.check_schema(ALERT.schema)
    Draft202012Validator.check_schema(CHANGE.schema)


ROUTING_KEY_LENGTH = "Length of 'routing_key' is incorrect (should be 32 characters)"
SEVERITY = "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
ACTION = "'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')"


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("routing_key", ABSENT, "'routing_key' is missing or blank"),
        ("routing_key", "", "'routing_key' is missing or blank"),
        ("routing_key", KEY[:-1], ROUTING_KEY_LENGTH),
        ("routing_key", KEY + "0", ROUTING_KEY_LENGTH),
        ("routing_key", 5, "'routing_key' is invalid (must be a string)"),
        ("event_action", ABSENT, "'event_action' is missing or blank"),
        ("event_action", "open", ACTION),
        ("dedup_key", "", "'dedup_key' is missing or blank"),
        ("dedup_key", "k" * 256, "'dedup_key' is too long (maximum is 255 characters)"),
        ("dedup_key", 5, "'dedup_key' is invalid (must be a string)"),
        ("payload", ABSENT, "'payload' is missing or blank"),
        ("payload", "CPU", "'payload' is invalid (must be an object)"),
        ("payload.summary", ABSENT, "'payload.summary' is missing or blank"),
        ("payload.summary", " \n", "'payload.summary' is missing or blank"),
        ("payload.summary", "s" * 1025, "'payload.summary' is too long (maximum is 1024 characters)"),
        ("payload.source", ABSENT, "'payload.source' is missing or blank"),
        ("payload.source", "", "'payload.source' is missing or blank"),
        ("payload.severity", ABSENT, "'payload.severity' is missing or blank"),
        ("payload.severity", "", "'payload.severity' is missing or blank"),
        ("payload.severity", "Critical", SEVERITY),
        ("payload.timestamp", "yesterday", "'payload.timestamp' is invalid (must be an ISO 8601 date and time)"),
        ("payload.timestamp", "2026-11-23", "'payload.timestamp' is invalid (must be an ISO 8601 date and time)"),
        ("payload.timestamp", 1795405201, "'payload.timestamp' is invalid (must be a string)"),
        ("payload.component", 5, "'payload.component' is invalid (must be a string)"),
        ("payload.group", ["prod"], "'payload.group' is invalid (must be a string)"),
        ("payload.class", {}, "'payload.class' is invalid (must be a string)"),
        ("payload.custom_details", "free: 1 %", "'payload.custom_details' is invalid (must be an object)"),
        ("links", {}, "'links' is invalid (must be an array)"),
        ("links", ["https://example.com"], "'link' is invalid (must be an object)"),
        ("links.0.href", ABSENT, "'link href' is missing or blank"),
        ("links.0.href", "", "'link href' is missing or blank"),
        ("links.0.href", "ftp://example.com/", "'link href' is invalid (must be an http or https URL)"),
        ("links.0.text", 5, "'link text' is invalid (must be a string)"),
        ("images", {}, "'images' is invalid (must be an array)"),
        ("images.0.src", ABSENT, "'image src' is missing or blank"),
        ("images.0.src", "", "'image src' is missing or blank"),
        ("images.0.src", "http://example.com/cpu.png", "'image src' is invalid (must be an https URL)"),
        ("images.0.href", 5, "'image href' is invalid (must be a string)"),
        ("images.0.alt", 5, "'image alt' is invalid (must be a string)"),
        ("client", 5, "'client' is invalid (must be a string)"),
        ("client_url", "console", "'client_url' is invalid (must be an http or https URL)"),
        ("client_url", "https://", "'client_url' is invalid (must be an http or https URL)"),
        ("client_url", "https://[::1", "'client_url' is invalid (must be an http or https URL)"),
        ("client_url", "https://a.example/ b", "'client_url' is invalid (must be an http or https URL)"),
    ],
)
def test_trigger_that_breaks_one_rule_is_refused_for_that_rule(path: str, value: object, error: str) -> None:
    """Each rule for an alert event gives exactly one error, which names the property."""
    assert ALERT.errors(TRIGGER) == ()
    assert ALERT.errors(altered(TRIGGER, path, value)) == (error,)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dedup_key", ABSENT),
        ("dedup_key", "k" * 255),
        ("payload.summary", "é" * 1024),
        ("payload.timestamp", "2026-11-23T03:40:01Z"),
        ("payload.timestamp", ABSENT),
        ("payload.custom_details", ABSENT),
        ("links", []),
        ("images", ABSENT),
        ("client_url", ABSENT),
        ("routing_key", "R" + KEY[1:]),
    ],
)
def test_trigger_at_the_edge_of_a_rule_is_accepted(path: str, value: object) -> None:
    """The limits are inclusive, count characters and not bytes, and optional means optional."""
    assert ALERT.errors(altered(TRIGGER, path, value)) == ()


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_acknowledge_and_resolve_need_a_dedup_key_and_no_payload(action: str) -> None:
    """Acknowledge and resolve need no more than the key of what they are about."""
    assert ALERT.errors({"routing_key": KEY, "event_action": action, "dedup_key": "db/cpu"}) == ()
    assert ALERT.errors({"routing_key": KEY, "event_action": action}) == ("'dedup_key' is missing or blank",)


def test_every_fault_of_an_event_is_named() -> None:
    """The errors of several properties come together, and each property is named once."""
    assert set(ALERT.errors({"links": [{}, {}]})) == {
        "'routing_key' is missing or blank",
        "'event_action' is missing or blank",
        "'link href' is missing or blank",
    }


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("routing_key", ABSENT, "'routing_key' is missing or blank"),
        ("routing_key", KEY[:-1], ROUTING_KEY_LENGTH),
        (
            "routing_key",
            "R" + KEY[1:],
            "'routing_key' is invalid (change events need the integration key of a service)",
        ),
        ("payload", ABSENT, "'payload' is missing or blank"),
        ("payload.summary", ABSENT, "'payload.summary' is missing or blank"),
        ("payload.summary", "s" * 1025, "'payload.summary' is too long (maximum is 1024 characters)"),
        ("payload.source", 5, "'payload.source' is invalid (must be a string)"),
        ("payload.timestamp", "today", "'payload.timestamp' is invalid (must be an ISO 8601 date and time)"),
        ("payload.custom_details", [], "'payload.custom_details' is invalid (must be an object)"),
        ("links.0.href", "", "'link href' is missing or blank"),
        ("images", [{}], "'image src' is missing or blank"),
    ],
)
def test_change_event_that_breaks_one_rule_is_refused_for_that_rule(path: str, value: object, error: str) -> None:
    """Each rule for a change event gives exactly one error, which names the property."""
    assert CHANGE.errors(CHANGE_EVENT) == ()
    assert CHANGE.errors(altered(CHANGE_EVENT, path, value)) == (error,)


def test_errors_never_quote_a_value() -> None:
    """A value may be a secret in the wrong place, so no error repeats one."""
    broken = altered(altered(TRIGGER, "routing_key", "s3cret" * 6), "event_action", "s3cret")
    assert "s3cret" not in str(ALERT.errors(broken))


def test_valid_events_give_no_warning() -> None:
    """A full trigger and a full change event carry nothing that PagerDuty ignores."""
    assert ALERT.warnings(TRIGGER) == ()
    assert CHANGE.warnings(CHANGE_EVENT) == ()


def test_what_pagerduty_ignores_is_warned_of() -> None:
    """Unknown properties, at the top and in the payload, and the payload of a resolve are accepted with a warning."""
    assert ALERT.warnings({**TRIGGER, "severity": "error"}) == ("'severity' is unknown and ignored",)
    assert ALERT.warnings(altered(TRIGGER, "payload.class_", "x")) == ("'payload.class_' is unknown and ignored",)
    assert ALERT.warnings({**TRIGGER, "event_action": "resolve"}) == (
        "'payload' is ignored: the event is not a trigger but of type resolve",
    )
    assert CHANGE.warnings({**CHANGE_EVENT, "event_action": "trigger"}) == ("'event_action' is unknown and ignored",)
    assert CHANGE.warnings(altered(CHANGE_EVENT, "payload.severity", "info")) == (
        "'payload.severity' is unknown and ignored",
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b'{"a": NaN}', b'{"a": "\xff"}', b'{"a":' + b"[" * 200_000]
)
def test_what_is_no_json_object_is_not_parsed(body: bytes) -> None:
    """Neither broken JSON, nor Python's dialect of it, nor a value other than an object is an event."""
    with pytest.raises(ValueError, match=r"."):
        parse(body)


def test_json_object_is_parsed() -> None:
    """An object comes back as it was sent."""
    assert parse(json.dumps(TRIGGER).encode()) == TRIGGER
