"""What becomes of a delivery that PagerDuty did not accept: how long it waits, and when it is given up. Pure."""

from collections.abc import Callable

from handler.delivery.limiter import NoPermitError, Refusal
from handler.errors import ExhaustedError, PublishError
from handler.outcome import DeferReason, Deferred, Rejected
from handler.pagerduty.errors import PagerDutyApiError, is_auth_error

FIRST_DEFERRAL_SECONDS = 15.0
LONGEST_DEFERRAL_SECONDS = 900.0
"""What SQS allows: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
THROTTLED_SECONDS = 30.0
"""What PagerDuty advises to wait after a 429 that names no time."""
REFUSED_KEY_SECONDS = 60.0
"""The interval of probes with a routing key that PagerDuty refused."""
PAUSE_MS = 5_000
"""How long a failed delivery pauses; after a second failure in a row it pauses longer."""
LONG_PAUSE_MS = 20_000


def result_of_failure(
    error: PublishError, failing_since: int | None, now: int, give_up_after: int
) -> Deferred | Rejected:
    """Return how a delivery ended that was not accepted: it waits in its record, unless no retry can help.

    Args:
        error: why it was not accepted.
        failing_since: when it first failed; None where it has not. Times are epoch milliseconds.
        now: the time.
        give_up_after: how many milliseconds it may fail.
    """
    if isinstance(error, NoPermitError):
        reason = DeferReason.CIRCUIT_OPEN if error.refusal is Refusal.SUSPENDED else DeferReason.RATE_LIMIT
        return Deferred(reason=reason, is_kept=True, delay_seconds=error.retry_after_seconds)
    if seconds := throttled_seconds(error):
        return Deferred(reason=DeferReason.RATE_LIMIT, is_kept=True, delay_seconds=seconds, error=error)
    is_refused_key = blames_routing_key(error)
    if not error.retryable and not is_refused_key:
        return Rejected(error=error)
    if failing_since is not None and now - failing_since > give_up_after:
        hours = (now - failing_since) / 3_600_000
        return Rejected(error=ExhaustedError(f"given up after failing for {hours:.0f} h: {error}"))
    if is_refused_key:
        return Deferred(DeferReason.KEY_REFUSED, is_kept=True, delay_seconds=REFUSED_KEY_SECONDS, error=error)
    return Deferred(reason=DeferReason.FAILED, is_kept=True, delay_seconds=PAUSE_MS / 1000, error=error)


def is_failure(result: Deferred | Rejected) -> bool:
    """Whether PagerDuty was asked, and the delivery has to pause. Waiting for a permit is no failure."""
    return isinstance(result, Deferred) and result.reason in (DeferReason.FAILED, DeferReason.KEY_REFUSED)


def throttled_seconds(error: PublishError) -> float | None:
    """Return for how long a 429 stops the routing key; None for anything else."""
    if isinstance(error, PagerDutyApiError) and error.status_code == 429:
        return error.retry_after_seconds or THROTTLED_SECONDS
    return None


def blames_routing_key(error: PublishError) -> bool:
    """Whether PagerDuty refused the routing key: 401, 403, or a 400 that names it."""
    if is_auth_error(error):
        return True
    if not isinstance(error, PagerDutyApiError) or error.status_code != 400:
        return False
    return any("routing" in text.lower() for text in (error.message, *error.errors))


def deferral_seconds(failures: int, random: Callable[[], float]) -> float:
    """Return the wait on the queue after the n-th failure (from 1): 15 s doubling to 15 min, half of it jitter."""
    ceiling = min(LONGEST_DEFERRAL_SECONDS, FIRST_DEFERRAL_SECONDS * 2.0 ** min(failures - 1, 32))
    return ceiling * (0.5 + random() / 2)
