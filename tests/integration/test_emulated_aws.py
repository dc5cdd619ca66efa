"""What `local/aws.py` adds to the emulator, through AWS's own APIs; the end-to-end tests rely on it."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from local.stack import Emulator, await_until

PATIENCE_SECONDS = 60.0
CODE = """
import os
import boto3

sqs = boto3.client("sqs")

def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["COUNTED"], MessageBody=os.environ["_X_AMZN_TRACE_ID"])
    if event.get("Records", [{}])[0].get("eventSource") != "aws:sqs":
        raise RuntimeError("it always fails")
    left = int(event["Records"][0]["body"])
    if left:
        sqs.send_message(QueueUrl=os.environ["LOOP"], MessageBody=str(left - 1))
"""
"""Of a function that counts its invocations on a queue: what a queue invokes goes on so many times, all else fails."""
MIB = 1024 * 1024


@dataclass(frozen=True)
class Function:
    """A function, the queue it is invoked by, that queue's dead-letter queue, and the queue of its invocations."""

    emulator: Emulator
    name: str
    arn: str
    loop: str
    letters: str
    counted: str

    def received(self, url: str) -> list[str]:
        """Take what is on a queue."""
        sqs = self.emulator.client("sqs")
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]

    def await_letter(self) -> str:
        """Wait for a dead letter."""
        return await_until(lambda: self.received(self.letters), PATIENCE_SECONDS, "a dead letter")[0]

    def await_invocations(self, number: int) -> list[str]:
        """Wait for so many invocations, and return the trace header of each."""
        found: list[str] = []

        def look() -> bool:
            found.extend(self.received(self.counted))
            return len(found) >= number

        await_until(look, PATIENCE_SECONDS, f"{number} invocations")
        return found


@pytest.fixture
def function(emulator: Emulator) -> Iterator[Function]:
    """A function of the test's own, tried three times as any that is invoked asynchronously."""
    name = f"aws-{uuid4().hex[:8]}"
    sqs, functions = emulator.client("sqs"), emulator.client("lambda")

    def queue(suffix: str, **attributes: str) -> tuple[str, str]:
        url = sqs.create_queue(QueueName=f"{name}-{suffix}", Attributes=attributes)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    letters, letters_arn = queue("letters")
    redrive = json.dumps({"deadLetterTargetArn": letters_arn, "maxReceiveCount": 1000})
    loop, loop_arn = queue("loop", RedrivePolicy=redrive, VisibilityTimeout="1000")
    counted, _ = queue("counted")
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("code.py", CODE)
    arn = functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="code.handler",
        Timeout=30,
        Code={"ZipFile": package.getvalue()},
        Environment={"Variables": {"COUNTED": counted, "LOOP": loop}},
    )["FunctionArn"]
    functions.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": letters_arn}}
    )
    mapping = functions.create_event_source_mapping(FunctionName=name, EventSourceArn=loop_arn, BatchSize=1)
    yield Function(emulator, name, arn, loop, letters, counted)
    functions.delete_event_source_mapping(UUID=mapping["UUID"])
    functions.delete_function(FunctionName=name)
    for url in (loop, letters, counted):
        sqs.delete_queue(QueueUrl=url)


def publish(function: Function) -> None:
    """Publish to a topic that the function is subscribed to."""
    sns = function.emulator.client("sns")
    topic = sns.create_topic(Name=function.name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function.arn)
    sns.publish(TopicArn=topic, Message="of sns")
    sns.delete_topic(TopicArn=topic)


def put_event(function: Function) -> None:
    """Put an event on the bus that a rule has the function invoked with."""
    events = function.emulator.client("events")
    events.put_rule(Name=function.name, EventPattern=json.dumps({"source": [function.name]}))
    events.put_targets(Rule=function.name, Targets=[{"Id": "it", "Arn": function.arn}])
    entry = {"Source": function.name, "DetailType": "Test", "Detail": json.dumps({"said": "of eventbridge"})}
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    events.remove_targets(Rule=function.name, Ids=["it"])
    events.delete_rule(Name=function.name)


@pytest.mark.parametrize(("cause", "content"), [(publish, "of sns"), (put_event, "of eventbridge")])
def test_what_fails_three_times_is_kept(function: Function, cause: Any, content: str) -> None:
    """By SNS and by EventBridge; the record has the documented form, with the event as it came.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    cause(function)
    record = json.loads(function.await_letter())
    assert len(function.await_invocations(3)) == 3
    assert content in json.dumps(record.pop("requestPayload"))
    assert datetime.now(UTC) - datetime.fromisoformat(record.pop("timestamp")) < timedelta(minutes=5)
    assert record["requestContext"].pop("requestId")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "it always fails", "errorType": "Runtime.HandlerError"},
    }


def dropped(function: Function) -> float:
    """Return how many invocations Lambda has counted as dropped."""
    now = datetime.now(UTC)
    points = function.emulator.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="RecursiveInvocationsDropped",
        Dimensions=[{"Name": "FunctionName", "Value": function.name}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def test_a_loop_ends_after_sixteen_invocations(function: Function) -> None:
    """The seventeenth is dropped and counted, its message is a dead letter; botocore carried the chain's mark.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    """
    function.emulator.client("sqs").send_message(QueueUrl=function.loop, MessageBody="30")
    assert function.await_letter() == "14"
    traces = function.await_invocations(16)
    assert len(traces) == 16
    assert [trace.rpartition(":")[2] for trace in traces] == [str(number) for number in range(16)]
    assert dropped(function) == 1


def test_a_loop_that_is_allowed_goes_on(function: Function) -> None:
    """The function says so itself."""
    function.emulator.client("lambda").put_function_recursion_config(FunctionName=function.name, RecursiveLoop="Allow")
    function.emulator.client("sqs").send_message(QueueUrl=function.loop, MessageBody="20")
    assert len(function.await_invocations(21)) == 21
    assert dropped(function) == 0


@pytest.mark.parametrize("subject", ["x" * 100, "two\nlines", "a bell\x07"])
def test_sns_refuses_a_subject(emulator: Emulator, subject: str) -> None:
    """Of 100 characters, or with line breaks or control characters.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    sns = emulator.client("sns")
    topic = sns.create_topic(Name=f"subjects-{uuid4().hex[:8]}")["TopicArn"]
    sns.publish(TopicArn=topic, Message="m", Subject="x" * 99)
    with pytest.raises(ClientError) as refused:
        sns.publish(TopicArn=topic, Message="m", Subject=subject)
    assert refused.value.response["Error"]["Code"] == "InvalidParameter"
    sns.delete_topic(TopicArn=topic)


def test_sns_takes_256_kib_with_the_attributes(emulator: Emulator) -> None:
    """https://docs.aws.amazon.com/sns/latest/api/API_Publish.html."""
    sns = emulator.client("sns")
    topic = sns.create_topic(Name=f"sizes-{uuid4().hex[:8]}")["TopicArn"]
    attributes = {"team": {"DataType": "String", "StringValue": "payments"}}
    room = 256 * 1024 - len("teamStringpayments")
    sns.publish(TopicArn=topic, Message="m" * room, MessageAttributes=attributes)
    with pytest.raises(ClientError, match="Message too long"):
        sns.publish(TopicArn=topic, Message="m" * (room + 1), MessageAttributes=attributes)
    sns.delete_topic(TopicArn=topic)


def test_sqs_takes_a_mebibyte_with_the_attributes(emulator: Emulator) -> None:
    """A message, and all messages of a batch together.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
    """
    sqs = emulator.client("sqs")
    url = sqs.create_queue(QueueName=f"sizes-{uuid4().hex[:8]}")["QueueUrl"]
    attributes = {"team": {"DataType": "String", "StringValue": "payments"}}
    room = MIB - len("teamStringpayments")
    sqs.send_message(QueueUrl=url, MessageBody="m" * room, MessageAttributes=attributes)
    with pytest.raises(ClientError, match="Message must be shorter than 1048576 bytes"):
        sqs.send_message(QueueUrl=url, MessageBody="m" * (room + 1), MessageAttributes=attributes)
    halves = [{"Id": name, "MessageBody": "m" * (MIB // 2)} for name in "ab"]
    assert sqs.send_message_batch(QueueUrl=url, Entries=halves)["Failed"] == []
    with pytest.raises(ClientError) as refused:
        sqs.send_message_batch(QueueUrl=url, Entries=[{**halves[0], "MessageAttributes": attributes}, halves[1]])
    assert refused.value.response["Error"]["Code"] == "AWS.SimpleQueueService.BatchRequestTooLong"
    sqs.delete_queue(QueueUrl=url)
