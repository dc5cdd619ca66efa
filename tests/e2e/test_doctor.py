"""`make doctor` on a deployed stack of its own: each planted fault is found, and nothing where nothing is planted.

`make trace` of what no target takes is here, too: it needs a stack whose targets may be changed.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from handler.schedules import HEALTH_CHECK
from local.simulator.server import SimulatorServer
from local.stack import ACCOUNT, REGION, ROUTING_KEY, STACK_NAME, Emulator, deploy, parameters_for
from tests.e2e.conftest import Deployed
from tests.lab.cloudwatch import put_alarm
from tools import trace
from tools.doctor.__main__ import main

FIRST_TARGET = f"pagerduty/{STACK_NAME}"
HOOK = "http://127.0.0.1:9/"
TAG = {"Key": "publishing-target", "Value": "true"}


@pytest.fixture(scope="module")
def own(own_emulator: Emulator) -> Iterator[Deployed]:
    """A stack beside which there is nothing, with somebody who listens to the operators' topic."""
    with SimulatorServer() as simulator:
        stack = Deployed(own_emulator, simulator.pagerduty, deploy(own_emulator, parameters_for(simulator.url)))
        sqs = own_emulator.client("sqs")
        url = sqs.create_queue(QueueName="operators")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        own_emulator.client("sns").subscribe(TopicArn=stack.outputs["OperatorTopicArn"], Protocol="sqs", Endpoint=arn)
        yield stack


@dataclass
class Sns:
    """SNS as AWS has it: of a subscription that nobody has confirmed it lists no ARN."""

    client: Any

    def list_subscriptions_by_topic(self, **arguments: Any) -> Any:
        page = self.client.list_subscriptions_by_topic(**arguments)
        for each in page["Subscriptions"]:
            attributes = self.client.get_subscription_attributes(SubscriptionArn=each["SubscriptionArn"])["Attributes"]
            if attributes.get("PendingConfirmation") == "true":
                each["SubscriptionArn"] = "PendingConfirmation"
        return page


def examine(stack: Deployed, *arguments: str) -> tuple[int, str]:
    """Run the doctor; return its status and what it says."""
    lines: list[str] = []

    def connect(service: str) -> Any:
        client = stack.emulator.client(service)
        return Sns(client) if service == "sns" else client

    status = main(["--stack", STACK_NAME, *arguments], connect, lines.append)
    text = "\n".join(lines)
    assert ROUTING_KEY not in text
    return status, text


@contextmanager
def alarm(stack: Deployed, name: str, **more: Any) -> Iterator[None]:
    """An alarm that is wired as it should be, but for what is given."""
    cloudwatch, topic = stack.emulator.client("cloudwatch"), stack.outputs["AlertTopicArn"]
    put_alarm(cloudwatch, name, **{"AlarmActions": [topic], "OKActions": [topic], **more})
    try:
        yield
    finally:
        cloudwatch.delete_alarms(AlarmNames=[name])


@pytest.fixture(autouse=True)
def a_sound_alarm(own: Deployed) -> Iterator[None]:
    """There always is one."""
    with alarm(own, "sound"):
        yield


# --- What is planted ----------------------------------------------------------------------------------------------

type Plant = Callable[[Deployed], AbstractContextManager[None]]


def odd(**settings: Any) -> Plant:
    """Plant an alarm with these settings."""
    return lambda stack: alarm(stack, "odd", **settings)


@contextmanager
def topic_without_subscribers(stack: Deployed) -> Iterator[None]:
    sns = stack.emulator.client("sns")
    topic = sns.create_topic(Name="nobody")["TopicArn"]
    try:
        with alarm(stack, "odd", AlarmActions=[topic]):
            yield
    finally:
        sns.delete_topic(TopicArn=topic)


@contextmanager
def target_that_takes_little(stack: Deployed) -> Iterator[None]:
    """The only target takes none but one team's alerts."""
    secrets = stack.emulator.client("secretsmanager")
    before = secrets.get_secret_value(SecretId=FIRST_TARGET)["SecretString"]
    narrow = {**json.loads(before), "match": ['team="payments"']}
    secrets.put_secret_value(SecretId=FIRST_TARGET, SecretString=json.dumps(narrow))
    stack.invoke(HEALTH_CHECK)  # reads the targets anew
    try:
        yield
    finally:
        secrets.put_secret_value(SecretId=FIRST_TARGET, SecretString=before)
        stack.invoke(HEALTH_CHECK)


@contextmanager
def unconfirmed_operator(stack: Deployed) -> Iterator[None]:
    """A web hook that has not opened the link; an e-mail address would be confirmed by the emulator at once."""
    sns, topic = stack.emulator.client("sns"), stack.outputs["OperatorTopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=HOOK)
    try:
        yield
    finally:
        for each in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
            if each["Endpoint"] == HOOK:
                sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])


@contextmanager
def bad_secret(stack: Deployed) -> Iterator[None]:
    secrets = stack.emulator.client("secretsmanager")
    secrets.create_secret(Name="pagerduty/bad", SecretString="{}", Tags=[TAG])
    try:
        yield
    finally:
        secrets.delete_secret(SecretId="pagerduty/bad", ForceDeleteWithoutRecovery=True)


@contextmanager
def dead_letter(stack: Deployed) -> Iterator[None]:
    sqs, url = stack.emulator.client("sqs"), stack.outputs["DeadLetterQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody='{"error": "PagerDuty answered 400"}')
    try:
        yield
    finally:
        sqs.purge_queue(QueueUrl=url)


@contextmanager
def loop_detection(stack: Deployed) -> Iterator[None]:
    functions, name = stack.emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    try:
        yield
    finally:
        functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")


@contextmanager
def disabled_rule(stack: Deployed) -> Iterator[None]:
    events = stack.emulator.client("events")
    rule = stack.emulator.client("cloudformation").describe_stack_resource(
        StackName=STACK_NAME, LogicalResourceId="PublisherFunctionNativeAlert"
    )["StackResourceDetail"]["PhysicalResourceId"]
    events.disable_rule(Name=rule)
    try:
        yield
    finally:
        events.enable_rule(Name=rule)


@contextmanager
def lost_subscription(stack: Deployed) -> Iterator[None]:
    """The stack's topic, without its function; its alarms reach nobody."""
    sns, topic = stack.emulator.client("sns"), stack.outputs["AlertTopicArn"]
    function = stack.outputs["PublisherFunctionArn"]
    for each in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
        sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])
    try:
        yield
    finally:
        sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)


def severity(word: str) -> list[dict[str, str]]:
    return [{"Key": "severity", "Value": word}]


FAULTS: dict[str, tuple[Plant, str, str]] = {
    "no ALARM action": (
        odd(AlarmActions=[], OKActions=[]),
        "1 alarms have no ALARM action that leads to this stack: nobody is paged for them",
        "aws cloudwatch put-metric-alarm",
    ),
    "disabled rule, and an alarm that needs it": (
        odd(AlarmActions=[], OKActions=[]),
        "is disabled, and 1 alarms have no other way here",
        "deploy with CloudWatchAlarmRule=ENABLED",
    ),
    "no OK action": (odd(OKActions=[]), "1 alarms have no OK action", "aws cloudwatch put-metric-alarm"),
    "actions disabled": (
        odd(ActionsEnabled=False),
        "1 alarms have their actions disabled",
        "aws cloudwatch enable-alarm-actions --alarm-names odd",
    ),
    "topic of another region": (
        odd(AlarmActions=[f"arn:aws:sns:eu-west-1:{ACCOUNT}:x"]),
        "alarm odd names a topic of another region",
        "aws cloudwatch put-metric-alarm",
    ),
    "topic that is gone": (
        odd(AlarmActions=[f"arn:aws:sns:{REGION}:{ACCOUNT}:gone"]),
        "1 alarms name a topic that does not exist",
        "aws cloudwatch put-metric-alarm",
    ),
    "topic that nobody subscribes to": (
        topic_without_subscribers,
        "1 alarms name a topic that nobody subscribes to",
        "aws sns subscribe",
    ),
    "alert that no target takes": (
        target_that_takes_little,
        "1 alarms would be taken by no target",
        "add a target without `match`",
    ),
    "unknown severity": (
        odd(Tags=severity("catastrophic")),
        "alarm odd has the tag severity=catastrophic: not a known severity",
        "aws cloudwatch tag-resource",
    ),
    "tags that are not sent along": (
        odd(Tags=severity("critical")),
        "1 alarms have tags that say their severity or route, and do not send them along",
        "aws cloudwatch put-metric-alarm",
    ),
    "unconfirmed operator": (
        unconfirmed_operator,
        f"http {HOOK} has not confirmed its subscription",
        "aws sns subscribe",
    ),
    "bad secret": (bad_secret, "secret pagerduty/bad: ", "aws secretsmanager put-secret-value"),
    "dead letter": (dead_letter, "1 dead letters wait in the queue", "make redrive DRY_RUN=1"),
    "loop detection": (loop_detection, "set to Terminate", "aws lambda put-function-recursion-config"),
    "disabled rule": (disabled_rule, "is disabled, although the stack enables it", "aws events enable-rule"),
    "lost subscription": (lost_subscription, "the stack's topic does not lead to its function", "aws sns subscribe"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_with_what_fixes_it(own: Deployed, fault: str) -> None:
    """And is found no more when it is fixed."""
    plant, what, fix = FAULTS[fault]
    with plant(own):
        status, text = examine(own)
    assert status == 1
    found = text.splitlines()
    [number] = [index for index, line in enumerate(found) if what in line]
    assert any(fix in line for line in found[number : number + 3] if line.startswith("   fix: "))
    status, text = examine(own)
    assert (status, "; 0 findings." in text) == (0, True), text


def test_nothing_is_wrong_in_a_shared_account(own: Deployed) -> None:
    """With another publisher, to whose operators' topic nobody listens, and with another team's alarms."""
    emulator = own.emulator
    with SimulatorServer() as simulator:
        parameters = parameters_for(simulator.url, TargetPrefix="other/", NativeAlertRule="DISABLED")
        deploy(emulator, parameters, stack_name="other")
    sns, sqs = emulator.client("sns"), emulator.client("sqs")
    topic = sns.create_topic(Name="of-another-team")["TopicArn"]
    url = sqs.create_queue(QueueName="of-another-team")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    with alarm(own, "of-another-team", AlarmActions=[topic], OKActions=[], ActionsEnabled=False):
        status, text = examine(own)
    assert status == 0, text
    assert "note: 1 alarms lead to others, and not to this stack: of-another-team" in text
    assert "note: stack other is a publisher too, and looks at its own alarms: make doctor STACK=other" in text
    with alarm(own, "odd", AlarmActions=[], OKActions=[]):
        assert examine(own)[0] == 1
        assert examine(own, "--alarms", "sound")[0] == 0


def test_what_no_target_takes_is_told_so(own: Deployed) -> None:
    """`make trace` of an unrouted alert."""
    key, lines = uuid4().hex, list[str]()
    with target_that_takes_little(own):
        own.invoke({"alert": {"fingerprint": key, "alert_name": "Unrouted", "status": "firing"}})
        assert trace.main(["--stack", STACK_NAME, "--key", key], own.emulator.client, lines.append) == 0
    assert lines[-1].startswith("END: sent nowhere at ")
    assert "no target takes this alert: of 1, none matches and none is without `match`" in lines[-1]
    assert lines[-1].endswith("; and lies in the dead-letter queue (make redrive).")
    own.dead_letter(key)
