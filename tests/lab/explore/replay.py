"""One invocation, replayed: it runs from its start with the answers it has had so far, and stops at its next call.

An invocation is plain synchronous code. The explorer makes the call on which it stopped, on a shared table, queue and
PagerDuty, notes the answer, and so has the invocation one step further. No thread, no sleep; the time is part of the
state.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, ClassVar, NamedTuple, cast

from handler.report import Report
from local.simulator.faults import Answer
from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import Clock
from tests.lab.dynamodb import FakeDynamoDB
from tests.lab.parts import Parts, make_parts
from tests.lab.secrets import FakeSecrets
from tests.lab.wire import DirectPool

MARGIN_SECONDS = 3.0
"""How long after its deadline an invocation may still write to the table and the queues: `app.MARGIN_SECONDS`."""


class Kind(StrEnum):
    """What is called."""

    TABLE = "table"
    PAGERDUTY = "pagerduty"
    QUEUE = "queue"
    SLEEP = "sleep"


class Outcome(StrEnum):
    """How one step ends."""

    DONE = "done"
    REFUSED = "is answered 500"
    UNANSWERED = "is taken in, and the answer is lost"
    INVALID = "is answered 400"
    NO_PERMIT = "gets no permit"
    TWICE = "is made twice, for boto3 lost the first answer"
    LOST = "is made, and fails for want of an answer"
    DOWN = "fails"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A call that waits for its answer."""

    kind: Kind
    operation: str
    arguments: Mapping[str, Any]


class Answered(NamedTuple):
    """What a call returned or raised, and when."""

    at: float
    outcome: Outcome
    gives: Any


class _Pause(BaseException):
    """Stops a replay; no `except Exception` may catch it."""

    def __init__(self, step: Step) -> None:
        self.step = step


class Tape:
    """The answers that a replay plays back; stands in for every client.

    Attributes:
        clock: the invocation's.
        owner: the name under which it claims.
        has_woken: whether it has woken a drainer.
        next: the answer to its next call; None where that is not known yet.
    """

    exceptions: ClassVar[Any] = FakeDynamoDB.exceptions

    def __init__(self) -> None:
        self.clock = Clock()
        self.owner = ""
        self.has_woken = False
        self.next: Answered | None = None
        self._left: Iterator[Answered] = iter(())
        self._pause: _Pause | None = None

    def load(self, started_at: float, owner: str, answers: Sequence[Answered]) -> None:
        """Rewind to the start of an invocation."""
        self.clock.now, self.owner, self.has_woken = started_at, owner, False
        self._left = iter(answers)
        self.next = next(self._left, None)
        self._pause = None

    def put_item(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "put_item", arguments)

    def update_item(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "update_item", arguments)

    def get_item(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "get_item", arguments)

    def batch_get_item(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "batch_get_item", arguments)

    def query(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "query", arguments)

    def scan(self, **arguments: Any) -> Any:
        return self.play(Kind.TABLE, "scan", arguments)

    def send_message(self, **arguments: Any) -> Any:
        return self.play(Kind.QUEUE, "send_message", arguments)

    def handle(self, method: str, path: str, body: bytes) -> Answer:
        return cast(Answer, self.play(Kind.PAGERDUTY, "", {"method": method, "path": path, "body": body}))

    def play(self, kind: Kind, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Return what the call returned, or raise what it raised; stop the replay where that is not known yet.

        What a `finally` calls while the replay stops does not happen.
        """
        answer = self.next
        if answer is None:
            self._pause = self._pause or _Pause(Step(kind, operation, arguments))
            raise self._pause
        self.next = next(self._left, None)
        self.clock.now = answer.at
        if isinstance(answer.gives, BaseException):
            raise answer.gives.with_traceback(None)
        return answer.gives


class Environments:
    """Starts execution environments whose every client is a tape; targets are read once, by the first.

    Args:
        tape: what stands in for the clients, with its clock.
        secrets: of each target, by its name.
        settings: what else `make_parts` takes.
    """

    def __init__(self, tape: Tape, secrets: Mapping[str, str], **settings: Any) -> None:
        self._tape = tape
        self._settings: dict[str, Any] = {
            "pool": DirectPool(cast(PagerDuty, tape), tape.clock),
            "secrets": FakeSecrets({f"pagerduty/{name}": text for name, text in secrets.items()}),
            **settings,
        }
        self.targets = self._settings["targets"] = self.start().targets

    def start(self) -> Parts:
        """Return the parts of an environment that has just started: none remembers what another run did."""
        tape = self._tape
        return make_parts(
            dynamodb=tape,
            sqs=tape,
            clock=tape.clock,
            new_owner=lambda: tape.owner,
            random=lambda: 0.0,
            **self._settings,
        )


def complain(error: Exception) -> Any:
    """Raise what the code only reports."""
    raise error


@dataclass(eq=False)
class Run[Work]:
    """An invocation at one of its steps; equal work, start and answers are always the same object.

    Attributes:
        next: the call that it stopped at, or what it came to.
        has_woken: whether it woke a drainer.
        queued: where its last message went.
    """

    number: int
    work: Work
    owner: str
    started_at: float
    deadline: float
    answers: tuple[Answered, ...]
    next: Step | list[Report]
    has_woken: bool = False
    queued: tuple[str, ...] = ()
    after: dict[Any, "Run[Work]"] = field(default_factory=dict)

    @property
    def is_failing(self) -> bool:
        """Whether a call to DynamoDB has failed for it."""
        return any(answer.outcome in (Outcome.DOWN, Outcome.LOST) for answer in self.answers)

    def __lt__(self, other: "Run[Work]") -> bool:
        return self.number < other.number


class Replayer[Work]:
    """Replays invocations.

    Args:
        tape: what every client of the invocation is made of.
        invoke: does the work until a deadline, in an environment that has just started.
        seconds: how long an invocation may take.
    """

    def __init__(self, tape: Tape, invoke: Callable[[Work, float], list[Report]], seconds: float) -> None:
        self._tape = tape
        self._invoke = invoke
        self._seconds = seconds
        self._numbers = count()
        self._begun: dict[Any, Run[Work]] = {}

    def begin(self, work: Work, owner: str, at: float) -> Run[Work]:
        """Return an invocation before its first step."""
        key = (work, owner, at)
        run = self._begun.get(key)
        if run is None:
            run = self._begun[key] = self._replay(work, owner, at, ())
        return run

    def go_on(self, run: Run[Work], answer: Answered, key: Any) -> Run[Work]:
        """Return the invocation after its next step; `key` tells the answer's content from others."""
        key = (answer.at, answer.outcome, key)
        after = run.after.get(key)
        if after is None:
            after = self._replay(run.work, run.owner, run.started_at, (*run.answers, answer))
            step = run.next
            assert isinstance(step, Step)
            is_sent = step.kind is Kind.QUEUE
            after.queued = (*run.queued, step.arguments["QueueUrl"]) if is_sent else run.queued
            run.after[key] = after
        return after

    def _replay(self, work: Work, owner: str, started_at: float, answers: tuple[Answered, ...]) -> Run[Work]:
        self._tape.load(started_at, owner, answers)
        deadline = started_at + self._seconds
        waits_for: Step | list[Report]
        try:
            waits_for = self._invoke(work, deadline)
        except _Pause as pause:
            waits_for = pause.step
        return Run(next(self._numbers), work, owner, started_at, deadline, answers, waits_for, self._tape.has_woken)
