"""The second path: what operators have to know of alerts that do not reach PagerDuty, with its content, over SNS.

Reported once each: a critical alert that PagerDuty has not accepted for two minutes, and every dead letter that this
function writes. At most one message a minute, however many alerts it stands for, and one more when they are accepted.

`step` and `after_sending` decide, on a `State` that lies in one small item of the table; `compose` writes the message.
`Operators` reads and writes that item and publishes. None of its methods raises: a page never fails for its report. A
message is published before it is forgotten, so that a crash repeats a report and loses none.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler import sources
from handler.alert import Alert, Status
from handler.envelope import Record
from handler.errors import PublishError
from handler.mapping import dedup_key_of, event_of
from handler.outcome import Deferred, Rejected
from handler.pagerduty.events import Action, truncate
from handler.pagerduty.severity import Severity
from handler.report import Report
from handler.sources.notices import REPORT, REPORT_ATTRIBUTE

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_sns.client import SNSClient

LATE_AFTER_SECONDS = 120
INTERVAL_SECONDS = 60
RECOVERY_WITHIN_SECONDS = 600
"""When what was accepted is reported although others still wait."""
UNCLEAR_SECONDS = 600
"""For how long one that is in no index, and whose record does not say how it ended, counts as late."""
MAX_ENTRIES = 20
"""Named in one message; the rest is counted."""
MAX_LATE = 4000
"""Remembered as reported; beyond that more are counted and not remembered."""
MAX_SUBJECT = 99
"""SNS takes fewer than 100 ASCII characters: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
STATE_ID = "operators#state"
_ATTEMPTS = 5
_CRITICAL_TRIGGER = "0"
_HASH_BYTES = 8


class Kind(StrEnum):
    """What is reported."""

    LATE = "late"
    DEAD_LETTER = "dead_letter"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a report.

    Attributes:
        place: the affected system.
        since: when it began to wait or was written, in epoch seconds.
        note: the error of a dead letter, how a late alert ended.
    """

    kind: Kind
    name: str
    summary: str = ""
    severity: str = ""
    place: str = ""
    target: str = ""
    link: str = ""
    since: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A critical alert that was reported as late, by the id of its record; `since` is when it was reported."""

    id: str
    name: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was reported, and what is to be.

    Attributes:
        rev: raised by one with each write.
        sent_at: when the last message was published, in epoch seconds.
        counts: of each kind, since then.
        entries: the first of them.
        late: hashes of the ids that were reported as late and are so still.
        named: the first of those.
        recovered_at: since when accepted ones have not been reported.
    """

    rev: int = 0
    sent_at: float = 0.0
    counts: Mapping[Kind, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    late: frozenset[bytes] = frozenset()
    named: tuple[Late, ...] = ()
    recovered_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an invocation saw.

    Attributes:
        entries: to report.
        more: how many of each kind beside those.
        late: ids newly reported as late; those of `entries` that can be named.
        ended: hashes of ids that are late no more.
    """

    entries: Sequence[Entry] = ()
    more: Mapping[Kind, int] = field(default_factory=dict)
    late: frozenset[bytes] = frozenset()
    named: Sequence[Late] = ()
    ended: frozenset[bytes] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.entries or self.late or self.ended or any(self.more.values()))


def hash_of(identity: str) -> bytes:
    """Return what is remembered of a record's id."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def step(state: State, seen: Seen, now: float) -> tuple[State, bool]:
    """Return the state after an invocation, and whether a message is to be published now."""
    counts = {kind: state.counts.get(kind, 0) + seen.more.get(kind, 0) for kind in Kind}
    for entry in seen.entries:
        counts[entry.kind] += 1
    late = (state.late | seen.late) - seen.ended
    recovered_at = (state.recovered_at or now) if counts[Kind.RECOVERED] else 0.0
    merged = State(
        rev=state.rev + 1,
        sent_at=state.sent_at,
        counts=counts,
        entries=(*state.entries, *seen.entries)[:MAX_ENTRIES],
        late=late,
        named=tuple(each for each in (*state.named, *seen.named) if hash_of(each.id) in late)[:MAX_ENTRIES],
        recovered_at=recovered_at,
    )
    is_news = counts[Kind.LATE] + counts[Kind.DEAD_LETTER] > 0
    is_over = counts[Kind.RECOVERED] > 0 and (not late or now - recovered_at >= RECOVERY_WITHIN_SECONDS)
    if (is_news or is_over) and now - state.sent_at >= INTERVAL_SECONDS:
        return replace(merged, sent_at=now), True
    return merged, False


def after_sending(state: State, sent: State) -> State:
    """Return the state without what a message reported; `state` may have grown since."""
    recovered = state.counts.get(Kind.RECOVERED, 0) > sent.counts.get(Kind.RECOVERED, 0)
    return replace(
        state,
        rev=state.rev + 1,
        counts={kind: max(0, state.counts.get(kind, 0) - sent.counts.get(kind, 0)) for kind in Kind},
        entries=state.entries[len(sent.entries) :],
        recovered_at=state.recovered_at if recovered else 0.0,
    )


# --- The message ---

_HEADINGS = {
    Kind.LATE: (
        f"NOT ACCEPTED: {{}} critical, for more than {LATE_AFTER_SECONDS // 60} minutes",
        "PagerDuty has not accepted them. They wait, and go out by themselves; until then nobody is paged.",
    ),
    Kind.DEAD_LETTER: (
        "DEAD LETTERS: {}",
        "They could not be delivered and are kept for 14 days. Mend the cause, then: make redrive",
    ),
    Kind.RECOVERED: ("NO LONGER WAITING: {}", "They were reported as not accepted."),
}


def compose(state: State, *, stack: str = "") -> tuple[str, str]:
    """Return the subject and the text of the message about everything in a state."""
    counted = {kind: state.counts.get(kind, 0) for kind in Kind}
    lines: list[str] = []
    for kind, (heading, explanation) in _HEADINGS.items():
        if not counted[kind]:
            continue
        entries = [entry for entry in state.entries if entry.kind is kind]
        lines += [heading.format(counted[kind]), explanation, ""]
        for entry in entries:
            lines += [*_lines(entry), ""]
        if rest := counted[kind] - len(entries):
            lines += [f"and {rest} more", ""]
    if state.late and not counted[Kind.LATE]:
        lines += [f"Still not accepted: {len(state.late)} critical.", ""]
    given = f"STACK={stack} " if stack else ""
    lines.append(
        f"What became of one: make trace {given}NAME=...   What is misconfigured: make doctor {given}".rstrip()
    )
    return _subject(state, counted), "\n".join(lines)


def _lines(entry: Entry) -> list[str]:
    title = f"{entry.severity.upper()}  {entry.name}" if entry.severity else entry.name
    shown = {
        "": entry.summary if entry.summary != entry.name else "",
        "place": entry.place,
        "target": entry.target,
        "since": f"{datetime.fromtimestamp(entry.since, UTC):%Y-%m-%d %H:%M:%S} UTC" if entry.since else "",
        "error" if entry.kind is Kind.DEAD_LETTER else "state": entry.note,
        "link": entry.link,
    }
    return [title, *(f"  {label:<8}{value}" if label else f"  {value}" for label, value in shown.items() if value)]


def _subject(state: State, counted: Mapping[Kind, int]) -> str:
    late, dead, recovered = (counted[kind] for kind in Kind)
    if late + dead == 1:
        names = [entry.name for entry in state.entries if entry.kind is not Kind.RECOVERED]
        text = ": ".join(["Not accepted by PagerDuty" if late else "Dead letter", *names[:1]])
    elif late or dead:
        parts = [f"{late} critical alerts not accepted" if late else "", f"{dead} dead letters" if dead else ""]
        text = "PagerDuty Publisher: " + ", ".join(part for part in parts if part)
    else:
        text = f"PagerDuty Publisher: {recovered} no longer waiting, {len(state.late)} still"
    line = " ".join("".join(letter if " " <= letter <= "~" else "?" for letter in text).split())
    return truncate(line, MAX_SUBJECT).replace("…", "...")[:MAX_SUBJECT]


# --- From alerts, reports and records to entries ---


def entry_of(alert: Alert, kind: Kind, **more: Any) -> Entry:
    """Return an alert as a line of a report."""
    event = event_of(replace(alert, status=Status.FIRING), alert.severity or Severity.ERROR)
    payload = event.payload
    severity = more.pop("severity", None) or alert.severity
    return _bounded(
        Entry(
            kind=kind,
            name=alert.name,
            summary=payload.summary if payload else "",
            place=payload.source if payload else "",
            link=str(event.links[0].href) if event.links else "",
            severity=str(severity) if severity else "",
            **more,
        )
    )


def _bounded(entry: Entry) -> Entry:
    return replace(
        entry,
        name=truncate(" ".join(entry.name.split()), 256),
        summary=truncate(entry.summary, 500),
        place=truncate(entry.place, 200),
        link=entry.link if len(entry.link) <= 1000 else "",
        note=truncate(" ".join(entry.note.split()), 400),
    )


def seen_in(reports: Iterable[Report], now: float, known: frozenset[bytes] = frozenset()) -> Seen:
    """Return what the reports of an invocation call for, but for the late ones that are known.

    Dead letters, and critical triggers that are kept outside of the table, where `look` would not find them.
    """
    entries: list[Entry] = []
    late: dict[bytes, Late] = {}
    for report in reports:
        match report.result:
            case Rejected(error=error) if report.lost is None:
                common: dict[str, Any] = {"target": report.target, "since": now, "note": f"{error.reason}: {error}"}
                entries.append(
                    entry_of(report.alert, Kind.DEAD_LETTER, severity=report.severity, **common)
                    if report.alert
                    else _bounded(Entry(kind=Kind.DEAD_LETTER, name="A message that is no alert", **common))
                )
            case Deferred(reason=reason, is_kept=False) if (alert := report.alert) and _is_late(report, now):
                identity = f"{report.target}#{dedup_key_of(alert)}"
                if hash_of(identity) in known or hash_of(identity) in late:
                    continue
                late[hash_of(identity)] = Late(id=identity, name=alert.name, since=now)
                common = {"target": report.target, "since": alert.observed_at.timestamp(), "note": str(reason)}
                entries.append(entry_of(alert, Kind.LATE, severity=report.severity, **common))
    return Seen(entries=entries, late=frozenset(late), named=tuple(late.values()))


def _is_late(report: Report, now: float) -> bool:
    alert = report.alert
    return (
        alert is not None
        and report.action is Action.TRIGGER
        and report.severity is Severity.CRITICAL
        and now - alert.observed_at.timestamp() >= LATE_AFTER_SECONDS
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """One delivery that waits, as the index has it.

    Attributes:
        id: of its record.
        order: `<class>#<epoch milliseconds>`; class 0 are critical triggers.
    """

    id: str
    order: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Waiting":
        """Read an item of the index."""
        return cls(item["id"]["S"], item["waiting_order"]["S"])

    def is_late(self, now: float) -> bool:
        """Return whether it is a critical trigger that has waited for two minutes."""
        urgency, _, since = self.order.partition("#")
        return urgency == _CRITICAL_TRIGGER and now - int(since) / 1000 >= LATE_AFTER_SECONDS


def entry_of_record(item: Mapping[str, Any], now: float) -> Entry:
    """Return a waiting record as a line of a report; its id where its body cannot be read."""
    target, _, key = item["id"]["S"].partition("#")
    since = int(item["waiting_since"]["N"]) / 1000 if "waiting_since" in item else now
    severity = item.get("severity", {}).get("S", str(Severity.CRITICAL))
    common: dict[str, Any] = {"target": target, "since": since, "severity": severity}
    try:
        message = json.loads(zlib.decompress(item["body"]["B"]))
        [alert] = sources.parse(Record(payload=message, published_at=datetime.fromtimestamp(now, UTC)))
    except (KeyError, ValueError, zlib.error, PublishError):
        alert = None
    if isinstance(alert, Alert):
        return entry_of(alert, Kind.LATE, **common)
    return _bounded(Entry(kind=Kind.LATE, name=key, **common))


def ending_of(item: Mapping[str, Any] | None) -> str:
    """Return in words how a delivery that was late has ended, from its record; empty where that is not known."""
    if item is None:
        return ""
    if "waiting" in item:
        return "waits, but is not urgent any more"
    if "delivered_at" in item:
        return f"accepted at {datetime.fromtimestamp(int(item['delivered_at']['N']) / 1000, UTC):%H:%M:%S} UTC"
    return "ended before it was accepted" if item.get("status", {}).get("S") == Status.RESOLVED else ""


# --- Reading, writing, publishing ---


class Operators:
    """Reports to the operators' topic. No method raises.

    Args:
        dynamodb: allowed GetItem, PutItem and BatchGetItem on the table.
        sns: allowed Publish on the topic.
        topic_arn: of the operators; where it is empty nothing is reported.
        clock: epoch seconds.
        redact: takes routing keys out of a text.
        report: called with one sentence about what did not work.
        stack: its name, for the commands in the message.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        sns: "SNSClient",
        *,
        table: str,
        topic_arn: str,
        clock: Callable[[], float],
        redact: Callable[[str], str],
        report: Callable[[str], None],
        stack: str = "",
    ) -> None:
        self._dynamodb = dynamodb
        self._sns = sns
        self._table = table
        self._topic_arn = topic_arn
        self._clock = clock
        self._redact = redact
        self._report = report
        self._stack = stack
        self._own = State()
        """Serves while the table is out: this execution environment then reports by itself."""

    def note(self, reports: Sequence[Report]) -> None:
        """Report what an invocation could not deliver. Call it after the dead letters are on the queue."""
        if any(isinstance(report.result, Rejected | Deferred) for report in reports):
            self._guarded(lambda: self._tell(lambda state: seen_in(reports, self._clock(), state.late)))

    def look(self, waiting: Iterable[Waiting]) -> None:
        """Report what waits too long, and what does so no longer. Call it every minute with all that waits."""
        late = {hash_of(each.id): each.id for each in waiting if each.is_late(self._clock())}
        self._guarded(lambda: self._tell(lambda state: self._compared(state, late)))

    def _guarded(self, tell: Callable[[], None]) -> None:
        if not self._topic_arn:
            return
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - a page must not fail for its report, whatever is wrong with that
            self._report(f"a report to operators failed: {type(error).__name__}: {self._redact(str(error))[:200]}")

    def _compared(self, state: State, late: Mapping[bytes, str]) -> Seen:
        """Compare what is late now with what was reported as late."""
        now = self._clock()
        new = [each for each in late if each not in state.late][: max(0, MAX_LATE - len(state.late))]
        shown = [late[each] for each in new[:MAX_ENTRIES]]
        gone = state.late - late.keys()
        named = [each for each in state.named if hash_of(each.id) in gone]
        found = self._records([*shown, *(each.id for each in named)])
        entries = [entry_of_record(found.get(identity, {"id": {"S": identity}}), now) for identity in shown]
        endings = {each: ending_of(found.get(each.id)) for each in named}
        # one that the index does not have may be deferred outside of the table, or in the dead-letter queue
        unclear = {each for each, ending in endings.items() if not ending and now - each.since < UNCLEAR_SECONDS}
        ended = gone - {hash_of(each.id) for each in unclear}
        recovered = [
            _bounded(
                Entry(
                    kind=Kind.RECOVERED,
                    name=each.name,
                    target=each.id.partition("#")[0],
                    note=endings[each] or "not accepted as far as is known: see make trace",
                )
            )
            for each in named
            if each not in unclear
        ]
        return Seen(
            entries=[*entries, *recovered],
            more={Kind.LATE: len(new) - len(entries), Kind.RECOVERED: len(ended) - len(recovered)},
            late=frozenset(new),
            named=[Late(id=each, name=entry.name, since=now) for each, entry in zip(shown, entries, strict=True)],
            ended=ended,
        )

    def _records(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Read records; one that cannot be read this time is described by its id alone."""
        if not ids:
            return {}
        keys: Any = {self._table: {"Keys": [{"id": {"S": identity}} for identity in dict.fromkeys(ids)]}}
        try:
            answer = self._dynamodb.batch_get_item(RequestItems=keys)
        except (ClientError, BotoCoreError):
            return {}
        return {item["id"]["S"]: item for item in answer["Responses"].get(self._table, [])}

    def _tell(self, look: Callable[[State], Seen]) -> None:
        try:
            state = self._advance(look)
        except (ClientError, BotoCoreError) as error:
            self._report(f"operators are notified without the table's state: {type(error).__name__}")
            self._own, is_due = step(self._own, self._clean(look(self._own)), self._clock())
            if is_due:
                self._publish(self._own)
                self._own = after_sending(self._own, self._own)
            return
        if state is None:
            return
        self._publish(state)
        for _ in range(_ATTEMPTS):
            current = self._read()
            if self._write(after_sending(current, state), current.rev):
                return
        self._report("operators may get a report twice: the table's item was busy")

    def _advance(self, look: Callable[[State], Seen]) -> State | None:
        """Write what was seen into the state; return it if a message is to be published."""
        for _ in range(_ATTEMPTS):
            state = self._read()
            seen = self._clean(look(state))
            new, is_due = step(state, seen, self._clock())
            if not is_due and seen.is_empty:
                return None
            if self._write(new, state.rev):
                return new if is_due else None
        self._report("a report to operators is late: the table's item was busy")
        return None

    def _clean(self, seen: Seen) -> Seen:
        """Take routing keys out of whatever an alert or an error says, before the table has it."""
        entries = [
            replace(
                entry,
                name=self._redact(entry.name),
                summary=self._redact(entry.summary),
                note=self._redact(entry.note),
                link=self._redact(entry.link),
                place=self._redact(entry.place),
            )
            for entry in seen.entries
        ]
        named = [replace(each, name=self._redact(each.name)) for each in seen.named]
        return replace(seen, entries=entries, named=named)

    def _publish(self, state: State) -> None:
        subject, text = compose(state, stack=self._stack)
        self._sns.publish(
            TopicArn=self._topic_arn,
            Subject=self._redact(subject),
            Message=self._redact(text),
            MessageAttributes={REPORT_ATTRIBUTE: {"DataType": "String", "StringValue": REPORT}},
        )

    def _read(self) -> State:
        item = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": STATE_ID}}, ConsistentRead=True)
        return load(item.get("Item"))

    def _write(self, state: State, old_rev: int) -> bool:
        """Write the state unless somebody else has done so since it was read."""
        condition: dict[str, Any] = (
            {"ConditionExpression": "rev = :rev", "ExpressionAttributeValues": {":rev": {"N": str(old_rev)}}}
            if old_rev
            else {"ConditionExpression": "attribute_not_exists(id)"}
        )
        try:
            self._dynamodb.put_item(TableName=self._table, Item=dump(state), **condition)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def dump(state: State) -> dict[str, Any]:
    """Return the state as an item of the table."""
    content = {
        "sent_at": state.sent_at,
        "counts": {str(kind): count for kind, count in state.counts.items()},
        "entries": [asdict(entry) for entry in state.entries],
        "named": [asdict(each) for each in state.named],
        "recovered_at": state.recovered_at,
    }
    return {
        "id": {"S": STATE_ID},
        "rev": {"N": str(state.rev)},
        "content": {"B": zlib.compress(json.dumps(content, separators=(",", ":")).encode())},
        "late": {"B": b"".join(sorted(state.late))},
    }


def load(item: Mapping[str, Any] | None) -> State:
    """Return the state that an item holds; an absent or damaged one is a new beginning."""
    if item is None:
        return State()
    rev = int(item["rev"]["N"])
    try:
        content = json.loads(zlib.decompress(bytes(item["content"]["B"])))
        hashes = bytes(item["late"]["B"])
        return State(
            rev=rev,
            sent_at=content["sent_at"],
            counts={Kind(kind): count for kind, count in content["counts"].items()},
            entries=tuple(Entry(**{**entry, "kind": Kind(entry["kind"])}) for entry in content["entries"]),
            late=frozenset(hashes[i : i + _HASH_BYTES] for i in range(0, len(hashes), _HASH_BYTES)),
            named=tuple(Late(**each) for each in content["named"]),
            recovered_at=content["recovered_at"],
        )
    except (KeyError, ValueError, TypeError, zlib.error):
        return State(rev=rev)
