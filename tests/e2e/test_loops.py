"""Lambda's loop detection on the deployed stack, which writes to the queue that invokes it."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Deployed

MOST = 16
"""Invocations in one chain: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"""


@pytest.fixture
def terminates(stack: Deployed) -> Iterator[None]:
    """The function's recursive loop detection is on, which it is where the template does not switch it off."""
    functions, name = stack.emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    yield
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")


@pytest.fixture
def trace(stack: Deployed, key: str) -> str:
    """The trace header of a message that the function wrote in the first invocation of a chain."""
    assert stack.invoke({"alert": {"status": f"bad {key}"}})["results"][0]["outcome"] == "rejected"
    trace = str(stack.dead_letter(f"bad {key}")["Attributes"]["AWSTraceHeader"])
    assert trace.endswith(":0")
    return trace


def retry(stack: Deployed, key: str, trace: str, *, invocations: int) -> None:
    """Put an alert on the retry queue as the function would do it after so many invocations."""
    alert = {"fingerprint": key, "alert_name": "Loop", "status": "firing", "labels": {"severity": "critical"}}
    header = f"{trace.rpartition(':')[0]}:{invocations - 1}"
    stack.emulator.client("sqs").send_message(
        QueueUrl=stack.outputs["RetryQueueUrl"],
        MessageBody=json.dumps({"alert": alert}),
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}},
    )


@pytest.mark.usefixtures("terminates")
def test_a_chain_that_is_taken_for_a_loop_is_kept_and_counted(stack: Deployed, key: str, trace: str) -> None:
    """Were the template's `RecursiveLoop: Allow` undone: sixteen invocations are delivered, the next is not."""
    before = stack.dropped()
    retry(stack, f"{key}/last", trace, invocations=MOST - 1)
    stack.incident(f"{key}/last", "triggered")
    assert stack.dropped() == before
    retry(stack, f"{key}/dropped", trace, invocations=MOST)
    assert f"{key}/dropped" in stack.dead_letter(f"{key}/dropped")["Body"]
    assert stack.requests(f"{key}/dropped") == []
    assert stack.dropped() == before + 1


def test_a_chain_may_be_longer_in_this_stack(stack: Deployed, key: str, trace: str) -> None:
    """The template allows it."""
    before = stack.dropped()
    retry(stack, key, trace, invocations=2 * MOST)
    stack.incident(key, "triggered")
    assert stack.dropped() == before
