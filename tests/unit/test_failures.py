"""Another function's failures: an alert about the function, with a reason in words."""

import json
from typing import Any

import pytest

from handler.alert import Status
from tests.lab.alerts import on_topic, parse_alert

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:till-journal"
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/till-receipts"


def failed(condition: str = "RetriesExhausted", **fields: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "requestContext": {"requestId": "r", "functionArn": f"{FUNCTION}:$LATEST", "condition": condition},
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        **fields,
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (failed(responsePayload={"errorMessage": "no paper", "errorType": "Error"}), "no paper"),
        (failed(responsePayload={"errorMessage": json.dumps({"code": 7, "message": "no paper"})}), "no paper"),
        (failed(responsePayload="no paper"), "no paper"),
        (failed(), "RetriesExhausted: unhandled error"),
        (failed("EventAgeExceeded", responseContext=None), "EventAgeExceeded"),
        (
            failed("RetryAttemptsExhausted", KinesisBatchInfo={"streamArn": STREAM}),
            "RetryAttemptsExhausted: unhandled error: a batch of stream/till-receipts was not processed",
        ),
        (
            failed("RecordAgeExceeded", responseContext={}, KafkaBatchInfo={"eventSourceArn": "orders"}),
            "RecordAgeExceeded: a batch of orders was not processed",
        ),
        (failed(KinesisBatchInfo="damaged"), "RetriesExhausted: unhandled error"),
    ],
)
def test_the_reason_is_reported_in_words(record: Any, reason: str) -> None:
    alert = parse_alert(on_topic(record))

    assert alert.status is Status.FIRING
    assert alert.summary == f"Lambda function till-journal failed: {reason}"


def test_a_lost_batch_of_another_stream_is_another_incident_that_no_success_ends() -> None:
    first, second = (
        parse_alert(on_topic(failed(KinesisBatchInfo={"streamArn": arn}))).fingerprint for arn in (STREAM, f"{STREAM}2")
    )
    success = parse_alert(on_topic(failed("Success")))

    assert len({first, second, success.fingerprint}) == 3
    assert success.status is Status.RESOLVED
    assert parse_alert(on_topic(failed())).fingerprint == success.fingerprint


def test_a_record_in_a_queue_is_another_functions_where_its_name_is_none_of_ours() -> None:
    """Also where the function does not know its own name, as in a direct run."""
    record = failed(requestPayload={"alert": {"alert_name": "Old", "status": "firing"}}, responsePayload="no paper")
    alert = parse_alert({"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": json.dumps(record)}]})

    assert alert.summary == "Lambda function till-journal failed: no paper"
