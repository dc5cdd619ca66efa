"""The simulator over a real socket, as urllib3 meets it."""

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from local.simulator.faults import Fault, FaultKind
from local.simulator.incidents import mask
from local.simulator.server import MAX_BODY_BYTES, SimulatorServer

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def naps() -> list[float]:
    """The delays that the server was asked to wait, and did not."""
    return []


@pytest.fixture
def server(naps: list[float]) -> Iterator[SimulatorServer]:
    """A simulator that serves."""
    with SimulatorServer(sleep=naps.append) as server:
        yield server


@pytest.fixture
def pool(server: SimulatorServer) -> Iterator[urllib3.HTTPConnectionPool]:
    """A sender's connections to it, without urllib3's own retries."""
    with urllib3.connection_from_url(server.url, retries=False, timeout=5.0) as pool:
        yield pool


def trigger(dedup_key: str = "db/cpu") -> dict[str, Any]:
    """Make a valid trigger."""
    payload = {"summary": "CPU", "source": "db-1", "severity": "error"}
    return {"routing_key": KEY, "event_action": "trigger", "dedup_key": dedup_key, "payload": payload}


def send(pool: urllib3.HTTPConnectionPool, event: dict[str, Any]) -> urllib3.BaseHTTPResponse:
    """Send an alert event."""
    return pool.request("POST", "/v2/enqueue", json=event)


def connect(server: SimulatorServer) -> socket.socket:
    """Open a connection without HTTP, for what urllib3 would not send or not show."""
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5)


def test_two_requests_share_one_connection(pool: urllib3.HTTPConnectionPool) -> None:
    """The connection is kept alive, after a refusal as well."""
    assert send(pool, {}).status == 400
    assert send(pool, trigger()).json() == {
        "status": "success",
        "message": "Event processed",
        "dedup_key": "db/cpu",
    }
    assert pool.num_connections == 1
    assert pool.num_requests == 2


def test_answers_are_json_and_so_is_a_404(pool: urllib3.HTTPConnectionPool) -> None:
    """Whatever was asked for, the answer says that it is JSON."""
    for method, path, status in (("GET", "/v2", 404), ("PUT", "/v2/enqueue", 405), ("POST", "/v2/enqueue?x=1", 400)):
        response = pool.request(method, path)
        assert (response.status, response.headers["Content-Type"]) == (status, "application/json")
        assert response.json()["message"]
    assert pool.request("HEAD", "/v2/enqueue").status == 405
    assert pool.num_connections == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "localhost:8080", "[::1]:8080", "pagerduty.test:80"]
)
def test_it_answers_under_the_names_of_this_machine(pool: urllib3.HTTPConnectionPool, host: str) -> None:
    """With and without a port."""
    assert pool.request("GET", "/simulator/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "test.example", "127.0.0.1.example", "192.0.2.1", "localhost.example:80", "[", ""]
)
def test_it_answers_nobody_who_asks_for_another_host(
    server: SimulatorServer, pool: urllib3.HTTPConnectionPool, host: str
) -> None:
    """So that no website can read alerts, set faults or send events through a browser on this machine."""
    for method, path in (("GET", "/"), ("GET", "/simulator/health"), ("POST", "/v2/enqueue")):
        answer = pool.request(method, path, headers={"Host": host}, body=b"")
        assert (answer.status, list(answer.json())) == (421, ["error"])
    assert not server.pagerduty.requests


def test_two_servers_know_nothing_of_each_other(server: SimulatorServer) -> None:
    """Each server has a port and an account of its own."""
    with SimulatorServer() as other:
        assert other.url != server.url
        assert urllib3.request("POST", f"{other.url}/v2/enqueue", json=trigger()).status == 202
        assert (len(other.pagerduty.incidents), len(server.pagerduty.incidents)) == (1, 0)


def test_many_senders_at_once_lose_nothing(server: SimulatorServer) -> None:
    """Requests of concurrent connections are all counted, and each opens its own incident."""
    with urllib3.connection_from_url(server.url, maxsize=8) as pool:

        def storm(name: str) -> None:
            for index in range(20):
                send(pool, trigger(f"{name}/{index}"))

        threads = [threading.Thread(target=storm, args=(str(name),)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    numbers = [incident.number for incident in server.pagerduty.incidents]
    assert numbers == list(range(1, 161))
    assert server.pagerduty.peak == {mask(KEY): 160}


def test_connection_dropped_after_acceptance_gives_no_answer(
    server: SimulatorServer, pool: urllib3.HTTPConnectionPool
) -> None:
    """The sender sees a connection that ended in order, and cannot know that the event was taken in."""
    server.pagerduty.set_faults(Fault(FaultKind.ACCEPT_THEN_DROP))
    with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
        send(pool, trigger())
    assert isinstance(caught.value.args[1], http.client.RemoteDisconnected)
    assert len(server.pagerduty.incidents) == 1
    assert send(pool, trigger()).status == 202


def test_reset_connection_takes_nothing_in(server: SimulatorServer, pool: urllib3.HTTPConnectionPool) -> None:
    """The sender sees ECONNRESET, and the event is not there."""
    server.pagerduty.set_faults(Fault(FaultKind.RESET))
    with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
        send(pool, trigger())
    assert type(caught.value.args[1]) is ConnectionResetError
    assert server.pagerduty.incidents == ()
    assert send(pool, trigger()).status == 202


def test_garbage_is_not_json(server: SimulatorServer, pool: urllib3.HTTPConnectionPool) -> None:
    """Garbage comes as a web page, such as a proxy sends."""
    server.pagerduty.set_faults(Fault(FaultKind.GARBAGE, status=202))
    response = send(pool, trigger())
    assert (response.status, response.headers["Content-Type"]) == (202, "text/html")
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_retry_after_is_sent(server: SimulatorServer, pool: urllib3.HTTPConnectionPool) -> None:
    """The header reaches the sender, with PagerDuty's body for 429."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after=7))
    response = send(pool, trigger())
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert response.json()["status"] == "throttle exceeded"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_answer_that_may_have_no_body_has_none(server: SimulatorServer, method: str) -> None:
    """Neither an answer to HEAD nor a 204 has a body, which a kept connection would take for the next answer."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=204, body={"a": 1}))
    with connect(server) as connection:
        connection.sendall(f"{method} /v2/enqueue HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 405 " if method == "HEAD" else b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n")


def test_delay_and_trickle_are_waited(
    server: SimulatorServer, pool: urllib3.HTTPConnectionPool, naps: list[float]
) -> None:
    """The answer waits once before it begins, and once after every byte of its body."""
    server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, body="slow", delay_seconds=2, trickle_seconds=0.5))
    assert send(pool, trigger()).data == b"slow"
    pool.request("GET", "/simulator/health")  # the same connection: the last nap is over once this is answered
    assert naps == [2, 0.5, 0.5, 0.5, 0.5]


def test_event_is_processed_before_the_delay(capfd: pytest.CaptureFixture[str]) -> None:
    """A sender that gives up waiting has opened the incident all the same, and leaves no trace on stderr."""
    waiting, go_on = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        waiting.set()
        go_on.wait(5)

    with SimulatorServer(sleep=wait) as server:
        server.pagerduty.set_faults(Fault(FaultKind.ANSWER, delay_seconds=60))
        body = json.dumps(trigger()).encode()
        with connect(server) as connection:
            connection.sendall(b"POST /v2/enqueue HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert waiting.wait(5)
            assert len(server.pagerduty.incidents) == 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        go_on.set()
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join(5)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "header",
    [f"Content-Length: {MAX_BODY_BYTES + 1}", "Content-Length: -1", "Content-Length: x", "Transfer-Encoding: chunked"],
)
def test_body_of_unknown_or_unbounded_length_is_not_read(server: SimulatorServer, header: str) -> None:
    """The server answers 400 and ends the connection rather than read without bound."""
    with connect(server) as connection:
        connection.sendall(f"POST /v2/enqueue HTTP/1.1\r\n{header}\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert server.pagerduty.requests == ()


def test_closed_server_answers_no_more() -> None:
    """Closing ends kept connections too, so that no test talks to the simulator of another."""
    with SimulatorServer() as server:
        pool = urllib3.connection_from_url(server.url, retries=False, timeout=5.0)
        assert send(pool, trigger()).status == 202
    with pool, pytest.raises((urllib3.exceptions.ProtocolError, urllib3.exceptions.NewConnectionError)):
        send(pool, trigger())


# -- Control


def control(pool: urllib3.HTTPConnectionPool, method: str, endpoint: str, body: object = None) -> tuple[int, Any]:
    """Use one of the simulator's own endpoints."""
    data = None if method == "GET" else json.dumps(body).encode()
    response = pool.request(method, f"/simulator/{endpoint}", body=data)
    return response.status, response.json()


def test_records_are_read_over_http(pool: urllib3.HTTPConnectionPool) -> None:
    """Every kind of record has an endpoint, `state` has them all, and none shows a routing key."""
    send(pool, trigger())
    send(pool, {"routing_key": KEY, "event_action": "acknowledge", "dedup_key": "db/cpu"})
    send(pool, {"routing_key": KEY, "event_action": "resolve", "dedup_key": "web/5xx"})
    pool.request("POST", "/v2/change/enqueue", json={"routing_key": KEY, "payload": {"summary": "Deployed 42"}})

    _, state = control(pool, "GET", "state")
    (incident,) = state["incidents"]
    assert (incident["state"], incident["severity"], incident["dedup_key"]) == ("acknowledged", "error", "db/cpu")
    assert [entry["action"] for entry in incident["timeline"]] == ["trigger", "acknowledge"]
    assert [change["summary"] for change in state["changes"]] == ["Deployed 42"]
    assert [dropped["dedup_key"] for dropped in state["dropped"]] == ["web/5xx"]
    assert [(request["action"], request["status"]) for request in state["requests"]] == [
        ("trigger", 202),
        ("acknowledge", 202),
        ("resolve", 202),
        ("change", 202),
    ]
    assert state["peak"] == {mask(KEY): 4}
    for name in ("incidents", "changes", "requests", "dropped"):
        assert control(pool, "GET", name) == (200, {name: state[name]})
    assert KEY not in json.dumps(state)
    assert control(pool, "GET", "health") == (200, {"status": "ok"})


def test_faults_are_set_and_cleared_over_http(pool: urllib3.HTTPConnectionPool) -> None:
    """POST replaces the rules, DELETE removes them."""
    rules = [
        {"kind": "status", "status": 503, "action": "trigger", "dedup_key": None, "routing_key": KEY, "count": 1},
        {"kind": "garbage", "count": None, "until_at": 4e9, "body": "<", "retry_after": 3, "delay_seconds": 1},
    ]
    assert control(pool, "POST", "faults", rules) == (200, {"faults": 2})
    assert [send(pool, trigger()).status for _ in range(3)] == [503, 200, 200]
    assert control(pool, "POST", "faults", rules[:1]) == (200, {"faults": 1})
    assert control(pool, "DELETE", "faults") == (200, {"faults": 0})
    assert send(pool, trigger()).status == 202


def test_limit_is_set_and_lifted_over_http(pool: urllib3.HTTPConnectionPool) -> None:
    """A limit may be set whole or in part, and lifted with null."""
    limit = {"requests": 1, "window_seconds": 60, "count_refused": True, "retry_after_seconds": 30}
    assert control(pool, "POST", "limit", limit) == (200, {"limit": limit})
    assert [send(pool, trigger()).status for _ in range(2)] == [202, 429]
    assert control(pool, "POST", "limit", None) == (200, {"limit": None})
    assert send(pool, trigger()).status == 202


def test_keys_are_set_over_http(pool: urllib3.HTTPConnectionPool) -> None:
    """The known keys decide what is taken in; the answer shows only how many there are."""
    assert control(pool, "POST", "keys", ["f" * 32]) == (200, {"keys": 1})
    assert send(pool, trigger()).json()["errors"] == ["Invalid routing key"]
    assert control(pool, "POST", "keys", None) == (200, {"keys": None})
    assert send(pool, trigger()).status == 202


def test_reset_over_http_needs_no_body(server: SimulatorServer, pool: urllib3.HTTPConnectionPool) -> None:
    """A bare POST forgets everything."""
    send(pool, trigger())
    assert pool.request("POST", "/simulator/reset").json() == {"status": "ok"}
    assert server.pagerduty.requests == ()


@pytest.mark.parametrize(
    ("endpoint", "body", "told"),
    [
        ("faults", {}, "$: type should be array"),
        ("faults", [{}], "$[0]: 'kind' is a required property"),
        ("faults", [{"kind": "explode"}], "$[0].kind: enum should be"),
        ("faults", [{"kind": "reset", "often": True}], "'often' was unexpected"),
        ("faults", [{"kind": "status"}], "a fault of kind 'status' needs a status"),
        ("faults", [{"kind": "status", "status": 600}], "$[0].status: maximum should be 599"),
        ("faults", [{"kind": "reset", "count": 0}], "$[0].count: minimum should be 1"),
        ("limit", {}, "'requests' is a required property"),
        ("limit", {"requests": "many"}, "$.requests: type should be integer"),
        ("keys", ["s3cret"], "$[0]: minLength should be 32"),
    ],
)
def test_malformed_control_request_is_told_what_is_wrong(
    pool: urllib3.HTTPConnectionPool, endpoint: str, body: object, told: str
) -> None:
    """The answer to a malformed control request names the place and the rule, never the value."""
    status, answer = control(pool, "POST", endpoint, body)
    assert status == 400
    assert told in answer["error"]
    assert "s3cret" not in answer["error"]


def test_control_request_that_is_not_json_is_refused(pool: urllib3.HTTPConnectionPool) -> None:
    """A body that cannot be read changes nothing."""
    response = pool.request("POST", "/simulator/limit", body=b"120")
    assert response.json() == {"error": "$: type should be ['object', 'null']"}
    response = pool.request("POST", "/simulator/limit", body=b"{")
    assert (response.status, response.json()) == (400, {"error": "the body is not JSON"})


def test_unknown_endpoint_names_the_known_ones(pool: urllib3.HTTPConnectionPool) -> None:
    """A typo is answered with the list of endpoints, a wrong method with the right ones."""
    status, answer = control(pool, "GET", "incident")
    assert status == 404
    assert "/simulator/incidents" in answer["endpoints"]
    assert control(pool, "GET", "faults") == (405, {"error": "use POST, DELETE"})


def test_log_is_silent_unless_verbose(capfd: pytest.CaptureFixture[str]) -> None:
    """One line a request on stderr if asked for, and nothing otherwise, not even for a broken connection."""
    for is_verbose in (False, True):
        with SimulatorServer(is_verbose=is_verbose) as server:
            server.pagerduty.set_faults(Fault(FaultKind.RESET))
            with urllib3.connection_from_url(server.url, retries=False) as pool:
                with pytest.raises(urllib3.exceptions.ProtocolError):
                    send(pool, trigger())
                send(pool, trigger())
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == (2 if is_verbose else 0)
    assert "closed without an answer" in lines[0]
    assert '"POST /v2/enqueue HTTP/1.1" 202' in lines[1]
