"""How long to wait before trying again: arithmetic only, with the randomness passed in."""

from collections.abc import Callable

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
FIRST_DEFERRAL_SECONDS = 15.0
LONGEST_DEFERRAL_SECONDS = 900.0
"""What SQS allows: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


def backoff_seconds(retry: int, random: Callable[[], float]) -> float:
    """Give the wait before the n-th retry (from 1) within an invocation: 100 ms doubling to 5 s, with full jitter.

    Full jitter (a uniform choice from nothing to the whole) spreads a crowd best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random() * min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(retry - 1, 32))


def deferral_seconds(failures: int, random: Callable[[], float]) -> float:
    """Give the wait in the retry queue after the n-th failure (from 1): 15 s doubling to 15 min, half of it jitter."""
    ceiling = min(LONGEST_DEFERRAL_SECONDS, FIRST_DEFERRAL_SECONDS * 2.0 ** min(failures - 1, 32))
    return ceiling * (0.5 + random() / 2)
