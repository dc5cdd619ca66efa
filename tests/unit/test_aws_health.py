"""AWS Health: one alert for each event and account, however many pages, regions and updates it comes in."""

import json
from typing import Any

import pytest

from handler.alert import Status
from handler.errors import InvalidAlertError
from handler.mapping import event_of
from handler.pagerduty.severity import Severity
from handler.sources import native
from tests.lab.alerts import (
    on_topic,
    parse,
    parse_alert,
    sample,
    shown,
    with_detail,
)

OPEN = sample("health-eventbridge-open")
CLOSED = sample("health-eventbridge-closed")
UPCOMING = sample("health-eventbridge-upcoming")


def test_an_event_and_its_end_share_the_fingerprint() -> None:
    opened, closed = parse_alert(OPEN), parse_alert(CLOSED)

    assert opened.fingerprint == closed.fingerprint == f"{OPEN['detail']['eventArn']}#123456789012"
    assert (opened.status, closed.status) == (Status.FIRING, Status.RESOLVED)
    assert opened.observed_at < closed.observed_at


def test_both_paths_give_one_alert() -> None:
    assert parse_alert(on_topic(OPEN)) == parse_alert(OPEN)


@pytest.mark.parametrize(
    "copy",
    [
        {**OPEN, "region": "us-west-2", "id": "another"},
        with_detail(OPEN, page="2", totalPages="2", affectedEntities=[{"entityValue": "i-2"}]),
    ],
    ids=["in the backup region", "the next page"],
)
def test_a_copy_is_a_duplicate(copy: Any) -> None:
    """The same identity, state and time: PagerDuty hears of it once."""
    one, other = parse_alert(copy), parse_alert(OPEN)
    assert (one.fingerprint, one.status, one.observed_at) == (other.fingerprint, other.status, other.observed_at)


def test_each_affected_account_has_an_incident_of_its_own() -> None:
    """The organization's account gets the events of all of them."""
    other = parse_alert(with_detail(OPEN, affectedAccount="210987654321"))

    assert other.fingerprint == f"{OPEN['detail']['eventArn']}#210987654321"
    assert (other.group, other.labels["account"]) == ("210987654321", "210987654321")
    assert parse_alert(with_detail(OPEN, affectedAccount=...)).fingerprint == parse_alert(OPEN).fingerprint


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("open", Status.FIRING),
        ("upcoming", Status.FIRING),
        (..., Status.FIRING),
        (None, Status.FIRING),
        ("closed", Status.RESOLVED),
    ],
)
def test_an_event_fires_until_it_is_closed(code: Any, status: Status) -> None:
    assert parse_alert(with_detail(OPEN, statusCode=code)).status is status


@pytest.mark.parametrize(
    ("category", "severity"),
    [
        ("issue", Severity.ERROR),
        ("investigation", Severity.WARNING),
        ("scheduledChange", Severity.WARNING),
        ("accountNotification", Severity.INFO),
        ("surprise", None),
        (None, None),
    ],
)
def test_the_category_is_the_severity(category: Any, severity: Severity | None) -> None:
    assert parse_alert(with_detail(OPEN, eventTypeCategory=category)).severity is severity


def test_an_event_of_abuse_is_read_alike() -> None:
    assert parse_alert({**OPEN, "detail-type": "AWS Health Abuse Event"}) == parse_alert(OPEN)


def test_the_time_of_the_event_orders_it() -> None:
    """Not that of the start, which stays the same for as long as it lasts."""
    alert = parse_alert(OPEN)

    assert alert.observed_at.isoformat() == "2026-11-24T09:21:02+00:00"


def test_what_is_to_come_is_dated_by_its_announcement() -> None:
    payload = event_of(parse_alert(UPCOMING), Severity.ERROR).payload

    assert payload
    assert payload.timestamp
    assert payload.custom_details
    assert payload.timestamp.isoformat() == "2026-11-24T10:05:33+00:00"
    assert payload.custom_details["start_time"] == "2026-12-08T02:00:00+00:00"


def test_what_targets_match_on() -> None:
    assert parse_alert(OPEN).labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "service": "EC2",
        "type": "AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED",
        "category": "issue",
        "scope": "ACCOUNT_SPECIFIC",
    }
    assert parse_alert(with_detail({**OPEN, "region": "us-west-2"}, eventRegion=...)).labels["region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("entities", "resources", "place"),
    [
        ([{"entityValue": "i-1"}, {"entityValue": "i-2"}, {}, "text"], ["i-3"], "i-1, i-2"),
        ([], ["i-3", "i-4"], "i-3, i-4"),
        (None, [], "EC2"),
    ],
)
def test_the_affected_entities_are_the_place(entities: Any, resources: list[str], place: str) -> None:
    event = with_detail({**OPEN, "resources": resources}, affectedEntities=entities)

    assert parse_alert(event).location == place


def test_the_link_leads_to_the_event() -> None:
    assert parse_alert(OPEN).client_url.startswith(
        "https://eu-west-1.console.aws.amazon.com/health/home?region=eu-west-1#/account/event-log?eventID=arn%3Aaws%3A"
    )


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ({"eventArn": ...}, "eventArn"),
        ({"eventArn": ""}, "eventArn"),
        ({"eventArn": ["hunter2"]}, "eventArn"),
    ],
)
def test_a_damaged_event_is_named_without_its_values(detail: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidAlertError, match=f"AWS Health event: {field}") as refused:
        parse(with_detail(OPEN, **detail))

    assert "hunter2" not in shown(refused.value)


@pytest.mark.parametrize("event", [OPEN, UPCOMING])
def test_an_event_survives_the_queue(event: Any) -> None:
    alert = parse_alert(event)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


def test_line_breaks_that_are_written_out_are_none_of_the_summary() -> None:
    description = {"language": "en_US", "latestDescription": r"Disks are slow.\n\nReplace C:\new by\r\nanother."}
    alert = parse_alert(with_detail(OPEN, eventDescription=[description]))
    payload = event_of(alert, Severity.ERROR).payload

    assert payload
    assert payload.summary.endswith(r": Disks are slow. Replace C:\new by another.")
