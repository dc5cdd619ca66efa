"""`make trace`: an alert's end is shown correctly, whether the record, the log or the dead-letter queue has it."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from handler.outcome import DeferReason, SkipReason
from tests.lab.clock import NOW
from tests.lab.dynamodb import FakeDynamoDB
from tests.lab.failures import client_error
from tests.unit.test_doctor import OUTPUTS, SECRET
from tools.stack import ToolError
from tools.trace import DEFERRED, SKIPPED, main

KEY = "orders-db"
NAME = "OrdersDatabaseHighCPU"
TABLE = OUTPUTS["DedupTableName"]


@dataclass
class Stack:
    """A deployed stack: what its table, log and dead-letter queue have of an alert. All services in one."""

    dynamodb: FakeDynamoDB = field(default_factory=lambda: FakeDynamoDB(TABLE))
    events: list[dict[str, Any]] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)
    targets: Sequence[str] = ("all",)
    has_log: bool = True
    patterns: list[str] = field(default_factory=list)
    given_back: list[str] = field(default_factory=list)

    def connect(self, service: str) -> Any:
        return self.dynamodb if service == "dynamodb" else self

    def describe_stacks(self, *, StackName: str) -> Any:
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in OUTPUTS.items()]
        return {"Stacks": [{"Outputs": outputs}]}

    def get_function_configuration(self, *, FunctionName: str) -> Any:
        return {"LoggingConfig": {"LogGroup": "/aws/lambda/publisher"}}

    def batch_get_secret_value(self, **_: Any) -> Any:
        return {
            "SecretValues": [
                {"Name": f"pagerduty/{name}", "SecretString": json.dumps({**SECRET, "name": name})}
                for name in self.targets
            ]
        }

    def filter_log_events(
        self, *, logGroupName: str, filterPattern: str, startTime: int, nextToken: str = "0"
    ) -> dict[str, Any]:
        assert logGroupName == "/aws/lambda/publisher"
        self.patterns.append(filterPattern)
        if not self.has_log:
            raise client_error("ResourceNotFoundException", "FilterLogEvents")
        start = int(nextToken)
        events = [event for event in self.events if event["timestamp"] >= startTime]
        more = {"nextToken": str(start + 2)} if start + 2 < len(events) else {}
        return {"events": events[start : start + 2], **more}

    def receive_message(self, *, MaxNumberOfMessages: int, **_: Any) -> Any:
        waiting = [letter for letter in self.letters if not letter.get("held")]
        for letter in waiting[:MaxNumberOfMessages]:
            letter["held"] = True
        return {"Messages": waiting[:MaxNumberOfMessages]}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> None:
        assert all(entry["VisibilityTimeout"] == 0 for entry in Entries)
        self.given_back += [entry["ReceiptHandle"] for entry in Entries]

    def get_queue_attributes(self, **_: Any) -> Any:
        return {"Attributes": {"ApproximateNumberOfMessages": str(len(self.letters))}}

    # what the stack has

    def log(self, seconds: float, outcome: str, target: str = "all", **more: Any) -> None:
        """Let the function log a line so many seconds ago."""
        line = {"level": "INFO", "outcome": outcome, "target": target, "dedup_key": KEY, "alert_name": NAME, **more}
        line = {name: value for name, value in line.items() if value != ""}
        self.events.append({"timestamp": int((NOW - seconds) * 1000), "message": json.dumps(line) + "\n"})

    def record(self, target: str = "all", key: str = KEY, **more: Any) -> None:
        """Put a record of the shape that the function writes."""
        item: dict[str, Any] = {
            "id": {"S": f"{target}#{key}"},
            "rev": {"N": "3"},
            "status": {"S": "firing"},
            "observed_at": {"S": "2026-11-23T03:40:01.000000+00:00"},
            "open": {"BOOL": True},
            "triggered": {"BOOL": True},
        }
        self.dynamodb.put_item(TableName=TABLE, Item={**item, **more})

    def wait(self, target: str = "all", key: str = KEY, shard: int = 0, order: str = "0", since: float = 300) -> None:
        milliseconds = int((NOW - since) * 1000)
        waiting: Mapping[str, Any] = {
            "waiting": {"S": f"{target}#{shard}"},
            "waiting_order": {"S": f"{order}#{milliseconds:013}"},
            "waiting_since": {"N": str(milliseconds)},
            "tries": {"N": "2"},
        }
        self.record(target, key, **waiting)

    def dead_letter(self, body: Any, error: str = "PagerDuty answered 400") -> None:
        number = len(self.letters)
        self.letters.append(
            {
                "MessageId": f"m-{number}",
                "ReceiptHandle": f"r-{number}",
                "Body": json.dumps(body),
                "Attributes": {"SentTimestamp": str(int((NOW - 60) * 1000))},
                "MessageAttributes": {
                    "error_type": {"DataType": "String", "StringValue": "bad_request"},
                    "ErrorMessage": {"DataType": "String", "StringValue": error},
                },
            }
        )


@pytest.fixture
def stack() -> Stack:
    return Stack()


def trace(stack: Stack, *arguments: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = main(arguments or ("--key", KEY), stack.connect, lines.append, NOW)
    return status, lines


def end(stack: Stack) -> str:
    """Return the end that is told of the alert."""
    status, lines = trace(stack)
    assert status == 0
    return lines[-1]


def milliseconds(seconds_ago: float) -> dict[str, str]:
    return {"N": str(int((NOW - seconds_ago) * 1000))}


def test_accepted(stack: Stack) -> None:
    """The record, each line of the log in order, and the end."""
    stack.log(60, "deferred", reason="rate_limit", event_type="trigger", delay_seconds=5.0)
    stack.log(50, "accepted", event_type="trigger", status="202")
    stack.record(delivered_at=milliseconds(50))
    assert trace(stack)[1] == [
        "record at all: orders-db",
        "  newest state  firing, published 2026-11-23 03:40:01Z",
        "  delivered     2026-11-23 03:39:11Z",
        "  incident      may be open",
        "log",
        "  2026-11-23 03:39:01Z all deferred trigger rate_limit",
        "  2026-11-23 03:39:11Z all accepted trigger 202",
        "END at all: accepted by PagerDuty at 2026-11-23 03:39:11Z (trigger).",
    ]


def test_duplicate(stack: Stack) -> None:
    stack.log(50, "accepted", event_type="trigger")
    stack.log(40, "skipped", reason="duplicate", event_type="trigger")
    stack.record(delivered_at=milliseconds(50))
    assert end(stack) == (
        "END at all: a duplicate: PagerDuty had this state already, accepted at 2026-11-23 03:39:11Z."
    )


def test_superseded_by_what(stack: Stack) -> None:
    stack.log(40, "skipped", reason="superseded", event_type="trigger")
    stack.record(status={"S": "resolved"}, delivered_at=milliseconds(50))
    assert end(stack) == (
        "END at all: superseded: a newer state was known already: resolved, published 2026-11-23 03:40:01Z."
    )


def test_waiting_since_when_where_and_why(stack: Stack) -> None:
    """With its place among what waits for the same target, over all shards of the index."""
    stack.log(300, "deferred", reason="circuit_open", event_type="trigger")
    stack.wait(shard=3)
    for number in range(5):
        stack.wait(key=f"before {number}", shard=number, since=400)
    stack.wait(key="after", shard=3, since=100)
    stack.wait(key="less urgent", shard=3, order="1", since=900)
    stack.wait("another", key="before", since=900)
    status, lines = trace(stack)
    assert status == 0
    assert "  waits         since 2026-11-23 03:35:01Z, 5 of 8 before it, claimed 2 times" in lines
    assert lines[-1] == (
        "END at all: it waits since 2026-11-23 03:35:01Z (5 min) among the critical triggers, behind 5 of 8: "
        "PagerDuty is out of reach. It goes out by itself."
    )


def test_dead_lettered(stack: Stack) -> None:
    error = {"type": "bad_request", "message": "PagerDuty answered 400: bad"}
    stack.log(60, "rejected", event_type="trigger", errors=[error])
    stack.record()
    stack.dead_letter({"alert": {"fingerprint": KEY, "alert_name": NAME}, "error": "PagerDuty answered 400"})
    stack.dead_letter({"alert": {"fingerprint": "other", "alert_name": "Other"}, "error": "other"})
    status, lines = trace(stack)
    assert status == 0
    assert lines[-1] == (
        "END at all: rejected at 2026-11-23 03:39:01Z: PagerDuty answered 400: bad; and lies in the dead-letter queue "
        "(make redrive)."
    )
    assert "other" not in "\n".join(lines)
    assert sorted(stack.given_back) == ["r-0", "r-1"]


def test_dead_lettered_by_others(stack: Stack) -> None:
    """SNS and Lambda keep what never came to the function, in wrappings of their own."""
    stack.has_log = False
    inner = json.dumps({"alert": {"fingerprint": 'a "b"', "alert_name": NAME}})
    stack.dead_letter(
        {"Records": [{"EventSource": "aws:sns", "Sns": {"TopicArn": "t", "Message": inner}}]}, "no permission"
    )
    status, lines = trace(stack, "--key", 'a "b"')
    assert (status, lines[-1]) == (
        0,
        "END: it lies in the dead-letter queue since 2026-11-23 03:39:01Z: no permission.",
    )


def test_unrouted(stack: Stack) -> None:
    stack.log(
        60, "rejected", target="", errors=[{"type": "no_target", "message": "no target takes this alert: 1 enabled"}]
    )
    stack.dead_letter({"alert": {"fingerprint": KEY}}, "no target")
    assert end(stack).startswith(
        "END: sent nowhere at 2026-11-23 03:39:01Z: no target takes this alert: 1 enabled; and lies"
    )


def test_no_page(stack: Stack) -> None:
    stack.log(60, "skipped", reason="no_page", event_type="trigger")
    assert end(stack) == 'END at all: sent nowhere: the target has "type": "none".'


def test_deferred_until_when(stack: Stack) -> None:
    stack.log(60, "deferred", reason="targets_unavailable", target="", delay_seconds=90.0)
    assert end(stack) == (
        "END: deferred at 2026-11-23 03:39:01Z until about 2026-11-23 03:40:31Z: the targets could not be read. "
        "It is tried again by itself."
    )


def test_a_deferred_delivery_that_was_accepted_later_is_accepted(stack: Stack) -> None:
    """The drainer's line may be missing from the log that was read; the record knows."""
    stack.log(60, "deferred", reason="rate_limit")
    stack.record(delivered_at=milliseconds(10))
    assert end(stack) == "END at all: accepted by PagerDuty at 2026-11-23 03:39:51Z (firing)."


def test_a_redriven_dead_letter_is_gone_from_the_queue(stack: Stack) -> None:
    stack.log(60, "rejected", errors=[{"type": "bad_request", "message": "bad"}])
    assert end(stack) == (
        "END at all: rejected at 2026-11-23 03:39:01Z: bad; its dead letter is not in the queue any more."
    )


def test_an_old_alert_is_known_by_its_record_alone(stack: Stack) -> None:
    stack.record(delivered_at=milliseconds(90_000))
    assert end(stack).startswith("END at all: accepted by PagerDuty at 2026-11-22 02:40:01Z")
    stack.record()
    assert "its newest state, firing, was not delivered" in end(stack)


def test_one_that_is_being_sent(stack: Stack) -> None:
    stack.record(lease_until=milliseconds(-20))
    assert end(stack) == "END at all: it is being sent at this moment."


def test_each_target_has_an_end_of_its_own(stack: Stack) -> None:
    stack.targets = ("a", "b")
    stack.log(60, "accepted", target="a", event_type="trigger")
    stack.log(60, "skipped", target="b", reason="below_threshold")
    assert trace(stack)[1][-2:] == [
        "END at a: accepted by PagerDuty at 2026-11-23 03:39:01Z (trigger).",
        "END at b: sent nowhere: below the target's severity_threshold.",
    ]


def test_by_name_every_alert_of_that_name_is_reported(stack: Stack) -> None:
    stack.log(60, "accepted", event_type="trigger")
    stack.log(50, "accepted", event_type="trigger", dedup_key="orders-db-2")
    stack.log(
        40, "rejected", target="", dedup_key="", errors=[{"type": "invalid_alert", "message": "labels: no object"}]
    )
    stack.log(30, "accepted", alert_name="Another", dedup_key="another")
    status, lines = trace(stack, "--name", NAME)
    assert status == 0
    assert lines[-3:] == [
        "END at all (orders-db): accepted by PagerDuty at 2026-11-23 03:39:01Z (trigger).",
        "END at all (orders-db-2): accepted by PagerDuty at 2026-11-23 03:39:11Z (trigger).",
        "END (): rejected at 2026-11-23 03:39:21Z: labels: no object; its dead letter is not in the queue any more.",
    ]
    assert stack.patterns[0] == '{ $.alert_name = "OrdersDatabaseHighCPU" }'


def test_only_the_asked_part_of_the_log_is_read(stack: Stack) -> None:
    stack.log(7000, "accepted", event_type="trigger")
    stack.events.append({"timestamp": int(NOW * 1000), "message": "START RequestId: 1"})
    stack.events.append({"timestamp": int(NOW * 1000), "message": json.dumps({"dedup_key": KEY, "message": "x"})})
    assert trace(stack)[0] == 1
    assert trace(stack, "--key", KEY, "--since", "2h")[0] == 0


def test_nothing_known_is_a_finding_that_says_what_to_do(stack: Stack) -> None:
    status, [said] = trace(stack)
    assert status == 1
    assert said.startswith("Nothing is known of orders-db in the last 1h: it did not arrive here")


@pytest.mark.parametrize(
    "arguments", [(), ("--key", "a", "--name", "b"), ("--key", "a", "--since", "an hour")], ids=str
)
def test_one_alert_has_to_be_named(stack: Stack, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ToolError, match=r"name one alert|not a duration"):
        main(arguments, stack.connect, print, time.time())


def test_every_reason_has_words() -> None:
    """A reason that is added to the closed sets gets a sentence here too."""
    assert set(map(str, SkipReason)) <= SKIPPED.keys()
    assert set(map(str, DeferReason)) <= DEFERRED.keys()


def test_what_a_target_skipped_while_it_waited_is_not_called_accepted(stack: Stack) -> None:
    stack.record(delivered_at=milliseconds(90_000), triggered={"BOOL": False})
    assert end(stack).startswith("END at all: not sent: since ")


def test_the_record_of_a_target_that_is_gone_is_found(stack: Stack) -> None:
    """The log knows its name."""
    stack.log(10, "deferred", target="gone", reason="rate_limit")
    stack.wait("gone")
    assert "END at gone: it waits since " in end(stack)
