"""The whole flow, from a record as it came to PagerDuty and the queues, on fakes and the simulator."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest

from handler import sources
from handler.envelope import Record
from handler.errors import (
    ErrorReason,
    InvalidAlertError,
    NoTargetError,
    PublisherErrorReason,
    TableMissingError,
)
from handler.mapping import dedup_key_of
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Skipped,
    SkipReason,
)
from handler.pagerduty.client import HEALTH_DEDUP_KEY
from handler.sources.reader import Reader
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import NOW
from tests.lab.dynamodb import TABLE
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.sqs import Message
from tests.lab.world import World, make_world, native

ID = "production#f-1"


@pytest.fixture
def world() -> World:
    return make_world()


def sns(message: Any) -> dict[str, Any]:
    """Wrap a message as SNS would."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": "arn:aws:sns:us-east-1:000000000000:alerts:1",
        "Sns": {"MessageId": "m-1", "TopicArn": "arn:aws:sns:us-east-1:000000000000:alerts", "Message": text},
    }


def drain(world: World, *, at_most: int = 200) -> list[Any]:
    """Follow retries, each after its delay, and the schedule, until nothing waits."""
    results: list[Any] = []
    for _ in range(at_most):
        if world.sqs.retries:
            record = world.take_retry()
            if world.publisher.queues.wake_up_of(record) is None:
                results += [report.result for report in world.publish(record)]
                continue
        elif not list(world.table.all_waiting()):
            return results
        results += [report.result for report in world.drain()]
        world.clock.advance(10)
    raise AssertionError(f"still waiting: {results[-3:]}")


# --- The happy path ---


def test_an_alert_becomes_an_incident(world: World) -> None:
    """The report has all details; nothing is left on a queue."""
    report = world.publish_one(sns(native()))
    assert report.result == Accepted(dedup_key="f-1", at=NOW)
    assert (report.target, report.known, len(report.attempts), report.lost) == ("production", False, 1, None)
    assert world.states == {"f-1": "triggered"}
    assert (world.sqs.retries, world.sqs.dead_letters) == ([], [])


def test_a_warm_trigger_costs_three_calls_and_one_request(world: World) -> None:
    """A claim, a permit, the settling; no read, no Secrets Manager, no SQS. A resolve reads its records once."""
    world.publish(native("warm-up"))
    world.clock.advance(1)
    world.dynamodb.calls.clear()
    reads = world.secrets.reads
    world.publish(native("f-1"))
    assert world.dynamodb.calls == ["PutItem", "UpdateItem", "PutItem"]
    world.clock.advance(1)
    world.dynamodb.calls.clear()
    world.publish(native("f-1", "resolved", 5))
    assert world.dynamodb.calls == ["BatchGetItem", "PutItem", "UpdateItem", "PutItem"]
    assert world.secrets.reads == reads
    assert world.requests == [("trigger", "warm-up"), ("trigger", "f-1"), ("resolve", "f-1")]


def test_duplicates_and_late_comers_are_skipped(world: World) -> None:
    """In any order: the newest wins, and each is sent once."""
    steps = [("firing", 0), ("firing", 0), ("resolved", 5), ("firing", 0), ("acknowledged", 3), ("resolved", 5)]
    results = [world.publish_one(native("f-1", status, minute)).result for status, minute in steps]
    reasons = [result.reason if isinstance(result, Skipped) else None for result in results]
    late, copy = SkipReason.SUPERSEDED, SkipReason.DUPLICATE
    assert reasons == [None, copy, None, late, late, copy]
    assert world.requests == [("trigger", "f-1"), ("resolve", "f-1")]
    assert world.states == {"f-1": "resolved"}


def test_a_redelivery_after_a_crash_before_settling_is_sent_again_and_folded(world: World) -> None:
    """At least once, and PagerDuty's dedup key makes it one incident."""
    world.publish(native("warm-up"))
    world.clock.advance(1)
    world.dynamodb.fail("InternalServerError", after=2, times=1)
    report = world.publish_one(native())
    assert isinstance(report.result, Accepted)
    assert [error.reason for error in report.errors] == [PublisherErrorReason.TABLE_UNAVAILABLE]
    again = world.publish_one(native()).result
    assert isinstance(again, Deferred)
    assert (again.reason, again.is_kept) == (DeferReason.BUSY, True)  # until the lease of the dead one ends
    assert all(isinstance(result, Accepted | Skipped | Deferred) for result in drain(world))
    assert (len(world.pagerduty.incidents), world.item(ID)["delivered_at"] > 0) == (2, True)


# --- Several targets ---


TWO = {
    "pagerduty/one": target_secret("one", ROUTING_KEY),
    "pagerduty/two": target_secret("two", OTHER_KEY, auto_resolve=False),
}


def test_an_alert_goes_to_every_target_that_takes_it() -> None:
    """Each with a record, a key and an end of its own."""
    world = make_world(TWO)
    assert [report.target for report in world.publish(native())] == ["one", "two"]
    reports = world.publish(native("f-1", "resolved", 5))
    assert isinstance(reports[0].result, Accepted)
    assert reports[1].result == Skipped(reason=SkipReason.AUTO_RESOLVE_OFF)
    assert {str(incident.state) for incident in world.pagerduty.incidents} == {"resolved", "triggered"}
    assert {key for key in world.dynamodb.tables[TABLE] if "permits" not in key} == {"one#f-1", "two#f-1"}


def test_a_target_that_fails_does_not_disturb_the_other() -> None:
    """Only the failed delivery waits, for its own target."""
    world = make_world(TWO)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=4, routing_key=OTHER_KEY))
    assert [report.outcome for report in world.publish(native())] == ["accepted", "deferred"]
    assert [place.target for place in world.table.all_waiting()] == ["two"]
    assert [type(result) for result in drain(world)] == [Accepted]
    assert len(world.pagerduty.incidents) == 2


def test_a_retry_whose_target_has_gone_is_one_dead_letter_for_that_target() -> None:
    """It is not sent elsewhere; restored and redriven, it goes where it belongs."""
    world = make_world(TWO)
    world.dynamodb.fail("InternalServerError")
    world.publish(native("f-1", "resolved"))
    world.dynamodb.heal()
    message = world.take_retry()
    body = json.loads(message["body"])
    body["delivery"]["target"] = "renamed"
    report = world.publish_one({**message, "body": json.dumps(body)})
    assert isinstance(report.result, Rejected)
    assert [letter.content["alert"]["targets"] for letter in world.sqs.dead_letters] == [["renamed"]]


def test_an_alert_that_no_target_takes_is_a_dead_letter() -> None:
    """Not silence."""
    world = make_world({"pagerduty/production": target_secret(match=["team=x"])})
    report = world.publish_one(native())
    assert isinstance(report.result, Rejected)
    assert isinstance(report.result.error, NoTargetError)
    [letter] = world.sqs.dead_letters
    assert letter.attributes["error_type"] == "no_target"
    assert "delivery" not in letter.content


def test_without_secrets_manager_at_the_start_the_alert_waits() -> None:
    """Once it is back the alert goes to every target."""
    world = make_world(TWO)
    world.secrets.failures.error = "InternalServiceError"
    report = world.publish_one(native())
    assert isinstance(report.result, Deferred)
    assert (report.result.reason, report.target) == (DeferReason.TARGETS_UNAVAILABLE, "")
    world.secrets.failures.error = None
    assert [type(result) for result in drain(world)] == [Accepted, Accepted]


# --- PagerDuty fails ---


def test_an_outage_of_hours_is_survived_without_a_lost_or_doubled_page(world: World) -> None:
    """It waits in its record, PagerDuty is tried every half minute, and the resolve comes after its trigger."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None, until_at=NOW + 1800))
    assert isinstance(world.publish_one(native()).result, Deferred)
    while world.clock() < NOW + 1700:
        world.drain()
        world.clock.advance(10)
    assert 1700 / 40 < len(world.requests) < 1700 / 25
    [place] = world.table.all_waiting()
    assert place.due - NOW * 1000 < 1000
    assert isinstance(world.publish_one(native("f-1", "resolved", 30)).result, Deferred)
    drain(world)
    assert world.sqs.dead_letters == []
    assert [incident.state for incident in world.pagerduty.incidents if incident.state != "resolved"] == []


def test_after_a_day_of_failing_it_is_a_dead_letter(world: World) -> None:
    """With what PagerDuty answered last; until then it waits."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish(native())
    world.clock.advance(86_000)
    assert {report.outcome for report in world.drain()} == {"deferred"}
    world.clock.advance(1000)
    *_, last = [report.result for report in world.drain()]
    assert isinstance(last, Rejected)
    [letter] = world.sqs.dead_letters
    assert letter.attributes["error_type"] == "exhausted"
    assert "503" in letter.content["error"]
    assert list(world.table.all_waiting()) == []


def test_a_429_is_waited_for_without_counting_as_a_failure(world: World) -> None:
    """It waits as long as PagerDuty says, however often."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=10, retry_after=45))
    world.publish(native())
    assert "failing_since" not in world.item(ID)
    assert isinstance(drain(world)[-1], Accepted)
    times = [request.at for request in world.pagerduty.requests]
    assert len(times) == 11
    assert all(later - earlier >= 45 for earlier, later in pairwise(times))
    assert world.sqs.dead_letters == []


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("inf", 30), ("1e400", 30), ("nan", 30), ("never", 30), ("0", 30), ("86400", 300)],
)
def test_a_strange_retry_after_is_thirty_seconds_and_a_long_one_five_minutes(
    world: World, retry_after: str, seconds: int
) -> None:
    """What is no time is none; a day of silence is none either."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=retry_after))
    world.publish(native())
    drain(world)
    [refused, accepted] = [request.at for request in world.pagerduty.requests]
    assert seconds <= accepted - refused <= seconds + 15


def test_a_400_is_a_dead_letter_with_its_error_that_can_be_put_back(world: World) -> None:
    """Readable, with the alert as it came; delivered when it is redriven."""
    said = {"message": "Event object is invalid", "errors": ["too odd\x00"]}
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body=said))
    report = world.publish_one(sns(native()))
    assert isinstance(report.result, Rejected)
    [letter] = world.sqs.dead_letters
    assert letter.content["error"] == "PagerDuty answered 400: Event object is invalid: too odd\x00"
    assert letter.content["alert"]["labels"] == {"severity": "critical"}
    assert letter.attributes["error_type"] == "bad_request"
    assert letter.attributes["attempts"] == "1"

    assert isinstance(world.publish_one(letter.as_record()).result, Accepted)
    assert world.states == {"f-1": "triggered"}


def test_a_dead_letter_that_was_overtaken_is_not_delivered(world: World) -> None:
    """A redrive days later opens nothing that has ended since."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    world.publish(native())
    world.publish(native("f-1", "resolved", 20))
    report = world.publish_one(world.sqs.dead_letters[0].as_record())
    assert report.result == Skipped(reason=SkipReason.SUPERSEDED)


# --- The routing key is changed ---


def test_a_new_routing_key_is_found_when_pagerduty_refuses_the_old_one(world: World) -> None:
    """The secrets are read again, once, and the alert is delivered at once."""
    world.publish(native("warm-up"))
    world.pagerduty.set_known_keys([OTHER_KEY])
    world.secrets.secrets["pagerduty/production"] = target_secret("production", OTHER_KEY)
    report = world.publish_one(native())
    assert isinstance(report.result, Accepted)
    assert [attempt.status for attempt in report.attempts] == ["400", "202"]
    assert world.secrets.reads == 2
    world.publish(native("f-2"))
    assert world.secrets.reads == 2
    assert len(world.pagerduty.requests) == 4
    assert world.sqs.dead_letters == []


@pytest.mark.parametrize(
    "secret",
    [json.dumps({"name": "production", "type": "none"}), target_secret("production", OTHER_KEY, enabled=False)],
    ids=["none", "disabled"],
)
def test_a_refused_key_of_a_target_that_pages_nobody_any_more(world: World, secret: str) -> None:
    """Its integration was deleted at PagerDuty, and its secret edited a moment ago: the alert is skipped."""
    world.publish(native("warm-up"))
    world.pagerduty.set_known_keys([])
    world.secrets.secrets["pagerduty/production"] = secret
    assert world.publish_one(native()).outcome == "deferred"
    world.drain()
    world.clock.advance(60)
    world.drain()
    assert list(world.table.all_waiting()) == []
    assert world.sqs.dead_letters == []
    assert [key for action, key in world.requests] == ["warm-up", "f-1"]


def test_a_routing_key_that_is_simply_wrong_is_no_dead_letter(world: World) -> None:
    """Its deliveries wait, with one probe a minute, and go out when the secret is fixed."""
    world.publish(native("warm-up"))
    world.pagerduty.set_known_keys([OTHER_KEY])
    report = world.publish_one(native())
    assert isinstance(report.result, Deferred)
    assert report.result.reason is DeferReason.KEY_REFUSED
    assert world.secrets.reads == 2
    requests = len(world.requests)
    begun = world.clock()
    for _ in range(10):
        world.drain()
        world.clock.advance(10)
    minutes = (world.clock() - begun) / 60
    assert minutes - 2 <= len(world.requests) - requests <= minutes + 1
    assert world.sqs.dead_letters == []
    world.secrets.secrets["pagerduty/production"] = target_secret("production", OTHER_KEY)
    assert isinstance(drain(world)[-1], Accepted)
    assert world.states["f-1"] == "triggered"


def test_secrets_manager_failing_then_takes_nothing_away(world: World) -> None:
    """The refusal is what is reported, and the old targets serve on."""
    world.publish(native("warm-up"))
    world.pagerduty.set_known_keys([OTHER_KEY])
    world.secrets.failures.error = "InternalServiceError"
    report = world.publish_one(native())
    assert isinstance(report.result, Deferred)
    assert report.result.error
    assert report.result.error.reason is ErrorReason.BAD_REQUEST
    world.pagerduty.set_known_keys(None)
    assert isinstance(drain(world)[-1], Accepted)
    assert isinstance(world.publish_one(native("f-2")).result, Accepted)


@pytest.mark.parametrize(("status", "message"), [(400, "Event object is invalid"), (404, "Invalid routing key")])
def test_another_refusal_reads_no_secrets(world: World, status: int, message: str) -> None:
    """Only one that blames the routing key does: 401, 403, or a 400 that names it."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=status, body={"message": message}))
    world.publish(native())
    assert world.secrets.reads == 1


# --- AWS fails ---


def test_without_the_table_a_trigger_is_sent_and_a_resolve_waits(world: World) -> None:
    """When the table is back the resolve follows."""
    world.dynamodb.fail("InternalServerError")
    first, second = world.publish_one(native()), world.publish_one(native("f-1", "resolved", 5))
    assert isinstance(first.result, Accepted)
    assert [error.reason for error in first.all_errors] == [PublisherErrorReason.TABLE_UNAVAILABLE]
    assert isinstance(second.result, Deferred)
    assert second.result.reason is DeferReason.TABLE_UNAVAILABLE
    assert [message.content["delivery"]["failures"] for message in world.sqs.retries] == [1, 1]
    world.dynamodb.heal()
    assert [type(result) for result in drain(world)] == [Accepted, Accepted]  # the trigger's copy, and the resolve
    assert [str(incident.state) for incident in world.pagerduty.incidents] == ["resolved"]


def test_with_a_missing_table_a_trigger_is_sent_and_a_resolve_is_a_dead_letter(world: World) -> None:
    """Both say which table."""
    world.dynamodb.tables.clear()
    first, second = world.publish_one(native()), world.publish_one(native("f-1", "resolved", 5))
    assert isinstance(first.result, Accepted)
    assert isinstance(first.errors[0], TableMissingError)
    assert isinstance(second.result, Rejected)
    [letter] = world.sqs.dead_letters
    assert f"DynamoDB table {TABLE} does not exist" in letter.attributes["error"]


@pytest.mark.parametrize(
    "fault", [Fault(FaultKind.STATUS, status=503, count=None), Fault(FaultKind.STATUS, status=400)]
)
def test_what_can_neither_be_sent_nor_kept_is_reported_as_lost(world: World, fault: Fault) -> None:
    """The invocation has to fail then, so that it stays where it came from."""
    world.publish(native("warm-up"))
    world.clock.advance(1)
    world.pagerduty.set_faults(fault)
    world.sqs.fail("InternalError")
    world.dynamodb.fail("InternalServerError", after=1)
    report = world.publish_one(native())
    assert report.lost
    assert report.lost in report.all_errors


def test_without_sqs_what_can_be_delivered_is(world: World) -> None:
    """The queues are for what is left over."""
    world.sqs.fail("InternalError")
    assert world.publish_one(native()).lost is None


def test_a_record_that_can_neither_be_read_nor_kept_is_reported_as_lost(world: World) -> None:
    """It is an alert all the same, perhaps."""
    world.sqs.fail("InternalError")
    assert world.publish_one({"alert": {}}).lost


# --- Records that are no alerts ---


def test_a_damaged_alert_is_a_dead_letter_that_names_the_field(world: World) -> None:
    """As it came: a person can fix it and put it back."""
    raw = sns({"alert": {"status": "firing"}})
    report = world.publish_one(raw)
    assert isinstance(report.result, Rejected)
    [letter] = world.sqs.dead_letters
    assert "alert.alert_name" in letter.attributes["error"]
    assert letter.content["record"] == raw
    assert world.requests == []


def test_what_others_publish_says_nothing_of_a_delivery(world: World) -> None:
    """A message on the topic cannot choose the state of a delivery, nor spoil its own by a damaged one."""
    forged = native() | {"delivery": {"target": "other", "failures": "x", "was_sent_unclaimed": True}}
    report = world.publish_one(sns(forged))
    assert (report.target, report.outcome) == ("production", "accepted")


def test_a_dead_letter_of_an_unreadable_record_is_delivered_once_it_can_be_read() -> None:
    """Here because a target was missing from a release that could not read the source: the record is whole."""
    world = make_world()
    letter = Message(json.dumps({"record": sns(native()), "error": "not an alert"}), 0, {})
    assert isinstance(world.publish_one(letter.as_record()).result, Accepted)


def test_the_time_of_an_alert_survives_the_queue(world: World) -> None:
    """A retry is not newer than what it was."""
    world.secrets.failures.error = "InternalServiceError"
    world.publish({"alert": {"fingerprint": "f-1", "alert_name": "CPU", "status": "firing"}})
    world.secrets.failures.error = None
    world.clock.advance(10)
    world.publish(native("f-1", "resolved", 30, observed_at="2026-11-23T03:40:05Z"))
    assert drain(world) == [Skipped(reason=SkipReason.SUPERSEDED)]


def test_targets_out_of_reach_for_a_day_are_given_up(world: World) -> None:
    """The alert is then in the dead-letter queue: a Secrets Manager that never answers is for a person to look at."""
    world.secrets.failures.error = "InternalServiceError"
    world.publish(native())
    *waited, last = drain(world)
    assert {result.reason for result in waited} == {DeferReason.TARGETS_UNAVAILABLE}
    assert isinstance(last, Rejected)
    assert last.error.reason is PublisherErrorReason.EXHAUSTED
    assert len(world.sqs.dead_letters) == 1


def test_a_record_that_is_redriven_in_vain_does_not_grow(world: World) -> None:
    """Each stay in the dead-letter queue leaves it as it came first."""
    world.publish({"no": "alert"})
    for _ in range(8):
        world.publish(world.sqs.dead_letters[-1].as_record())
    assert [letter.content["record"] for letter in world.sqs.dead_letters] == [{"no": "alert"}] * 9


def test_a_page_sent_without_the_table_is_made_known_to_it_later() -> None:
    """A copy waits while the table is out, and is recorded when the table is back."""
    world = make_world()
    world.dynamodb.fail("InternalServerError")
    assert isinstance(world.publish_one(native("a")).result, Accepted)
    world.publish(world.take_retry())
    world.dynamodb.heal()
    assert isinstance(world.publish_one(world.take_retry()).result, Accepted)
    assert world.item("production#a")["status"] == "firing"
    assert (world.sqs.retries, len(world.pagerduty.incidents)) == ([], 1)


def test_an_alert_that_ended_while_its_trigger_went_unclaimed_is_resolved_again() -> None:
    """The record knows the end alone; the copy finds out, and PagerDuty is told once more."""
    world = make_world()
    world.publish(native("a", "resolved", 5))
    world.dynamodb.fail("InternalServerError", times=1)
    assert isinstance(world.publish_one(native("a")).result, Accepted)
    assert world.states == {"a": "triggered"}
    drain(world)
    assert world.states == {"a": "resolved"}


def test_while_no_target_exists_at_all_an_alert_waits_for_a_quarter_of_an_hour() -> None:
    """ListSecrets lags behind CreateSecret: a stack that is minutes old loses nothing."""
    world = make_world({})
    assert isinstance(world.publish_one(native()).result, Deferred)
    world.clock.advance(300)
    world.secrets.secrets["pagerduty/production"] = target_secret()
    assert isinstance(drain(world)[-1], Accepted)
    world = make_world({})
    world.publish(native())
    assert isinstance(drain(world)[-1], Rejected)
    assert 900 <= world.clock() - NOW < 1200
    assert len(world.sqs.dead_letters) == 1


def never_read(world: World, name: str) -> str:
    """Make an execution environment of one that starts while this secret cannot be read; return the secret's text."""
    text = world.secrets.secrets.pop(name)
    world.targets.read(anew=True)
    world.secrets.secrets[name] = ""
    world.targets.read(anew=True)
    return text


def test_a_page_waits_for_a_target_whose_secret_was_never_read() -> None:
    """For a quarter of an hour, as on a new stack; what another target takes is not held up."""
    world = two_targets()
    text = never_read(world, "pagerduty/payments")
    assert isinstance(world.publish_one(native("a", labels={"team": "payments"})).result, Deferred)
    assert isinstance(world.publish_one(native("b", labels={"team": "search"})).result, Accepted)
    world.clock.advance(300)
    world.secrets.secrets["pagerduty/payments"] = text
    assert isinstance(drain(world)[-1], Accepted)
    never_read(world, "pagerduty/payments")
    world.publish(native("c", labels={"team": "payments"}))
    assert isinstance(drain(world)[-1], Rejected)
    assert len(world.sqs.dead_letters) == 1


@pytest.mark.parametrize("labels", [{"team": "payments"}, {"team": "search"}, {}], ids=["its own", "another's", "none"])
def test_a_resolve_waits_for_a_target_whose_secret_was_never_read(labels: dict[str, str]) -> None:
    """Its incident is not known to be closed; afterwards the matchers decide."""
    world = two_targets()
    world.publish(native("a", labels={"team": "payments"}))
    text = never_read(world, "pagerduty/payments")
    assert isinstance(world.publish_one(native("a", "resolved", 5, labels=labels)).result, Deferred)
    world.secrets.secrets["pagerduty/payments"] = text
    world.clock.advance(60)
    drain(world)
    assert world.states == {"a": "resolved"}
    never_read(world, "pagerduty/payments")
    world.publish(native("b", "resolved", 5, labels={"team": "search"}))
    results = drain(world)
    assert isinstance(results[0], Deferred)
    assert isinstance(results[-1], Accepted)


def test_what_was_deferred_for_a_target_waits_while_its_secret_cannot_be_read() -> None:
    """It is no dead letter because a new execution environment has not read the secret."""
    world = two_targets()
    world.dynamodb.fail("InternalServerError")
    world.publish(native("a", labels={"team": "payments"}))
    world.dynamodb.fail("InternalServerError", times=0)
    text = never_read(world, "pagerduty/payments")
    assert [type(report.result) for report in world.publish(world.take_retry())] == [Deferred]
    world.secrets.secrets["pagerduty/payments"] = text
    drain(world)
    assert world.sqs.dead_letters == []
    assert world.states == {"a": "triggered"}


def test_a_resolve_reaches_every_target_where_the_incident_is_open() -> None:
    """Whatever its own labels and today's matchers say."""
    world = two_targets()
    world.publish(native("a", labels={"team": "payments"}))
    world.publish(native("b", labels={"team": "search"}))
    reports = world.publish(native("a", "resolved", 5, labels={"team": "search"}))
    assert [(report.target, report.outcome) for report in reports] == [("payments", "accepted")]
    world.secrets.secrets["pagerduty/search"] = target_secret("search", OTHER_KEY, match=["team=nobody"])
    world.publisher.targets.read(anew=True)
    world.publish(native("b", "resolved", 5, labels={}))
    assert world.states == {"a": "resolved", "b": "resolved"}


def test_an_end_that_overtakes_its_trigger_closes_it_wherever_the_trigger_would_go() -> None:
    """Its labels name no target, or another one: every target remembers that the alert has ended."""
    world = two_targets()
    world.publish(native("a", "resolved", 5, labels={"team": "search"}))
    report = world.publish_one(native("a", labels={"team": "payments"}))
    assert report.result == Skipped(reason=SkipReason.SUPERSEDED)
    assert world.states == {}


def test_a_message_with_very_many_alerts_is_split_through_the_queue(world: World) -> None:
    """A thousand at a time; the rest is reported once, and none is sent twice."""
    alerts = [native(f"f-{number}", "resolved") for number in range(1005)]
    publisher = replace(world.publisher, reader=message_of(*alerts))
    first = publisher.publish(sns(native()), world.clock() + 57)
    assert sum(isinstance(report.result, Deferred) and report.alert is None for report in first) == 1
    [message] = [message for message in world.sqs.retries if "rest" in message.content]
    second = publisher.publish(message.as_record(), world.clock() + 57)
    names = [report.alert.fingerprint for report in [*first, *second] if report.alert]
    assert sorted(names) == sorted(f"f-{number}" for number in range(1005))


def test_many_names_that_no_target_has_make_one_dead_letter() -> None:
    """Not one each."""
    world = two_targets()
    world.publish(native(targets=[f"nobody-{number}" for number in range(20)]))
    assert len(world.sqs.dead_letters) == 1


def test_many_damaged_entries_make_one_dead_letter(world: World) -> None:
    """Each with the whole record would make gigabytes of one message, and more by each redrive."""
    message: dict[str, Any] = {
        "receiver": "ops",
        "alerts": [{"labels": {}}] * 1200 + [{"labels": {"alertname": "Full"}}],
    }
    reports = world.publish(sns(message))
    while world.sqs.retries:
        reports += world.publish(world.take_retry())
    assert sorted(report.outcome for report in reports) == ["accepted", "deferred", "rejected"]
    [letter] = world.sqs.dead_letters
    assert letter.content["record"] == sns(message)
    assert letter.content["error"].startswith("1200 entries are damaged: Alertmanager alert 0: labels: neither")
    assert len(letter.content["error"]) < 500


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("shared", "attribute"),
    [
        ({"commonLabels": {"alertname": LONG}}, ""),
        ({"groupLabels": {"alertname": LONG}}, ""),
        ({"commonLabels": {f"label_{number}": "x" for number in range(9000)}}, ""),
        ({"commonAnnotations": {"summary": LONG}}, ""),
        ({"receiver": LONG, "groupKey": LONG}, ""),
        ({"externalURL": f"https://alertmanager.example/{LONG}"}, ""),
        ({"truncatedAlerts": [LONG]}, ""),
        ({}, LONG),
        ({"commonLabels": {"severity": LONG}}, ""),
    ],
    ids=[
        *("a label", "a label of the group", "labels", "an annotation", "names", "a URL", "anything", "an attribute"),
        "a severity",
    ],
)
def test_what_the_alerts_of_a_message_share_does_not_multiply_it(shared: dict[str, Any], attribute: str) -> None:
    """Each has it, and a dead letter of its own: of one message of 130 KB more than a hundred megabytes."""
    world = make_world({"pagerduty/other": target_secret(match=["team=nobody"])})
    alerts = [{"labels": {"instance": str(number)}} for number in range(1000)]
    record = sns({"receiver": "ops", "alerts": alerts, **shared})
    record["Sns"]["MessageAttributes"] = {
        name: {"Type": "String", "Value": f"search{attribute}"} for name in ("team", "severity")
    }
    reports = world.publish(record)
    assert sum(len(json.dumps(report.fields())) for report in reports) < 1_000_000
    assert len(world.sqs.dead_letters) == 1000
    assert sum(len(letter.body) for letter in world.sqs.dead_letters) < 40_000_000
    assert world.sqs.dead_letters[0].content["alert"]["labels"]["team"].startswith("search")


@pytest.mark.parametrize(
    "alert",
    [
        {"labels": {"severity": LONG}},
        {"alert_name": LONG},
        {"fingerprint": LONG},
        {"status": LONG},
        {"labels": {LONG: []}},
        {"targets": [LONG]},
    ],
    ids=lambda alert: next(iter(alert)),
)
def test_a_log_line_is_short_whatever_the_message(world: World, alert: dict[str, Any]) -> None:
    """CloudWatch Logs takes 256 KB a line, and bills each byte."""
    fields = world.publish_one(sns(native(**alert))).fields()
    assert len(json.dumps(fields)) < 2000


def test_what_several_records_in_a_message_share_does_not_multiply_it(world: World) -> None:
    """Nor are the labels of a sensible message cut."""
    records = [native(f"f-{number}", labels={"severity": "critical", "text": "y" * 2000}) for number in range(100)]
    record = sns({"Records": records})
    record["Sns"]["Subject"] = LONG
    record["Sns"]["MessageAttributes"] = {"team": {"Type": "String", "Value": LONG * 3}}
    reports = world.publish(record)
    alerts = [report.alert for report in reports if report.alert]
    assert len(alerts) == 100
    assert {len(alert.labels["text"]) for alert in alerts} == {2000}
    assert sum(len(alert.labels["team"]) for alert in alerts) < 10_000_000


# --- What the sender asks for ---


def two_targets() -> World:
    return make_world(
        {
            "pagerduty/payments": target_secret("payments", match=["team=payments"]),
            "pagerduty/search": target_secret("search", OTHER_KEY, match=["team=search"]),
        }
    )


def test_an_alert_may_name_its_targets() -> None:
    """Whatever their matchers say, and each once."""
    world = two_targets()
    reports = world.publish(native(targets=["search"], labels={"team": "payments"}))
    assert [(report.target, report.outcome) for report in reports] == [("search", "accepted")]


def test_a_new_target_may_be_named_at_once() -> None:
    """The secrets are read again for it; the last read may be five minutes old."""
    world = two_targets()
    world.publish(native("earlier", labels={"team": "search"}))
    world.secrets.secrets["pagerduty/sales"] = target_secret("sales", "s" * 32)
    reports = world.publish(native(targets=["sales"]))
    assert [(report.target, report.outcome) for report in reports] == [("sales", "accepted")]


def test_a_target_that_is_not_there_does_not_harm_the_others() -> None:
    """The alert is kept for it with an error that names it, and a redrive brings it there once it exists."""
    world = two_targets()
    reports = world.publish(native(targets=["search", "sales"]))
    assert [report.outcome for report in reports] == ["accepted", "rejected"]
    [letter] = world.sqs.dead_letters
    assert "'sales'" in letter.content["error"]
    world.secrets.secrets["pagerduty/sales"] = target_secret("sales", "s" * 32)
    world.publisher.targets.read(anew=True)
    again = world.publish(letter.as_record())
    assert [(report.target, report.outcome) for report in again] == [("sales", "accepted")]


def test_a_routing_key_in_place_of_a_targets_name_is_not_shown() -> None:
    """Neither in the error nor in the log line."""
    world = two_targets()
    (report,) = world.publish(native(targets=[ROUTING_KEY]))
    assert "32 characters" in str(report.all_errors[0])
    assert ROUTING_KEY not in str(report.fields())


@dataclass(frozen=True, kw_only=True)
class Parsing(Reader):
    """A reader that parses records as it is told."""

    as_told: Callable[[Record], sources.Parsed]

    def parse(self, record: Record) -> sources.Parsed:
        return self.as_told(record)


def test_a_damaged_entry_is_kept_while_its_siblings_are_sent(world: World) -> None:
    """The dead letter is the record as it came."""
    damaged = InvalidAlertError("entry 2: no name")
    publisher = replace(world.publisher, reader=Parsing(as_told=lambda record: [*sources.parse(record), damaged]))
    record = sns(native())
    reports = publisher.publish(record, world.clock() + 57)
    assert [report.outcome for report in reports] == ["accepted", "rejected"]
    [letter] = world.sqs.dead_letters
    assert letter.content["record"] == record
    assert letter.content["error"] == "entry 2: no name"
    assert letter.attributes["attempts"] == "0"


# --- Several alerts in one message ---


def message_of(*alerts: dict[str, Any]) -> Reader:
    """Return a reader that finds these native alerts in any record."""
    return Parsing(
        as_told=lambda record: [found for each in alerts for found in sources.parse(replace(record, payload=each))]
    )


def answer_two_together(world: World) -> None:
    """Let each request wait until another is open; one after the other breaks the barrier."""
    together = Barrier(2)
    answer = world.pagerduty.handle

    def handle(*request: Any) -> Any:
        together.wait(timeout=10)
        return answer(*request)

    world.pagerduty.handle = handle  # type: ignore[method-assign,assignment]


def test_the_alerts_of_a_message_are_delivered_at_the_same_time(world: World) -> None:
    """Two requests are open at once."""
    answer_two_together(world)
    with ThreadPoolExecutor(2) as threads:
        publisher = replace(
            world.publisher, reader=message_of(native("f-1"), native("f-2")), map_concurrently=threads.map
        )
        reports = publisher.publish(sns(native()), world.clock() + 57)
    assert [report.outcome for report in reports] == ["accepted", "accepted"]
    assert world.states == {"f-1": "triggered", "f-2": "triggered"}


def test_the_targets_of_an_alert_get_it_at_the_same_time() -> None:
    """A host that hangs holds up its own target alone: here each request waits for the other."""
    secrets = {"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)}
    world = make_world(secrets)
    answer_two_together(world)
    with ThreadPoolExecutor(2) as threads:
        publisher = replace(world.publisher, map_targets=threads.map)
        reports = publisher.publish(sns(native("f-1")), world.clock() + 57)
    assert [(report.target, report.outcome) for report in reports] == [("a", "accepted"), ("b", "accepted")]


def test_alerts_of_one_identity_stay_in_their_order(world: World) -> None:
    """Whichever identity comes first: a trigger and its resolve in one message leave nothing open."""
    alerts = [native("f-1"), native("f-2"), native("f-1", "resolved", minute=1), native("f-2", "resolved", minute=1)]

    def last_first(function: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
        return [function(thing) for thing in reversed(list(things))]

    publisher = replace(world.publisher, reader=message_of(*alerts), map_concurrently=last_first)
    reports = publisher.publish(sns(native()), world.clock() + 57)
    assert [report.outcome for report in reports] == ["accepted"] * 4
    assert world.states == {"f-1": "resolved", "f-2": "resolved"}


def test_what_is_urgent_goes_first(world: World) -> None:
    """Critical triggers before lesser ones, triggers before resolves; without a severity, as an error."""
    alerts = [
        native("resolve", "resolved", minute=1),
        native("info", labels={"severity": "info"}),
        native("plain", labels={}),
        native("critical"),
        native("warning", labels={"severity": "warning"}),
    ]
    publisher = replace(world.publisher, reader=message_of(*alerts))
    reports = publisher.publish(sns(native()), world.clock() + 57)
    assert [report.alert.fingerprint for report in reports if report.alert] == [
        "critical",
        "plain",
        "warning",
        "info",
        "resolve",
    ]


# --- What no publisher can do ---


@pytest.mark.parametrize(
    "message",
    [
        native(HEALTH_DEDUP_KEY),
        native(f" {HEALTH_DEDUP_KEY}\n"),
        {
            "event_action": "trigger",
            "dedup_key": HEALTH_DEDUP_KEY,
            "payload": {"summary": "The disk is full", "source": "db-1", "severity": "critical"},
        },
    ],
    ids=["native", "with blanks around it", "a body of PagerDuty's"],
)
def test_the_key_of_the_health_check_belongs_to_the_health_check_alone(world: World, message: Any) -> None:
    """The next check would resolve the incident. The alert pages under another key, and so does its resolve."""
    [key] = {report.alert and dedup_key_of(report.alert) for report in world.publish(sns(message))}
    assert key
    assert key.strip() != HEALTH_DEDUP_KEY
    assert world.requests == [("trigger", key)]


# --- What other accounts publish ---

FOREIGN_TOPIC = "arn:aws:sns:us-east-1:000000000000:stack-foreign"
OTHER_EVENT = {
    "id": "e-1",
    "detail-type": "Alert",
    "source": "their.app",
    "account": "111111111111",
    "time": "2026-11-23T03:40:00Z",
    "detail": native("f-1", "resolved", 5, targets=["search"]),
}


def of_foreign_topic(message: Any) -> dict[str, Any]:
    record = sns(message)
    record["Sns"]["TopicArn"] = FOREIGN_TOPIC
    return record


@pytest.mark.parametrize(
    "record",
    [
        of_foreign_topic(native("f-1", "resolved", 5, targets=["search"])),
        of_foreign_topic(sns(native("f-1", "resolved", 5, targets=["search"]))["Sns"]),
        {"foreign": OTHER_EVENT},
        {"error": "x", "record": of_foreign_topic(native("f-1", "resolved", 5, targets=["search"]))},
    ],
    ids=["topic", "a forged topic inside", "bus", "a dead letter of it"],
)
def test_others_choose_no_target_and_end_no_alert_of_this_account(record: Any) -> None:
    """Whatever they wrap it in; their own alerts page, by the matchers."""
    world = two_targets()
    publisher = replace(world.publisher, reader=Reader(foreign_topic_arn=FOREIGN_TOPIC))
    world.publish(native("f-1", labels={"team": "payments"}))
    publisher.publish(record, world.clock() + 57)
    assert world.states["f-1"] == "triggered"
    assert not any(place.target == "search" for place in world.table.all_waiting())
    theirs = native("f-1", labels={"team": "payments"}, targets=["search"])
    [report] = publisher.publish(of_foreign_topic(theirs), world.clock() + 57)
    assert (report.target, report.outcome) == ("payments", "accepted")
    assert world.states["foreign#f-1"] == "triggered"
