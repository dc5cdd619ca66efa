"""The calls of the agreement with CloudWatch and of the operators' reports, on real APIs: are they accepted?"""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from handler import sources
from handler.agreement.agreement import Agreement
from handler.agreement.decisions import Why
from handler.agreement.routing import Routing
from handler.agreement.wiring import Scope
from handler.alert import Alert, Status
from handler.envelope import unwrap
from handler.operators.entries import WaitingAlert
from handler.operators.reporter import Reporter
from handler.sources.reader import Reader
from handler.targets.secrets import parse_targets
from local.stack import ACCOUNT, REGION, Emulator
from tests.lab.alerts import AN_ALERT
from tests.lab.cloudwatch import put_alarm
from tests.lab.secrets import target_secret
from tests.lab.wire import BASE_URL

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:publisher"
HOUR = 3600.0


@pytest.fixture
def table(emulator: Emulator) -> Iterator[str]:
    """A table on the emulator."""
    name = f"dedup-{uuid4().hex}"
    client = emulator.client("dynamodb")
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    yield name
    client.delete_table(TableName=name)


def put(emulator: Emulator, table: str, key: str, at: datetime, **more: Any) -> None:
    item: dict[str, Any] = {
        "id": {"S": f"all#{key}"},
        "status": {"S": "firing"},
        "observed_at": {"S": at.isoformat(timespec="microseconds")},
        "open": {"BOOL": True},
    }
    emulator.client("dynamodb").put_item(TableName=table, Item={**item, **more})


def parse(message: Mapping[str, Any]) -> Alert | None:
    [found] = sources.parse(unwrap(dict(message), datetime.now(UTC) + timedelta(hours=2)))
    return found if isinstance(found, Alert) else None


def test_alarms_and_records_are_compared(emulator: Emulator, table: str) -> None:
    """A lost alarm pages; one that is OK again or gone resolves; one that is known is left alone."""
    cloudwatch, sns = emulator.client("cloudwatch"), emulator.client("sns")
    topic = sns.create_topic(Name=f"t-{uuid4().hex}")["TopicArn"]
    prefix = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:"
    names = [f"{state}-{uuid4().hex[:6]}" for state in ("lost", "known", "over", "gone", "foreign")]
    lost, known, over, gone, foreign = names
    for name in (lost, known, over, foreign):
        put_alarm(cloudwatch, name, AlarmActions=[] if name == foreign else [topic])
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK" if name == over else "ALARM", StateReason="test")
    before = datetime.now(UTC) - timedelta(hours=1)
    for name in (known, over, gone):
        put(emulator, table, f"{prefix}{name}", before)
    put(emulator, table, "something else", before)
    put(emulator, table, f"{prefix}resolved", before, status={"S": "resolved"})
    said: list[str] = []
    agreement = Agreement(
        cloudwatch,
        emulator.client("dynamodb"),
        sns,
        table=table,
        topic_arn=topic,
        function_arn=FUNCTION,
        scope=Scope.WIRED,
        reader=Reader(),
        clock=lambda: time.time() + HOUR,
        report=said.append,
    )
    routing = Routing(parse_targets({"pagerduty/all": target_secret("all")}, BASE_URL))
    found = [each for page in agreement.run(routing, time.time() + 2 * HOUR) for each in page]
    cloudwatch.delete_alarms(AlarmNames=[lost, known, over, foreign])
    assert said == []
    assert {each.name: each.decision.why for each in found} == {
        lost: Why.NO_RECORD,
        over: Why.ALARM_IS_OK,
        gone: Why.ALARM_IS_GONE,
    }
    statuses = {alert.fingerprint: alert.status for each in found if (alert := parse(each.message))}
    assert statuses == {
        f"{prefix}{lost}": Status.FIRING,
        f"{prefix}{over}": Status.RESOLVED,
        f"{prefix}{gone}": Status.RESOLVED,
    }


def test_operators_are_notified_once(emulator: Emulator, table: str) -> None:
    """Over a topic that a queue is subscribed to, with the state in the table."""
    sns, sqs = emulator.client("sns"), emulator.client("sqs")
    topic = sns.create_topic(Name=f"t-{uuid4().hex}")["TopicArn"]
    queue = sqs.create_queue(QueueName=f"q-{uuid4().hex}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    now = [time.time()]
    said: list[str] = []

    def make() -> Reporter:
        return Reporter(
            emulator.client("dynamodb"),
            sns,
            table=table,
            topic_arn=topic,
            clock=lambda: now[0],
            redact=str,
            report=said.append,
            reader=Reader(),
            stack="publisher",
        )

    def told() -> list[str]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]

    sent_at = {"SentTimestamp": str(round(now[0] * 1000))}
    letter = {
        "MessageId": "m-1",
        "Body": '{"alert": {"alert_name": "Dead", "fingerprint": "d"}}',
        "Attributes": sent_at,
    }
    for _ in range(2):
        make().report_dead_letters(1, lambda at_most: [letter], lambda alert, target: (target, None))
    [first] = told()
    assert "Dead" in first
    waiting = {"all#late": WaitingAlert(alert=AN_ALERT, since=now[0] - 200)}
    now[0] += 60
    make().report_waiting(waiting, lambda identities: waiting)
    [second] = told()
    assert "DEAD LETTERS" not in second
    assert "NOT ACCEPTED: 1 critical" in second
    now[0] += 60
    make().report_waiting(waiting, lambda identities: waiting)
    assert told() == []
    make().report_waiting([], lambda identities: {"all#late": WaitingAlert(ending="accepted at 04:10:00 UTC")})
    [third] = told()
    assert "accepted at " in third
    assert said == []
