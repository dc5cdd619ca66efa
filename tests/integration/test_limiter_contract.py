"""The rate limiter's contract, held on the fake and on a real DynamoDB API."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from handler.delivery.limiter import LEASE_MS, WOKEN_MS, NoPermitError, Permit, RateLimiter, Refusal, Taker
from handler.delivery.rate import PERIOD_MS
from tests.lab.clock import NOW
from tests.lab.world import make_limiter

KEY = SecretStr("0123456789abcdef0123456789abcdef")
PERIOD = PERIOD_MS / 1000


@pytest.fixture
def limiter(dynamodb: Any, table_name: str) -> RateLimiter:
    """Twelve permits, eleven of them for lesser ones."""
    return make_limiter(dynamodb, 12, name=table_name)


@pytest.fixture
def other(dynamodb: Any, table_name: str) -> RateLimiter:
    """The same limit in another execution."""
    return make_limiter(dynamodb, 12, name=table_name)


def take(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> Permit | NoPermitError:
    """Return a permit, or why there is none."""
    try:
        return limiter.take(KEY, taker, now)
    except NoPermitError as error:
        return error


def gets(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> bool:
    return isinstance(take(limiter, now, taker), Permit)


def refusal(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> tuple[Refusal, bool]:
    answer = take(limiter, now, taker)
    assert isinstance(answer, NoPermitError)
    return answer.refusal, answer.is_drained


def test_permits_run_out_and_come_back(limiter: RateLimiter) -> None:
    """Over several segments, and round the whole ring of them."""
    taken = [gets(limiter, NOW + second) for second in range(14)]
    assert taken == [True] * 11 + [False] * 3
    assert [gets(limiter, NOW + PERIOD + second) for second in (0, 0, 1)] == [True, False, True]
    assert gets(limiter, NOW + PERIOD + 1, Taker.CRITICAL)
    assert [gets(limiter, NOW + 3 * PERIOD) for _ in range(12)] == [True] * 11 + [False]


def test_two_executions_share_the_permits(limiter: RateLimiter, other: RateLimiter) -> None:
    """In turns, within segments and over their ends; each sees what the other took."""
    taken = [gets(limiter if number % 2 else other, NOW + number // 3) for number in range(13)]
    assert taken == [True] * 11 + [False] * 2
    assert limiter.look(KEY, NOW + 4).used == 11
    assert other.look(KEY, NOW + 4).counts == limiter.look(KEY, NOW + 4).counts


def test_a_refusal_of_pagerduty_holds_everybody_back(limiter: RateLimiter, other: RateLimiter) -> None:
    """Also where the item has yet to be made; a shorter one does not shorten it."""
    other.push_back(KEY, NOW, 30)
    other.push_back(KEY, NOW, 10)
    assert refusal(limiter, NOW + 29, Taker.CRITICAL) == (Refusal.BLOCKED, False)
    assert gets(limiter, NOW + 30, Taker.CRITICAL)


def test_drainers_wake_lead_and_leave(limiter: RateLimiter, other: RateLimiter) -> None:
    """One at a time; lesser ones stand behind it, from the wake-up to its end."""
    assert gets(other, NOW)
    assert (limiter.wake(KEY, NOW), other.wake(KEY, NOW)) == (True, False)
    assert refusal(other, NOW) == (Refusal.DRAINER, True)
    assert (limiter.lead(KEY, "a", NOW + 1), other.lead(KEY, "b", NOW + 1)) == (True, False)
    assert refusal(other, NOW + 2) == (Refusal.DRAINER, True)
    assert gets(limiter, NOW + 2, Taker.DRAINER)
    assert gets(other, NOW + 2, Taker.CRITICAL)
    assert limiter.lead(KEY, "a", NOW + 3)
    assert other.lead(KEY, "b", NOW + 4, takes_over=True)
    assert not limiter.lead(KEY, "a", NOW + 5)
    limiter.leave(KEY, "a", NOW + 5)
    assert not limiter.wake(KEY, NOW + 5)
    other.leave(KEY, "b", NOW + 5)
    assert gets(other, NOW + 5)
    assert limiter.wake(KEY, NOW + 5)


def test_a_lost_wake_up_and_a_dead_drainer_end_by_themselves(limiter: RateLimiter, other: RateLimiter) -> None:
    """With their time."""
    assert limiter.wake(KEY, NOW)
    assert not other.wake(KEY, NOW + WOKEN_MS / 1000 - 0.001)
    assert other.lead(KEY, "dead", NOW + WOKEN_MS / 1000)
    end = NOW + (WOKEN_MS + LEASE_MS) / 1000
    assert not limiter.lead(KEY, "next", end - 0.001)
    assert limiter.lead(KEY, "next", end)


def test_a_closed_key_is_probed_and_opened(limiter: RateLimiter, other: RateLimiter) -> None:
    """One permit an interval for all executions, until one reports that all is well."""
    assert gets(other, NOW)
    limiter.suspend(KEY, NOW, 30)
    assert refusal(other, NOW + 1, Taker.CRITICAL) == (Refusal.SUSPENDED, False)
    probe = take(other, NOW + 30, Taker.CRITICAL)
    assert isinstance(probe, Permit)
    assert probe.is_probe
    assert refusal(limiter, NOW + 31, Taker.CRITICAL) == (Refusal.SUSPENDED, False)
    assert gets(limiter, NOW + 60, Taker.CRITICAL)
    limiter.resume(KEY, NOW + 60)
    opened = take(other, NOW + 60)
    assert isinstance(opened, Permit)
    assert not opened.is_probe


def test_resuming_what_is_not_suspended_changes_nothing(limiter: RateLimiter) -> None:
    """Nor does leaving what nobody leads, where there is no item."""
    limiter.resume(KEY, NOW)
    limiter.leave(KEY, "a", NOW)
    assert limiter.look(KEY, NOW).used == 0
    assert gets(limiter, NOW)


def test_of_many_at_once_no_more_than_the_limit_get_a_permit(dynamodb: Any, table_name: str) -> None:
    """Eight executions take what they can, within one segment and over its end."""
    if type(dynamodb).__name__ == "FakeDynamoDB":
        pytest.skip("the fake is for one thread")
    limiter = make_limiter(dynamodb, 60, name=table_name)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: gets(limiter, NOW + number / 100), range(120)))
    assert sum(taken) == 55
