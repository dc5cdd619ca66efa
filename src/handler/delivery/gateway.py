"""PagerDuty behind the limit of each routing key: a permit for each attempt, and suspended keys.

What PagerDuty answers is written into the key's item, which all executions share: a 429 stops the key for a while; a
refused key, or a PagerDuty out of reach, suspends it but for one probe at a time; an answer to the probe resumes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock

from pydantic import SecretStr

from handler.delivery.delivery import Delivery
from handler.delivery.limiter import NoPermitError, Permit, RateLimiter, Refusal, Taker
from handler.delivery.rate import SEGMENT_MS, Limit, Window, segment_of
from handler.delivery.retry import REFUSED_KEY_SECONDS, blames_routing_key, throttled_seconds
from handler.errors import PublishError, TableMissingError, TableThrottledError, TableUnavailableError
from handler.mapping import dedup_key_of, event_of
from handler.outcome import Accepted
from handler.pagerduty.client import Attempt, PagerDutyClient
from handler.pagerduty.errors import ApiConnectionError, ApiTimeoutError, PagerDutyServerError
from handler.targets.target import Target

PROBE_SECONDS = 30.0
"""The interval of probes while PagerDuty is out of reach."""
FAILED_ATTEMPTS = 3
"""After this many attempts in a row without an answer, or with a 5xx, PagerDuty counts as out of reach."""
OUT_OF_REACH = (PagerDutyServerError, ApiTimeoutError, ApiConnectionError)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of sending one event.

    Attributes:
        outcome: PagerDuty's acceptance, or why there is none.
        target: with the routing key that was used: a refused one may have been replaced.
        attempts: the requests that were made.
        errors: what went wrong without deciding the outcome.
    """

    outcome: Accepted | PublishError
    target: Target
    attempts: tuple[Attempt, ...] = ()
    errors: tuple[PublishError, ...] = ()


class Gateway:
    """Sends events as the limits of their routing keys allow.

    Args:
        client: sends events.
        limiter: hands out permits, one for each request.
        clock: epoch seconds; the client's clock too.
        rotated: reads the secrets again and returns the target if its routing key has changed.
    """

    def __init__(
        self,
        client: PagerDutyClient,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float],
        rotated: Callable[[Target], Target | None],
    ) -> None:
        self._client = client
        self._limiter = limiter
        self._clock = clock
        self._rotated = rotated
        self._own: dict[str, _OwnWindow] = {}
        self._failed_attempts: dict[str, int] = {}

    def send(self, delivery: Delivery, taker: Taker, deadline: float, permit: Permit | None = None) -> Sent:
        """Send an event before `deadline` (epoch seconds); each attempt takes a permit.

        With a `permit` that was taken before, there is one attempt. If PagerDuty refuses the routing key, the secrets
        are read again, and a new key is used at once.
        """
        target, key = delivery.target, delivery.target.routing_key
        is_probe = permit is not None and permit.is_probe
        errors: list[PublishError] = []

        def take() -> None:
            nonlocal is_probe
            if permit:
                return
            try:
                is_probe = self._limiter.take(key, taker, self._clock()).is_probe or is_probe
            except TableThrottledError as error:
                errors.append(error)
                if taker is not Taker.CRITICAL:
                    raise NoPermitError(Refusal.CONTENDED, 1.0, is_drained=False) from error
            except (TableUnavailableError, TableMissingError) as error:
                errors.append(error)
                self._own_window(key).take(self._now())

        outcome, attempts = self._post(delivery, deadline, take, max_retries=0 if permit else None)
        # by the last attempt, not by the error: a probe that failed may end in a retry that gets no permit
        if is_probe and attempts and not _is_lost(attempts[-1]):
            errors += _error_of(lambda: self._limiter.resume(key, self._clock()))
        if isinstance(outcome, Accepted):
            return Sent(outcome, target, attempts, tuple(errors))
        now = self._clock()
        if blames_routing_key(outcome) and (rotated := self._rotated(target)):
            again = self.send(replace(delivery, target=rotated), taker, deadline)
            return replace(again, attempts=(*attempts, *again.attempts), errors=(*errors, *again.errors))
        errors += self._hold_back(key, outcome, now, is_probe=is_probe)
        return Sent(outcome, target, attempts, tuple(errors))

    def send_without_table(self, delivery: Delivery, deadline: float) -> Sent:
        """Send an event with the permits that this execution counts by itself; no key is suspended or resumed."""
        own = self._own_window(delivery.target.routing_key)
        outcome, attempts = self._post(delivery, deadline, lambda: own.take(self._now()))
        is_refused = not isinstance(outcome, Accepted) and blames_routing_key(outcome)
        if is_refused and (rotated := self._rotated(delivery.target)):
            again = self.send_without_table(replace(delivery, target=rotated), deadline)
            return replace(again, attempts=(*attempts, *again.attempts))
        return Sent(outcome, delivery.target, attempts)

    def _post(
        self, delivery: Delivery, deadline: float, take: Callable[[], None], max_retries: int | None = None
    ) -> tuple[Accepted | PublishError, tuple[Attempt, ...]]:
        """Make the requests; `take` is called before each."""
        key = delivery.target.routing_key.get_secret_value()
        attempts: list[Attempt] = []

        def on_attempt(attempt: Attempt) -> None:
            attempts.append(attempt)
            self._failed_attempts[key] = self._failed_attempts.get(key, 0) + 1 if _is_lost(attempt) else 0

        try:
            answer = self._client.send(
                event_of(delivery.alert, delivery.target.default_severity),
                delivery.target.routing_key,
                base_url=delivery.target.url,
                deadline=deadline,
                before_attempt=take,
                on_attempt=on_attempt,
                max_retries=max_retries,
            )
        except PublishError as error:
            return error, tuple(attempts)
        accepted = Accepted(dedup_key=answer.dedup_key or dedup_key_of(delivery.alert), at=self._clock())
        return accepted, tuple(attempts)

    def _hold_back(
        self, key: SecretStr, error: PublishError, now: float, *, is_probe: bool
    ) -> tuple[PublishError, ...]:
        """Pause or suspend a key whose next request would fail as well; return what went wrong with that."""
        if seconds := throttled_seconds(error):
            return _error_of(lambda: self._limiter.push_back(key, now, seconds))
        if blames_routing_key(error):
            return _error_of(lambda: self._limiter.suspend(key, now, REFUSED_KEY_SECONDS))
        failed = self._failed_attempts.get(key.get_secret_value(), 0)
        # the permit of a probe has put off the next one already; its timeout must not count on top
        if isinstance(error, OUT_OF_REACH) and failed >= FAILED_ATTEMPTS and not is_probe:
            return _error_of(lambda: self._limiter.suspend(key, now, PROBE_SECONDS))
        return ()

    def _own_window(self, key: SecretStr) -> "_OwnWindow":
        return self._own.setdefault(key.get_secret_value(), _OwnWindow(self._limiter.limit))

    def _now(self) -> int:
        return round(self._clock() * 1000)


@dataclass(slots=True)
class _OwnWindow:
    """The limit that one execution keeps by itself while the table is out. Its threads share it."""

    limit: Limit
    window: Window = field(default_factory=lambda: Window(0))
    lock: Lock = field(default_factory=Lock)

    def take(self, now_ms: int) -> None:
        with self.lock:
            window = self.window.at(segment_of(now_ms))
            if window.used >= self.limit.all:
                wait_ms = window.free_at(self.limit.all, now_ms) - now_ms
                raise NoPermitError(Refusal.LIMIT, max(SEGMENT_MS, wait_ms) / 1000, is_drained=False)
            counts = {**window.counts, window.segment: window.counts.get(window.segment, 0) + 1}
            self.window = replace(window, counts=counts)


def _is_lost(attempt: Attempt) -> bool:
    """Whether an attempt had no answer, or a 5xx."""
    return attempt.status.startswith("5") or not attempt.status.isdigit()


def _error_of(write: Callable[[], object]) -> tuple[PublishError, ...]:
    """Write to the key's item; return the error if that fails: the next request finds out the same."""
    try:
        write()
    except (TableUnavailableError, TableMissingError) as error:
        return (error,)
    return ()
