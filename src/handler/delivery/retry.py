"""How long a failed delivery stays in the retry queue. Pure: the randomness is passed in."""

from collections.abc import Callable

FIRST_DEFERRAL_SECONDS = 15.0
LONGEST_DEFERRAL_SECONDS = 900.0
"""What SQS allows: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


def deferral_seconds(failures: int, random: Callable[[], float]) -> float:
    """Return the wait after the n-th failure (from 1): 15 s doubling to 15 min, half of it jitter."""
    ceiling = min(LONGEST_DEFERRAL_SECONDS, FIRST_DEFERRAL_SECONDS * 2.0 ** min(failures - 1, 32))
    return ceiling * (0.5 + random() / 2)
