"""A client of PagerDuty's Events API v2: one `send` for every event, with retries. Knows no AWS and no alert.

It can be used alone:

    client = PagerDutyClient()
    client.trigger_event(routing_key, "db-1/cpu", summary="CPU at 97 %", source="db-1", severity="critical")
    client.resolve_event(routing_key, "db-1/cpu")
"""

import json
import random as _random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, NamedTuple, cast
from uuid import uuid4

import urllib3
from pydantic import SecretStr
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProxyError

from handler.pagerduty.connections import TimeLeft, connect, make_pool
from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    MissingRoutingKeyError,
    OutOfTimeError,
    PagerDutyApiError,
    PagerDutyServerError,
    PublishError,
    is_rate_limit,
)
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS, Action, Event, EventImage, EventLink, Payload
from handler.pagerduty.limit import MinuteLimit
from handler.pagerduty.retry import backoff_seconds
from handler.pagerduty.severity import Severity

PAGERDUTY_DOMAIN = "pagerduty.com"
BASE_URL = f"https://events.{PAGERDUTY_DOMAIN}"
"""The US service region; the EU's is https://events.eu.pagerduty.com."""
_URL = re.compile(
    rf"https://(?:[a-z0-9-]+\.)*{re.escape(PAGERDUTY_DOMAIN)}(?::(?P<port>[0-9]{{1,5}}))?(?:/[\w./-]*)?", re.A | re.I
)
TIMEOUT_SECONDS = 10.0
MAX_RETRIES = 3
MAX_ANSWER_BYTES = 64 * 1024
SHORTEST_ATTEMPT_SECONDS = 0.5
"""With less time than this left, no attempt is made: it could not succeed."""
RETURN_SECONDS = 0.1
"""An attempt ends this long before the deadline, so that `send` returns before it."""
MAX_RETRY_AFTER_SECONDS = 300.0
"""A longer `Retry-After` is cut to this."""
HEALTH_DEDUP_KEY = "pagerduty-publisher/health"
"""No incident has this key: resolving it is answered like any other event, and changes nothing."""

REDACTED = "[routing key]"
"""What replaces a routing key in texts for people."""
MAX_SAID_CHARACTERS = 500
"""The limit for each text in PagerDuty's answer."""
MAX_SHOWN_CHARACTERS = 20_000
"""The limit for a logged body; CloudWatch Logs takes 256 KB a line."""

_PATH, _CHANGE_PATH = "/v2/enqueue", "/v2/change/enqueue"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "pagerduty-publisher"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to PagerDuty and what became of it.

    Attributes:
        action: what the event asks for.
        status: the HTTP status, or `timeout` or `connection` where there was none.
        milliseconds: from connecting or sending to the answer.
        number: of the request among those for this event, from 1.
        body: returns what was sent, without the routing key, as a text for people; costs nothing until it is called.
    """

    action: Action
    status: str
    milliseconds: float
    number: int = 1
    url: str = ""
    dedup_key: str | None = None
    body: Callable[[], str] = field(default=str, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """One of trigger, acknowledge, resolve, change; the dimension `method` of the metric `ApiCalls`."""
        return "change" if self.action is Action.CHANGE else str(self.action)


class Answer(NamedTuple):
    """PagerDuty's acceptance.

    Attributes:
        dedup_key: the incident's key, as PagerDuty has it; None for a change event.
        attempts: how many requests it took.
        status: as PagerDuty answered, `success`; empty where the answer's body could not be read.
        message: as PagerDuty answered, for example `Event processed`.
    """

    dedup_key: str | None
    attempts: int
    status: str = ""
    message: str = ""


def is_pagerdutys(url: str) -> bool:
    """Return whether a URL is https on a host of PagerDuty's, whichever parser reads it."""
    found = _URL.fullmatch(url)
    return found is not None and 0 < int(found["port"] or 443) < 65536


class _Request(NamedTuple):
    """One event as it goes over the wire.

    Attributes:
        content: the body without the routing key.
    """

    event: Event
    url: str
    content: bytes
    key: SecretStr

    def body(self) -> bytes:
        """Return the body, with the routing key: the one place where it is no secret."""
        start = b'{"routing_key":' + json.dumps(self.key.get_secret_value()).encode()
        return start + self.content.replace(b"{", b"," if len(self.content) > len(b"{}") else b"", 1)

    def shown(self) -> str:
        """Return the body for people, without the routing key."""
        return _redact(self.content.decode(), self.key, MAX_SHOWN_CHARACTERS)

    def attempt(self, number: int, status: str, seconds: float) -> Attempt:
        """Return what became of sending it."""
        event = self.event
        return Attempt(event.action, status, seconds * 1000, number, self.url, event.dedup_key, self.shown)


def _do_nothing(*_: Any) -> None:
    """Do nothing; the default hook."""


class PagerDutyClient:
    """Sends events, each within its retries and its time. Safe to share between threads.

    Args:
        base_url: where the API is; a call may name another.
        timeout_seconds: how long one request may take: DNS, connecting to however many addresses, and the answer.
        max_retries: how many more requests may follow a failed one (network errors, timeouts and 5xx).
        requests_a_minute: the most requests, retries included, that this client makes for one routing key in any 60
            seconds; beyond that it raises RateLimitExceededError, which says how long to wait. None for no limit.
        proxy_url: a proxy for all requests, such as `http://user:password@proxy.example:3128`.
        pool: connections to use instead of the client's own. Only those of `connections.make_pool` keep the time
            where a host has several addresses.
        clock: monotonic seconds; deadlines are on this clock.
        sleep: waits that many seconds.
        random: uniform in [0, 1).
        on_attempt: called after each request of any call, for a log or metrics.
    """

    def __init__(
        self,
        *,
        base_url: str = BASE_URL,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        requests_a_minute: float | None = None,
        proxy_url: str | None = None,
        pool: urllib3.PoolManager | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._limit = MinuteLimit(requests_a_minute, clock) if requests_a_minute is not None else None
        self._pool = pool or make_pool(proxy_url)
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._on_every_attempt = on_attempt or _do_nothing

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

        `severity` may be any word for one of the four, in any case. `payload` takes `timestamp`, `component`,
        `group`, `class_` and `custom_details`. Without a dedup key one is made; the answer has it. Raises a
        PublishError, or a ValueError (pydantic's ValidationError) for a field beyond the API's limits.
        """
        event = Event(
            action=Action.TRIGGER,
            dedup_key=uuid4().hex if dedup_key is None else dedup_key,  # so that a retry opens no second incident
            payload=Payload(summary=summary, source=source, severity=cast(Severity, severity), **payload),
            links=[EventLink.model_validate(link) for link in links] or None,
            images=[EventImage.model_validate(image) for image in images] or None,
            client=client,
            client_url=client_url,
        )
        return self.send(event, routing_key)

    def acknowledge_event(self, routing_key: str | SecretStr, dedup_key: str | None) -> Answer:
        """Acknowledge the open incident with this key; PagerDuty drops it where there is none."""
        return self.send(Event(action=Action.ACKNOWLEDGE, dedup_key=dedup_key), routing_key)

    def resolve_event(self, routing_key: str | SecretStr, dedup_key: str | None) -> Answer:
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
        """Test network, TLS and routing key by resolving an incident that never exists; raise if one is wrong."""
        return self.resolve_event(routing_key, HEALTH_DEDUP_KEY)

    def connect(self) -> None:
        """Open a connection to the API for the next request; raise urllib3's errors if that fails."""
        connect(self._pool, self._base_url, self._timeout_seconds)

    def send(
        self,
        event: Event,
        routing_key: str | SecretStr,
        *,
        base_url: str | None = None,
        deadline: float | None = None,
        max_retries: int | None = None,
        before_attempt: Callable[[], None] = _do_nothing,
        on_attempt: Callable[[Attempt], None] = _do_nothing,
    ) -> Answer:
        """Send one event, trying again after network errors, timeouts and 5xx.

        A 429 is not waited for: the caller has to come back later.

        Args:
            event: what to send.
            routing_key: the integration's key, 32 characters.
            base_url: where to send it, if not to the client's own.
            deadline: `send` returns before this time on the client's clock.
            max_retries: instead of the client's own.
            before_attempt: called before each request; may raise RateLimitExceededError.
            on_attempt: called after each request of this call with what became of it, before the constructor's hook.

        Raises:
            MissingRoutingKeyError: no routing key, or one that is not 32 characters long.
            InvalidDedupKeyError: no dedup key where one is required, or one that is too long.
            RateLimitExceededError: the client's own limit is reached; nothing was sent by this attempt.
            OutOfTimeError: the deadline is too near for an attempt; nothing was sent by this one.
            ApiTimeoutError, ApiConnectionError, PagerDutyApiError: the last attempt's, after all retries.
        """
        key = _checked(routing_key)
        path = _CHANGE_PATH if event.action is Action.CHANGE else _PATH
        url = (base_url or self._base_url).rstrip("/") + path
        request = _Request(event, url, event.encoded(), key)
        retries = self._max_retries if max_retries is None else max_retries
        number = 0
        while True:
            number += 1
            self._attempt_seconds(deadline)  # raises before a permit is taken
            before_attempt()
            if self._limit:
                self._limit.take(key)
            timeout = self._attempt_seconds(deadline)
            started = self._clock()
            try:
                answer = self._post(request, timeout)
            except ApiError as error:
                self._report(request.attempt(number, _status_of(error), self._clock() - started), on_attempt)
                pause = backoff_seconds(number, self._random)
                if number > retries or not self._worth_retrying(error, pause, deadline):
                    raise
                self._sleep(pause)
            else:
                self._report(request.attempt(number, "202", self._clock() - started), on_attempt)
                return _accepted(answer, number, key)

    def _report(self, attempt: Attempt, on_attempt: Callable[[Attempt], None]) -> None:
        """Call the hook of this `send`, then the one of every call."""
        on_attempt(attempt)
        self._on_every_attempt(attempt)

    def _attempt_seconds(self, deadline: float | None) -> float:
        """Return how long the next attempt may take; it ends before the deadline."""
        if deadline is None:
            return self._timeout_seconds
        left = deadline - self._clock()
        if left < SHORTEST_ATTEMPT_SECONDS:
            raise OutOfTimeError("no time left in this invocation to send an event")
        return min(self._timeout_seconds, left - RETURN_SECONDS)

    def _worth_retrying(self, error: ApiError, pause: float, deadline: float | None) -> bool:
        if not error.retryable or is_rate_limit(error):
            return False
        return deadline is None or self._clock() + pause + SHORTEST_ATTEMPT_SECONDS <= deadline

    def _post(self, request: _Request, timeout: float) -> Mapping[str, Any]:
        """Make one request; return the answer's fields for a 202, raise for any other status."""
        try:
            response = self._pool.request(
                "POST",
                request.url,
                body=request.body(),
                headers=_HEADERS,
                timeout=TimeLeft(timeout),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as error:
            may_have_arrived = not _never_connected(error)
            if _timed_out(error):
                raise ApiTimeoutError(
                    f"no answer from {request.url} within {timeout:.1f} s", may_have_arrived=may_have_arrived
                ) from None
            raise ApiConnectionError(
                f"connection to {request.url} failed: {type(_cause(error)).__name__}", may_have_arrived=may_have_arrived
            ) from None
        answer = _read(response)
        if response.status == 202:
            return answer
        errors = answer.get("errors")
        refusal = PagerDutyServerError if response.status >= 500 else PagerDutyApiError
        raise refusal(
            response.status,
            _text(answer.get("message"), request.key),
            [_redact(str(e), request.key) for e in errors] if isinstance(errors, list) else [],
            retry_after_seconds=_retry_after_seconds(response.headers.get("Retry-After")),
        )


def _checked(routing_key: str | SecretStr) -> SecretStr:
    key = routing_key if isinstance(routing_key, SecretStr) else SecretStr(routing_key)
    if not key:
        raise MissingRoutingKeyError("no routing key: put the integration's key into the target's secret")
    if len(key) != ROUTING_KEY_CHARACTERS:
        raise MissingRoutingKeyError(
            f"routing key of {len(key)} characters: an Events API v2 integration key has {ROUTING_KEY_CHARACTERS}"
        )
    return key


def _read(response: urllib3.BaseHTTPResponse) -> Mapping[str, Any]:
    """Return the answer's fields; empty if it is not a JSON object: only the status decides."""
    try:
        answer = json.loads(response.read(MAX_ANSWER_BYTES))
    except (HTTPError, OSError, ValueError, RecursionError):
        return {}
    finally:
        response.close()  # keeps the connection if the whole answer was read
    return answer if isinstance(answer, dict) else {}


def _cause(error: HTTPError) -> Exception:
    """Return the error behind a proxy's error."""
    return error.original_error if isinstance(error, ProxyError) else error


def _never_connected(error: HTTPError) -> bool:
    """Return whether PagerDuty cannot have received the request, because there was no connection."""
    return isinstance(error, ProxyError | ConnectTimeoutError)


def _timed_out(error: HTTPError) -> bool:
    """Return whether the time ran out; for urllib3 a refused connection is a timeout too."""
    cause = _cause(error)
    return isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError) and not isinstance(
        cause, urllib3.exceptions.NewConnectionError
    )


def _accepted(answer: Mapping[str, Any], attempts: int, key: SecretStr) -> Answer:
    dedup_key = answer.get("dedup_key")
    return Answer(
        dedup_key if isinstance(dedup_key, str) else None,
        attempts,
        status=_text(answer.get("status"), key),
        message=_text(answer.get("message"), key),
    )


def _status_of(error: PublishError) -> str:
    return str(error.status_code) if isinstance(error, PagerDutyApiError) else str(error.reason)


def _text(value: Any, key: SecretStr) -> str:
    return _redact(str(value or ""), key)


def _redact(text: str, key: SecretStr, longest: int = MAX_SAID_CHARACTERS) -> str:
    return text.replace(key.get_secret_value(), REDACTED)[:longest]


def _retry_after_seconds(header: str | None) -> float | None:
    """Read a `Retry-After` header: seconds, or a date; at most five minutes."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS) if isfinite(seconds) else None
