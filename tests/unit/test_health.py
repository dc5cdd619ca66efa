"""The health check: finds what would keep a page from going out, and opens no incident in looking for it."""

from enum import StrEnum

import pytest
from pydantic import SecretStr

from handler.errors import ErrorReason, PublisherErrorReason
from handler.health import HealthCheck
from handler.health_report import HealthReport
from handler.version import VERSION
from local.simulator.faults import Fault, FaultKind
from tests.lab.parts import make_client
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.wire import DirectPool
from tests.lab.world import World, make_limiter, make_world, native


def run(world: World, *, rate_limit: float = 120) -> HealthReport:
    pool = DirectPool(world.pagerduty, world.clock)
    limiter = make_limiter(world.dynamodb, rate_limit, clock=world.clock)
    check = HealthCheck(
        world.targets,
        make_client(pool, world.clock),
        world.table,
        limiter,
        world.clock,
        world.publisher.queues.count_dead_letters,
    )
    return check.run(world.clock() + 57)


def reasons(health: HealthReport) -> list[StrEnum]:
    return [error.reason for error in health.errors]


@pytest.fixture
def world() -> World:
    return make_world({"pagerduty/a": target_secret("a"), "pagerduty/b": target_secret("b", OTHER_KEY)})


def test_a_healthy_publisher_says_so_and_opens_nothing(world: World) -> None:
    """One request for each target."""
    health = run(world)

    assert health.fields() == {
        "version": VERSION,
        "healthy": True,
        "targets": {"a": "healthy", "b": "healthy"},
        "problems": [],
        "tracked": 0,
    }
    assert [attempt.status for attempt in health.attempts] == ["202", "202"]
    assert world.pagerduty.incidents == ()


def test_what_is_tracked_is_counted(world: World) -> None:
    """Dedup keys alone, neither expired ones nor what else the table holds; on however many pages."""
    world.dynamodb.page_size = 2
    for number in range(5):
        world.publish(native(f"f-{number}", targets=["a"]))
    world.clock.advance(30 * 86400 - 10)
    world.publish(native("f-late", targets=["a"]))
    make_limiter(world.dynamodb).push_back(SecretStr(ROUTING_KEY), world.clock(), 30)
    assert run(world).tracked == 6
    world.clock.advance(10)
    assert run(world).tracked == 1


def test_a_target_that_refuses_is_distinguished(world: World) -> None:
    """With what PagerDuty says, and without its key."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body={"message": f"bad {ROUTING_KEY}"}))
    health = run(world)

    assert (health.targets["a"] is None, health.targets["b"] is None) == (False, True)
    assert reasons(health) == [ErrorReason.BAD_REQUEST]
    assert ROUTING_KEY not in str(health.fields())


def test_a_bad_secret_is_a_problem_of_the_whole(world: World) -> None:
    """The others are asked as ever; one that is disabled or sends nowhere is not."""
    world.secrets.secrets["pagerduty/bad"] = target_secret("bad", "short")
    world.secrets.secrets["pagerduty/off"] = target_secret("off", enabled=False)
    world.secrets.secrets["pagerduty/noise"] = target_secret("noise", type="none")
    health = run(world)

    assert reasons(health) == [PublisherErrorReason.INVALID_TARGET]
    assert set(health.targets) == {"a", "b"}
    assert world.problems == health.reported
    assert health.unreported == []
    assert "pagerduty/bad" in str(health.fields()["problems"])


def test_secrets_are_read_anew(world: World) -> None:
    """A key that was rotated badly is found within five minutes, not when it pages."""
    run(world)
    world.secrets.secrets["pagerduty/b"] = "not json"

    assert reasons(run(world)) == [PublisherErrorReason.INVALID_TARGET]


def test_secrets_that_cannot_be_read_are_a_problem_even_while_the_last_known_serve(world: World) -> None:
    run(world)
    world.secrets.fail("InternalServiceError")
    health = run(world)

    assert PublisherErrorReason.TARGETS_UNAVAILABLE in reasons(health)
    assert set(health.targets) == {"a", "b"}


def test_secrets_that_were_never_read_leave_nothing_to_ask(world: World) -> None:
    """No target is known: the rest of the check would say nothing."""
    world.secrets.fail("InternalServiceError")
    health = run(world)

    assert reasons(health) == [PublisherErrorReason.TARGETS_UNAVAILABLE]
    assert (health.targets, world.requests) == ({}, [])


def test_what_waits_is_counted_for_each_target_with_the_oldest(world: World) -> None:
    """The metrics of a backlog."""
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None))
    for fingerprint in ("f-1", "f-2"):
        world.publish(native(fingerprint))
        world.clock.advance(3)
    waiting = run(world).waiting

    assert {target: count for target, (count, _) in waiting.items()} == {"a": 2, "b": 2}
    assert all(oldest == 6000 for _, oldest in waiting.values())


def test_no_targets_are_a_problem() -> None:
    assert reasons(run(make_world({}))) == [PublisherErrorReason.NO_TARGET]


def test_a_table_that_is_out_is_a_problem_and_the_targets_are_asked_all_the_same(world: World) -> None:
    world.dynamodb.fail("InternalServerError")
    health = run(world, rate_limit=120)

    assert reasons(health) == [PublisherErrorReason.TABLE_UNAVAILABLE]
    assert (health.tracked, set(health.targets)) == (None, {"a", "b"})


def test_the_check_keeps_the_limit_of_a_key(world: World) -> None:
    """A key without a permit left is in use: that proves more than a request would, and is no problem."""
    health = run(world, rate_limit=1)
    assert set(health.targets) == {"a", "b"}
    health = run(world, rate_limit=1)

    assert (health.targets, health.errors, health.attempts) == ({}, [], [])


def test_pagerduty_out_of_reach_is_a_problem_of_each_target(world: World) -> None:
    world.pagerduty.set_faults(Fault(FaultKind.RESET, count=None))

    assert reasons(run(world)) == [ErrorReason.CONNECTION] * 2


def test_dead_letters_are_counted(world: World) -> None:
    """Asking for them also keeps the queue's own metrics up to date; a queue that cannot be asked is no fault here."""
    assert run(world).dead_letters == 0
    world.publish({"alert": {}})
    health = run(world)
    assert (health.dead_letters, health.fields()["dead_letters"], health.errors) == (1, 1, [])
    world.sqs.fail("InternalError")
    assert run(world).dead_letters is None


def test_a_key_that_is_closed_is_unhealthy_until_a_probe_is_accepted(world: World) -> None:
    """PagerDuty was out of reach, or refused the key; the check itself may be the probe that resumes it."""
    world.limiter.suspend(SecretStr(ROUTING_KEY), world.clock(), 30)
    suspended = run(world)
    assert (suspended.targets["a"] is None, suspended.targets["b"] is None) == (False, True)
    assert [(str(error.reason), str(error)[:26]) for error in suspended.unreported] == [
        ("circuit_open", "PagerDuty was out of reach")
    ]
    world.clock.advance(31)
    assert run(world).targets["a"] is None
    assert run(world).targets["a"] is None
    assert world.limiter.look(SecretStr(ROUTING_KEY), world.clock()).probe_at is None
