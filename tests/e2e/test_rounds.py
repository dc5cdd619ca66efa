"""Beside the path of a page, on the deployed stack: operators are told, alarms are compared with incidents."""

import json
import time
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.simulator.faults import Fault, FaultKind
from local.stack import ACCOUNT, REGION, ROUTING_KEY, await_until
from tests.e2e.conftest import PATIENCE_SECONDS, Deployed


@pytest.fixture
def operators(stack: Deployed) -> Iterator[Any]:
    """Returns what the operators were told since it was last called: a queue is subscribed to their topic."""
    sns, sqs = stack.emulator.client("sns"), stack.emulator.client("sqs")
    url = sqs.create_queue(QueueName=f"operators-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=stack.outputs["OperatorTopicArn"], Protocol="sqs", Endpoint=arn)
    stack.forget("operators#")  # what earlier tests reported would hold this back for a minute

    def told() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    yield told
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=url)


def let_wait(stack: Deployed, key: str, *, seconds: float) -> None:
    """Put a record of a critical trigger that has waited for so long."""
    since = int((time.time() - seconds) * 1000)
    body = {
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
    stack.emulator.client("dynamodb").put_item(
        TableName=stack.outputs["DedupTableName"],
        Item={
            "id": {"S": f"pagerduty#{key}"},
            "rev": {"N": "1"},
            "status": {"S": "firing"},
            "observed_at": {"S": "2026-11-23T03:40:01.000000Z"},
            "open": {"BOOL": False},
            "triggered": {"BOOL": False},
            "urgency": {"N": "3"},
            "waiting": {"S": "pagerduty#0"},
            "waiting_order": {"S": f"0#{since:013}"},
            "waiting_since": {"N": str(since)},
            "body": {"B": zlib.compress(json.dumps(body).encode())},
        },
    )


def test_a_critical_that_waits_is_told_with_its_content(stack: Deployed, key: str, operators: Any) -> None:
    """PagerDuty answers 503: whoever reads the message knows what, where and how bad."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    let_wait(stack, key, seconds=150)
    stack.invoke({"drain": True})
    found = await_until(operators, PATIENCE_SECONDS, "the operators to be told")
    text = "\n".join(f"{each['Subject']}\n{each['Message']}" for each in found)
    for part in ("NOT ACCEPTED: ", f"CRITICAL  name of {key}", "CPU at 97 %", "orders-db-1", "prometheus.example.com"):
        assert part in text
    assert ROUTING_KEY not in text
    stack.pagerduty.set_faults()


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
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        AlarmActions=[stack.outputs["AlertTopicArn"]],
        Namespace="Shop",
        MetricName="Latency",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
    )

    def compared(state: str) -> bool:
        time.sleep(2)  # far more often than the schedule, and still not so often that the log overflows
        stack.forget("permits#")  # each check takes one
        stack.invoke({"health_check": True})
        return any(i.dedup_key == key and i.state == state for i in stack.pagerduty.incidents)

    for alarm, incident in (("ALARM", "triggered"), ("OK", "resolved")):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=alarm, StateReason="Threshold Crossed")
        await_until(lambda state=incident: compared(state), 150, f"the incident to be {incident}")  # type: ignore[misc]
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert [request.action for request in stack.requests(key)] == ["trigger", "resolve"]
