"""PagerDuty's own formats over SNS are read as what they are."""

from typing import Any

import pytest

from handler.alert import Alert, Ignored, Image, Link, Status, WhenUndetermined
from handler.envelope import unwrap
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import parse
from tests.lab.alerts import ARRIVED_AT, on_topic, parse_alert, sample

TRIGGER: dict[str, Any] = {
    "routing_key": "x" * 32,
    "event_action": "trigger",
    "dedup_key": "oven-1",
    "client": "oven watch",
    "client_url": "https://ovens.lamplight.example",
    "links": [{"href": "https://wiki.lamplight.example/ovens", "text": "Runbook"}, "damaged"],
    "images": [{"src": "https://ovens.lamplight.example/1.png"}],
    "payload": {
        "summary": "Oven 1 is cold",
        "source": "oven-1",
        "severity": "critical",
        "component": "gas",
        "group": "glass",
        "class": "temperature",
        "custom_details": {"celsius": 900, "team": "glass"},
    },
}


def test_every_field_of_an_event_is_used() -> None:
    alert = parse_alert(on_topic(TRIGGER))
    assert (alert.fingerprint, alert.status, alert.summary) == ("oven-1", Status.FIRING, "Oven 1 is cold")
    assert (alert.severity, alert.location, alert.component) == (Severity.CRITICAL, "oven-1", "gas")
    assert (alert.group, alert.class_, alert.client) == ("glass", "temperature", "oven watch")
    assert alert.links[0] == Link("https://wiki.lamplight.example/ovens", "Runbook")
    assert alert.images == (Image("https://ovens.lamplight.example/1.png"),)
    assert alert.labels["team"] == "glass"


@pytest.mark.parametrize(("action", "status"), [("acknowledge", Status.ACKNOWLEDGED), ("RESOLVE", Status.RESOLVED)])
def test_acknowledge_and_resolve_need_no_payload(action: str, status: Status) -> None:
    alert = parse_alert(on_topic({"event_action": action, "dedup_key": "oven-1"}))
    assert (alert.fingerprint, alert.status) == ("oven-1", status)


def test_triggers_without_a_key_are_distinguished_by_their_content() -> None:
    one = {"event_action": "trigger", "payload": {"summary": "Oven", "source": "a"}}
    other = {"event_action": "trigger", "payload": {"summary": "Oven", "source": "b"}}
    assert parse_alert(on_topic(one)).fingerprint != parse_alert(on_topic(other)).fingerprint


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event_action": "explode", "dedup_key": "a"}, "event_action"),
        ({"event_action": "resolve", "payload": {}}, "dedup_key"),
        ({"event_type": "resolve", "service_key": "x" * 32}, "incident_key"),
    ],
)
def test_a_damaged_body_is_refused_by_the_name_of_the_field(body: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=f"PagerDuty event: {field}"):
        parse_alert(on_topic(body))


CHANGE: dict[str, Any] = {
    "routing_key": "x" * 32,
    "payload": {
        "summary": "Oven 1 has a new door",
        "timestamp": "2026-11-23T03:15:00.000Z",
        "source": "oven-1",
        "custom_details": {"team": "glass"},
    },
    "links": [{"href": "https://wiki.lamplight.example/doors", "text": "Order"}],
}


def test_a_change_event_stays_one() -> None:
    """It has no action; an alert that lacks its action pages all the same."""
    alert = parse_alert(on_topic(CHANGE))
    assert (alert.is_change, alert.summary, alert.location) == (True, "Oven 1 has a new door", "oven-1")
    assert alert.links == (Link("https://wiki.lamplight.example/doors", "Order"),)
    assert alert.labels["team"] == "glass"

    without_action = {**CHANGE, "payload": {**CHANGE["payload"], "severity": "critical"}}
    assert parse_alert(on_topic(without_action)).status is Status.FIRING


@pytest.mark.parametrize(
    "event",
    [
        on_topic({"event": {"event_type": "incident.triggered", "resource_type": "incident", "data": {"id": "Q1"}}}),
        {
            "detail-type": "incident.triggered",
            "source": "aws.partner/pagerduty.com/lamplight",
            "detail": {"event": {"data": {"title": "Oven 1 is cold"}}},
        },
    ],
)
def test_what_pagerduty_says_of_its_own_incidents_is_not_paged_again(event: Any) -> None:
    """It would make an incident of its own, which PagerDuty reports in turn."""
    (found,) = parse(unwrap(event, ARRIVED_AT))
    assert isinstance(found, Ignored)
    assert found.reason is SkipReason.NOTICE


def test_the_first_version_of_the_api_is_read_too() -> None:
    contexts = [{"type": "link", "href": "https://ovens.lamplight.example/1"}, {"type": "image", "src": "https://i/1"}]
    alert = parse_alert(
        on_topic(
            {"event_type": "trigger", "service_key": "x" * 32, "incident_key": "oven", "description": "Cold"}
            | {"contexts": contexts}
        )
    )
    assert (alert.fingerprint, alert.summary, alert.links[0].href) == ("oven", "Cold", contexts[0]["href"])
    assert alert.images[0].src == "https://i/1"


def test_an_alarm_and_its_ok_share_the_subject_without_the_state() -> None:
    alarm, ok = (parse_alert(sample(f"pagerduty-sns-cloudwatch-{state}")) for state in ("alarm", "ok"))
    assert alarm.fingerprint == ok.fingerprint
    assert (alarm.status, ok.status) == (Status.FIRING, Status.RESOLVED)


def test_alarms_without_any_name_are_distinguished_by_their_content() -> None:
    one, other = ({"NewStateValue": "ALARM", "shelf": shelf} for shelf in (1, 2))
    assert parse_alert(on_topic(one)).fingerprint != parse_alert(on_topic(other)).fingerprint


def test_an_alarm_without_data_is_what_the_setting_says() -> None:
    record = unwrap(on_topic({"NewStateValue": "INSUFFICIENT_DATA", "incident_key": "oven"}), ARRIVED_AT)
    assert parse(record) == [Ignored(SkipReason.INSUFFICIENT_DATA, "oven")]
    (resolved,) = parse(record, WhenUndetermined.RESOLVE)
    assert isinstance(resolved, Alert)
    assert resolved.status is Status.RESOLVED
