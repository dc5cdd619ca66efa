"""Dead letters, whoever wrote them: this function, SNS, EventBridge, Lambda, or SQS from the retry queue.

They are read as the function would read them after a redrive.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from handler.alert import Alert, Ignored
from handler.errors import PublishError
from handler.operators.entries import Entry, Kind, bounded, entry_of
from handler.pagerduty.severity import Severity
from handler.sources.reader import Reader
from handler.validation import parse_text

type FindTarget = Callable[[Alert, str], tuple[str, Severity | None]]
"""Returns the names of the targets that take an alert, joined, and its severity there; may be given one name."""


def entries_of_letter(letter: Mapping[str, Any], reader: Reader, find_target: FindTarget) -> list[Entry]:
    """Return the alerts of a dead letter as lines of a report; one line where it holds none that can be read.

    Args:
        letter: a message as SQS returns it, with all its attributes.
        reader: unwraps and parses it as this function does.
        find_target: returns the names of the targets that take an alert, joined, and its severity there.
    """
    sent_at = int(letter["Attributes"]["SentTimestamp"]) / 1000
    error = _described(letter)
    raw = {
        "eventSource": "aws:sqs",
        "messageId": letter["MessageId"],
        "body": letter["Body"],
        "attributes": letter["Attributes"],
        "messageAttributes": letter.get("MessageAttributes", {}),
    }
    try:
        found = reader.read(raw, datetime.fromtimestamp(sent_at, UTC))
    except PublishError:  # the error of the dead letter says so, where this function wrote it
        found = []
    entries = []
    for each in found:
        match each:
            case Alert():
                target, severity = find_target(each, _target_in(letter))
                common: dict[str, Any] = {"target": target, "severity": severity, "since": sent_at, "note": error}
                entries.append(entry_of(each, Kind.DEAD_LETTER, **common))
            case Ignored(name=str(name)) if name:
                entries.append(bounded(Entry(kind=Kind.DEAD_LETTER, name=name, since=sent_at, note=error)))
    nameless = Entry(kind=Kind.DEAD_LETTER, name="An unreadable message", since=sent_at, note=error)
    return entries or [bounded(nameless)]


def _target_in(letter: Mapping[str, Any]) -> str:
    match _body_of(letter):
        case {"delivery": {"target": str(target)}}:
            return target
    return ""


class Cause(NamedTuple):
    """Why a message is a dead letter.

    Attributes:
        writer: the service that put it into the queue; empty if it was this function, or SQS from the retry queue.
    """

    writer: str
    error: str


def cause_of(letter: Mapping[str, Any]) -> Cause:
    """Return the error recorded with a dead letter."""
    match _body_of(letter):
        case {"error": str(error)}:
            return Cause("", error)
        case {"responsePayload": {"errorMessage": str(error)}} | {"requestContext": {"condition": str(error)}}:
            return Cause("Lambda", error)
    # EventBridge says ERROR_MESSAGE and ERROR_CODE, SNS says ErrorMessage and ErrorCode
    attributes = {name.replace("_", "").lower(): text for name, text in _attributes_of(letter).items()}
    if error := attributes.get("errormessage") or attributes.get("errorcode", ""):
        return Cause("EventBridge" if "rulearn" in attributes else "SNS", error)
    return Cause("", "the function failed on every delivery: see its log")


def _described(letter: Mapping[str, Any]) -> str:
    """Return the cause in one line: who wrote the letter, or the function's error type, and the error."""
    cause = cause_of(letter)
    kind = cause.writer or _attributes_of(letter).get("error_type", "")
    return ": ".join(part for part in (kind, cause.error) if part)


def _attributes_of(letter: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value.get("StringValue", "")) for name, value in letter.get("MessageAttributes", {}).items()}


def _body_of(letter: Mapping[str, Any]) -> Any:
    try:
        return parse_text(letter["Body"])
    except PublishError:  # nested too deeply: no alert, but a dead letter all the same
        return letter["Body"]
