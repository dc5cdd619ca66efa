"""How a record changes: who is in the index, how long it is kept, and what follows what."""

from dataclasses import replace
from typing import Any

import pytest

from handler.alert import Status
from handler.delivery.record import (
    DAY_MS,
    OPEN_DAYS,
    RESOLVED_DAYS,
    Keeping,
    Observation,
    Order,
    Record,
    Waiting,
    compare,
)
from handler.delivery.transitions import (
    claim,
    claim_waiting,
    forget_waiting,
    never_opened,
    note,
    observe,
    reassert,
    refresh,
    release,
    settle,
    wait,
)

NOW = 1_795_405_200_000
T = NOW - 60_000
FIRING, ACKNOWLEDGED, RESOLVED = Status.FIRING, Status.ACKNOWLEDGED, Status.RESOLVED
BODY = b"the alert"


def seen(status: Status = FIRING, **fields: Any) -> Observation:
    values = {"at": T, "message_id": "m-1", **({"urgency": 2, "summary": "s"} if status is FIRING else {}), **fields}
    return Observation(identity="production#f-1", status=status, **values)


def claimed(record: Record | None = None, observation: Observation | None = None, owner: str = "me") -> Record:
    return claim(record, observation or seen(), owner=owner, now=NOW, lease_until=NOW + 57_000)


def waiting(observation: Observation | None = None, order: Order = Order.TRIGGER, **fields: Any) -> Record:
    """Return the record of a delivery that began to wait at NOW, for want of a permit."""
    record = release(
        claimed(observation=observation),
        was_open=False,
        attempted=False,
        now=NOW,
        waits=Waiting(order, NOW),
        body=BODY,
    )
    return replace(record, **fields)


def delivered(observation: Observation | None = None) -> Record:
    new = observation or seen()
    return settle(claimed(observation=new), new, NOW, body=BODY)


def is_in_index(record: Record) -> bool:
    """Whether it is in the index, and its body with it: never one without the other."""
    assert (record.waiting is None) is (record.body is None)
    return record.waiting is not None


# --- claim and settle -------------------------------------------------------------------------------------------------


def test_a_trigger_may_have_opened_an_incident_from_its_claim_on() -> None:
    """Before anything is sent: should the sender die, its resolve is sent."""
    record = claimed()
    assert (record.owner, record.lease_until, record.open, record.triggered) == ("me", NOW + 57_000, True, False)
    assert (record.status, record.at, record.delivered_at) == (FIRING, T, None)
    assert record.message_ids == {FIRING: "m-1"}


def test_an_incident_may_be_older_than_its_record() -> None:
    """The resolve of an unknown alert says nothing of what is open; that of a known one keeps what is known."""
    assert claimed(observation=seen(RESOLVED)).open
    assert not claimed(replace(delivered(), open=False), seen(RESOLVED)).open


def test_what_was_accepted_is_delivered() -> None:
    """Nobody sends any more, and an accepted trigger has opened an incident until an accepted resolve."""
    record = delivered()
    assert (record.owner, record.lease_until, record.delivered_at) == (None, 0, NOW)
    assert (record.open, record.triggered) == (True, True)
    acknowledged = settle(claimed(record, seen(ACKNOWLEDGED)), seen(ACKNOWLEDGED), NOW, body=BODY)
    assert (acknowledged.open, acknowledged.triggered) == (True, True)
    resolved = settle(claimed(record, seen(RESOLVED)), seen(RESOLVED), NOW, body=BODY)
    assert (resolved.open, resolved.triggered, resolved.delivered_at) == (False, False, NOW)


def test_ids_of_the_newest_of_each_state_are_kept() -> None:
    """A state does not forget the others' messages, and a message without an id changes none."""
    record = claimed(delivered(), seen(RESOLVED, message_id="m-2"))
    assert record.message_ids == {FIRING: "m-1", RESOLVED: "m-2"}
    assert claimed(record, seen(message_id="m-3")).message_ids == {FIRING: "m-3", RESOLVED: "m-2"}
    assert claimed(record, seen(message_id="")).message_ids == {FIRING: "m-1", RESOLVED: "m-2"}


def test_a_resolve_keeps_what_was_known_of_the_firing() -> None:
    """Its severity, its text and where it went."""
    record = claimed(delivered(seen(routed_to=frozenset({"a", "b"}))), seen(RESOLVED))
    assert (record.urgency, record.summary, record.routed_to) == (2, "s", frozenset({"a", "b"}))
    assert claimed(record, seen(urgency=1, summary="t")).routed_to == frozenset()


def test_when_a_changed_summary_is_sent_is_remembered() -> None:
    """Not of a first firing, nor of the same text."""
    assert claimed().summary_sent_at is None
    assert claimed(delivered(), seen(at=T + 1)).summary_sent_at is None
    assert claimed(delivered(), seen(summary="t")).summary_sent_at == NOW
    later = wait(delivered(), seen(summary="t"), Order.REPEAT, BODY, NOW, due=NOW + 5000)
    assert later.summary_sent_at == NOW + 5000


# --- the index --------------------------------------------------------------------------------------------------------


def test_what_gets_no_permit_waits() -> None:
    """In the index, with its body, unowned, and not as a failure."""
    record = waiting()
    assert is_in_index(record)
    assert (record.waiting, record.waiting_since, record.owner) == (Waiting(Order.TRIGGER, NOW), NOW, None)
    assert (record.open, record.failing_since, record.tries, record.lease_until) == (False, None, 0, 0)


def test_a_drainer_s_claim_stays_in_the_index() -> None:
    """It is counted, and what it sends may have opened an incident."""
    record = claim_waiting(waiting(), owner="drainer", lease_until=NOW + 30_000)
    assert is_in_index(record)
    assert (record.waiting, record.tries, record.open) == (Waiting(Order.TRIGGER, NOW), 1, True)
    assert claim_waiting(record, owner="next", lease_until=NOW + 60_000).tries == 2
    resolve = claim_waiting(replace(waiting(), status=RESOLVED), owner="drainer", lease_until=NOW + 30_000)
    assert not resolve.open


def test_a_fresh_claim_leaves_the_index_and_keeps_its_place() -> None:
    """Its carrier brings it again; where it has to wait again, it waits since the first time."""
    record = claim(waiting(), seen(urgency=3), owner="me", now=NOW + 9000, lease_until=NOW + 57_000)
    assert not is_in_index(record)
    assert record.waiting_since == NOW
    again = release(
        record,
        was_open=False,
        attempted=False,
        now=NOW + 9500,
        waits=Waiting(Order.CRITICAL, NOW + 9500),
        body=BODY,
    )
    assert again.waiting == Waiting(Order.CRITICAL, NOW)


def test_what_was_accepted_leaves_the_index() -> None:
    """With everything that waiting and failing has left behind."""
    mine = claim_waiting(replace(waiting(), failing_since=NOW - 1), owner="drainer", lease_until=NOW + 30_000)
    record = settle(mine, seen(), NOW, body=BODY)
    assert not is_in_index(record)
    assert (record.waiting_since, record.failing_since, record.tries) == (None, None, 0)
    assert record.delivered_at == NOW


def test_what_is_dead_lettered_leaves_the_index() -> None:
    """Undelivered, so that a redrive sends it."""
    mine = claim_waiting(waiting(), owner="drainer", lease_until=NOW + 30_000)
    record = forget_waiting(mine, mine)
    assert not is_in_index(record)
    assert (record.owner, record.lease_until, record.waiting_since, record.tries) == (None, 0, None, 0)
    assert record.needs_delivery()


@pytest.mark.parametrize("newer", [seen(RESOLVED, at=T + 5000), seen(RESOLVED), seen(at=T + 5000)])
def test_something_newer_does_not_go_with_a_dead_letter(newer: Observation) -> None:
    """What came while the dead letter was being written stays in the index."""
    ended = waiting()
    record = forget_waiting(wait(ended, newer, Order.FOLLOWING, b"newer", NOW), ended)
    assert is_in_index(record)
    assert (record.status, record.body, record.owner) == (newer.status, b"newer", None)


def test_something_newer_takes_the_place_of_what_waits() -> None:
    """The newest state with its own body and class, since when the first waited."""
    record = wait(waiting(), seen(RESOLVED, at=T + 5000), Order.FOLLOWING, b"newer", NOW + 9000)
    assert (record.status, record.body, record.waiting) == (RESOLVED, b"newer", Waiting(Order.FOLLOWING, NOW))
    assert (record.waiting_since, record.delivered_at) == (NOW, None)


def test_who_sends_goes_on_sending_while_something_newer_waits() -> None:
    """And what waits stays in the index when it is accepted."""
    mine = claimed()
    newer = wait(mine, seen(RESOLVED, at=T + 5000), Order.FOLLOWING, BODY, NOW)
    assert (newer.owner, newer.lease_until) == (mine.owner, mine.lease_until)
    record = settle(newer, seen(), NOW + 1, body=BODY)
    assert is_in_index(record)
    assert (record.status, record.owner, record.delivered_at) == (RESOLVED, None, None)
    assert (record.open, record.triggered) == (True, True)


def test_the_same_state_again_goes_with_what_is_being_sent() -> None:
    """Unless its severity was raised meanwhile: that is sent."""
    same = settle(wait(claimed(), seen(at=T + 1), Order.TRIGGER, BODY, NOW), seen(), NOW, body=BODY)
    assert (is_in_index(same), same.delivered_at) == (False, NOW)
    raised = settle(wait(claimed(), seen(urgency=3), Order.CRITICAL, BODY, NOW), seen(), NOW, body=BODY)
    assert (is_in_index(raised), raised.delivered_at) == (True, None)


def test_another_summary_that_came_while_the_first_was_sent_follows() -> None:
    """Behind everything else, for the incident is open already."""
    record = settle(wait(claimed(), seen(summary="t"), Order.TRIGGER, b"newer", NOW), seen(), NOW + 9, body=BODY)
    assert (record.waiting, record.body, record.delivered_at) == (Waiting(Order.REPEAT, NOW + 9), b"newer", None)
    assert (record.open, record.triggered) == (True, True)


def test_a_repeat_waits_until_it_is_due() -> None:
    """Its place is when it may go out, and it has waited since it came."""
    record = wait(delivered(), seen(summary="t"), Order.REPEAT, BODY, NOW, due=NOW + 5000)
    assert (record.waiting, record.waiting_since) == (Waiting(Order.REPEAT, NOW + 5000), NOW)


def test_a_refresh_replaces_the_text_and_keeps_the_place() -> None:
    """It moves up where it became more urgent, and never down."""
    record = refresh(waiting(), seen(at=T + 5000, message_id="m-2", summary="t"), Order.FOLLOWING, b"newer")
    assert (record.waiting, record.waiting_since, record.body) == (Waiting(Order.TRIGGER, NOW), NOW, b"newer")
    assert (record.at, record.summary, record.message_ids) == (T + 5000, "t", {FIRING: "m-2"})
    raised = refresh(waiting(), seen(urgency=3), Order.CRITICAL, BODY)
    assert raised.waiting == Waiting(Order.CRITICAL, NOW)


# --- release ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("was_open", "attempted"), [(False, False), (False, True), (True, False), (True, True)])
def test_an_incident_may_be_open_once_it_was_attempted(was_open: bool, attempted: bool) -> None:
    """What was never attempted opened none, and what was open before stays so."""
    record = release(claimed(), was_open=was_open, attempted=attempted, now=NOW)
    assert record.open is (was_open or attempted)
    assert (record.owner, record.lease_until, is_in_index(record)) == (None, 0, False)


def test_a_failure_is_remembered_from_the_first_one() -> None:
    """Waiting for a permit is none."""
    place = Waiting(Order.TRIGGER, NOW)
    first = release(claimed(), was_open=False, attempted=True, now=NOW, waits=place, body=BODY, pause_until=NOW + 5)
    assert (first.failing_since, first.lease_until, first.is_leased(NOW + 4)) == (NOW, NOW + 5, True)
    second = release(replace(first, owner="me"), was_open=True, attempted=True, now=NOW + 9, pause_until=NOW + 20)
    assert second.failing_since == NOW
    assert waiting().failing_since is None


def test_an_answer_ends_the_counting_of_tries() -> None:
    """They count claims without one."""
    mine = claim_waiting(waiting(), owner="drainer", lease_until=NOW + 30_000)
    assert release(mine, was_open=False, attempted=True, now=NOW, pause_until=NOW + 5).tries == 0


def test_what_ended_before_its_first_request_is_over() -> None:
    """A trigger without a permit, whose resolve came while it was claimed: nothing has to be sent."""
    mine = wait(claimed(), seen(RESOLVED, at=T + 5000), Order.FOLLOWING, b"newer", NOW)
    over = release(mine, was_open=False, attempted=False, now=NOW + 1, waits=Waiting(Order.TRIGGER, NOW), body=BODY)
    assert (is_in_index(over), over.delivered_at, over.status, over.open) == (False, NOW + 1, RESOLVED, False)


@pytest.mark.parametrize(("was_open", "attempted"), [(True, False), (False, True)])
def test_what_may_be_open_waits_for_its_end(was_open: bool, attempted: bool) -> None:
    """The resolve that came meanwhile stays in the index."""
    mine = wait(claimed(), seen(RESOLVED, at=T + 5000), Order.FOLLOWING, b"newer", NOW)
    record = release(
        mine, was_open=was_open, attempted=attempted, now=NOW, waits=Waiting(Order.TRIGGER, NOW), body=BODY
    )
    assert is_in_index(record)
    assert (record.body, record.waiting, record.delivered_at) == (b"newer", Waiting(Order.FOLLOWING, NOW), None)


def test_an_end_of_what_was_never_sent_ends_it() -> None:
    """It leaves the index without a request."""
    record = never_opened(waiting(), seen(RESOLVED, at=T + 5000), NOW + 7)
    assert (is_in_index(record), record.status, record.delivered_at, record.open) == (False, RESOLVED, NOW + 7, False)
    unheard = never_opened(None, seen(RESOLVED), NOW)
    assert (unheard.status, unheard.delivered_at, unheard.open) == (RESOLVED, NOW, False)


# --- acknowledgements -------------------------------------------------------------------------------------------------


def test_an_acknowledgement_follows_its_trigger() -> None:
    """It waits from when the trigger is accepted, with the trigger's body: both have the same dedup key."""
    mine = replace(claimed(), acknowledge=T + 5000)
    record = settle(mine, seen(), NOW, body=BODY)
    assert (record.status, record.at, record.acknowledge) == (ACKNOWLEDGED, T + 5000, None)
    assert (record.waiting, record.body, record.delivered_at) == (Waiting(Order.FOLLOWING, NOW), BODY, None)
    assert record.triggered


def test_an_acknowledgement_that_overtook_its_trigger_follows_it() -> None:
    """Accepted or not: PagerDuty drops an acknowledgement of what is not open."""
    overtook = settle(
        claimed(observation=seen(ACKNOWLEDGED, at=T + 5000)), seen(ACKNOWLEDGED, at=T + 5000), NOW, body=BODY
    )
    assert claimed(overtook, seen()).acknowledge == T + 5000
    assert claimed(overtook, seen(at=T + 60_000)).acknowledge is None


def test_nothing_follows_a_resolve() -> None:
    """An acknowledgement that was to follow is forgotten when the alert ends."""
    record = observe(replace(claimed(), acknowledge=T + 1), seen(RESOLVED, at=T + 5000))
    assert record.acknowledge is None
    assert settle(replace(record, owner="me"), seen(RESOLVED), NOW, body=BODY).status is RESOLVED


def test_a_refresh_keeps_what_follows() -> None:
    """A re-send of the waiting trigger does not undo the acknowledgement."""
    record = refresh(replace(waiting(), acknowledge=T + 1), seen(at=T + 60_000), Order.TRIGGER, BODY)
    assert record.acknowledge == T + 1


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_newest_state_is_asserted_again() -> None:
    """After a trigger of which the record knew nothing: its resolve waits once more."""
    resolved = settle(claimed(delivered(), seen(RESOLVED)), seen(RESOLVED), NOW, body=BODY)
    record = reassert(resolved, NOW + 5, body=BODY)
    assert is_in_index(record)
    assert (record.status, record.open, record.triggered, record.delivered_at) == (RESOLVED, True, True, None)
    assert (record.waiting, record.waiting_since) == (Waiting(Order.FOLLOWING, NOW + 5), NOW + 5)
    assert not settle(claim_waiting(record, owner="me", lease_until=NOW), seen(RESOLVED), NOW, body=BODY).open


def test_what_is_skipped_is_noted() -> None:
    """Its message is remembered, and its time where it is the same state and newer."""
    record = note(delivered(), seen(at=T + 5000, message_id="m-2"))
    assert (record.at, record.message_ids) == (T + 5000, {FIRING: "m-2"})
    older = note(delivered(), seen(at=T - 5000, message_id="m-0"))
    assert (older.at, older.message_ids) == (T, {FIRING: "m-1"})
    other = note(delivered(), seen(RESOLVED, at=T - 5000, message_id="m-0"))
    assert (other.status, other.at, other.message_ids) == (FIRING, T, {FIRING: "m-1"})
    assert other.delivered_at == NOW


KEEPING = Keeping(ttl_ms=DAY_MS)


@pytest.mark.parametrize(
    ("record", "days"),
    [
        (claimed(), OPEN_DAYS),
        (delivered(), OPEN_DAYS),
        (release(claimed(), was_open=False, attempted=False, now=NOW), OPEN_DAYS),
        (replace(delivered(seen(RESOLVED)), open=False), RESOLVED_DAYS),
        (never_opened(None, seen(RESOLVED), NOW), RESOLVED_DAYS),
        (forget_waiting(waiting(), waiting()), OPEN_DAYS),
    ],
)
def test_how_long_a_record_is_kept(record: Record, days: int) -> None:
    """Fifteen days after an end, thirty while an incident may be open or something was not delivered."""
    assert KEEPING.expires_at(record, NOW) == NOW + days * DAY_MS
    assert Keeping(ttl_ms=90 * DAY_MS).expires_at(record, NOW) == NOW + 90 * DAY_MS


def test_what_waits_does_not_expire() -> None:
    """However long the wait."""
    assert KEEPING.expires_at(waiting(), NOW) is None
    assert KEEPING.expires_at(waiting(), NOW, is_change=True) is None


def test_a_change_event_is_kept_for_the_setting() -> None:
    """It has no incident."""
    assert KEEPING.expires_at(delivered(), NOW, is_change=True) == NOW + DAY_MS


def test_a_record_is_absent_from_its_end_on() -> None:
    """And never while it has none."""
    record = replace(claimed(), expires_at=NOW)
    assert (record.is_absent(NOW - 1), record.is_absent(NOW)) == (False, True)
    assert not waiting().is_absent(NOW + 10**12)


def test_a_lease_ends_with_its_time() -> None:
    """From then on others may claim."""
    assert (claimed().is_leased(NOW + 56_999), claimed().is_leased(NOW + 57_000)) == (True, False)


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        (1250, 250, 1),
        (1249, 250, 0),
        (1500, 0, 1),
        (1499, 0, 0),
        (2000, 499, 1),
        (2000, 501, 0),
        (1000, 1000, 0),
    ],
)
def test_what_is_newer(one: int, other: int, sign: int) -> None:
    """A second apart, or 1.5 s where one of the times has whole seconds."""
    assert (compare(one, other), compare(other, one)) == (sign, -sign)


def test_a_trigger_sent_without_the_record_while_its_end_is_sent_is_ended_again() -> None:
    """Who is sending the end may have been accepted before the trigger: its settling lets the end wait once more."""
    mine = claimed(observation=seen(RESOLVED))
    marked = reassert(mine, NOW, body=BODY)
    assert (marked.again, marked.waiting) == (True, None)
    record = settle(marked, seen(RESOLVED), NOW, body=BODY)
    assert (record.status, record.open, record.again) == (RESOLVED, True, False)
    assert (record.waiting, record.body, record.delivered_at) == (Waiting(Order.FOLLOWING, NOW), BODY, None)


def test_the_end_that_comes_twice_meanwhile_does_not_hide_that() -> None:
    """The second one waits in the record until the first is settled; whoever claims next has no need of it."""
    marked = reassert(claimed(observation=seen(RESOLVED)), NOW, body=BODY)
    twice = wait(marked, seen(RESOLVED, message_id="m-2"), Order.FOLLOWING, BODY, NOW)
    record = settle(twice, seen(RESOLVED), NOW, body=BODY)
    assert (record.status, record.open, is_in_index(record)) == (RESOLVED, True, True)
    assert not claimed(twice, seen(RESOLVED)).again


def test_a_trigger_sent_without_the_record_while_a_drainer_sends_its_end_is_ended_again() -> None:
    """What waits stays in the index while a drainer sends it, and yet has to go out once more."""
    waits = settle(claimed(delivered(), seen(RESOLVED)), seen(RESOLVED), NOW, body=BODY)
    waits = reassert(waits, NOW, body=BODY)
    draining = claim_waiting(waits, owner="drainer", lease_until=NOW + 1000)
    marked = reassert(draining, NOW + 10, body=BODY)
    assert marked.again
    record = settle(marked, seen(RESOLVED), NOW + 20, body=BODY)
    assert is_in_index(record)
    assert (record.open, record.again, record.delivered_at) == (True, False, None)
    assert not claim_waiting(marked, owner="next", lease_until=NOW + 2000).again


def test_what_ended_before_its_first_request_is_sent_where_a_request_was_made_without_the_record() -> None:
    """Its sender gives up and asked nobody, but a copy of its trigger was accepted meanwhile."""
    mine = wait(claimed(), seen(RESOLVED, at=T + 5000), Order.FOLLOWING, BODY, NOW)
    record = release(reassert(mine, NOW, body=BODY), was_open=False, attempted=False, now=NOW)
    assert is_in_index(record)
    assert record.open
