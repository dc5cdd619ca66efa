"""Sending dead letters through again: each message moves once or stays, and the run ends."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.lab.clock import NOW, Clock
from tests.lab.failures import Failures, client_error
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS
from tests.lab.world import native
from tools.redrive import as_fresh, main, read_letter
from tools.stack import ToolError, find_queues

ERROR = "PagerDuty answered 400: Invalid Routing Key"
NAME = "DatabaseHighCPU"


@dataclass
class Letter:
    """A message in the fake dead-letter queue."""

    message_id: str
    body: str
    attributes: Mapping[str, str]
    visible_at: float = 0.0
    received: int = 0

    @property
    def handle(self) -> str:
        return f"{self.message_id}/{self.received}"

    def as_message(self) -> dict[str, Any]:
        """Return it as SQS does."""
        return {
            "MessageId": self.message_id,
            "ReceiptHandle": self.handle,
            "Body": self.body,
            "Attributes": {"SentTimestamp": str(int(NOW * 1000))},
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in self.attributes.items()
            },
        }


class FakeQueues:
    """A retry queue, and a dead-letter queue whose messages can be received: hidden for a while, and then back."""

    def __init__(self) -> None:
        self.retry = FakeSQS()
        self.letters: list[Letter] = []
        self.clock = Clock()
        self.failures: dict[str, Failures] = {}
        self.miscounts: int | None = None
        self.calls: list[str] = []
        self.on_receive: Callable[[], None] = lambda: None
        self.on_send: Callable[[str], None] = lambda body: None

    def put(self, body: Any, **attributes: str) -> Letter:
        """Put a message into the dead-letter queue."""
        text = body if isinstance(body, str) else json.dumps(body)
        letter = Letter(f"m-{len(self.letters) + 1}-{len(self.calls)}", text, attributes)
        self.letters.append(letter)
        return letter

    def dead_letter(self, count: int = 1, error_type: str = "bad_request") -> None:
        """Put dead letters of the function's own."""
        for _ in range(count):
            self.put({**native(), "error": ERROR}, error_type=error_type, error=ERROR, attempts="1")

    @property
    def visible(self) -> list[Letter]:
        return [letter for letter in self.letters if letter.visible_at <= self.clock()]

    @property
    def sent(self) -> list[str]:
        return [message.body for message in self.retry.retries]

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        self.failures.get(operation, Failures()).strike(operation)

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Sequence[str]) -> dict[str, Any]:
        self._called("GetQueueAttributes")
        count = len(self.visible) if self.miscounts is None else self.miscounts
        return {"Attributes": {name: str(count) for name in AttributeNames}}

    def receive_message(
        self, *, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int, **_: Any
    ) -> dict[str, Any]:
        self._called("ReceiveMessage")
        assert QueueUrl == DEAD_LETTER_URL
        assert 1 <= MaxNumberOfMessages <= 10
        self.on_receive()
        found = self.visible[:MaxNumberOfMessages]
        for letter in found:
            letter.visible_at = self.clock() + VisibilityTimeout
            letter.received += 1
        return {"Messages": [letter.as_message() for letter in found]} if found else {}

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, MessageAttributes: Mapping[str, Mapping[str, str]]
    ) -> dict[str, str]:
        self._called("SendMessage")
        answer = self.retry.send_message(
            QueueUrl=QueueUrl, MessageBody=MessageBody, MessageAttributes=MessageAttributes
        )
        self.on_send(MessageBody)
        return answer

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        self._called("DeleteMessage")
        self.letters = [letter for letter in self.letters if letter.handle != ReceiptHandle]

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> None:
        self._called("ChangeMessageVisibilityBatch")
        assert 1 <= len(Entries) <= 10
        for entry in Entries:
            for letter in self.letters:
                if letter.handle == entry["ReceiptHandle"]:
                    letter.visible_at = self.clock() + entry["VisibilityTimeout"]


class FakeCloudFormation:
    """One stack with these outputs."""

    def __init__(self, **outputs: str) -> None:
        self.outputs = outputs
        self.failures = Failures()

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        self.failures.strike("DescribeStacks")
        if StackName != "pagerduty-publisher":
            missing = client_error("ValidationError", "DescribeStacks")
            missing.response["Error"]["Message"] = f"Stack with id {StackName} does not exist"
            raise missing
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{"StackName": StackName, "Outputs": outputs} if outputs else {"StackName": StackName}]}


@dataclass
class Ran:
    """What a run of the command said."""

    status: int
    lines: list[str]

    @property
    def summary(self) -> str:
        return self.lines[-1]


def redrive(queues: FakeQueues, *arguments: str) -> Ran:
    clients = {
        "cloudformation": FakeCloudFormation(RetryQueueUrl=RETRY_URL, DeadLetterQueueUrl=DEAD_LETTER_URL),
        "sqs": queues,
    }
    lines: list[str] = []
    return Ran(main(arguments, clients.__getitem__, lines.append), lines)


def shown(body: Any, **attributes: str) -> str:
    """Return the line that is shown for a message, without its time."""
    message = Letter("m-1", body if isinstance(body, str) else json.dumps(body), attributes).as_message()
    time, _, line = str(read_letter(cast(Any, message))).partition("  ")
    assert time == "2026-11-23T03:40:01Z"
    return line


# --- What moves -------------------------------------------------------------------------------------------------------


def test_every_message_moves_as_it_is() -> None:
    """The body on the retry queue is the very one of the dead-letter queue, which is empty at the end."""
    queues = FakeQueues()
    bodies = ["no JSON", '{"alert":  {}}', "{}"]
    for body in bodies:
        queues.put(body)
    ran = redrive(queues)
    assert queues.sent == bodies
    assert queues.letters == []
    assert (ran.status, ran.summary) == (0, "3 sent to the retry queue")
    assert len(ran.lines) == 4


def test_an_event_keeps_the_name_of_its_rule_and_no_other_attribute() -> None:
    """By the rule the function tells what came from other accounts; an error of the past says nothing of the alert."""
    queues = FakeQueues()
    queues.put(EVENT, RULE_ARN="arn:x", ERROR_CODE="NO_PERMISSIONS")
    queues.dead_letter()
    redrive(queues)
    assert [message.attributes for message in queues.retry.retries] == [{"RULE_ARN": "arn:x"}, {}]


def test_more_than_a_batch_moves() -> None:
    queues = FakeQueues()
    queues.dead_letter(25)
    assert redrive(queues).summary == "25 sent to the retry queue"
    assert (len(queues.sent), queues.letters) == (25, [])


def test_an_empty_queue_is_no_error() -> None:
    ran = redrive(FakeQueues())
    assert (ran.status, ran.lines) == (0, ["0 sent to the retry queue"])


def test_a_message_that_the_count_left_out_moves_all_the_same() -> None:
    """The count of a queue is an approximate one."""
    queues = FakeQueues()
    queues.dead_letter()
    queues.miscounts = 0
    assert redrive(queues).summary == "1 sent to the retry queue"


def test_too_high_a_count_ends_with_the_queue() -> None:
    queues = FakeQueues()
    queues.dead_letter(2)
    queues.miscounts = 50
    assert redrive(queues).summary == "2 sent to the retry queue"
    assert queues.calls.count("ReceiveMessage") == 2


def test_a_message_is_deleted_only_after_it_was_sent() -> None:
    queues = FakeQueues()
    queues.dead_letter()
    redrive(queues)
    assert [call for call in queues.calls if call in ("SendMessage", "DeleteMessage")] == [
        "SendMessage",
        "DeleteMessage",
    ]


def test_an_interruption_before_the_deletion_loses_nothing() -> None:
    """The message is there twice, and visible at once; the function folds the second."""
    queues = FakeQueues()
    queues.dead_letter(3)

    def interrupt(body: str) -> None:
        raise KeyboardInterrupt

    queues.on_send = interrupt
    with pytest.raises(KeyboardInterrupt):
        redrive(queues)
    assert len(queues.sent) == 1
    assert len(queues.visible) == 3


# --- What does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["AccessDenied", EndpointConnectionError(endpoint_url="https://sqs")])
def test_a_message_that_cannot_be_sent_is_left_and_reported(error: Any) -> None:
    """The others move; the status is 1."""
    queues = FakeQueues()
    queues.dead_letter(3)
    queues.failures["SendMessage"] = Failures(error, after=1, times=1)
    ran = redrive(queues)
    assert (ran.status, ran.summary) == (1, "2 sent to the retry queue; 1 failed")
    assert ran.lines[2].startswith("  not sent, and left where it is: ")
    assert len(queues.visible) == 1


def test_a_message_that_was_not_sent_is_not_tried_again_in_the_same_run() -> None:
    """Its visibility timeout ends while the run goes on."""
    queues = FakeQueues()
    queues.dead_letter(12)
    queues.failures["SendMessage"] = Failures("AccessDenied")
    queues.on_receive = lambda: queues.clock.advance(300)
    ran = redrive(queues)
    assert (ran.status, ran.summary) == (1, "0 sent to the retry queue; 10 failed")
    assert len(queues.visible) == 12


def test_a_message_that_cannot_be_deleted_is_reported() -> None:
    """It was sent, and will be once more when this is run again."""
    queues = FakeQueues()
    queues.dead_letter(2)
    queues.failures["DeleteMessage"] = Failures("AccessDenied", times=1)
    ran = redrive(queues)
    assert (ran.status, ran.summary) == (1, "2 sent to the retry queue; 1 failed")
    assert ran.lines[1].startswith("  sent, but still in the dead-letter queue, too: ")
    assert len(queues.visible) == 1


def test_a_message_that_sqs_gives_out_twice_is_sent_once() -> None:
    """It is deleted when it is seen again."""
    queues = FakeQueues()
    queues.dead_letter(11)
    queues.failures["DeleteMessage"] = Failures("ServiceUnavailable", times=1)
    queues.on_receive = lambda: queues.clock.advance(300)
    queues.miscounts = 12
    ran = redrive(queues)
    assert (ran.status, ran.summary) == (0, "11 sent to the retry queue")
    assert (len(queues.sent), queues.letters) == (11, [])


def test_messages_that_come_back_while_it_runs_do_not_keep_it_running() -> None:
    """The function refuses each one at once, and puts it into the dead-letter queue as a new message."""
    queues = FakeQueues()
    queues.dead_letter(13)
    queues.on_send = lambda body: queues.dead_letter()
    ran = redrive(queues)
    assert ran.lines[-2].startswith("There is more in the queue: ")
    assert (ran.status, ran.summary) == (0, "13 sent to the retry queue")
    assert len(queues.visible) == 13


# --- Choosing ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_and_changes_nothing() -> None:
    queues = FakeQueues()
    queues.dead_letter(12)
    ran = redrive(queues, "--dry-run")
    assert (ran.status, ran.summary) == (0, "12 to send, nothing changed")
    assert (len(ran.lines), queues.sent, len(queues.visible)) == (13, [], 12)
    assert "DeleteMessage" not in queues.calls


def test_a_dry_run_shows_each_message_once() -> None:
    """Even where the first ones are visible again before the last ones were received."""
    queues = FakeQueues()
    queues.dead_letter(12)
    queues.on_receive = lambda: queues.clock.advance(300)
    ran = redrive(queues, "--dry-run")
    assert (ran.summary, len(ran.lines)) == ("10 to send, nothing changed", 12)
    assert "DeleteMessage" not in queues.calls


@pytest.mark.parametrize(("error_type", "sent"), [("no_target", 2), ("none", 1), ("exhausted", 0)])
def test_one_error_type_is_taken_and_the_others_are_left(error_type: str, sent: int) -> None:
    queues = FakeQueues()
    queues.dead_letter(12)
    queues.dead_letter(2, "no_target")
    queues.put(native())
    ran = redrive(queues, "--error-type", error_type)
    left = 15 - sent
    assert ran.summary == f"{sent} sent to the retry queue; {left} not of error_type {error_type}, left"
    assert (ran.status, len(queues.sent), len(queues.visible)) == (0, sent, left)


@pytest.mark.parametrize("at_most", [1, 10, 13])
def test_no_more_than_max_are_taken(at_most: int) -> None:
    """And no more are received, so that the rest stays visible throughout."""
    queues = FakeQueues()
    queues.dead_letter(15)
    ran = redrive(queues, "--max", str(at_most))
    assert ran.summary == f"{at_most} sent to the retry queue"
    assert len(queues.visible) == 15 - at_most
    assert [letter.received for letter in queues.letters] == [0] * (15 - at_most)


def test_max_counts_what_is_taken_not_what_is_looked_at() -> None:
    queues = FakeQueues()
    queues.dead_letter(12)
    queues.dead_letter(3, "no_target")
    ran = redrive(queues, "--error-type", "no_target", "--max", "2")
    assert ran.summary == "2 sent to the retry queue; 12 not of error_type no_target, left"


@pytest.mark.parametrize("given", ["0", "-1", "many", ""])
def test_max_has_to_be_a_number_above_zero(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        redrive(FakeQueues(), f"--max={given}")
    assert "must be a number above 0" in capsys.readouterr().err


# --- What is shown ----------------------------------------------------------------------------------------------------

TOPIC = "arn:aws:sns:us-east-1:000000000000:alerts"
SNS = {"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": json.dumps(native())}}
EVENT = {"detail-type": "Alert", "source": "shop", "detail": native()}


@pytest.mark.parametrize(
    "body",
    [
        native(),
        {"record": SNS, "error": ERROR},
        {"record": {"eventSource": "aws:sqs", "body": json.dumps(native())}},
        {"requestContext": {}, "requestPayload": {"Records": [SNS]}},
        {"Records": [SNS]},
        {"Type": "Notification", **SNS["Sns"]},  # type: ignore[dict-item]
        EVENT,
        {"AlarmName": NAME},
        {"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": NAME}},
    ],
    ids=[
        "native",
        "own dead letter of sns",
        "own dead letter of sqs",
        "lambda",
        "invocation",
        "sns",
        "eventbridge",
        "alarm over sns",
        "alarm over eventbridge",
    ],
)
def test_the_alert_is_named_whatever_it_is_wrapped_in(body: Any) -> None:
    assert shown(body).split()[1] == NAME


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("rubbish", "a message"),
        ([1], "a message"),
        ({"record": "rubbish", "error": ERROR}, "a record"),
        ({"Type": "Notification", "TopicArn": TOPIC, "Message": "down"}, "an SNS notification"),
        ({"Type": "Notification", "TopicArn": TOPIC, "Subject": "Disk full", "Message": "down"}, "Disk full"),
        ({"detail-type": "Deployment", "detail": {}}, "Deployment"),
        ({"detail-type": "", "detail": {}}, "an EventBridge event"),
        ("[" * 100_000, "a message"),
        ('{"record":' * 500 + "1" + "}" * 500, "a record"),
    ],
)
def test_what_has_no_name_is_called_what_it_is(body: Any, what: str) -> None:
    assert f"  {what}  " in shown(body)


@pytest.mark.parametrize(
    ("body", "attributes", "line"),
    [
        ({"error": ERROR}, {"error_type": "bad_request"}, ("bad_request", ERROR)),
        ({"requestContext": {"condition": "RetriesExhausted"}}, {}, ("none", "RetriesExhausted")),
        (
            {"requestContext": {"condition": "x"}, "responsePayload": {"errorMessage": "no table"}},
            {},
            ("none", "no table"),
        ),
        (EVENT, {"ERROR_CODE": "NO_PERMISSIONS", "RULE_ARN": "arn:x"}, ("none", "NO_PERMISSIONS")),
        (EVENT, {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not allowed"}, ("none", "not allowed")),
        (SNS, {"ErrorCode": "403", "ErrorMessage": "denied"}, ("none", "denied")),
        (native(), {}, ("none", "the function failed on every delivery: see its log")),
    ],
)
def test_the_error_is_found_where_each_sink_puts_it(
    body: Any, attributes: dict[str, str], line: tuple[str, str]
) -> None:
    error_type, error = line
    assert shown(body, **attributes).startswith(f"{error_type} ")
    assert shown(body, **attributes).endswith(f"  {error}")


def test_a_line_is_one_line_and_shows_no_more_than_name_and_error() -> None:
    """What came from outside cannot steer the terminal, nor fill it."""
    line = shown({"alert": {"alert_name": "a\n\x1b[2Jb" * 50, "labels": {"team": "x"}}, "error": "e\r\n" * 500})
    assert line.isprintable()
    assert len(line) < 200
    assert "team" not in line


# --- What is missing --------------------------------------------------------------------------------------------------


def test_the_queues_are_found_by_the_stacks_outputs() -> None:
    """Alone: whoever may redrive need not be allowed to read the function's configuration."""
    stack = FakeCloudFormation(RetryQueueUrl=RETRY_URL, DeadLetterQueueUrl=DEAD_LETTER_URL, Other="x")
    services = {"cloudformation": stack}
    assert find_queues(services.__getitem__, "pagerduty-publisher") == (RETRY_URL, DEAD_LETTER_URL)


def test_a_stack_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolError, match="no stack other in this account and region: name yours, STACK="):
        redrive(FakeQueues(), "--stack", "other")


@pytest.mark.parametrize("outputs", [{}, {"RetryQueueUrl": RETRY_URL}])
def test_another_kind_of_stack_is_refused(outputs: dict[str, str]) -> None:
    stack = FakeCloudFormation(**outputs)
    with pytest.raises(ToolError, match=r"has no output .*QueueUrl"):
        find_queues(lambda service: stack, "pagerduty-publisher")


def test_a_stack_that_may_not_be_read_is_an_error_of_aws() -> None:
    """Which the command reports as the others do, in one line."""
    stack = FakeCloudFormation()
    stack.failures = Failures("AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        find_queues(lambda service: stack, "pagerduty-publisher")


@pytest.mark.parametrize("operation", ["GetQueueAttributes", "ReceiveMessage"])
def test_a_dead_letter_queue_that_cannot_be_read_is_named(operation: str) -> None:
    queues = FakeQueues()
    queues.dead_letter()
    queues.failures[operation] = Failures("AWS.SimpleQueueService.NonExistentQueue")
    with pytest.raises(ToolError, match=f"dead-letter queue {DEAD_LETTER_URL}: .*NonExistentQueue"):
        redrive(queues)
    assert queues.sent == []


def test_what_is_held_is_given_back_where_the_queue_fails_meanwhile() -> None:
    queues = FakeQueues()
    queues.dead_letter(20)
    queues.failures["ReceiveMessage"] = Failures("ServiceUnavailable", after=1)
    with pytest.raises(ToolError):
        redrive(queues, "--dry-run")
    assert len(queues.visible) == 20


def test_what_cannot_be_given_back_comes_back_by_itself() -> None:
    queues = FakeQueues()
    queues.dead_letter(2)
    queues.failures["ChangeMessageVisibilityBatch"] = Failures("ServiceUnavailable")
    assert redrive(queues, "--dry-run").status == 0
    queues.clock.advance(120)
    assert len(queues.visible) == 2


@pytest.mark.parametrize(
    ("body", "moved"),
    [
        ({"alert": {}, "delivery": {"target": "a", "was_sent_unclaimed": True, "start": 7}}, {"target": "a"}),
        ({"alert": {}, "delivery": {"failures": 3}}, None),
        ({"alert": {}, "delivery": "forged"}, None),
    ],
)
def test_of_a_deliverys_state_only_the_target_is_moved(body: dict[str, Any], moved: Any) -> None:
    """On the retry queue it would count as written by the function."""
    fresh = json.loads(as_fresh(json.dumps(body)))
    assert (fresh["alert"], fresh.get("delivery")) == ({}, moved)


def test_a_message_without_such_a_state_is_moved_to_the_letter() -> None:
    """Whatever it is."""
    for text in ("no json", '{"a": 1,  "b": [1]}', "[]", '"delivery"'):
        assert as_fresh(text) == text
