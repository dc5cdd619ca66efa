"""Apart from the path of a page, on the deployed stack: reports to operators, alarms compared with incidents."""

import json
import re
import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import batched, pairwise
from typing import Any
from uuid import uuid4

import pytest

from handler.alert import Status
from handler.delivery.record import Order, Record, Waiting
from handler.delivery.table import dump
from handler.pagerduty.severity import Severity
from handler.schedules import DRAIN, HEALTH_CHECK
from local.simulator.faults import Fault, FaultKind
from local.stack import ACCOUNT, REGION, ROUTING_KEY, await_until
from tests.e2e.conftest import PATIENCE_SECONDS, Deployed
from tests.lab.cloudwatch import put_alarm


@pytest.fixture
def operators(stack: Deployed) -> Iterator[Any]:
    """Returns what the operators were told since it was last called: a queue is subscribed to their topic."""
    sns, sqs = stack.emulator.client("sns"), stack.emulator.client("sqs")
    url = sqs.create_queue(QueueName=f"operators-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=stack.outputs["OperatorTopicArn"], Protocol="sqs", Endpoint=arn)
    stack.forget("##operators#")  # what earlier tests reported would hold this back for a minute

    def told() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    yield told
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=url)


def alert_of(key: str) -> dict[str, Any]:
    return {
        "alert": {
            "fingerprint": key,
            "alert_name": f"name of {key}",
            "status": "firing",
            "severity": "critical",
            "summary": "CPU at 97 %",
            "location": "orders-db-1",
            "generator_url": "https://prometheus.example.com/graph",
            "observed_at": "2026-11-23T03:40:01Z",
        }
    }


def let_wait(stack: Deployed, *keys: str, seconds: float) -> None:
    """Put records of critical triggers that have waited for so long."""
    since = int((time.time() - seconds) * 1000)
    items = []
    for key in keys:
        identity = f"pagerduty#{key}"
        record = Record(
            status=Status.FIRING,
            at=since,
            rev=1,
            urgency=Severity.CRITICAL.urgency,
            waiting=Waiting(Order.CRITICAL, since),
            waiting_since=since,
            body=zlib.compress(json.dumps(alert_of(key)).encode()),
        )
        items.append({"PutRequest": {"Item": {"id": {"S": identity}, **dump(identity, record)}}})
    for some in batched(items, 25, strict=False):
        stack.emulator.client("dynamodb").batch_write_item(RequestItems={stack.outputs["DedupTableName"]: list(some)})


def test_a_critical_that_waits_is_reported_with_its_content(stack: Deployed, key: str, operators: Any) -> None:
    """PagerDuty answers 503: whoever reads the message knows what, where and how bad."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    let_wait(stack, key, seconds=150)
    stack.invoke(DRAIN)
    found = await_until(operators, PATIENCE_SECONDS, "the operators to be told")
    text = "\n".join(f"{each['Subject']}\n{each['Message']}" for each in found)
    for part in ("NOT ACCEPTED: ", f"CRITICAL  name of {key}", "CPU at 97 %", "orders-db-1", "prometheus.example.com"):
        assert part in text
    assert ROUTING_KEY not in text
    stack.pagerduty.set_faults()


def test_a_thousand_that_wait_are_one_message_a_minute(stack: Deployed, key: str, operators: Any) -> None:
    """The deployed function looks as often as it likes: one digest, which counts them all and names twenty."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    let_wait(stack, *(f"{key}/{number}" for number in range(1000)), seconds=150)
    operators()
    stack.forget("##operators#state")  # the schedule may have reported some already
    for _ in range(3):
        stack.emulator.client("lambda").invoke(
            FunctionName=stack.outputs["PublisherFunctionArn"], Payload=b'{"drain": true}', InvocationType="Event"
        )
    found = await_until(operators, PATIENCE_SECONDS, "the operators to be told")
    for _ in range(5):
        found += operators()
    stack.forget(f"pagerduty#{key}")
    times = sorted(datetime.fromisoformat(each["Timestamp"]) for each in found)
    assert all(later - earlier >= timedelta(seconds=59) for earlier, later in pairwise(times))
    message = found[0]
    count = int(re.search(r"(\d+) critical alerts not accepted", message["Subject"])[1])  # type: ignore[index]
    assert 1000 <= count < 1010  # those of other tests may wait, too
    assert message["Message"].count("CRITICAL  ") == 20
    assert f"and {count - 20} more" in message["Message"]


def test_dead_letters_are_reported_with_their_content_whoever_wrote_them(stack: Deployed, operators: Any) -> None:
    """This function's, and one that SNS could not deliver; once each, and both stay in the queue."""
    sqs, url = stack.emulator.client("sqs"), stack.outputs["DeadLetterQueueUrl"]
    sqs.purge_queue(QueueUrl=url)
    own, other = f"own-{uuid4().hex[:8]}", f"other-{uuid4().hex[:8]}"
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key=own))
    stack.invoke(alert_of(own))
    sns = {"Type": "Notification", "MessageId": other, "TopicArn": stack.outputs["AlertTopicArn"]}
    body = {**sns, "Message": json.dumps(alert_of(other)), "Timestamp": "2026-11-23T03:40:01.000Z"}
    attributes = {"ErrorMessage": {"DataType": "String", "StringValue": "AccessDenied"}}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body), MessageAttributes=attributes)

    def told() -> list[dict[str, Any]]:
        stack.forget("##operators#state")  # would hold the second back for a minute
        stack.invoke(DRAIN)
        return list(operators())

    found = await_until(told, PATIENCE_SECONDS, "the operators to be told")
    for _ in range(2):
        found += told()
    text = "\n".join(each["Message"] for each in found)
    for key, error in ((own, "error   bad_request: "), (other, "error   SNS: AccessDenied")):
        [entry] = [part for part in text.split("\n\n") if f"CRITICAL  name of {key}" in part]
        assert error in entry
        for part in ("CPU at 97 %", "place   orders-db-1", "link    https://prometheus.example.com/graph"):
            assert part in entry
    for key in (own, other):
        stack.dead_letter(key)


@pytest.fixture
def unsubscribed(stack: Deployed) -> Iterator[None]:
    """The stack's topic, without its function."""
    sns, topic, function = (
        stack.emulator.client("sns"),
        stack.outputs["AlertTopicArn"],
        stack.outputs["PublisherFunctionArn"],
    )
    for each in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
        if each["Endpoint"] == function:
            sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])
    yield
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)


@pytest.mark.usefixtures("unsubscribed")
def test_an_alarm_whose_notification_is_lost_opens_an_incident_and_closes_it(stack: Deployed) -> None:
    """By the health check's comparison alone: its topic leads nowhere, and it has no OK action."""
    cloudwatch, name = stack.emulator.client("cloudwatch"), f"lost-{uuid4().hex[:8]}"
    key = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"
    put_alarm(cloudwatch, name, AlarmActions=[stack.outputs["AlertTopicArn"]])

    def compared(state: str) -> bool:
        time.sleep(2)  # far more often than the schedule, and still not so often that the log overflows
        stack.forget("permits#")  # each check takes one
        stack.invoke(HEALTH_CHECK)
        return any(i.dedup_key == key and i.state == state for i in stack.pagerduty.incidents)

    for alarm, incident in (("ALARM", "triggered"), ("OK", "resolved")):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=alarm, StateReason="Threshold Crossed")
        await_until(lambda state=incident: compared(state), 150, f"the incident to be {incident}")  # type: ignore[misc]
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert [request.action for request in stack.requests(key)] == ["trigger", "resolve"]
