"""The limiter on the table: what it gives, what it costs, and who goes first."""

import heapq
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from handler.delivery.limiter import RateLimiter
from handler.delivery.rate import PERIOD_MS, WINDOW_MS, Priority
from handler.errors import RateLimitExceededError, TableMissingError, TableUnavailableError
from handler.outcome import Accepted, DeferReason, Deferred
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import NOW
from tests.lab.dynamodb import TABLE, FakeDynamoDB
from tests.lab.world import make_limiter, make_world, native

KEY = SecretStr("0123456789abcdef0123456789abcdef")
OTHER = SecretStr("f" * 32)
PERIOD = PERIOD_MS / 1000
WINDOW = WINDOW_MS / 1000


def take(limiter: RateLimiter, now: float, priority: Priority = Priority.TRIGGER, key: SecretStr = KEY) -> bool:
    """Take a turn; give whether there was one."""
    try:
        limiter.take(key, priority, now)
    except RateLimitExceededError:
        return False
    return True


def most_in_a_window(times: list[float]) -> int:
    """Give the most requests in any rolling minute."""
    times = sorted(times)
    return max((sum(1 for t in times if start <= t < start + WINDOW) for start in times), default=0)


def drain(limiter: RateLimiter, arrivals: list[tuple[float, Priority]]) -> list[tuple[float, float, Priority]]:
    """Let everybody come when told, until all had a turn; give when each arrived and had it."""
    waiting: list[tuple[float, int, float, Priority, float | None]] = [
        (at, number, at, priority, None) for number, (at, priority) in enumerate(arrivals)
    ]
    heapq.heapify(waiting)
    served: list[tuple[float, float, Priority]] = []
    while waiting:
        now, number, arrived, priority, turn_at = heapq.heappop(waiting)
        try:
            limiter.take(KEY, priority, now, turn_at)
        except RateLimitExceededError as error:
            looks_at = now + error.retry_after_seconds
            heapq.heappush(waiting, (looks_at, number, arrived, priority, error.turn_at))
        else:
            served.append((arrived, now, priority))
        assert now < arrivals[0][0] + 86400
    return served


def test_a_key_has_its_turns_and_no_more_until_the_minute_is_over() -> None:
    """All at once; then none for a minute; then all again: a bucket with refill would let twice as many through."""
    limiter = make_limiter(FakeDynamoDB())
    assert [take(limiter, NOW, Priority.CRITICAL) for _ in range(121)] == [True] * 120 + [False]
    assert not take(limiter, NOW + WINDOW - 0.001, Priority.CRITICAL)
    assert take(limiter, NOW + PERIOD, Priority.CRITICAL)


def costs(dynamodb: FakeDynamoDB, *turns: tuple[RateLimiter, float]) -> list[int]:
    """Take turns at these times; give how many calls each made."""
    made = []
    for limiter, at in turns:
        before = len(dynamodb.calls)
        assert take(limiter, NOW + at)
        made.append(len(dynamodb.calls) - before)
    return made


def test_a_turn_costs_one_write_of_whoever_is_alone_with_a_key() -> None:
    """A conditional increment, or the roll to the next segment on what was left behind; the first one has to look."""
    dynamodb = FakeDynamoDB()
    alone = make_limiter(dynamodb)
    assert costs(dynamodb, *((alone, at) for at in (0, 0, 0.1, 0.6, 0.6, 10, 70, 200, 200))) == [
        2,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
    ]


def test_who_is_not_alone_tries_once_a_minute() -> None:
    """Between others' turns a roll on what was left behind fails; after that the increment is asked first."""
    dynamodb = FakeDynamoDB()
    one, other = make_limiter(dynamodb), make_limiter(dynamodb)
    turns = [(one, 0.0), (other, 1.0), (one, 2.0), (other, 3.0), (one, 4.0), (other, 5.0), (one, 70.0)]
    assert costs(dynamodb, *turns) == [2, 2, 3, 3, 2, 2, 3]


@pytest.mark.parametrize("priority", Priority)
def test_who_seems_to_be_alone_is_held_back_like_everybody(priority: Priority) -> None:
    """PagerDuty refused another execution's request meanwhile, which changes no turns."""
    dynamodb = FakeDynamoDB()
    one, other = make_limiter(dynamodb), make_limiter(dynamodb)
    assert take(one, NOW)
    other.push_back(KEY, NOW + 1, 30)
    assert not take(one, NOW + 2, priority)
    assert take(one, NOW + 31, Priority.CRITICAL)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 20), st.sampled_from(Priority)), min_size=15, max_size=60),
    st.integers(1, 14),
)
def test_several_executions_together_keep_the_limit(turns: list[tuple[int, float, Priority]], limit: int) -> None:
    """Whoever takes when, alone or not: in no rolling minute are there more requests than the limit."""
    dynamodb = FakeDynamoDB()
    limiters = [make_limiter(dynamodb, limit) for _ in range(3)]
    now, taken = NOW, []
    for who, later, priority in turns:
        now += later
        if take(limiters[who], now, priority):
            taken.append(now)
    assert most_in_a_window(taken) <= limit


def test_keys_do_not_share_turns_and_targets_of_one_key_do() -> None:
    """The limit belongs to the routing key, which stands nowhere in the table."""
    dynamodb = FakeDynamoDB()
    one, same = make_limiter(dynamodb, 2), make_limiter(dynamodb, 2)
    assert [take(limiter, NOW, Priority.CRITICAL) for limiter in (one, same, one)] == [True, True, False]
    assert take(one, NOW, Priority.CRITICAL, OTHER)
    assert KEY.get_secret_value() not in str(dynamodb.tables)


def test_an_execution_whose_clock_is_behind_takes_from_the_same_window() -> None:
    """It neither gets turns that are taken, nor throws the window back."""
    limiter = make_limiter(FakeDynamoDB(), 2)
    assert [take(limiter, NOW + at, Priority.CRITICAL) for at in (5, 0, 0)] == [True, True, False]
    assert not take(limiter, NOW + 5, Priority.CRITICAL)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.floats(0, 200), st.sampled_from(list(Priority))), min_size=1, max_size=80),
)
def test_no_rolling_minute_has_more_than_the_limit(limit: int, arrivals: list[tuple[float, Priority]]) -> None:
    """Whoever comes whenever, and comes again when told: everybody has a turn in the end."""
    ordered = sorted((NOW + at, priority) for at, priority in arrivals)
    served = drain(make_limiter(FakeDynamoDB(), limit), ordered)
    assert len(served) == len(arrivals)
    assert most_in_a_window([at for _, at, _ in served]) <= limit


def test_a_thousand_warnings_and_ten_criticals_drain_near_the_limit_and_criticals_at_once() -> None:
    """Nine tenths of the limit are used, nobody stampedes, and no critical one waits."""
    dynamodb = FakeDynamoDB()
    arrivals = [(NOW + n / 10_000, Priority.CRITICAL if n % 101 == 100 else Priority.TRIGGER) for n in range(1010)]
    served = drain(make_limiter(dynamodb), arrivals)
    assert max(at - arrived for arrived, at, priority in served if priority is Priority.CRITICAL) == 0
    took = max(at for _, at, _ in served) - NOW
    ideal = (1010 - 120) / 120 * WINDOW
    assert took <= ideal / 0.9 + PERIOD
    assert len(dynamodb.calls) <= 8 * 1010
    assert most_in_a_window([at for _, at, _ in served]) <= 120


def test_writes_grow_with_those_who_wait_and_not_with_their_square() -> None:
    """Four times as many who wait cost not much more than four times as many writes."""

    def writes(waiting: int) -> int:
        dynamodb = FakeDynamoDB()
        drain(make_limiter(dynamodb, 60), [(NOW + n / 10_000, Priority.TRIGGER) for n in range(waiting)])
        return len(dynamodb.calls)

    assert writes(1200) < 4 * 1.6 * writes(300)


def test_a_refusal_of_pagerduty_holds_everybody_back() -> None:
    """Also where no turn was ever taken; a shorter one does not shorten it."""
    limiter = make_limiter(FakeDynamoDB())
    limiter.push_back(KEY, NOW, 30)
    limiter.push_back(KEY, NOW, 10)
    assert not take(limiter, NOW + 29.9, Priority.CRITICAL)
    assert take(limiter, NOW + 30, Priority.CRITICAL)
    assert take(limiter, NOW, key=OTHER)


@pytest.mark.parametrize(
    ("code", "error"),
    [("ThrottlingException", TableUnavailableError), ("ResourceNotFoundException", TableMissingError)],
)
@pytest.mark.parametrize("call", ["take", "push_back"])
def test_a_failing_table_is_told_by_its_error(code: str, error: type[Exception], call: str) -> None:
    """What to do about it is the caller's to say."""
    dynamodb = FakeDynamoDB()
    dynamodb.fail(code)
    limiter = make_limiter(dynamodb)
    asked: Callable[[], object] = (
        (lambda: limiter.take(KEY, Priority.TRIGGER, NOW)) if call == "take" else lambda: limiter.push_back(KEY, NOW, 1)
    )
    with pytest.raises(error):
        asked()


# --- In a delivery ---


def test_a_delivery_without_a_turn_waits_in_the_queue_with_its_place_and_is_no_failure() -> None:
    """It comes back with the place, takes its turn and is delivered; nothing was sent for it before."""
    world = make_world(rate_limit=1)
    assert isinstance(world.publish_one(native("a")).result, Accepted)
    result = world.publish_one(native("b")).result
    assert isinstance(result, Deferred)
    assert (result.reason, result.error) == (DeferReason.RATE_LIMIT, None)
    (message,) = world.sqs.retries
    assert set(message.content["delivery"]) == {"target", "turn_at", "was_never_attempted", "waiting_since"}
    assert 60 <= message.delay_seconds <= 62
    assert world.item("production#b")["attempted"] is False
    assert isinstance(world.publish_one(world.take_retry()).result, Accepted)
    assert len(world.requests) == 2


def test_every_attempt_takes_a_turn() -> None:
    """Retries are within the limit too: with two turns there are two requests, whatever the retries allow."""
    world = make_world(rate_limit=2)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None))
    result = world.publish_one(native()).result
    assert isinstance(result, Deferred)
    assert result.reason is DeferReason.RATE_LIMIT
    assert len(world.requests) == 2


def test_a_429_holds_back_the_others_of_the_key() -> None:
    """They are not sent to be refused as well."""
    world = make_world(rate_limit=120)
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after="40", count=1))
    first, second = world.publish_one(native("a")).result, world.publish_one(native("b")).result
    assert isinstance(first, Deferred)
    assert isinstance(second, Deferred)
    assert (first.delay_seconds, second.reason) == (40, DeferReason.RATE_LIMIT)
    assert second.delay_seconds >= 40
    assert len(world.requests) == 1


def test_a_resolve_of_a_trigger_that_waits_for_its_turn_costs_no_turn() -> None:
    """Never opened: neither of the two is sent."""
    world = make_world(rate_limit=1)
    world.publish(native("a"))
    world.publish(native("b"))
    assert world.publish_one(native("b", "resolved", 5)).outcome == "skipped"
    assert world.publish_one(world.take_retry()).outcome == "skipped"
    assert world.requests == [("trigger", "a")]


def test_without_the_limiter_a_page_still_goes_out() -> None:
    """The table fails after the claim: the page is sent, and the error is told."""
    world = make_world(rate_limit=120)
    world.dynamodb.fail("ThrottlingException", after=1)
    report = world.publish_one(native())
    assert isinstance(report.result, Accepted)
    assert {type(error) for error in report.errors} == {TableUnavailableError}
    assert TABLE in str(report.errors[0])
