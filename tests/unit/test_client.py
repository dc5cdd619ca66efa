"""The client against the PagerDuty simulator, over a real socket; time and jitter are the test's."""

import io
import json
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import urllib3
from pydantic import SecretStr, ValidationError

from handler.errors import (
    ApiConnectionError,
    ErrorReason,
    InvalidDedupKeyError,
    MissingRoutingKeyError,
    OutOfTimeError,
    PagerDutyApiError,
    PublishError,
    RateLimitExceededError,
)
from handler.pagerduty.client import (
    HEALTH_DEDUP_KEY,
    MAX_ANSWER_BYTES,
    RETURN_SECONDS,
    Answer,
    Attempt,
    PagerDutyClient,
)
from handler.pagerduty.events import Action, Event
from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import PagerDuty
from local.simulator.server import SimulatorServer
from tests.lab.clock import Clock
from tests.lab.parts import make_client
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY

RESOLVE = Event(action=Action.RESOLVE, dedup_key="db/cpu")
ACCEPTED = {"status": "success", "message": "Event processed", "dedup_key": "db/cpu"}


class Recorder(PagerDuty):
    """The simulator, keeping every path and body."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.bodies: list[tuple[str, dict[str, Any]]] = []

    def handle(self, method: str, path: str, body: bytes) -> Any:
        self.bodies.append((path, json.loads(body)))
        return super().handle(method, path, body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[SimulatorServer]:
    """A simulator whose delays make the test's clock go on, and nobody wait."""
    with SimulatorServer(Recorder(clock), sleep=clock.advance) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager() as pool:
        yield pool


@pytest.fixture
def client(server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock) -> PagerDutyClient:
    return make_client(pool, clock, base_url=server.url)


def bodies(server: SimulatorServer) -> list[tuple[str, dict[str, Any]]]:
    assert isinstance(server.pagerduty, Recorder)
    return server.pagerduty.bodies


def statuses(attempts: list[Attempt]) -> list[str]:
    return [attempt.status for attempt in attempts]


# --- The four events ---


def test_a_trigger_opens_an_incident_with_everything_it_was_given(
    client: PagerDutyClient, server: SimulatorServer
) -> None:
    """Path and body are those of PagerDuty's documentation, `class_` becomes `class`."""
    answer = client.trigger_event(
        ROUTING_KEY,
        "db/cpu",
        summary="CPU at 97 %",
        source="db-1",
        severity="critical",
        links=[{"href": "https://example.org/runbook", "text": "Runbook"}],
        images=[{"src": "https://example.org/graph.png"}],
        client="Grafana",
        client_url="https://example.org",
        component="postgres",
        class_="cpu",
        custom_details={"ä": 1},
    )
    assert answer == Answer(dedup_key="db/cpu", attempts=1, status="success", message="Event processed")
    assert bodies(server) == [
        (
            "/v2/enqueue",
            {
                "routing_key": ROUTING_KEY,
                "event_action": "trigger",
                "dedup_key": "db/cpu",
                "payload": {
                    "summary": "CPU at 97 %",
                    "source": "db-1",
                    "severity": "critical",
                    "component": "postgres",
                    "class": "cpu",
                    "custom_details": {"ä": 1},
                },
                "links": [{"href": "https://example.org/runbook", "text": "Runbook"}],
                "images": [{"src": "https://example.org/graph.png"}],
                "client": "Grafana",
                "client_url": "https://example.org",
            },
        )
    ]
    assert [str(incident.state) for incident in server.pagerduty.incidents] == ["triggered"]


def test_a_trigger_without_a_dedup_key_gets_one_that_its_retry_keeps(
    client: PagerDutyClient, server: SimulatorServer
) -> None:
    """An answer that is lost opens no second incident, and the caller knows the key to resolve."""
    server.pagerduty.set_faults(Fault(FaultKind.ACCEPT_THEN_DROP))
    answer = client.trigger_event(ROUTING_KEY, None, summary="CPU", source="db-1", severity="error")
    assert answer.attempts == 2
    assert [incident.dedup_key for incident in server.pagerduty.incidents] == [answer.dedup_key]


@pytest.mark.parametrize(
    ("word", "severity"), [("Critical", "critical"), ("WARNING", "warning"), ("P1", "critical"), ("warn", "warning")]
)
def test_a_severity_may_be_any_word_for_one(
    client: PagerDutyClient, server: SimulatorServer, word: str, severity: str
) -> None:
    """In any case, as alerts from Prometheus spell them."""
    client.trigger_event(ROUTING_KEY, "k", summary="CPU", source="db-1", severity=word)
    assert bodies(server)[0][1]["payload"]["severity"] == severity


def test_an_unknown_severity_is_an_error(client: PagerDutyClient, server: SimulatorServer) -> None:
    """Nothing is sent."""
    with pytest.raises(ValueError, match="purple"):
        client.trigger_event(ROUTING_KEY, "k", summary="CPU", source="db-1", severity="purple")
    assert server.pagerduty.requests == ()


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_acknowledge_and_resolve_carry_the_keys_alone(
    client: PagerDutyClient, server: SimulatorServer, action: str
) -> None:
    """No payload: PagerDuty wants none."""
    call = client.acknowledge_event if action == "acknowledge" else client.resolve_event
    assert call(SecretStr(ROUTING_KEY), "db/cpu").dedup_key == "db/cpu"
    assert bodies(server) == [
        ("/v2/enqueue", {"routing_key": ROUTING_KEY, "event_action": action, "dedup_key": "db/cpu"})
    ]


def test_a_change_event_has_a_path_of_its_own(client: PagerDutyClient, server: SimulatorServer) -> None:
    """It has neither action nor dedup key, and its answer no key."""
    answer = client.send_change_event(
        ROUTING_KEY,
        summary="v2 deployed",
        source="ci",
        links=[{"href": "https://example.org"}],
        custom_details={"v": 2},
    )
    assert answer == Answer(dedup_key=None, attempts=1, status="success", message="Event processed")
    payload = {"summary": "v2 deployed", "source": "ci", "custom_details": {"v": 2}}
    links = [{"href": "https://example.org"}]
    assert bodies(server) == [("/v2/change/enqueue", {"routing_key": ROUTING_KEY, "payload": payload, "links": links})]
    assert [change.summary for change in server.pagerduty.changes] == ["v2 deployed"]


def test_health_resolves_what_is_never_open(client: PagerDutyClient, server: SimulatorServer) -> None:
    """It is answered like any other event, and changes nothing."""
    client.health(ROUTING_KEY)
    assert [(each.action, each.dedup_key) for each in server.pagerduty.dropped] == [("resolve", HEALTH_DEDUP_KEY)]
    assert server.pagerduty.incidents == ()


def test_health_raises_where_the_key_is_unknown(client: PagerDutyClient, server: SimulatorServer) -> None:
    """PagerDuty says what is wrong with it."""
    server.pagerduty.set_known_keys([])
    with pytest.raises(PagerDutyApiError, match=r"400: .*Invalid routing key"):
        client.health(ROUTING_KEY)


def test_a_call_may_name_another_base_url(server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock) -> None:
    """A target in the EU has another host; a trailing slash does no harm."""
    client = make_client(pool, clock, base_url="http://127.0.0.1:9")
    assert client.send(RESOLVE, ROUTING_KEY, base_url=f"{server.url}/").attempts == 1


def test_the_routing_key_is_in_the_body_alone(clock: Clock) -> None:
    """It is in no header and no URL, where proxies and servers would log it."""
    seen: list[Any] = []

    class Pool(urllib3.PoolManager):
        def request(self, method: str, url: str, **given: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
            seen.append((method, url, {**given, "body": None}))
            assert ROUTING_KEY.encode() in given["body"]
            return urllib3.HTTPResponse(io.BytesIO(b"{}"), status=202, preload_content=False)

    make_client(Pool(), clock).resolve_event(ROUTING_KEY, "db/cpu")
    assert len(seen) == 1
    assert ROUTING_KEY not in repr(seen)


def test_the_connection_is_kept_across_calls(
    client: PagerDutyClient, server: SimulatorServer, pool: urllib3.PoolManager
) -> None:
    """Accepted, refused and failed requests all leave it usable."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503), Fault(FaultKind.STATUS, status=400))
    with pytest.raises(PagerDutyApiError):
        client.resolve_event(ROUTING_KEY, "db/cpu")
    for _ in range(3):
        client.resolve_event(ROUTING_KEY, "db/cpu")
    connections = pool.connection_from_url(server.url)
    assert connections.num_requests == 5
    assert connections.num_connections == 1


# --- Retries ---


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(FaultKind.STATUS, status=500), "500"),
        (Fault(FaultKind.STATUS, status=502), "502"),
        (Fault(FaultKind.STATUS, status=503), "503"),
        (Fault(FaultKind.STATUS, status=504), "504"),
        (Fault(FaultKind.STATUS, status=599), "599"),
        (Fault(FaultKind.RESET), "connection"),
        (Fault(FaultKind.ACCEPT_THEN_DROP), "connection"),
        (Fault(FaultKind.GARBAGE, status=500, body="<html>"), "500"),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else value,
)
def test_what_may_pass_is_tried_again(
    client: PagerDutyClient, server: SimulatorServer, fault: Fault, status: str
) -> None:
    """A failing server and a broken connection are tried again; every attempt is told."""
    server.pagerduty.set_faults(fault)
    attempts: list[Attempt] = []
    assert client.send(RESOLVE, ROUTING_KEY, on_attempt=attempts.append).attempts == 2
    assert statuses(attempts) == [status, "202"]
    assert {attempt.kind for attempt in attempts} == {"resolve"}


def test_a_timeout_is_tried_again(clock: Clock, pool: urllib3.PoolManager) -> None:
    """An answer that does not come in time may have been an acceptance: the dedup key folds the repeat."""
    late = threading.Event()
    with SimulatorServer(PagerDuty(clock), sleep=lambda _: late.wait(30)) as server:
        server.pagerduty.set_faults(Fault(FaultKind.ANSWER, delay_seconds=60))
        attempts: list[Attempt] = []
        client = make_client(pool, clock, base_url=server.url, timeout_seconds=0.5)
        answer = client.send(RESOLVE, ROUTING_KEY, on_attempt=attempts.append)
        late.set()
    assert answer.attempts == 2
    assert statuses(attempts) == ["timeout", "202"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, ErrorReason.UNKNOWN),
        (201, ErrorReason.UNKNOWN),
        (204, ErrorReason.UNKNOWN),
        (301, ErrorReason.UNKNOWN),
        (302, ErrorReason.UNKNOWN),
        (307, ErrorReason.UNKNOWN),
        (400, ErrorReason.BAD_REQUEST),
        (401, ErrorReason.UNAUTHORIZED),
        (403, ErrorReason.FORBIDDEN),
        (404, ErrorReason.NOT_FOUND),
        (405, ErrorReason.UNKNOWN),
        (413, ErrorReason.UNKNOWN),
    ],
)
def test_what_cannot_pass_is_final(
    client: PagerDutyClient, server: SimulatorServer, clock: Clock, status: int, reason: ErrorReason
) -> None:
    """Only 202 is success, and only 429 and 5xx can pass by themselves."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=status, count=None))
    attempts: list[Attempt] = []
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY, on_attempt=attempts.append)
    assert (raised.value.status_code, raised.value.type, raised.value.reason) == (status, reason, reason)
    assert not raised.value.retryable
    assert statuses(attempts) == [str(status)]
    assert clock.naps == []


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (17, 17.0),
        ("2.5", 2.5),
        ("-3", 0.0),
        (300, 300.0),
        (86400, 300.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 0.0),
        ("Mon, 99 Jan 2030 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -9999", None),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", None),
        ("Fri, 31 Dec 2027 23:59:5999999999999 GMT", None),
    ],
)
def test_a_429_is_handed_back_with_its_retry_after(
    client: PagerDutyClient, server: SimulatorServer, clock: Clock, retry_after: str | int | None, seconds: float | None
) -> None:
    """It is not slept on: the caller comes back later. What is no time counts as none given."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, count=None, retry_after=retry_after))
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert raised.value.retryable
    assert raised.value.type is ErrorReason.RATE_LIMIT
    assert raised.value.retry_after_seconds == seconds
    assert len(server.pagerduty.requests) == 1
    assert clock.naps == []


@pytest.mark.parametrize("days", [-1, 1])
def test_a_retry_after_may_be_a_date(client: PagerDutyClient, server: SimulatorServer, days: int) -> None:
    """Counted from the wall clock, whatever clock the deadlines are on; at most five minutes count."""
    date = format_datetime(datetime.now(UTC) + timedelta(days=days), usegmt=True)
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=date))
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert raised.value.retry_after_seconds == (300 if days > 0 else 0)


def test_the_backoff_doubles_from_100_ms_to_5_s_with_full_jitter(
    server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock
) -> None:
    """Each wait is a random part of the whole that doubles."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None))
    client = make_client(pool, clock, base_url=server.url, max_retries=8, random=iter([1.0, 0.5, 0.0] * 3).__next__)
    with pytest.raises(PagerDutyApiError):
        client.send(RESOLVE, ROUTING_KEY)
    assert clock.naps == pytest.approx([0.1, 0.1, 0.0, 0.8, 0.8, 0.0, 5.0, 2.5])


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_at_most_max_retries_follow(
    server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock, max_retries: int
) -> None:
    """The last error is raised as it is."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    client = make_client(pool, clock, base_url=server.url, max_retries=max_retries)
    with pytest.raises(PagerDutyApiError, match="503") as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert raised.value.reason is ErrorReason.SERVER_ERROR
    assert len(server.pagerduty.requests) == max_retries + 1
    assert len(clock.naps) == max_retries


def test_nothing_listening_is_a_connection_error(pool: urllib3.PoolManager, clock: Clock) -> None:
    """A refused connection is tried again like a broken one."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        client = make_client(pool, clock, base_url=url, max_retries=2)
        with pytest.raises(ApiConnectionError, match=r"connection to .* failed") as raised:
            client.send(RESOLVE, ROUTING_KEY)
    assert raised.value.retryable
    assert not raised.value.may_have_arrived
    assert len(clock.naps) == 2


# --- Deadline and hooks ---


def test_no_attempt_begins_when_no_time_is_left(client: PagerDutyClient, server: SimulatorServer, clock: Clock) -> None:
    """Nothing is sent, no turn is taken, and the error says that it was time."""
    turns: list[str] = []
    with pytest.raises(OutOfTimeError, match="no time left"):
        client.send(RESOLVE, ROUTING_KEY, deadline=clock() + 0.4, before_attempt=lambda: turns.append("turn"))
    assert server.pagerduty.requests == ()
    assert turns == []


def test_no_retry_begins_past_the_deadline(client: PagerDutyClient, server: SimulatorServer, clock: Clock) -> None:
    """What is raised is what PagerDuty said, not that time is up."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None, delay_seconds=4))
    with pytest.raises(PagerDutyApiError, match="503"):
        client.send(RESOLVE, ROUTING_KEY, deadline=clock() + 8.2)
    assert len(server.pagerduty.requests) == 2


class TimeoutsPool(urllib3.PoolManager):
    """Keeps how long each request may take, and fails it."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float] = []

    def request(self, method: str, url: str, *, timeout: urllib3.Timeout, **_: Any) -> Any:  # type: ignore[override]
        assert isinstance(timeout.total, float)
        self.timeouts.append(timeout.total)
        raise urllib3.exceptions.ProtocolError("broken")


def test_an_attempt_may_take_its_timeout_or_what_is_left(clock: Clock) -> None:
    """The shorter of the two, counted when the request begins; `send` has to return in time too."""
    pool = TimeoutsPool()
    client = make_client(pool, clock, timeout_seconds=10.0, max_retries=1)
    with pytest.raises(ApiConnectionError):
        client.send(RESOLVE, ROUTING_KEY, deadline=clock() + 18, before_attempt=lambda: clock.advance(6))
    assert pool.timeouts == pytest.approx([10.0, 6.0 - 0.05 - RETURN_SECONDS])


def test_a_turn_that_came_too_late_is_not_used(clock: Clock) -> None:
    """Nothing may be sent after the deadline: by then another execution may have taken over."""
    pool = TimeoutsPool()
    with pytest.raises(OutOfTimeError, match="no time left"):
        make_client(pool, clock).send(
            RESOLVE, ROUTING_KEY, deadline=clock() + 5, before_attempt=lambda: clock.advance(4.8)
        )
    assert pool.timeouts == []


def test_the_hook_is_called_before_every_attempt(client: PagerDutyClient, server: SimulatorServer) -> None:
    """Retries take a turn too: PagerDuty counts them."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=2))
    requests_before: list[int] = []
    client.send(RESOLVE, ROUTING_KEY, before_attempt=lambda: requests_before.append(len(server.pagerduty.requests)))
    assert requests_before == [0, 1, 2]


def test_what_the_hook_raises_propagates(client: PagerDutyClient, server: SimulatorServer) -> None:
    """Without a turn nothing is sent."""

    def refuse() -> None:
        raise RateLimitExceededError(12.0)

    attempts: list[Attempt] = []
    with pytest.raises(RateLimitExceededError) as raised:
        client.send(RESOLVE, ROUTING_KEY, before_attempt=refuse, on_attempt=attempts.append)
    assert raised.value.retry_after_seconds == 12.0
    assert server.pagerduty.requests == ()
    assert attempts == []


def test_an_attempt_knows_its_method_and_time(client: PagerDutyClient, server: SimulatorServer) -> None:
    """The four methods are the dimension of a metric."""
    server.pagerduty.set_faults(Fault(FaultKind.ANSWER, count=None, delay_seconds=2))
    attempts: list[Attempt] = []
    payload = {"summary": "CPU", "source": "db-1", "severity": "error"}
    for action in Action:
        event = Event.model_validate(
            {
                "action": action,
                "dedup_key": None if action is Action.CHANGE else "db/cpu",
                "payload": payload if action in (Action.TRIGGER, Action.CHANGE) else None,
            }
        )
        client.send(event, ROUTING_KEY, on_attempt=attempts.append)
    url = f"{server.url}/v2/enqueue"
    assert attempts == [
        Attempt(Action.TRIGGER, "202", 2000, number=1, url=url, dedup_key="db/cpu"),
        Attempt(Action.ACKNOWLEDGE, "202", 2000, number=1, url=url, dedup_key="db/cpu"),
        Attempt(Action.RESOLVE, "202", 2000, number=1, url=url, dedup_key="db/cpu"),
        Attempt(Action.CHANGE, "202", 2000, number=1, url=f"{server.url}/v2/change/enqueue"),
    ]
    assert [attempt.kind for attempt in attempts] == ["trigger", "acknowledge", "resolve", "change"]
    assert json.loads(attempts[0].body()) == {"event_action": "trigger", "dedup_key": "db/cpu", "payload": payload}


def test_the_clients_own_hook_is_called_for_every_request(
    server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock
) -> None:
    """One record of each, with its number, for a log."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=2))
    attempts: list[Attempt] = []
    make_client(pool, clock, base_url=server.url, on_attempt=attempts.append).resolve_event(ROUTING_KEY, "db/cpu")
    assert [(attempt.number, attempt.status) for attempt in attempts] == [(1, "500"), (2, "500"), (3, "202")]


def test_a_call_may_have_retries_of_its_own(client: PagerDutyClient, server: SimulatorServer) -> None:
    """Who drains a backlog decides after each attempt what is sent next."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None))
    for max_retries, requests in ((0, 1), (1, 3)):
        with pytest.raises(PagerDutyApiError):
            client.send(RESOLVE, ROUTING_KEY, max_retries=max_retries)
        assert len(server.pagerduty.requests) == requests


# --- A limit of its own ---


def test_no_more_requests_a_minute_than_allowed(
    server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock
) -> None:
    """In any 60 seconds, each routing key by itself; who has to wait is told how long."""
    client = make_client(pool, clock, base_url=server.url, requests_a_minute=2)
    client.resolve_event(ROUTING_KEY, "a")
    clock.advance(20)
    client.resolve_event(ROUTING_KEY, "b")
    client.resolve_event(OTHER_KEY, "c")
    with pytest.raises(RateLimitExceededError) as raised:
        client.resolve_event(ROUTING_KEY, "d")
    assert raised.value.retry_after_seconds == 40
    clock.advance(40)
    client.resolve_event(ROUTING_KEY, "d")
    with pytest.raises(RateLimitExceededError) as raised:
        client.resolve_event(ROUTING_KEY, "e")
    assert raised.value.retry_after_seconds == 20
    assert [body["dedup_key"] for _, body in bodies(server)] == ["a", "b", "c", "d"]


def test_retries_count_against_the_limit(server: SimulatorServer, pool: urllib3.PoolManager, clock: Clock) -> None:
    """PagerDuty counts them too."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None))
    client = make_client(pool, clock, base_url=server.url, requests_a_minute=2.9)
    with pytest.raises(RateLimitExceededError):
        client.resolve_event(ROUTING_KEY, "a")
    assert len(server.pagerduty.requests) == 2


@pytest.mark.parametrize("limit", [0, -1, 0.5, float("nan")])
def test_a_limit_below_one_a_minute_is_refused(limit: float) -> None:
    """It would never let a request through."""
    with pytest.raises(ValueError, match="1 or more"):
        PagerDutyClient(requests_a_minute=limit)


# --- Answers that are not what they should be ---


@pytest.mark.parametrize(
    "body", ["<html>", "", "[1, 2]", '"text"', "null", '{"dedup_key": 7}', "[" * 5000, "{", '{"dedup_key": null}']
)
def test_a_202_is_an_acceptance_whatever_it_says(client: PagerDutyClient, server: SimulatorServer, body: str) -> None:
    """The event was taken in: sending it again would be wrong."""
    server.pagerduty.set_faults(Fault(FaultKind.GARBAGE, status=202, body=body or " "))
    assert client.send(RESOLVE, ROUTING_KEY) == Answer(dedup_key=None, attempts=1)


def serve_once(answer: bytes) -> tuple[str, threading.Thread]:
    """Answer one request on a socket with these very bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            request = b""
            while not request.endswith(b"}"):  # what was not read would make the closing a reset
                request += connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


HEAD = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "dedup_key"),
    [
        (HEAD + b"Content-Length: 500\r\n\r\n" + b'{"dedup', None),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + b'{"dedup_key": "k"}' + b"\r\n0\r\n\r\n", "k"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense", None),
        (HEAD + b'\r\n{"dedup_key": "k"}', "k"),
        (HEAD + b"\r\n" + b" " * (2 * MAX_ANSWER_BYTES), None),
    ],
    ids=["cut short", "not gzip", "chunked", "bad chunks", "until it closes", "far too long"],
)
def test_a_202_counts_even_where_its_body_cannot_be_read(
    pool: urllib3.PoolManager, clock: Clock, answer: bytes, dedup_key: str | None
) -> None:
    """A body that breaks off, is not what its header says, or does not end, takes nothing back."""
    url, thread = serve_once(answer)
    answered = make_client(pool, clock, base_url=url).send(RESOLVE, ROUTING_KEY)
    assert (answered.dedup_key, answered.attempts) == (dedup_key, 1)
    thread.join()


def test_a_redirection_is_not_followed(pool: urllib3.PoolManager, server: SimulatorServer, clock: Clock) -> None:
    """The routing key goes to nobody but PagerDuty."""
    location = f"Location: {server.url}/v2/enqueue".encode()
    url, thread = serve_once(b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n" + location + b"\r\n\r\n")
    with pytest.raises(PagerDutyApiError, match="307"):
        make_client(pool, clock, base_url=url).send(RESOLVE, ROUTING_KEY)
    thread.join()
    assert server.pagerduty.requests == ()


def test_what_is_no_http_is_a_connection_error(pool: urllib3.PoolManager, clock: Clock) -> None:
    """A port on which something else listens."""
    url, thread = serve_once(b"220 mail.example.org ESMTP\r\n")
    with pytest.raises(ApiConnectionError):
        make_client(pool, clock, base_url=url, max_retries=0).send(RESOLVE, ROUTING_KEY)
    thread.join()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<html>", "PagerDuty answered 400"),
        ('{"message": "Bad", "errors": ["one", "two"]}', "PagerDuty answered 400: Bad: one; two"),
        ('{"errors": "no list"}', "PagerDuty answered 400"),
        ('{"message": {"a": 1}, "errors": [1, null]}', "PagerDuty answered 400: {'a': 1}: 1; None"),
    ],
)
def test_an_error_says_what_pagerduty_said(
    client: PagerDutyClient, server: SimulatorServer, body: str, text: str
) -> None:
    """And survives whatever that is."""
    server.pagerduty.set_faults(Fault(FaultKind.GARBAGE, status=400, body=body))
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert str(raised.value) == text


def test_pagerdutys_own_errors_are_kept_apart(client: PagerDutyClient, server: SimulatorServer) -> None:
    """For the caller to look at: they say which field is wrong."""
    server.pagerduty.set_known_keys([])
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert raised.value.message == "Event object is invalid"
    assert raised.value.errors == ("Invalid routing key",)


# --- The secret ---


def everything_said(error: BaseException) -> str:
    """Return all that a log could show of an error."""
    shown = [str(error), repr(error), repr(error.__dict__), *traceback.format_exception(error)]
    for hidden in (error.__cause__, error.__context__):
        shown += [str(hidden), repr(hidden)]
    return "\n".join(shown)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.STATUS, status=400, body={"message": f"bad key {ROUTING_KEY}"}),
        Fault(FaultKind.STATUS, status=400, body={"errors": [f"{ROUTING_KEY} is unknown", {"key": ROUTING_KEY}]}),
        Fault(FaultKind.STATUS, status=400, body={"message": "x" * 490 + ROUTING_KEY}),
        Fault(FaultKind.STATUS, status=429, body={"message": [ROUTING_KEY]}, retry_after=ROUTING_KEY),
        Fault(FaultKind.STATUS, status=503, count=None, body={"message": ROUTING_KEY}),
        Fault(FaultKind.STATUS, status=301),
        Fault(FaultKind.GARBAGE, status=500, count=None, body=ROUTING_KEY),
        Fault(FaultKind.GARBAGE, status=400, body=f'{{"message": "{ROUTING_KEY}'),
        Fault(FaultKind.RESET, count=None),
        Fault(FaultKind.ACCEPT_THEN_DROP, count=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_no_error_shows_the_routing_key(client: PagerDutyClient, server: SimulatorServer, fault: Fault) -> None:
    """Not in its text, not in its attributes, not in its traceback, even where PagerDuty echoes it."""
    server.pagerduty.set_faults(fault)
    with pytest.raises(PublishError) as raised:
        client.trigger_event(ROUTING_KEY, "db/cpu", summary="CPU", source="db-1", severity="error")
    said = everything_said(raised.value)
    assert ROUTING_KEY not in said
    assert ROUTING_KEY[:8] not in said


def test_an_echoed_routing_key_is_named_as_such(client: PagerDutyClient, server: SimulatorServer) -> None:
    """The rest of the sentence stays."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body={"message": f"bad key {ROUTING_KEY}!"}))
    with pytest.raises(PagerDutyApiError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert str(raised.value) == "PagerDuty answered 400: bad key [routing key]!"


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("http://127.0.0.1:9", ROUTING_KEY),
        ("http://", ROUTING_KEY),
        ("http://..", ROUTING_KEY),
        ("gopher://example.org", ROUTING_KEY),
        ("http://127.0.0.1:9", ROUTING_KEY[:31]),
        ("http://127.0.0.1:9", ROUTING_KEY + "x"),
    ],
)
def test_no_error_before_the_answer_shows_the_routing_key(
    pool: urllib3.PoolManager, clock: Clock, base_url: str, key: str
) -> None:
    """Nowhere to connect to, a URL that is none, a key that is none."""
    client = make_client(pool, clock, base_url=base_url, max_retries=1)
    with pytest.raises(PublishError) as raised:
        client.send(RESOLVE, key)
    assert key[:16] not in everything_said(raised.value)


@pytest.mark.parametrize("key", ["", SecretStr("")])
def test_a_missing_routing_key_is_reported_as_missing(client: PagerDutyClient, key: str | SecretStr) -> None:
    """Nothing is sent."""
    with pytest.raises(MissingRoutingKeyError, match="no routing key"):
        client.resolve_event(key, "db/cpu")


@pytest.mark.parametrize("length", [1, 31, 33])
def test_a_routing_key_has_32_characters(client: PagerDutyClient, server: SimulatorServer, length: int) -> None:
    """The message has the key's length, and not the key."""
    with pytest.raises(MissingRoutingKeyError, match=f"of {length} characters"):
        client.resolve_event("k" * length, "db/cpu")
    assert server.pagerduty.requests == ()


@pytest.mark.parametrize("dedup_key", ["", "k" * 256])
def test_a_dedup_key_has_1_to_255_characters(client: PagerDutyClient, server: SimulatorServer, dedup_key: str) -> None:
    """Refused here: PagerDuty would refuse it too."""
    with pytest.raises(InvalidDedupKeyError):
        client.resolve_event(ROUTING_KEY, dedup_key)
    assert server.pagerduty.requests == ()


def test_a_field_beyond_the_limits_is_refused_by_name(client: PagerDutyClient) -> None:
    """Used alone, the client says what is wrong."""
    with pytest.raises(ValidationError, match="summary"):
        client.trigger_event(ROUTING_KEY, "k", summary="x" * 1025, source="db-1", severity="error")


def test_a_client_of_its_own_needs_no_arguments() -> None:
    """It talks to PagerDuty's US service region over a pool of its own."""
    assert PagerDutyClient()
