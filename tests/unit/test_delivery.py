"""One delivery: what becomes of it, and what the dedup table and PagerDuty know afterwards."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from handler.alert import Alert, Status
from handler.delivery.sender import BUSY_SECONDS, Delivery, Trace
from handler.errors import (
    ErrorReason,
    ExhaustedError,
    InvalidTargetError,
    PagerDutyApiError,
    TableMissingError,
    TableUnavailableError,
)
from handler.mapping import action_of
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Result,
    Skipped,
    SkipReason,
)
from handler.pagerduty.events import Action
from handler.targets.target import Target
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import NOW
from tests.lab.secrets import ROUTING_KEY
from tests.lab.world import World, make_world

ID = "production#f-1"


def alert(status: str = "firing", seconds: int = 0, **fields: Any) -> Alert:
    """Give an alert that was observed so many seconds before or after now."""
    at = datetime.fromtimestamp(NOW + seconds, UTC)
    given = {"fingerprint": "f-1", "name": "CPU", "origin": "native", "severity_word": "critical", **fields}
    return Alert(status=Status(status), observed_at=at, **given)


def change(seconds: int = 0) -> Alert:
    return alert(seconds=seconds, labels={"change_event": "true"})


def target(**fields: Any) -> Target:
    given = {"name": "production", "type": "pagerduty", "headers": {"routing_key": ROUTING_KEY}, **fields}
    return Target.model_validate(given)


def deliver(
    world: World,
    what: Alert,
    *,
    seconds: float = 57.0,
    to: Target | None = None,
    trace: Trace | None = None,
    failures: int = 0,
    failing_since: datetime | None = None,
) -> Result:
    delivery = Delivery(alert=what, target=to or target(), failures=failures, failing_since=failing_since)
    return world.sender.deliver(delivery, world.clock() + seconds, trace or Trace())


@pytest.fixture
def world() -> World:
    return make_world()


def reason_of(result: Result) -> Any:
    return result.reason if isinstance(result, Skipped | Deferred) else None


# --- Once and in order ---


def test_an_alerts_life(world: World) -> None:
    """Trigger, acknowledge, resolve; each accepted, the incident follows."""
    for status, state, seconds in [("firing", "triggered", 0), ("acknowledged",) * 2 + (1,), ("resolved",) * 2 + (2,)]:
        assert deliver(world, alert(status, seconds)) == Accepted(dedup_key="f-1", at=NOW)
        assert world.states == {"f-1": state}
    assert world.requests == [("trigger", "f-1"), ("acknowledge", "f-1"), ("resolve", "f-1")]
    assert world.item(ID)["attempted"] is False


def test_a_second_copy_is_a_duplicate(world: World) -> None:
    """One request for two deliveries; the trace says that the table knew it."""
    first, second = Trace(), Trace()
    deliver(world, alert(), trace=first)
    assert deliver(world, alert(), trace=second) == Skipped(reason=SkipReason.DUPLICATE)
    assert world.requests == [("trigger", "f-1")]
    assert (first.known, second.known) == (False, True)


def test_a_late_trigger_does_not_reopen(world: World) -> None:
    """The resolve came first and was sent: there may be an incident older than the record."""
    assert isinstance(deliver(world, alert("resolved", 60)), Accepted)
    assert deliver(world, alert("firing", 0)) == Skipped(reason=SkipReason.SUPERSEDED)
    assert world.requests == [("resolve", "f-1")]
    assert world.pagerduty.incidents == ()


def test_a_late_resolve_does_not_close_what_has_fired_again(world: World) -> None:
    """It is of the time before."""
    deliver(world, alert("firing", 0))
    deliver(world, alert("firing", 120))
    assert deliver(world, alert("resolved", 60)) == Skipped(reason=SkipReason.SUPERSEDED)
    assert world.states == {"f-1": "triggered"}


def test_it_opens_again_when_it_fires_again(world: World) -> None:
    """A newer trigger after a resolve is a new incident."""
    for step, status in enumerate(["firing", "resolved", "firing"]):
        deliver(world, alert(status, step * 60))
    assert [str(incident.state) for incident in world.pagerduty.incidents] == ["resolved", "triggered"]


def test_a_change_event_goes_out_once_per_occurrence(world: World) -> None:
    """Also long after a repeat of an alert would be sent again."""
    assert isinstance(deliver(world, change(0)), Accepted)
    world.clock.advance(3600)
    assert deliver(world, change(0)) == Skipped(reason=SkipReason.DUPLICATE)
    assert isinstance(deliver(world, change(60)), Accepted)
    assert [request.action for request in world.pagerduty.requests] == ["change", "change"]


def test_a_copy_waits_while_another_execution_sends(world: World) -> None:
    """Should the other crash, the copy delivers; else it is a duplicate."""
    deferred: list[Result] = []
    faults = Fault(FaultKind.STATUS, status=500)
    world.pagerduty.set_faults(faults)

    def copy_arrives(_: float) -> None:
        deferred.append(deliver(world, alert()))
        deferred.append(deliver(world, alert("resolved", 60)))

    other = make_world(clock=world.clock, sleep=copy_arrives)
    other.dynamodb.tables = world.dynamodb.tables
    other.pagerduty.set_faults(faults)
    assert isinstance(deliver(other, alert(), seconds=40), Accepted)
    assert deferred == [Deferred(reason=DeferReason.BUSY, delay_seconds=BUSY_SECONDS)] * 2
    assert deliver(world, alert()) == Skipped(reason=SkipReason.SUPERSEDED)
    assert isinstance(deliver(world, alert("resolved", 60)), Accepted)


def test_a_trigger_that_waits_its_turn_is_never_sent_once_it_has_resolved(world: World) -> None:
    """Nothing was attempted, so there is nothing to resolve: not a single request for it."""
    assert reason_of(deliver(world, alert("firing", 0), seconds=0.1)) is DeferReason.FAILED  # no time to begin
    assert world.item(ID)["attempted"] is False
    assert deliver(world, alert("resolved", 60)) == Skipped(reason=SkipReason.NEVER_OPENED)
    assert deliver(world, alert("firing", 0)) == Skipped(reason=SkipReason.SUPERSEDED)
    assert world.requests == []


def test_a_trigger_whose_answer_never_came_is_resolved(world: World) -> None:
    """An unknown outcome is maybe an open incident."""
    world.pagerduty.set_faults(Fault(FaultKind.ACCEPT_THEN_DROP, count=None))
    assert reason_of(deliver(world, alert("firing", 0))) is DeferReason.FAILED
    world.pagerduty.set_faults()
    assert isinstance(deliver(world, alert("resolved", 60)), Accepted)
    assert world.states == {"f-1": "resolved"}
    assert deliver(world, alert("firing", 0)) == Skipped(reason=SkipReason.SUPERSEDED)


# --- Targets that do not want it ---


@pytest.mark.parametrize(
    ("fields", "what", "reason"),
    [
        ({"severity_threshold": "error"}, alert(severity_word="warning"), SkipReason.BELOW_THRESHOLD),
        ({"auto_resolve": False}, alert("resolved"), SkipReason.AUTO_RESOLVE_OFF),
    ],
)
def test_what_a_target_does_not_want_is_skipped(
    world: World, fields: dict[str, Any], what: Alert, reason: SkipReason
) -> None:
    """Neither the table nor PagerDuty hears of it."""
    assert deliver(world, what, to=target(**fields)) == Skipped(reason=reason)
    assert (world.dynamodb.calls, world.requests) == ([], [])


def test_what_a_target_cannot_take_is_rejected(world: World) -> None:
    """An orchestration's key takes no change events."""
    result = deliver(world, change(), to=target(headers={"routing_key": "R" * 32}))
    assert isinstance(result, Rejected)
    assert isinstance(result.error, InvalidTargetError)
    assert "production" in str(result.error)
    assert "R" * 32 not in str(result.error)


# --- PagerDuty fails ---


@pytest.mark.parametrize(
    ("fault", "reason", "error"),
    [
        (Fault(FaultKind.STATUS, status=503, count=None), DeferReason.FAILED, ErrorReason.SERVER_ERROR),
        (Fault(FaultKind.RESET, count=None), DeferReason.FAILED, ErrorReason.CONNECTION),
        (Fault(FaultKind.ANSWER, count=None, delay_seconds=60), DeferReason.FAILED, ErrorReason.TIMEOUT),
        (Fault(FaultKind.STATUS, status=429), DeferReason.RATE_LIMIT, ErrorReason.RATE_LIMIT),
    ],
    ids=["5xx", "reset", "timeout", "429"],
)
def test_what_may_pass_is_deferred(world: World, fault: Fault, reason: DeferReason, error: ErrorReason) -> None:
    """The claim is given back, so that the next try finds it free; PagerDuty may know of it."""
    world.pagerduty.set_faults(fault)
    trace = Trace()
    result = deliver(world, alert(), trace=trace)
    assert isinstance(result, Deferred)
    assert result.reason is reason
    assert result.error
    assert result.error.reason is error
    assert "owner" not in world.item(ID)
    assert world.item(ID)["attempted"] is True
    assert len(trace.attempts) == (1 if reason is DeferReason.RATE_LIMIT else 4)
    world.pagerduty.set_faults()
    assert isinstance(deliver(world, alert()), Accepted)


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 30.0), (0, 30.0), (7, 7.0), (5000, 300.0)])
def test_a_429_waits_as_told_or_30_s(world: World, retry_after: int | None, seconds: float) -> None:
    """PagerDuty's own advice."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=retry_after))
    result = deliver(world, alert(), failures=3)
    assert isinstance(result, Deferred)
    assert (result.reason, result.delay_seconds) == (DeferReason.RATE_LIMIT, seconds)
    assert world.clock.naps == []


def test_the_delay_grows_with_the_failures(world: World) -> None:
    """15 s doubling to 15 min, of which half is jitter."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    delays = []
    for failures in range(8):
        result = deliver(world, alert(), failures=failures)
        assert isinstance(result, Deferred)
        delays.append(result.delay_seconds)
    assert delays == [0.75 * seconds for seconds in (15, 30, 60, 120, 240, 480, 900, 900)]


def test_it_is_given_up_after_24_hours_of_failing(world: World) -> None:
    """Not before; and the last error is told."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    day = datetime.fromtimestamp(NOW - 86_300, UTC)
    assert reason_of(deliver(world, alert(), failures=99, failing_since=day)) is DeferReason.FAILED
    world.clock.advance(101)
    result = deliver(world, alert(), failures=100, failing_since=day)
    assert isinstance(result, Rejected)
    assert isinstance(result.error, ExhaustedError)
    assert str(result.error) == "given up after 100 failures in 24 h: PagerDuty answered 503: Service Unavailable"


def test_waiting_for_a_turn_is_never_given_up(world: World) -> None:
    """However long it has failed before."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None))
    long_ago = datetime.fromtimestamp(NOW - 10 * 86_400, UTC)
    assert reason_of(deliver(world, alert(), failures=9, failing_since=long_ago)) is DeferReason.RATE_LIMIT


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404])
def test_what_no_retry_can_mend_is_rejected(world: World, status: int) -> None:
    """Tried once; the claim is given back, for the dead letter comes back some day."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=status))
    result = deliver(world, alert())
    assert isinstance(result, Rejected)
    assert isinstance(result.error, PagerDutyApiError)
    assert result.error.status_code == status
    assert len(world.requests) == 1
    assert isinstance(deliver(world, alert()), Accepted)


# --- DynamoDB fails ---


def outage(world: World) -> None:
    world.dynamodb.fail("InternalServerError")


def unreachable(world: World) -> None:
    world.dynamodb.fail(EndpointConnectionError(endpoint_url="https://dynamodb.example.org"))


def no_table(world: World) -> None:
    world.dynamodb.tables.clear()


@pytest.mark.parametrize(
    ("breakage", "error"),
    [(outage, TableUnavailableError), (unreachable, TableUnavailableError), (no_table, TableMissingError)],
)
@pytest.mark.parametrize("what", [alert(), change()], ids=["trigger", "change"])
def test_without_the_table_a_page_is_still_sent(
    world: World, breakage: Callable[[World], None], error: type[Exception], what: Alert
) -> None:
    """Fail open: PagerDuty folds repeats; the error is reported."""
    breakage(world)
    trace = Trace()
    assert isinstance(deliver(world, what, trace=trace), Accepted)
    assert [type(each) for each in trace.errors] == [error]
    assert trace.known is None
    assert len(world.dynamodb.calls) == 1


@pytest.mark.parametrize("breakage", [outage, unreachable])
@pytest.mark.parametrize("status", ["resolved", "acknowledged"])
def test_without_the_table_what_needs_order_waits(world: World, breakage: Callable[[World], None], status: str) -> None:
    """A resolve that overtook its trigger would be lost at PagerDuty."""
    breakage(world)
    result = deliver(world, alert(status), failures=1)
    assert isinstance(result, Deferred)
    assert (result.reason, result.delay_seconds) == (DeferReason.TABLE_UNAVAILABLE, 0.75 * 30)
    assert isinstance(result.error, TableUnavailableError)
    assert world.requests == []


@pytest.mark.parametrize("status", ["resolved", "acknowledged"])
def test_a_missing_table_is_not_waited_for(world: World, status: str) -> None:
    """A person has to mend it, and reads the table's name in the dead letter."""
    no_table(world)
    result = deliver(world, alert(status))
    assert isinstance(result, Rejected)
    assert "table dedup does not exist" in str(result.error)
    assert world.requests == []


def test_a_resolve_that_has_waited_a_day_for_the_table_is_given_up(world: World) -> None:
    """It is put aside, for a person to look at."""
    outage(world)
    result = deliver(world, alert("resolved"), failures=99, failing_since=datetime.fromtimestamp(NOW - 90_000, UTC))
    assert isinstance(result, Rejected)
    assert isinstance(result.error, ExhaustedError)


def test_an_accepted_delivery_stays_accepted_when_it_cannot_be_settled(world: World) -> None:
    """The error is reported; the lease ends by itself, and a repeat folds at PagerDuty."""
    world.dynamodb.fail("ThrottlingException", after=1, times=1)
    trace = Trace()
    assert isinstance(deliver(world, alert(), trace=trace), Accepted)
    assert [type(error) for error in trace.errors] == [TableUnavailableError]
    world.clock.advance(57)
    assert isinstance(deliver(world, alert()), Accepted)
    assert len(world.pagerduty.incidents) == 1


def test_a_failed_delivery_stays_deferred_when_it_cannot_be_released(world: World) -> None:
    """When it comes back the lease has ended, or it waits for its end."""
    world.dynamodb.fail("ThrottlingException", after=1, times=1)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=4))
    assert reason_of(deliver(world, alert())) is DeferReason.FAILED
    assert reason_of(deliver(world, alert())) is DeferReason.BUSY
    world.clock.advance(57)
    assert isinstance(deliver(world, alert()), Accepted)


@pytest.mark.parametrize(
    ("what", "action"),
    [
        (alert(), Action.TRIGGER),
        (alert("acknowledged"), Action.ACKNOWLEDGE),
        (alert("resolved"), Action.RESOLVE),
        (alert("resolved", labels={"change_event": "true"}), Action.CHANGE),
    ],
)
def test_an_alert_asks_for_one_action(what: Alert, action: Action) -> None:
    """A change event is one whatever its status."""
    assert action_of(what) is action


def test_the_deadline_is_the_clients_too(world: World) -> None:
    """No request outlasts the lease."""
    world.pagerduty.set_faults(Fault(FaultKind.ANSWER, count=None, delay_seconds=60))
    assert reason_of(deliver(world, alert(), seconds=15)) is DeferReason.FAILED
    assert world.clock() <= NOW + 15
