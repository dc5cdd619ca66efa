"""The retry queue and the dead-letter queue: what is put there, and how this stack's own messages are read back.

A delivery waits in its record as a rule. The retry queue is for what cannot be recorded: the table or the secrets are
out, no target exists yet. It also carries wake-ups, and the rest of a message with very many alerts.
"""

import base64
import json
import re
import zlib
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.alert import Alert
from handler.envelope import Record
from handler.errors import PublishError, QueueUnavailableError
from handler.messages import Progress, WakeUp
from handler.pagerduty.text import shorten
from handler.redaction import redacted
from handler.sources import native
from handler.validation import MAX_ENTRIES, MAX_INFLATED_BYTES, parse_model, parse_text

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

MAX_DELAY_SECONDS = 900
MAX_MESSAGE_BYTES = 1_000_000
"""SQS takes 1 MiB with the attributes:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
PAGE = 10
"""The most messages that SQS returns at a time:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
HELD_SECONDS = 30
_NOT_PLAIN = re.compile(r"[^\t\n\r -~]")
_CUT = {"truncated": "longer than SQS takes: its longest texts were cut"}
"""Added to an alert that was cut; not to a dead letter with a record, which is recognised by having no other keys."""


@dataclass(frozen=True, slots=True)
class Queues:
    """Puts messages on the two queues; every method raises QueueUnavailableError where SQS accepts none."""

    client: "SQSClient"
    retry_url: str
    dead_letter_url: str

    def owns(self, queue_arn: str) -> bool:
        """Return whether a queue is this stack's retry queue: only its messages may have state of a delivery."""
        path = self.retry_url.split("://", 1)[-1].split("/")[1:]
        return bool(queue_arn) and len(path) == 2 and queue_arn.split(":")[-2:] == path

    def progress_of(self, record: Record) -> Progress:
        """Return the delivery's state in a record; empty if somebody else may have written it."""
        payload = record.payload
        if not self.owns(record.queue_arn) or not isinstance(payload, Mapping):
            return Progress()
        written = payload.get("delivery")
        return parse_model(Progress, written, "retry message: delivery") if isinstance(written, Mapping) else Progress()

    def rest_of(self, record: Record) -> Any:
        """Return the message whose rest is in a record of the retry queue; None if there is none."""
        payload = record.payload
        is_own = self.owns(record.queue_arn) and isinstance(payload, Mapping) and "rest" in payload
        return inflate(payload["rest"]) if is_own else None

    def wake_up_of(self, raw: Any) -> WakeUp | None:
        """Return a raw record of the retry queue as a wake-up; None if it is not one."""
        match raw:
            case {"eventSource": "aws:sqs", "eventSourceARN": str(arn), "body": str(body)} if self.owns(arn):
                message = parse_text(body)
                if isinstance(message, Mapping) and message.get("drain") is True:
                    return parse_model(WakeUp, message, "wake-up")
        return None

    def defer(
        self, alert: Alert, progress: Progress, delay_seconds: float, now: float, *, has_failed: bool = True
    ) -> None:
        """Put a delivery on the retry queue, to come back after a delay of up to 15 minutes."""
        since = progress.waiting_since or datetime.fromtimestamp(now, UTC)
        failures = progress.failures + has_failed
        progress = progress.model_copy(
            update={"waiting_since": since, "failures": failures, "message_id": alert.message_id}
        )
        body = {**native.dump(alert), "delivery": progress.model_dump(mode="json", exclude_defaults=True)}
        self._send(self.retry_url, _fitting(body), delay_seconds=delay_seconds)

    def defer_rest(self, raw: Any, start: int) -> None:
        """Put a message with very many alerts on the retry queue, to go on with the alert number `start`."""
        body = {"rest": deflate(raw), "delivery": Progress(start=start).model_dump(mode="json", exclude_defaults=True)}
        self._send(self.retry_url, json.dumps(body))

    def wake(self, target: str = "", *, handovers: int = 0, delay_seconds: float = 1.0) -> None:
        """Start a drainer for the routing key of a target."""
        message = WakeUp(target=target, handovers=handovers).model_dump(mode="json")
        self._send(self.retry_url, json.dumps(message), delay_seconds=delay_seconds)

    def wake_quietly(self, target: str) -> None:
        """Start a drainer; if SQS refuses the message, the schedule starts one within a minute."""
        with suppress(QueueUnavailableError):
            self.wake(target)

    def keep_copy(
        self,
        alert: Alert,
        target: str,
        failures: int,
        delay_seconds: float,
        now: float,
        routed_to: Collection[str] = (),
    ) -> None:
        """Keep a copy of a delivery that is sent without a record; it updates the record when the table is back."""
        copy = Progress(failures=failures, was_sent_unclaimed=True).bound(target, routed_to)
        self.defer(alert, copy, delay_seconds, now)

    def dead_letter(self, alert: Alert, target: str, error: PublishError, attempts: int = 0) -> None:
        """Put an alert on the dead-letter queue with its error; a redrive publishes it anew.

        `attempts` is the number of requests that this invocation made for it.
        """
        delivery = {"delivery": {"target": target}} if target else {}
        self._dead_letter({**native.dump(alert), **delivery}, error, attempts, alert.name)

    def dead_letter_record(self, record: Any, error: PublishError) -> None:
        """Put a record that could not be read on the dead-letter queue, as it came, with its error."""
        self._dead_letter({"record": redacted(record)}, error, 0)

    def count_dead_letters(self) -> int:
        """Return the approximate number of dead letters, including those that somebody is reading."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        try:
            answer: Any = self.client.get_queue_attributes(QueueUrl=self.dead_letter_url, AttributeNames=names)
        except (ClientError, BotoCoreError) as error:
            raise QueueUnavailableError(f"SQS queue {self.dead_letter_url}: {type(error).__name__}") from error
        return sum(int(answer.get("Attributes", {}).get(name, 0)) for name in names)

    def dead_letters(self) -> Generator[list[Any]]:
        """Yield dead letters page by page, as SQS returns them. None is changed.

        Each is invisible to others from when it is read until the iterator is closed, for half a minute at most.
        """
        held: list[Any] = []
        try:
            while True:
                answer: Any = self.client.receive_message(
                    QueueUrl=self.dead_letter_url,
                    MaxNumberOfMessages=PAGE,
                    VisibilityTimeout=HELD_SECONDS,
                    WaitTimeSeconds=1,
                    MessageSystemAttributeNames=["SentTimestamp"],
                    MessageAttributeNames=["All"],
                )
                page = answer.get("Messages", [])
                if not page:
                    return
                held += page
                yield page
        except (ClientError, BotoCoreError) as error:
            raise QueueUnavailableError(f"SQS queue {self.dead_letter_url}: {type(error).__name__}") from error
        finally:
            self._release(held)

    def _release(self, held: Sequence[Any]) -> None:
        for start in range(0, len(held), PAGE):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for number, message in enumerate(held[start : start + PAGE])
            ]
            with suppress(ClientError, BotoCoreError):  # they come back by themselves
                self.client.change_message_visibility_batch(QueueUrl=self.dead_letter_url, Entries=entries)

    def _dead_letter(self, body: Mapping[str, Any], error: PublishError, attempts: int, name: str = "") -> None:
        attributes = {"error_type": str(error.reason), "error": str(error)[:1024], "attempts": str(attempts)}
        if name.strip():
            attributes["alert_name"] = name[:256]
        self._send(self.dead_letter_url, _readable({**body, "error": str(error)}), attributes=attributes)

    def _send(
        self, url: str, text: str, *, delay_seconds: float = 0.0, attributes: Mapping[str, str] | None = None
    ) -> None:
        try:
            self.client.send_message(
                QueueUrl=url,
                MessageBody=text,
                DelaySeconds=min(MAX_DELAY_SECONDS, max(0, ceil(delay_seconds))),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": _NOT_PLAIN.sub("?", value)}
                    for name, value in (attributes or {}).items()
                },
            )
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else type(error).__name__
            raise QueueUnavailableError(f"SQS queue {url}: {code}: the alert stays where it came from") from error


def deflate(value: Any) -> str:
    """Return a JSON value as a short ASCII text."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode())).decode()


def inflate(text: Any) -> Any:
    """Return the JSON value in a text that `deflate` made."""
    return json.loads(zlib.decompressobj().decompress(base64.b64decode(str(text)), MAX_INFLATED_BYTES))


def _encode(body: Mapping[str, Any]) -> str:
    """Return JSON in ASCII: SQS refuses some characters that JSON text can carry."""
    return json.dumps(body, separators=(",", ":"))


def _fitting(body: Mapping[str, Any]) -> str:
    """Return a message for the retry queue, compressed if it is too large."""
    text = _encode(body)
    if len(text) <= MAX_MESSAGE_BYTES:
        return text
    delivery = body.get("delivery", {})
    whole = {"rest": deflate({name: value for name, value in body.items() if name != "delivery"}), "delivery": delivery}
    packed = _encode(whole)
    return packed if len(packed) <= MAX_MESSAGE_BYTES else _readable(body)


def _readable(body: Mapping[str, Any]) -> str:
    """Return a message that a person can read; if it is too large, its longest texts are cut."""
    text = _encode(body)
    for longest in (20_000, 2_000, 200):
        if len(text) <= MAX_MESSAGE_BYTES:
            return text
        text = _encode(
            {**shorten(body, longest, MAX_ENTRIES), **_CUT} if "alert" in body else shorten(body, longest, MAX_ENTRIES)
        )
    return (
        text if len(text) <= MAX_MESSAGE_BYTES else _encode({"error": body.get("error"), "truncated": "far too long"})
    )


def carried(alert: Alert, progress: Progress) -> Alert:
    """Return an alert from the retry queue with the state that it had before."""
    return replace(alert, message_id=progress.message_id) if progress.message_id else alert
