"""Visits every state that a few deliveries of one alert can reach, and checks what has to hold in each.

What may happen at any moment: a delivery begins or makes its next step; a drainer reads what waits and sends it; a
process dies, and its message is delivered again, at once or later; a request to PagerDuty fails, is taken in but not
answered, or gets no permit; a call to DynamoDB fails, claims included, or is made twice because boto3 lost the first
answer; a lease ends. Wake-ups are not modelled: a drainer may begin wherever something waits, as if every wake-up came
at once, late, or never.

The truth is the order of publishing; the clock of the source stands still.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple, cast

from botocore.exceptions import ClientError

from handler.alert import Status
from handler.outcome import Accepted, Deferred, Rejected, Skipped, SkipReason
from handler.report import Report
from local.simulator.faults import Answer, Fault, FaultKind
from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.explore.graph import Explored, Move, Violation, explore
from tests.lab.explore.model import (
    FINGERPRINT,
    Bounds,
    Deliveries,
    Message,
    Seen,
    Setting,
    Waiting,
    Work,
    no_permit,
    start_of,
)
from tests.lab.explore.replay import MARGIN_SECONDS, Answered, Kind, Outcome, Run, Step
from tests.lab.expressions import Item
from tests.lab.failures import client_error
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS

NOW_MS = round(NOW * 1000)
FAR_SECONDS = 30 * 86400


# --- What the deliveries share ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The dedup table; the same content is always the same object."""

    items: Mapping[str, Item]
    records: Mapping[str, Mapping[str, Any]]

    def owners(self) -> dict[str, str]:
        """Return who is sending for each identity."""
        return {identity: str(record["owner"]) for identity, record in self.records.items() if "owner" in record}

    def lease_of(self, identity: str) -> float:
        """Return when a lease ends, or a pause."""
        return float(self.records.get(identity, {}).get("lease_until", 0)) / 1000

    def is_live(self, identity: str, now: float) -> bool:
        """Return whether anything is known: what has expired counts as absent."""
        record = self.records.get(identity)
        return record is not None and record.get("expires_at", now + 1) > now


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """PagerDuty's service of one target; the same content is always the same object.

    Attributes:
        history: bodies that lead here; others may lead here too.
        incidents: state of each, with the name of the observation that opened it.
        taken_in: names of observations, in the order of their arrival.
    """

    target: str
    history: tuple[bytes, ...]
    incidents: tuple[tuple[str, str], ...]
    taken_in: tuple[str, ...]

    @property
    def state(self) -> str | None:
        """Of the latest incident."""
        return self.incidents[-1][0] if self.incidents else None


class Spent(NamedTuple):
    """What has gone wrong so far.

    Attributes:
        excuses: how many repeats that can have caused.
        loose: how often something was sent without a claim, or could have been: order is made good at the end.
        dead: how many dead letters there are.
    """

    crashes: int = 0
    faults: int = 0
    excuses: int = 0
    loose: int = 0
    dead: int = 0


class State(NamedTuple):
    """One moment."""

    now: float
    table: Table
    accounts: tuple[Account, ...]
    running: tuple[Run[Work], ...]
    messages: tuple[Message, ...]
    spent: Spent


_BEHAVIOUR = {
    Outcome.DONE: None,
    Outcome.REFUSED: Fault(FaultKind.STATUS, status=500),
    Outcome.INVALID: Fault(FaultKind.STATUS, status=400),
    Outcome.UNANSWERED: Fault(FaultKind.ACCEPT_THEN_DROP),
}
_NO_ANSWER = client_error("InternalServerError")
_SHOWN = ("status", "observed_at", "owner", "lease_until", "open", "delivered_at", "waiting_order", "acknowledge")


class Explorer:
    """Explores from one start; states are visited once, in the order of their distance from it.

    Args:
        names: of the observations whose messages arrive.
        bounds: how much may go wrong.
        before: the name of an observation that was delivered a day ago, whose record has expired and is still there.
        waiting: the name of an observation that got no permit a moment ago, and waits in its record.
        setting: targets and labels.
    """

    def __init__(
        self,
        names: Sequence[str],
        bounds: Bounds,
        before: str = "",
        setting: Setting | None = None,
        waiting: str = "",
    ) -> None:
        self._bounds = bounds
        self._setting = setting or Setting()
        self._deliveries = Deliveries(self._setting, bounds.max_retries)
        self._tables: dict[Any, Table] = {}
        self._accounts: dict[Any, Account] = {}
        self._answers: dict[Any, tuple[Table, Any, Any]] = {}
        self._queued: dict[Run[Work], tuple[Any, str]] = {}
        self._received: dict[Any, tuple[Account, Answer]] = {}
        self._seen = sorted(map(Seen.of, [*names, waiting] if waiting else names))
        messages = start_of(names, self._setting)
        accounts = tuple(self._account(target, (), (), ()) for target in self._setting.targets)
        self._start = State(NOW, self._table({}), accounts, (), messages, Spent())
        if before:
            self._start = self._start_after(before)
        if waiting:
            self._start = self._start_with(waiting)

    def _start_after(self, name: str) -> State:
        """Return the start a day after an incident was opened: its record has expired, and is still in the table."""
        earlier = Explorer([name], Bounds(drainers=0), setting=self._setting)
        state = earlier._start
        while moves := list(earlier._moves(state)):
            state = moves[0].state
        items = {key: {**item, "expires_at": {"N": str(round(NOW))}} for key, item in state.table.items.items()}
        accounts = tuple(self._account(a.target, a.history, a.incidents, ()) for a in state.accounts)
        return self._start._replace(table=self._table(items), accounts=accounts)

    def _start_with(self, name: str) -> State:
        """Return the start at which an observation waits that got no permit."""
        bounds = Bounds(faults=1, outcomes=(Outcome.NO_PERMIT,), drainers=0)
        earlier = Explorer([name], bounds, setting=self._setting)
        found = deque([earlier._start])
        while found:
            state = found.popleft()
            moves = [earlier._set_back(move).state for move in earlier._moves(state)]
            if not moves and state.spent.faults:
                return self._start._replace(table=self._table(state.table.items))
            found.extend(moves)
        raise AssertionError(f"{name} never waits")

    def explore(self) -> Explored:
        """Visit every state; raise Violation at the first that is wrong, which is one nearest to the start."""
        return explore(
            self._start,
            lambda state: map(self._set_back, self._moves(state)),
            self._check_end,
            lambda state: sum(len(account.taken_in) for account in state.accounts),
        )

    def _set_back(self, move: Move[State]) -> Move[State]:
        """Set the clock back to the start, and the records' times and numbers, where nobody runs to notice."""
        state = move.state
        if state.running:
            return move
        passed = round(state.now - NOW)
        items = {identity: _set_item_back(item, passed) for identity, item in state.table.items.items()}
        messages = tuple(sorted(message._replace(sender="") for message in state.messages))
        return move._replace(state=state._replace(now=NOW, table=self._table(items), messages=messages))

    # --- moves ---

    def _moves(self, state: State) -> Iterator[Move[State]]:
        for message in dict.fromkeys(state.messages):
            if all(run.owner != message.sender for run in state.running):
                yield from self._begin(state, message)
        yield from self._drain(state)
        for run in state.running:
            yield from self._step(state, run)
            if run.answers:
                yield from self._crash(state, run)
        yield from self._let_time_pass(state)

    def _begin(self, state: State, message: Message) -> Iterator[Move[State]]:
        work = message._replace(sender="")
        run = self._deliveries.begin(work, self._new_owner(state, message.seen.name), state.now)
        left = list(state.messages)
        left.remove(message)
        yield from self._run(state._replace(messages=tuple(left)), run)

    def _drain(self, state: State) -> Iterator[Move[State]]:
        """Let a drainer read what waits, and go on with it: maybe much later."""
        if sum(isinstance(run.work, Waiting) for run in state.running) >= self._bounds.drainers:
            return
        for identity, record in state.table.records.items():
            if "waiting" in record and state.table.lease_of(identity) <= state.now:
                item = state.table.items[identity]
                work = Waiting(identity, _content(item))
                run = self._deliveries.begin(work, self._new_owner(state, "drainer"), state.now, item)
                yield from self._run(state, run)

    def _run(self, state: State, run: Run[Work]) -> Iterator[Move[State]]:
        if isinstance(run.next, list):
            yield Move(_name(run), "has nothing to do", state)
            return
        state = state._replace(running=tuple(sorted((*state.running, run))))
        if self._bounds.separate_start or isinstance(run.work, Waiting):
            yield Move(_name(run), "begins", state)
        else:
            yield from self._step(state, run)

    def _new_owner(self, state: State, name: str) -> str:
        """Return an owner that nobody knows, named after its work: so it does not matter who began first."""
        used = {run.owner for run in state.running} | set(state.table.owners().values())
        used |= {message.sender for message in state.messages}
        return next(owner for owner in map(f"{name}-{{}}".format, count(1)) if owner not in used)

    def _step(self, state: State, run: Run[Work]) -> Iterator[Move[State]]:
        assert isinstance(run.next, Step)
        match run.next.kind:
            case Kind.TABLE:
                yield from self._ask_table(state, run, run.next)
            case Kind.PAGERDUTY:
                yield from self._request(state, run, run.next)
            case Kind.QUEUE:
                yield from self._enqueue(state, run, run.next)

    def _ask_table(self, state: State, run: Run[Work], step: Step) -> Iterator[Move[State]]:
        before = state.table
        is_write = step.operation == "put_item"
        for outcome in self._outcomes(state, *((Outcome.TWICE, Outcome.LOST) if is_write else ()), Outcome.DOWN):
            table, gives, key = self._ask(before, step, outcome)
            answer = Answered(state.now, outcome, gives)
            after = state._replace(table=table, spent=_spend(state.spent, outcome))
            if table is not before:
                self._check_write(state, after, run, step)
            yield from self._answer(after, run, answer, key, _told_change(step, before, table))

    def _request(self, state: State, run: Run[Work], step: Step) -> Iterator[Move[State]]:
        body = json.loads(step.arguments["body"])
        target = self._setting.target_of_key[body["routing_key"]]
        identity = f"{target}#{FINGERPRINT}"
        is_claimed = state.table.owners().get(identity) == run.owner and state.table.lease_of(identity) > state.now
        if not is_claimed and not run.is_failing:
            raise Violation(f"{_name(run)} sends without holding the claim")
        name = self._name_of(body)
        wanted = [Outcome.REFUSED, Outcome.UNANSWERED, Outcome.INVALID]
        if isinstance(run.work, Message):
            wanted.append(Outcome.NO_PERMIT)
        for outcome in self._outcomes(state, *wanted):
            what = f"asks PagerDuty for {name}"
            if outcome is Outcome.NO_PERMIT:
                after = state._replace(spent=_spend(state.spent, outcome))
                yield from self._answer(after, run, Answered(state.now, outcome, no_permit()), None, what)
                continue
            number = self._setting.targets.index(target)
            account, gives = self._receive(state.accounts[number], step, outcome, name)
            accounts = (*state.accounts[:number], account, *state.accounts[number + 1 :])
            spent = _spend(state.spent, outcome)
            if not is_claimed:
                spent = spent._replace(loose=spent.loose + 1)
            after = state._replace(accounts=accounts, spent=spent)
            if account is not state.accounts[number]:
                self._check_taken_in(after, run, account)
            yield from self._answer(after, run, Answered(state.now, outcome, gives), None, what)

    def _name_of(self, body: Mapping[str, Any]) -> str:
        """Return the observation that a request is about; only triggers may have been seen twice."""
        match body["event_action"]:
            case "trigger":
                return f"T{body['payload']['custom_details']['annotations']['number']}"
            case "acknowledge":
                return next((seen.name for seen in self._seen if seen.status is Status.ACKNOWLEDGED), "A?")
            case _:
                return next((seen.name for seen in self._seen if seen.status is Status.RESOLVED), "R?")

    def _enqueue(self, state: State, run: Run[Work], step: Step) -> Iterator[Move[State]]:
        gives, raw = self._put(run, step)
        if raw:
            assert isinstance(run.work, Message)
            again = Message(run.work.seen, raw, run.owner)
            state = state._replace(messages=tuple(sorted((*state.messages, again))))
            what = "puts a copy on the retry queue"
        else:
            state = state._replace(spent=state.spent._replace(dead=state.spent.dead + 1))
            what = "puts a dead letter on its queue"
        yield from self._answer(state, run, Answered(state.now, Outcome.DONE, gives), None, what)

    def _answer(self, state: State, run: Run[Work], answer: Answered, key: Any, what: str) -> Iterator[Move[State]]:
        """Let a delivery have its answer; after its last step it ends, or its process dies before that is known."""
        after = self._deliveries.go_on(run, answer, key)
        if answer.outcome is not Outcome.DONE:
            what = f"{what}: {answer.outcome}"
        others = [other for other in state.running if other is not run]
        if isinstance(after.next, Step):
            yield Move(_name(run), what, state._replace(running=tuple(sorted((*others, after)))))
            return
        self._check_ended(state, after, after.next)
        ended = state._replace(running=tuple(others))
        told = ", ".join(map(_told, after.next))
        yield Move(_name(run), f"{what}; ends {told}", ended)
        if isinstance(run.work, Message):
            yield from self._crash(ended, after)

    def _crash(self, state: State, run: Run[Work]) -> Iterator[Move[State]]:
        """Let a process die; its message is delivered again, now or any time later, and what waits goes on waiting."""
        if state.spent.crashes == self._bounds.crashes:
            return
        messages = state.messages
        if isinstance(run.work, Message):
            messages = tuple(sorted((*messages, run.work)))
        state = state._replace(
            running=tuple(other for other in state.running if other is not run),
            messages=messages,
            spent=state.spent._replace(crashes=state.spent.crashes + 1, excuses=state.spent.excuses + 1),
        )
        yield Move(_name(run), "dies", state)

    def _let_time_pass(self, state: State) -> Iterator[Move[State]]:
        """Go on to the end of a lease or a pause: nothing else depends on the time."""
        ends = [state.table.lease_of(identity) for identity in state.table.records]
        to = min((at for at in ends if at > state.now), default=None)
        if to is None:
            return
        owners = state.table.owners().values()
        late = 0
        for run in state.running:
            assert isinstance(run.next, Step)
            if to >= run.deadline + MARGIN_SECONDS:
                return  # Lambda ends it: it has to go on, or die, before
            if to >= run.deadline:
                if run.next.kind is Kind.PAGERDUTY:
                    return  # the request times out before
                late += run.owner in owners
        if late and (not self._bounds.late or state.spent.faults == self._bounds.faults):
            return
        spent = state.spent._replace(
            faults=state.spent.faults + late,
            excuses=state.spent.excuses + 2 * late,
            loose=state.spent.loose + late,
        )
        yield Move("", "a lease ends", state._replace(now=to, spent=spent))

    def _outcomes(self, state: State, *faults: Outcome) -> list[Outcome]:
        if state.spent.faults == self._bounds.faults:
            return [Outcome.DONE]
        return [Outcome.DONE, *(outcome for outcome in faults if outcome in self._bounds.outcomes)]

    # --- invariants ---

    def _check_write(self, state: State, after: State, run: Run[Work], step: Step) -> None:
        identity = step.arguments["Item"]["id"]["S"]
        before, now = state.table.records.get(identity), after.table.records[identity]
        owned, owns = state.table.owners().get(identity), after.table.owners().get(identity)
        if before is not None and state.table.is_live(identity, state.now):
            is_followed = now["status"] == "firing" and "acknowledge" in now
            is_ended = (before["status"], now["status"]) == ("acknowledged", "resolved")
            if _version(now) < _version(before) and not is_followed and not is_ended:
                raise Violation(f"{_name(run)} takes the record back to an older observation")
            if "waiting" in before and "waiting" not in now and not self._may_leave(before, now, run):
                raise Violation(f"{_name(run)} takes out of the index what still waits")
        if owns == run.owner and owned != owns:
            for other in state.running:
                is_alive = other is not run and other.owner == owned and state.now < other.deadline
                if is_alive and state.table.lease_of(identity) > state.now:
                    raise Violation(f"{_name(run)} takes the claim of {_name(other)}, which is alive")

    def _may_leave(self, before: Mapping[str, Any], now: Mapping[str, Any], run: Run[Work]) -> bool:
        """A fresh arrival's claim takes a delivery out, for its carrier brings it again; else only an end does."""
        is_claim = isinstance(run.work, Message) and now.get("owner") == run.owner
        return is_claim or "delivered_at" in now or DEAD_LETTER_URL in run.queued

    def _check_taken_in(self, state: State, run: Run[Work], account: Account) -> None:
        if state.spent.loose:
            return
        # an acknowledge that overtook its trigger, which PagerDuty drops, follows it once more
        taken_in = [Seen.of(name) for name in account.taken_in if name[0] != "A"]
        if len(taken_in) > 1 and taken_in[-1] < taken_in[-2]:
            raise Violation(f"{_name(run)} reaches PagerDuty after a newer observation: {account.taken_in}")
        repeats = len(taken_in) - len(set(taken_in))
        if repeats > state.spent.excuses:
            raise Violation(f"{_name(run)} is sent again, and nothing went wrong")
        opened = [name for _, name in account.incidents]
        if len(set(opened)) < len(opened):
            raise Violation(f"a repeat of {_name(run)} opens a second incident")

    def _check_ended(self, state: State, run: Run[Work], reports: list[Report]) -> None:
        for report in reports:
            if report.lost:
                raise Violation(f"{_name(run)} is lost: {report.lost}")
            if not self._is_true(state, run, report):
                raise Violation(f"{_name(run)} ends {_told(report)}, which is not true")
            if not self._is_woken(state, run, report):
                raise Violation(f"{_name(run)} ends {_told(report)}, and woke no drainer")

    def _is_woken(self, state: State, run: Run[Work], report: Report) -> bool:
        """Whoever lets a delivery wait wakes a drainer; an acknowledge may go with whoever sends its trigger."""
        if not isinstance(run.work, Message) or not isinstance(report.result, Deferred) or run.is_failing:
            return True
        if run.work.seen.status is Status.ACKNOWLEDGED:
            return True
        record = state.table.records.get(f"{report.target}#{FINGERPRINT}", {})
        return run.has_woken or not report.result.is_kept or "waiting" not in record

    def _is_true(self, state: State, run: Run[Work], report: Report) -> bool:
        if not isinstance(run.work, Message) or not report.target:
            return True
        seen = run.work.seen
        account = state.accounts[self._setting.targets.index(report.target)]
        record = state.table.records.get(f"{report.target}#{FINGERPRINT}", {})
        match report.result:
            case Accepted():
                return seen.name in account.taken_in
            case Deferred(is_kept=False):
                return RETRY_URL in run.queued
            case Rejected():
                return DEAD_LETTER_URL in run.queued
            case Skipped(reason=SkipReason.SUPERSEDED | SkipReason.DUPLICATE):
                # an acknowledge that has read a resolve is superseded, whatever is written meanwhile
                has_met_end = record.get("status") == "resolved" or any(
                    other < seen for other in self._seen if other.status is Status.RESOLVED
                )
                is_ended = seen.status is Status.ACKNOWLEDGED and has_met_end
                return _version(record) >= (seen.minute, seen.rank) or "acknowledge" in record or is_ended
            case _:
                return True

    def _check_end(self, state: State) -> None:
        if state.running or state.messages:
            raise Violation("nobody can go on")
        for identity, record in state.table.records.items():
            if "waiting" in record:
                raise Violation(f"{identity} waits, and nobody can go on")
        if state.spent.dead or not self._seen:
            return
        for account in state.accounts:
            self._check_final(account)

    def _check_final(self, account: Account) -> None:
        newest = self._seen[-1]
        if self._setting.labels and not account.taken_in:
            return  # a target that the labels of no observation name
        state = next((seen for seen in reversed(self._seen) if seen.status is not Status.ACKNOWLEDGED), None)
        right: set[str | None]
        if state is None:
            right = {"acknowledged", None}
        elif state.status is Status.RESOLVED:
            right = {"resolved", None}  # what is acknowledged later has ended all the same
        elif newest.status is Status.ACKNOWLEDGED:
            # an acknowledge that meets a resolve is superseded, also if the trigger between the two comes late
            has_ended = any(seen.status is Status.RESOLVED for seen in self._seen)
            right = {"acknowledged", "triggered"} if has_ended else {"acknowledged"}
        else:
            # a trigger leaves an incident acknowledged that somebody has acknowledged
            right = {"triggered", "acknowledged"} if "A1" in account.taken_in else {"triggered"}
        if account.state not in right:
            raise Violation(
                f"the newest is {newest.name}, and in the end the incident at {account.target} is {account.state}: "
                f"{account.taken_in}"
            )

    # --- the shared things, each content once ---

    def _table(self, items: Mapping[str, Item]) -> Table:
        key = tuple(sorted((identity, _content(item)) for identity, item in items.items()))
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(items, {identity: plain(item) for identity, item in items.items()})
        return table

    def _account(
        self,
        target: str,
        history: tuple[bytes, ...],
        incidents: tuple[tuple[str, str], ...],
        taken_in: tuple[str, ...],
    ) -> Account:
        return self._accounts.setdefault((target, incidents, taken_in), Account(target, history, incidents, taken_in))

    def _ask(self, table: Table, step: Step, outcome: Outcome) -> tuple[Table, Any, Any]:
        """Return the table after a call, what the call returns or raises, and what tells that from another."""
        key = (table, step, outcome)
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = self._ask_anew(table, step, outcome)
        return found

    def _ask_anew(self, table: Table, step: Step, outcome: Outcome) -> tuple[Table, Any, Any]:
        if outcome is Outcome.DOWN:
            return table, _NO_ANSWER, None
        dynamodb = FakeDynamoDB()
        dynamodb.tables = {TABLE: dict(table.items)}
        gives, content = _call(dynamodb, step)
        if outcome is Outcome.TWICE:
            gives, content = _call(dynamodb, step)
        after = self._table(dynamodb.tables[TABLE])
        return (after, _NO_ANSWER, None) if outcome is Outcome.LOST else (after, gives, content)

    def _put(self, run: Run[Work], step: Step) -> tuple[Any, str]:
        """Return what a call of SQS returns, and the record that comes back if it was of the retry queue."""
        found = self._queued.get(run)
        if found is None:
            sqs = FakeSQS()
            gives = sqs.send_message(**step.arguments)
            found = self._queued[run] = gives, "".join(json.dumps(message.as_record()) for message in sqs.retries)
        return found

    def _receive(self, account: Account, step: Step, outcome: Outcome, name: str) -> tuple[Account, Answer]:
        key = (account, step, outcome)
        found = self._received.get(key)
        if found is None:
            pagerduty = PagerDuty(Clock())
            for body in account.history:
                pagerduty.handle("POST", "/v2/enqueue", body)
            if fault := _BEHAVIOUR[outcome]:
                pagerduty.set_faults(fault)
            answer = pagerduty.handle(**step.arguments)
            if pagerduty.requests[-1].accepted:
                opened_by = [opener for _, opener in account.incidents] + [name]
                states = [str(incident.state) for incident in pagerduty.incidents]
                history = (*account.history, step.arguments["body"])
                incidents = tuple(zip(states, opened_by, strict=False))
                taken_in = (*account.taken_in, name)
                account = self._account(account.target, history, incidents, taken_in)
            found = self._received[key] = account, answer
        return found


def _name(run: Run[Work]) -> str:
    return run.work.seen.name if isinstance(run.work, Message) else "drainer"


def _call(dynamodb: FakeDynamoDB, step: Step) -> tuple[Any, Any]:
    """Return what a call returns or raises, and its content."""
    try:
        given = getattr(dynamodb, step.operation)(**step.arguments)
    except ClientError as error:
        return error, ("refused", _content(cast(Any, error.response).get("Item", {})))
    found = given.get("Responses", {}).get(TABLE, [])
    return given, ("done", tuple(sorted(_content(item) for item in found)))


def _content(item: Item) -> tuple[Any, ...]:
    return tuple(
        sorted(
            (name, kind, tuple(sorted(value)) if kind == "SS" else value)
            for name, typed in item.items()
            for kind, value in typed.items()
        )
    )


def _set_item_back(item: Item, passed: int) -> Item:
    """Return a record as it was so many seconds earlier; of what is over, it does not matter when it ended."""
    back = {name: dict(value) for name, value in item.items()}
    for name in ("lease_until", "delivered_at", "waiting_since", "failing_since", "summary_sent_at"):
        if name in back:
            back[name] = {"N": str(max(NOW_MS, int(back[name]["N"]) - passed * 1000))}
    if int(back.get("lease_until", {"N": "0"})["N"]) <= NOW_MS:
        back.pop("lease_until", None)
        back.pop("owner", None)
    if "expires_at" in back:
        left = int(back["expires_at"]["N"]) - passed - round(NOW)
        back["expires_at"] = {"N": str(round(NOW) + (left if left <= 0 else FAR_SECONDS))}
    if "waiting_order" in back:
        order, _, due = back["waiting_order"]["S"].partition("#")
        back["waiting_order"] = {"S": f"{order}#{max(NOW_MS, int(due) - passed * 1000):013d}"}
    if "rev" in back:
        back["rev"] = {"N": "1"}
    return back


def _version(record: Mapping[str, Any]) -> tuple[int, int]:
    """Return the minute and the rank of a record's observation, as `Seen` has them."""
    if not record:
        return (-1, -1)
    ranks = {"firing": 0, "acknowledged": 1, "resolved": 2}
    return int(record["observed_at"][14:16]) - 15, ranks[record["status"]]


def _spend(spent: Spent, outcome: Outcome) -> Spent:
    if outcome is Outcome.DONE:
        return spent
    is_loose = outcome in (Outcome.DOWN, Outcome.LOST)
    excuses = 2 if is_loose else 1 if outcome is Outcome.UNANSWERED else 0
    return spent._replace(faults=spent.faults + 1, excuses=spent.excuses + excuses, loose=spent.loose + is_loose)


def _told_change(step: Step, before: Table, after: Table) -> str:
    if step.operation != "put_item":
        return "reads the records"
    identity = step.arguments["Item"]["id"]["S"]
    old, new = before.records.get(identity, {}), after.records.get(identity, {})
    changed = [f"{name}={new.get(name)}" for name in _SHOWN if old.get(name) != new.get(name)]
    if after is before:
        return "writes in vain"
    return f"writes {', '.join(changed) or 'nothing to see'}"


def _told(report: Report) -> str:
    reason = getattr(report.result, "reason", None)
    return report.outcome + (f" ({reason})" if reason else "")
