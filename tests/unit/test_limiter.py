"""The shared rate limit: never exceeded, head-room for critical triggers, drainers, pauses, probes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from handler.delivery.limiter import (
    BELIEVED_MS,
    LEASE_MS,
    WOKEN_MS,
    NoPermitError,
    Permit,
    RateLimiter,
    Refusal,
    Taker,
)
from handler.delivery.rate import PERIOD_MS, SEGMENT_MS
from handler.errors import TableMissingError, TableThrottledError, TableUnavailableError
from tests.lab.clock import NOW
from tests.lab.dynamodb import TABLE, FakeDynamoDB, item_bytes
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY
from tests.lab.world import make_limiter

KEY = SecretStr(ROUTING_KEY)
PERIOD = PERIOD_MS / 1000
LEASE, WOKEN, BELIEVED = LEASE_MS / 1000, WOKEN_MS / 1000, BELIEVED_MS / 1000
DRAINER = "0123456789abcdef0123456789abcdef"


class Watched(FakeDynamoDB):
    """Calls `before` ahead of each update."""

    before: Callable[[], None] | None = None

    def update_item(self, **request: Any) -> dict[str, Any]:
        if self.before:
            self.before()
        return super().update_item(**request)


@pytest.fixture
def dynamodb() -> Watched:
    return Watched()


@pytest.fixture
def limiter(dynamodb: Watched) -> RateLimiter:
    """Twelve permits, eleven of them for lesser ones."""
    return make_limiter(dynamodb, 12)


def take(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> Permit | NoPermitError:
    """Return a permit, or why there is none."""
    try:
        return limiter.take(KEY, taker, now)
    except NoPermitError as error:
        return error


def gets(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> bool:
    return isinstance(take(limiter, now, taker), Permit)


def refused(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> NoPermitError:
    with pytest.raises(NoPermitError) as caught:
        limiter.take(KEY, taker, now)
    return caught.value


def exhaust(limiter: RateLimiter, now: float, taker: Taker = Taker.LESSER) -> int:
    """Take all permits; return how many there were."""
    taken = 0
    while gets(limiter, now, taker):
        taken += 1
    return taken


# --- the limit --------------------------------------------------------------------------------------------------------


def test_permits_run_out_and_come_back(limiter: RateLimiter) -> None:
    """Over several segments, and round the whole ring of them."""
    taken = [gets(limiter, NOW + second) for second in range(14)]
    assert taken == [True] * 11 + [False] * 3
    assert [gets(limiter, NOW + PERIOD + second) for second in (0, 0, 1)] == [True, False, True]
    assert exhaust(limiter, NOW + 3 * PERIOD) == 11


def test_some_permits_are_kept_for_critical_triggers(limiter: RateLimiter) -> None:
    """The rest of the twelve is for them, and for a drainer, which keeps them by itself."""
    assert exhaust(limiter, NOW) == 11
    assert gets(limiter, NOW, Taker.CRITICAL)
    assert not gets(limiter, NOW, Taker.CRITICAL)
    assert exhaust(limiter, NOW + PERIOD, Taker.DRAINER) == 12


def test_a_refusal_names_when_a_permit_comes_free(limiter: RateLimiter) -> None:
    """For this one: a critical trigger may have one sooner."""
    first, second = NOW + 0.25, NOW + 10.25
    assert gets(limiter, first)
    assert exhaust(limiter, second) == 10
    error = refused(limiter, second)
    assert (error.refusal, error.is_drained) == (Refusal.LIMIT, False)
    assert not gets(limiter, second + error.retry_after_seconds - 0.001)
    assert gets(limiter, second + error.retry_after_seconds)
    assert 50 <= error.retry_after_seconds <= 51


def test_each_routing_key_has_permits_of_its_own(limiter: RateLimiter) -> None:
    """One team's storm does not slow another's."""
    exhaust(limiter, NOW)
    assert limiter.take(SecretStr(OTHER_KEY), Taker.LESSER, NOW)


def test_the_routing_key_is_in_no_item(limiter: RateLimiter, dynamodb: Watched) -> None:
    """Its digest is."""
    assert gets(limiter, NOW)
    assert ROUTING_KEY not in str(dynamodb.tables[TABLE])


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([0, 1, 100, 499, 500, 1000, 5000, 29_000, 59_400, 60_000]),
        st.sampled_from(Taker),
        st.sampled_from(["take"] * 6 + ["wake", "lead", "leave", "push back", "suspend", "resume"]),
    ),
    min_size=10,
    max_size=80,
)


def act(limiter: RateLimiter, action: str, me: str, now: float) -> None:
    """Do something with the item beside taking a permit."""
    match action:
        case "wake":
            limiter.wake(KEY, now)
        case "lead":
            limiter.lead(KEY, me, now)
        case "leave":
            limiter.leave(KEY, me, now)
        case "push back":
            limiter.push_back(KEY, now, 3)
        case "suspend":
            limiter.suspend(KEY, now, 2)
        case "resume":
            limiter.resume(KEY, now)


@given(steps, st.lists(st.integers(-250, 250), min_size=3, max_size=3), st.integers(1, 5))
def test_no_rolling_minute_has_more_requests_than_the_limit(
    steps: list[tuple[int, int, Taker, str]], skews: list[int], limit: int
) -> None:
    """Of three executions whose clocks are up to half a second apart, whatever else they do with the item."""
    dynamodb = FakeDynamoDB()
    limiters = [make_limiter(dynamodb, limit) for _ in range(3)]
    now, taken = round(NOW * 1000), []
    for who, pause, taker, action in steps:
        now += pause
        limiter, local = limiters[who], (now + skews[who]) / 1000
        if action != "take":
            act(limiter, action, str(who), local)
        elif gets(limiter, local, taker):
            taken.append(now)
    for start in taken:
        assert sum(start <= at <= start + 60_000 for at in taken) <= limit


def test_nearly_all_of_the_limit_can_be_used() -> None:
    """Two executions that ask all the time have nearly as many permits as there may be."""
    dynamodb = FakeDynamoDB()
    limiters = [make_limiter(dynamodb, 60), make_limiter(dynamodb, 60)]
    taken = 0
    for step in range(10 * 60 * 4):
        taken += gets(limiters[step % 2], NOW + step / 4, Taker.DRAINER)
    assert 580 <= taken <= 600


def test_a_lost_race_is_run_again(dynamodb: Watched) -> None:
    """Others begin the segment between this one's look and its write: it still gets a permit, and all are counted."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    assert gets(other, NOW)
    updates = 0

    def another() -> None:
        nonlocal updates
        updates += 1
        if updates == 2:  # the first has found the segment not begun
            dynamodb.before = None
            assert gets(other, NOW + 1)

    dynamodb.before = another
    assert gets(mine, NOW + 1)
    assert updates == 2
    assert mine.look(KEY, NOW + 1).used == 3
    assert exhaust(mine, NOW + 1) == 8


def test_contention_is_bounded(dynamodb: Watched) -> None:
    """One that loses every race waits, without a permit."""
    mine = make_limiter(dynamodb, 10_000)
    others = 0

    def another() -> None:
        nonlocal others
        others += 1
        dynamodb.before = None
        assert gets(make_limiter(dynamodb, 10_000), NOW + others)
        dynamodb.before = another

    dynamodb.before = another
    error = refused(mine, NOW)
    assert (error.refusal, error.retry_after_seconds) == (Refusal.CONTENDED, 1.0)
    assert others < 50
    dynamodb.before = None
    assert mine.look(KEY, NOW + others).used == others


def test_a_permit_costs_one_call(limiter: RateLimiter, dynamodb: Watched) -> None:
    """Of an execution that is alone with a key: in each segment, and at each segment's beginning."""
    gets(limiter, NOW)
    dynamodb.calls.clear()
    for number in range(1, 11):
        assert gets(limiter, NOW + number // 2)
    assert len(dynamodb.calls) == 10


def test_of_two_executions_each_asks_only_for_what_changed(dynamodb: Watched) -> None:
    """One that has found others there does not bet on being alone for a minute."""
    mine, other = make_limiter(dynamodb, 60), make_limiter(dynamodb, 60)
    assert gets(mine, NOW)
    assert gets(other, NOW)
    assert gets(mine, NOW + 1)
    dynamodb.calls.clear()
    assert gets(other, NOW + 1)
    assert gets(mine, NOW + 2)
    assert len(dynamodb.calls) <= 4


@pytest.mark.parametrize("a_minute", [120, 2400])
def test_the_item_stays_below_a_kilobyte(dynamodb: Watched, a_minute: int) -> None:
    """A larger one takes 500 writes a second: with permits in every segment, a drainer, a pause and a probe."""
    limiter = make_limiter(dynamodb, a_minute)
    for number in range(2 * PERIOD_MS // SEGMENT_MS):
        for _ in range(max(1, a_minute // 120)):
            take(limiter, NOW + number * SEGMENT_MS / 1000, Taker.CRITICAL)
    end = NOW + 2 * PERIOD
    assert limiter.lead(KEY, DRAINER, end)
    limiter.suspend(KEY, end, 60)
    limiter.push_back(KEY, end, 300)
    [item] = dynamodb.tables[TABLE].values()
    assert sum(name.startswith("t") for name in item) >= 119
    assert item_bytes(item) < 1024


def test_the_item_expires_when_it_is_no_longer_used(limiter: RateLimiter, dynamodb: Watched) -> None:
    """Not while anything in it counts."""
    for act in (
        lambda: gets(limiter, NOW),
        lambda: limiter.push_back(SecretStr(OTHER_KEY), NOW, 300),
    ):
        act()
    for item in dynamodb.tables[TABLE].values():
        assert NOW + 600 < int(item["expires_at"]["N"]) < NOW + 86_400


# --- drainers ---------------------------------------------------------------------------------------------------------


def test_of_many_that_begin_to_wait_one_wakes_a_drainer(dynamodb: Watched) -> None:
    """The others trust it for some seconds; then the wake-up counts as lost."""
    limiters = [make_limiter(dynamodb, 12) for _ in range(5)]
    assert [limiter.wake(KEY, NOW) for limiter in limiters] == [True, False, False, False, False]
    assert not limiters[1].wake(KEY, NOW + WOKEN - 0.001)
    assert limiters[1].wake(KEY, NOW + WOKEN)


def test_one_drainer_leads(limiter: RateLimiter) -> None:
    """It takes over from the wake-up, renews, and is replaced when it has died."""
    limiter.wake(KEY, NOW)
    assert limiter.lead(KEY, "a", NOW + 1)
    assert not limiter.lead(KEY, "b", NOW + 2)
    assert not limiter.wake(KEY, NOW + 2)
    assert limiter.lead(KEY, "a", NOW + 5)
    assert not limiter.lead(KEY, "b", NOW + 5 + LEASE - 0.001)
    assert limiter.lead(KEY, "b", NOW + 5 + LEASE)


def test_a_drainer_may_take_over(limiter: RateLimiter) -> None:
    """The one before ends at its next renewal, and takes nothing from its successor when it leaves."""
    assert limiter.lead(KEY, "a", NOW)
    assert limiter.lead(KEY, "b", NOW + 1, takes_over=True)
    assert not limiter.lead(KEY, "a", NOW + 2)
    limiter.leave(KEY, "a", NOW + 2)
    assert not limiter.wake(KEY, NOW + 2)
    assert limiter.lead(KEY, "b", NOW + 3)
    assert limiter.lead(KEY, "c", NOW + 3 + LEASE, takes_over=True)


def test_a_dead_drainer_is_replaced_by_a_wake_up(limiter: RateLimiter) -> None:
    """Any drainer may answer it, the dead one's lease does not count."""
    limiter.lead(KEY, "dead", NOW)
    assert limiter.wake(KEY, NOW + LEASE)
    assert limiter.lead(KEY, "next", NOW + LEASE + 1)


def test_a_drainer_leaves(limiter: RateLimiter) -> None:
    """What begins to wait afterwards wakes the next; a drainer that lost its lease takes nothing from its successor."""
    limiter.lead(KEY, "a", NOW)
    limiter.leave(KEY, "b", NOW + 1)
    assert not limiter.wake(KEY, NOW + 1)
    limiter.leave(KEY, "a", NOW + 1)
    assert limiter.wake(KEY, NOW + 1)


@pytest.mark.parametrize("occupy", [lambda it: it.wake(KEY, NOW), lambda it: it.lead(KEY, "a", NOW)])
def test_what_arrives_stands_behind_a_drainer(dynamodb: Watched, occupy: Callable[[RateLimiter], None]) -> None:
    """While one runs or was woken: all but critical triggers, and the drainer itself."""
    limiter = make_limiter(dynamodb, 12)
    assert gets(limiter, NOW - 1)
    occupy(limiter)
    for limiter_ in (limiter, make_limiter(dynamodb, 12)):
        for now in (NOW, NOW + 1):  # within a segment, and at the beginning of one
            error = refused(limiter_, now)
            assert (error.refusal, error.is_drained) == (Refusal.DRAINER, True)
            assert gets(limiter_, now, Taker.CRITICAL)
            assert gets(limiter_, now, Taker.DRAINER)
    assert gets(limiter, NOW + LEASE)


def test_a_refusal_says_whether_a_drainer_is_at_work(limiter: RateLimiter) -> None:
    """Then nobody has to be woken."""
    exhaust(limiter, NOW, Taker.DRAINER)
    assert not refused(limiter, NOW, Taker.CRITICAL).is_drained
    limiter.lead(KEY, "a", NOW)
    assert refused(limiter, NOW, Taker.CRITICAL).is_drained
    assert refused(limiter, NOW).is_drained


def test_an_execution_remembers_that_others_are_first(limiter: RateLimiter, dynamodb: Watched) -> None:
    """A storm of lesser ones does not ask again and again; critical triggers always do."""
    limiter.lead(KEY, "a", NOW)
    refused(limiter, NOW)
    dynamodb.calls.clear()
    for _ in range(100):
        error = refused(limiter, NOW + BELIEVED - 0.001)
        assert (error.refusal, error.is_drained) == (Refusal.DRAINER, True)
    assert dynamodb.calls == []
    assert gets(limiter, NOW, Taker.CRITICAL)
    limiter.leave(KEY, "a", NOW)
    assert gets(limiter, NOW + BELIEVED)


def test_a_full_window_is_not_remembered_while_nobody_drains(limiter: RateLimiter) -> None:
    """Somebody has to hear that a drainer has to be woken."""
    exhaust(limiter, NOW, Taker.DRAINER)
    assert not refused(limiter, NOW).is_drained
    assert limiter.wake(KEY, NOW)
    assert refused(limiter, NOW).is_drained


# --- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_window", [True, False])
def test_a_pause_holds_everybody_back(dynamodb: Watched, has_window: bool) -> None:
    """All executions and all that ask, also where the item has yet to be made, until it is over."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    if has_window:
        assert gets(mine, NOW - 1)
    other.push_back(KEY, NOW, 30)
    for taker in Taker:
        error = refused(mine, NOW + 10, taker)
        assert (error.refusal, error.retry_after_seconds) == (Refusal.BLOCKED, 20)
    assert not gets(mine, NOW + 29.999, Taker.CRITICAL)
    assert gets(mine, NOW + 30)


def test_a_pause_is_never_shortened(limiter: RateLimiter) -> None:
    """The longest counts."""
    limiter.push_back(KEY, NOW, 30)
    limiter.push_back(KEY, NOW, 10)
    assert not gets(limiter, NOW + 29)
    limiter.push_back(KEY, NOW, 40)
    assert not gets(limiter, NOW + 39)
    assert gets(limiter, NOW + 40)


# --- probes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_window", [True, False])
def test_a_suspended_key_has_one_permit_an_interval(dynamodb: Watched, has_window: bool) -> None:
    """After the interval the first to ask gets the permit, marked as a probe."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    if has_window:
        assert gets(mine, NOW - 1)
    other.suspend(KEY, NOW, 30)
    for taker in Taker:
        error = refused(mine, NOW + 10, taker)
        assert (error.refusal, error.retry_after_seconds) == (Refusal.SUSPENDED, 20)
    probe = take(mine, NOW + 30)
    assert isinstance(probe, Permit)
    assert probe.is_probe
    for limiter in (mine, other):
        assert refused(limiter, NOW + 30, Taker.CRITICAL).refusal is Refusal.SUSPENDED
        assert refused(limiter, NOW + 59.999, Taker.CRITICAL).refusal is Refusal.SUSPENDED


def test_a_probe_that_never_reports_back_blocks_nobody(limiter: RateLimiter) -> None:
    """The next one may try an interval later."""
    limiter.suspend(KEY, NOW, 30)
    probes = [now for now in range(300) if gets(limiter, NOW + now, Taker.CRITICAL)]
    assert probes == list(range(30, 300, 30))


def test_of_two_that_would_probe_one_does(dynamodb: Watched) -> None:
    """The other is refused after one lost race, even where both have seen that a probe is due."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    mine.suspend(KEY, NOW, 30)
    others: list[Permit | NoPermitError] = []
    updates = 0

    def another() -> None:
        nonlocal updates
        updates += 1
        if updates == 2:  # the first has found the key suspended
            dynamodb.before = None
            others.append(take(other, NOW + 31, Taker.CRITICAL))
            dynamodb.calls.clear()

    dynamodb.before = another
    lost = refused(mine, NOW + 31, Taker.CRITICAL)
    assert lost.refusal is Refusal.CONTENDED
    assert [isinstance(each, Permit) for each in others] == [True]
    assert len(dynamodb.calls) == 1


def test_a_resumed_key_has_permits_as_usual(dynamodb: Watched) -> None:
    """Of all executions, and none of them is a probe."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    mine.suspend(KEY, NOW, 30)
    refused(other, NOW + 1)
    assert gets(mine, NOW + 30)
    mine.resume(KEY, NOW + 31)
    for limiter in (mine, other):
        permit = take(limiter, NOW + 31)
        assert isinstance(permit, Permit)
        assert not permit.is_probe


def test_resuming_what_is_not_suspended_changes_nothing(limiter: RateLimiter, dynamodb: Watched) -> None:
    """Nor does it make an item."""
    limiter.resume(KEY, NOW)
    assert dynamodb.tables[TABLE] == {}
    assert gets(limiter, NOW)


def test_a_key_is_closed_for_who_thought_itself_alone(dynamodb: Watched) -> None:
    """What an execution left behind does not make it overlook the closing."""
    mine, other = make_limiter(dynamodb, 12), make_limiter(dynamodb, 12)
    assert gets(mine, NOW)
    other.suspend(KEY, NOW, 30)
    assert refused(mine, NOW, Taker.CRITICAL).refusal is Refusal.SUSPENDED
    assert refused(mine, NOW + 1, Taker.CRITICAL).refusal is Refusal.SUSPENDED


def test_a_probe_is_within_the_limit(limiter: RateLimiter) -> None:
    """It is a request like any other: counted, refused while there is none left, and held back by a pause."""
    exhaust(limiter, NOW, Taker.DRAINER)
    limiter.suspend(KEY, NOW, 30)
    assert refused(limiter, NOW + 31, Taker.CRITICAL).refusal is Refusal.LIMIT
    limiter.push_back(KEY, NOW + 55, 30)
    assert refused(limiter, NOW + 70, Taker.CRITICAL).refusal is Refusal.BLOCKED
    assert gets(limiter, NOW + 85, Taker.CRITICAL)
    assert limiter.look(KEY, NOW + 85).used == 1


def test_a_failing_probe_puts_the_next_one_off(limiter: RateLimiter) -> None:
    """By a whole interval from its failure; a late failure of before never brings it forward."""
    limiter.suspend(KEY, NOW, 30)
    assert gets(limiter, NOW + 30)
    limiter.suspend(KEY, NOW + 40, 30)
    assert not gets(limiter, NOW + 69)
    limiter.suspend(KEY, NOW + 20, 30)
    assert not gets(limiter, NOW + 69)
    assert gets(limiter, NOW + 70)


# --- failures ---------------------------------------------------------------------------------------------------------

CALLS: Mapping[str, Callable[[RateLimiter], object]] = {
    "take": lambda limiter: limiter.take(KEY, Taker.CRITICAL, NOW),
    "look": lambda limiter: limiter.look(KEY, NOW),
    "push_back": lambda limiter: limiter.push_back(KEY, NOW, 1),
    "suspend": lambda limiter: limiter.suspend(KEY, NOW, 1),
    "resume": lambda limiter: limiter.resume(KEY, NOW),
    "wake": lambda limiter: limiter.wake(KEY, NOW),
    "lead": lambda limiter: limiter.lead(KEY, DRAINER, NOW),
    "leave": lambda limiter: limiter.leave(KEY, DRAINER, NOW),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ThrottlingException", TableThrottledError),
        ("ProvisionedThroughputExceededException", TableThrottledError),
        ("InternalServerError", TableUnavailableError),
        ("ResourceNotFoundException", TableMissingError),
    ],
)
def test_a_throttled_item_is_distinguished_from_a_table_that_fails(
    call: Callable[[RateLimiter], object], code: str, expected: type[Exception], dynamodb: Watched
) -> None:
    """By the type of the error: critical triggers go without a permit then, the rest waits."""
    dynamodb.fail(code)
    with pytest.raises(expected) as caught:
        call(make_limiter(dynamodb))
    assert type(caught.value) is expected


def test_a_window_is_read_consistently(limiter: RateLimiter) -> None:
    """As it is at the time of asking, and empty where there is none."""
    assert limiter.look(KEY, NOW).used == 0
    assert gets(limiter, NOW)
    limiter.push_back(KEY, NOW, 30)
    window = limiter.look(KEY, NOW)
    assert (window.used, window.blocked_until) == (1, round((NOW + 30) * 1000))
    assert limiter.look(KEY, NOW + PERIOD).used == 0
