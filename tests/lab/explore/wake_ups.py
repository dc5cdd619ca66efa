"""Wake-ups and whole drainers: what waits finds one, whatever dies, gets lost, or takes long.

Alerts arrive while PagerDuty's pause lasts, so they wait. Actors are arrivals, the wake-ups that they send, the
drainers which these start with their looks, naps, leases and handovers, and the schedule. The real limiter, publisher
and drainer run on one table. What happens to one record when claims race is explored in `search`; here each alert
comes once, and PagerDuty accepts it.
"""

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from botocore.exceptions import ClientError
from pydantic import SecretStr

from handler.delivery.dynamodb import Table as ItemTable
from handler.delivery.limiter import RateLimiter
from handler.delivery.table import shard_of
from handler.messages import WakeUp
from handler.report import Report
from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.explore.graph import Explored, Move, Violation, explore
from tests.lab.explore.replay import (
    MARGIN_SECONDS,
    Answered,
    Environments,
    Kind,
    Outcome,
    Replayer,
    Run,
    Step,
    Tape,
    complain,
)
from tests.lab.expressions import Item
from tests.lab.histories import Change, History
from tests.lab.secrets import ROUTING_KEY, target_secret
from tests.lab.sqs import FakeSQS

CALL_SECONDS = 1.0
"""How long a call may take where nothing is slow: as long as the limiter counts on (`BELIEVED_MS`)."""
ENDS = ("lease_until", "drain_until", "blocked_until")
"""The attributes that say when something ends by itself, in milliseconds."""
SCHEDULE_SECONDS = 60.0
TARGET = "production"
SCHEDULE = "schedule"
WAKE_UP = "wake-up"
MAX_MINUTES = 3
"""The schedule has to have drained everything after so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazards:
    """How much may go wrong in total.

    Attributes:
        crashes: how many invocations die.
        lost: how many wake-ups get lost.
        delays: how many times others go on while a call takes up to `CALL_SECONDS`.
        slow: how many times a call takes longer.
        early: how often the schedule runs while others do.
        paused_seconds: how long PagerDuty's pause lasts.
        invocation_seconds: the length of an invocation; a drainer hands over eight seconds before its end.
    """

    crashes: int = 0
    lost: int = 0
    delays: int = 1000
    slow: int = 0
    early: int = 0
    paused_seconds: float = 1.0
    invocation_seconds: float = 57.0


class Work(NamedTuple):
    """What an invocation is given: the name of an alert, WAKE_UP, or SCHEDULE; and the record, as JSON."""

    name: str
    raw: str


class Moment(NamedTuple):
    """One state.

    Attributes:
        items: the table; the same content is always the same object.
        queue: what will arrive: alerts and wake-ups.
        accepted: the names of the alerts that PagerDuty has accepted, in order.
        minutes: how often the schedule ran because nothing else could happen.
    """

    now: float
    items: "Items"
    running: tuple[Run[Work], ...]
    queue: tuple[Work, ...]
    accepted: tuple[str, ...]
    left: Hazards
    minutes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is in the table, and when any of it changes by itself: a lease or a pause ends."""

    by_id: dict[str, Item]
    ends: tuple[float, ...]

    @property
    def waiting(self) -> list[str]:
        """The ids of the records that wait."""
        return [identity for identity, item in self.by_id.items() if "waiting" in item]


class _Tape(Tape):
    """A tape for whole drainers: a nap is a step of its own; a look at a shard in which nothing can wait is none."""

    def __init__(self, shards: Container[str]) -> None:
        super().__init__()
        self.clock = _NappingClock(self)
        self._shards = shards

    def query(self, **arguments: Any) -> Any:
        [shard] = arguments["ExpressionAttributeValues"].values()
        return super().query(**arguments) if shard["S"] in self._shards else {"Items": []}


class _NappingClock(Clock):
    """A clock on which a nap is a step of its own."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def sleep(self, seconds: float) -> None:
        self.tape.play(Kind.SLEEP, "", {"until": self.now + seconds})


class WakeUpExplorer:
    """Explores from one start; states are visited once, in the order of their distance from it.

    Args:
        names: of the alerts that arrive, each once.
        hazards: how much may go wrong.
    """

    def __init__(self, names: Sequence[str], hazards: Hazards) -> None:
        self._names = names
        self._hazards = hazards
        shards = {f"{TARGET}#{shard_of(f'{TARGET}#{name}')}" for name in names}
        self._tape = tape = _Tape(shards)
        self._reports: list[Report] = []
        self._environments = Environments(
            tape,
            {TARGET: target_secret()},
            record_at_once=self._reports.extend,
            record_exception=complain,
            max_retries=0,
        )
        self._replayer = Replayer(tape, self._invoke, hazards.invocation_seconds)
        self._items: dict[Any, Items] = {}
        self._answers: dict[Any, tuple[Items, Any, Any]] = {}
        arriving = tuple(Work(name, json.dumps(_event_of(name))) for name in sorted(names))
        self._start = Moment(NOW, self._paused(), (), arriving, (), hazards)

    def _paused(self) -> Items:
        """Return the table after PagerDuty has answered 429."""
        dynamodb, clock = FakeDynamoDB(TABLE), Clock()
        limiter = RateLimiter(ItemTable(cast(Any, dynamodb), TABLE, clock), 120)
        limiter.push_back(SecretStr(ROUTING_KEY), NOW, self._hazards.paused_seconds)
        return self._known(dynamodb.tables[TABLE])

    def explore(self) -> Explored:
        """Visit every state; raise Violation at the first that is wrong, which is one nearest to the start."""
        return explore(self._start, self._moves, self._check_end, lambda moment: len(moment.accepted))

    # --- moves ---

    def _moves(self, moment: Moment) -> Iterator[Move[Moment]]:
        for work in dict.fromkeys(moment.queue):
            left = list(moment.queue)
            left.remove(work)
            yield from self._begin(moment._replace(queue=tuple(left)), work)
        for run in moment.running:
            yield from self._step(moment, run)
            if run.answers and moment.left.crashes:
                yield self._crash(moment, run)
        yield from self._let_time_pass(moment)
        yield from self._schedule(moment)

    def _begin(self, moment: Moment, work: Work) -> Iterator[Move[Moment]]:
        used = {run.owner for run in moment.running}
        used |= {str(plain(item).get("owner") or plain(item).get("drainer")) for item in moment.items.by_id.values()}
        number = next(number for number in range(1, 99) if f"{work.name}-{number}" not in used)
        run = self._replayer.begin(work, f"{work.name}-{number}", moment.now)
        yield Move(work.name, "begins", moment._replace(running=tuple(sorted((*moment.running, run)))))

    def _step(self, moment: Moment, run: Run[Work]) -> Iterator[Move[Moment]]:
        step = run.next
        assert isinstance(step, Step)
        done = Answered(moment.now, Outcome.DONE, None)
        match step.kind:
            case Kind.TABLE:
                items, gives, key = self._ask(moment.items, step)
                told = f"{step.operation}{' in vain' if isinstance(gives, Exception) else ''}"
                yield self._go_on(moment._replace(items=items), run, done._replace(gives=gives), told, key)
            case Kind.SLEEP:
                if moment.now >= step.arguments["until"]:
                    yield self._go_on(moment, run, done, "wakes from its nap")
            case Kind.PAGERDUTY:
                yield self._send(moment, run, done, step)
            case Kind.QUEUE:
                sqs = FakeSQS()
                done = done._replace(gives=sqs.send_message(**step.arguments))
                wake_up = Work(WAKE_UP, json.dumps(sqs.retries[0].as_record()))
                sent = moment._replace(queue=tuple(sorted((*moment.queue, wake_up))))
                yield self._go_on(sent, run, done, "wakes a drainer")
                if moment.left.lost:
                    left = replace(moment.left, lost=moment.left.lost - 1)
                    yield self._go_on(moment._replace(left=left), run, done, "wakes a drainer: lost")

    def _send(self, moment: Moment, run: Run[Work], done: Answered, step: Step) -> Move[Moment]:
        name = json.loads(step.arguments["body"])["dedup_key"]
        if moment.now < NOW + self._hazards.paused_seconds:
            raise Violation(f"{run.work.name} sends {name} while PagerDuty's pause lasts")
        if name in moment.accepted and self._is_undisturbed(moment):
            raise Violation(f"{run.work.name} sends {name} again, and nothing went wrong")
        answer = PagerDuty(Clock()).handle(**step.arguments)
        sent = moment._replace(accepted=(*moment.accepted, name))
        return self._go_on(sent, run, done._replace(gives=answer), f"sends {name}")

    def _is_undisturbed(self, moment: Moment) -> bool:
        """Return whether nothing has gone wrong: calls that take their time are no fault."""
        return replace(moment.left, delays=self._hazards.delays, early=self._hazards.early) == self._hazards

    def _go_on(self, moment: Moment, run: Run[Work], answer: Answered, what: str, key: Any = None) -> Move[Moment]:
        after = self._replayer.go_on(run, answer, key)
        others = [other for other in moment.running if other is not run]
        if isinstance(after.next, Step):
            return Move(run.work.name, what, moment._replace(running=tuple(sorted((*others, after)))))
        return Move(run.work.name, f"{what}; ends", moment._replace(running=tuple(others)))

    def _crash(self, moment: Moment, run: Run[Work]) -> Move[Moment]:
        """Let a process die; its message is delivered again."""
        again = () if run.work.name == SCHEDULE else (run.work,)
        dead = moment._replace(
            running=tuple(other for other in moment.running if other is not run),
            queue=tuple(sorted((*moment.queue, *again))),
            left=replace(moment.left, crashes=moment.left.crashes - 1),
        )
        return Move(run.work.name, "dies", dead)

    def _let_time_pass(self, moment: Moment) -> Iterator[Move[Moment]]:
        """Go on to the next instant at which something ends: a nap, a lease, the pause."""
        naps = [until for run in moment.running if (until := _nap_of(run)) is not None]
        to = min((at for at in (*naps, *moment.items.ends) if at > moment.now), default=None)
        if to is None or not moment.running:
            return
        if any(to >= run.deadline + MARGIN_SECONDS for run in moment.running):
            return  # Lambda ends it: it has to go on, or die, before
        calling = [run for run in moment.running if (_nap_of(run) or 0.0) <= moment.now]
        left = moment.left
        if any(to - _since(run) > CALL_SECONDS for run in calling):
            left = replace(left, slow=left.slow - 1)
        elif calling:
            left = replace(left, delays=left.delays - 1)
        if left.slow >= 0 and left.delays >= 0:
            yield Move("", "time passes", moment._replace(now=to, left=left))

    def _schedule(self, moment: Moment) -> Iterator[Move[Moment]]:
        """Run the schedule's drainer: where nothing else can happen, or at any moment of a few."""
        work = Work(SCHEDULE, "")
        if moment.left.early and moment.items.waiting:
            yield from self._begin(moment._replace(left=replace(moment.left, early=moment.left.early - 1)), work)
        elif not moment.running and not moment.queue and moment.items.waiting:
            if self._is_undisturbed(moment):
                raise Violation(f"{', '.join(moment.items.waiting)} waits for the schedule, and nothing went wrong")
            if moment.minutes == MAX_MINUTES:
                raise Violation(f"{', '.join(moment.items.waiting)} waits for ever")
            later = moment._replace(now=moment.now + SCHEDULE_SECONDS, minutes=moment.minutes + 1)
            yield from self._begin(later, work)

    def _check_end(self, moment: Moment) -> None:
        if moment.running or moment.queue:
            raise Violation("nobody can go on")
        if set(moment.accepted) != set(self._names):
            raise Violation(f"only {', '.join(moment.accepted) or 'nothing'} reached PagerDuty")

    # --- invocations ---

    def _invoke(self, work: Work, deadline: float) -> list[Report]:
        parts = self._environments.start()
        self._reports.clear()
        if work.name not in (SCHEDULE, WAKE_UP):
            return list(parts.publisher.publish(json.loads(work.raw), deadline))
        wake_up = parts.queues.wake_up_of(json.loads(work.raw)) if work.raw else WakeUp()
        assert wake_up
        drained = parts.drainer.run(self._environments.targets.read(), deadline, wake_up)
        assert not drained.errors
        return list(self._reports)

    # --- the table ---

    def _ask(self, items: Items, step: Step) -> tuple[Items, Any, Any]:
        """Return the table after a call, what the call returns or raises, and what tells that from another."""
        found = self._answers.get((items, step))
        if found is None:
            dynamodb = FakeDynamoDB(TABLE)
            dynamodb.tables = {TABLE: dict(items.by_id)}
            gives: Any
            try:
                gives = getattr(dynamodb, step.operation)(**step.arguments)
                key = json.dumps(gives, sort_keys=True, default=str)
            except ClientError as error:
                gives, key = error, json.dumps(error.response, sort_keys=True, default=str)
            found = self._answers[items, step] = self._known(dynamodb.tables[TABLE]), gives, key
        return found

    def _known(self, by_id: dict[str, Item]) -> Items:
        key = json.dumps(by_id, sort_keys=True, default=str)
        if key not in self._items:
            times = [plain(item) for item in by_id.values()]
            ends = sorted(item[name] / 1000 for item in times for name in ENDS if name in item)
            self._items[key] = Items(by_id, tuple(ends))
        return self._items[key]


def _since(run: Run[Work]) -> float:
    """Return since when a run makes its call."""
    nap = _nap_of(run)
    return nap if nap is not None else run.answers[-1].at if run.answers else run.started_at


def _nap_of(run: Run[Work]) -> float | None:
    assert isinstance(run.next, Step)
    return run.next.arguments["until"] if run.next.kind is Kind.SLEEP else None


def _event_of(name: str) -> dict[str, Any]:
    [record] = History(name, [Change(0.0, "firing")]).event_of(0)["Records"]
    return cast(dict[str, Any], record)
