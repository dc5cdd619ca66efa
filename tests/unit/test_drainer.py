"""The drainer: in which order what waits goes out, and that nothing is stranded whatever dies, lags or gets lost."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any
from zlib import compress

import pytest
from pydantic import SecretStr

from handler.delivery.backlog import LAST_TRIES
from handler.delivery.drainer import LINGER_SECONDS, MAX_HANDOVERS, MAX_TRIES, RUN_SECONDS, UNKNOWN_TARGET_SECONDS
from handler.delivery.gateway import PROBE_SECONDS
from handler.delivery.limiter import Permit, Taker
from handler.delivery.record import DAY_MS
from handler.errors import InvalidAlertError, NoTargetError, PublishError
from handler.messages import WakeUp
from handler.outcome import Accepted, Rejected, Skipped, SkipReason
from local.simulator.faults import Fault, FaultKind
from tests.lab.deliveries import DAMAGES, Killed, Only, drain_until_done, message, run_killed, waiting
from tests.lab.dynamodb import TABLE
from tests.lab.failures import client_error
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.sqs import DEAD_LETTER_URL
from tests.lab.world import INVOCATION_SECONDS, World, make_limiter, make_world

THROTTLED = "ProvisionedThroughputExceededException"
TWO_TARGETS = {
    "pagerduty/a": target_secret("a", match=['team="a"']),
    "pagerduty/b": target_secret("b", match=['team="b"']),
}
"""With one routing key."""


def hold(world: World, seconds: float = 30) -> None:
    """Let PagerDuty refuse a request for its own limit: everything waits for so long."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=int(seconds)))
    world.publish(message("held", severity="info", targets=[world.targets.read().targets[0].name]))


def made_waiting(secrets: dict[str, str] | None = None, *, rate_limit: float = 120) -> World:
    """Return a world in which nothing goes out for half a minute."""
    world = make_world(secrets, rate_limit=rate_limit)
    hold(world)
    return world


def sent(world: World) -> list[str | None]:
    """Return the dedup keys of the requests that were accepted, in their order."""
    return [request.dedup_key for request in world.pagerduty.requests if request.accepted]


def drain_at(world: World, seconds: float) -> None:
    world.clock.advance(seconds)
    world.drain()


def damage(world: World, identity: str, **attributes: Any) -> None:
    """Replace attributes of a record's item."""
    world.dynamodb.put_item(TableName=TABLE, Item={**world.dynamodb.tables[TABLE][identity], **attributes})


def wake_ups(world: World) -> list[dict[str, Any]]:
    return [retry.content for retry in world.sqs.retries if "drain" in retry.content]


# --- order ------------------------------------------------------------------------------------------------------------


def test_critical_triggers_then_triggers_by_age() -> None:
    """In the order in which they began to wait, whatever the shards of the index; repeats come last."""
    world = make_world()
    world.publish_one(message("again"))
    world.clock.advance(400)
    hold(world)
    for number, name in enumerate(["again", *(f"w-{number}" for number in range(20)), "c-1", "c-2"]):
        world.clock.advance(0.1)
        severity = "critical" if name.startswith("c") else "warning"
        world.publish_one(message(name, severity=severity, at=400 + number, message_id=f"m-{number}"))
    world.drain()
    expected = ["c-1", "c-2", "held", *(f"w-{number}" for number in range(20)), "again"]
    assert sent(world)[1:] == expected


def test_triggers_and_resolves_alternate() -> None:
    """Where both wait, neither holds up the other; within each, by age."""
    world = make_world()
    for number in range(6):
        world.publish_one(message(f"old-{number}"))
    hold(world)
    for number in range(6):
        world.clock.advance(0.1)
        world.publish_one(message(f"new-{number}", at=60))
        world.publish_one(message(f"old-{number}", "resolved", at=60))
    world.drain()
    order = [(request.action, request.dedup_key) for request in world.pagerduty.requests if request.accepted][6:]
    actions = [action for action, key in order if key != "held"]
    assert sorted(map(str, actions[:6])) == ["resolve"] * 3 + ["trigger"] * 3
    assert [key for action, key in order if action == "resolve"] == [f"old-{number}" for number in range(6)]
    assert [key for _, key in order if key and key.startswith("new")] == [f"new-{number}" for number in range(6)]


def test_a_large_backlog_is_paced_and_alternates() -> None:
    """One at a time, a trigger and a resolve in turn, so that neither waits for the other's end."""
    world = make_world(rate_limit=12)
    for number in range(30):
        world.publish_one(message(f"old-{number}", severity="critical"))
        world.clock.advance(6)
    hold(world)
    for number in range(30):
        world.publish_one(message(f"new-{number}", at=300))
        world.publish_one(message(f"old-{number}", "resolved", at=300))
    world.clock.advance(61)
    before = len(world.pagerduty.requests)
    for _ in range(3):
        world.drain()
    requests = world.pagerduty.requests[before:]
    gaps = [later.at - earlier.at for earlier, later in pairwise(requests)]
    assert len(requests) > 20
    assert min(gaps) >= 3  # after a pause two seconds of the pace are made up for
    actions = [request.action for request in requests]
    assert sum(one == other for one, other in pairwise(actions)) <= 2  # each of the three runs begins with a trigger


def test_no_warning_of_one_target_goes_before_a_critical_of_another() -> None:
    """Two targets share a routing key, and with it the permits and the drainer."""
    world = made_waiting(TWO_TARGETS)
    for number in range(15):
        world.publish_one(message(f"w-{number}", labels={"team": "a"}, severity="warning"))
    for number in range(5):
        world.publish_one(message(f"c-{number}", labels={"team": "b"}, severity="critical"))
    world.drain(WakeUp(target="a"))
    assert sent(world)[:5] == [f"c-{number}" for number in range(5)]
    assert len(sent(world)) == 21


def test_a_re_send_keeps_the_place_of_what_waits() -> None:
    """However often the source repeats it, the first that waited goes first."""
    world = made_waiting()
    for name in ("a", "b", "c"):
        world.clock.advance(0.1)
        world.publish_one(message(name))
    for number in range(1, 4):
        world.clock.advance(1)
        world.publish_one(message("a", at=number, message_id=f"again-{number}"))
    world.drain()
    assert [key for key in sent(world) if key != "held"] == ["a", "b", "c"]


def test_a_repeat_that_is_not_due_holds_no_drainer() -> None:
    """It goes out when its time has come, and the drainer does not wait for that."""
    world = make_world()
    for number, summary in enumerate(("80 %", "90 %", "100 %")):
        world.publish_one(message(at=number, summary=summary))
    assert len(waiting(world)) == 1
    started = world.clock()
    assert world.drain() == []
    assert world.clock() - started < 10
    drain_at(world, 300)
    assert len(sent(world)) == 3
    assert waiting(world) == []


# --- the limit --------------------------------------------------------------------------------------------------------


def test_a_large_backlog_goes_out_at_the_limit() -> None:
    """Never above it, after the first burst nearly at it; a critical trigger that arrives meanwhile is sent at once."""
    world = make_world(rate_limit=60)
    for number in range(300):
        world.publish_one(message(f"f-{number}"))
    started = world.clock()
    rounds = 0
    while waiting(world):
        world.drain()
        rounds += 1
        report = world.publish_one(message(f"urgent-{rounds}", severity="critical", at=rounds * 49))
        assert isinstance(report.result, Accepted)
    assert max(world.pagerduty.peak.values()) <= 60
    assert world.clock() - started <= (1 + (300 - 55 + rounds) / 60) * 60 * 1.1
    assert len(sent(world)) == 300 + rounds


def test_while_a_drainer_runs_others_wait_behind_it() -> None:
    """Only critical triggers take a permit directly."""
    world = made_waiting()
    world.clock.advance(31)
    reports: list[Any] = []

    def handle(*request: Any) -> Any:
        world.pagerduty.handle = original  # type: ignore[method-assign]
        reports.append(world.publish_one(message("late")))
        reports.append(world.publish_one(message("urgent", severity="critical")))
        return original(*request)

    original = world.pagerduty.handle
    world.pagerduty.handle = handle  # type: ignore[method-assign, assignment]
    world.drain()
    assert [type(report.result).__name__ for report in reports] == ["Deferred", "Accepted"]
    assert sent(world) == ["urgent", "held", "late"]


# --- nothing is stranded ----------------------------------------------------------------------------------------------


def scenario() -> World:
    """A critical and a lesser trigger, a resolve and a changed summary wait."""
    world = make_world()
    world.publish_one(message("ends"))
    world.publish_one(message("changes", summary="80 %"))
    hold(world)
    world.publish_one(message("urgent", severity="critical"))
    world.publish_one(message("lesser"))
    world.publish_one(message("ends", "resolved", at=60))
    world.publish_one(message("changes", at=60, summary="90 %"))
    world.clock.advance(31)
    return world


RIGHT = {
    "ends": "resolved",
    "changes": "triggered",
    "held": "triggered",
    "urgent": "triggered",
    "lesser": "triggered",
}


@pytest.mark.parametrize("after", [False, True])
def test_a_drainer_may_be_killed_at_any_step(after: bool) -> None:
    """Before or after any of its calls: the next ones send everything, and no state is wrong."""
    at = 0
    while True:
        at += 1
        world = scenario()
        was_killed = run_killed(world, world.drain, at, after=after)
        drain_until_done(world, minutes=5)
        assert world.states == RIGHT, at
        assert world.sqs.dead_letters == []
        assert all("owner" not in item for item in world.dynamodb.tables[TABLE].values()), at
        if not was_killed:
            break
    assert at > 30


def test_a_drainer_that_is_killed_every_time_strands_nothing() -> None:
    """Each gets a little further: none of them is needed to the end."""
    world = scenario()
    for _ in range(30):
        run_killed(world, world.drain, 40, after=True)
        world.clock.advance(60)
    assert world.states == RIGHT


@pytest.mark.parametrize("error", ["InternalServerError", THROTTLED])
@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "Query", "BatchGetItem", "GetItem"])
def test_a_table_that_fails_under_a_drainer_strands_nothing(operation: str, error: str) -> None:
    """Whichever of its calls fails for a while: it says so, or waits, and everything goes out later."""
    world = scenario()
    world.dynamodb.failures = Only(error, after=1, operations=(operation,))
    world.drain()
    world.dynamodb.heal()
    drain_until_done(world, minutes=5)
    assert world.states == RIGHT
    assert world.sqs.dead_letters == []


def test_an_index_that_cannot_be_scanned_is_an_error() -> None:
    """The schedule comes again in a minute."""
    world = scenario()
    world.dynamodb.failures = Only("InternalServerError", operations=("Scan",))
    with pytest.raises(PublishError):
        world.drain()
    world.dynamodb.heal()
    drain_until_done(world)
    assert world.states == RIGHT


def test_throttling_does_not_end_a_drainer() -> None:
    """It holds for a moment, and goes on."""
    world = scenario()
    world.dynamodb.failures = Only(THROTTLED, after=3, times=5, operations=("UpdateItem",))
    world.drain()
    assert world.states == RIGHT
    assert wake_ups(world)[1:] == []


def test_a_lost_wake_up_strands_nothing() -> None:
    """The schedule's drainer finds what waits for whichever target, without a message."""
    world = made_waiting(TWO_TARGETS)
    world.publish_one(message("x", labels={"team": "b"}))
    world.sqs.retries.clear()
    drain_at(world, 31)
    assert sorted(map(str, sent(world))) == ["held", "x"]


def test_a_wake_up_drains_the_routing_key_of_its_target() -> None:
    """And no other."""
    world = make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=2, retry_after=5))
    world.publish(message())
    assert waiting(world) == ["a#f-1", "b#f-1"]
    world.clock.advance(6)
    world.drain(WakeUp(target="b"))
    assert waiting(world) == ["a#f-1"]


def test_a_drainer_goes_on_as_soon_as_anothers_probe_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A critical alert arrives in the moment in which the drainer would have probed, and resumes the key."""
    world = make_world()
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=4))
    for number in range(5):
        world.publish(message(f"f-{number}"))
    world.clock.advance(PROBE_SECONDS)
    began_at = world.clock()
    other = make_limiter(world.dynamodb, clock=world.clock)
    take, key = world.limiter.take, SecretStr(ROUTING_KEY)
    probes: list[Permit] = []

    def overtaken(*asked: Any, **more: Any) -> Permit:
        if probes:
            return take(*asked, **more)
        probes.append(other.take(key, Taker.CRITICAL, world.clock()))
        try:
            return take(*asked, **more)
        finally:
            other.resume(key, world.clock())

    monkeypatch.setattr(world.limiter, "take", overtaken)
    world.drain()
    assert probes[0].is_probe
    assert len(world.pagerduty.incidents) == 5
    assert max(request.at for request in world.pagerduty.requests) - began_at < 5


@pytest.mark.parametrize("by", ["the schedule", "wake-ups"])
@pytest.mark.parametrize(("keys", "at_a_time"), [(1, 30), (3, 10), (10, 3), (12, 3)])
def test_routing_keys_share_the_threads(keys: int, at_a_time: int, by: str) -> None:
    """Otherwise one's critical delivery stands behind hundreds of others', and permits are used seconds late."""
    world = make_world({f"pagerduty/t-{n}": target_secret(f"t-{n}", f"{n:032}") for n in range(keys)})
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None, retry_after=30))
    for number in range(35):
        world.publish(message(f"f-{number}"))
    world.pagerduty.set_faults()
    world.clock.advance(31)
    batches: list[int] = []

    def map_deliveries(deliver: Callable[[Any], Any], things: Any) -> list[Any]:
        batches.append(len(list(things)))
        return [deliver(thing) for thing in things]

    drainer = replace(world.drainer, map_concurrently=map_deliveries)
    for target in [""] if by == "the schedule" else [f"t-{n}" for n in range(keys)]:
        drainer.run(world.targets.read(), world.clock() + 1000, WakeUp(target=target), wake_ups=keys)
    assert max(batches) == at_a_time
    assert waiting(world) == []


def test_a_wake_up_for_a_target_that_is_gone_drains_everything() -> None:
    """It may have been renamed meanwhile."""
    world = made_waiting()
    world.clock.advance(31)
    world.drain(WakeUp(target="renamed"))
    assert sent(world) == ["held"]


@pytest.mark.parametrize("seconds", [1, 3, 10])
def test_an_index_that_lags_strands_nothing_and_sends_nothing_twice(seconds: float) -> None:
    """What it does not show yet is found later, what it still shows is not sent again."""
    world = make_world()
    world.dynamodb.lag_behind(seconds=seconds, clock=world.clock)
    hold(world)
    for number in range(30):
        world.publish_one(message(f"f-{number}", severity="critical" if number % 3 else "warning"))
    drain_until_done(world)
    assert sorted(map(str, sent(world))) == sorted(["held", *(f"f-{number}" for number in range(30))])


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_index_that_shows_a_delivery_twice_sends_it_once(*, is_gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its place has changed, DynamoDB puts the new entry and deletes the old one in two writes."""
    world = made_waiting()
    world.publish(message("f-1"))
    query, scan = world.dynamodb.query, world.dynamodb.scan

    def twice(answer: dict[str, Any]) -> dict[str, Any]:
        before = [{**item, "waiting_order": {"S": "2#0000000000001"}} for item in answer["Items"]]
        return {**answer, "Items": [*before, *answer["Items"]]}

    monkeypatch.setattr(world.dynamodb, "query", lambda **request: twice(query(**request)))
    monkeypatch.setattr(world.dynamodb, "scan", lambda **request: twice(scan(**request)))
    if is_gone:
        world.secrets.secrets = {"pagerduty/other": target_secret("other", OTHER_KEY)}
        world.targets.read(anew=True)
    world.clock.advance(UNKNOWN_TARGET_SECONDS + 60)
    world.drain()
    assert (waiting(world), world.problems) == ([], [])
    assert (len(sent(world)), len(world.sqs.dead_letters)) == ((0, 2) if is_gone else (2, 0))


def test_one_drainer_is_enough() -> None:
    """A second wake-up finds the lease taken, and leaves."""
    world = made_waiting()
    world.clock.advance(31)
    reports: list[Any] = []

    def handle(*request: Any) -> Any:
        world.pagerduty.handle = original  # type: ignore[method-assign]
        started = world.clock()
        reports.append(world.drain(WakeUp(target="production")))
        assert world.clock() == started
        return original(*request)

    original = world.pagerduty.handle
    world.pagerduty.handle = handle  # type: ignore[method-assign, assignment]
    assert len(world.drain()) == 1
    assert reports == [[]]


def test_two_drainers_send_nothing_twice() -> None:
    """The schedule's takes over from one that is at work: each record is claimed by one of them."""
    world = made_waiting()
    for number in range(30):
        world.publish_one(message(f"f-{number}"))
    world.clock.advance(31)
    requests = 0

    def handle(*request: Any) -> Any:
        nonlocal requests
        requests += 1
        if requests == 5:
            world.drain(seconds=20)
        return original(*request)

    original = world.pagerduty.handle
    world.pagerduty.handle = handle  # type: ignore[method-assign, assignment]
    world.drain()
    assert sorted(map(str, sent(world))) == sorted(["held", *(f"f-{number}" for number in range(30))])


def at_request(world: World, number: int, act: Callable[[], object]) -> None:
    """Do something while the n-th request from now on is on its way."""
    original = world.pagerduty.handle
    requests = 0

    def handle(method: str, path: str, body: bytes) -> Any:
        nonlocal requests
        requests += 1
        if requests == number:
            act()
        return original(method, path, body)

    world.pagerduty.handle = handle  # type: ignore[method-assign]


def test_a_drainer_whose_lease_was_taken_over_ends() -> None:
    """At its next renewal, with the rest left to the other."""
    world = made_waiting(rate_limit=12)
    for number in range(40):
        world.publish_one(message(f"f-{number}"))
    world.clock.advance(31)
    at_request(world, 3, lambda: world.limiter.lead(SecretStr(ROUTING_KEY), "other", world.clock(), takes_over=True))
    started = world.clock()
    world.drain(WakeUp(target="production"))
    assert world.clock() - started < 20
    assert len(waiting(world)) > 20


def test_the_schedule_s_drainer_takes_over_from_one_that_has_died() -> None:
    """Its lease holds back a wake-up's alone."""
    world = made_waiting()
    world.clock.advance(31)
    world.limiter.lead(SecretStr(ROUTING_KEY), "dead", world.clock())
    assert world.drain(WakeUp(target="production")) == []
    assert len(world.drain()) == 1


def test_a_dead_drainer_holds_nothing_for_longer_than_half_a_minute() -> None:
    """Its claims end by then."""
    world = made_waiting()
    world.clock.advance(31)
    leases: list[float] = []
    at_request(world, 1, lambda: leases.append(world.item("production#held")["lease_until"] / 1000 - world.clock()))
    world.drain()
    assert [5 < lease <= 30 for lease in leases] == [True]


def arrive_at_leave(world: World, arrive: Callable[[], object]) -> None:
    """Let something arrive just before a drainer returns its lease."""
    original = world.dynamodb.update_item

    def update_item(**request: Any) -> Any:
        if "REMOVE #drain_until" in request["UpdateExpression"]:
            world.dynamodb.update_item = original  # type: ignore[method-assign]
            arrive()
        return original(**request)

    world.dynamodb.update_item = update_item  # type: ignore[method-assign]


def test_what_begins_to_wait_while_a_drainer_leaves_is_sent() -> None:
    """It has seen the lease, and wakes nobody: it does not have to wait for the schedule."""
    world = made_waiting()
    world.clock.advance(31)
    arrived: list[float] = []

    def arrive() -> None:
        arrived.append(world.clock())
        world.publish_one(message("late"))

    arrive_at_leave(world, arrive)
    world.drain()
    assert arrived
    assert sent(world) == ["held", "late"] or wake_ups(world)[1:]


def test_what_is_left_is_handed_over() -> None:
    """When a drainer's time is over it wakes the next, so many times in a row; then the schedule does."""
    world = make_world(rate_limit=2)
    for number in range(20):
        world.publish_one(message(f"f-{number}"))
    world.sqs.retries.clear()
    world.drain(WakeUp(target="production", handovers=MAX_HANDOVERS - 1))
    assert wake_ups(world) == [{"drain": True, "target": "production", "handovers": MAX_HANDOVERS}]
    assert world.sqs.retries[0].delay_seconds == 0
    world.sqs.retries.clear()
    world.drain(WakeUp(target="production", handovers=MAX_HANDOVERS))
    assert wake_ups(world) == []
    world.drain()
    assert [wake_up["handovers"] for wake_up in wake_ups(world)] == [1]


def test_a_drainer_whose_time_is_up_hands_over_though_it_sees_nothing_left() -> None:
    """What has arrived since its last look has seen its lease, and woken nobody."""
    world = made_waiting()
    world.clock.advance(31)
    world.sqs.retries.clear()
    arrive_at_leave(world, lambda: world.publish_one(message("late")))
    world.drain(WakeUp(target="production"), seconds=RUN_SECONDS + LINGER_SECONDS - 1)
    assert (sent(world), waiting(world)) == (["held"], ["production#late"])
    assert wake_ups(world) == [{"drain": True, "target": "production", "handovers": 1}]


def test_where_nothing_is_left_nobody_is_woken() -> None:
    """The drainer stays a moment and ends."""
    world = made_waiting()
    world.clock.advance(31)
    world.sqs.retries.clear()
    started = world.clock()
    world.drain(WakeUp(target="production"))
    assert (sent(world), wake_ups(world)) == (["held"], [])
    assert world.clock() - started < 10


def test_a_wake_up_that_comes_too_late_in_an_invocation_is_handed_on() -> None:
    """What was before it in its batch took the time: whether something waits is not known yet."""
    world = made_waiting()
    world.clock.advance(31)
    world.sqs.retries.clear()
    world.drain(WakeUp(target="production"), seconds=5)
    assert (sent(world), waiting(world)) == ([], ["production#held"])
    assert wake_ups(world) == [{"drain": True, "target": "production", "handovers": 1}]


def test_nothing_begins_too_late_in_an_invocation() -> None:
    """An attempt that takes all of its time ends before the deadline."""
    world = made_waiting()
    for number in range(300):
        world.publish_one(message(f"f-{number}"))
    world.clock.advance(31)
    world.pagerduty.set_faults(Fault(FaultKind.ANSWER, count=None, delay_seconds=100))
    started = world.clock()
    world.drain()
    assert world.clock() - started < 57


def test_what_waits_does_not_expire() -> None:
    """However long the outage: it goes out after a month."""
    world = made_waiting()
    world.publish_one(message())
    assert all("expires_at" not in world.item(identity) for identity in waiting(world))
    world.clock.advance(40 * DAY_MS / 1000)
    drain_until_done(world)
    assert sorted(map(str, sent(world))) == ["f-1", "held"]


# --- targets that change ----------------------------------------------------------------------------------------------


def test_what_waits_for_a_disabled_target_is_skipped() -> None:
    """Not sent elsewhere, not dead-lettered; the resolve of what is open is sent."""
    world = make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})
    world.publish(message("open"))
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None, retry_after=30, routing_key=ROUTING_KEY))
    world.publish(message("skipped", severity="critical"))
    world.publish(message("unsent", severity="critical"))
    world.publish(message("open", "resolved", at=60))
    world.pagerduty.set_faults()
    assert waiting(world) == ["a#open", "a#skipped", "a#unsent"]
    world.secrets.secrets["pagerduty/a"] = target_secret("a", enabled=False)
    world.targets.read(anew=True)
    world.clock.advance(31)
    reports = {report.alert and report.alert.fingerprint: report.result for report in world.drain()}
    assert reports["skipped"] == Skipped(reason=SkipReason.TARGET_DISABLED)
    assert isinstance(reports["open"], Accepted)
    assert (waiting(world), world.sqs.dead_letters) == ([], [])
    assert not world.item("a#unsent")["open"]
    assert [incident.dedup_key for incident in world.pagerduty.incidents] == ["open", "open", "skipped", "unsent"]


@pytest.mark.parametrize("change", [{"enabled": False}, {"severity_threshold": "critical"}])
def test_what_is_skipped_is_no_probe(change: dict[str, Any]) -> None:
    """A target is silenced during an outage: its backlog does not keep another target's from going out after it."""
    world = make_world(TWO_TARGETS)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    for number in range(50):
        world.publish(message(f"b-{number}", labels={"team": "b"}))
    world.clock.advance(1)
    world.publish(message("a-1", labels={"team": "a"}))
    world.secrets.secrets["pagerduty/b"] = target_secret("b", match=['team="b"'], **change)
    world.targets.read(anew=True)
    world.pagerduty.set_faults()
    world.drain()
    assert (world.states, waiting(world)) == ({"a-1": "triggered"}, [])


def test_what_is_skipped_takes_no_permit() -> None:
    """A backlog of thousands that nobody wants any more costs the other targets with that key nothing."""
    world = made_waiting(TWO_TARGETS, rate_limit=12)
    for number in range(100):
        world.publish(message(f"b-{number}", labels={"team": "b"}))
    for number in range(5):
        world.publish(message(f"a-{number}", labels={"team": "a"}))
    world.secrets.secrets["pagerduty/b"] = target_secret("b", match=['team="b"'], enabled=False)
    world.targets.read(anew=True)
    world.clock.advance(30)
    world.drain()
    assert [identity for identity in waiting(world) if identity.startswith("b")] == []
    assert {f"a-{number}" for number in range(5)} <= set(sent(world))


def test_what_is_skipped_no_longer_is_sent_with_a_permit_of_its_own() -> None:
    """A resolve takes the place of what a silenced target would skip, after the drainer has looked at it."""
    world = make_world(TWO_TARGETS)
    world.publish(message("open", labels={"team": "b"}))
    hold(world)
    world.publish(message("open", labels={"team": "b"}, severity="critical", at=5))
    world.secrets.secrets["pagerduty/b"] = target_secret("b", match=['team="b"'], enabled=False)
    targets = world.targets.read(anew=True)
    identity, now = "b#open", round(world.clock() * 1000)
    record = world.table.read([identity], now)[identity]
    assert targets.targets[1].skip_reason_of(
        record.status, record.urgency, is_change=False, has_open_incident=record.open
    )
    world.publish(message("open", "resolved", labels={"team": "b"}, at=10))
    world.clock.advance(31)
    report = world.sender.deliver_waiting(identity, record, targets.targets[1], None, world.clock() + 30)
    assert report is not None
    assert isinstance(report.result, Accepted)
    assert world.states["open"] == "resolved"


def test_what_waits_for_a_target_that_is_gone_is_dead_lettered_visibly() -> None:
    """After a quarter of an hour; the other targets' deliveries go on at once."""
    world = make_world(
        {"pagerduty/a": target_secret("a", match=['team="a"']), "pagerduty/b": target_secret("b", OTHER_KEY)}
    )
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=2, retry_after=1))
    world.publish(message("x", labels={"team": "a"}))
    world.publish(message("y"))
    del world.secrets.secrets["pagerduty/a"]
    world.targets.read(anew=True)
    drain_at(world, 2)
    assert (waiting(world), world.sqs.dead_letters, sent(world)) == (["a#x"], [], ["y"])
    world.clock.advance(UNKNOWN_TARGET_SECONDS)
    [report] = world.drain()
    assert isinstance(report.result, Rejected)
    assert isinstance(report.result.error, NoTargetError)
    assert "'a'" in str(report.result.error)
    assert [letter.content["delivery"]["target"] for letter in world.sqs.dead_letters] == ["a"]
    assert waiting(world) == []


def test_a_large_backlog_of_a_target_that_is_gone_outlasts_no_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next minute's drainer goes on with it; one that is killed would be started again beside that one."""
    world = made_waiting()
    for number in range(120):
        world.publish(message(f"f-{number}"))
    world.secrets.secrets = {"pagerduty/other": target_secret("other", OTHER_KEY)}
    world.targets.read(anew=True)
    world.clock.advance(UNKNOWN_TARGET_SECONDS + 60)
    send = world.sqs.send_message

    def send_slowly(**message: Any) -> Any:
        world.clock.advance(1)
        return send(**message)

    monkeypatch.setattr(world.sqs, "send_message", send_slowly)
    began_at = world.clock()
    assert len(world.drain()) > 50
    assert world.clock() - began_at < INVOCATION_SECONDS + 2
    drain_until_done(world)
    assert len(world.sqs.dead_letters) == 121


def test_what_waits_for_a_target_that_was_not_read_waits_for_a_day() -> None:
    """A new execution environment that cannot read one secret dead-letters nothing of it."""
    world = made_waiting()
    world.publish_one(message("x"))
    text = world.secrets.secrets.pop("pagerduty/production")
    world.targets.read(anew=True)
    world.secrets.secrets["pagerduty/production"] = ""
    world.targets.read(anew=True)
    world.clock.advance(UNKNOWN_TARGET_SECONDS + 60)
    assert (world.drain(), world.sqs.dead_letters) == ([], [])
    world.secrets.secrets["pagerduty/production"] = text
    world.targets.read(anew=True)
    world.drain()
    assert waiting(world) == []
    assert sent(world)[-1] == "x"


def test_what_waits_for_a_target_that_pages_nobody_any_more_is_skipped() -> None:
    """Its secret was made one of type none meanwhile."""
    world = made_waiting()
    world.publish_one(message())
    world.secrets.secrets["pagerduty/production"] = json.dumps({"name": "production", "type": "none"})
    world.targets.read(anew=True)
    world.clock.advance(31)
    assert {report.result for report in world.drain()} == {Skipped(reason=SkipReason.NO_PAGE)}
    assert (waiting(world), sent(world), world.sqs.dead_letters) == ([], [], [])


@pytest.mark.parametrize("operation", ["BatchGetItem", "PutItem"])
def test_what_waits_for_a_target_that_is_gone_stops_nobody(operation: str) -> None:
    """Its record cannot be read, or not be ended: the others are sent in the same run."""
    world = make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=2, retry_after=1))
    world.publish(message())
    del world.secrets.secrets["pagerduty/a"]
    world.targets.read(anew=True)
    world.clock.advance(UNKNOWN_TARGET_SECONDS + 1)
    original = getattr(world.dynamodb, {"BatchGetItem": "batch_get_item", "PutItem": "put_item"}[operation])

    def refuse(**request: Any) -> Any:
        if "a#f-1" in str(request):
            raise client_error(THROTTLED)
        return original(**request)

    setattr(world.dynamodb, original.__name__, refuse)
    world.drain()
    assert sent(world) == ["f-1"]


def test_a_target_that_is_back_in_time_gets_what_waits() -> None:
    """A secret that was restored, or listed late."""
    world = made_waiting()
    secret = world.secrets.secrets.pop("pagerduty/production")
    world.secrets.secrets["pagerduty/other"] = target_secret("other", OTHER_KEY)
    world.targets.read(anew=True)
    drain_at(world, 600)
    world.secrets.secrets["pagerduty/production"] = secret
    world.targets.read(anew=True)
    world.drain()
    assert (sent(world), world.sqs.dead_letters) == (["held"], [])


def test_what_waits_goes_to_the_rotated_key() -> None:
    """It is sent with the key that the secret has by then."""
    world = made_waiting()
    world.secrets.secrets["pagerduty/production"] = target_secret("production", OTHER_KEY)
    world.targets.read(anew=True)
    world.drain()
    assert [request.routing_key for request in world.pagerduty.requests][-1].startswith(OTHER_KEY[:4])  # type: ignore[union-attr]


# --- bad records ------------------------------------------------------------------------------------------------------


def kill_for(world: World, dedup_key: str) -> None:
    """Let the process be killed by each request for a key."""
    original = world.pagerduty.handle

    def handle(method: str, path: str, body: bytes) -> Any:
        if f'"{dedup_key}"'.encode() in body:
            raise Killed
        return original(method, path, body)

    world.pagerduty.handle = handle  # type: ignore[method-assign]


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_a_record_that_kills_the_process_is_dead_lettered(severity: str) -> None:
    """After five claims without an answer; the others are out by then."""
    world = made_waiting()
    world.publish_one(message("killer", severity=severity))
    for number in range(15):
        world.publish_one(message(f"f-{number}"))
    kill_for(world, "killer")
    killed = 0
    deaths: int | None = None
    for _ in range(20):
        try:
            world.drain()
        except Killed:
            killed += 1
        if deaths is None and len(sent(world)) == 16:
            deaths = killed
        world.clock.advance(30)
    assert killed == MAX_TRIES
    assert deaths is not None
    assert deaths <= LAST_TRIES + 1
    [letter] = world.sqs.dead_letters
    assert (letter.content["alert"]["fingerprint"], letter.attributes["error_type"]) == ("killer", "exhausted")
    assert waiting(world) == []


def test_what_may_kill_its_sender_goes_alone() -> None:
    """After one death without an answer, what came since is not sent with it, whichever of a batch ends first."""
    world = made_waiting()
    world.drainer = replace(world.drainer, map_concurrently=lambda call, things: list(map(call, reversed([*things]))))
    world.publish_one(message("killer"))
    kill_for(world, "killer")
    world.clock.advance(31)
    with pytest.raises(Killed):
        world.drain()
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=30))
    for number in range(5):
        world.publish_one(message(f"f-{number}", severity="critical" if number == 0 else "error"))
    world.clock.advance(31)
    with pytest.raises(Killed):
        world.drain()
    assert {f"f-{number}" for number in range(5)} <= set(sent(world))


def test_a_critical_delivery_whose_drainer_died_once_is_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda may kill anybody at any time: that alone does not put a page behind a storm."""
    world = made_waiting(rate_limit=12)
    for number in range(40):
        world.publish(message(f"w-{number}"))
    world.publish(message("c", severity="critical"))
    world.clock.advance(31)
    with monkeypatch.context() as dying:
        dying.setattr(world.pagerduty, "handle", lambda *_, **__: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            world.drain()
    world.clock.advance(35)
    world.drain()
    assert "c" in sent(world)
    assert len(sent(world)) < 30


class InternalError(PublishError):
    """What the test explains an unexpected exception as."""


def test_an_unexpected_exception_stays_with_its_record() -> None:
    """It is reported, costs its record a pause, and after five times a dead letter; the rest of the batch goes on."""
    world = made_waiting()
    world.publish_one(message("bad", severity="critical"))
    for number in range(5):
        world.publish_one(message(f"f-{number}"))
    world.drainer = replace(world.drainer, record_exception=lambda error: InternalError(str(error)))
    original = world.pagerduty.handle

    def handle(method: str, path: str, body: bytes) -> Any:
        if b'"bad"' in body:
            raise RuntimeError("a mistake")
        return original(method, path, body)

    world.pagerduty.handle = handle  # type: ignore[method-assign]
    drain_at(world, 31)
    assert len(sent(world)) == 6
    assert {str(problem) for problem in world.problems} == {"a mistake"}
    drain_until_done(world)
    assert [letter.content["alert"]["fingerprint"] for letter in world.sqs.dead_letters] == ["bad"]
    assert len(world.problems) == MAX_TRIES


def fail_on_exception(error: Exception) -> PublishError:
    pytest.fail(f"an unexpected exception: {error!r}")


BODIES = {"none": None, "empty": b"", "no zlib": b"no zlib", "no JSON": compress(b"{"), "no alert": compress(b"{}")}


def damage_body(world: World, identity: str, body: bytes | None) -> None:
    """Replace the body of a record's item, or remove it."""
    item = {name: value for name, value in world.dynamodb.tables[TABLE][identity].items() if name != "body"}
    world.dynamodb.put_item(TableName=TABLE, Item=item if body is None else {**item, "body": {"B": body}})


@pytest.mark.parametrize("what", BODIES)
def test_a_damaged_body_is_dead_lettered(what: str) -> None:
    """At once, with what is known of it, and as what it is: nothing kills the function. The others go on."""
    world = made_waiting()
    world.publish_one(message("bad", severity="critical"))
    world.publish_one(message("good"))
    damage_body(world, "production#bad", BODIES[what])
    world.drainer = replace(world.drainer, record_exception=fail_on_exception)
    drain_at(world, 31)
    assert sorted(map(str, sent(world))) == ["good", "held"]
    [letter] = world.sqs.dead_letters
    assert "production#bad" in letter.body
    assert letter.attributes["error_type"] == "invalid_alert"
    assert (waiting(world), world.problems) == ([], [])


def test_a_body_that_is_damaged_before_the_claim_is_dead_lettered() -> None:
    """The record has changed since the drainer read it: what is there now is not claimed, and ends in the next run."""
    world = made_waiting()
    world.publish_one(message("bad"))
    world.clock.advance(31)
    identity, now = "production#bad", round(world.clock() * 1000)
    record = world.table.read([identity], now)[identity]
    damage_body(world, identity, b"no zlib")
    damage(world, identity, rev={"N": str(record.rev + 1)})
    [target] = world.targets.read().targets
    with pytest.raises(InvalidAlertError):
        world.sender.deliver_waiting(identity, record, target, None, world.clock() + 30)
    assert "owner" not in world.item(identity)
    drain_until_done(world)
    assert len(world.sqs.dead_letters) == 1


@pytest.mark.parametrize("what", DAMAGES)
def test_a_record_that_cannot_be_read_is_dead_lettered(what: str) -> None:
    """With its alert, and without a permit: one bad record stops no other. Its end is sent all the same."""
    world = made_waiting()
    world.publish_one(message("bad", severity="critical"))
    world.publish_one(message("good"))
    damage(world, "production#bad", **DAMAGES[what])
    drain_until_done(world)
    assert sorted(map(str, sent(world))) == ["good", "held"]
    [letter] = world.sqs.dead_letters
    assert (letter.content["alert"]["fingerprint"], letter.content["error"]) == ("bad", "its record cannot be read")
    assert waiting(world) == []
    world.publish_one(message("bad", "resolved", at=60))
    assert ("resolve", "bad") in world.requests


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_new_arrival_takes_the_place_of_a_record_that_cannot_be_read(status: str) -> None:
    """Nothing is known of what it was: when in doubt, page."""
    world = made_waiting()
    world.publish_one(message("bad"))
    damage(world, "production#bad", **DAMAGES["no state"])
    world.clock.advance(31)
    assert world.publish_one(message("bad", status, at=31)).outcome == "accepted"
    assert waiting(world) == ["production#held"]
    assert world.publish_one(message("bad", status, at=32)).outcome == "skipped"


def test_what_goes_wrong_with_one_routing_key_stops_no_other() -> None:
    """Each minute again, if nobody mends it."""
    world = make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=2, retry_after=30))
    world.publish(message("f-1"))
    world.pagerduty.set_faults()
    world.clock.advance(31)
    original = world.dynamodb.query

    def query(**call: Any) -> Any:
        if call["ExpressionAttributeValues"][":waiting"]["S"].startswith("a#"):
            raise RuntimeError("a mistake")
        return original(**call)

    world.dynamodb.query = query  # type: ignore[method-assign]
    world.drainer = replace(world.drainer, record_exception=lambda error: InternalError(str(error)))
    world.drain()
    assert [incident.routing_key[:4] for incident in world.pagerduty.incidents] == [OTHER_KEY[:4]]
    assert [str(problem) for problem in world.problems] == ["a mistake"]


def refuse(world: World) -> None:
    """Let PagerDuty refuse `bad` for good."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=None, dedup_key="bad", body={"message": "no"}))


ENDINGS: dict[str, Callable[[World], None]] = {
    "rejected": refuse,
    "a damaged record": lambda world: damage(world, "production#bad", **DAMAGES["no state"]),
    "a damaged body": lambda world: damage_body(world, "production#bad", b"no zlib"),
    "tried too often": lambda world: damage(world, "production#bad", tries={"N": str(MAX_TRIES)}),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_dead_lettered_stays(ending: str) -> None:
    """The queue does not take it: it is not lost, and goes there later. A drainer tries it once a minute."""
    world = made_waiting()
    world.publish_one(message("bad"))
    ENDINGS[ending](world)
    world.sqs.fail("ServiceUnavailable")
    for _ in range(2):
        drain_at(world, 31)
        assert waiting(world) == ["production#bad"]
        assert [report.outcome for report in world.told if report.lost] == ["rejected"]
    world.sqs.fail("ServiceUnavailable", times=0)
    drain_until_done(world)
    [letter] = world.sqs.dead_letters
    assert "bad" in letter.body


def test_a_dead_letter_is_reported_though_the_table_fails_after_it() -> None:
    """It stays in the index, and ends once more: two dead letters are better than none."""
    world = made_waiting()
    world.publish_one(message("bad"))
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=None, dedup_key="bad", body={"message": "no"}))
    original = world.sqs.send_message

    def send_message(**call: Any) -> Any:
        if call["QueueUrl"] == DEAD_LETTER_URL:
            world.dynamodb.failures = Only("InternalServerError", operations=("BatchGetItem",))
        return original(**call)

    world.sqs.send_message = send_message  # type: ignore[method-assign]
    drain_at(world, 31)
    [rejected] = [report for report in world.told if report.outcome == "rejected"]
    assert [str(error.reason) for error in rejected.all_errors] == ["table_unavailable", "bad_request"]
    world.sqs.send_message = original  # type: ignore[method-assign]
    world.dynamodb.heal()
    drain_until_done(world)
    assert [letter.content["alert"]["fingerprint"] for letter in world.sqs.dead_letters] == ["bad", "bad"]


def test_something_newer_does_not_go_with_a_dead_letter() -> None:
    """It came while the dead letter was put on the queue."""
    world = make_world()
    world.publish_one(message(summary="80 %"))
    hold(world)
    world.publish_one(message(at=5, severity="critical", summary="85 %"))
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, action="trigger", dedup_key="f-1", count=None))
    world.clock.advance(31)
    original = world.sqs.send_message

    def send_message(**request: Any) -> Any:
        if request["QueueUrl"] == DEAD_LETTER_URL:
            world.sqs.send_message = original  # type: ignore[method-assign]
            world.publish_one(message(status="resolved", at=60))
        return original(**request)

    world.sqs.send_message = send_message  # type: ignore[method-assign]
    world.drain()
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"
    assert len(world.sqs.dead_letters) == 1


def test_something_newer_does_not_go_with_what_is_skipped() -> None:
    """It came between the claim and the skip of a delivery to a disabled target."""
    world = make_world()
    world.publish_one(message("open"))
    hold(world)
    world.publish_one(message("open", at=5, severity="critical"))
    world.secrets.secrets["pagerduty/production"] = target_secret("production", enabled=False)
    world.targets.read(anew=True)
    world.clock.advance(31)
    original = world.dynamodb.put_item

    def put_item(**request: Any) -> Any:
        answer = original(**request)
        if request["Item"]["id"]["S"] == "production#open" and "owner" in request["Item"]:
            world.dynamodb.put_item = original  # type: ignore[method-assign]
            world.publish_one(message("open", "resolved", at=60))
        return answer

    world.dynamodb.put_item = put_item  # type: ignore[method-assign]
    world.drain()
    drain_until_done(world)
    assert world.states["open"] == "resolved"


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_says_how_long_it_waited() -> None:
    """Since it began to wait."""
    world = made_waiting()
    world.clock.advance(40)
    [report] = world.drain()
    assert 40_000 <= report.waiting_milliseconds < 42_000
    assert (report.known, report.target, report.outcome) == (True, "production", "accepted")


def test_what_waits_is_sent_as_it_came() -> None:
    """Every part of the alert is in the event, as if it had been sent at once."""
    alert: dict[str, Any] = {
        "annotations": {"description": "replication is behind", "runbook_url": "https://runbooks.example/db"},
        "component": "postgres",
        "group": "prod",
        "details": {"lag": 97},
    }
    at_once = make_world()
    at_once.publish_one(message(**alert))
    world = made_waiting()
    world.publish_one(message(**alert))
    drain_at(world, 31)
    [direct] = at_once.pagerduty.incidents
    [later] = [incident for incident in world.pagerduty.incidents if incident.dedup_key == "f-1"]
    assert (later.payload, later.links) == (direct.payload, direct.links)
