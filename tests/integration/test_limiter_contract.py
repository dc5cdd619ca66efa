"""The rate limiter's contract, held on the fake and on a real DynamoDB API."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from handler.delivery.limiter import RateLimiter
from handler.delivery.rate import PERIOD_MS, Priority
from handler.errors import RateLimitExceededError
from tests.lab.clock import NOW
from tests.lab.world import make_limiter

KEY = SecretStr("0123456789abcdef0123456789abcdef")
PERIOD = PERIOD_MS / 1000


@pytest.fixture
def limiter(dynamodb: Any, table_name: str) -> RateLimiter:
    """A limiter of twelve requests a minute, eleven of them for lesser ones."""
    return make_limiter(dynamodb, 12, name=table_name)


def has_turn(limiter: RateLimiter, now: float, priority: Priority = Priority.TRIGGER) -> bool:
    """Take a turn; give whether there was one."""
    try:
        limiter.take(KEY, priority, now)
    except RateLimitExceededError:
        return False
    return True


def test_turns_run_out_and_come_back(limiter: RateLimiter) -> None:
    """Over several segments, and round the whole ring of them."""
    taken = [has_turn(limiter, NOW + second) for second in range(14)]
    assert taken == [True] * 11 + [False] * 3
    assert [has_turn(limiter, NOW + PERIOD + second) for second in (0, 0, 1)] == [True, False, True]
    assert has_turn(limiter, NOW + PERIOD + 1, Priority.CRITICAL)
    assert [has_turn(limiter, NOW + 3 * PERIOD) for _ in range(12)] == [True] * 11 + [False]


def test_places_in_the_line_are_given_once_each(limiter: RateLimiter) -> None:
    """Each refusal stands behind the one before, and looks again when its turn may have come."""
    while has_turn(limiter, NOW):
        pass
    places = []
    for _ in range(5):
        with pytest.raises(RateLimitExceededError) as refused:
            limiter.take(KEY, Priority.TRIGGER, NOW)
        assert refused.value.turn_at is not None
        places.append(refused.value.turn_at)
        assert PERIOD - 1 <= refused.value.retry_after_seconds <= PERIOD
    assert places == sorted(set(places))


def test_a_refusal_of_pagerduty_holds_everybody_back(limiter: RateLimiter) -> None:
    """Also where the item has yet to be made."""
    limiter.push_back(KEY, NOW, 30)
    assert not has_turn(limiter, NOW + 29, Priority.CRITICAL)
    assert has_turn(limiter, NOW + 30, Priority.CRITICAL)


def test_of_many_at_once_no_more_than_the_limit_have_a_turn(dynamodb: Any, table_name: str) -> None:
    """Eight executions take what they can, within one segment and over its end."""
    if type(dynamodb).__name__ == "FakeDynamoDB":
        pytest.skip("the fake is for one thread")
    limiter = make_limiter(dynamodb, 60, name=table_name)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: has_turn(limiter, NOW + number / 100), range(120)))
    assert sum(taken) == 55
