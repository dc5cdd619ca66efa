"""`make page`: each step is printed with its time, and what is not accepted is a finding with its reason."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.clock import NOW, Clock
from tests.lab.cloudwatch import TOPIC
from tests.unit.test_doctor import SECRET
from tests.unit.test_trace import Stack
from tools.page import main
from tools.stack import ToolError

KEY = SECRET["headers"]["routing_key"]  # type: ignore[index]


@dataclass
class PagingStack(Stack):
    """A stack that records what is published to its topic, after so many seconds for each status; never, if None."""

    clock: Clock = field(default_factory=Clock)
    delays: dict[str, float | None] = field(default_factory=lambda: {"firing": 2.0, "resolved": 1.0})
    secret: dict[str, Any] = field(default_factory=lambda: dict(SECRET))
    published: list[dict[str, Any]] = field(default_factory=list)
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def batch_get_secret_value(self, **_: Any) -> Any:
        return {"SecretValues": [{"Name": "pagerduty/all", "SecretString": json.dumps(self.secret)}]}

    def publish(self, *, TopicArn: str, Message: str, MessageAttributes: Any) -> None:
        assert TopicArn == TOPIC
        assert MessageAttributes == {"targets": {"DataType": "String", "StringValue": "all"}}
        alert = json.loads(Message)["alert"]
        self.published.append(alert)
        delay = self.delays[alert["status"]]
        if delay is not None:
            at = self.clock() + delay
            delivered = {"N": str(int(at * 1000))}
            self.due.append(
                (
                    at,
                    lambda: self.record(
                        key=alert["fingerprint"], status={"S": alert["status"]}, delivered_at=delivered
                    ),
                )
            )

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for at, record in list(self.due):
            if at <= self.clock():
                record()
                self.due.remove((at, record))


@pytest.fixture
def stack() -> PagingStack:
    return PagingStack()


def page(stack: PagingStack, *arguments: str) -> tuple[int, str]:
    lines: list[str] = []
    given = ("--target", "all", *arguments)
    status = main(given, stack.connect, lines.append, clock=stack.clock, sleep=stack.sleep, sender="somebody")
    text = "\n".join(lines)
    assert KEY not in text
    return status, text


def test_a_page_and_its_resolve_are_accepted(stack: PagingStack) -> None:
    """Marked as a test, with a fingerprint of its own, at the severity that disturbs least."""
    status, text = page(stack)
    assert status == 0
    firing, resolved = stack.published
    assert (firing["status"], resolved["status"]) == ("firing", "resolved")
    assert firing["fingerprint"] == resolved["fingerprint"]
    assert firing["alert_name"] == "TEST PAGE"
    assert firing["labels"]["severity"] == "info"
    assert firing["annotations"]["summary"] == "TEST PAGE, nothing is wrong: sent by somebody to all"
    assert [line.split("s  ", 1)[-1] for line in text.splitlines()[1:]] == [
        f"firing published to {TOPIC}",
        "trigger accepted by PagerDuty, 2.0 s after it was published",
        f"resolved published to {TOPIC}",
        "resolve accepted by PagerDuty, 1.0 s after it was published",
    ]
    page(stack)
    assert stack.published[2]["fingerprint"] != firing["fingerprint"]


@pytest.mark.parametrize(
    ("threshold", "asked", "severity"),
    [(None, "", "info"), ("warning", "", "warning"), ("error", "critical", "critical"), (None, "SEV1", "critical")],
)
def test_the_severity_is_the_lowest_that_pages_or_the_one_asked_for(
    stack: PagingStack, threshold: str | None, asked: str, severity: str
) -> None:
    stack.secret["severity_threshold"] = threshold
    assert page(stack, *(["--severity", asked] if asked else []))[0] == 0
    assert stack.published[0]["labels"]["severity"] == severity


@pytest.mark.parametrize(("status", "action"), [("firing", "trigger"), ("resolved", "resolve")])
def test_what_is_not_accepted_within_a_minute_is_a_finding(stack: PagingStack, status: str, action: str) -> None:
    """The log says why."""
    stack.delays[status] = None
    publish = stack.publish

    def publish_and_log(**message: Any) -> None:
        publish(**message)
        alert = json.loads(message["Message"])["alert"]
        if alert["status"] == status:
            line = {"outcome": "deferred", "reason": "circuit_open", "target": "all", "dedup_key": alert["fingerprint"]}
            stack.events.append({"timestamp": int(stack.clock() * 1000), "message": json.dumps(line)})

    stack.publish = publish_and_log  # type: ignore[method-assign]
    found, text = page(stack)
    assert found == 1
    assert f"{action} NOT ACCEPTED within 60 s" in text
    assert "PagerDuty is out of reach. It is tried again by itself." in text


def test_what_does_not_arrive_is_reported(stack: PagingStack) -> None:
    stack.delays["firing"] = None
    status, text = page(stack)
    assert status == 1
    assert text.endswith("Neither the table nor the log knows of it: it did not reach the function. See: make doctor")
    assert stack.clock() - NOW == pytest.approx(60.5, abs=1)


def test_a_trigger_accepted_late_is_not_accepted(stack: PagingStack) -> None:
    stack.delays["firing"] = 61.5
    assert page(stack)[0] == 1


def test_one_that_waits_is_reported_at_once(stack: PagingStack) -> None:
    stack.delays["firing"] = None
    publish = stack.publish

    def publish_and_wait(**message: Any) -> None:
        publish(**message)
        stack.wait(key=json.loads(message["Message"])["alert"]["fingerprint"])

    stack.publish = publish_and_wait  # type: ignore[method-assign]
    status, text = page(stack)
    assert status == 1
    assert text.count("trigger waits: the limit is used up, or PagerDuty does not accept it") == 1


def test_a_target_that_does_not_resolve_leaves_it_open_and_says_so(stack: PagingStack) -> None:
    stack.secret["auto_resolve"] = False
    status, text = page(stack)
    assert (status, len(stack.published)) == (0, 1)
    assert text.endswith("not resolved: auto_resolve of all is off; resolve the incident in PagerDuty")


@pytest.mark.parametrize(
    ("secret", "arguments", "said"),
    [
        ({}, ["--target", "other"], "no target is called other; the stack's targets: all"),
        ({"enabled": False}, [], "target all is disabled"),
        ({}, ["--severity", "urgent-ish"], "urgent-ish: no severity: name one of critical, error, warning, info"),
        (
            {"severity_threshold": "error"},
            ["--severity", "info"],
            "target all takes error and above: info would page nobody",
        ),
        (
            {"name": "has space"},
            [],
            "no target is called all; the stack's targets: there is none\nsecret pagerduty/all: name",
        ),
    ],
)
def test_what_cannot_page_is_reported_before_anything_is_sent(
    stack: PagingStack, secret: dict[str, Any], arguments: list[str], said: str
) -> None:
    stack.secret |= secret
    with pytest.raises(ToolError) as raised:
        page(stack, *arguments)
    assert said in str(raised.value)
    assert KEY not in str(raised.value)
    assert stack.published == []
