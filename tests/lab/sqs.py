"""SQS in memory, which refuses what SQS refuses."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError

from tests.lab.clock import NOW
from tests.lab.failures import Failures, client_error

RETRY_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/retry"
DEAD_LETTER_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/dead-letter"

_NOT_FOR_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a queue."""

    body: str
    delay_seconds: int
    attributes: Mapping[str, str]
    message_id: str = ""

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def as_record(self, message_id: str = "m-1") -> dict[str, Any]:
        """Return the record with which Lambda would be invoked."""
        return {
            "messageId": message_id,
            "receiptHandle": "r-1",
            "body": self.body,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(NOW * 1000))},
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:retry",
            "awsRegion": "us-east-1",
        }


class FakeSQS:
    """Queues that are lists; refuses what SQS refuses."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Message]] = {RETRY_URL: [], DEAD_LETTER_URL: []}
        self.failures = Failures()
        self.held: set[str] = set()
        """Ids of received messages, which nobody else receives."""
        self.sent = 0

    @property
    def retries(self) -> list[Message]:
        return self.queues[RETRY_URL]

    @property
    def dead_letters(self) -> list[Message]:
        return self.queues[DEAD_LETTER_URL]

    def copy(self) -> "FakeSQS":
        """Return a copy with the same messages, which changes on its own."""
        twin = FakeSQS()
        twin.queues = {url: list(messages) for url, messages in self.queues.items()}
        twin.held, twin.sent = set(self.held), self.sent
        twin.failures = Failures(self.failures.error, self.failures.after, self.failures.times)
        return twin

    def fail(self, error: str | BotoCoreError, *, after: int = 0, times: int | None = None) -> None:
        """Fail from now on."""
        self.failures = Failures(error, after, times)

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Sequence[str]) -> dict[str, Any]:
        """Return how many messages there are, all of them visible."""
        self.failures.strike("GetQueueAttributes")
        counted = dict.fromkeys(AttributeNames, "0")
        return {"Attributes": {**counted, "ApproximateNumberOfMessages": str(len(self.queues.get(QueueUrl, [])))}}

    def send_message(
        self,
        *,
        QueueUrl: str,
        MessageBody: str,
        DelaySeconds: int = 0,
        MessageAttributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> dict[str, str]:
        self.failures.strike("SendMessage")
        if QueueUrl not in self.queues:
            raise client_error("AWS.SimpleQueueService.NonExistentQueue", "SendMessage")
        attributes = {name: value["StringValue"] for name, value in (MessageAttributes or {}).items()}
        if not 0 <= DelaySeconds <= 900 or not MessageBody or not all(attributes.values()):
            raise client_error("InvalidParameterValue", "SendMessage")
        if any(_NOT_FOR_SQS.search(text) for text in (MessageBody, *attributes.values())):
            raise client_error("InvalidMessageContents", "SendMessage")
        self.sent += 1
        message = Message(MessageBody, DelaySeconds, attributes, f"m-{self.sent}")
        self.queues[QueueUrl].append(message)
        return {"MessageId": message.message_id}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int, **_: Any) -> Any:
        """Return messages that nobody holds; the receipt handle is the id."""
        self.failures.strike("ReceiveMessage")
        assert 1 <= MaxNumberOfMessages <= 10
        free = [message for message in self.queues[QueueUrl] if message.message_id not in self.held]
        page = free[:MaxNumberOfMessages]
        self.held |= {message.message_id for message in page if VisibilityTimeout}
        return {
            "Messages": [
                {
                    "MessageId": message.message_id,
                    "ReceiptHandle": message.message_id,
                    "Body": message.body,
                    "Attributes": {"SentTimestamp": str(int(NOW * 1000))},
                    "MessageAttributes": {
                        name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
                    },
                }
                for message in page
            ]
        }

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> Any:
        """Release messages."""
        self.failures.strike("ChangeMessageVisibilityBatch")
        assert 1 <= len(Entries) <= 10
        assert len({entry["Id"] for entry in Entries}) == len(Entries)
        self.held -= {entry["ReceiptHandle"] for entry in Entries if entry["VisibilityTimeout"] == 0}
        return {"Successful": []}
