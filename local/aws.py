"""Adds to the AWS emulator what it lacks and the product needs; runs in MiniStack's own Python.

- SNS and EventBridge invoke asynchronously: a failure is tried twice more, then kept by the on-failure destination.
  https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
- SNS refuses the subjects that it refuses. https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
- SQS counts attributes to a message's size.
  https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
- Lambda stops a function that invokes itself through a queue, unless it allows that.
  https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html

It replaces functions inside the emulator, whose version is pinned; `tests/integration/test_emulated_aws.py` holds each
of these through AWS's own APIs.
"""

import contextvars
import json
import re
import secrets
import time
import unicodedata
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from ministack import app
from ministack.services import cloudwatch, eventbridge, lambda_svc, sns, sqs

MAX_SUBJECT = 100
MAX_MESSAGE_BYTES = 1_048_576
MAX_INVOCATIONS = 16
"""The most invocations in one chain: Lambda stops the next."""

_received = contextvars.ContextVar("received", default="")
"""The trace header of the request that is being answered."""
_trace = contextvars.ContextVar("trace", default="")
"""The trace header of the invocation that is being made, if it is the next of a chain."""


# --- SNS and EventBridge invoke asynchronously ---


def invoke(arn: str, event: Any) -> None:
    """Invoke a function as Lambda's own `InvocationType=Event` does."""
    function, config, _ = lambda_svc._get_func_record_for_ref(arn)
    if function and config:
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), event)


def notify(endpoint: str, envelope: str, topic_arn: str, subscription_arn: str, *_: object) -> None:
    """Invoke a function that is subscribed to a topic."""
    record = {
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription_arn,
        "EventSource": "aws:sns",
        "Sns": json.loads(envelope),
    }
    invoke(endpoint, {"Records": [record]})


def keep(destination: str, name: str, event: Any, result: Mapping[str, Any]) -> None:
    """Send the record of a failed invocation to the on-failure destination, a queue.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    config = lambda_svc._functions[name]["config"]
    record = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": str(uuid4()),
            "functionArn": f"{config['FunctionArn']}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": result.get("body"),
    }
    sqs._act_send_message({"QueueUrl": _queue_url(destination), "MessageBody": json.dumps(record)}, "")


def _queue_url(arn: str) -> str:
    return str(sqs._queue_url(arn.rpartition(":")[2]))


sns._deliver_to_lambda = notify
eventbridge._dispatch_to_lambda = lambda arn, payload: invoke(arn, json.loads(payload))
lambda_svc._route_async_failure = keep


# --- Limits of SNS and SQS ---


def publish(topic_arn: str, message: Any, subject: str = "", **more: Any) -> Any:
    """Publish, unless the subject is too long or has line breaks or control characters."""
    if len(subject or "") >= MAX_SUBJECT or any(unicodedata.category(each) == "Cc" for each in subject or ""):
        raise sns.SnsPublishError("InvalidParameter", "Invalid parameter: Subject")
    return _publish(topic_arn, message, subject, **more)


def send(data: Mapping[str, Any], url: str) -> Any:
    """Put a message on a queue, unless it is too large with its attributes."""
    if size(data) > MAX_MESSAGE_BYTES:
        reason = f"Message must be shorter than {MAX_MESSAGE_BYTES} bytes."
        raise sqs._Err("InvalidParameterValue", f"One or more parameters are invalid. Reason: {reason}")
    return _send(data, url)


def send_batch(data: Mapping[str, Any], url: str) -> Any:
    """Put messages on a queue, unless they are too large together."""
    total = sum(size(each) for each in data.get("Entries", ()))
    if total > MAX_MESSAGE_BYTES:
        raise sqs._Err(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {total} bytes.",
        )
    return _send_batch(data, url)


def size(message: Mapping[str, Any]) -> int:
    """Return the bytes that SQS counts: the body, and of each attribute its name, type and value."""
    attributes = (message.get("MessageAttributes") or {}).items()
    texts = [message.get("MessageBody", "")]
    texts += [text for name, each in attributes for text in (name, each["DataType"], each.get("StringValue", ""))]
    return sum(len(text.encode()) for text in texts)


_publish, sns.publish_internal = sns.publish_internal, publish
_send, sqs._act_send_message = sqs._act_send_message, send
_send_batch, sqs._act_send_message_batch = sqs._act_send_message_batch, send_batch
sqs._HANDLERS |= {"SendMessage": send, "SendMessageBatch": send_batch}


# --- Loops through SQS: `Lineage=<function>:<earlier invocations>` in the trace header goes with each message ---
# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader


async def answer(method: str, path: str, headers: Mapping[str, str], body: bytes, query: Any) -> Any:
    """Answer a request to SQS; the messages it sends keep its trace header."""
    _received.set(headers.get("x-amzn-trace-id", ""))
    return await _answer(method, path, headers, body, query)


def system_attributes(now: float, given: Any) -> Any:
    """Return a message's system attributes."""
    traced = {"AWSTraceHeader": _received.get()} if _received.get() else {}
    return traced | _system_attributes(now, given)


def trace_of(config: Mapping[str, Any], _inbound: str | None = None) -> str:
    """Return the trace header of an invocation: of the chain it belongs to, or of a new one."""
    return _trace.get() or trace_header(config["FunctionArn"], 0)


def trace_header(arn: str, earlier: int) -> str:
    """Return the trace header of an invocation after this many invocations of the same function."""
    root = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0;Lineage={mark(arn)}:{earlier}"


def mark(arn: str) -> str:
    """Return a function's mark in lineages."""
    return f"{zlib.crc32(arn.encode()):08x}"


def earlier_invocations(record: Mapping[str, Any], arn: str) -> int:
    """Return how many invocations of the function a message comes from, one after the other."""
    found = re.search(rf"Lineage=(?:.*\|)?{mark(arn)}:(\d+)", record["attributes"].get("AWSTraceHeader", ""))
    return int(found[1]) + 1 if found else 0


def run_batch(mapping: Any, function: Any, event: Any, batch: Any, url: str, name: str) -> None:
    """Invoke a function with a batch, without the messages whose chain is too long: they are dead letters.

    Which chain a batch with messages of several continues is documented nowhere: here it is the longest.
    """
    arn = function["config"]["FunctionArn"]
    earlier = {record["messageId"]: earlier_invocations(record, arn) for record in event["Records"]}
    if function.get("recursive_loop", "Terminate") == "Terminate":
        for message in [each for each in batch if earlier[each["id"]] >= MAX_INVOCATIONS]:
            drop(message, url, function["config"]["FunctionName"])
            del earlier[message["id"]]
    if earlier:
        _trace.set(trace_header(arn, max(earlier.values())))
        records = [each for each in event["Records"] if each["messageId"] in earlier]
        _run_batch(mapping, function, {"Records": records}, [m for m in batch if m["id"] in earlier], url, name)


def drop(message: Any, url: str, function: str) -> None:
    """Stop a chain at a message, which goes to the queue's dead-letter queue, if there is one."""
    dimensions = {"FunctionName": function}
    cloudwatch.record_metric("AWS/Lambda", "RecursiveInvocationsDropped", 1, "Count", dimensions)
    if "RedrivePolicy" in sqs._get_q(url)["attributes"]:
        message |= {"receive_count": 1000, "visible_at": 0}  # the most that a redrive policy may ask for
    else:
        sqs._delete_messages_for_esm(url, {message["receipt_handle"]})


_answer, sqs.handle_request = sqs.handle_request, answer
_system_attributes, sqs._build_send_sys_attrs = sqs._build_send_sys_attrs, system_attributes
_run_batch, lambda_svc._run_sqs_batch = lambda_svc._run_sqs_batch, run_batch
lambda_svc._xray_trace_id_for_invocation = trace_of

if __name__ == "__main__":
    app.main()
