"""`make redrive` on the deployed stack: what each of the sinks keeps becomes an incident, and the queue is empty."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.schedules import HEALTH_CHECK
from local.simulator.faults import Fault, FaultKind
from local.stack import (
    ACCOUNT,
    REGION,
    ROOT,
    STACK_NAME,
    await_until,
    aws_environment,
)
from tests.e2e.conftest import PATIENCE_SECONDS, Deployed

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alerts"
RULE = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/alerts"


def native(key: str, status: str = "firing") -> Any:
    name = f"E2E {key.rpartition('/')[2]}"
    alert = {"fingerprint": key, "alert_name": name, "status": status, "labels": {"severity": "critical"}}
    return {"alert": {**alert, "observed_at": datetime.now(UTC).isoformat()}}


def notification(message: Any) -> Any:
    """Return a notification as SNS sends it to a dead-letter queue."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": json.dumps(message),
        "Timestamp": "2026-11-23T03:40:01.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
    }


def invocation(message: Any) -> Any:
    """Make the event with which SNS invokes a function."""
    sns = {name.replace("URL", "Url"): value for name, value in notification(message).items()}
    source = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": f"{TOPIC}:1"}
    return {"Records": [{**source, "Sns": {**sns, "MessageAttributes": {}}}]}


def on_failure(payload: Any) -> Any:
    """Make the record of https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-23T03:42:31.000Z",
        "requestContext": {
            "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK_NAME}-publisher:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "the queue is out of reach", "errorType": "QueueUnavailableError"},
    }


def event(detail: Any) -> Any:
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "Alert",
        "source": "shop",
        "account": ACCOUNT,
        "time": "2026-11-23T03:40:01Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    }


def kept_by_others(key: str) -> dict[str, tuple[Any, Mapping[str, str]]]:
    """Return what can lie in the queue, beside a dead letter of a native alert: body and message attributes."""
    said = "not an alert: a JSON object with the keys alert"
    unreadable = {"error_type": "not_an_alert", "error": said, "attempts": "1"}
    denied = {"RequestID": "8c3fa3ae", "ErrorCode": "403", "ErrorMessage": "not authorized to perform lambda:Invoke"}
    no_permission = {"ERROR_CODE": "NO_PERMISSIONS", "RULE_ARN": RULE, "TARGET_ARN": "arn:aws:lambda:x"}
    kinds: dict[str, tuple[Any, Mapping[str, str]]] = {
        "unreadable": ({"record": invocation(native(f"{key}/unreadable"))["Records"][0], "error": said}, unreadable),
        "lambda, of sns": (on_failure(invocation(native(f"{key}/lambda, of sns"))), {}),
        "lambda, of eventbridge": (on_failure(event(native(f"{key}/lambda, of eventbridge"))), {}),
        "sns": (notification(native(f"{key}/sns")), denied),
        "sns, as invocation": (invocation(native(f"{key}/sns, as invocation")), denied),
        "eventbridge": (event(native(f"{key}/eventbridge")), no_permission),
        "retry queue": ({**native(f"{key}/retry queue"), "delivery": {"target": "pagerduty", "failures": 2}}, {}),
    }
    return kinds


def put(stack: Deployed, body: Any, attributes: Mapping[str, str]) -> None:
    """Put a message into the dead-letter queue."""
    stack.emulator.client("sqs").send_message(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"],
        MessageBody=json.dumps(body),
        MessageAttributes={n: {"DataType": "String", "StringValue": value} for n, value in attributes.items()},
    )


def dead_letter(stack: Deployed, key: str) -> None:
    """Let the function itself put an alert there, for PagerDuty's 400."""
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key=key))
    assert stack.invoke(native(key))["results"][0]["outcome"] == "rejected"


@contextmanager
def broken(stack: Deployed, **settings: str) -> Iterator[None]:
    """Let the function fail for a while, by its settings."""
    functions, name = stack.emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {**variables, **settings}})
    try:
        yield
    finally:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def publish(stack: Deployed, message: Any) -> None:
    """Let SNS invoke the function."""
    stack.publish(message)


def put_event(stack: Deployed, message: Any) -> None:
    """Let EventBridge invoke the function, by the rule for native alerts."""
    entry = {"Source": "shop", "DetailType": "Alert", "Detail": json.dumps(message)}
    assert stack.emulator.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def redrive(stack: Deployed, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `make redrive` does, without those variables that are given as empty."""
    environment = {**aws_environment(stack.emulator.endpoint), "PYTHONPATH": "src", **variables}
    return subprocess.run(
        [sys.executable, "-m", "tools.redrive", "--stack", STACK_NAME, *arguments],
        cwd=ROOT,
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
        check=False,
    )


def waiting(stack: Deployed) -> tuple[str, str]:
    """Return how many dead letters can be received, and how many are held by somebody."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    answer = stack.emulator.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], AttributeNames=names
    )
    return answer["Attributes"][names[0]], answer["Attributes"][names[1]]


def lies_there(stack: Deployed, containing: str) -> bool:
    """Whether a dead letter has this text in its body; all of them stay."""
    messages = stack.emulator.client("sqs").receive_message(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return any(containing in message["Body"] for message in messages.get("Messages", []))


def retries(stack: Deployed) -> int:
    """Return how many messages the retry queue has, those held by somebody among them."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = stack.emulator.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["RetryQueueUrl"], AttributeNames=names
    )
    return sum(int(answer["Attributes"][name]) for name in names)


@pytest.fixture(autouse=True)
def empty(stack: Deployed) -> None:
    """Begin with an empty dead-letter queue."""
    stack.emulator.client("sqs").purge_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"])


@pytest.fixture
def unhurried(stack: Deployed) -> Iterator[None]:
    """Let two invocations at a time take from the retry queue: eight cold starts at once take a small machine long."""
    functions = stack.emulator.client("lambda")
    [mapping] = functions.list_event_source_mappings(FunctionName=stack.outputs["PublisherFunctionArn"])[
        "EventSourceMappings"
    ]
    functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 2})
    yield
    functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=mapping["ScalingConfig"])


@pytest.mark.usefixtures("unhurried")
def test_everything_in_the_dead_letter_queue_becomes_an_incident(stack: Deployed, key: str) -> None:
    """A dry run shows it and leaves it; then it goes through, each wrapping taken off, and the queue is empty."""
    dead_letter(stack, f"{key}/native")
    kinds = kept_by_others(key)
    for body, attributes in kinds.values():
        put(stack, body, attributes)
    tried = redrive(stack, "--dry-run")
    assert (tried.returncode, tried.stderr) == (0, "")
    assert tried.stdout.endswith("8 to send, nothing changed\n")
    assert waiting(stack) == ("8", "0")

    ran = redrive(stack)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("8 sent to the retry queue\n")
    for kind in ("native", *kinds):
        stack.incident(f"{key}/{kind}", "triggered")
        assert f"  E2E {kind}  " in ran.stdout
    assert "bad_request" in ran.stdout
    assert "NO_PERMISSIONS" in ran.stdout
    assert "the queue is out of reach" in ran.stdout
    assert "fingerprint" not in ran.stdout
    assert waiting(stack) == ("0", "0")


def test_one_error_type_goes_through_and_the_rest_stays(stack: Deployed, key: str) -> None:
    dead_letter(stack, key)
    put(stack, *kept_by_others(key)["unreadable"])
    ran = redrive(stack, "--error-type", "bad_request")
    assert ran.returncode == 0
    assert ran.stdout.endswith("1 sent to the retry queue; 1 not of error_type bad_request, left\n")
    stack.incident(key, "triggered")
    assert waiting(stack) == ("1", "0")


def test_what_is_still_refused_comes_back_once(stack: Deployed, key: str) -> None:
    """The run ends all the same, and nothing is lost."""
    put(stack, {"record": key, "error": "not an alert"}, {"error_type": "not_an_alert"})
    ran = redrive(stack)
    assert ran.returncode == 0
    assert ran.stdout.endswith("1 sent to the retry queue\n")
    assert json.loads(stack.dead_letter(key)["Body"])["record"]
    assert waiting(stack) == ("0", "0")


NOWHERE = f"http://127.0.0.1:9/{ACCOUNT}/nowhere"
FAILURES = {
    "the function cannot start": {"PAGERDUTY_TIMEOUT": "ten seconds"},
    "table and queues are out": {
        "DEDUP_TABLE_NAME": "nowhere",
        "RETRY_QUEUE_URL": NOWHERE,
        "DEAD_LETTER_QUEUE_URL": NOWHERE,
    },
}


@pytest.mark.parametrize(
    ("invoke", "failure"), [(publish, "the function cannot start"), (put_event, "table and queues are out")]
)
def test_what_failed_three_times_is_kept_reported_and_goes_through(
    stack: Deployed, key: str, invoke: Callable[[Deployed, Any], None], failure: str
) -> None:
    """By SNS and by EventBridge: Lambda puts it on the queue, the health check counts it, a redrive delivers it."""
    stack.invoke(native(key))
    with broken(stack, **FAILURES[failure]):
        invoke(stack, native(key, "resolved"))
        await_until(lambda: lies_there(stack, key), PATIENCE_SECONDS, "the third failure")
    assert stack.incident(key, "triggered")
    assert stack.invoke(HEALTH_CHECK)["dead_letters"] >= 1

    ran = redrive(stack)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"  E2E {key.rpartition('/')[2]}  " in ran.stdout
    stack.incident(key, "resolved")
    assert not lies_there(stack, key)


def test_what_a_schedule_asked_for_in_vain_goes_away(stack: Deployed) -> None:
    """While the function cannot start, Lambda keeps a request a minute; sent through again, none comes back."""
    functions, name = stack.emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
    asked = '"drain": true'
    with broken(stack, **FAILURES["the function cannot start"]):
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=f"{{{asked}}}".encode())
        await_until(lambda: lies_there(stack, asked), PATIENCE_SECONDS, "the third failure")
    assert redrive(stack).returncode == 0
    await_until(lambda: not retries(stack), PATIENCE_SECONDS, "the retry queue to be empty")
    assert not lies_there(stack, "drain")


HINT = "credentials, region and endpoint come from the environment, as for the AWS CLI"


@pytest.mark.parametrize(
    ("arguments", "variables", "error"),
    [
        (["--stack", "other"], {}, "no stack other in this account and region: name yours, STACK=..."),
        ([], {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, f"Unable to locate credentials: {HINT}"),
        ([], {"AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": ""}, f"You must specify a region: {HINT}"),
        ([], {"AWS_ENDPOINT_URL": "nowhere"}, f"Invalid endpoint: nowhere: {HINT}"),
        ([], {"AWS_PROFILE": "nobody"}, f"The config profile (nobody) could not be found: {HINT}"),
        (
            [],
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            f'Could not connect to the endpoint URL: "http://127.0.0.1:9/": {HINT}',
        ),
    ],
    ids=["no stack", "no credentials", "no region", "no URL", "no profile", "no answer"],
)
def test_what_is_missing_is_reported_in_one_line(
    stack: Deployed, arguments: list[str], variables: dict[str, str], error: str
) -> None:
    ran = redrive(stack, *arguments, **variables)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"{error}\n")
