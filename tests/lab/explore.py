"""Runs the real publisher through every interleaving of a few deliveries of one alert, one step of I/O at a time.

A delivery is plain synchronous code, so it is *replayed*: it runs from its start with the answers it has had so far,
and stops at the first call that has none. The explorer makes that call on a shared table, queue and PagerDuty, notes
the answer, and so has the delivery one step further. No thread, no sleep; the time is part of the state.

What may happen at any moment: a delivery begins or makes its next step; its process dies, and its message is delivered
again, at once or later; a request to PagerDuty fails, is taken in but not answered, or gets no turn of the rate
limiter; a call to DynamoDB fails, or is made twice because boto3 lost the first answer; a lease ends.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Any, ClassVar, NamedTuple, cast

from botocore.exceptions import ClientError, ReadTimeoutError
from mypy_boto3_dynamodb.client import DynamoDBClient
from mypy_boto3_secretsmanager.client import SecretsManagerClient
from mypy_boto3_sqs.client import SQSClient
from pydantic import SecretStr

from handler.alert import Status
from handler.delivery.claims import Observation
from handler.delivery.rate import Priority
from handler.errors import RateLimitExceededError
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Skipped,
    SkipReason,
)
from handler.publisher import Publisher
from handler.queues import Hop, Queues
from handler.report import Report
from handler.targets.secrets import SecretsByPrefix, Targets
from local.simulator.faults import Answer, Fault, FaultKind
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import parse_alert
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.expressions import Item
from tests.lab.secrets import FakeSecrets, target_secret
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS
from tests.lab.wire import BASE_URL, DirectPool
from tests.lab.world import FreeTurns, make_client, make_sender, make_table, native

INVOCATION_SECONDS = 3.0
"""Any length would do: the only instant that matters is its end."""
MARGIN_SECONDS = 3.0
"""How long after its deadline an invocation may still write to the table and the queues: `app.MARGIN_SECONDS`."""
NO_TURN_SECONDS = 2.0
NOW_MS = round(NOW * 1000)
MAX_STATES = 400_000


class Violation(AssertionError):
    """An invariant does not hold; the message has the shortest schedule that shows it."""


# --- What is explored -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """An observation that a message brings: `T0` is a trigger of minute 0, `A1` an acknowledge, `R1` a resolve."""

    version: str
    name: str
    status: Status

    @classmethod
    def of(cls, name: str) -> "Seen":
        """Read a name."""
        status = {"T": Status.FIRING, "A": Status.ACKNOWLEDGED, "R": Status.RESOLVED}[name[0]]
        observed_at = f"2026-11-23T03:{15 + int(name[1:]):02d}:00.000000Z"
        return cls(Observation(IDENTITY, status, observed_at).version, name, status)

    def record(self) -> str:
        """Give the record with which it comes from the retry queue, as JSON: its first time is like every other."""
        alert = parse_alert(native("f-1", str(self.status), int(self.name[1:])))
        sqs = FakeSQS()
        queues = Queues(cast(SQSClient, sqs), RETRY_URL, DEAD_LETTER_URL)
        queues.defer(alert, Hop(target="production"), Deferred(reason=DeferReason.BUSY, delay_seconds=0), NOW)
        return json.dumps(sqs.retries[0].as_record())


IDENTITY = "production#f-1"


class Outcome(StrEnum):
    """What becomes of one step."""

    DONE = "done"
    REFUSED = "is answered 500"
    UNANSWERED = "is taken in, and the answer is lost"
    INVALID = "is answered 400"
    NO_TURN = "gets no turn"
    TWICE = "is made twice, for boto3 lost the first answer"
    LOST = "is made, and fails for want of an answer"
    DOWN = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may go wrong, all in all.

    Attributes:
        crashes: how many invocations die.
        faults: how many steps end in one of `outcomes`, and how many deliveries outlive their lease before they settle.
        outcomes: which ones.
        late: whether a delivery may outlive its lease.
        max_retries: of the client, within an invocation.
        separate_start: whether others may come between reading the clock and the claim's arrival at DynamoDB.
    """

    crashes: int = 0
    faults: int = 0
    outcomes: tuple[Outcome, ...] = ()
    late: bool = False
    max_retries: int = 0
    separate_start: bool = False


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration has seen, and that nothing of it was wrong."""

    states: int
    schedules: int
    ends: int
    requests_at_most: int


# --- One delivery, replayed -------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What is called."""

    TABLE = "table"
    PAGERDUTY = "pagerduty"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A call that waits for its answer."""

    kind: Kind
    arguments: Mapping[str, Any]


class Answered(NamedTuple):
    """What a call gave or raised, and when."""

    at: float
    outcome: Outcome
    gives: Any


class _Pause(BaseException):
    """Stops a replay; no `except Exception` may catch it."""

    def __init__(self, step: Step) -> None:
        self.step = step


class _Tape:
    """The answers that a replay plays back; stands in for every client of the publisher."""

    exceptions: ClassVar[Any] = FakeDynamoDB.exceptions

    def __init__(self) -> None:
        self.clock = Clock()
        self.owner = ""
        self._left: Iterator[Answered] = iter(())
        self._next: Answered | None = None

    def load(self, started_at: float, owner: str, answers: Sequence[Answered]) -> None:
        self.clock.now, self.owner = started_at, owner
        self._left = iter(answers)
        self._next = next(self._left, None)

    def update_item(self, **arguments: Any) -> Any:
        return self._play(Kind.TABLE, arguments)

    def send_message(self, **arguments: Any) -> Any:
        return self._play(Kind.QUEUE, arguments)

    def handle(self, method: str, path: str, body: bytes) -> Answer:
        return cast(Answer, self._play(Kind.PAGERDUTY, {"method": method, "path": path, "body": body}))

    def turn(self) -> None:
        """Refuse a turn where that is what comes next; whether one is given is said with the request's answer."""
        if self._next and self._next.outcome is Outcome.NO_TURN:
            self._play(Kind.PAGERDUTY, {})

    def _play(self, kind: Kind, arguments: Mapping[str, Any]) -> Any:
        answer = self._next
        if answer is None:
            raise _Pause(Step(kind, arguments))
        self._next = next(self._left, None)
        self.clock.now = answer.at
        if isinstance(answer.gives, BaseException):
            raise answer.gives.with_traceback(None)
        return answer.gives


class _Turns(FreeTurns):
    def __init__(self, tape: _Tape) -> None:
        self._tape = tape

    def take(self, routing_key: SecretStr, priority: Priority, now: float, turn_at: float | None = None) -> None:
        self._tape.turn()


class Message(NamedTuple):
    """A message that is on its way to an invocation."""

    seen: Seen
    record: str


@dataclass(eq=False)
class Run:
    """An invocation that has got so far: the same message, start and answers are always the same object."""

    number: int
    message: Message
    owner: str
    started_at: float
    answers: tuple[Answered, ...]
    next: Step | Report
    queued: str = ""
    after: dict[Any, "Run"] = field(default_factory=dict)

    @property
    def deadline(self) -> float:
        return self.started_at + INVOCATION_SECONDS

    @property
    def name(self) -> str:
        return self.message.seen.name

    @cached_property
    def is_busy(self) -> bool:
        """Whether all that is left to do is to come back as it came."""
        if isinstance(self.next, Report) or self.next.kind is not Kind.QUEUE:
            return False
        body: str = json.loads(self.message.record)["body"]
        return (self.next.arguments["QueueUrl"], self.next.arguments["MessageBody"]) == (RETRY_URL, body)

    def __lt__(self, other: "Run") -> bool:
        return self.number < other.number


class Replayer:
    """A publisher whose calls are played back."""

    def __init__(self, max_retries: int) -> None:
        self._tape = tape = _Tape()
        self._numbers = count()
        self._begun: dict[Any, Run] = {}
        clock = tape.clock
        pool = DirectPool(cast(PagerDuty, tape), clock)
        client = make_client(pool, clock, max_retries=max_retries, random=lambda: 0.0, sleep=clock.advance)
        secrets = cast(SecretsManagerClient, FakeSecrets({"pagerduty/production": target_secret()}))
        self._publisher = Publisher(
            Targets(SecretsByPrefix(secrets), prefix="pagerduty/", base_url=BASE_URL, clock=clock, report=_complain),
            make_sender(
                client,
                make_table(cast(DynamoDBClient, tape)),
                clock,
                limiter=_Turns(tape),
                new_owner=lambda: tape.owner,
            ),
            Queues(cast(SQSClient, tape), RETRY_URL, DEAD_LETTER_URL),
            clock,
        )

    def begin(self, message: Message, owner: str, at: float) -> Run:
        """Give an invocation that has made no step yet."""
        key = (message.seen, message.record, owner, at)
        run = self._begun.get(key)
        if run is None:
            run = self._begun[key] = self._replay(message, owner, at, ())
        return run

    def go_on(self, run: Run, answer: Answered, key: Any) -> Run:
        """Give the invocation after its next step; `key` tells the answer's content from others."""
        key = (answer.at, answer.outcome, key)
        after = run.after.get(key)
        if after is None:
            after = self._replay(run.message, run.owner, run.started_at, (*run.answers, answer))
            step = run.next
            assert isinstance(step, Step)
            after.queued = step.arguments["QueueUrl"] if step.kind is Kind.QUEUE else run.queued
            run.after[key] = after
        return after

    def _replay(self, message: Message, owner: str, started_at: float, answers: tuple[Answered, ...]) -> Run:
        self._tape.load(started_at, owner, answers)
        waits_for: Step | Report
        try:
            [waits_for] = self._publisher.publish(json.loads(message.record), started_at + INVOCATION_SECONDS)
        except _Pause as pause:
            waits_for = pause.step
        return Run(next(self._numbers), message, owner, started_at, answers, waits_for)


def _complain(error: Exception) -> None:
    raise error


# --- What the deliveries share ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The dedup table; the same content is always the same object."""

    items: Mapping[str, Item]
    record: Mapping[str, Any]

    @property
    def owner(self) -> str | None:
        owner: str | None = self.record.get("owner")
        return owner

    def is_of(self, now: float) -> bool:
        """Whether anything is known at that time: what has expired counts as absent."""
        return bool(self.record) and self.record["expires_at"] > now

    def lease_ends_at(self) -> float:
        ends_at: int = self.record.get("lease_until", 0)
        return ends_at / 1000


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """PagerDuty: the incidents of the alert and what was taken in; the same content is always the same object.

    Attributes:
        history: bodies that lead here; others may lead here too.
        incidents: state of each, with the version of the trigger that opened it.
        taken_in: versions, in the order of their arrival.
    """

    history: tuple[bytes, ...]
    incidents: tuple[tuple[str, str], ...]
    taken_in: tuple[str, ...]

    @property
    def state(self) -> str | None:
        """Of the latest incident."""
        return self.incidents[-1][0] if self.incidents else None


class Spent(NamedTuple):
    """What has gone wrong so far; `excuses` is how many repeats that can have caused."""

    crashes: int = 0
    faults: int = 0
    excuses: int = 0
    buried: int = 0


class State(NamedTuple):
    """One moment."""

    now: float
    table: Table
    account: Account
    running: tuple[Run, ...]
    waiting: tuple[Message, ...]
    spent: Spent


class Move(NamedTuple):
    """What leads from one state to the next."""

    who: str
    what: str
    state: State


_BEHAVIOUR = {
    Outcome.DONE: None,
    Outcome.REFUSED: Fault(FaultKind.STATUS, status=500),
    Outcome.INVALID: Fault(FaultKind.STATUS, status=400),
    Outcome.UNANSWERED: Fault(FaultKind.ACCEPT_THEN_DROP),
}
_NO_ANSWER = ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")
_FINAL: Mapping[Status, set[str | None]] = {
    # a trigger leaves an incident acknowledged that somebody has acknowledged
    Status.FIRING: {"triggered", "acknowledged"},
    # an acknowledge that overtook its trigger leaves no incident: docs/design.md
    Status.ACKNOWLEDGED: {"acknowledged", "resolved", None},
    Status.RESOLVED: {"resolved", None},
}


class Explorer:
    """Explores from one start; states are visited once, in the order of their distance from it."""

    def __init__(self, names: Sequence[str], bounds: Bounds, before: str = "") -> None:
        self._bounds = bounds
        self._replayer = Replayer(bounds.max_retries)
        self._tables: dict[Any, Table] = {}
        self._accounts: dict[Any, Account] = {}
        self._written: dict[Any, tuple[Table, Any, Any]] = {}
        self._queued: dict[Run, tuple[Any, str]] = {}
        self._received: dict[Any, tuple[Account, Answer]] = {}
        self._newest = max((Seen.of(name) for name in names), default=None)
        waiting = tuple(sorted(Message(seen, seen.record()) for seen in map(Seen.of, names)))
        self._start = State(NOW, self._table({}), self._account((), (), ()), (), waiting, Spent())
        if before:
            self._start = self._start_after(before)
        self._came_from: dict[State, Move | None] = {self._start: None}

    def _start_after(self, name: str) -> State:
        """Give the start a day after an incident was opened: its record has expired, and is still in the table."""
        seen = Seen.of(name)
        earlier = Explorer([], Bounds())
        state = earlier._start._replace(waiting=(Message(seen, seen.record()),))
        while moves := list(earlier._moves(state)):
            [move] = moves
            state = move.state
        item = {**state.table.items[IDENTITY], "expires_at": {"N": str(round(NOW))}}
        account = self._account(state.account.history, state.account.incidents, ())
        return self._start._replace(table=self._table({IDENTITY: item}), account=account)

    def explore(self) -> Explored:
        """Visit every state; raise Violation at the first that is wrong, which is one nearest to the start."""
        follow: dict[State, list[State]] = {}
        found = deque([self._start])
        ends = requests_at_most = 0
        while found:
            state = found.popleft()
            follow[state] = []
            requests_at_most = max(requests_at_most, len(state.account.taken_in))
            try:
                moves = [self._set_back(move) for move in self._moves(state)]
                if not moves:
                    ends += 1
                    self._check_end(state)
                for move in moves:
                    follow[state].append(move.state)
                    if move.state not in self._came_from:
                        self._came_from[move.state] = move._replace(state=state)
                        found.append(move.state)
            except Violation as violation:
                raise Violation(f"{violation}\n{self._schedule_to(state)}") from None
            if len(follow) > MAX_STATES:
                raise Violation(f"no end in sight\n{self._schedule_to(state)}")
        return Explored(len(follow), self._count_schedules(follow), ends, requests_at_most)

    def _count_schedules(self, follow: Mapping[State, Sequence[State]]) -> int:
        """Count the ways from the start to an end; one that goes round for ever is a violation."""
        ways: dict[State, int] = {}
        open_states: set[State] = set()
        stack = [self._start]
        while stack:
            state = stack[-1]
            if state in ways:
                stack.pop()
            elif state in open_states:
                ways[state] = sum(ways[after] for after in follow[state]) or int(not follow[state])
                open_states.remove(state)
                stack.pop()
            else:
                open_states.add(state)
                for after in follow[state]:
                    if after in open_states:
                        raise Violation(f"goes round for ever\n{self._schedule_to(state)}")
                    if after not in ways:
                        stack.append(after)
        return ways[self._start]

    def _schedule_to(self, state: State) -> str:
        lines: list[str] = []
        move = self._came_from[state]
        while move:
            lines.append(f"  {move.who:3} {move.what}")
            move = self._came_from[move.state]
        return "\n".join(reversed(lines))

    def _set_back(self, move: Move) -> Move:
        """Set the clock back to the start, and the table's times with it, where nobody runs to notice."""
        state = move.state
        if state.running or state.now == NOW:
            return move
        item = dict(state.table.items[IDENTITY])
        passed = round(state.now - NOW)
        for name, floor, ago in (
            ("expires_at", 0, passed),
            # of what is over, it does not matter when it ended
            ("lease_until", NOW_MS, passed * 1000),
            ("delivered_at", NOW_MS, passed * 1000),
        ):
            if name in item:
                item[name] = {"N": str(max(floor, int(item[name]["N"]) - ago))}
        table = self._table({**state.table.items, IDENTITY: item})
        return move._replace(state=state._replace(now=NOW, table=table))

    # --- moves ---

    def _moves(self, state: State) -> Iterator[Move]:
        for message in state.waiting:
            yield from self._begin(state, message)
        for run in state.running:
            yield from self._step(state, run)
            if run.answers:
                yield from self._crash(state, run)
        yield from self._let_time_pass(state)

    def _begin(self, state: State, message: Message) -> Iterator[Move]:
        used = {run.owner for run in state.running} | {state.table.owner}
        owner = next(name for name in map("owner-{}".format, count(1)) if name not in used)
        run = self._replayer.begin(message, owner, state.now)
        left = list(state.waiting)
        left.remove(message)
        state = state._replace(waiting=tuple(left), running=tuple(sorted((*state.running, run))))
        if self._bounds.separate_start:
            yield Move(run.name, "begins", state)
        else:
            yield from self._step(state, run)

    def _step(self, state: State, run: Run) -> Iterator[Move]:
        assert isinstance(run.next, Step)
        match run.next.kind:
            case Kind.TABLE:
                yield from self._write(state, run, run.next)
            case Kind.PAGERDUTY:
                yield from self._request(state, run, run.next)
            case Kind.QUEUE:
                yield from self._enqueue(state, run, run.next)

    def _write(self, state: State, run: Run, step: Step) -> Iterator[Move]:
        before = state.table
        holds = before.owner == run.owner
        for outcome in self._outcomes(state, Outcome.TWICE, *((Outcome.LOST, Outcome.DOWN) if holds else ())):
            table, gives, key = self._write_item(before, run, step, outcome)
            answer = Answered(state.now, outcome, gives)
            is_told_busy = not holds and self._replayer.go_on(run, answer, key).is_busy
            if is_told_busy and max(before.lease_ends_at(), table.lease_ends_at()) <= run.started_at:
                raise Violation(f"{run.name} is told to wait, and nobody is sending")
            is_first_look = not run.answers and state.now == run.started_at
            if is_first_look and is_told_busy and table is before:
                continue  # comes back to find the same, until somebody else has made a step
            if before.is_of(state.now) and table.record["version"] < before.record["version"]:
                raise Violation(f"{run.name} takes the record back to an older observation")
            if table.owner == run.owner and not holds:
                self._check_claim(state, run)
            after = state._replace(table=table, spent=_spend(state.spent, outcome))
            written = ", ".join(
                f"{name}={table.record.get(name)}"
                for name in ("version", "owner", "lease_until", "attempted", "delivered_at")
                if table.record.get(name) != before.record.get(name)
            )
            what = f"writes {written}" if written else "writes in vain"
            yield from self._answer(after, run, answer, key, what)

    def _request(self, state: State, run: Run, step: Step) -> Iterator[Move]:
        wanted = (Outcome.REFUSED, Outcome.UNANSWERED, Outcome.INVALID, Outcome.NO_TURN)
        for outcome in self._outcomes(state, *wanted):
            if outcome is Outcome.NO_TURN:
                refusal = RateLimitExceededError(NO_TURN_SECONDS)
                after = state._replace(spent=_spend(state.spent, outcome))
                yield from self._answer(after, run, Answered(state.now, outcome, refusal), None, "request")
                continue
            if state.table.owner != run.owner or state.table.lease_ends_at() <= state.now:
                raise Violation(f"{run.name} sends without holding the claim")
            account, gives = self._receive(state.account, run, step, outcome)
            after = state._replace(account=account, spent=_spend(state.spent, outcome))
            if account is not state.account:
                self._check_taken_in(after, run, state.account)
            yield from self._answer(after, run, Answered(state.now, outcome, gives), None, "request")

    def _enqueue(self, state: State, run: Run, step: Step) -> Iterator[Move]:
        gives, record = self._put(run, step)
        if record:
            retry = Message(run.message.seen, record)
            state = state._replace(waiting=tuple(sorted((*state.waiting, retry))))
            what = "goes to the retry queue"
        else:
            state = state._replace(spent=state.spent._replace(buried=state.spent.buried + 1))
            what = "goes to the dead-letter queue"
        yield from self._answer(state, run, Answered(state.now, Outcome.DONE, gives), None, what)

    def _answer(self, state: State, run: Run, answer: Answered, key: Any, what: str) -> Iterator[Move]:
        """Let a delivery have its answer; after its last step it ends, or its process dies before that is known."""
        after = self._replayer.go_on(run, answer, key)
        if answer.outcome is not Outcome.DONE:
            what = f"{what}: {answer.outcome}"
        others = [other for other in state.running if other is not run]
        if isinstance(after.next, Step):
            running = tuple(sorted((*others, after)))
            yield Move(run.name, what, state._replace(running=running))
            return
        self._check_ended(state, after, after.next)
        if state.table.owner == run.owner and not {Outcome.LOST, Outcome.DOWN} & {
            each.outcome for each in after.answers
        }:
            raise Violation(f"{run.name} ends {_told(after.next)}, and keeps its claim")
        ended = state._replace(running=tuple(others))
        yield Move(run.name, f"{what}; ends {_told(after.next)}", ended)
        yield from self._crash(ended, after)

    def _crash(self, state: State, run: Run) -> Iterator[Move]:
        """Let a process die, and its message be delivered again: now, or any time later."""
        if state.spent.crashes == self._bounds.crashes:
            return
        state = state._replace(
            running=tuple(other for other in state.running if other is not run),
            waiting=tuple(sorted((*state.waiting, run.message))),
            spent=state.spent._replace(crashes=state.spent.crashes + 1, excuses=state.spent.excuses + 1),
        )
        yield Move(run.name, "dies, to be delivered again", state)

    def _let_time_pass(self, state: State) -> Iterator[Move]:
        """Go on to the end of the lease: nothing else depends on the time."""
        to = state.table.lease_ends_at()
        if to <= state.now:
            return
        late = 0
        for run in state.running:
            assert isinstance(run.next, Step)
            if to >= run.deadline + MARGIN_SECONDS:
                return  # Lambda ends it: it has to go on, or die, before
            if to >= run.deadline:
                if run.next.kind is Kind.PAGERDUTY:
                    return  # the request times out before
                late += state.table.owner == run.owner
        if late and (not self._bounds.late or state.spent.faults == self._bounds.faults):
            return
        spent = state.spent._replace(faults=state.spent.faults + late, excuses=state.spent.excuses + late)
        yield Move("", "the lease ends", state._replace(now=to, spent=spent))

    def _outcomes(self, state: State, *faults: Outcome) -> list[Outcome]:
        if state.spent.faults == self._bounds.faults:
            return [Outcome.DONE]
        return [Outcome.DONE, *(outcome for outcome in faults if outcome in self._bounds.outcomes)]

    # --- invariants ---

    def _check_claim(self, state: State, run: Run) -> None:
        before = state.table
        if before.is_of(state.now) and before.record["version"] > run.message.seen.version:
            raise Violation(f"{run.name} claims what is known to be overtaken")
        for other in state.running:
            if other is not run and other.owner == state.table.owner and state.now < other.deadline:
                raise Violation(f"{run.name} takes the claim of {other.name}, which is alive")

    def _check_taken_in(self, state: State, run: Run, before: Account) -> None:
        account = state.account
        if before.taken_in and account.taken_in[-1] < before.taken_in[-1]:
            raise Violation(f"{run.name} reaches PagerDuty after a newer observation")
        repeats = len(account.taken_in) - len(set(account.taken_in))
        if repeats > state.spent.excuses:
            raise Violation(f"{run.name} is sent again, and nothing went wrong")
        opened = [version for _, version in account.incidents]
        if len(set(opened)) < len(opened):
            raise Violation(f"a repeat of {run.name} opens a second incident")

    def _check_ended(self, state: State, run: Run, report: Report) -> None:
        version, taken_in = run.message.seen.version, state.account.taken_in
        if report.lost:
            raise Violation(f"{run.name} is lost: {report.lost}")
        match report.result:
            case Accepted():
                right = version in taken_in
            case Deferred():
                right = run.queued == RETRY_URL
            case Rejected():
                right = run.queued == DEAD_LETTER_URL
            case Skipped(reason=SkipReason.SUPERSEDED):
                right = state.table.record["version"] > version
            case Skipped(reason=SkipReason.DUPLICATE):
                right = state.table.record["version"] == version
            case Skipped(reason=SkipReason.NEVER_OPENED):
                right = state.account.state in ("resolved", None)
            case _:
                right = False
        if not right:
            raise Violation(f"{run.name} ends {_told(report)}, which is not true")

    def _check_end(self, state: State) -> None:
        if state.running or state.waiting:
            raise Violation("nobody can go on")
        acknowledged = any(version.endswith("/1") for version in state.account.taken_in)
        if state.account.state == "acknowledged" and not acknowledged:
            raise Violation("the incident is acknowledged, and nobody said so")
        if self._newest and not state.spent.buried and state.account.state not in _FINAL[self._newest.status]:
            raise Violation(f"the newest is {self._newest.name}, and in the end the incident is {state.account.state}")

    # --- the shared things, each content once ---

    def _table(self, items: Mapping[str, Item]) -> Table:
        key = tuple(sorted((identity, _content(item)) for identity, item in items.items()))
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(items, plain(items.get(IDENTITY, {})))
        return table

    def _account(
        self, history: tuple[bytes, ...], incidents: tuple[tuple[str, str], ...], taken_in: tuple[str, ...]
    ) -> Account:
        return self._accounts.setdefault((incidents, taken_in), Account(history, incidents, taken_in))

    def _write_item(self, table: Table, run: Run, step: Step, outcome: Outcome) -> tuple[Table, Any, Any]:
        """Give the table after a call, what the call gives or raises, and what tells that from another."""
        key = (table, run, outcome)
        found = self._written.get(key)
        if found is None:
            found = self._written[key] = self._write_anew(table, step, outcome)
        return found

    def _write_anew(self, table: Table, step: Step, outcome: Outcome) -> tuple[Table, Any, Any]:
        if outcome is Outcome.DOWN:
            return table, _NO_ANSWER, None
        dynamodb = FakeDynamoDB()
        dynamodb.tables = {TABLE: dict(table.items)}
        gives, content = _update(dynamodb, step.arguments)
        if outcome is Outcome.TWICE:
            gives, content = _update(dynamodb, step.arguments)
        after = self._table(dynamodb.tables[TABLE])
        return (after, _NO_ANSWER, None) if outcome is Outcome.LOST else (after, gives, content)

    def _put(self, run: Run, step: Step) -> tuple[Any, str]:
        """Give what a call of SQS gives, and the record that comes back if it was of the retry queue."""
        found = self._queued.get(run)
        if found is None:
            sqs = FakeSQS()
            gives = sqs.send_message(**step.arguments)
            found = self._queued[run] = gives, "".join(json.dumps(message.as_record()) for message in sqs.retries)
        return found

    def _receive(self, account: Account, run: Run, step: Step, outcome: Outcome) -> tuple[Account, Answer]:
        key = (account, run, outcome)
        found = self._received.get(key)
        if found is None:
            pagerduty = PagerDuty(Clock())
            for body in account.history:
                pagerduty.handle("POST", "/v2/enqueue", body)
            if fault := _BEHAVIOUR[outcome]:
                pagerduty.set_faults(fault)
            answer = pagerduty.handle(**step.arguments)
            if pagerduty.requests[-1].accepted:
                version = run.message.seen.version
                opened_by = [version for _, version in account.incidents] + [version]
                states = [str(incident.state) for incident in pagerduty.incidents]
                history = (*account.history, step.arguments["body"])
                incidents = tuple(zip(states, opened_by, strict=False))
                account = self._account(history, incidents, (*account.taken_in, version))
            found = self._received[key] = account, answer
        return found


def _update(dynamodb: FakeDynamoDB, arguments: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give what a call gives or raises, and its content."""
    try:
        given = dynamodb.update_item(**arguments)
    except ClientError as error:
        return error, ("refused", _content(cast(Any, error.response).get("Item", {})))
    return given, ("taken", _content(given.get("Attributes", {})))


def _content(item: Item) -> Any:
    return tuple(sorted((name, *typed.items()) for name, typed in item.items()))


def _spend(spent: Spent, outcome: Outcome) -> Spent:
    if outcome is Outcome.DONE:
        return spent
    can_repeat = outcome in (Outcome.UNANSWERED, Outcome.DOWN, Outcome.LOST)
    return spent._replace(faults=spent.faults + 1, excuses=spent.excuses + can_repeat)


def _told(report: Report) -> str:
    reason = getattr(report.result, "reason", None)
    return report.outcome + (f" ({reason})" if reason else "")
