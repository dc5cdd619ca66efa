"""A client of PagerDuty's Events API v2: one `send` for every event, with retries. Knows no AWS and no alert.

It can be used alone:

    client = PagerDutyClient()
    client.trigger_event(routing_key, "db-1/cpu", summary="CPU at 97 %", source="db-1", severity="critical")
    client.resolve_event(routing_key, "db-1/cpu")
"""

import json
import random as _random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import urllib3
from pydantic import SecretStr

from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    MissingRoutingKeyError,
    OutOfTimeError,
    PagerDutyApiError,
    PagerDutyServerError,
    PublishError,
)
from handler.pagerduty.events import (
    ROUTING_KEY_CHARACTERS,
    Action,
    Event,
    EventImage,
    EventLink,
    Payload,
    encode,
)
from handler.pagerduty.retry import backoff_seconds
from handler.pagerduty.severity import Severity

BASE_URL = "https://events.pagerduty.com"
"""The US service region; the EU's is https://events.eu.pagerduty.com."""
TIMEOUT_SECONDS = 10.0
MAX_RETRIES = 3
MAX_ANSWER_BYTES = 64 * 1024
SHORTEST_ATTEMPT_SECONDS = 0.5
"""With less time than this left no attempt is made: it could not end well."""
HEALTH_DEDUP_KEY = "pagerduty-publisher/health"
"""Never opened by anyone: a resolve of it is answered like any other, and changes nothing."""

REDACTED = "[routing key]"
"""What stands where a routing key stood, in whatever is shown."""
MAX_SAID_CHARACTERS = 500
"""Of each text of PagerDuty's."""
MAX_SHOWN_CHARACTERS = 20_000
"""Of a body, in an `Exchange`; CloudWatch Logs takes 256 KB a line, and nobody reads as much."""

_PATHS = {Action.CHANGE: "/v2/change/enqueue"}
_PATH = "/v2/enqueue"
_METHODS = {Action.CHANGE: "change"}
_NEVER_CONNECTED = urllib3.exceptions.NewConnectionError


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to PagerDuty.

    Attributes:
        method: trigger, acknowledge, resolve or change.
        status: the HTTP status, or `timeout` or `connection` where there was none.
        milliseconds: from sending to the answer.
    """

    method: str
    status: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """PagerDuty's acceptance.

    Attributes:
        dedup_key: the incident's key, as PagerDuty has it; None for a change event.
        attempts: how many requests it took.
    """

    dedup_key: str | None
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what became of it, to be shown to a person.

    Attributes:
        attempt: the number of the request for this event, from 1.
        status: the HTTP status, or `timeout` or `connection` where there was none.
        body: what was sent, without the routing key.
    """

    method: str
    url: str
    dedup_key: str | None
    attempt: int
    status: str
    milliseconds: float
    body: str


def _nothing(_: Any) -> None:
    """Hook that does nothing."""


class PagerDutyClient:
    """Sends events, each within the retries and the time it is given. Safe to share between threads.

    Args:
        base_url: where the API is; a call may name another.
        timeout_seconds: how long one request may take.
        max_retries: how many more requests may follow a failed one (network errors, timeouts and 5xx).
        pool: keeps connections alive; a default one keeps a few.
        clock: monotonic seconds; deadlines are on this clock.
        sleep: waits that many seconds.
        random: uniform in [0, 1).
        on_exchange: told of each request, for a log; None spares the time to put it together.
    """

    def __init__(
        self,
        *,
        base_url: str = BASE_URL,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        pool: urllib3.PoolManager | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._pool = pool or urllib3.PoolManager(maxsize=10)
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._on_exchange = on_exchange

    def trigger_event(
        self,
        routing_key: str | SecretStr,
        dedup_key: str | None,
        *,
        summary: str,
        source: str,
        severity: Severity | str,
        links: Sequence[Mapping[str, str]] = (),
        images: Sequence[Mapping[str, str]] = (),
        client: str | None = None,
        client_url: str | None = None,
        **payload: Any,
    ) -> Answer:
        """Open an incident, or add to the open one with this dedup key.

        `payload` takes `timestamp`, `component`, `group`, `class_` and `custom_details`. Without a dedup key
        PagerDuty makes one; the answer has it. Raises a PublishError, or pydantic's ValidationError for a field
        beyond the API's limits.
        """
        event = Event(
            action=Action.TRIGGER,
            dedup_key=dedup_key,
            payload=Payload(summary=summary, source=source, severity=Severity(severity), **payload),
            links=[EventLink.model_validate(link) for link in links] or None,
            images=[EventImage.model_validate(image) for image in images] or None,
            client=client,
            client_url=client_url,
        )
        return self.send(event, routing_key)

    def acknowledge_event(self, routing_key: str | SecretStr, dedup_key: str) -> Answer:
        """Acknowledge the open incident with this key; PagerDuty drops it where there is none."""
        return self.send(Event(action=Action.ACKNOWLEDGE, dedup_key=dedup_key), routing_key)

    def resolve_event(self, routing_key: str | SecretStr, dedup_key: str) -> Answer:
        """Resolve the open incident with this key; PagerDuty drops it where there is none."""
        return self.send(Event(action=Action.RESOLVE, dedup_key=dedup_key), routing_key)

    def send_change_event(
        self,
        routing_key: str | SecretStr,
        *,
        summary: str,
        source: str,
        links: Sequence[Mapping[str, str]] = (),
        **payload: Any,
    ) -> Answer:
        """Record a change: it notifies nobody. `payload` takes `timestamp` and `custom_details`."""
        event = Event(
            action=Action.CHANGE,
            payload=Payload(summary=summary, source=source, **payload),
            links=[EventLink.model_validate(link) for link in links] or None,
        )
        return self.send(event, routing_key)

    def health(self, routing_key: str | SecretStr) -> Answer:
        """Prove network, TLS and routing key by resolving an incident that is never open; raise where one is wrong."""
        return self.resolve_event(routing_key, HEALTH_DEDUP_KEY)

    def send(
        self,
        event: Event,
        routing_key: str | SecretStr,
        *,
        base_url: str | None = None,
        deadline: float | None = None,
        before_attempt: Callable[[], None] = lambda: None,
        on_attempt: Callable[[Attempt], None] = _nothing,
    ) -> Answer:
        """Send one event, trying again after network errors, timeouts and 5xx.

        A 429 is not waited for here: it is the caller's to come back later.

        Args:
            event: what to send.
            routing_key: the integration's key, 32 characters.
            base_url: where to send it, if not to the client's own.
            deadline: when to have given up, on the client's clock.
            before_attempt: called before each request; may raise RateLimitExceededError.
            on_attempt: called after each request with what became of it.

        Raises:
            MissingRoutingKeyError: no routing key, or one that is not 32 characters long.
            InvalidDedupKeyError: no dedup key where one is required, or one that is too long.
            ApiTimeoutError, ApiConnectionError, PagerDutyApiError: the last attempt's, after all retries.
        """
        key = routing_key if isinstance(routing_key, SecretStr) else SecretStr(routing_key)
        if not key:
            raise MissingRoutingKeyError("no routing key: put the integration's key into the target's secret")
        if len(key) != ROUTING_KEY_CHARACTERS:
            raise MissingRoutingKeyError(
                f"routing key of {len(key)} characters: an Events API v2 integration key has {ROUTING_KEY_CHARACTERS}"
            )
        url = (base_url or self._base_url).rstrip("/") + _PATHS.get(event.action, _PATH)
        method = _METHODS.get(event.action, str(event.action))
        content = event.body()
        body = encode({"routing_key": key.get_secret_value(), **content})
        attempt = 0

        def tell(status: str, started: float) -> None:
            milliseconds = (self._clock() - started) * 1000
            on_attempt(Attempt(method, status, milliseconds))
            if self._on_exchange:
                shown = _redact(encode(content).decode(), key, MAX_SHOWN_CHARACTERS)
                exchange = Exchange(
                    method="POST",
                    url=url,
                    dedup_key=event.dedup_key,
                    attempt=attempt,
                    status=status,
                    milliseconds=milliseconds,
                    body=shown,
                )
                self._on_exchange(exchange)

        while True:
            attempt += 1
            self._attempt_seconds(deadline)  # no turn is taken for nothing
            before_attempt()
            timeout = self._attempt_seconds(deadline)
            started = self._clock()
            try:
                answer = self._post(url, body, key, timeout)
            except ApiError as error:
                tell(_status_of(error), started)
                pause = backoff_seconds(attempt, self._random)
                if not self._worth_retrying(error, attempt, pause, deadline):
                    raise
                self._sleep(pause)
            else:
                tell("202", started)
                return Answer(dedup_key=answer, attempts=attempt)

    def _attempt_seconds(self, deadline: float | None) -> float:
        """Give how long the next attempt may take: never past the deadline."""
        if deadline is None:
            return self._timeout_seconds
        left = deadline - self._clock()
        if left < SHORTEST_ATTEMPT_SECONDS:
            raise OutOfTimeError("no time left in this invocation to send an event")
        return min(self._timeout_seconds, left)

    def _worth_retrying(self, error: ApiError, attempt: int, pause: float, deadline: float | None) -> bool:
        if not error.retryable or (isinstance(error, PagerDutyApiError) and error.status_code == 429):
            return False
        if attempt > self._max_retries:
            return False
        return deadline is None or self._clock() + pause + SHORTEST_ATTEMPT_SECONDS <= deadline

    def _post(self, url: str, body: bytes, key: SecretStr, timeout: float) -> str | None:
        """Make one request; give the dedup key of the answer to a 202, raise for anything else."""
        until = self._clock() + timeout
        try:
            response = self._pool.request(
                "POST",
                url,
                body=body,
                headers={"Content-Type": "application/json", "User-Agent": "pagerduty-publisher"},
                timeout=urllib3.Timeout(total=timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            # a refused connection is a kind of timeout to urllib3
            if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(error, _NEVER_CONNECTED):
                raise ApiTimeoutError(f"no answer from {url} within {timeout:.1f} s") from None
            raise ApiConnectionError(f"connection to {url} failed: {type(error).__name__}") from None
        said = self._read(response, until)
        if response.status == 202:
            dedup_key = said.get("dedup_key")
            return dedup_key if isinstance(dedup_key, str) else None
        errors = said.get("errors")
        refusal = PagerDutyServerError if response.status >= 500 else PagerDutyApiError
        raise refusal(
            response.status,
            _redact(str(said.get("message") or ""), key),
            [_redact(str(e), key) for e in errors] if isinstance(errors, list) else [],
            retry_after_seconds=_retry_after_seconds(response.headers.get("Retry-After")),
        )

    def _read(self, response: urllib3.BaseHTTPResponse, until: float) -> dict[str, Any]:
        """Give what an answer says; nothing where it is no readable JSON object, for the status alone decides."""
        body = b""
        try:
            while len(body) <= MAX_ANSWER_BYTES and (left := until - self._clock()) > 0:
                if sock := getattr(response.connection, "sock", None):
                    sock.settimeout(left)  # urllib3 would wait for the body as long again as for the head
                chunk = response.read1(MAX_ANSWER_BYTES)
                if not chunk:
                    break
                body += chunk
            said = json.loads(body)
        except (urllib3.exceptions.HTTPError, ValueError, RecursionError):
            return {}
        finally:
            response.close()  # keeps the connection where the whole answer was read
        return said if isinstance(said, dict) else {}


def _status_of(error: PublishError) -> str:
    return str(error.status_code) if isinstance(error, PagerDutyApiError) else str(error.reason)


def _redact(text: str, key: SecretStr, longest: int = MAX_SAID_CHARACTERS) -> str:
    return text.replace(key.get_secret_value(), REDACTED)[:longest]


def _retry_after_seconds(header: str | None) -> float | None:
    """Read a `Retry-After` header: seconds, or a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
