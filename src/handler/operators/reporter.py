"""Reports to operators: reads and writes their state, and publishes.

A message is published before it is forgotten, so that a crash repeats a report and loses none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.alert import Alert
from handler.identity import identity_of, target_of
from handler.mapping import dedup_key_of
from handler.operators.entries import (
    LATE_AFTER_SECONDS,
    Entry,
    Kind,
    WaitingAlert,
    bounded,
    entry_of,
    entry_of_waiting,
)
from handler.operators.letters import FindTarget, entries_of_letter
from handler.operators.message import compose
from handler.operators.state import (
    LETTERS_ID,
    MAX_ENTRIES,
    MAX_LATE,
    MAX_LETTERS,
    STATE_ID,
    Late,
    Letters,
    Seen,
    State,
    after_sending,
    dump,
    dump_letters,
    hash_of,
    load,
    load_letters,
    step,
)
from handler.outcome import Deferred
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.report import Report
from handler.sources.notices import REPORT, REPORT_ATTRIBUTE
from handler.sources.reader import Reader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_sns.client import SNSClient

UNCLEAR_SECONDS = 600
"""How long an alert that is in no index, and whose record does not say how it ended, still counts as late."""
READ_AGAIN_SECONDS = 3600
"""After this time the dead-letter queue is read even if it holds as many as before: one may have replaced another."""
_ATTEMPTS = 5

type ReadLetters = Callable[[int], Sequence[Mapping[str, Any]]]
type Read = Callable[[Sequence[str]], Mapping[str, WaitingAlert]]


class StateBusyError(Exception):
    """The state was changed by others before each write."""


def seen_in(reports: Iterable[Report], now: float, reported: frozenset[bytes] = frozenset()) -> Seen:
    """Return the late critical triggers that are kept outside of the table, so that the index does not have them.

    Those that were `reported` as late are left out.
    """
    entries: list[Entry] = []
    late: dict[bytes, Late] = {}
    for report in reports:
        match report:
            case Report(result=Deferred(reason=reason, is_kept=False), alert=Alert() as alert) if _is_late(report, now):
                identity = identity_of(report.target, dedup_key_of(alert))
                if hash_of(identity) in reported or hash_of(identity) in late:
                    continue
                late[hash_of(identity)] = Late(id=identity, name=alert.name, since=now)
                since = alert.observed_at.timestamp()
                common: dict[str, Any] = {"target": report.target, "severity": report.severity, "since": since}
                entries.append(entry_of(alert, Kind.LATE, note=str(reason), **common))
    return Seen(entries=entries, late=frozenset(late), named=tuple(late.values()))


def _is_late(report: Report, now: float) -> bool:
    alert = report.alert
    return (
        alert is not None
        and report.action is Action.TRIGGER
        and report.severity is Severity.CRITICAL
        and now - alert.observed_at.timestamp() >= LATE_AFTER_SECONDS
    )


class Reporter:
    """Reports to the operators' topic. Raises whatever goes wrong: `OperatorReports` catches it.

    Args:
        dynamodb: allowed GetItem and PutItem on the table.
        sns: allowed Publish on the topic.
        topic_arn: of the operators.
        clock: epoch seconds.
        redact: takes routing keys out of a text.
        report: called with one sentence about what is done without the table, or may be done twice.
        reader: reads dead letters as this function does.
        stack: the stack's name, for the commands in the text.
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
        reader: Reader,
        stack: str,
    ) -> None:
        self._dynamodb = dynamodb
        self._sns = sns
        self._table = table
        self._topic_arn = topic_arn
        self._clock = clock
        self._redact = redact
        self._report = report
        self._reader = reader
        self._stack = stack
        # these serve while the table is out: this execution environment then reports by itself
        self._own = State()
        self._letters = Letters()

    def report_deferred(self, reports: Sequence[Report]) -> None:
        """Report critical alerts that an invocation could not deliver, and that wait outside of the table."""
        self._tell(lambda state: seen_in(reports, self._clock(), state.late))

    def report_waiting(self, late: Iterable[str], read: Read) -> None:
        """Report what waits too long, and what no longer does. Call it every minute.

        Args:
            late: the ids of the records of all critical triggers that have waited for two minutes.
            read: returns what records say, of those ids whose record can be read.
        """
        hashed = {hash_of(identity): identity for identity in late}
        self._tell(lambda state: self._compared(state, hashed, read))

    def report_dead_letters(self, count: int, read: ReadLetters, find_target: FindTarget) -> None:
        """Report the dead letters that operators have not been told about yet. Call it every minute.

        The queue is read if it holds another number than was read last time, and each hour: reading hides dead
        letters for a moment from a redrive, and from the queue's metrics.

        Args:
            count: how many the queue holds.
            read: returns up to so many of them, as SQS does.
            find_target: returns the names of the targets that take an alert, joined, and its severity there.
        """
        now, before = self._clock(), self._read_letters()
        if count == before.count and (not count or now - before.read_at < READ_AGAIN_SECONDS):
            return
        found = read(count) if 0 < count <= MAX_LETTERS else []
        reported = frozenset(before.hashes)
        new = {letter["MessageId"]: letter for letter in found if hash_of(letter["MessageId"]) not in reported}
        entries: list[Entry] = []
        for letter in list(new.values())[:MAX_ENTRIES]:
            entries += entries_of_letter(letter, self._reader, find_target)
        more = max(0, len(new) - MAX_ENTRIES)
        if count > MAX_LETTERS:
            more = max(0, count - before.count)
        letters = Letters(
            hashes=(*before.hashes, *map(hash_of, new))[-MAX_LETTERS:],
            count=count if count > MAX_LETTERS else len(found),
            read_at=now,
        )
        seen = Seen(entries=entries, more={Kind.DEAD_LETTER: more})
        self._tell(lambda state: seen, noted=lambda: self._keep_letters(letters))

    def _read_letters(self) -> Letters:
        try:
            item = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": LETTERS_ID}}, ConsistentRead=True)
        except (ClientError, BotoCoreError):
            return self._letters
        return load_letters(item.get("Item"))

    def _keep_letters(self, letters: Letters) -> None:
        self._letters = letters
        with suppress(ClientError, BotoCoreError):  # the table is out: this environment knows what it has reported
            self._dynamodb.put_item(TableName=self._table, Item=dump_letters(letters))

    def _compared(self, state: State, late: Mapping[bytes, str], read: Read) -> Seen:
        """Compare what is late now with what was reported as late."""
        now = self._clock()
        new = [each for each in late if each not in state.late][: max(0, MAX_LATE - len(state.late))]
        shown = [late[each] for each in new[:MAX_ENTRIES]]
        gone = state.late - late.keys()
        named = [each for each in state.named if hash_of(each.id) in gone]
        asked = [*shown, *(each.id for each in named)]
        found = read(asked) if asked else {}
        entries = [entry_of_waiting(identity, found.get(identity, WaitingAlert()), now) for identity in shown]
        endings = {each: found.get(each.id, WaitingAlert()).ending for each in named}
        # one that the index does not have may be deferred outside of the table, or in the dead-letter queue
        unclear = {each for each, ending in endings.items() if not ending and now - each.since < UNCLEAR_SECONDS}
        ended = gone - {hash_of(each.id) for each in unclear}
        recovered = [
            bounded(
                Entry(
                    kind=Kind.RECOVERED,
                    name=each.name,
                    target=target_of(each.id),
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

    def _tell(self, look: Callable[[State], Seen], noted: Callable[[], None] = lambda: None) -> None:
        """Write what is seen into the state, then call `noted`; publish a message where one is due."""
        try:
            state = self._advance(look)
        except (ClientError, BotoCoreError) as error:
            self._report(f"operators are notified without the table's state: {type(error).__name__}")
            self._own, is_due = step(self._own, self._clean(look(self._own)), self._clock())
            noted()
            if is_due:
                self._publish(self._own)
                self._own = after_sending(self._own, self._own)
            return
        noted()
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
        raise StateBusyError("the table's item was busy: what it was about is reported in a minute")

    def _clean(self, seen: Seen) -> Seen:
        """Take routing keys out of whatever an alert or an error says, before the table has it."""
        entries = [
            replace(
                entry,
                name=self._redact(entry.name),
                summary=self._redact(entry.summary),
                note=self._redact(entry.note),
                link=self._redact(entry.link),
                location=self._redact(entry.location),
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
