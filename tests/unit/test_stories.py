"""What happened to teams that were paged wrongly, late or not at all, told message by message.

Each story says when a message is published, by which clock, and in which order messages arrive; the end is what
PagerDuty shows.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from handler.delivery.gateway import PROBE_SECONDS
from handler.delivery.record import DAY_MS
from handler.delivery.retry import REFUSED_KEY_SECONDS, THROTTLED_SECONDS
from handler.outcome import Accepted, DeferReason, Deferred, Rejected, SkipReason
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import NOW
from tests.lab.deliveries import Only, drain_until_done, message, run_killed, waiting
from tests.lab.dynamodb import TABLE
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.world import World, make_world

EVENTS = Path(__file__).parents[2] / "events"
HOUR = 3600.0
DAY = DAY_MS / 1000
THROTTLED = "ProvisionedThroughputExceededException"


@pytest.fixture
def world() -> World:
    return make_world()


def text(at: float) -> str:
    return datetime.fromtimestamp(NOW + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tell(world: World, at: float, status: str, **alert: Any) -> str:
    """Publish a message when it is time, and let what waits go out; return what became of it."""
    world.clock.now = max(world.clock(), NOW + at)
    [report] = world.publish(message(status=status, at=at, **alert))
    drain_until_done(world)
    return str(getattr(report.result, "reason", report.outcome))


def states(world: World) -> list[tuple[str, str]]:
    """Return the state of each incident, with the first characters of its routing key."""
    return [(incident.routing_key[:4], str(incident.state)) for incident in world.pagerduty.incidents]


# --- clocks: what a source says of times orders nothing ---


@pytest.mark.parametrize("skew", [-DAY, -600.0, 0.0, 600.0, DAY, 365 * DAY])
def test_a_source_whose_clock_is_off(world: World, skew: float) -> None:
    """Two incidents, each opened and the first closed, whatever the clock says, and also where it is set right."""
    tell(world, 1, "firing", starts_at=text(1 + skew))
    tell(world, 60, "resolved", starts_at=text(1 + skew), ends_at=text(59 + skew))
    tell(world, 600, "firing", starts_at=text(600))
    assert [state for _, state in states(world)] == ["resolved", "triggered"]
    tell(world, 1200, "resolved", ends_at=text(1199 + skew))
    tell(world, 3000, "firing", starts_at=text(3000 + skew))
    assert [state for _, state in states(world)] == ["resolved", "resolved", "triggered"]


def test_an_end_that_lies_before_the_acknowledgement(world: World) -> None:
    """It ended at 60, somebody who did not know acknowledged it at 90, and the end was published at 120."""
    tell(world, 1, "firing", starts_at=text(0))
    tell(world, 90, "acknowledged", starts_at=text(0))
    tell(world, 120, "resolved", starts_at=text(0), ends_at=text(60))
    assert world.states == {"f-1": "resolved"}


def test_an_alert_that_comes_back_with_the_start_it_always_had(world: World) -> None:
    """Its sender lost sight of it: it pages again at once, and not for each repetition."""
    tell(world, 1, "firing", starts_at=text(0))
    tell(world, 601, "resolved", starts_at=text(0), ends_at=text(600))
    assert tell(world, 900, "firing", starts_at=text(0)) == "accepted"
    assert tell(world, 4 * HOUR, "firing", starts_at=text(0)) == "accepted"
    assert [state for _, state in states(world)] == ["resolved", "triggered"]


def test_an_end_before_the_beginning(world: World) -> None:
    """An alert of three seconds, from a clock five seconds behind."""
    tell(world, 10, "firing")
    tell(world, 13, "resolved", ends_at=text(8))
    assert world.states == {"f-1": "resolved"}


def test_a_silence_that_ends_while_it_still_fires(world: World) -> None:
    """It pages then, for nobody was."""
    tell(world, 1, "silenced", starts_at=text(0))
    tell(world, HOUR, "firing", starts_at=text(0))
    assert world.states == {"f-1": "triggered"}


@pytest.mark.parametrize("ahead", [0.0, 60.0, DAY])
def test_a_sender_that_vouches_for_a_clock_that_is_ahead(world: World, ahead: float) -> None:
    """`observed_at` goes before the time of publishing, but not beyond it: what follows is not `superseded`."""
    tell(world, 0, "firing", observed_at=text(ahead))
    tell(world, 30, "resolved", observed_at=text(30))
    assert world.states == {"f-1": "resolved"}
    assert tell(world, 60, "firing", observed_at=text(60)) == "accepted"


def test_a_sender_that_vouches_for_its_order(world: World) -> None:
    """It published late: its end of 20 does not close what began at 30."""
    tell(world, 31, "firing", observed_at=text(30))
    assert tell(world, 35, "resolved", observed_at=text(20)) == "superseded"
    assert world.states == {"f-1": "triggered"}


def on_eventbridge(status: str, number: int, at: float) -> dict[str, Any]:
    """Return a native alert as EventBridge brings it: its time has whole seconds."""
    alert = {"fingerprint": "f-1", "alert_name": "X", "status": status, "labels": {"severity": "critical"}}
    return {
        "version": "0",
        "id": f"e-{number}",
        "detail-type": "Alert",
        "source": "my.app",
        "account": "000000000000",
        "region": "eu-west-1",
        "time": text(at)[:19] + "Z",
        "resources": [],
        "detail": {"alert": alert},
    }


@pytest.mark.parametrize(
    "statuses",
    [
        ("firing", "resolved", "firing"),
        ("firing", "acknowledged", "resolved"),
        ("resolved", "firing", "resolved"),
        ("firing", "resolved", "firing", "resolved"),
    ],
)
@pytest.mark.parametrize("apart", [0.0, 0.3, 0.9])
def test_changes_within_a_second_on_eventbridge(world: World, statuses: Sequence[str], apart: float) -> None:
    """Nothing but their arrival tells their order; each is delivered once more later, which changes nothing."""
    events = [on_eventbridge(status, number, number * apart) for number, status in enumerate(statuses)]
    for number, event in enumerate(events):
        world.clock.now = NOW + number * apart
        world.publish(event)
        drain_until_done(world)
    right = {"firing": "triggered", "resolved": "resolved"}[statuses[-1]]
    assert world.states == {"f-1": right}
    for event in events:
        world.clock.advance(61)
        world.publish(event)
        drain_until_done(world)
    assert world.states == {"f-1": right}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_life_whose_messages_arrive_in_any_order(world: World, order: Sequence[int]) -> None:
    """Fires, is acknowledged, resolves; each message comes twice."""
    life = [
        message(status="firing", at=0),
        message(status="acknowledged", at=30),
        message(status="resolved", at=60),
    ]
    world.clock.now = NOW + 61
    for number in (*order, *order):
        world.publish(life[number])
        world.clock.advance(1)
    drain_until_done(world)
    assert set(world.states.values()) <= {"resolved"}


# --- Alertmanager ---


def webhook(status: str, starts: float, ends: float | None, at: float) -> dict[str, Any]:
    """Return a message of Alertmanager with one alert."""
    alert = {
        "status": status,
        "labels": {"alertname": "X", "instance": "i", "severity": "critical"},
        "annotations": {},
        "startsAt": text(starts),
        "endsAt": text(ends) if ends is not None else "0001-01-01T00:00:00Z",
    }
    content = {"receiver": "pagerduty", "status": status, "version": "4", "alerts": [alert]}
    sns = {"Message": json.dumps(content), "MessageId": f"m-{at}", "Timestamp": text(at), "TopicArn": "arn"}
    return {"EventSource": "aws:sns", "Sns": sns}


@pytest.mark.parametrize(
    "told",
    [
        [("firing", 0, None, 30), ("resolved", 0, 580, 600.2), ("firing", 599.2, None, 632)],
        [("firing", 0, None, 30), ("resolved", 0, 580, 600.2), ("firing", 599.0, None, 632)],
        [("firing", 0, None, 30), ("resolved", 0, 100, 131), ("firing", 0, None, 191)],
        [("firing", 600, None, 30), ("resolved", 600, 1494, 894), ("firing", 600, None, 906)],
        [("firing", 0, None, 30), ("resolved", 0, 299, 299.5), ("firing", 0, None, 301)],
        [("firing", 0, None, 30), ("resolved", 0, 299, 330), ("firing", 298, None, 332)],
    ],
)
def test_an_alert_that_fires_again_on_either_side_of_five_minutes(
    world: World, told: list[tuple[str, float, float | None, float]]
) -> None:
    """Prometheus's clock is behind, its rule group slow, or Alertmanager lost sight of it: it pages when it is told."""
    for status, starts, ends, at in told:
        world.clock.now = NOW + at
        world.publish(webhook(status, starts, ends, at))
        drain_until_done(world)
    assert [state for _, state in states(world)] == ["resolved", "triggered"]


def test_a_group_that_is_sent_again_whenever_one_joins_it(world: World) -> None:
    """20 alerts, one more each minute, a message with all of them each minute: one request an alert in five minutes."""
    for minute in range(15):
        world.clock.now = NOW + 30 + 60 * minute
        for number in range(20 + minute + 1):
            begins = 0.0 if number < 20 else 60.0 * (number - 20)
            starts = text(begins)
            record = message(f"f-{number}", at=30.0 + 60 * minute, severity="warning", starts_at=starts)
            world.publish(record)
    fired = 35
    repeats = sum((15 - max(0, number - 19)) // 5 for number in range(fired))
    assert fired <= len(world.requests) <= fired + repeats
    assert len(world.pagerduty.incidents) == fired


# --- who gets it ---


def teams() -> World:
    return make_world(
        {
            "pagerduty/a": target_secret("oncall", ROUTING_KEY, match=['severity=~"critical|error"']),
            "pagerduty/b": target_secret("office-hours", OTHER_KEY),
        }
    )


@pytest.mark.parametrize("labels", [{"severity": "warning"}, {"severity": "info", "team": "x"}, {"severity": ""}])
@pytest.mark.parametrize("status", ["resolved", "acknowledged"])
def test_what_follows_has_other_labels_than_its_trigger(labels: dict[str, str], status: str) -> None:
    """Classified when it fired, cut to its fingerprint, or with the severity of good news."""
    world = teams()
    tell(world, 0, "firing", severity="critical")
    tell(world, 60, status, severity=labels["severity"], labels=labels)
    assert states(world) == [(ROUTING_KEY[:4], status)]
    assert world.sqs.dead_letters == []


def test_a_severity_that_rises_opens_a_second_incident_and_the_end_closes_both() -> None:
    """The matchers send the raised one to another team."""
    world = teams()
    tell(world, 0, "firing", severity="warning")
    tell(world, 60, "firing", severity="critical")
    assert sorted(states(world)) == sorted([(OTHER_KEY[:4], "triggered"), (ROUTING_KEY[:4], "triggered")])
    world.clock.advance(60)
    world.publish(message(status="resolved", at=120, severity="critical"))
    assert {state for _, state in states(world)} == {"resolved"}


@pytest.mark.parametrize("match", [['severity="critical"'], ['team="nobody"'], ['status="firing"']])
def test_matchers_that_no_longer_match_when_it_ends(match: list[str]) -> None:
    """They were edited while the incident was open."""
    world = teams()
    tell(world, 0, "firing", severity="error")
    world.secrets.secrets["pagerduty/a"] = target_secret("oncall", ROUTING_KEY, match=match)
    world.targets.read(anew=True)
    tell(world, 60, "resolved", severity="error")
    assert states(world) == [(ROUTING_KEY[:4], "resolved")]


def test_an_end_while_a_secret_cannot_be_read() -> None:
    """It finds its incident by the last known text."""
    world = teams()
    tell(world, 0, "firing", severity="critical")
    world.secrets.secrets["pagerduty/a"] = ""
    world.targets.read(anew=True)
    tell(world, 60, "resolved", severity="critical")
    assert tell(world, 90, "firing", severity="critical", fingerprint="f-2") == "accepted"
    assert [key for key, _ in states(world)] == [ROUTING_KEY[:4]] * 2


TWO_TEAMS = {
    "pagerduty/a": target_secret("a", ROUTING_KEY, match=['severity="critical"']),
    "pagerduty/b": target_secret("b", OTHER_KEY, match=['team="x"']),
}
CRITICAL_OF_X: dict[str, Any] = {"severity": "critical", "labels": {"team": "x"}}


@pytest.mark.parametrize("is_paged", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_an_end_between_what_two_targets_get_from_the_queue(first: int, *, is_paged: bool) -> None:
    """The table was out when it fired. The record of the first target names the second, which has none yet."""
    world = make_world(TWO_TEAMS, max_retries=0)
    world.dynamodb.fail("InternalServerError")
    if not is_paged:
        world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=2))
    world.publish(message(**CRITICAL_OF_X))
    world.dynamodb.heal()
    world.clock.advance(60)
    queued = [retry.as_record() for retry in world.sqs.retries if "drain" not in retry.content]
    mine = [record for record in queued if json.loads(record["body"])["delivery"]["target"] == "ab"[first]]
    for record in mine:
        world.publish(record)
    world.publish(message(status="resolved", at=60))
    for record in queued:
        if record not in mine:
            world.publish(record)
    drain_until_done(world)
    assert {state for _, state in states(world)} == {"resolved"}
    assert world.sqs.dead_letters == []


def test_an_end_said_again_is_not_sent_where_nothing_ever_began() -> None:
    """To a target with the same routing key it would close what fires again meanwhile."""
    secrets = {f"pagerduty/{team}": target_secret(team, match=[f'team="{team}"']) for team in "ab"}
    world = make_world(secrets, rate_limit=1)
    of_a: dict[str, Any] = {"severity": "critical", "labels": {"team": "a"}}
    tell(world, 0, "resolved", **of_a)
    world.clock.now = NOW + 400
    world.publish(message("other", at=400, **of_a))
    world.publish(message(status="resolved", at=200, **of_a))
    world.publish(message(at=401, **of_a))
    drain_until_done(world)
    assert world.states["f-1"] == "triggered"


# --- acknowledgements ---


@pytest.mark.parametrize("ends", ["accepted later", "resolved while it waits", "nothing"])
def test_an_acknowledgement_of_what_pagerduty_has_not_accepted(world: World, ends: str) -> None:
    """The trigger is not hidden: it goes out, and then its acknowledgement; where it ended meanwhile, neither does."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=30))
    world.publish_one(message(severity="critical"))
    world.clock.advance(5)
    report = world.publish_one(message(status="acknowledged", at=5))
    assert isinstance(report.result, Deferred)
    if ends == "resolved while it waits":
        world.publish_one(message(status="resolved", at=10))
    drain_until_done(world)
    assert world.states == ({} if ends == "resolved while it waits" else {"f-1": "acknowledged"})


def test_an_acknowledgement_and_an_older_end_that_overtake_the_trigger_between_them(world: World) -> None:
    """The end is of the time before: what it is to be newer than was published first."""
    world.clock.now = NOW + 61
    world.publish_one(message(status="acknowledged", at=60))
    world.publish_one(message(status="resolved", at=0))
    world.publish_one(message(at=30))
    drain_until_done(world)
    assert world.states == {"f-1": "triggered"}


def test_an_end_that_comes_late_does_not_close_what_was_sent_without_the_table_after_it(world: World) -> None:
    """Acknowledged meanwhile: the copy of the later trigger counts, although nothing is sent for it."""
    for at in (0, 200):
        world.clock.now = NOW + at
        world.dynamodb.fail("InternalServerError")
        world.publish_one(message(at=at))
        world.dynamodb.heal()
    first, second = (world.take_retry() for _ in range(2))
    second["attributes"]["SentTimestamp"] = str(round(world.clock() * 1000))
    world.publish(first)
    world.publish_one(message(status="acknowledged", at=300))
    world.publish(second)
    world.publish_one(message(status="resolved", at=60))
    drain_until_done(world)
    assert world.states == {"f-1": "acknowledged"}


def test_an_end_after_an_acknowledgement_of_a_trigger_that_comes_last() -> None:
    """Both overtake it, and its labels name a target that those of the end do not."""
    world = make_world(TWO_TEAMS)
    world.clock.now = NOW + 61
    world.publish(message(status="acknowledged", at=30, severity="critical"))
    world.publish(message(status="resolved", at=60, severity="critical"))
    world.publish(message(at=0, **CRITICAL_OF_X))
    drain_until_done(world)
    assert {state for _, state in states(world)} <= {"resolved"}


def test_an_acknowledgement_that_overtakes_its_trigger(world: World) -> None:
    """Arriving first, and published later."""
    world.clock.now = NOW + 6
    world.publish_one(message(status="acknowledged", at=5))
    world.publish_one(message(at=0))
    drain_until_done(world)
    assert world.states == {"f-1": "acknowledged"}


# --- people, and what is old ---


@pytest.mark.parametrize("after", [60.0, 240.0, 360.0, HOUR, DAY, 13 * DAY])
def test_a_redelivery_after_a_person_resolved(world: World, after: float) -> None:
    """SQS gives the message again after the visibility timeout, or an operator redrives its topic: nothing reopens."""
    record = message()
    world.publish_one(record)
    world.clock.advance(30)
    world.pagerduty.resolve_by_hand("f-1")
    world.clock.advance(after)
    assert str(getattr(world.publish_one(record).result, "reason", "")) == SkipReason.DUPLICATE
    assert states(world) == [(ROUTING_KEY[:4], "resolved")]


@pytest.mark.parametrize("days", [1, 3, 13.9])
def test_a_dead_letter_that_is_redriven_after_its_alert_has_ended(world: World, days: float) -> None:
    """The key was wrong on Friday; the alert ended; on Monday somebody empties the dead-letter queue."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=1))
    world.publish_one(message())
    [letter] = world.sqs.dead_letters
    tell(world, 600, "resolved")
    world.clock.advance(days * DAY)
    assert str(getattr(world.publish_one(letter.as_record()).result, "reason", "")) == SkipReason.SUPERSEDED
    assert world.states == {}


@pytest.mark.parametrize("days", [3, 14, 29.9])
def test_an_incident_that_stays_open_for_weeks(days: float) -> None:
    """Fired again in a storm, without a permit, and ended at once: it is closed."""
    world = make_world(rate_limit=1)
    world.publish_one(message())
    world.clock.advance(days * DAY)
    for identity, item in list(world.dynamodb.tables[TABLE].items()):
        if "expires_at" in item and int(item["expires_at"]["N"]) <= world.clock():
            world.dynamodb.delete(identity)
    at = days * DAY
    world.publish_one(message("other", at=at))
    world.publish_one(message(at=at + 20))
    world.clock.advance(5)
    world.publish_one(message(status="resolved", at=at + 21))
    drain_until_done(world)
    assert world.states["f-1"] == "resolved"


# --- PagerDuty's answers ---


@pytest.mark.parametrize("status", [401, 403, 404, 410, 422])
def test_refusals(world: World, status: int) -> None:
    """401 and 403 blame the key: everything waits for it, with one probe a minute. The rest are about this event."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=status, count=None))
    first = world.publish_one(message(severity="critical")).result
    if status in (401, 403):
        assert isinstance(first, Deferred)
        assert first.reason is DeferReason.KEY_REFUSED
        for number in range(5):
            world.publish_one(message(f"f-{number}"))
        assert len(world.requests) == 1
        world.clock.advance(REFUSED_KEY_SECONDS)
        world.pagerduty.set_faults()
        drain_until_done(world)
        assert world.sqs.dead_letters == []
        assert set(world.states.values()) == {"triggered"}
    else:
        assert isinstance(first, Rejected)
        assert len(world.sqs.dead_letters) == 1
        world.pagerduty.set_faults()
        assert isinstance(world.publish_one(message("f-2")).result, Accepted)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (86400, 300),
        (1795405261, 300),
        (-5, THROTTLED_SECONDS),
        (0, THROTTLED_SECONDS),
        ("never", THROTTLED_SECONDS),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 300),
        ("Mon, 01 Jan 1990 00:00:00 GMT", THROTTLED_SECONDS),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", THROTTLED_SECONDS),
    ],
)
def test_a_strange_retry_after(world: World, retry_after: Any, seconds: float) -> None:
    """It holds the key for five minutes at most, and for half a minute where it says nothing that can be done."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=retry_after))
    refused_at = world.clock()
    world.publish_one(message(severity="critical"))
    drain_until_done(world)
    [accepted] = [request.at for request in world.pagerduty.requests if request.accepted]
    assert seconds <= accepted - refused_at <= seconds + 15


@pytest.mark.parametrize("end", ["no permit", "400", "no time", "death", "throttled limiter"])
def test_a_probe_that_ends_in_no_answer_about_the_key(world: World, end: str) -> None:
    """PagerDuty is well again; whatever becomes of the probe, a critical alert pages within a probe's time."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish_one(message("probe", severity="critical"))
    world.clock.advance(PROBE_SECONDS + 1)
    world.pagerduty.set_faults()
    match end:
        case "no permit":
            world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=1))
            world.drain(seconds=10)
        case "400":
            world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body={"message": "no"}))
            world.drain(seconds=10)
        case "no time":
            world.publish_one(message("late", severity="critical"))
            world.publisher.publish(message("later", severity="critical"), world.clock() + 0.2)
        case "death":
            run_killed(world, world.drain, 25, after=False)
        case _:
            world.dynamodb.failures = Only(THROTTLED, operations=("UpdateItem",))
            world.drain(seconds=10)
            world.dynamodb.heal()
    world.pagerduty.set_faults()
    world.clock.advance(PROBE_SECONDS)
    began_at = world.clock()
    world.publish_one(message("critical", severity="critical", at=61))
    drain_until_done(world)
    accepted = [request.at for request in world.pagerduty.requests if request.accepted]
    assert "critical" in world.states
    assert max(accepted) - began_at <= PROBE_SECONDS + 1
    assert waiting(world) == []


# --- AWS ---


def test_an_index_that_lags_behind_an_end(world: World) -> None:
    """The drainer still sees what is over; it sends nothing twice."""
    world = make_world(rate_limit=1)
    world.dynamodb.lag_behind(seconds=20, clock=world.clock)
    world.publish_one(message("first"))
    for number in range(5):
        world.publish_one(message(f"f-{number}"))
        world.publish_one(message(f"f-{number}", "resolved", at=5))
    world.clock.advance(61)
    for _ in range(3):
        world.drain()
        world.clock.advance(60)
    assert world.requests == [("trigger", "first")]


@pytest.mark.parametrize("status", ["firing", "resolved", "acknowledged"])
@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_a_single_record_that_throttles(world: World, status: str, severity: str) -> None:
    """Its alert waits on the queue, a critical trigger is sent; all others go on, and it ends right."""
    tell(world, 0, "firing", severity=severity)
    original = world.dynamodb.put_item

    def put_item(**call: Any) -> Any:
        if call["Item"]["id"]["S"] == "production#f-1":
            world.dynamodb.failures = Only(THROTTLED, operations=("PutItem",))
        try:
            return original(**call)
        finally:
            world.dynamodb.heal()

    world.dynamodb.put_item = put_item  # type: ignore[method-assign]
    world.clock.advance(400)
    world.publish(message(status=status, at=400, severity=severity))
    assert isinstance(world.publish_one(message("f-2", at=400)).result, Accepted)
    world.dynamodb.put_item = original  # type: ignore[method-assign]
    for retry in world.sqs.retries[:]:
        world.sqs.retries.remove(retry)
        world.clock.advance(retry.delay_seconds)
        if "drain" not in retry.content:
            world.publish(retry.as_record())
    drain_until_done(world)
    right = {"firing": "triggered", "resolved": "resolved", "acknowledged": "acknowledged"}[status]
    assert world.states == {"f-1": right, "f-2": "triggered"}
    assert world.sqs.dead_letters == []


def test_a_second_copy_of_a_trigger_while_the_table_fails(world: World) -> None:
    """SNS delivers it again after its alert has ended, and nobody can say so: the incident is closed afterwards."""
    record = message()
    world.publish_one(record)
    tell(world, 60, "resolved")
    world.dynamodb.fail("InternalServerError")
    world.publish_one(record)
    world.dynamodb.heal()
    while world.sqs.retries:
        retry = world.take_retry()
        if '"drain"' not in retry["body"]:
            world.publish(retry)
    drain_until_done(world)
    assert {state for _, state in states(world)} == {"resolved"}


@pytest.mark.parametrize(
    ("match", "opened_by", "ended_by"),
    [
        ('severity=~"critical|error"', "securityhub-eventbridge-failed.json", "securityhub-eventbridge-passed.json"),
        ('namespace="AWS/RDS"', "cloudwatch-eventbridge-alarm.json", "cloudwatch-eventbridge-deleted.json"),
    ],
)
def test_ends_that_aws_words_otherwise(match: str, opened_by: str, ended_by: str) -> None:
    """A passed control is INFORMATIONAL, a deleted alarm has no namespace: both end where they began."""
    world = make_world(
        {
            "pagerduty/a": target_secret("oncall", ROUTING_KEY, match=[match]),
            "pagerduty/b": target_secret("office-hours", OTHER_KEY),
        }
    )
    for name in (opened_by, ended_by):
        world.publish(json.loads((EVENTS / name).read_text()))
        drain_until_done(world)
    assert states(world) == [(ROUTING_KEY[:4], "resolved")]


@pytest.mark.parametrize("letter", ["x", '"', "Ж", "警", "🔥"])
def test_the_largest_alert_of_eventbridge_waits_wherever_it_has_to(world: World, letter: str) -> None:
    """1 MiB of any script: in its record while PagerDuty fails, on the queue while the table does."""
    event = on_eventbridge("firing", 1, 0)
    count = (1024 * 1024 - 2000) // len(json.dumps(letter, ensure_ascii=False).encode()[1:-1])
    event["detail"]["alert"]["annotations"] = {"description": letter * count}
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    assert isinstance(world.publish_one(event).result, Deferred)
    assert waiting(world) == ["production#f-1"]
    world.dynamodb.fail("InternalServerError")
    late = {**event, "id": "e-2", "detail": {"alert": {**event["detail"]["alert"], "fingerprint": "f-2"}}}
    assert world.publish_one(late).lost is None
    world.dynamodb.heal()
    world.pagerduty.set_faults()
    while world.sqs.retries:
        retry = world.take_retry()
        if '"drain"' not in retry["body"]:
            world.publish(retry)
    drain_until_done(world)
    assert world.states == {"f-1": "triggered", "f-2": "triggered"}
    assert world.sqs.dead_letters == []


@pytest.mark.parametrize("after", [False, True])
def test_an_end_that_overtakes_its_trigger_and_whose_sender_dies(after: bool) -> None:
    """Delivered again, it still closes the trigger at the target that its own labels do not name."""
    at = 0
    was_killed = True
    while was_killed:
        at += 1
        world = make_world(
            {
                "pagerduty/a": target_secret("a", ROUTING_KEY, match=['team="a"']),
                "pagerduty/b": target_secret("b", OTHER_KEY, match=['team=~"a|b"']),
            }
        )
        world.clock.now = NOW + 61
        end = message(status="resolved", at=60, labels={"team": "b"})
        was_killed = run_killed(world, lambda world=world, end=end: world.publish(end), at, after=after)  # type: ignore[misc]
        world.clock.advance(61)
        world.publish(end)
        world.publish(message(labels={"team": "a"}))
        drain_until_done(world)
        assert {state for _, state in states(world)} <= {"resolved"}, at
    assert at > 3


def test_an_end_that_overtakes_its_trigger_while_the_table_fails(world: World) -> None:
    """What cannot be recorded at the other target waits on the queue, and is delivered there."""
    world = make_world(
        {
            "pagerduty/a": target_secret("a", ROUTING_KEY, match=['team="a"']),
            "pagerduty/b": target_secret("b", OTHER_KEY, match=['team=~"a|b"']),
        }
    )
    world.clock.now = NOW + 61
    original = world.dynamodb.put_item

    def put_item(**call: Any) -> Any:
        if call["Item"]["id"]["S"] == "a#f-1":
            world.dynamodb.failures = Only("InternalServerError", operations=("PutItem",), times=1)
        return original(**call)

    world.dynamodb.put_item = put_item  # type: ignore[method-assign]
    world.publish(message(status="resolved", at=60, labels={"team": "b"}))
    world.dynamodb.put_item = original  # type: ignore[method-assign]
    world.dynamodb.heal()
    world.publish(message(labels={"team": "a"}))
    assert (ROUTING_KEY[:4], "triggered") in states(world)
    while world.sqs.retries:
        retry = world.take_retry()
        if '"drain"' not in retry["body"]:
            world.publish(retry)
    drain_until_done(world)
    assert {state for _, state in states(world)} == {"resolved"}
