"""What becomes of a delivery that was not accepted, and the arithmetic of waiting."""

import pytest

from handler.delivery.limiter import NoPermitError, Refusal
from handler.delivery.record import DAY_MS
from handler.delivery.retry import deferral_seconds, is_failure, result_of_failure
from handler.errors import ExhaustedError
from handler.outcome import DeferReason, Deferred, Rejected
from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiTimeoutError,
    OutOfTimeError,
    PagerDutyApiError,
    PagerDutyServerError,
    PublishError,
)
from handler.pagerduty.retry import backoff_seconds

NOW = 1_795_405_200_000
FULL = NoPermitError(Refusal.LIMIT, 2.0, is_drained=False)
SUSPENDED = NoPermitError(Refusal.SUSPENDED, 12.0, is_drained=False)


def ended(error: PublishError, failing_since: int | None = None) -> Deferred | Rejected:
    return result_of_failure(error, failing_since, NOW, DAY_MS)


@pytest.mark.parametrize(("error", "reason"), [(FULL, DeferReason.RATE_LIMIT), (SUSPENDED, DeferReason.CIRCUIT_OPEN)])
def test_waiting_for_a_permit_is_no_failure(error: NoPermitError, reason: DeferReason) -> None:
    """However long ago the delivery failed: it waits until there may be one."""
    result = ended(error, NOW - 2 * DAY_MS)
    assert result == Deferred(reason, is_kept=True, delay_seconds=error.retry_after_seconds)
    assert not is_failure(result)


@pytest.mark.parametrize(("retry_after", "seconds"), [(7.0, 7.0), (0.0, 30.0), (None, 30.0)])
def test_a_429_is_no_failure(retry_after: float | None, seconds: float) -> None:
    """It waits for as long as PagerDuty asks, or advises."""
    error = PagerDutyApiError(429, retry_after_seconds=retry_after)
    result = ended(error, NOW - 2 * DAY_MS)
    assert result == Deferred(DeferReason.RATE_LIMIT, is_kept=True, delay_seconds=seconds, error=error)
    assert not is_failure(result)


@pytest.mark.parametrize(
    ("error", "reason", "seconds"),
    [
        (PagerDutyServerError(503), DeferReason.FAILED, 5.0),
        (ApiTimeoutError("no answer"), DeferReason.FAILED, 5.0),
        (ApiConnectionError("reset"), DeferReason.FAILED, 5.0),
        (OutOfTimeError("late"), DeferReason.FAILED, 5.0),
        (PagerDutyApiError(401), DeferReason.KEY_REFUSED, 60.0),
        (PagerDutyApiError(403), DeferReason.KEY_REFUSED, 60.0),
        (PagerDutyApiError(400, "Invalid Routing Key"), DeferReason.KEY_REFUSED, 60.0),
        (PagerDutyApiError(400, "no", ["routing_key is invalid"]), DeferReason.KEY_REFUSED, 60.0),
    ],
    ids=str,
)
def test_a_failure_is_given_up_after_a_day(error: PublishError, reason: DeferReason, seconds: float) -> None:
    """Of failing; until then the delivery waits."""
    for since in (None, NOW, NOW - DAY_MS):
        result = ended(error, since)
        assert result == Deferred(reason, is_kept=True, delay_seconds=seconds, error=error)
        assert is_failure(result)
    given_up = ended(error, NOW - DAY_MS - 1)
    assert isinstance(given_up, Rejected)
    assert isinstance(given_up.error, ExhaustedError)
    assert str(error) in str(given_up.error)


@pytest.mark.parametrize("error", [PagerDutyApiError(400, "no"), PagerDutyApiError(404, "no routing")], ids=str)
def test_a_refused_event_is_rejected_at_once(error: PublishError) -> None:
    """With PagerDuty's own words, however long it has failed before."""
    for since in (None, NOW - 2 * DAY_MS):
        assert ended(error, since) == Rejected(error)
        assert not is_failure(ended(error, since))


@pytest.mark.parametrize(
    ("retry", "ceiling"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (8, 5.0), (10_000, 5.0)]
)
def test_a_backoff_is_any_part_of_what_doubles_from_100_ms_to_5_s(retry: int, ceiling: float) -> None:
    """Full jitter: from nothing to the whole."""
    assert backoff_seconds(retry, lambda: 0.0) == 0.0
    assert backoff_seconds(retry, lambda: 0.5) == pytest.approx(ceiling / 2)
    assert backoff_seconds(retry, lambda: 1.0) == pytest.approx(ceiling)


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 15), (2, 30), (3, 60), (6, 480), (7, 900), (8, 900), (10_000, 900)]
)
def test_a_deferral_doubles_from_15_s_to_what_sqs_allows(failures: int, ceiling: float) -> None:
    """Half of it is jitter, so that it never comes back at once."""
    assert deferral_seconds(failures, lambda: 0.0) == pytest.approx(ceiling / 2)
    assert deferral_seconds(failures, lambda: 1.0) == pytest.approx(ceiling)
