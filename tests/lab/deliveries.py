"""Helpers for tests of deliveries: messages with ids and times, and failures at a chosen step."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.lab.clock import NOW
from tests.lab.dynamodb import INDEX, TABLE
from tests.lab.failures import Failures
from tests.lab.world import World

DAMAGES: dict[str, dict[str, Any]] = {
    "a state of a later version": {"status": {"S": "snoozed"}},
    "an order of a later version": {"waiting_order": {"S": "7#0001795405201000"}},
    "no order": {"waiting_order": {"S": "x"}},
    "no state": {"status": {"S": ""}},
    "no time": {"observed_at": {"S": "yesterday"}},
    "another type": {"tries": {"S": "x"}},
    "no number": {"rev": {"S": "x"}},
}
"""What replaces attributes of an item, so that the item cannot be read as a record."""


def message(
    fingerprint: str = "f-1",
    status: str = "firing",
    *,
    at: float = 0.0,
    message_id: str = "",
    severity: str = "error",
    labels: dict[str, str] | None = None,
    **alert: Any,
) -> dict[str, Any]:
    """Return the SNS record of a native alert that was published so many seconds after NOW."""
    content = {
        "fingerprint": fingerprint,
        "alert_name": "DatabaseHighCPU",
        "status": status,
        "labels": {"severity": severity, **(labels or {})},
        **alert,
    }
    published_at = datetime.fromtimestamp(NOW + at, UTC).isoformat(timespec="milliseconds")
    sns = {
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alerts",
        "Message": json.dumps({"alert": content}),
        "MessageId": message_id or f"{fingerprint}-{status}-{at}",
        "Timestamp": published_at.replace("+00:00", "Z"),
        "MessageAttributes": {},
    }
    return {"EventSource": "aws:sns", "Sns": sns}


def waiting(world: World) -> list[str]:
    """Return the identities of all deliveries that wait, as the table has them."""
    return sorted(identity for identity, item in world.dynamodb.tables[TABLE].items() if INDEX in item)


def drain_until_done(world: World, *, minutes: int = 30) -> None:
    """Start a drainer every minute, as the schedule does, until nothing waits."""
    for _ in range(minutes):
        if not waiting(world):
            return
        started = world.clock()
        world.drain()
        world.clock.advance(max(0.0, started + 60 - world.clock()))
    assert waiting(world) == [], "waits for ever"


@dataclass
class Only(Failures):
    """Failures of only these operations."""

    operations: Collection[str] = ()

    def strike(self, operation: str) -> None:
        if operation in self.operations:
            super().strike(operation)


class Killed(BaseException):
    """The process is killed: nothing catches it."""


@dataclass
class Killer:
    """Kills the process before or after its n-th call to AWS or PagerDuty; no later call gets through either."""

    at: int
    after: bool = False
    calls: int = 0
    is_dead: bool = False
    undo: list[Callable[[], None]] = field(default_factory=list)

    def watch(self, world: World) -> None:
        """Intercept every call of the process."""
        for owner, names in (
            (world.dynamodb, ("put_item", "update_item", "batch_get_item", "query", "scan", "get_item")),
            (world.sqs, ("send_message",)),
            (world.pagerduty, ("handle",)),
        ):
            for name in names:
                self._wrap(owner, name)

    def leave(self) -> None:
        """Let all calls through again."""
        for undo in self.undo:
            undo()

    def _wrap(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **arguments: Any) -> Any:
            if self.is_dead:
                raise Killed
            self.calls += 1
            self.is_dead = self.calls == self.at
            if self.is_dead and not self.after:
                raise Killed
            answer = original(*args, **arguments)
            if self.is_dead:
                raise Killed
            return answer

        setattr(owner, name, call)
        self.undo.append(lambda: delattr(owner, name))


def run_killed(world: World, run: Callable[[], object], at: int, *, after: bool) -> bool:
    """Run until the process is killed at a call; return whether it was."""
    killer = Killer(at, after)
    killer.watch(world)
    try:
        run()
    except Killed:
        pass
    finally:
        killer.leave()
    return killer.is_dead
