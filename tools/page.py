"""`make page`: a test page through the real path, from the stack's topic to PagerDuty's acceptance, and its resolve.

Says of each step when it happened. Whether PagerDuty accepted it is what the function recorded in the dedup table;
where nothing is recorded within a minute, the log says why.
"""

import argparse
import getpass
import json
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from handler.identity import identity_of
from handler.pagerduty.severity import Severity, parse_severity
from handler.targets.target import Target, TargetSet
from tools.stack import (
    FINDING,
    FINE,
    STACK_NAME,
    Connect,
    Say,
    Stack,
    ToolError,
    connect,
    find_stack,
    read_targets,
    run,
    say,
)
from tools.trace import Kept, Tracer, ending

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
_SPLIT_SECOND = 1.1
"""The pause between trigger and resolve: some clocks on the way have whole seconds."""


def target_of(targets: TargetSet, name: str) -> Target:
    """Return the target of this name; raise ToolError where no page can go there."""
    for target in targets.targets:
        if target.name == name:
            if not target.enabled:
                raise ToolError(f"target {name} is disabled: set `enabled` in its secret, or page another one")
            if target.type != "pagerduty":
                raise ToolError(f"target {name} has the type {target.type}: it pages nobody")
            return target
    names = ", ".join(sorted(target.name for target in targets.targets)) or "there is none"
    problems = "".join(f"\n{problem}" for problem in targets.problems)
    raise ToolError(f"no target is called {name}; the stack's targets: {names}{problems}")


def severity_of(target: Target, word: str) -> Severity:
    """Return the severity to page with: the one asked for, else the lowest that the target takes."""
    lowest = target.severity_threshold or Severity.INFO
    if not word:
        return lowest
    severity = parse_severity(word)
    if severity is None:
        raise ToolError(f"{word}: no severity: name one of critical, error, warning, info")
    if severity.urgency < lowest.urgency:
        raise ToolError(f"target {target.name} takes {lowest} and above: {severity} would page nobody")
    return severity


class Page:
    """One test page.

    Args:
        monotonic: seconds, to measure; `clock` is epoch seconds.
    """

    def __init__(
        self,
        connect: Connect,
        stack: Stack,
        target: Target,
        severity: Severity,
        say: Say,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        sender: str = "",
    ) -> None:
        self._connect = connect
        self._stack = stack
        self._target = target
        self._severity = severity
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._sender = sender or f"{getpass.getuser()} on {socket.gethostname()}"
        self._started = clock()
        self.key = f"test-page/{stack.name}/{uuid4().hex[:12]}"

    def run(self) -> int:
        """Trigger, await, resolve, await; return the exit status."""
        self._say(f"Test page to {self._target.name}, severity {self._severity}, dedup key {self.key}")
        if not self._await("firing", "trigger", self._publish("firing")):
            return FINDING
        if not self._target.auto_resolve:
            self._step(f"not resolved: auto_resolve of {self._target.name} is off; resolve the incident in PagerDuty")
            return FINE
        self._sleep(_SPLIT_SECOND)
        return FINE if self._await("resolved", "resolve", self._publish("resolved")) else FINDING

    def _step(self, text: str) -> None:
        self._say(
            f"  {datetime.fromtimestamp(self._clock(), UTC):%H:%M:%S}Z  {self._clock() - self._started:5.1f} s  {text}"
        )

    def _publish(self, status: str) -> float:
        """Publish a state of the alert; return the time in epoch seconds."""
        at = self._clock()
        alert = {
            "fingerprint": self.key,
            "alert_name": "TEST PAGE",
            "status": status,
            "labels": {"severity": str(self._severity), "test_page": "true"},
            "annotations": {"summary": f"TEST PAGE, nothing is wrong: sent by {self._sender} to {self._target.name}"},
            "location": self._stack.name,
        }
        self._connect("sns").publish(
            TopicArn=self._stack.topic_arn,
            Message=json.dumps({"alert": alert}),
            MessageAttributes={"targets": {"DataType": "String", "StringValue": self._target.name}},
        )
        self._step(f"{status} published to {self._stack.topic_arn}")
        return at

    def _await(self, status: str, action: str, published: float) -> bool:
        """Wait until the record says that this state was accepted; print when, or why not."""
        told_waiting = False
        while self._clock() - published <= PATIENCE_SECONDS:
            kept = self._record()
            accepted_at = kept.accepted_at if kept and kept.record.status == status else None
            if accepted_at is not None:
                took = max(0.0, accepted_at - published)
                self._step(f"{action} accepted by PagerDuty, {took:.1f} s after it was published")
                return True
            if kept and kept.record.waiting and not told_waiting:
                told_waiting = True
                self._step(f"{action} waits: the limit is used up, or PagerDuty does not accept it")
            self._sleep(PAUSE_SECONDS)
        self._step(f"{action} NOT ACCEPTED within {PATIENCE_SECONDS:.0f} s")
        self._explain()
        return False

    def _record(self) -> Kept | None:
        identity = identity_of(self._target.name, self.key)
        answer = self._connect("dynamodb").get_item(
            TableName=self._stack.table, Key={"id": {"S": identity}}, ConsistentRead=True
        )
        return Kept.of(answer["Item"]) if answer.get("Item") else None

    def _explain(self) -> None:
        found = Tracer(self._connect, self._stack, since=self._started - 5).find(key=self.key)
        if found.is_empty:
            self._say("  Neither the table nor the log knows of it: it did not reach the function. See: make doctor")
            return
        for line in found.lines:
            self._say(f"  {line}")
        self._say(f"  {ending(found, self._target.name, self._clock())}.")


def main(
    arguments: Sequence[str],
    connect: Connect = connect,
    say: Say = say,
    **more: Any,
) -> int:
    """Send a test page; return the exit status."""
    parser = argparse.ArgumentParser("page", description="a test page through the real path, and its resolve")
    parser.add_argument("--stack", default=STACK_NAME, help="the CloudFormation stack (default: %(default)s)")
    parser.add_argument("--target", required=True, help="whom to page")
    parser.add_argument("--severity", default="", help="default: the lowest that the target takes")
    given = parser.parse_args(arguments)
    stack = find_stack(connect, given.stack)
    target = target_of(read_targets(connect, stack), given.target)
    return Page(connect, stack, target, severity_of(target, given.severity), say, **more).run()


if __name__ == "__main__":
    run(main)
