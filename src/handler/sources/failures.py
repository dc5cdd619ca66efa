"""Invocations of other functions that failed: an alert about the function, whatever it was invoked with.

They come from a Lambda destination (over SNS, SQS or EventBridge), from a function's dead-letter queue or topic, or as
an object with `error` and `record` that a function writes for itself. What is inside is shown and never opened:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

import hashlib
import json
from typing import Any
from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Link, Status
from handler.envelope import Record
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import truncate
from handler.sources.aws import Arn, Home, dig, filled
from handler.sources.words.headline import headline
from handler.sources.words.text import first_line
from handler.validation import LooseText, Model, Object, parse_model, text_of

ORIGIN = "lambda"
CLIENT = "AWS Lambda"
MAX_REASON_CHARACTERS = 300
_STREAMS = ("KinesisBatchInfo", "DDBStreamBatchInfo", "KafkaBatchInfo", "DocumentDBBatchInfo")
"""https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html"""
_NO_REASON = {"Unhandled": "unhandled error", "Handled": "handled error"}


class DestinationRecord(Model):
    """A destination's record; `responsePayload` is what the function returned, or its error."""

    requestContext: Object
    responseContext: Object = Field(default_factory=dict)
    responsePayload: Any = None
    timestamp: LooseText = ""


def parse(record: Record) -> list[Alert]:
    """Return one alert about the function; a success resolves its failures."""
    payload = record.payload
    if isinstance(payload, dict) and "requestContext" in payload and not record.is_failed_invocation:
        return [_from_destination(record)]
    return [_from_other(record)]


def _from_destination(record: Record) -> Alert:
    sent = parse_model(DestinationRecord, record.payload, "Lambda destination record")
    condition = dig(sent.requestContext, "condition")
    arn = _unqualified(dig(sent.requestContext, "functionArn"))
    name = Arn.of(arn).resource.removeprefix("function:") or arn or "a function"
    streams = {key: value for key in _STREAMS if isinstance(value := record.payload.get(key), dict)}
    stream = next((text for batch in streams.values() if (text := _stream_in(batch))), "")
    error = _error_in(sent.responsePayload)
    reasons = (
        [error] if error else [condition, _NO_REASON.get(kind := dig(sent.responseContext, "functionError"), kind)]
    )
    if stream:
        reasons.append(f"a batch of {Arn.of(stream).resource or stream} was not processed")
    return _alert(
        record,
        arn=arn,
        name=name,
        stream=stream,
        error=": ".join(filter(None, reasons)),
        status=Status.RESOLVED if condition == "Success" else Status.FIRING,
        details={
            "condition": condition,
            "attempts": dig(sent.requestContext, "approximateInvokeCount"),
            "request_id": dig(sent.requestContext, "requestId"),
            "response": sent.responsePayload,
            "request": record.payload.get("requestPayload"),
            **streams,
        },
    )


def _from_other(record: Record) -> Alert:
    """Return the alert of a failure that may or may not name its function."""
    payload = record.payload
    attributes = record.attributes
    fields = payload if isinstance(payload, dict) else {}
    arn = _unqualified(
        next((text for key in ("functionArn", "function_arn") if (text := text_of(fields.get(key)))), "")
    )
    named = (text_of(fields.get(key)) for key in ("functionName", "function_name", "function", "lambda", "source"))
    name = Arn.of(arn).resource.removeprefix("function:") or next(filter(None, named), "")
    error = attributes.get("ErrorMessage", "") if record.is_failed_invocation else _error_in(fields.get("error"))
    return _alert(
        record,
        arn=arn,
        name=name,
        error=error,
        status=Status.FIRING,
        details={"request_id": attributes.get("RequestID"), "request": payload},
    )


def _stream_in(batch: dict[str, Any]) -> str:
    return next((text for key in ("streamArn", "eventSourceArn") if (text := text_of(batch.get(key)))), "")


def _alert(
    record: Record, *, arn: str, name: str, error: str, status: Status, details: dict[str, Any], stream: str = ""
) -> Alert:
    home = Home.of(record, arn)
    page = f"functions/{quote(name, safe='')}?tab=monitoring"
    console = home.console("lambda/home", fragment=f"/{page}") if Arn.of(arn).resource else ""
    reason = truncate(" ".join((headline(error) or first_line(error)).split()), MAX_REASON_CHARACTERS)
    return Alert(
        fingerprint=f"{arn}#failure{f'#{stream}' if stream else ''}" if arn else _identity(record),
        name=f"Lambda function {name} failed" if name else "A Lambda function failed",
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, **filled({"function": name})},
        severity_word=str(Severity.ERROR),
        summary=f"Lambda function {name} failed: {reason}" if name else f"A Lambda function failed: {reason}",
        location=name or Arn.of(record.topic_arn).resource or "AWS Lambda",
        component="Lambda",
        group=home.account,
        class_="function failure",
        client=CLIENT,
        client_url=console,
        links=(Link(console, "Function in the Lambda console"),) if console else (),
        details={"error": error, **{key: value for key, value in details.items() if value not in (None, "", {}, [])}},
    )


def _identity(record: Record) -> str:
    """Return the identity of a failure that does not name its function: a hash of its content."""
    content = [record.topic_arn, dict(record.attributes), record.payload]
    return f"{ORIGIN}#{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}"


def _unqualified(arn: str) -> str:
    """Return a function's ARN without version or alias."""
    return ":".join(arn.split(":")[:7])


def _error_in(value: Any) -> str:
    """Return the text of an error, from the object that runtimes write, else as it is."""
    if isinstance(value, dict):
        keys = ("errorMessage", "message", "Message", "error", "Error", "errorType", "type")
        return next((text for key in keys if (text := text_of(value.get(key)))), "")
    return text_of(value)
