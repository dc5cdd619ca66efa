"""The alerts of a run: when their states are published, on which path, and how often each message arrives."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.lab.clock import NOW

TOPIC_ARN = "arn:aws:sns:us-east-1:000000000000:alerts"
TIE_SECONDS = 1.0
TIE_OF_WHOLE_SECONDS = 1.5


@dataclass(frozen=True)
class Change:
    """A state of an alert that is published.

    Attributes:
        at: when, in seconds after the beginning: the truth about what is newer.
        delays: how long each delivery of its message takes: more than one where it is delivered again.
        by: the path, `sns` or `eventbridge`, whose times have whole seconds.
        severity: its own, where it differs from the history's.
        summary: what it says.
    """

    at: float
    status: str
    delays: Sequence[float] = (0.0,)
    by: str = "sns"
    severity: str = ""
    summary: str = ""


@dataclass(frozen=True)
class History:
    """An alert's life, in order of publishing.

    Attributes:
        skew_seconds: how far the source's clock is ahead.
        labels: beside its severity; those of a resolve may differ (`labels_of_resolve`).
        is_change_event: whether each change is an occurrence of its own, that notifies nobody.
    """

    fingerprint: str
    changes: Sequence[Change]
    severity: str = "warning"
    skew_seconds: float = 0.0
    labels: Mapping[str, str] | None = None
    labels_of_resolve: Mapping[str, str] | None = None
    is_change_event: bool = False

    @property
    def is_critical(self) -> bool:
        """Whether its triggers are critical, unless a change has a severity of its own."""
        return self.severity == "critical"

    def event_of(self, number: int) -> dict[str, Any]:
        """Return the invocation that one of its changes brings."""
        change = self.changes[number]
        is_end = change.status == "resolved" and self.labels_of_resolve is not None
        own = self.labels_of_resolve if is_end else self.labels
        labels = {**(own or {}), "severity": change.severity or self.severity}
        annotations = {"summary": change.summary or f"{self.fingerprint} fires", "number": str(number)}
        if self.is_change_event:
            labels["change_event"] = "true"
            annotations["of"] = self.fingerprint  # a change event has no dedup key
        alert = {
            "fingerprint": self.fingerprint,
            "alert_name": "Storm",
            "status": change.status,
            "labels": labels,
            "annotations": annotations,
            "starts_at": _text(self._starts_at(number) + self.skew_seconds),
        }
        message_id = f"{self.fingerprint}-{number}"
        if change.by == "eventbridge":
            at = datetime.fromtimestamp(NOW + change.at, UTC).replace(microsecond=0)
            return {
                "version": "0",
                "id": message_id,
                "detail-type": "Alert",
                "source": "lamplight.fleet",
                "account": "000000000000",
                "region": "us-east-1",
                "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                "resources": [],
                "detail": {"alert": alert},
            }
        sns = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": TOPIC_ARN,
            "Message": json.dumps({"alert": alert}),
            "Timestamp": _text(change.at),
        }
        return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}]}

    def _starts_at(self, number: int) -> float:
        """Return when the episode began that a change belongs to: a re-send repeats it."""
        if self.is_change_event:
            return self.changes[number].at
        at = self.changes[number].at
        for earlier in reversed(self.changes[:number]):
            if earlier.status == "resolved":
                break
            at = earlier.at
        return at

    def tie(self, one: Change, other: Change) -> bool:
        """Return whether the times of two changes are a tie; SNS's milliseconds can be a whole second, too."""
        has_whole_seconds = any(change.by == "eventbridge" or change.at % 1 == 0 for change in (one, other))
        return abs(one.at - other.at) < (TIE_OF_WHOLE_SECONDS + 1 if has_whole_seconds else TIE_SECONDS)


def _text(seconds: float) -> str:
    at = datetime.fromtimestamp(NOW + seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def number_of(document: Any) -> tuple[str, int] | None:
    """Return the fingerprint and the number of the change that a message, dead letter or event is about."""
    match document:
        case {"fingerprint": str(fingerprint), "annotations": {"number": str(number)}}:
            return fingerprint, int(number)
        case {"payload": {"custom_details": {"annotations": {"number": str(number), "of": str(fingerprint)}}}}:
            return fingerprint, int(number)
        case {"dedup_key": str(key), "payload": {"custom_details": {"annotations": {"number": str(number)}}}}:
            return key, int(number)
        case dict():
            inner = map(number_of, document.values())
        case list():
            inner = map(number_of, document)
        case str() if document[:1] in ("{", "["):
            try:
                return number_of(json.loads(document))
            except ValueError:
                return None
        case _:
            return None
    return next((found for found in inner if found), None)


# --- Storms -----------------------------------------------------------------------------------------------------------


def storm(
    alerts: int,
    criticals: int,
    *,
    resolved: int = 0,
    resolved_at: float = 60.0,
    within: float = 0.0,
    seed: int = 1,
) -> list[History]:
    """Return so many alerts that fire at once, of which some are critical, and others end together later."""
    chance = random.Random(seed)
    numbers = list(range(alerts))
    critical = set(chance.sample(numbers, criticals))
    ending = set(chance.sample([number for number in numbers if number not in critical], resolved))
    return [
        History(
            f"alert-{number}",
            (
                Change(round(chance.random() * within, 3), "firing"),
                *((Change(resolved_at, "resolved"),) if number in ending else ()),
            ),
            "critical" if number in critical else "warning",
        )
        for number in numbers
    ]


def firing(name: str, ats: Sequence[float], severity: str = "warning") -> list[History]:
    """Return alerts that fire at these seconds, and go on firing."""
    return [History(f"{name}-{number}", [Change(at, "firing")], severity) for number, at in enumerate(ats)]


def steady(alerts: int, every: float, resolved_after: float | None = None, *, critical: int = 5) -> list[History]:
    """Return alerts that fire one after the other, and each resolves some time later; some are critical."""
    return [
        History(
            f"alert-{number}",
            (
                Change(number * every, "firing"),
                *((Change(number * every + resolved_after, "resolved"),) if resolved_after is not None else ()),
            ),
            "critical" if critical and number % critical == 0 else "warning",
        )
        for number in range(alerts)
    ]
