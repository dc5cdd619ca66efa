"""`make redrive`: moves dead letters to the retry queue, which publishes them again. Reads bodies only to print them.

A message is deleted only after the retry queue has it: an interruption in between repeats one, which the function
folds, and never loses one. Talks to the AWS that the environment names, as the AWS CLI does.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.operators.letters import cause_of
from tools.stack import FINDING, FINE, STACK_NAME, Connect, Say, ToolError, connect, find_queues, one_line, run, say

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

NO_ERROR_TYPE = "none"
"""The error_type of what Lambda, SNS, EventBridge or SQS itself has put into the queue."""
RULE_ARN = "RULE_ARN"
"""The attribute by which EventBridge names its rule:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html"""
BATCH = 10
"""The most messages that SQS returns at a time:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
VISIBILITY_SECONDS = 120
"""How long a received message is hidden from others; an interrupted run releases it at once if it can."""
WAIT_SECONDS = 2
"""Any wait makes SQS ask all of its servers: without one, an empty answer does not mean an empty queue."""
_MAX_NESTING = 20


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue.

    Attributes:
        sent_at: when it was put there.
        error_type: of the function's own dead letters; `none` for what others have put there.
        what: the alert's name, or else its kind.
        rule_arn: of the EventBridge rule that could not deliver it; by it the function knows whose event it is.
    """

    message_id: str
    receipt_handle: str
    body: str
    sent_at: datetime
    error_type: str
    error: str
    what: str
    rule_arn: str = ""

    def __str__(self) -> str:
        """Return one line to show, with no more of the body than the alert's name and the error."""
        what, error = one_line(self.what, 40), one_line(self.error, 120)
        return f"{self.sent_at:%Y-%m-%dT%H:%M:%SZ}  {one_line(self.error_type, 20):<14}  {what:<28}  {error}"


def read_letter(message: "MessageTypeDef") -> DeadLetter:
    """Return a received message as a dead letter."""
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    body = _parse(message["Body"])
    return DeadLetter(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
        error_type=attributes.get("error_type") or NO_ERROR_TYPE,
        error=cause_of(message).error,
        what=_what_is(body),
        rule_arn=attributes.get(RULE_ARN, ""),
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _what_is(body: Any) -> str:
    """Look inside the wrappings for a name; return the kind of the innermost wrapping if there is none."""
    kind = "a message"
    for _ in range(_MAX_NESTING):
        match body:
            case {"alert": {"alert_name": str(name)}} | {"AlarmName": str(name)} | {"alarmName": str(name)}:
                return name
            case {"TopicArn": str(), "Message": str(text), **rest}:
                kind, body = str(rest.get("Subject") or "an SNS notification"), _parse(text)
            case {"detail-type": str(detail_type), "detail": inner}:
                kind, body = detail_type or "an EventBridge event", inner
            case {"requestPayload": inner} | {"record": inner} | {"Records": [inner]} | {"Sns": inner}:
                kind, body = "a record", inner
            case {"body": str(text)}:
                kind, body = "a record", _parse(text)
            case _:
                break
    return kind


def as_fresh(text: str) -> str:
    """Return a message that starts afresh: of what it says of its delivery only the target is kept.

    On the retry queue that counts as written by the function; a dead letter may have come from elsewhere.
    """
    body = _parse(text)
    if not isinstance(body, dict) or "delivery" not in body:
        return text
    target = body["delivery"].get("target") if isinstance(body["delivery"], dict) else None
    kept = {"delivery": {"target": target}} if isinstance(target, str) and target else {}
    return json.dumps({**{name: value for name, value in body.items() if name != "delivery"}, **kept})


@dataclass(frozen=True, slots=True)
class Tally:
    """How many messages were sent (or would be), were left for their error_type, and could not be moved."""

    sent: int
    other: int
    failed: int


class Redrive:
    """One run over the dead-letter queue.

    Args:
        retry_url: the queue that messages go to.
        dead_letter_url: the queue that they come from.
        say: prints a line.
        error_type: of the messages that are moved; empty for all.
        at_most: how many messages are moved; None for all.
        dry_run: shows the messages, and changes nothing.
    """

    def __init__(
        self,
        client: "SQSClient",
        retry_url: str,
        dead_letter_url: str,
        say: Say,
        *,
        error_type: str = "",
        at_most: int | None = None,
        dry_run: bool = False,
    ) -> None:
        self._client = client
        self._retry_url = retry_url
        self._dead_letter_url = dead_letter_url
        self._say = say
        self._error_type = error_type
        self._at_most = at_most
        self._dry_run = dry_run
        # ids of messages
        self._sent: set[str] = set()
        self._not_sent: set[str] = set()
        self._other: set[str] = set()
        self._held: dict[str, str] = {}  # to their receipt handles

    def run(self) -> Tally:
        """Redrive the messages; raise ToolError if the dead-letter queue cannot be read."""
        try:
            self._run()
        except (ClientError, BotoCoreError) as error:
            raise ToolError(f"dead-letter queue {self._dead_letter_url}: {error}") from error
        finally:
            self._give_back(list(self._held.values()))
        twice = set() if self._dry_run else self._sent & self._held.keys()
        return Tally(len(self._sent), len(self._other), len(self._not_sent) + len(twice))

    def _run(self) -> None:
        # no more than there were at the start: what the function refuses again comes back with a new id. The count is
        # an approximate one, so look at least once
        left = max(1, self._count())
        while left > 0:
            size = min(BATCH, left, self._may_take())
            if size == 0:
                return
            batch = self._receive(size)
            if not batch:
                return
            left -= len(batch)
            self._held |= {letter.message_id: letter.receipt_handle for letter in batch}
            for letter in batch:
                self._handle(letter)
        if self._receive(1, visibility_seconds=0):
            self._say("There is more in the queue: it came, or came back, meanwhile. Run this again to send it, too.")

    def _may_take(self) -> int:
        return BATCH if self._at_most is None else self._at_most - len(self._sent) - len(self._not_sent)

    def _count(self) -> int:
        answer = self._client.get_queue_attributes(
            QueueUrl=self._dead_letter_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def _receive(self, size: int, *, visibility_seconds: int = VISIBILITY_SECONDS) -> list[DeadLetter]:
        answer = self._client.receive_message(
            QueueUrl=self._dead_letter_url,
            MaxNumberOfMessages=size,
            VisibilityTimeout=visibility_seconds,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return [read_letter(message) for message in answer.get("Messages", [])]

    def _handle(self, letter: DeadLetter) -> None:
        if letter.message_id in self._sent:
            if not self._dry_run:  # SQS may give out a message once more, even a deleted one
                self._delete(letter)
        elif letter.message_id in self._not_sent | self._other:
            return
        elif self._error_type not in ("", letter.error_type):
            self._other.add(letter.message_id)
        else:
            self._say(str(letter))
            if self._dry_run:
                self._sent.add(letter.message_id)
            else:
                self._move(letter)

    def _move(self, letter: DeadLetter) -> None:
        try:
            self._client.send_message(
                QueueUrl=self._retry_url,
                MessageBody=as_fresh(letter.body),
                MessageAttributes=(
                    {RULE_ARN: {"DataType": "String", "StringValue": letter.rule_arn}} if letter.rule_arn else {}
                ),
            )
        except (ClientError, BotoCoreError) as error:
            self._not_sent.add(letter.message_id)
            self._say(f"  not sent, and left where it is: {error}")
        else:
            self._sent.add(letter.message_id)
            self._delete(letter)

    def _delete(self, letter: DeadLetter) -> None:
        try:
            self._client.delete_message(QueueUrl=self._dead_letter_url, ReceiptHandle=letter.receipt_handle)
        except (ClientError, BotoCoreError) as error:
            self._say(f"  sent, but still in the dead-letter queue, too: {error}")
        else:
            del self._held[letter.message_id]

    def _give_back(self, receipt_handles: Sequence[str]) -> None:
        """Release the messages at once; if that fails, they are visible again after the visibility timeout."""
        for start in range(0, len(receipt_handles), BATCH):
            with suppress(ClientError, BotoCoreError):
                self._client.change_message_visibility_batch(
                    QueueUrl=self._dead_letter_url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": receipt_handle, "VisibilityTimeout": 0}
                        for number, receipt_handle in enumerate(receipt_handles[start : start + BATCH])
                    ],
                )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return int(text)


def main(arguments: Sequence[str], connect: Connect = connect, say: Say = say) -> int:
    """Redrive a stack's dead-letter queue; return the exit status: 1 where a message could not be moved."""
    parser = argparse.ArgumentParser("redrive", description="send what is in the dead-letter queue through again")
    parser.add_argument("--stack", default=STACK_NAME, help="the CloudFormation stack (default: %(default)s)")
    parser.add_argument("--error-type", default="", help=f"take these only; `{NO_ERROR_TYPE}`: those that have none")
    parser.add_argument("--max", type=_positive, help="take so many at most")
    parser.add_argument("--dry-run", action="store_true", help="show them, and change nothing")
    given = parser.parse_args(arguments)
    retry_url, dead_letter_url = find_queues(connect, given.stack)
    tally = Redrive(
        connect("sqs"),
        retry_url,
        dead_letter_url,
        say,
        error_type=given.error_type,
        at_most=given.max,
        dry_run=given.dry_run,
    ).run()
    say(_summary(tally, given.error_type, dry_run=given.dry_run))
    return FINDING if tally.failed else FINE


def _summary(tally: Tally, error_type: str, *, dry_run: bool) -> str:
    parts = [
        f"{tally.sent} {'to send, nothing changed' if dry_run else 'sent to the retry queue'}",
        *([f"{tally.other} not of error_type {error_type}, left"] if tally.other else []),
        *([f"{tally.failed} failed"] if tally.failed else []),
    ]
    return "; ".join(parts)


if __name__ == "__main__":
    run(main, interrupted="stopped: what was not sent is still in the dead-letter queue")
