"""The retry queue and the dead-letter queue: what is put there, in the native format, and how it is read back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field

from handler.alert import Alert
from handler.errors import PublishError, QueueUnavailableError
from handler.outcome import DeferReason, Deferred
from handler.sources import native
from handler.validation import Instant, parse_model

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

MAX_DELAY_SECONDS = 900
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
_NOT_PLAIN = re.compile(r"[^\t\n\r -~]")
_COUNTED = {
    DeferReason.FAILED,
    DeferReason.CIRCUIT_OPEN,
    DeferReason.TARGETS_UNAVAILABLE,
    DeferReason.TABLE_UNAVAILABLE,
}


class Hop(BaseModel):
    """What a message of the retry queue says of its delivery, beside the alert.

    Attributes:
        target: the target's name; empty where the alert has not been given one yet.
        waiting_since: when it was first put on the queue.
        failures: how many deliveries have failed so far.
        failing_since: when the first of them did.
        turn_at: its place in the rate limiter's line, in epoch seconds.
        was_sent_unclaimed: PagerDuty has it, and the dedup table is to know.
        was_never_attempted: PagerDuty has it not, and the dedup table knows.
    """

    target: str = ""
    waiting_since: Instant = None
    failures: int = Field(0, ge=0)
    failing_since: Instant = None
    turn_at: float | None = None
    was_sent_unclaimed: bool = False
    was_never_attempted: bool = False


def hop_of(payload: Any) -> Hop:
    """Give the hop of a message; of anything but a message of ours, one that has not begun."""
    said = payload.get("delivery") if isinstance(payload, Mapping) else None
    if not isinstance(said, Mapping):
        return Hop()
    return parse_model(Hop, said, "native alert: delivery")


@dataclass(frozen=True, slots=True)
class Queues:
    """Puts messages on the two queues; every method raises QueueUnavailableError where SQS takes none in."""

    client: "SQSClient"
    retry_url: str
    dead_letter_url: str

    def defer(self, alert: Alert, hop: Hop, deferred: Deferred, now: float) -> None:
        """Put a delivery on the retry queue, to come back after its delay."""
        if deferred.reason in _COUNTED:
            since = hop.failing_since or datetime.fromtimestamp(now, UTC)
            hop = hop.model_copy(update={"failures": hop.failures + 1, "failing_since": since})
        known = (
            hop.was_never_attempted
            if deferred.reason is DeferReason.TABLE_UNAVAILABLE
            else deferred.was_never_attempted
        )
        since = hop.waiting_since or datetime.fromtimestamp(now, UTC)
        hop = hop.model_copy(update={"turn_at": deferred.turn_at, "was_never_attempted": known, "waiting_since": since})
        delay = min(MAX_DELAY_SECONDS, max(0, ceil(deferred.delay_seconds)))
        body = {**native.dump(alert), "delivery": hop.model_dump(mode="json", exclude_defaults=True)}
        self._send(self.retry_url, body, delay_seconds=delay)

    def bury(self, alert: Alert, hop: Hop, error: PublishError) -> None:
        """Put an alert on the dead-letter queue with its error, so that a redrive starts it afresh."""
        delivery = {"delivery": {"target": hop.target}} if hop.target else {}
        self._bury({**native.dump(alert), **delivery}, error, hop.failures + 1)

    def bury_record(self, record: Any, error: PublishError) -> None:
        """Put a record that could not be read on the dead-letter queue, as it came, with its error."""
        self._bury({"record": record}, error, 1)

    def _bury(self, body: Mapping[str, Any], error: PublishError, attempts: int) -> None:
        attributes = {"error_type": str(error.reason), "error": str(error)[:1024], "attempts": str(attempts)}
        self._send(self.dead_letter_url, {**body, "error": str(error)}, attributes=attributes)

    def _send(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        delay_seconds: int = 0,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        # ASCII: SQS refuses some characters that JSON text, and what PagerDuty says, can carry
        text = json.dumps(body, separators=(",", ":"))
        try:
            self.client.send_message(
                QueueUrl=url,
                MessageBody=text,
                DelaySeconds=delay_seconds,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": _NOT_PLAIN.sub("?", value)}
                    for name, value in (attributes or {}).items()
                },
            )
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else type(error).__name__
            raise QueueUnavailableError(f"SQS queue {url}: {code}: the alert stays where it came from") from error
