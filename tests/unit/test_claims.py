"""The decision about an observation: properties over an exhaustive grid of records, and any order of arrival."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import Status
from handler.delivery.claims import SKIPS, Decision, Verdict, decide
from handler.delivery.record import Observation, Order, Record, Waiting, compare
from handler.delivery.transitions import arrive, claim_waiting, settle

NOW = 1_795_405_200_000
REPEAT_AFTER = 300_000
T = NOW - 60_000
"""A whole second."""
CRITICAL, ERROR, WARNING = 3, 2, 1
FIRING, ACKNOWLEDGED, RESOLVED = Status.FIRING, Status.ACKNOWLEDGED, Status.RESOLVED

AGES = {
    "older by a minute": (-1, T, T - 60_000),
    "older by a second": (-1, T + 250, T - 750),
    "older by 1.5 s of whole seconds": (-1, T, T - 1500),
    "a tie before": (0, T + 250, T - 749),
    "a tie of whole seconds before": (0, T, T - 1499),
    "the same": (0, T, T),
    "a tie after": (0, T + 250, T + 1249),
    "a tie of whole seconds after": (0, T, T + 1499),
    "newer by a second": (1, T + 250, T + 1250),
    "newer by 1.5 s of whole seconds": (1, T, T + 1500),
    "newer by a minute": (1, T, T + 60_000),
}
"""By name: which is newer, the record's time and the observation's."""


def seen(status: Status = FIRING, **fields: object) -> Observation:
    values: dict[str, object] = {"at": T, "message_id": "m-new", "urgency": ERROR, "summary": "same", **fields}
    return Observation(identity="production#f-1", status=status, **values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Case:
    """A record, what is observed, and what is decided."""

    name: str
    sign: int
    record: Record
    seen: Observation
    decision: Decision

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict

    @property
    def is_known(self) -> bool:
        return self.seen.message_id == self.record.message_ids.get(self.seen.status)

    @property
    def is_sent(self) -> bool:
        """Whether it is sent now or later, as an observation of its own."""
        return self.verdict in (Verdict.CLAIM, Verdict.WAIT)

    @property
    def is_unheard(self) -> bool:
        """A trigger of which PagerDuty has not heard, behind an acknowledgement that overtook it."""
        return self.seen.status is FIRING and self.record.status is ACKNOWLEDGED and not self.record.triggered


HOLDS: dict[str, dict[str, object]] = {
    "idle": {},
    "waiting": {"waiting": Waiting(Order.TRIGGER, NOW - 50_000), "waiting_since": NOW - 50_000, "body": b"x"},
    "waiting for a repeat": {"waiting": Waiting(Order.REPEAT, NOW + 50_000), "body": b"x"},
    "leased": {"owner": "other", "lease_until": NOW + 1},
    "lease over": {"owner": "other", "lease_until": NOW},
    "paused": {"lease_until": NOW + 1, "waiting": Waiting(Order.TRIGGER, NOW - 50_000), "body": b"x"},
}


def records(status: Status, at: int) -> Iterator[tuple[str, Record]]:
    """All records of a status, with where they stand."""
    for hold, delivered_at in product(HOLDS, (None, NOW - REPEAT_AFTER, NOW - REPEAT_AFTER + 1)):
        if delivered_at is not None and "waiting" in HOLDS[hold]:
            continue  # what waits is not delivered
        for is_open, triggered, ids in product((True, False), (True, False), ({}, dict.fromkeys(Status, "m-known"))):
            for sent_at in (None, NOW - 1000) if status is FIRING else (None,):
                name = f"{status} {hold} delivered={delivered_at} open={is_open} triggered={triggered} {ids}"
                yield (
                    name,
                    Record(
                        status=status,
                        at=at,
                        rev=1,
                        open=is_open,
                        triggered=triggered,
                        delivered_at=delivered_at,
                        message_ids=ids,
                        urgency=ERROR,
                        summary="same",
                        summary_sent_at=sent_at,
                        **HOLDS[hold],  # type: ignore[arg-type]
                    ),
                )


def cases() -> Iterator[Case]:
    for (age, (sign, record_at, at)), status in product(AGES.items(), Status):
        for name, record in records(status, record_at):
            for incoming, message_id in product(Status, ("m-new", "m-known", "")):
                urgencies = (WARNING, ERROR, CRITICAL) if incoming is FIRING else (0,)
                summaries = ("same", "changed") if incoming is FIRING else ("",)
                for urgency, summary in product(urgencies, summaries):
                    new = seen(incoming, at=at, message_id=message_id, urgency=urgency, summary=summary)
                    shown = f"{incoming} {message_id} {urgency} {summary}, {age}, on {name}"
                    yield Case(shown, sign, record, new, decide(new, record, NOW, REPEAT_AFTER))


GRID = list(cases())


def check(condition: Callable[[Case], bool], claim_: Callable[[Case], bool]) -> None:
    """Fail for the first case that meets the condition and not the claim; there has to be one that meets it."""
    held = [case for case in GRID if condition(case)]
    assert len(held) > 10
    for case in held:
        assert claim_(case), f"{case.name}: {case.decision}"


def test_the_grid_is_what_it_says() -> None:
    """Every age compares as its name says, in both directions, and the grid is not small."""
    for name, (sign, record_at, at) in AGES.items():
        assert (compare(at, record_at), compare(record_at, at)) == (sign, -sign), name
    assert len(GRID) > 50_000
    assert {case.verdict for case in GRID} == set(Verdict)


def test_nothing_published_later_is_superseded() -> None:
    """A newer firing or resolve is sent, waits, or is a duplicate; an end is skipped only where nothing was sent."""
    check(
        lambda case: case.sign > 0 and case.seen.status is not ACKNOWLEDGED and not case.is_known,
        lambda case: case.verdict is not Verdict.SUPERSEDED,
    )


def test_a_firing_published_after_an_end_or_an_acknowledgement_pages() -> None:
    """It is sent or waits, whatever else the record says."""
    check(
        lambda case: case.sign > 0 and case.seen.status is FIRING and case.record.status is not FIRING,
        lambda case: case.is_sent or (case.is_known and case.verdict is Verdict.SUPERSEDED),
    )


def test_what_was_published_earlier_changes_nothing() -> None:
    """Superseded or a duplicate.

    But for a trigger of which nobody has heard, and the end of what is acknowledged.
    """
    check(
        lambda case: case.sign < 0 and not case.is_unheard and not is_late_end(case),
        lambda case: case.verdict in (Verdict.SUPERSEDED, Verdict.DUPLICATE),
    )


def is_late_end(case: Case) -> bool:
    """Whether an end comes after an acknowledgement that was published later."""
    return case.seen.status is RESOLVED and case.record.status is ACKNOWLEDGED and not case.is_known


def test_an_end_is_not_hidden_by_an_acknowledgement_that_was_published_later() -> None:
    """It is sent, unless the alert has fired since."""
    check(is_late_end, lambda case: case.is_sent)
    acknowledged = Record(status=ACKNOWLEDGED, at=T + 20_000, fired_at=T + 10_000, delivered_at=NOW, rev=1)
    assert decide(seen(RESOLVED, at=T), acknowledged, NOW, REPEAT_AFTER).verdict is Verdict.SUPERSEDED
    assert decide(seen(RESOLVED, at=T + 15_000), acknowledged, NOW, REPEAT_AFTER).verdict is Verdict.CLAIM


def test_an_acknowledgement_never_supersedes_a_resolve() -> None:
    """However new it is."""
    check(
        lambda case: case.seen.status is ACKNOWLEDGED and case.record.status is RESOLVED,
        lambda case: case.verdict is Verdict.SUPERSEDED,
    )


def is_newer_acknowledgement(case: Case) -> bool:
    """Whether it acknowledges a firing that has something left to be sent."""
    return (
        case.seen.status is ACKNOWLEDGED
        and case.record.status is FIRING
        and case.record.needs_delivery()
        and case.sign >= 0
        and not case.is_known
    )


def only_repeats(record: Record) -> bool:
    """Whether PagerDuty has heard of the trigger, and what waits is only told again."""
    return record.triggered and record.waiting is not None and record.waiting.order is Order.REPEAT


def test_an_acknowledgement_never_hides_an_unsent_trigger() -> None:
    """It follows the trigger, and does not take its place."""
    check(
        lambda case: is_newer_acknowledgement(case) and not only_repeats(case.record),
        lambda case: case.verdict is Verdict.FOLLOW,
    )


def test_an_acknowledgement_does_not_wait_for_a_repeat() -> None:
    """The trigger was accepted: it takes the place of a re-send, or of a changed summary."""
    check(
        lambda case: is_newer_acknowledgement(case) and only_repeats(case.record),
        lambda case: case.is_sent and case.decision.due is None,
    )


def test_a_trigger_that_an_acknowledgement_overtook_is_sent() -> None:
    """Whatever its age, and however often it comes."""
    check(lambda case: case.is_unheard, lambda case: case.is_sent)


def test_a_resolve_is_sent_unless_nothing_was() -> None:
    """Of a tie it is the newer one; it is skipped only where no trigger can have reached PagerDuty."""
    check(
        lambda case: (
            case.seen.status is RESOLVED and case.record.status is not RESOLVED and case.sign >= 0 and not case.is_known
        ),
        lambda case: (
            case.is_sent
            or (
                case.verdict is Verdict.NEVER_OPENED
                and case.record.needs_delivery()
                and not case.record.open
                and not case.record.is_leased(NOW)
            )
        ),
    )


def test_of_a_tie_a_resolve_is_newer_unless_it_is_settled() -> None:
    """A firing that ties with a resolve is superseded while that is unsent, and pages after it."""
    check(
        lambda case: case.sign == 0 and (case.seen.status, case.record.status) == (FIRING, RESOLVED),
        lambda case: (
            case.is_sent
            if case.record.delivered_at is not None and not case.is_known
            else case.verdict is Verdict.SUPERSEDED
        ),
    )


def test_entries_of_one_batch_are_in_the_order_of_an_alert_s_life() -> None:
    """A firing in the message that brought the resolve does not page, settled or not."""
    record = Record(status=RESOLVED, at=T, delivered_at=NOW, message_ids={RESOLVED: "batch"})
    assert decide(seen(message_id="batch"), record, NOW, REPEAT_AFTER).verdict is Verdict.SUPERSEDED


def test_of_a_tie_an_acknowledgement_is_newer_than_its_trigger() -> None:
    """A firing that ties with the acknowledgement of a trigger that was accepted is superseded."""
    check(
        lambda case: (
            case.sign == 0
            and (case.seen.status, case.record.status) == (FIRING, ACKNOWLEDGED)
            and case.record.triggered
        ),
        lambda case: case.verdict is Verdict.SUPERSEDED,
    )


def test_a_redelivery_is_never_sent_again() -> None:
    """A message that was seen for its state is skipped after any later state, whatever its time."""
    check(
        lambda case: case.is_known and case.record.delivered_at is not None and not case.is_unheard,
        lambda case: case.verdict in (Verdict.DUPLICATE, Verdict.SUPERSEDED),
    )
    check(
        lambda case: case.is_known and case.seen.status is not case.record.status and not case.is_unheard,
        lambda case: case.verdict is Verdict.SUPERSEDED,
    )


def test_a_redelivery_of_what_was_never_accepted_is_not_skipped() -> None:
    """Its sender may have died: it is sent, or waits, or waits already."""
    check(
        lambda case: (
            case.is_known and case.seen.status is case.record.status and case.sign >= 0 and case.record.needs_delivery()
        ),
        lambda case: case.is_sent or (case.verdict is Verdict.REFRESH and case.record.waiting is not None),
    )


def test_a_lease_that_is_over_is_taken() -> None:
    """A crashed sender holds back nothing that has to be sent."""
    check(
        lambda case: case.record.lease_until == NOW and case.record.waiting is None and case.is_sent,
        lambda case: case.verdict is Verdict.CLAIM or case.decision.due is not None,
    )


def test_nobody_sends_while_another_does() -> None:
    """A live lease, or a pause after a failure, is respected."""
    check(lambda case: case.record.is_leased(NOW), lambda case: case.verdict is not Verdict.CLAIM)


def test_only_a_critical_trigger_passes_what_waits() -> None:
    """Anything else takes the place of what waits, and keeps it."""
    check(
        lambda case: case.record.waiting is not None and case.verdict is Verdict.CLAIM,
        lambda case: case.decision.order is Order.CRITICAL,
    )


def is_same_again(case: Case) -> bool:
    return (
        case.seen.status is case.record.status
        and case.record.delivered_at is not None
        and case.seen.summary in ("same", "")
        and case.seen.urgency <= case.record.urgency
    )


def test_the_same_again_is_a_duplicate_for_a_while() -> None:
    """Counted from the last delivery, even where it was published later."""
    check(
        lambda case: is_same_again(case) and case.record.delivered_at == NOW - REPEAT_AFTER + 1,
        lambda case: case.verdict is Verdict.DUPLICATE,
    )


def test_the_same_again_is_repeated_after_a_while() -> None:
    """Behind everything else."""
    check(
        lambda case: (
            is_same_again(case)
            and case.record.delivered_at == NOW - REPEAT_AFTER
            and case.sign > 0
            and not case.is_known
        ),
        lambda case: case.is_sent and case.decision.order is Order.REPEAT and case.decision.due is None,
    )


def test_the_same_again_of_the_same_moment_is_never_repeated() -> None:
    """It is late, on another path: it must not open again what a person has resolved meanwhile."""
    check(
        lambda case: is_same_again(case) and case.record.delivered_at == NOW - REPEAT_AFTER and case.sign == 0,
        lambda case: case.verdict is Verdict.DUPLICATE,
    )


def is_raised(case: Case) -> bool:
    return (
        case.seen.status is FIRING
        and case.record.status is FIRING
        and case.seen.urgency > case.record.urgency
        and case.sign >= 0
    )


def test_a_raised_severity_is_sent_at_once() -> None:
    """Within the repeat interval too, in the order of its new severity."""
    check(
        lambda case: is_raised(case) and case.record.delivered_at is not None and not case.is_known,
        lambda case: case.is_sent and case.decision.order is Order.CRITICAL and case.decision.due is None,
    )


def test_a_raised_severity_moves_what_waits_up() -> None:
    """A trigger that became critical while it waited does not wait any longer."""
    check(
        lambda case: is_raised(case) and case.record.waiting is not None and not case.record.is_leased(NOW),
        lambda case: case.verdict is Verdict.CLAIM,
    )
    waiting = Record(status=FIRING, at=T, urgency=WARNING, **HOLDS["waiting for a repeat"])  # type: ignore[arg-type]
    decision = decide(seen(urgency=ERROR), waiting, NOW, REPEAT_AFTER)
    assert (decision.verdict, decision.order) == (Verdict.REFRESH, Order.TRIGGER)


def test_a_lowered_severity_is_no_news() -> None:
    """It does not page again within the repeat interval."""
    check(
        lambda case: (
            is_same_again(case) and case.seen.urgency == WARNING and case.record.delivered_at == NOW - REPEAT_AFTER + 1
        ),
        lambda case: case.verdict is Verdict.DUPLICATE,
    )


def test_a_changed_summary_is_sent_once_in_the_repeat_interval() -> None:
    """Behind everything else; the next one waits until the interval since the last one is over."""
    check(
        lambda case: (
            case.seen.summary == "changed"
            and case.record.status is FIRING
            and case.record.delivered_at is not None
            and case.seen.urgency <= case.record.urgency
            and case.sign >= 0
            and not case.is_known
        ),
        lambda case: (
            case.decision.order is Order.REPEAT
            and case.is_sent
            and case.decision.due
            == (None if case.record.summary_sent_at is None else case.record.summary_sent_at + REPEAT_AFTER)
            and (case.decision.due is None or case.verdict is Verdict.WAIT)
        ),
    )


def test_what_waits_takes_in_the_same_state() -> None:
    """A re-send of what waits neither adds a delivery nor loses its place."""
    check(
        lambda case: (
            case.record.waiting is not None
            and not case.record.is_leased(NOW)
            and case.seen.status is case.record.status
            and case.sign >= 0
            and not is_raised(case)
        ),
        lambda case: (
            case.verdict is Verdict.REFRESH
            and case.record.waiting is not None
            and case.decision.order is case.record.waiting.order
        ),
    )


def test_whatever_is_not_sent_has_a_reason() -> None:
    """Every verdict is a way to be delivered, or a skip with a reason for the metric."""
    delivered = {Verdict.CLAIM, Verdict.WAIT, Verdict.FOLLOW}
    assert delivered | SKIPS.keys() == set(Verdict)


@pytest.mark.parametrize("hold", HOLDS)
def test_a_change_event_is_sent_once(hold: str) -> None:
    """However often it comes, however late, and whatever its status says."""
    for delivered, status, at in product((None, 1), Status, (T - 86_400_000, T, T + 86_400_000)):
        if delivered is not None and "waiting" in HOLDS[hold]:
            continue
        record = Record(status=FIRING, at=T, delivered_at=delivered, **HOLDS[hold])  # type: ignore[arg-type]
        decision = decide(seen(status, at=at, is_change=True), record, NOW, REPEAT_AFTER)
        if delivered is not None or record.waiting:
            expected = Verdict.DUPLICATE
        else:
            expected = Verdict.WAIT if record.is_leased(NOW) else Verdict.CLAIM
        assert (decision.verdict, decision.order) == (expected, Order.FOLLOWING)


def test_an_expired_record_counts_as_absent() -> None:
    """To the millisecond: from its end on anything is claimed, whatever the record says."""
    for (_, record), status in product(records(RESOLVED, T + 1_000_000), Status):
        for is_change in (True, False):
            new = seen(status, message_id="m-known", is_change=is_change)
            expired = decide(new, replace(record, expires_at=NOW), NOW, REPEAT_AFTER)
            assert expired == decide(new, None, NOW, REPEAT_AFTER) == Decision(Verdict.CLAIM, new.order)
            alive = decide(new, replace(record, expires_at=NOW + 1), NOW, REPEAT_AFTER)
            assert alive == decide(new, record, NOW, REPEAT_AFTER)


@pytest.mark.parametrize(
    ("observation", "order"),
    [
        (seen(urgency=CRITICAL), Order.CRITICAL),
        (seen(urgency=ERROR), Order.TRIGGER),
        (seen(urgency=0), Order.TRIGGER),
        (seen(RESOLVED, urgency=CRITICAL), Order.FOLLOWING),
        (seen(ACKNOWLEDGED), Order.FOLLOWING),
        (seen(urgency=CRITICAL, is_change=True), Order.FOLLOWING),
    ],
)
def test_the_order_of_what_waits(observation: Observation, order: Order) -> None:
    """Critical triggers, triggers, then what follows them."""
    assert observation.order is order


MAYBE: st.SearchStrategy[Any] = st.booleans()


# --- any order of arrival ---------------------------------------------------------------------------------------------


class OneAlert:
    """An alert at one target: its record, its incident, and what has been carried here but not delivered."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.is_open = False
        self.is_acknowledged = False
        self.sending: list[Observation] = []
        self.owners = 0

    def arrive(self, new: Observation) -> None:
        """Decide, and write that into the record."""
        decision = decide(new, self.record, NOW, REPEAT_AFTER)
        self.owners += 1
        self.record = arrive(
            self.record, new, decision, owner=str(self.owners), now=NOW, lease_until=NOW + 1, pack=lambda: b"x"
        )
        if decision.verdict is Verdict.CLAIM:
            self.sending.append(new)

    def accept(self) -> None:
        """PagerDuty accepts what is being sent, and the record is told."""
        new = self.sending.pop()
        match new.status:
            case Status.FIRING:
                self.is_acknowledged = self.is_acknowledged and self.is_open
                self.is_open = True
            case Status.ACKNOWLEDGED:
                self.is_acknowledged = self.is_open
            case Status.RESOLVED:
                self.is_open = self.is_acknowledged = False
        assert self.record is not None
        self.record = settle(self.record, new, NOW, body=b"x")

    def drain(self) -> None:
        """Send what waits until nothing does."""
        while self.record and self.record.waiting:
            self.owners += 1
            self.record = claim_waiting(self.record, owner=str(self.owners), lease_until=NOW + 1)
            new = Observation(
                identity="production#f-1",
                status=self.record.status,
                at=self.record.at,
                urgency=self.record.urgency,
                summary=self.record.summary,
            )
            self.sending.append(new)
            self.accept()


@given(
    changes=st.lists(st.sampled_from([FIRING, RESOLVED]), min_size=1, max_size=5),
    data=st.data(),
)
def test_whatever_the_order_of_arrival_the_newest_state_wins(changes: list[Status], data: st.DataObject) -> None:
    """Every message comes once or twice, in any order, before or after others were accepted."""
    observations = [
        seen(status, at=T + 2000 * number, message_id=f"m-{number}") for number, status in enumerate(changes)
    ]
    twice = data.draw(st.lists(st.sampled_from(observations), max_size=3))
    arrivals = data.draw(st.permutations([*observations, *twice]))
    alert = OneAlert()
    for observation in arrivals:
        alert.arrive(observation)
        while alert.sending and data.draw(MAYBE):
            alert.accept()
        if not alert.sending and data.draw(MAYBE):
            alert.drain()
    while alert.sending:
        alert.accept()
    alert.drain()
    assert alert.is_open is (changes[-1] is FIRING)


@given(data=st.data())
def test_whatever_the_order_of_arrival_an_acknowledged_trigger_is_acknowledged(data: st.DataObject) -> None:
    """Trigger and acknowledgement in either order and tied or not: one incident, acknowledged."""
    apart = data.draw(st.sampled_from([0, 500, 2000]))
    observations = [seen(at=T, message_id="m-1"), seen(ACKNOWLEDGED, at=T + apart, message_id="m-2")]
    alert = OneAlert()
    for observation in data.draw(st.permutations([*observations, *data.draw(st.lists(st.sampled_from(observations)))])):
        alert.arrive(observation)
        while alert.sending and data.draw(MAYBE):
            alert.accept()
    while alert.sending:
        alert.accept()
    alert.drain()
    assert (alert.is_open, alert.is_acknowledged) == (True, True)
