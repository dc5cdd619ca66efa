"""The deployed stack, from what AWS and people send to what PagerDuty has at the end."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handler.schedules import HEALTH_CHECK
from local.simulator.faults import Fault, FaultKind
from local.simulator.incidents import Incident
from local.stack import (
    ACCOUNT,
    REGION,
    ROUTING_KEY,
    await_until,
    native_event,
)
from tests.e2e.conftest import PATIENCE_SECONDS, Deployed
from tests.lab.cloudwatch import put_alarm

STARTED_AT = datetime.now(UTC) - timedelta(minutes=1)


def native(key: str, status: str = "firing", *, severity: str = "critical", minute: int = 0, **more: Any) -> Any:
    """Make a native message observed so many minutes after the start."""
    observed_at = (STARTED_AT + timedelta(seconds=minute)).isoformat()
    alert = {"fingerprint": key, "alert_name": "E2E", "status": status, "observed_at": observed_at}
    return {"alert": {**alert, "labels": {"severity": severity}, **more}}


def notification(*messages: Any) -> Any:
    """Make the event with which SNS invokes a function."""
    texts = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:alerts"
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"TopicArn": topic, "Message": text}} for text in texts]}


def readable(value: bytes) -> str:
    """Return what an item has compressed; digests as they are."""
    return zlib.decompress(value).decode() if value.startswith(zlib.compress(b"")[:2]) else value.hex()


def test_an_alarm_pages_and_its_recovery_resolves(stack: Deployed) -> None:
    """CloudWatch alarm -> SNS -> function -> incident, and back."""
    cloudwatch = stack.emulator.client("cloudwatch")
    topic = stack.outputs["AlertTopicArn"]
    put_alarm(
        cloudwatch,
        "e2e-queue-age",
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": "orders"}],
        AlarmActions=[topic],
        OKActions=[topic],
    )
    arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:e2e-queue-age"
    cloudwatch.set_alarm_state(AlarmName="e2e-queue-age", StateValue="ALARM", StateReason="Threshold Crossed")
    opened = stack.incident(arn, "triggered")
    assert (opened.severity, opened.source) == ("error", "orders")
    assert opened.summary == "e2e-queue-age: Threshold Crossed"
    cloudwatch.set_alarm_state(AlarmName="e2e-queue-age", StateValue="OK", StateReason="back to normal")
    assert stack.incident(arn, "resolved").number == opened.number


def test_a_native_alert_on_eventbridge_goes_through_its_life(stack: Deployed, key: str) -> None:
    """PutEvents with detail-type Alert opens, acknowledges and resolves one incident."""
    events = stack.emulator.client("events")
    for minute, (status, state) in enumerate(
        {"firing": "triggered", "acknowledged": "acknowledged", "resolved": "resolved"}.items()
    ):
        alert = native(key, status, minute=minute)["alert"]
        assert events.put_events(Entries=[native_event(**alert)])["FailedEntryCount"] == 0
        incident = stack.incident(key, state)
    assert [entry.action for entry in incident.timeline] == ["trigger", "acknowledge", "resolve"]
    assert incident.severity == "critical"


def test_a_native_alert_on_a_queue_pages(stack: Deployed, key: str) -> None:
    """A message on the retry queue is an alert like any other."""
    stack.emulator.client("sqs").send_message(
        QueueUrl=stack.outputs["RetryQueueUrl"], MessageBody=json.dumps(native(key))
    )
    stack.incident(key, "triggered")


def test_a_direct_invocation_pages_and_says_so(stack: Deployed, key: str) -> None:
    """The caller gets what became of the alert."""
    answer = stack.invoke(native(key, severity="page"))
    (result,) = answer["results"]
    assert (result["outcome"], result["dedup_key"], result["severity"]) == ("accepted", key, "critical")
    stack.incident(key, "triggered")


def test_a_change_event_is_sent_once(stack: Deployed, key: str) -> None:
    """The same change twice is one change event, and no incident."""
    change = native(key, labels={"change_event": "true"}, summary=key)
    first, second = stack.invoke(change), stack.invoke(change)
    assert [answer["results"][0]["outcome"] for answer in (first, second)] == ["accepted", "skipped"]
    assert [c.summary for c in stack.pagerduty.changes if key in c.summary] == [f"E2E: {key}"]
    assert stack.requests(key) == []


def test_the_same_message_twice_costs_one_request(stack: Deployed, key: str) -> None:
    """SNS delivers at least once; PagerDuty hears it once."""
    assert stack.invoke(native(key))["results"][0]["outcome"] == "accepted"
    (again,) = stack.invoke(native(key))["results"]
    assert (again["outcome"], again["reason"]) == ("skipped", "duplicate")
    assert len(stack.requests(key)) == 1


def test_a_trigger_that_its_resolve_overtook_opens_nothing(stack: Deployed, key: str) -> None:
    """Out of order: the newest observation says resolved, and so it stays."""
    stack.invoke(native(key, "resolved", minute=5))
    (late,) = stack.invoke(native(key, "firing", minute=1))["results"]
    assert (late["outcome"], late["reason"]) == ("skipped", "superseded")
    assert [incident for incident in stack.pagerduty.incidents if incident.dedup_key == key] == []


def test_a_failing_pagerduty_gets_the_alert_later(stack: Deployed, key: str) -> None:
    """All attempts of the invocation fail: the alert waits in its record, and a drainer delivers it."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, dedup_key=key, count=4))
    (result,) = stack.invoke(native(key))["results"]
    assert (result["outcome"], result["attempts"], result["status"]) == ("deferred", 4, "503")
    stack.incident(key, "triggered")
    assert [request.status for request in stack.requests(key)] == [503, 503, 503, 503, 202]

    def lines() -> list[dict[str, Any]]:
        return [line for line in stack.log_lines() if line.get("dedup_key") == key and line["message"] == "accepted"]

    # written when the drainer ends; the emulator would kill it when another test changes the function
    await_until(lines, PATIENCE_SECONDS, "the drainer's log line")


BAD = {
    "no name": ({"alert": {"status": "firing", "labels": {"mark": "no name"}}}, "alert.alert_name: Field required"),
    "unknown status": ({"alert": {"alert_name": "E2E", "status": "on fire"}}, "alert.status"),
    "severity of a number": (
        {"alert": {"alert_name": "E2E", "status": "firing", "labels": {"severity": 1}}},
        "alert.labels: Value error, severity",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_record_is_kept_with_its_error(stack: Deployed, case: str) -> None:
    """It is in the dead-letter queue as it came, and the error says what is wrong with it."""
    message, error = BAD[case]
    stack.publish(message)
    letter = stack.dead_letter(error)
    body = json.loads(letter["Body"])
    assert error in body["error"]
    kept = body["record"]["Sns"]["Message"]
    assert kept == message if isinstance(message, str) else json.loads(kept) == message
    assert letter["MessageAttributes"]["error_type"]["StringValue"] in ("not_an_alert", "invalid_alert")


def test_a_bad_record_does_not_harm_its_siblings(stack: Deployed, key: str) -> None:
    """Of three records in one invocation two are delivered, and the bad one is kept."""
    messages = (native(f"{key}/1"), {"alert": {"status": f"bad {key}"}}, native(f"{key}/2"))
    results = stack.invoke(notification(*messages))["results"]
    assert [result["outcome"] for result in results] == ["accepted", "rejected", "accepted"]
    stack.dead_letter(f"bad {key}")


def test_without_its_table_a_page_still_goes_out_and_the_rest_is_kept(stack: Deployed, key: str) -> None:
    """The error names the table; a trigger is sent all the same, a resolve is in the dead-letter queue."""
    functions, name = stack.emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    broken = {**variables, "DEDUP_TABLE_NAME": "no-such-table"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": broken})
    try:
        (trigger,) = stack.invoke(native(key))["results"]
        (resolve,) = stack.invoke(native(key, "resolved", minute=1))["results"]
    finally:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    assert trigger["outcome"] == "accepted"
    assert "no-such-table does not exist" in trigger["errors"][0]["message"]
    assert resolve["outcome"] == "rejected"
    letter = json.loads(stack.dead_letter(key)["Body"])
    assert "no-such-table does not exist" in letter["error"]
    assert letter["alert"]["fingerprint"] == key


def test_a_dead_letter_sent_through_again_is_delivered(stack: Deployed, key: str) -> None:
    """What ended in the dead-letter queue for PagerDuty's 400 goes through by the retry queue when that is fixed."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key=key))
    assert stack.invoke(native(key))["results"][0]["outcome"] == "rejected"
    letter = stack.dead_letter(key)
    assert letter["MessageAttributes"]["error_type"]["StringValue"] == "bad_request"
    stack.emulator.client("sqs").send_message(QueueUrl=stack.outputs["RetryQueueUrl"], MessageBody=letter["Body"])
    stack.incident(key, "triggered")


def test_each_delivery_has_one_log_line_and_no_log_has_the_routing_key(stack: Deployed, key: str) -> None:
    """One structured line a delivery; the metrics are EMF; the routing key is nowhere, nor in the table."""
    stack.invoke(native(key))

    def lines() -> list[dict[str, Any]]:
        return [line for line in stack.log_lines() if line.get("dedup_key") == key]

    (line,) = await_until(lines, PATIENCE_SECONDS, "the log line")
    assert (line["message"], line["level"], line["service"]) == ("accepted", "INFO", "pagerduty-publisher")
    log = json.dumps(stack.log_lines())
    assert "EventsPublished" in log
    items = stack.emulator.client("dynamodb").scan(TableName=stack.outputs["DedupTableName"])["Items"]
    table = json.dumps(items, default=readable)
    for text in (log, table, stack.emulator.log.read_text()):
        assert ROUTING_KEY not in text


def test_the_table_forgets_after_a_month_and_what_is_resolved_after_half_of_it(stack: Deployed, key: str) -> None:
    """Every record has the TTL attribute, and the table's TTL is on that very attribute."""
    dynamodb, table = stack.emulator.client("dynamodb"), stack.outputs["DedupTableName"]
    for minute, (status, days) in enumerate({"firing": 30, "resolved": 15}.items()):
        stack.invoke(native(key, status, minute=minute))
        item = dynamodb.get_item(TableName=table, Key={"id": {"S": f"pagerduty#{key}"}})["Item"]
        expected = (datetime.now(UTC) + timedelta(days=days)).timestamp()
        assert int(item["expires_at"]["N"]) == pytest.approx(expected, abs=600)
    described = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert (described["TimeToLiveStatus"], described["AttributeName"]) == ("ENABLED", "expires_at")


def test_the_health_check_proves_the_stack_healthy(stack: Deployed) -> None:
    """By the schedule's own input; it opens nothing."""
    opened = len(stack.pagerduty.incidents)
    answer = stack.invoke(HEALTH_CHECK)
    assert (answer["healthy"], answer["targets"], answer["problems"]) == (True, {"pagerduty": "healthy"}, [])
    assert answer["tracked"] > 0
    assert len(stack.pagerduty.incidents) == opened


def test_attributes_of_a_message_choose_its_severity_and_its_target(stack: Deployed, key: str) -> None:
    """A text that no source knows, published with attributes."""
    attributes = {"severity": "P1", "targets": "pagerduty", "team": "payments"}
    stack.publish(
        f"{key} is cold",
        Subject="Oven",
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )

    def look() -> list[Incident]:
        return [incident for incident in stack.pagerduty.incidents if incident.summary == f"Oven: {key} is cold"]

    (incident,) = await_until(look, PATIENCE_SECONDS, "an incident about the oven")
    assert (incident.state, incident.severity) == ("triggered", "critical")
