"""Judges a run of a fleet: compares what PagerDuty received with the alerts' histories, in order of publishing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from local.simulator.incidents import mask
from local.simulator.pagerduty import Request
from tests.lab.dynamodb import TABLE, plain
from tests.lab.fleet import Fleet, Sent
from tests.lab.histories import Change, History, number_of

IN_FLIGHT_SECONDS = 1.0
"""A trigger that was under way already when its alert's end was published is not stale."""


@dataclass(frozen=True)
class Taken:
    """A request as PagerDuty answered it."""

    sent: Sent
    request: Request

    @property
    def at(self) -> float:
        """When, in seconds after the beginning."""
        return self.sent.at


class Audit:
    """The result of a run."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        pairs = zip(fleet.sent, fleet.pagerduty.requests, strict=True)
        self.requests = [Taken(sent, request) for sent, request in pairs]

    @cached_property
    def accepted(self) -> list[Taken]:
        """The requests that PagerDuty accepted."""
        return [taken for taken in self.requests if taken.request.accepted]

    @cached_property
    def histories(self) -> Mapping[str, History]:
        """The alerts by fingerprint."""
        return {history.fingerprint: history for history in self.fleet.histories}

    @property
    def refused(self) -> int:
        """The number of answers with status 429."""
        return sum(taken.request.status == 429 for taken in self.requests)

    @property
    def peak(self) -> int:
        """The most requests in a rolling minute."""
        return max(self.fleet.pagerduty.peak.values(), default=0)

    # --- late ---

    @cached_property
    def _first_accepted(self) -> Mapping[tuple[str, int], float]:
        first: dict[tuple[str, int], float] = {}
        for taken in self.accepted:
            if taken.sent.number is not None:
                first.setdefault((taken.sent.fingerprint, taken.sent.number), taken.at)
        return first

    def trigger_wait(self, history: History, number: int) -> float:
        """Return how long a trigger took from publishing to acceptance; infinite where it never was accepted."""
        at = self._first_accepted.get((history.fingerprint, number), float("inf"))
        return at - history.changes[number].at

    def waits(self, *, critical: bool | None = None) -> list[float]:
        """Return how long each alert's first trigger took, of those that were accepted or still fire."""
        found = []
        for history in self.fleet.histories:
            if critical is None or history.is_critical is critical:
                wait = self.trigger_wait(history, 0)
                if wait < float("inf") or history.changes[-1].status == "firing":
                    found.append(wait)
        return found

    def resolve_waits(self) -> list[float]:
        """Return how long each alert's last resolve took, where its trigger had been accepted."""
        found = []
        for history in self.fleet.histories:
            last = history.changes[-1]
            opened = [taken for taken in self.accepted_of(history) if taken.sent.action == "trigger"]
            if last.status == "resolved" and opened:
                closed = [
                    t.at for t in self.accepted_of(history) if t.sent.action == "resolve" and t.at >= opened[-1].at
                ]
                found.append(min(closed, default=float("inf")) - last.at)
        return found

    @cached_property
    def _accepted_of(self) -> Mapping[str, list[Taken]]:
        found: dict[str, list[Taken]] = {history.fingerprint: [] for history in self.fleet.histories}
        for taken in self.accepted:
            found.setdefault(taken.sent.fingerprint, []).append(taken)
        return found

    def accepted_of(self, history: History) -> list[Taken]:
        """Return the requests for one alert that PagerDuty accepted."""
        return self._accepted_of[history.fingerprint]

    @property
    def critical_latency(self) -> float:
        """The longest that a critical's first trigger took."""
        return max(self.waits(critical=True), default=0.0)

    @property
    def firing_accepted_at(self) -> float:
        """When every alert that fires to the end had been accepted."""
        return max(
            (
                history.changes[-1].at + self.trigger_wait(history, len(history.changes) - 1)
                for history in self.fleet.histories
                if history.changes[-1].status == "firing"
            ),
            default=0.0,
        )

    @property
    def drained_at(self) -> float:
        """When the last request was accepted."""
        return max((taken.at for taken in self.accepted), default=0.0)

    # --- lost and wrong ---

    @cached_property
    def dead(self) -> set[str]:
        """The fingerprints of what is among the dead letters."""
        found = {number_of(letter) for letter in self.fleet.dead_letters}
        return {each[0] for each in found if each}

    @property
    def lost(self) -> list[str]:
        """Alerts that ended neither at PagerDuty nor among the dead letters, and change events never accepted."""
        wrong = [what for what in self.wrong_at_the_end if what.split(":")[0] not in self.dead]
        for history in self.fleet.histories:
            if history.is_change_event and history.fingerprint not in self.dead:
                numbers = {taken.sent.number for taken in self.accepted_of(history)}
                sent_at = {change.at for number, change in enumerate(history.changes) if number in numbers}
                missing = {change.at for change in history.changes} - sent_at
                if missing:
                    wrong.append(f"{history.fingerprint}: occurrences at {sorted(missing)} were never sent")
        return wrong

    @cached_property
    def states(self) -> Mapping[str, str]:
        """The state of the latest incident of each dedup key."""
        return {incident.dedup_key: str(incident.state) for incident in self.fleet.pagerduty.incidents}

    @cached_property
    def _states(self) -> Mapping[str, Mapping[str, str | None]]:
        """The state of the latest incident of each dedup key, by routing key; revoked ones do not count."""
        found: dict[str, dict[str, str | None]] = {}
        revoked = {mask(key) for key in self.fleet.revoked}
        for incident in self.fleet.pagerduty.incidents:
            if incident.routing_key not in revoked:
                found.setdefault(incident.dedup_key, {})[incident.routing_key] = str(incident.state)
        for incident in self.fleet.pagerduty.incidents:
            found.setdefault(incident.dedup_key, {incident.routing_key: str(incident.state)})
        return found

    @property
    def wrong_at_the_end(self) -> list[str]:
        """Alerts whose incident is not in the state of what was published last; ties may end either way."""
        by_hand = {key for _, key in self.fleet.misfortune.persons}
        wrong = []
        for history in self.fleet.histories:
            if history.is_change_event:
                continue
            right = self._right_at_the_end(history)
            if history.fingerprint in by_hand:
                right |= {False}
            states = self._states.get(history.fingerprint, {"": None})
            for state in states.values():
                is_open = state is not None and state != "resolved"
                if is_open not in right:
                    newest = history.changes[-1]
                    wrong.append(f"{history.fingerprint}: {newest.status} at {newest.at}, at PagerDuty {state}")
        return wrong

    def _right_at_the_end(self, history: History) -> set[bool]:
        """Return whether the incident may be open at the end; an acknowledge changes nothing about that."""
        telling = [change for change in history.changes if change.status != "acknowledged"]
        if not telling:
            return {True, False}
        newest = history.changes[-1]
        tied = [change for change in telling if history.tie(change, telling[-1]) or history.tie(change, newest)]
        return {_leaves_open(change) for change in (telling[-1], *tied)}

    @property
    def stale(self) -> list[Taken]:
        """Triggers that opened an incident although their alert's end had been published a moment before or earlier."""
        return [
            taken
            for taken in self.accepted
            if taken.sent.action == "trigger"
            and taken.sent.number is not None
            and any(
                change.status == "resolved" and taken.at > change.at + min(change.delays) + IN_FLIGHT_SECONDS
                for change in self._later(taken)
            )
        ]

    def _later(self, taken: Taken) -> list[Change]:
        history = self.histories[taken.sent.fingerprint]
        assert taken.sent.number is not None
        mine = history.changes[taken.sent.number]
        return [change for change in history.changes[taken.sent.number + 1 :] if not history.tie(change, mine)]

    @property
    def disorder(self) -> list[str]:
        """Requests that PagerDuty accepted after what was published later: stale triggers and stale resolves."""
        wrong = []
        for history in self.fleet.histories:
            newest = -1
            resolved_after = -1
            for taken in self.accepted_of(history):
                number = taken.sent.number
                if taken.sent.action == "trigger" and number is not None:
                    if number < newest and not self._tied(history, number, newest):
                        wrong.append(f"{history.fingerprint}: trigger {number} after trigger {newest}")
                    if number < resolved_after and not self._tied(history, number, resolved_after):
                        wrong.append(f"{history.fingerprint}: trigger {number} after resolve {resolved_after}")
                    newest = max(newest, number)
                elif taken.sent.action == "resolve":
                    ended = [
                        index
                        for index, change in enumerate(history.changes)
                        if change.status == "resolved" and change.at <= taken.at
                    ]
                    fitting = [index for index in ended if index > newest or self._tied(history, index, newest)]
                    if not fitting and newest >= 0:
                        wrong.append(f"{history.fingerprint}: a resolve of before trigger {newest} after it")
                    elif fitting:
                        resolved_after = max(resolved_after, fitting[0])
        return wrong

    def _tied(self, history: History, one: int, other: int) -> bool:
        return history.tie(history.changes[one], history.changes[other])

    @property
    def repeated_changes(self) -> list[str]:
        """Occurrences of change events that were accepted more than once."""
        counts = Counter(
            (taken.sent.fingerprint, taken.sent.number) for taken in self.accepted if taken.sent.action == "change"
        )
        return [f"{fingerprint} {number}" for (fingerprint, number), times in counts.items() if times > 1]

    @property
    def left_over(self) -> list[str]:
        """Records that wait, or that have an owner, after everything has ended."""
        now = self.fleet.timeline.now * 1000
        items = self.fleet.dynamodb.tables[TABLE]
        return [
            identity
            for identity, item in items.items()
            if "waiting" in item or ("owner" in item and plain(item).get("lease_until", 0) > now)
        ]

    @property
    def left_open(self) -> int:
        """Incidents that are open though their alert has ended."""
        return sum(": resolved" in wrong for wrong in self.wrong_at_the_end)

    @property
    def requests_per_accepted(self) -> float:
        """1 is best."""
        return len(self.requests) / max(1, len(self.accepted))

    def __str__(self) -> str:
        """Return a summary in one line."""
        fleet = self.fleet
        return (
            f"{len(fleet.histories)} alerts, {fleet.invocations} invocations, chains of {fleet.deepest}, "
            f"{len(self.requests)} requests, {len(self.accepted)} accepted, {self.refused} x 429, "
            f"{fleet.writes} writes ({fleet.throttles} throttled), peak {self.peak}, "
            f"criticals {self.critical_latency:.2f} s, worst {max(self.waits(), default=0.0):.1f} s, "
            f"firing accepted at {self.firing_accepted_at:.1f} s, drained at {self.drained_at:.1f} s, "
            f"{fleet.deaths} deaths, {fleet.timeouts} timeouts, {len(fleet.dead_letters)} dead letters, "
            f"{fleet.seconds:.0f} s in all"
        )


def _leaves_open(change: Change) -> bool:
    return change.status != "resolved"


LONGEST_CHAIN = 15
"""Lambda stops a chain of Lambda and SQS after about 16 invocations."""


def assert_right(audit: Audit, *, dead_letters: int = 0) -> None:
    """Hold what has to hold whatever goes wrong."""
    fleet = audit.fleet
    assert fleet.unexpected == []
    assert fleet.is_quiet
    assert audit.left_over == []
    assert audit.lost == []
    assert audit.disorder == []
    assert audit.repeated_changes == []
    assert len(fleet.dead_letters) == dead_letters
    assert audit.peak <= fleet.limit.requests
    assert fleet.deepest <= LONGEST_CHAIN


def assert_calm(audit: Audit, *, criticals: float = 2.0) -> None:
    """Hold what has to hold besides where nothing fails."""
    assert_right(audit)
    assert audit.refused == 0
    assert audit.requests_per_accepted == 1
    assert audit.stale == []
    assert audit.left_open == 0
    assert audit.critical_latency < criticals


def assert_never_lost_and_never_wrong(audit: Audit) -> None:
    """Hold the promises for whatever is not among the dead letters."""
    fleet = audit.fleet
    assert fleet.unexpected == []
    assert fleet.is_quiet
    assert audit.left_over == []
    assert audit.lost == []
    # PagerDuty does not fold change events: one whose answer was lost, or that had no record, may come twice
    fails = fleet.misfortune.pagerduty or fleet.misfortune.table or fleet.misfortune.table_hangs
    assert audit.repeated_changes == [] or fleet.deaths or fails


def run(fleet: Fleet, seconds: float = 86400.0) -> Audit:
    """Run a fleet and return the result."""
    fleet.run(seconds)
    audit = Audit(fleet)
    print(audit)
    return audit


__all__ = ["Audit", "Taken", "assert_calm", "assert_never_lost_and_never_wrong", "assert_right", "run"]
