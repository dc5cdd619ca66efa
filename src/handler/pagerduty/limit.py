"""A limit on the requests that one process makes for one routing key."""

from collections import defaultdict, deque
from collections.abc import Callable
from math import floor
from threading import Lock

from pydantic import SecretStr

from handler.pagerduty.errors import RateLimitExceededError

MINUTE_SECONDS = 60.0


class MinuteLimit:
    """Allows at most this many requests for a routing key in any 60 seconds. Safe to share between threads.

    Args:
        requests_a_minute: 1 or more; fractions are rounded down.
        clock: seconds.
    """

    def __init__(self, requests_a_minute: float, clock: Callable[[], float]) -> None:
        if not requests_a_minute >= 1:
            raise ValueError("requests_a_minute has to be 1 or more")
        self._requests = floor(requests_a_minute)
        self._clock = clock
        self._times: dict[SecretStr, deque[float]] = defaultdict(deque)
        self._lock = Lock()

    def take(self, routing_key: SecretStr) -> None:
        """Count one request; raise RateLimitExceededError, with the seconds to wait, if the limit is reached."""
        with self._lock:
            now = self._clock()
            times = self._times[routing_key]
            while times and times[0] + MINUTE_SECONDS <= now:
                times.popleft()
            if len(times) >= self._requests:
                raise RateLimitExceededError(times[0] + MINUTE_SECONDS - now)
            times.append(now)
