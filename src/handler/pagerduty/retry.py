"""The wait before a request is tried again. Pure: the randomness is passed in."""

from collections.abc import Callable

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0


def backoff_seconds(retry: int, random: Callable[[], float]) -> float:
    """Return the wait before the n-th retry (from 1): 100 ms doubling to 5 s, with full jitter.

    Full jitter (uniform between zero and the ceiling) spreads simultaneous retries best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random() * min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(retry - 1, 32))
