"""Dead letters as lines of a report, whoever wrote them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from handler.alert import Alert
from handler.operators.entries import Entry, Kind
from handler.operators.letters import entries_of_letter
from handler.pagerduty.severity import Severity
from handler.sources.reader import Reader
from tests.lab.alerts import sample

FUNCTION = "stack-publisher"
ARN = f"arn:aws:lambda:us-east-1:000000000000:function:{FUNCTION}"
NATIVE = {
    "alert": {
        "fingerprint": "orders-db",
        "alert_name": "OrdersDatabaseHighCPU",
        "status": "firing",
        "labels": {"severity": "critical"},
        "summary": "CPU at 97 %",
        "location": "orders-db-1",
        "generator_url": "https://prometheus.example.com/g",
    }
}
SNS_LETTER = {
    "Type": "Notification",
    "MessageId": "m-1",
    "TopicArn": "arn:aws:sns:us-east-1:000000000000:alerts",
    "Message": json.dumps(NATIVE),
    "Timestamp": "2026-11-23T03:40:01.000Z",
}
LAMBDA_LETTER = {
    "version": "1.0",
    "timestamp": "2026-11-23T03:45:01.000Z",
    "requestContext": {"functionArn": f"{ARN}:$LATEST", "condition": "RetriesExhausted", "requestId": "r"},
    "requestPayload": {"Records": [{"EventSource": "aws:sns", "Sns": SNS_LETTER}]},
    "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
    "responsePayload": {"errorMessage": "Task timed out after 60.00 seconds"},
}
EVENT_LETTER = {
    "version": "0",
    "id": "e-1",
    "detail-type": "Alert",
    "source": "shop",
    "account": "000000000000",
    "region": "us-east-1",
    "time": "2026-11-23T03:40:01Z",
    "resources": [],
    "detail": NATIVE,
}


def taken(alert: Alert, named: str) -> tuple[str, Severity | None]:
    return named or "production", alert.severity or Severity.ERROR


def read(body: Any, **attributes: str) -> list[Entry]:
    letter: Mapping[str, Any] = {
        "MessageId": "letter-1",
        "Body": body if isinstance(body, str) else json.dumps(body),
        "Attributes": {"SentTimestamp": "1795407000500"},
        "MessageAttributes": {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
    }
    return entries_of_letter(letter, Reader(function_name=FUNCTION), taken)


UNREADABLE = "An unreadable message"
RULE = "arn:aws:events:us-east-1:000000000000:rule/stack-native"


@pytest.mark.parametrize(
    ("body", "attributes", "target", "error"),
    [
        (
            {**NATIVE, "error": "PagerDuty answered 400", "delivery": {"target": "payments"}},
            {"error_type": "bad_request", "error": "PagerDuty answered 400", "attempts": "1"},
            "payments",
            "bad_request: PagerDuty answered 400",
        ),
        (SNS_LETTER, {"ErrorCode": "403", "ErrorMessage": "AccessDenied"}, "production", "SNS: AccessDenied"),
        (
            EVENT_LETTER,
            {"RULE_ARN": RULE, "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not authorized"},
            "production",
            "EventBridge: not authorized",
        ),
        (LAMBDA_LETTER, {}, "production", "Lambda: Task timed out after 60.00 seconds"),
        ({**LAMBDA_LETTER, "responsePayload": None}, {}, "production", "Lambda: RetriesExhausted"),
        (
            {**NATIVE, "delivery": {"target": "payments", "failures": 3}},
            {},
            "payments",
            "the function failed on every delivery: see its log",
        ),
    ],
    ids=["own", "SNS", "EventBridge", "Lambda", "Lambda, without an answer", "SQS"],
)
def test_every_dead_letter_is_reported_with_its_content(
    body: Any, attributes: dict[str, str], target: str, error: str
) -> None:
    """Whoever wrote it: name, summary, severity, place, target, link, and the error as its writer says it."""
    [entry] = read(body, **attributes)
    assert entry == Entry(
        kind=Kind.DEAD_LETTER,
        name="OrdersDatabaseHighCPU",
        summary="OrdersDatabaseHighCPU: CPU at 97 %",
        severity="critical",
        location="orders-db-1",
        target=target,
        link="https://prometheus.example.com/g",
        since=1795407000.5,
        note=error,
    )


def test_an_alarm_that_sns_could_not_deliver_is_named() -> None:
    """As it lies in the queue: CloudWatch's notification, without this function's hand."""
    sns = sample("cloudwatch-sns-alarm")["Records"][0]["Sns"]
    [entry] = read({**sns, "Type": "Notification"}, ErrorCode="ServiceUnavailable")
    assert entry.name == json.loads(sns["Message"])["AlarmName"]
    assert entry.severity
    assert entry.location
    assert entry.link.startswith("https://")
    assert entry.note == "SNS: ServiceUnavailable"


def test_each_alert_of_a_dead_letter_is_reported() -> None:
    """One webhook of Alertmanager holds several."""
    event = sample("alertmanager-sns-firing")
    webhook = json.loads(event["Records"][0]["Sns"]["Message"])
    [first] = webhook["alerts"]
    second = {**first, "labels": {**first["labels"], "alertname": "Second"}, "fingerprint": "2"}
    event["Records"][0]["Sns"]["Message"] = json.dumps({**webhook, "alerts": [first, second]})
    entries = read({**LAMBDA_LETTER, "requestPayload": event})
    assert [entry.name for entry in entries][1:] == ["Second"]


def test_a_resolve_is_not_taken_for_an_alert_that_fires() -> None:
    [entry] = read({"alert": {**NATIVE["alert"], "status": "resolved"}})
    assert entry.name == "OrdersDatabaseHighCPU (resolved)"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("not JSON", "not JSON"),
        ({"drain": {"target": "production"}}, "target production"),
        ([], "A message without text"),
        ({"error": "native alert: alert_name: missing", "record": {"alert": {"fingerprint": "x"}}}, UNREADABLE),
        ({"alert": {"fingerprint": "x"}}, UNREADABLE),
        pytest.param('{"alert":' * 500 + "1" + "}" * 500, UNREADABLE, id="nested too deeply"),
    ],
)
def test_what_is_no_alert_is_reported_too(body: Any, name: str) -> None:
    [entry] = read(body)
    assert entry.name == name
    assert entry.note


def test_a_failure_of_another_function_is_reported_as_what_it_is() -> None:
    """An alert about that function, as after a redrive."""
    other = {**LAMBDA_LETTER, "requestContext": {"functionArn": ARN.replace(FUNCTION, "orders"), "condition": "x"}}
    [entry] = read(other)
    assert "orders" in entry.name
