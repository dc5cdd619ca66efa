"""One delivery from its arrival on: claimed, sent, settled, waiting, failing, and with the table out."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from handler.alert import Status
from handler.delivery.delivery import Delivery
from handler.delivery.gateway import FAILED_ATTEMPTS, PROBE_SECONDS
from handler.delivery.record import Order, Record, Waiting
from handler.delivery.retry import THROTTLED_SECONDS
from handler.outcome import Accepted, DeferReason, Deferred, Rejected, Skipped, SkipReason
from handler.pagerduty.client import MAX_RETRY_AFTER_SECONDS
from handler.report import Report
from local.simulator.faults import Fault, FaultKind
from tests.lab.deliveries import Only, drain_until_done, message, run_killed, waiting
from tests.lab.dynamodb import TABLE
from tests.lab.failures import Failures
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.sqs import RETRY_URL
from tests.lab.world import World, make_world

THROTTLED = "ProvisionedThroughputExceededException"
HANGS = ReadTimeoutError(endpoint_url="https://dynamodb")


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def full() -> World:
    """With two permits a minute, one of them for critical triggers alone; the other is taken."""
    world = make_world(rate_limit=2)
    assert is_accepted(world.publish_one(message("first")))
    return world


def is_accepted(report: Report) -> bool:
    return isinstance(report.result, Accepted)


def skip_reason(report: Report) -> SkipReason:
    assert isinstance(report.result, Skipped)
    return report.result.reason


def kept_for(report: Report) -> DeferReason:
    """Return for what a delivery waits, that is kept."""
    assert isinstance(report.result, Deferred)
    assert report.result.is_kept
    return report.result.reason


def actions(world: World, dedup_key: str = "f-1") -> list[str | None]:
    """Return what was asked of PagerDuty for a key."""
    return [action for action, key in world.requests if key == dedup_key]


def summaries(world: World) -> list[str]:
    """Return the latest text of each incident."""
    return [incident.payload["summary"] for incident in world.pagerduty.incidents]


def wake_ups(world: World) -> int:
    return sum("drain" in retry.content for retry in world.sqs.retries)


def drain_at_the_minute(world: World) -> None:
    """Start a drainer, and let the schedule's minute pass."""
    started = world.clock()
    world.drain()
    world.clock.advance(max(0.0, started + 60 - world.clock()))


# --- a fresh arrival --------------------------------------------------------------------------------------------------


def test_a_trigger_costs_three_calls_and_one_request(world: World) -> None:
    """Claim, permit, settle; nothing is read."""
    world.publish_one(message("first"))
    world.dynamodb.calls.clear()
    assert is_accepted(world.publish_one(message()))
    assert world.dynamodb.calls == ["PutItem", "UpdateItem", "PutItem"]
    assert actions(world) == ["trigger"]


def test_what_gets_no_permit_waits_in_its_record(full: World) -> None:
    """Nothing is sent and nothing lost; the drainer sends it when a permit comes free."""
    assert kept_for(full.publish_one(message())) is DeferReason.RATE_LIMIT
    assert (waiting(full), actions(full)) == (["production#f-1"], [])
    assert "expires_at" not in full.item("production#f-1")
    drain_until_done(full)
    assert actions(full) == ["trigger"]
    assert full.item("production#f-1")["triggered"]


def test_a_thousand_that_begin_to_wait_cause_one_wake_up(full: World) -> None:
    """As long as that one counts as on its way."""
    for number in range(1000):
        full.publish_one(message(f"f-{number}"))
    assert len(waiting(full)) == 1000
    assert wake_ups(full) == 1


def test_a_critical_trigger_passes_what_waits(full: World) -> None:
    """It has permits of its own."""
    full.publish_one(message())
    assert is_accepted(full.publish_one(message("urgent", severity="critical")))


def test_what_waited_and_became_critical_is_sent_at_once(full: World) -> None:
    """It has the head-room from then on."""
    full.publish_one(message())
    assert is_accepted(full.publish_one(message(at=5, severity="critical")))
    assert (waiting(full), actions(full)) == ([], ["trigger"])


def test_a_trigger_that_ended_while_waiting_costs_nothing(full: World) -> None:
    """Neither a request nor a place."""
    full.publish_one(message())
    assert skip_reason(full.publish_one(message(status="resolved", at=5))) is SkipReason.NEVER_OPENED
    assert (waiting(full), actions(full)) == ([], [])


def test_the_newest_state_takes_the_place_of_what_waits(full: World) -> None:
    """Three texts while no permit was there: one request, with the last."""
    for number in range(3):
        full.publish_one(message(at=number * 5, summary=f"{number}0 %"))
    drain_until_done(full)
    assert (actions(full), summaries(full)) == (["trigger"], ["DatabaseHighCPU", "DatabaseHighCPU: 20 %"])


def test_an_acknowledgement_follows_a_waiting_trigger(full: World) -> None:
    """Both go out, in their order."""
    full.publish_one(message())
    assert kept_for(full.publish_one(message(status="acknowledged", at=5))) is DeferReason.BUSY
    drain_until_done(full)
    assert actions(full) == ["trigger", "acknowledge"]
    assert full.states["f-1"] == "acknowledged"


# --- order, redelivery, duplicates ------------------------------------------------------------------------------------

START = "2026-11-20T00:00:00Z"


@pytest.mark.parametrize("ends_at", ["2026-11-23T03:30:00Z", "2026-11-23T03:41:01Z", "2026-11-24T03:40:00Z"])
def test_an_alert_that_comes_back_pages_whatever_its_source_s_clock_says(world: World, ends_at: str) -> None:
    """With the same start as before, from a clock that is behind or ahead: publishing order counts."""
    world.publish_one(message(starts_at=START))
    world.publish_one(message(status="resolved", at=60, starts_at=START, ends_at=ends_at))
    assert is_accepted(world.publish_one(message(at=120, starts_at=START)))
    assert world.states["f-1"] == "triggered"


def test_three_changes_within_a_second_end_as_published(world: World) -> None:
    """In the order of their arrival: a firing after a settled resolve pages."""
    for status, at in (("firing", 0.1), ("resolved", 0.4), ("firing", 0.8)):
        assert is_accepted(world.publish_one(message(status=status, at=at)))
    assert world.states["f-1"] == "triggered"


@pytest.mark.parametrize("late", [0, 30, 86_400 * 3])
def test_a_redelivery_is_known_by_its_message(world: World, late: int) -> None:
    """After a later state, and within a tie with it: what ended, or what a person resolved, is not opened again."""
    first = message(message_id="m-1")
    world.publish_one(first)
    world.publish_one(message(status="resolved", at=0.5))
    world.clock.advance(late)
    assert skip_reason(world.publish_one(first)) is SkipReason.SUPERSEDED
    assert world.states["f-1"] == "resolved"


def test_a_redelivery_of_what_was_accepted_is_a_duplicate(world: World) -> None:
    """After the repeat interval too: a visibility timeout is no re-send."""
    first = message(message_id="m-1")
    world.publish_one(first)
    world.clock.advance(3600)
    assert skip_reason(world.publish_one(first)) is SkipReason.DUPLICATE
    assert actions(world) == ["trigger"]


def test_a_redriven_trigger_does_not_reopen_what_has_ended(world: World) -> None:
    """A dead letter is kept for 14 days, and the record of an end for longer."""
    world.publish_one(message(at=60))
    world.publish_one(message(status="resolved", at=120))
    world.clock.advance(14 * 86_400)
    assert skip_reason(world.publish_one(message(message_id="redriven"))) is SkipReason.SUPERSEDED


def test_an_incident_is_resolved_after_a_month(world: World) -> None:
    """Its record outlives it."""
    world.publish_one(message())
    world.clock.advance(29 * 86_400)
    world.publish_one(message(status="resolved", at=29 * 86_400))
    assert world.states["f-1"] == "resolved"


def test_re_sends_cost_no_request_for_a_while(world: World) -> None:
    """And one in each repeat interval later."""
    for minute in range(11):
        world.clock.now = world.clock.now if minute == 0 else world.clock.now + 60
        world.publish_one(message(at=minute * 60, message_id=f"m-{minute}"))
    assert actions(world) == ["trigger"] * 3


def test_a_raised_severity_is_sent_at_once_and_a_lowered_one_is_not(world: World) -> None:
    """PagerDuty shows the highest of the last minutes."""
    world.publish_one(message(severity="warning"))
    assert is_accepted(world.publish_one(message(at=5, severity="critical")))
    assert skip_reason(world.publish_one(message(at=10, severity="warning"))) is SkipReason.DUPLICATE


def test_a_changed_summary_is_sent_once_in_the_repeat_interval(world: World) -> None:
    """The newest of the others when it is over."""
    world.publish_one(message(summary="80 %"))
    assert is_accepted(world.publish_one(message(at=5, summary="90 %")))
    for number in range(6, 9):
        world.publish_one(message(at=number, summary=f"{number}0 %"))
    world.drain()
    assert len(actions(world)) == 2
    world.clock.advance(300)
    drain_until_done(world)
    assert len(actions(world)) == 3
    assert summaries(world) == ["DatabaseHighCPU: 80 %"]


def test_an_acknowledgement_never_supersedes_a_resolve(world: World) -> None:
    """However late it was published."""
    world.publish_one(message())
    world.publish_one(message(status="resolved", at=60))
    assert skip_reason(world.publish_one(message(status="acknowledged", at=600))) is SkipReason.SUPERSEDED


def test_a_change_event_is_sent_once_per_occurrence(world: World) -> None:
    """Re-sent, or of another status: the same start is the same occurrence, another start another one."""
    change: dict[str, Any] = {"labels": {"change_event": "true"}}
    world.publish_one(message(starts_at=START, **change))
    for at, status in ((60, "firing"), (120, "resolved"), (600, "acknowledged")):
        report = world.publish_one(message(status=status, at=at, starts_at=START, **change))
        assert skip_reason(report) is SkipReason.DUPLICATE
    assert is_accepted(world.publish_one(message(starts_at="2026-11-21T00:00:00Z", **change)))
    assert len(world.pagerduty.changes) == 2


def test_a_change_event_is_no_state_of_its_alert(world: World) -> None:
    """A change with the key of an alert neither ends nor opens its incident."""
    world.publish_one(message())
    world.publish_one(message(at=5, labels={"change_event": "true"}))
    world.publish_one(message(status="resolved", at=10))
    assert (len(world.pagerduty.changes), world.states["f-1"]) == (1, "resolved")


# --- while another sends ---------------------------------------------------------------------------------------------


def while_sending(world: World, act: Callable[[], object]) -> None:
    """Do something while the next request is on its way, before PagerDuty has it."""
    original = world.pagerduty.handle

    def handle(method: str, path: str, body: bytes) -> Any:
        world.pagerduty.handle = original  # type: ignore[method-assign]
        act()
        return original(method, path, body)

    world.pagerduty.handle = handle  # type: ignore[method-assign]


def test_what_comes_while_the_trigger_is_sent_waits_and_follows_it(world: World) -> None:
    """The resolve wakes a drainer, which sends it next."""
    reports: list[Report] = []
    while_sending(world, lambda: reports.append(world.publish_one(message(status="resolved", at=5))))
    assert is_accepted(world.publish_one(message()))
    assert [kept_for(report) for report in reports] == [DeferReason.BUSY]
    assert wake_ups(world) == 1
    drain_until_done(world)
    assert actions(world) == ["trigger", "resolve"]


def test_an_acknowledgement_that_comes_while_the_trigger_is_sent_follows_it(world: World) -> None:
    """When PagerDuty has accepted the trigger, a drainer is woken."""
    while_sending(world, lambda: world.publish_one(message(status="acknowledged", at=5)))
    assert is_accepted(world.publish_one(message()))
    assert wake_ups(world) == 1
    drain_until_done(world)
    assert actions(world) == ["trigger", "acknowledge"]


def test_a_trigger_that_outlasts_its_lease_is_closed_again(world: World) -> None:
    """Its end was accepted while the process stood still with the trigger in its hands."""

    def end() -> None:
        world.clock.advance(60)
        assert is_accepted(world.publish_one(message(status="resolved", at=30)))

    while_sending(world, end)
    world.publish_one(message())
    assert world.states["f-1"] == "triggered"
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


def test_a_repeat_is_not_drained_before_its_time() -> None:
    """Nor is anything while somebody sends it, or after it was sent."""
    place = Waiting(Order.REPEAT, 1000)
    record = Record(status=Status.FIRING, at=0, waiting=place)
    assert [record.can_be_drained(now) for now in (999, 1000)] == [False, True]
    assert replace(record, waiting=Waiting(Order.TRIGGER, 1000)).can_be_drained(999)
    assert not replace(record, lease_until=1001).can_be_drained(1000)
    assert not replace(record, waiting=None).can_be_drained(1000)


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("7", 7), ("3600", MAX_RETRY_AFTER_SECONDS), (None, THROTTLED_SECONDS)]
)
def test_a_429_holds_the_key_back(world: World, retry_after: str | None, seconds: float) -> None:
    """All targets with that key, for at most 300 s; then everything goes out."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=retry_after))
    assert kept_for(world.publish_one(message(severity="critical"))) is DeferReason.RATE_LIMIT
    assert kept_for(world.publish_one(message("f-2", severity="critical"))) is DeferReason.RATE_LIMIT
    assert len(world.requests) == 1
    refused_at = world.clock()
    drain_until_done(world)
    accepted = [request.at for request in world.pagerduty.requests if request.accepted]
    assert len(accepted) == 2
    assert seconds <= min(accepted) - refused_at
    assert max(accepted) - refused_at <= seconds + 15


def test_after_an_outage_everything_is_out_within_half_a_minute(world: World) -> None:
    """Meanwhile nobody knocks more often than a probe does, and nothing is dead-lettered."""
    over_at = world.clock() + 900
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None, until_at=over_at))
    for number in range(20):
        world.publish_one(message(f"f-{number}", severity="critical" if number % 2 else "warning"))
    knocked = len(world.requests)
    assert knocked <= FAILED_ATTEMPTS + 2
    drain_until_done(world, minutes=60)
    during = [request for request in world.pagerduty.requests if request.at < over_at]
    assert len(during) - knocked <= 900 / PROBE_SECONDS
    accepted = [request.at for request in world.pagerduty.requests if request.accepted]
    assert len(accepted) == 20
    assert max(accepted) <= over_at + 32
    assert world.sqs.dead_letters == []


def test_the_probe_is_the_most_urgent_delivery(world: World) -> None:
    """A critical trigger that began to wait last is what is sent first."""
    world.pagerduty.set_faults(Fault(FaultKind.RESET, count=FAILED_ATTEMPTS + 1))
    for name, severity in (("a", "warning"), ("b", "warning"), ("c", "critical")):
        world.publish_one(message(name, severity=severity))
    failed = len(world.requests)
    drain_until_done(world)
    assert world.requests[failed] == ("trigger", "c")


def test_a_probe_that_ends_in_a_400_resumes_the_key(world: World) -> None:
    """PagerDuty answered: the rest follows at once, and only the bad one is dead-lettered."""
    world.pagerduty.set_faults(
        Fault(FaultKind.STATUS, status=400, dedup_key="bad", count=None),
        Fault(FaultKind.STATUS, status=503, count=4),
    )
    world.publish_one(message("good"))
    assert kept_for(world.publish_one(message("bad", severity="critical"))) is DeferReason.CIRCUIT_OPEN
    drain_until_done(world)
    times = {request.dedup_key: request.at for request in world.pagerduty.requests}
    assert times["good"] - times["bad"] < 2
    assert [letter.content["alert"]["fingerprint"] for letter in world.sqs.dead_letters] == ["bad"]


def test_a_new_arrival_whose_probe_fails_leaves_the_key_suspended(world: World) -> None:
    """Its retry gets no permit any more; that is no answer of PagerDuty's. The next one is not sent at all."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish_one(message("a"))
    world.clock.advance(PROBE_SECONDS)
    before = len(world.requests)
    assert kept_for(world.publish_one(message("b", severity="critical"))) is DeferReason.CIRCUIT_OPEN
    assert kept_for(world.publish_one(message("c", severity="critical"))) is DeferReason.CIRCUIT_OPEN
    assert len(world.requests) - before == 1


def test_a_probe_without_an_answer_puts_the_next_one_off_no_further(world: World) -> None:
    """The time until it times out does not count on top: after an outage of timeouts everything is out as soon."""
    world.pagerduty.set_faults(Fault(FaultKind.ANSWER, count=None, delay_seconds=60.0))
    for number in range(3):
        world.publish_one(message(f"f-{number}"))
    suspended = len(world.requests)
    for _ in range(5):
        drain_at_the_minute(world)
    probes = [request.at for request in world.pagerduty.requests[suspended:]]
    assert len(probes) > 5
    assert {round(later - earlier) for earlier, later in pairwise(probes)} == {PROBE_SECONDS}


def test_a_refused_key_holds_its_target(world: World) -> None:
    """With one probe a minute; nothing is dead-lettered, and all goes out once PagerDuty knows the key."""
    world.pagerduty.set_known_keys([])
    for number in range(10):
        world.publish_one(message(f"f-{number}"))
    assert len(world.requests) == 1
    started = world.clock()
    while world.clock() < started + 600:
        world.drain()
    assert len(world.requests) <= 11
    assert (world.sqs.dead_letters, len(waiting(world))) == ([], 10)
    world.pagerduty.set_known_keys([ROUTING_KEY])
    mended_at = world.clock()
    drain_until_done(world)
    assert len(world.pagerduty.incidents) == 10
    assert max(request.at for request in world.pagerduty.requests) <= mended_at + 75


def test_a_fixed_secret_lets_the_backlog_out(world: World) -> None:
    """The probe that is refused reads it again; all goes to the new key."""
    world.pagerduty.set_known_keys([OTHER_KEY])
    for number in range(5):
        world.publish_one(message(f"f-{number}"))
    world.secrets.secrets["pagerduty/production"] = target_secret("production", OTHER_KEY)
    drain_until_done(world, minutes=5)
    assert len(world.pagerduty.incidents) == 5
    assert world.sqs.dead_letters == []


def test_a_refused_key_holds_nobody_else() -> None:
    """A target with another key goes on."""
    world = make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})
    world.pagerduty.set_known_keys([OTHER_KEY])
    for number in range(5):
        world.publish(message(f"f-{number}"))
    assert len(world.pagerduty.incidents) == 5
    assert [identity.partition("#")[0] for identity in waiting(world)] == ["a"] * 5


def test_a_change_event_that_a_key_cannot_take_is_dead_lettered_unsent() -> None:
    """An orchestration's key takes alerts alone."""
    world = make_world({"pagerduty/production": target_secret(routing_key="R" + ROUTING_KEY[1:])})
    change = message(labels={"change_event": "true"})
    assert isinstance(world.publish_one(change).result, Rejected)
    assert (len(world.sqs.dead_letters), world.requests) == (1, [])


def test_a_refused_event_is_dead_lettered_and_can_be_redriven(world: World) -> None:
    """Its record does not stand in the way, and its resolve is sent in case it was taken in after all."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body={"message": "no good"}))
    report = world.publish_one(message())
    assert isinstance(report.result, Rejected)
    [letter] = world.sqs.dead_letters
    assert waiting(world) == []
    assert is_accepted(world.publish_one(letter.as_record("redriven")))


def test_what_has_failed_for_too_long_is_dead_lettered() -> None:
    """Waiting for a permit, or behind a suspended key, does not count."""
    world = make_world(give_up_after_seconds=600)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None, dedup_key="f-1"))
    world.publish_one(message())
    drain_until_done(world)
    assert [letter.attributes["error_type"] for letter in world.sqs.dead_letters] == ["exhausted"]
    assert world.sqs.dead_letters[0].content["alert"]["fingerprint"] == "f-1"
    assert world.item("production#f-1")["open"]


def test_what_found_no_time_has_not_failed(world: World) -> None:
    """PagerDuty was not asked: it goes out as soon as a drainer runs, without a pause, and no day begins."""
    [report] = world.publisher.publish(message(severity="critical"), world.clock() + 0.3)
    assert kept_for(report) is DeferReason.FAILED
    assert (waiting(world), world.requests, wake_ups(world)) == (["production#f-1"], [], 1)
    began_at = world.clock()
    [report] = world.drain()
    assert is_accepted(report)
    assert world.pagerduty.requests[0].at == began_at


def test_what_was_dead_lettered_begins_anew(world: World) -> None:
    """How long the alert had waited and failed before does not count against what comes days later."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=4), Fault(FaultKind.STATUS, status=400))
    assert kept_for(world.publish_one(message())) is DeferReason.FAILED
    world.clock.advance(PROBE_SECONDS)
    assert isinstance(world.publish_one(message(at=30, severity="critical")).result, Rejected)
    world.clock.advance(2 * 86_400)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=4))
    assert kept_for(world.publish_one(message(at=2 * 86_400))) is DeferReason.FAILED
    assert len(world.sqs.dead_letters) == 1
    [place] = world.table.all_waiting()
    assert world.clock() - place.due / 1000 < 60


def test_one_bad_delivery_does_not_close_the_key_for_long(world: World) -> None:
    """PagerDuty fails with one alert: the others are out within a minute or so."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None, dedup_key="bad"))
    world.publish_one(message("bad", severity="critical"))
    for number in range(10):
        world.publish_one(message(f"f-{number}"))
    world.drain()
    world.drain()
    assert len(world.pagerduty.incidents) == 10


# --- without the table ------------------------------------------------------------------------------------------------


def break_table(world: World, error: Any = "InternalServerError") -> None:
    world.dynamodb.fail(error)


def come_back(world: World) -> list[Report]:
    """Handle what is on the retry queue, each message when its delay is over; wake-ups start a drainer."""
    reports: list[Report] = []
    started = world.clock()
    for retry in world.sqs.retries[:]:
        world.sqs.retries.remove(retry)
        world.clock.now = max(world.clock(), started + retry.delay_seconds)
        if "drain" in retry.content:
            reports += world.drain()
        else:
            reports += world.publish(retry.as_record())
    return reports


def test_a_trigger_is_sent_though_the_table_is_out(world: World) -> None:
    """Its copy is on the queue before PagerDuty has it, and updates the record later; PagerDuty folds the repeat."""
    break_table(world)
    copies: list[int] = []
    original = world.pagerduty.handle

    def handle(*request: Any) -> Any:
        copies.append(len(world.sqs.retries))
        return original(*request)

    world.pagerduty.handle = handle  # type: ignore[method-assign, assignment]
    assert is_accepted(world.publish_one(message()))
    assert copies == [1]
    world.dynamodb.heal()
    come_back(world)
    assert world.item("production#f-1")["triggered"]
    assert len(world.pagerduty.incidents) == 1
    assert world.sqs.retries == []


@pytest.mark.parametrize("resolved_at", [60, 0.9])
def test_a_trigger_that_nobody_claimed_is_closed_again(world: World, resolved_at: float) -> None:
    """Its end, published later, was accepted before it: the incident ends when the table is back, in a tie too."""
    world.publish_one(message(status="resolved", at=resolved_at))
    break_table(world)
    assert is_accepted(world.publish_one(message(at=0.2)))
    assert world.states["f-1"] == "triggered"
    world.dynamodb.heal()
    come_back(world)
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


@pytest.mark.parametrize("has_waited", [True, False])
def test_the_end_of_what_nobody_claimed_is_sent_though_its_copy_waits(*, has_waited: bool) -> None:
    """The record was never asked for a permit that it got, and yet an incident is open."""
    world = make_world(rate_limit=1)
    if has_waited:
        world.publish_one(message("other"))
        world.publish_one(message())
        world.clock.advance(1)
    break_table(world)
    world.publish_one(message(at=1))
    world.dynamodb.heal()
    world.publish_one(message("another"))
    come_back(world)
    world.publish_one(message(status="resolved", at=60))
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


def test_the_end_of_what_nobody_claimed_waits_and_wakes_a_drainer(world: World) -> None:
    """It is told as a delivery that waits, and is not left to the schedule."""
    world.publish_one(message(status="resolved", at=60))
    break_table(world)
    world.publish_one(message())
    world.dynamodb.heal()
    [report] = come_back(world)
    assert kept_for(report) is DeferReason.BUSY
    assert (waiting(world), wake_ups(world)) == (["production#f-1"], 1)


def test_a_trigger_that_nobody_claimed_is_closed_by_its_resolve(world: World) -> None:
    """Also where that comes before the copy."""
    break_table(world)
    world.publish_one(message())
    world.dynamodb.heal()
    world.publish_one(message(status="resolved", at=60))
    come_back(world)
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


@pytest.mark.parametrize("after", [False, True])
def test_a_sender_without_a_table_may_be_killed_at_any_step(after: bool) -> None:
    """The alert comes again by its carrier, or its copy does: the incident is open, and closed by its resolve."""
    at = 0
    while True:
        at += 1
        world = make_world()
        break_table(world)
        was_killed = run_killed(world, lambda: world.publish(message()), at, after=after)  # noqa: B023
        world.dynamodb.heal()
        if was_killed:
            world.publish(message())
        come_back(world)
        drain_until_done(world)
        assert world.states == {"f-1": "triggered"}, at
        world.publish_one(message(status="resolved", at=60))
        drain_until_done(world)
        assert world.states == {"f-1": "resolved"}, at
        if not was_killed:
            return


def test_what_could_not_be_sent_without_the_table_is_tried_again_without_it(world: World) -> None:
    """PagerDuty failed too, and is well first: the page does not wait for the table."""
    break_table(world)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    assert not is_accepted(world.publish_one(message()))
    world.pagerduty.set_faults()
    come_back(world)
    assert world.states == {"f-1": "triggered"}


def test_a_resolve_waits_for_the_table(world: World) -> None:
    """On the retry queue; it needs the records to find its targets."""
    world.publish_one(message())
    break_table(world)
    world.publish_one(message(status="resolved", at=60))
    assert (world.states["f-1"], len(world.sqs.retries)) == ("triggered", 1)
    world.dynamodb.heal()
    come_back(world)
    assert world.states["f-1"] == "resolved"


def test_an_execution_keeps_the_limit_by_itself_without_the_table() -> None:
    """What is over it waits on the queue, and nothing is lost."""
    world = make_world(rate_limit=3)
    break_table(world)
    for number in range(5):
        world.publish_one(message(f"f-{number}"))
    assert len(world.requests) == 3
    world.dynamodb.heal()
    for _ in range(10):
        come_back(world)
        drain_until_done(world)
    assert len(world.pagerduty.incidents) == 5
    assert world.sqs.dead_letters == []


def test_the_threads_of_an_execution_share_that_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that take the last permit at the same moment do not both get it."""
    world = make_world(rate_limit=1)
    break_table(world)
    threads: list[Thread] = []

    def interrupted(*window: Any, **changes: Any) -> Any:
        if not threads:
            threads.append(Thread(target=world.publish_one, args=(message("second"),)))
            threads[0].start()
            threads[0].join(timeout=0.5)  # it may have to wait for this one
        return replace(*window, **changes)

    monkeypatch.setattr("handler.delivery.gateway.replace", interrupted)
    world.publish_one(message("first"))
    threads[0].join()
    assert len(world.requests) == 1


def test_a_queue_that_fails_as_well_stops_no_page(world: World) -> None:
    """No copy can be kept: it is sent anyway."""
    break_table(world)
    world.sqs.fail("ServiceUnavailable")
    assert is_accepted(world.publish_one(message(severity="critical")))
    assert world.states == {"f-1": "triggered"}


def test_a_refused_event_is_dead_lettered_though_the_table_is_out(world: World) -> None:
    """A retry cannot help, with or without a record."""
    break_table(world)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    assert isinstance(world.publish_one(message()).result, Rejected)
    assert len(world.sqs.dead_letters) == 1


@pytest.mark.parametrize("is_rotated", [True, False])
def test_a_key_that_is_refused_though_the_table_is_out(world: World, *, is_rotated: bool) -> None:
    """The secrets are read again; a key that is wrong for longer waits on the queue, and makes no dead letter."""
    world.targets.read()
    world.pagerduty.set_known_keys([OTHER_KEY])
    if is_rotated:
        world.secrets.secrets["pagerduty/production"] = target_secret(routing_key=OTHER_KEY)
    break_table(world)
    report = world.publish_one(message())
    assert is_accepted(report) is is_rotated
    if not is_rotated:
        assert isinstance(report.result, Deferred)
        assert report.result.reason is DeferReason.KEY_REFUSED
        assert len(world.sqs.retries) == 2
    assert world.sqs.dead_letters == []


def test_a_table_that_is_missing_stops_no_page(world: World) -> None:
    """What needs its order is dead-lettered, for a person has to act."""
    break_table(world, "ResourceNotFoundException")
    assert is_accepted(world.publish_one(message()))
    assert isinstance(world.publish_one(message(status="resolved", at=60)).result, Rejected)


def test_a_table_that_hangs_costs_its_patience_once(world: World) -> None:
    """A whole batch of alerts pages after one call that hung."""
    break_table(world, HANGS)
    for number in range(10):
        assert is_accepted(world.publish_one(message(f"f-{number}")))
    assert len(world.dynamodb.calls) == 1


@pytest.mark.parametrize("error", ["InternalServerError", THROTTLED, HANGS])
def test_what_was_accepted_and_not_recorded_ends_right(world: World, error: Any) -> None:
    """The table fails between PagerDuty's answer and the record: the resolve still closes the incident."""
    world.publish_one(message("first"))
    world.dynamodb.fail(error, after=2)
    assert is_accepted(world.publish_one(message()))
    world.dynamodb.heal()
    world.clock.advance(60)
    world.publish_one(message(status="resolved", at=60))
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


def test_a_report_has_all_attempts_and_all_errors_in_their_order(world: World) -> None:
    """The table fails after the claim, the routing key was replaced, and the queue takes no copy."""
    world.publish_one(message("first"))
    world.pagerduty.set_known_keys([OTHER_KEY])
    world.secrets.secrets["pagerduty/production"] = target_secret("production", OTHER_KEY)
    world.dynamodb.fail("InternalServerError", after=1)
    world.sqs.fail("ServiceUnavailable")
    report = world.publish_one(message())
    assert is_accepted(report)
    assert [attempt.status for attempt in report.attempts] == ["400", "202"]
    # a permit with each key, then the record, then its copy
    assert [str(error.reason) for error in report.errors] == ["table_unavailable"] * 3 + ["queue_unavailable"]
    assert report.known is False


def test_an_execution_keeps_the_limit_by_itself_without_the_limiter_s_item() -> None:
    """The records can be written, the permits not: what is over the limit waits."""
    world = make_world(rate_limit=3)
    world.dynamodb.failures = Only("InternalServerError", operations=("UpdateItem",))
    for number in range(5):
        world.publish_one(message(f"f-{number}"))
    assert (len(world.requests), len(waiting(world))) == (3, 2)
    world.dynamodb.heal()
    drain_until_done(world)
    assert len(world.pagerduty.incidents) == 5


# --- throttled items --------------------------------------------------------------------------------------------------


def throttle_limiter(world: World) -> None:
    world.dynamodb.failures = Only(THROTTLED, operations=("UpdateItem",))


def test_while_the_limiter_s_item_throttles_only_critical_triggers_go(world: World) -> None:
    """The rest waits in its records, with one wake-up, and goes out afterwards."""
    throttle_limiter(world)
    assert is_accepted(world.publish_one(message("urgent", severity="critical")))
    for number in range(20):
        assert kept_for(world.publish_one(message(f"f-{number}"))) is DeferReason.RATE_LIMIT
    assert len(world.requests) == 1
    assert wake_ups(world) == 1
    world.dynamodb.heal()
    drain_until_done(world)
    assert len(world.pagerduty.incidents) == 21


def test_a_warning_whose_record_throttles_waits_on_the_queue(world: World) -> None:
    """One item's throttling is no table that is out: it is not sent past the limit. A critical trigger is."""
    world.dynamodb.failures = Only(THROTTLED, operations=("PutItem",))
    assert not is_accepted(world.publish_one(message("f-1")))
    assert is_accepted(world.publish_one(message("urgent", severity="critical")))
    assert [retry.content["alert"]["fingerprint"] for retry in world.sqs.retries] == ["f-1", "urgent"]
    world.dynamodb.heal()
    come_back(world)
    drain_until_done(world)
    assert world.states == {"f-1": "triggered", "urgent": "triggered"}


def test_an_alert_too_large_for_an_item_waits_all_the_same(full: World) -> None:
    """Its longest texts are cut."""
    noise = random.Random(1).randbytes(500_000).hex()
    assert kept_for(full.publish_one(message(annotations={"description": noise}))) is DeferReason.RATE_LIMIT
    drain_until_done(full)
    assert full.states["f-1"] == "triggered"


def test_what_cannot_be_recorded_as_waiting_waits_on_the_queue(full: World) -> None:
    """The write that would let it wait is throttled."""
    full.dynamodb.failures = Only(THROTTLED, after=1, operations=("PutItem",))
    full.publish_one(message())
    assert len([retry for retry in full.sqs.retries if "alert" in retry.content]) == 1
    full.dynamodb.heal()
    full.clock.advance(61)
    come_back(full)
    drain_until_done(full)
    assert full.states["f-1"] == "triggered"


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_records_that_cannot_be_read_lose_nothing(world: World, status: str) -> None:
    """BatchGetItem leaves keys out, again and again: the alert waits on the queue."""
    world.publish_one(message())
    world.dynamodb.unread = [1] * 50
    report = world.publish_one(message(status=status, at=60))
    assert isinstance(report.result, Deferred)
    assert world.sqs.dead_letters == []
    world.dynamodb.unread = []
    come_back(world)
    assert world.states["f-1"] == status


# --- killed at any step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("make", [make_world, lambda: make_world(rate_limit=1)], ids=["a permit", "no permit"])
def test_a_sender_may_be_killed_at_any_step(make: Callable[[], World], after: bool) -> None:
    """Its carrier brings the alert again: one incident, open, and closed by its resolve."""
    at = 0
    while True:
        at += 1
        world = make()
        world.publish_one(message("first"))
        was_killed = run_killed(world, lambda: world.publish(message()), at, after=after)  # noqa: B023
        if was_killed:
            world.clock.advance(60)
            world.publish(message())
        drain_until_done(world)
        assert world.states == {"first": "triggered", "f-1": "triggered"}, at
        world.publish_one(message(status="resolved", at=120))
        drain_until_done(world)
        assert world.states["f-1"] == "resolved", at
        assert world.sqs.dead_letters == []
        if not was_killed:
            return


# --- where a resolve goes ---------------------------------------------------------------------------------------------


@pytest.fixture
def teams() -> World:
    """Two targets that take by label, and one for the rest."""
    return make_world(
        {
            "pagerduty/critical": target_secret("critical", ROUTING_KEY, match=['severity="critical"']),
            "pagerduty/web": target_secret("web", OTHER_KEY, match=['team="web"']),
            "pagerduty/rest": target_secret("rest", "0" * 32),
        }
    )


def open_incidents(world: World) -> int:
    return sum(incident.state != "resolved" for incident in world.pagerduty.incidents)


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_a_resolve_goes_wherever_the_incident_is_open(teams: World, status: str) -> None:
    """Whatever its own labels say: they would send it to the rest."""
    teams.publish(message(severity="critical", labels={"team": "web"}))
    assert open_incidents(teams) == 2
    teams.publish(message(status=status, at=60, severity="info"))
    assert [incident.state for incident in teams.pagerduty.incidents] == [status] * 2


def test_a_resolve_goes_wherever_the_incident_is_open_after_matchers_were_edited(teams: World) -> None:
    """They route triggers."""
    teams.publish(message(severity="critical", labels={"team": "web"}))
    for name, key in (("critical", ROUTING_KEY), ("web", OTHER_KEY)):
        teams.secrets.secrets[f"pagerduty/{name}"] = target_secret(name, key, match=['team="other"'])
    teams.targets.read(anew=True)
    teams.publish(message(status="resolved", at=600, severity="critical", labels={"team": "web"}))
    assert open_incidents(teams) == 0


def test_a_resolve_goes_where_its_trigger_still_waits(teams: World) -> None:
    """And costs nothing there."""
    teams.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None, retry_after=1, routing_key=OTHER_KEY))
    teams.publish(message("before", labels={"team": "web"}))
    teams.pagerduty.set_faults()
    teams.publish(message(severity="critical", labels={"team": "web"}))
    teams.publish(message(status="resolved", at=60, severity="info"))
    drain_until_done(teams)
    assert {incident.dedup_key for incident in teams.pagerduty.incidents if incident.state != "resolved"} == {"before"}


def test_the_resolve_of_an_unknown_alert_goes_where_matchers_say(teams: World) -> None:
    """Its incident may be older than the table."""
    [report] = teams.publish(message(status="resolved", labels={"team": "web"}))
    assert (report.target, is_accepted(report)) == ("web", True)


def test_an_end_that_overtook_its_trigger_is_known_at_every_target(teams: World) -> None:
    """The trigger's labels lead elsewhere than the end's: it opens nothing there."""
    teams.publish(message(status="resolved", at=60, severity="info"))
    reports = teams.publish(message(severity="critical", labels={"team": "web"}))
    assert [skip_reason(report) for report in reports] == [SkipReason.SUPERSEDED] * 2
    assert teams.pagerduty.incidents == ()


def test_a_disabled_target_gets_the_resolve_of_what_is_open(teams: World) -> None:
    """But no trigger, and no other target gets that instead."""
    teams.publish(message(labels={"team": "web"}))
    teams.secrets.secrets["pagerduty/web"] = target_secret("web", OTHER_KEY, match=['team="web"'], enabled=False)
    teams.targets.read(anew=True)
    teams.publish(message(status="resolved", at=600))
    assert open_incidents(teams) == 0


def test_a_target_that_is_gone_does_not_keep_others_from_their_resolve(teams: World) -> None:
    """Where the incident is open as well, it is closed."""
    teams.publish(message(severity="critical", labels={"team": "web"}))
    del teams.secrets.secrets["pagerduty/web"]
    teams.targets.read(anew=True)
    teams.publish(message(status="resolved", at=600, severity="info"))
    assert [incident.state for incident in teams.pagerduty.incidents] == ["resolved", "triggered"]


def test_two_targets_have_records_of_their_own(teams: World) -> None:
    """One that fails does not hold back the other, and is sent later."""
    teams.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None, routing_key=OTHER_KEY))
    reports = teams.publish(message(severity="critical", labels={"team": "web"}))
    assert sorted(is_accepted(report) for report in reports) == [False, True]
    teams.pagerduty.set_faults()
    drain_until_done(teams)
    assert open_incidents(teams) == 2
    assert {identity for identity in teams.dynamodb.tables[TABLE] if "#f-1" in identity} == {"critical#f-1", "web#f-1"}


def test_what_others_write_into_a_message_does_not_count(world: World) -> None:
    """A `delivery` in a published alert names no target and marks nothing as sent."""
    record = message()
    record["Sns"]["Message"] = record["Sns"]["Message"][:-1] + ', "delivery": {"target": "x", "was_sent_unclaimed": 1}}'
    assert is_accepted(world.publish_one(record))
    assert world.sqs.queues[RETRY_URL] == []
    assert Failures() == world.dynamodb.failures


def test_a_message_of_no_known_source_is_a_duplicate_only_of_itself(world: World) -> None:
    """The same text again may be news: somebody may have closed the incident in between."""
    first = world.publish_one(message(origin="generic", severity="error"))
    assert first.alert
    target = world.targets.read().targets[0]
    another = Delivery(alert=replace(first.alert, message_id="another"), target=target)
    assert is_accepted(world.sender.deliver(another, world.clock() + 57))
    assert skip_reason(world.sender.deliver(another, world.clock() + 57)) is SkipReason.DUPLICATE
    of_known_source = Delivery(alert=replace(first.alert, message_id="a third", origin="native"), target=target)
    assert skip_reason(world.sender.deliver(of_known_source, world.clock() + 57)) is SkipReason.DUPLICATE
