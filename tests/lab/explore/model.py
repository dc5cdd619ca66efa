"""One delivery, replayed: it runs from its start with the answers it has had so far, and stops at the next call.

A delivery is plain synchronous code. The explorer makes the call on which it stopped, on a shared table, queue and
PagerDuty, notes the answer, and so has the delivery one step further. No thread, no sleep; the time is part of the
state.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, ClassVar, NamedTuple, cast

from pydantic import SecretStr

from handler.alert import Status
from handler.delivery.backlog import Backlog, Taken
from handler.delivery.limiter import NoPermitError, Permit, Refusal, Taker
from handler.delivery.rate import Limit, Window
from handler.delivery.table import Place, load
from handler.report import Report
from local.simulator.faults import Answer
from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import FakeDynamoDB
from tests.lab.expressions import Item
from tests.lab.histories import TOPIC_ARN
from tests.lab.parts import Parts, make_parts
from tests.lab.secrets import FakeSecrets, target_secret
from tests.lab.wire import DirectPool

INVOCATION_SECONDS = 3.0
"""Any length would do: the only instant that matters is its end."""
FINGERPRINT = "f-1"
_STATUS = {"T": Status.FIRING, "A": Status.ACKNOWLEDGED, "R": Status.RESOLVED}
_RANK = {Status.FIRING: 0, Status.ACKNOWLEDGED: 1, Status.RESOLVED: 2}


# --- What is explored -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """The targets and labels of an exploration.

    Attributes:
        secrets: of each target, by its name.
        labels: of each observation, by its name, where it has any.
    """

    secrets: Mapping[str, str] = field(default_factory=lambda: {"production": target_secret()})
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        """Their names."""
        return sorted(self.secrets)

    @property
    def target_of_key(self) -> dict[str, str]:
        """The target of each routing key."""
        return {json.loads(text)["headers"]["routing_key"]: name for name, text in self.secrets.items()}


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """An observation: `T0` is a trigger published in minute 0, `A1` an acknowledge, `R1` a resolve.

    In order of what is newer: by time of publishing, and of a tie the resolve is newest.
    """

    minute: int
    rank: int
    name: str
    status: Status

    @classmethod
    def of(cls, name: str) -> "Seen":
        """Read a name."""
        status = _STATUS[name[0]]
        return cls(int(name[1:]), _RANK[status], name, status)

    def raw(self, labels: Mapping[str, str]) -> str:
        """Return the record of the message that brings it, as JSON; its source's clock stands still."""
        alert = {
            "fingerprint": FINGERPRINT,
            "alert_name": "DatabaseHighCPU",
            "status": str(self.status),
            "labels": {"severity": "warning", **labels},
            "annotations": {"number": str(self.minute)},
            "starts_at": "2026-11-22T00:00:00Z",
        }
        sns = {
            "Type": "Notification",
            "MessageId": f"message-{self.name}",
            "TopicArn": TOPIC_ARN,
            "Message": json.dumps({"alert": alert}),
            "Timestamp": f"2026-11-23T03:{15 + self.minute:02d}:00.123Z",
        }
        return json.dumps({"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may go wrong in total.

    Attributes:
        crashes: how many invocations die, drainers among them.
        faults: how many steps end in one of `outcomes`, and how many deliveries outlive their lease before they settle.
        outcomes: which ones.
        late: whether a delivery may outlive its lease.
        max_retries: of the client, within an invocation.
        separate_start: whether others may come between reading the clock and the claim's arrival at DynamoDB.
        drainers: how many may run at once.
    """

    crashes: int = 0
    faults: int = 0
    outcomes: tuple[Outcome, ...] = ()
    late: bool = False
    max_retries: int = 0
    separate_start: bool = False
    drainers: int = 1


# --- One delivery, replayed -------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """The operation that is called."""

    TABLE = "table"
    PAGERDUTY = "pagerduty"
    QUEUE = "queue"


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


class _Tape:
    """The answers that a replay plays back; stands in for every client."""

    exceptions: ClassVar[Any] = FakeDynamoDB.exceptions

    def __init__(self) -> None:
        self.clock = Clock()
        self.owner = ""
        self.has_woken = False
        self._left: Iterator[Answered] = iter(())
        self._next: Answered | None = None

    def load(self, started_at: float, owner: str, answers: Sequence[Answered]) -> None:
        self.clock.now, self.owner = started_at, owner
        self.has_woken = False
        self._left = iter(answers)
        self._next = next(self._left, None)

    def put_item(self, **arguments: Any) -> Any:
        return self._play(Kind.TABLE, "put_item", arguments)

    def batch_get_item(self, **arguments: Any) -> Any:
        return self._play(Kind.TABLE, "batch_get_item", arguments)

    def send_message(self, **arguments: Any) -> Any:
        return self._play(Kind.QUEUE, "send_message", arguments)

    def handle(self, method: str, path: str, body: bytes) -> Answer:
        return cast(Answer, self._play(Kind.PAGERDUTY, "", {"method": method, "path": path, "body": body}))

    def permit(self) -> None:
        """Refuse a permit where that is what comes next; whether there is one is said with the request's answer."""
        if self._next and self._next.outcome is Outcome.NO_PERMIT:
            self._play(Kind.PAGERDUTY, "", {})

    def _play(self, kind: Kind, operation: str, arguments: Mapping[str, Any]) -> Any:
        answer = self._next
        if answer is None:
            raise _Pause(Step(kind, operation, arguments))
        self._next = next(self._left, None)
        self.clock.now = answer.at
        if isinstance(answer.gives, BaseException):
            raise answer.gives.with_traceback(None)
        return answer.gives


class _Permits:
    """A limiter that refuses where the tape says so, and makes no calls: drainers run in every state anyway."""

    limit = Limit.of(120)

    def __init__(self, tape: _Tape) -> None:
        self._tape = tape

    def take(self, routing_key: SecretStr, taker: Taker, now: float) -> Permit:
        self._tape.permit()
        return Permit(Window(0))

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None: ...

    def close(self, routing_key: SecretStr, now: float, probe_seconds: float) -> None: ...

    def reopen(self, routing_key: SecretStr, now: float) -> None: ...

    def wake(self, routing_key: SecretStr, now: float) -> bool:
        self._tape.has_woken = True
        return False


def no_permit() -> NoPermitError:
    """Return the refusal of a permit."""
    return NoPermitError(Refusal.LIMIT, 2.0, is_drained=False)


class Message(NamedTuple):
    """A message that is on its way to an invocation; not before the one that sent it has ended."""

    seen: Seen
    raw: str
    sender: str = ""


class Waiting(NamedTuple):
    """What waits in a record, for a drainer that has just read it."""

    identity: str
    content: tuple[Any, ...]


@dataclass(eq=False)
class Run:
    """An invocation at one of its steps; equal work, start and answers are always the same object.

    Attributes:
        work: a message, or what waits in a record.
        next: the call that it stopped at, or what it came to.
        has_woken: whether it woke a drainer.
        queued: where its last message went.
    """

    number: int
    work: Message | Waiting
    owner: str
    started_at: float
    answers: tuple[Answered, ...]
    next: Step | list[Report]
    has_woken: bool = False
    queued: tuple[str, ...] = ()
    after: dict[Any, "Run"] = field(default_factory=dict)

    @property
    def deadline(self) -> float:
        return self.started_at + INVOCATION_SECONDS

    @property
    def name(self) -> str:
        return self.work.seen.name if isinstance(self.work, Message) else "drainer"

    @property
    def is_failing(self) -> bool:
        """Whether a call to DynamoDB has failed for it."""
        return any(answer.outcome in (Outcome.DOWN, Outcome.LOST) for answer in self.answers)

    def __lt__(self, other: "Run") -> bool:
        return self.number < other.number


class Replayer:
    """A publisher and a drainer whose calls are played back."""

    def __init__(self, setting: Setting, max_retries: int) -> None:
        self._tape = tape = _Tape()
        self._numbers = count()
        self._begun: dict[Any, Run] = {}
        self._items: dict[Waiting, Item] = {}
        self._pool = DirectPool(cast(PagerDuty, tape), tape.clock)
        self._secrets = FakeSecrets({f"pagerduty/{name}": text for name, text in setting.secrets.items()})
        self._max_retries = max_retries
        self._targets = self._parts().targets

    def _parts(self) -> Parts:
        """Return the parts of an environment that has just started: none remembers what another run did."""
        tape = self._tape
        return make_parts(
            pool=self._pool,
            dynamodb=tape,
            sqs=tape,
            secrets=self._secrets,
            clock=tape.clock,
            limiter=_Permits(tape),
            targets=getattr(self, "_targets", None),
            new_owner=lambda: tape.owner,
            random=lambda: 0.0,
            report=_complain,
            max_retries=self._max_retries,
        )

    def begin(self, work: Message | Waiting, owner: str, at: float, item: Item | None = None) -> Run:
        """Return an invocation before its first step."""
        key = (work, owner, at)
        run = self._begun.get(key)
        if run is None:
            if isinstance(work, Waiting) and item is not None:
                self._items[work] = item
            run = self._begun[key] = self._replay(work, owner, at, ())
        return run

    def go_on(self, run: Run, answer: Answered, key: Any) -> Run:
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

    def _replay(self, work: Message | Waiting, owner: str, started_at: float, answers: tuple[Answered, ...]) -> Run:
        self._tape.load(started_at, owner, answers)
        call = self._publishing(work) if isinstance(work, Message) else self._draining(work)
        waits_for: Step | list[Report]
        try:
            waits_for = call(started_at + INVOCATION_SECONDS)
        except _Pause as pause:
            waits_for = pause.step
        return Run(next(self._numbers), work, owner, started_at, answers, waits_for, self._tape.has_woken)

    def _publishing(self, message: Message) -> Callable[[float], list[Report]]:
        publisher = self._parts().publisher
        return lambda deadline: publisher.publish(json.loads(message.raw), deadline)

    def _draining(self, waiting: Waiting) -> Callable[[float], list[Report]]:
        """Return what a drainer does with one record, from the moment at which it has read it."""
        parts = self._parts()
        record = load(self._items[waiting])
        place = record.waiting
        assert place
        taken = Taken(Place(place.order, place.due, waiting.identity), record, Permit(Window(0)))
        target = self._targets.read().named(waiting.identity.partition("#")[0])
        assert target

        backlog = Backlog([target], parts.table, parts.limiter, self._tape.clock)

        def drain(deadline: float) -> list[Report]:
            report = parts.drainer.deliver(taken, backlog, deadline)
            return [report] if isinstance(report, Report) else []

        return drain


def _complain(error: Exception) -> None:
    raise error


def start_of(names: Sequence[str], setting: Setting) -> tuple[Message, ...]:
    """Return the messages that bring these observations."""
    each = [Seen.of(name) for name in names]
    return tuple(sorted(Message(seen, seen.raw(setting.labels.get(seen.name, {}))) for seen in each))


__all__ = ["NOW", "Bounds", "Message", "Outcome", "Replayer", "Run", "Seen", "Setting", "Step", "Waiting"]
