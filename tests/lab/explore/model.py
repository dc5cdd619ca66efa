"""The deliveries of one alert: what is published, to which targets, how much may go wrong, and how one is replayed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import SecretStr

from handler.alert import Status
from handler.delivery.backlog import Backlog, Taken
from handler.delivery.limiter import NoPermitError, Permit, Refusal, Taker
from handler.delivery.rate import Limit, Window
from handler.delivery.table import Place, load
from handler.report import Report
from tests.lab.explore.replay import Environments, Kind, Outcome, Replayer, Run, Tape, complain
from tests.lab.expressions import Item
from tests.lab.histories import TOPIC_ARN
from tests.lab.parts import Parts
from tests.lab.secrets import target_secret

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


# --- How a delivery is replayed ---------------------------------------------------------------------------------------


class _Permits:
    """A limiter that refuses where the tape says so, and makes no calls: drainers run in every state anyway."""

    limit = Limit.of(120)

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def take(self, routing_key: SecretStr, taker: Taker, now: float) -> Permit:
        if self._tape.next and self._tape.next.outcome is Outcome.NO_PERMIT:
            self._tape.play(Kind.PAGERDUTY, "", {})  # which is said with the request's answer
        return Permit(Window(0))

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None: ...

    def suspend(self, routing_key: SecretStr, now: float, probe_seconds: float) -> None: ...

    def resume(self, routing_key: SecretStr, now: float) -> None: ...

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


type Work = Message | Waiting


class Deliveries:
    """Begins deliveries of the real publisher and drainer, and replays them."""

    def __init__(self, setting: Setting, max_retries: int) -> None:
        self._tape = tape = Tape()
        self._replayer = Replayer(tape, self._invoke, INVOCATION_SECONDS)
        self.go_on = self._replayer.go_on
        self._items: dict[Waiting, Item] = {}
        limiter = _Permits(tape)
        self._environments = Environments(
            tape, setting.secrets, limiter=limiter, report=complain, max_retries=max_retries
        )

    def begin(self, work: Work, owner: str, at: float, item: Item | None = None) -> Run[Work]:
        """Return a delivery before its first step; of what waits, `item` is the record."""
        if isinstance(work, Waiting) and item is not None:
            self._items[work] = item
        return self._replayer.begin(work, owner, at)

    def _invoke(self, work: Work, deadline: float) -> list[Report]:
        parts = self._environments.start()
        if isinstance(work, Message):
            return list(parts.publisher.publish(json.loads(work.raw), deadline))
        return self._drain(parts, work, deadline)

    def _drain(self, parts: Parts, waiting: Waiting, deadline: float) -> list[Report]:
        """Do what a drainer does with one record, from the moment at which it has read it."""
        record = load(self._items[waiting])
        place = record.waiting
        assert place
        taken = Taken(Place(place.order, place.due, waiting.identity), record, Permit(Window(0)))
        target = self._environments.targets.read().named(waiting.identity.partition("#")[0])
        assert target
        backlog = Backlog([target], parts.table, parts.limiter, self._tape.clock)
        report = parts.drainer.deliver(taken, backlog, deadline)
        return [report] if isinstance(report, Report) else []


def start_of(names: Sequence[str], setting: Setting) -> tuple[Message, ...]:
    """Return the messages that bring these observations."""
    each = [Seen.of(name) for name in names]
    return tuple(sorted(Message(seen, seen.raw(setting.labels.get(seen.name, {}))) for seen in each))
