"""The last resort: whatever was published pages, keyed so that repeats fold; what was only handed over does not."""

import json
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.errors import NotAnAlertError
from handler.mapping import dedup_key_of, event_of
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from tests.lab.alerts import parse, parse_alert

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"


def by_sns(message: str, subject: str | None = None, topic: str = TOPIC) -> Alert:
    notification = {"TopicArn": topic, "Message": message, "Subject": subject, "MessageId": "m-1"}
    return parse_alert({"EventSource": "aws:sns", "Sns": notification})


def by_queue(body: str, message_id: str = "m-1") -> Alert:
    return parse_alert({"Records": [{"eventSource": "aws:sqs", "messageId": message_id, "body": body}]})


def event(detail: Any = None, **fields: Any) -> dict[str, Any]:
    return {
        "detail-type": "Door Open",
        "source": "lamplight.warehouse",
        "account": "123456789012",
        "region": "eu-west-1",
        "resources": ["thing/2", "thing/1"],
        "detail": detail if detail is not None else {},
        **fields,
    }


def test_a_subject_names_the_incident() -> None:
    """The same subject on the same topic is the same incident, whatever the text says."""
    first, second = by_sns("It is 10:00\nand cold", "Freezer"), by_sns("It is 10:05", "Freezer")

    assert first.status is Status.FIRING
    assert first.summary == "Freezer: It is 10:00"
    assert first.fingerprint == second.fingerprint == f"{TOPIC}#Freezer"
    assert by_sns("x", "Oven").fingerprint != first.fingerprint
    assert by_sns("x", "Freezer", TOPIC + "-2").fingerprint != first.fingerprint


def test_without_a_subject_the_first_line_does() -> None:
    alert = by_sns("\n  Freezer is warm \nsecond line")

    assert (alert.name, alert.summary, alert.fingerprint) == ("Freezer is warm",) * 2 + (f"{TOPIC}#Freezer is warm",)
    assert alert.details["message"] == "\n  Freezer is warm \nsecond line"


@pytest.mark.parametrize(
    ("message", "summary"),
    [
        ({"title": "Freezer is warm", "message": "later"}, "Freezer is warm"),
        ({"title": "", "message": "Freezer\nis warm"}, "Freezer"),
        ({"title": 3, "celsius": -9}, '{"title": 3, "celsius": -9}'),
        (["Freezer"], '["Freezer"]'),
        (7, "7"),
        (True, "true"),
    ],
)
def test_json_is_named_by_what_it_is_about(message: Any, summary: str) -> None:
    assert by_sns(json.dumps(message)).summary == summary


@pytest.mark.parametrize("message", ["", " \n ", "{}", "[]", "null", '""'])
def test_a_message_without_a_text_pages_under_its_own_id(message: str) -> None:
    """Two of them are two incidents: nobody knows that they are one."""
    assert by_queue(message or " ").fingerprint == "sqs#m-1"
    assert by_queue(message or " ", "m-2").fingerprint == "sqs#m-2"
    assert by_sns(message).summary == "A message without text"


def test_events_of_the_same_kind_on_the_same_resources_are_one_incident() -> None:
    """In whatever order the resources are."""
    alert = parse_alert(event({"message": "For 10 minutes"}))

    assert alert.fingerprint == "lamplight.warehouse#Door Open#thing/1,thing/2"
    assert alert.summary == "Door Open: For 10 minutes"
    assert alert.fingerprint == parse_alert(event(7, resources=["thing/1", "thing/2"])).fingerprint
    assert alert.fingerprint != parse_alert(event(source="lamplight.shop")).fingerprint
    assert alert.fingerprint != parse_alert(event(**{"detail-type": "Door Shut"})).fingerprint


def test_events_without_resources_are_told_apart_by_account_and_region() -> None:
    one = parse_alert(event(resources=[]))

    assert one.fingerprint == "123456789012:eu-west-1:lamplight.warehouse#Door Open#"
    assert one.fingerprint != parse_alert(event(resources=[], region="us-east-1")).fingerprint


@pytest.mark.parametrize("source", [" ", "", "lamplight.shop"])
def test_an_event_of_a_blank_kind_is_named_and_placed(source: str) -> None:
    """PagerDuty takes neither a blank summary nor a blank source."""
    alert = parse_alert(event(**{"detail-type": " ", "source": source, "resources": [" "]}))
    payload = event_of(alert, Severity.ERROR).payload

    assert payload
    assert payload.summary.strip() == (source.strip() or "An event")
    assert payload.source.strip() == (source.strip() or "An event")


def test_a_severity_is_taken_from_the_top_of_the_message() -> None:
    assert by_sns('{"severity": "P1"}').severity is Severity.CRITICAL
    assert parse_alert(event({"severity": "warn"})).severity is Severity.WARNING
    assert by_sns('{"severity": 1}').severity is None


def test_a_very_long_subject_keeps_a_readable_key() -> None:
    alert = by_sns("text", "Freezer " * 100)

    assert len(alert.name) == 255
    assert dedup_key_of(alert).startswith(f"{TOPIC}#Freezer Freezer")


@pytest.mark.parametrize("raw", [{"key1": "value1"}, "text", None, 3])
def test_what_was_only_handed_over_is_refused(raw: Any) -> None:
    """The console's test event must page nobody."""
    with pytest.raises(NotAnAlertError, match="came by no topic, bus or queue"):
        parse(raw)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "Token": "t"}, SkipReason.TEST_MESSAGE),
        ({"Type": "UnsubscribeConfirmation", "TopicArn": TOPIC, "Token": "t"}, SkipReason.TEST_MESSAGE),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lamps"}, SkipReason.TEST_MESSAGE),
        ("Successfully validated SNS topic for Amazon SES event publishing.", SkipReason.TEST_MESSAGE),
    ],
)
def test_tests_of_a_topic_page_nobody(message: Any, reason: SkipReason) -> None:
    """They are counted."""
    text = message if isinstance(message, str) else json.dumps(message)
    (found,) = parse({"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": text, "Subject": "S"}})

    assert found == Ignored(reason, "S")


def test_a_schedule_pages_nobody() -> None:
    assert parse(event(**{"detail-type": "Scheduled Event"})) == [Ignored(SkipReason.NOTICE, "Scheduled Event")]
