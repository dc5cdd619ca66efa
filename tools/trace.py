"""`make trace`: shows what happened to an alert: its records, its log lines, whether it waits, and how it ended.

Reads the dedup table, the function's log and the dead-letter queue, and changes nothing in them.
"""

import argparse
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from botocore.exceptions import ClientError

from handler.alert import Status
from handler.delivery.record import Order, Record
from handler.delivery.table import INDEX, MAX_KEYS, SHARDS, load, order_key, waiting_key
from handler.errors import QueueUnavailableError
from handler.identity import identity_of, key_of, target_of
from handler.queues import Queues
from tools.redrive import DeadLetter, read_letter
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
    one_line,
    read_targets,
    run,
    say,
    seconds_of,
)

MAX_LETTERS = 500
"""How many dead letters are read; more are only counted."""
MAX_PAGES = 200
"""The limit for log lines."""
CLASSES = {
    Order.CRITICAL: "critical triggers",
    Order.TRIGGER: "triggers",
    Order.FOLLOWING: "resolves and the like",
    Order.REPEAT: "repeats",
}
SKIPPED = {
    "duplicate": "a duplicate: PagerDuty had this state already",
    "superseded": "superseded: a newer state was known already",
    "never_opened": "not needed: it ended before anything was sent",
    "below_threshold": "sent nowhere: below the target's severity_threshold",
    "auto_resolve_off": "not resolved: the target's auto_resolve is off",
    "insufficient_data": "sent nowhere: the alarm has no data (CloudWatchInsufficientData)",
    "suppressed": "sent nowhere: suppressed or muted at its source",
    "told_by_contributors": "sent nowhere: the alarm's contributors page for themselves",
    "test_message": "sent nowhere: a test message",
    "notice": "sent nowhere: a notice that asks for nothing",
    "in_progress": "sent nowhere: it says that something is going on",
    "no_page": 'sent nowhere: the target has "type": "none"',
    "target_disabled": "sent nowhere: the target is disabled",
}
DEFERRED = {
    "busy": "another execution was sending it",
    "rate_limit": "the routing key's limit was used up",
    "failed": "PagerDuty did not accept it",
    "circuit_open": "PagerDuty is out of reach",
    "key_refused": "PagerDuty refuses the routing key",
    "targets_unavailable": "the targets could not be read",
    "table_unavailable": "the dedup table was out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the function's log about the alert. `at` is in epoch seconds."""

    at: float
    target: str = ""
    outcome: str = ""
    reason: str = ""
    event_type: str = ""
    dedup_key: str = ""
    name: str = ""
    status: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    delay_seconds: float = 0.0

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Line | None":
        """Read a log event; None if it is not a line about an alert."""
        try:
            said = json.loads(event["message"])
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or "outcome" not in said:
            return None
        return cls(
            at=event["timestamp"] / 1000,
            target=str(said.get("target", "")),
            outcome=str(said["outcome"]),
            reason=str(said.get("reason", "")),
            event_type=str(said.get("event_type", "")),
            dedup_key=str(said.get("dedup_key", "")),
            name=str(said.get("alert_name", "")),
            status=str(said.get("status", "")),
            errors=tuple((str(e.get("type", "")), str(e.get("message", ""))) for e in said.get("errors", [])),
            delay_seconds=float(said.get("delay_seconds", 0)),
        )

    def __str__(self) -> str:
        """Return it as a readable line."""
        error = f"  {self.errors[-1][1]}" if self.errors else ""
        parts = [
            clock(self.at),
            f"{self.target or '-':<16}",
            f"{self.outcome:<9}",
            f"{self.event_type:<12}",
            self.reason,
        ]
        return one_line("  ".join([*parts, self.status]) + error, 200)


@dataclass(frozen=True, slots=True)
class Kept:
    """The table's record of the alert at a target."""

    target: str
    dedup_key: str
    record: Record

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Kept":
        """Read an item of the table."""
        identity = item["id"]["S"]
        return cls(target_of(identity), key_of(identity), load(item))

    @property
    def waiting_since(self) -> float | None:
        """When it began to wait, in epoch seconds; None if it does not wait."""
        since = self.record.waiting_since
        return since / 1000 if self.record.waiting and since is not None else None

    @property
    def delivered_at(self) -> float | None:
        """When PagerDuty accepted its newest state, or that became unnecessary, in epoch seconds."""
        at = self.record.delivered_at
        return None if at is None or self.record.is_damaged else at / 1000

    @property
    def accepted_at(self) -> float | None:
        """The same, but None for a trigger that PagerDuty was not sent."""
        is_skipped = self.record.status is Status.FIRING and not self.record.triggered
        return None if is_skipped else self.delivered_at

    @property
    def state(self) -> str:
        """Its newest state, and when that was published."""
        if self.record.is_damaged:
            return "cannot be read"
        return f"{self.record.status}, published {clock(self.record.at / 1000)}"


@dataclass(frozen=True, slots=True)
class Position:
    """How many of a target's waiting deliveries go out before this one, and how many there are."""

    before: int
    all: int


@dataclass(slots=True)
class Found:
    """Everything that is known of an alert.

    Attributes:
        positions: of the records that wait, by target.
        more_letters: how many dead letters were not looked at.
    """

    records: list[Kept] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    more_letters: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not (self.records or self.lines or self.letters)

    def keys(self) -> list[str]:
        """Return every dedup key that it has; the empty one stands for an alert that could not be read."""
        return list(
            dict.fromkeys([*(r.dedup_key for r in self.records), *(line.dedup_key for line in self.lines)])
        ) or [""]

    def of_key(self, key: str) -> "Found":
        """Return what is known of one dedup key."""
        return Found(
            records=[record for record in self.records if record.dedup_key == key],
            lines=[line for line in self.lines if line.dedup_key == key],
            letters=[letter for letter in self.letters if not key or mentions(letter, {key})],
            positions=self.positions,
        )

    def targets(self) -> list[str]:
        """Return every target that has to do with it; the empty name stands for none."""
        named = [*(record.target for record in self.records), *(line.target for line in self.lines)]
        found = list(dict.fromkeys(name for name in named if name))
        return found or [""]


def mentions(letter: DeadLetter, texts: set[str]) -> bool:
    """Return whether a dead letter's body has one of the texts, as JSON writes it."""
    quoted = {json.dumps(text)[1:-1] for text in texts}
    quoted |= {json.dumps(text)[1:-1] for text in quoted}  # inside an SNS wrapping, JSON is quoted once more
    return any(text in letter.body for text in quoted)


# --- The end, in one sentence ---


def ending(found: Found, target: str, now: float) -> str:
    """Return how an alert ended at a target, in one sentence. What waits now comes before what the log says."""
    kept = next((each for each in found.records if each.target == target), None)
    lines = [line for line in found.lines if line.target == target or not line.target or not target]
    last = lines[-1] if lines else None
    if kept and kept.record.waiting:
        return _waits(kept, last, found.positions.get(target), now)
    if kept and kept.record.is_leased(round(now * 1000)) and kept.record.needs_delivery():
        return "it is being sent at this moment"
    if last is None:
        return _ending_of_record(kept, found.letters)
    match last.outcome:
        case "accepted":
            return f"accepted by PagerDuty at {clock(last.at)} ({last.event_type})"
        case "skipped":
            return _skipped(last, kept)
        case "deferred":
            return _deferred(last, kept)
        case "rejected":
            return _rejected(last, found.letters)
        case _:
            return f"{last.outcome} at {clock(last.at)}"


def _waits(kept: Kept, last: Line | None, position: Position | None, now: float) -> str:
    since = kept.waiting_since or now
    order = kept.record.waiting.order if kept.record.waiting else Order.FOLLOWING
    where = f", behind {position.before} of {position.all}" if position else ""
    why = DEFERRED.get(last.reason, last.reason) if last and last.outcome == "deferred" else "for a permit"
    failing = kept.record.failing_since
    return (
        f"it waits since {clock(since)} ({duration(now - since)}) among the {CLASSES[order]}{where}: {why}"
        f"{f'; it has failed since {clock(failing / 1000)}' if failing is not None else ''}. It goes out by itself"
    )


def _ending_of_record(kept: Kept | None, letters: Sequence[DeadLetter]) -> str:
    if letters:
        return f"it lies in the dead-letter queue since {clock(letters[-1].sent_at.timestamp())}: {letters[-1].error}"
    if kept is None:
        return "nothing is known of it"
    if kept.delivered_at is not None:
        return _delivered(kept, kept.delivered_at)
    return (
        f"not accepted: its newest state, {kept.record.status}, was not delivered; the log of that time says why"
        " (SINCE=...)"
    )


def _delivered(kept: Kept, at: float) -> str:
    """Return the end that a record says; of a trigger it knows whether PagerDuty has it."""
    status = kept.record.status
    if status is not Status.FIRING:
        return f"accepted by PagerDuty, or not needed, at {clock(at)} ({status})"
    if kept.accepted_at is None:
        return f"not sent: since {clock(at)} its target skips it ({status})"
    return f"accepted by PagerDuty at {clock(at)} ({status})"


def _skipped(last: Line, kept: Kept | None) -> str:
    text = SKIPPED.get(last.reason, f"skipped: {last.reason}")
    if kept and last.reason == "duplicate" and kept.delivered_at is not None:
        return f"{text}, accepted at {clock(kept.delivered_at)}"
    if kept and last.reason == "superseded":
        return f"{text}: {kept.state}"
    return text


def _deferred(last: Line, kept: Kept | None) -> str:
    if kept and kept.delivered_at is not None and kept.delivered_at >= last.at:
        return _delivered(kept, kept.delivered_at)
    why = DEFERRED.get(last.reason, last.reason)
    until = f" until about {clock(last.at + last.delay_seconds)}" if last.delay_seconds else ""
    return f"deferred at {clock(last.at)}{until}: {why}. It is tried again by itself"


def _rejected(last: Line, letters: Sequence[DeadLetter]) -> str:
    kind, error = last.errors[-1] if last.errors else ("", "see the log")
    where = (
        "and lies in the dead-letter queue (make redrive)"
        if letters
        else "its dead letter is not in the queue any more"
    )
    what = "sent nowhere" if kind == "no_target" else "rejected"
    return f"{what} at {clock(last.at)}: {error}; {where}"


# --- Showing ---


def clock(at: float) -> str:
    """Return a readable time, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Return a readable duration."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def show(found: Found, now: float) -> Iterator[str]:
    """Yield the lines to print; the end of the alert comes last."""
    for kept in found.records:
        yield f"record at {kept.target}: {kept.dedup_key}"
        yield f"  newest state  {kept.state}"
        yield f"  delivered     {clock(kept.delivered_at) if kept.delivered_at is not None else 'not yet'}"
        yield f"  incident      {'may be open' if kept.record.open else 'not open'}"
        if kept.record.waiting:
            position = found.positions.get(kept.target)
            before = f", {position.before} of {position.all} before it" if position else ""
            since = clock(kept.waiting_since or now)
            yield f"  waits         since {since}{before}, claimed {kept.record.tries} times"
    if found.lines:
        yield "log"
        for line in found.lines:
            yield f"  {line}"
    if found.letters:
        yield "dead letters"
        for letter in found.letters:
            yield f"  {letter}"
    if found.more_letters:
        yield f"note: the dead-letter queue has more than {MAX_LETTERS} messages; the rest was not looked at"
    keys = found.keys()
    for key in keys:
        part = found.of_key(key)
        for target in part.targets():
            where = f" at {target}" if target else ""
            what = f" ({key})" if len(keys) > 1 else ""
            yield f"END{where}{what}: {ending(part, target, now)}."


# --- Reading ---


class Tracer:
    """Finds what is known of an alert, by its dedup key or by its name.

    Args:
        since: of the log, in epoch seconds.
    """

    def __init__(self, connect: Connect, stack: Stack, *, since: float) -> None:
        self._connect = connect
        self._stack = stack
        self._since = since

    def find(self, *, key: str = "", name: str = "") -> Found:
        """Return everything about one alert, or about all of one name."""
        found = Found()
        found.lines = sorted(self.lines(key, name), key=lambda line: line.at)
        keys = [key] if key else list(dict.fromkeys(line.dedup_key for line in found.lines if line.dedup_key))
        found.records = self.records(keys, {line.target for line in found.lines} - {""})
        found.positions = {kept.target: self._position(kept) for kept in found.records if kept.record.waiting}
        found.letters, found.more_letters = self._letters({*keys, name} - {""})
        return found

    def lines(self, key: str, name: str) -> Iterator[Line]:
        """Yield the log's lines about it."""
        logs = self._connect("logs")
        more: dict[str, Any] = {}
        field, value = ("dedup_key", key) if key else ("alert_name", name)
        pattern = f"{{ $.{field} = {json.dumps(value, ensure_ascii=False)} }}"
        for _ in range(MAX_PAGES):
            try:
                page = logs.filter_log_events(
                    logGroupName=self._stack.log_group, filterPattern=pattern, startTime=int(self._since * 1000), **more
                )
            except ClientError as error:
                if error.response["Error"].get("Code") == "ResourceNotFoundException":
                    return  # the function has not logged anything yet
                raise
            for event in page.get("events", []):
                line = Line.of(event)
                if line and value == (line.dedup_key if key else line.name):
                    yield line
            if not page.get("nextToken"):
                return
            more = {"nextToken": page["nextToken"]}

    def records(self, keys: Sequence[str], more_targets: Collection[str] = ()) -> list[Kept]:
        """Read the records of dedup keys at all targets; more, that are gone, may be known by name."""
        targets = {target.name for target in read_targets(self._connect, self._stack).targets}
        names = sorted(targets.union(more_targets))
        ids = [identity_of(name, key) for key in keys for name in names]
        dynamodb, found = self._connect("dynamodb"), []
        for batch in batched(ids, MAX_KEYS, strict=False):
            keys_left: Any = {
                self._stack.table: {
                    "Keys": [{"id": {"S": identity}} for identity in batch],
                    "ConsistentRead": True,
                }
            }
            while keys_left:
                answer = dynamodb.batch_get_item(RequestItems=keys_left)
                found += [Kept.of(item) for item in answer["Responses"].get(self._stack.table, [])]
                keys_left = answer.get("UnprocessedKeys")
        return sorted(found, key=lambda record: (record.target, record.dedup_key))

    def _position(self, kept: Kept) -> Position:
        """Count what waits for the same target, and what of that is before it."""
        waiting = kept.record.waiting
        order = order_key(waiting) if waiting else ""
        before = everything = 0
        for shard in range(SHARDS):
            values = {":w": {"S": waiting_key(kept.target, shard)}}
            everything += self._count("#w = :w", values)
            before += self._count("#w = :w AND waiting_order < :o", {**values, ":o": {"S": order}})
        return Position(before, max(everything, 1))

    def _count(self, condition: str, values: Mapping[str, Any]) -> int:
        count = 0
        more: dict[str, Any] = {}
        while True:
            page = self._connect("dynamodb").query(
                TableName=self._stack.table,
                IndexName=INDEX,
                KeyConditionExpression=condition,
                ExpressionAttributeNames={"#w": "waiting"},
                ExpressionAttributeValues=values,
                Select="COUNT",
                **more,
            )
            count += int(page["Count"])
            if "LastEvaluatedKey" not in page:
                return count
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _letters(self, texts: set[str]) -> tuple[list[DeadLetter], int]:
        """Read the dead letters, and release them; return those with one of the texts, and 1 if there are more."""
        queues = Queues(self._connect("sqs"), self._stack.retry_url, self._stack.dead_letter_url)
        seen: dict[str, DeadLetter] = {}
        try:
            count = queues.count_dead_letters()
            with closing(queues.dead_letters()) as pages:
                while len(seen) < min(count, MAX_LETTERS) and (page := next(pages, None)):
                    seen |= {letter.message_id: letter for letter in map(read_letter, page)}
        except QueueUnavailableError as error:
            raise error.__cause__ or error from None
        found = [letter for letter in seen.values() if mentions(letter, texts)]
        return sorted(found, key=lambda letter: letter.sent_at), int(count > len(seen) >= MAX_LETTERS)


def main(arguments: Sequence[str], connect: Connect = connect, say: Say = say, now: float | None = None) -> int:
    """Print what happened to an alert; return the exit status."""
    parser = argparse.ArgumentParser("trace", description="what became of an alert; changes nothing")
    parser.add_argument("--stack", default=STACK_NAME, help="the CloudFormation stack (default: %(default)s)")
    parser.add_argument("--key", default="", help="its dedup key at PagerDuty")
    parser.add_argument("--name", default="", help="its name, as the log has it in alert_name")
    parser.add_argument("--since", default="1h", help="how far to look back into the log (default: %(default)s)")
    given = parser.parse_args(arguments)
    if bool(given.key) == bool(given.name):
        raise ToolError("name one alert: KEY=dedup-key, or NAME=alert-name")
    seconds = seconds_of(given.since)
    at = time.time() if now is None else now
    tracer = Tracer(connect, find_stack(connect, given.stack), since=at - seconds)
    found = tracer.find(key=given.key, name=given.name)
    if found.is_empty:
        say(
            f"Nothing is known of {given.key or given.name} in the last {given.since}: it did not arrive here, its name"
            " is another one, or it is longer ago (SINCE=24h). make doctor finds what keeps alarms from arriving."
        )
        return FINDING
    for line in show(found, at):
        say(line)
    return FINE


if __name__ == "__main__":
    run(main)
