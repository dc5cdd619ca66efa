"""Connections: an attempt keeps its time, however many addresses a host has and however many of them are dead."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any, Self

import pytest
import urllib3
from urllib3.util.wait import wait_for_read

from handler.pagerduty import connections
from handler.pagerduty.client import Attempt, PagerDutyClient
from handler.pagerduty.connections import CONNECT_SECONDS, IDLE_SECONDS, TimeLeft, make_pool, tls_context
from handler.pagerduty.errors import ApiConnectionError, ApiTimeoutError, NoAnswerError, PublishError
from handler.pagerduty.events import Action, Event
from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import PagerDuty
from local.simulator.server import SimulatorServer
from tests.lab.clock import Clock
from tests.lab.secrets import ROUTING_KEY

RESOLVE = Event(action=Action.RESOLVE, dedup_key="db/cpu")
HOST = "events.pagerduty.test"
ROUND_TRIP_SECONDS = 0.1
MOST_TAKEN_BYTES = 10
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\n\r\n{"dedup_key":"k"}'


# --- A network on the test's clock ---


@dataclass
class Network:
    """Addresses that answer, refuse, or drop packets; connecting to a dead one takes the socket's whole timeout."""

    clock: Clock
    addresses: dict[str, str] = field(default_factory=dict)
    tried: list[tuple[str, float]] = field(default_factory=list)
    sent: bytes = b""
    packets: int = 0
    largest: int = MOST_TAKEN_BYTES

    def getaddrinfo(self, host: str, port: int, *_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


class Wire:
    """A socket of that network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.timeout = 0.0
        self.answer = memoryview(ACCEPTED)

    def __call__(self, *_: Any) -> Self:
        return self

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def setsockopt(self, *_: Any) -> None: ...

    def close(self) -> None: ...

    def connect(self, where: tuple[str, int]) -> None:
        self.network.tried.append((where[0], self.timeout))
        match self.network.addresses[where[0]]:
            case "dead":
                self.network.clock.advance(self.timeout)
                raise TimeoutError("timed out")
            case "refused":
                raise ConnectionRefusedError("refused")
        self.network.clock.advance(ROUND_TRIP_SECONDS)

    def send(self, data: Any) -> int:
        """Take some of it, as a socket whose buffer is nearly full."""
        part = bytes(data[: self.network.largest])
        self.network.sent += part
        self.network.packets += 1
        return len(part)

    def makefile(self, *_: Any, **__: Any) -> Self:
        return self

    def readinto(self, buffer: Any) -> int:
        """Answer a byte at a time; a whole one where the address answers, one a second where it trickles."""
        if "trickles" in self.network.addresses.values():
            self.network.clock.advance(1.0)
            buffer[:1] = b" "
            return 1
        part, self.answer = self.answer[: len(buffer)], self.answer[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network(Clock())
    monkeypatch.setattr(connections, "monotonic", network.clock)
    monkeypatch.setattr(socket, "getaddrinfo", network.getaddrinfo)
    monkeypatch.setattr(socket, "socket", lambda *_: Wire(network))
    return network


def send(network: Network, addresses: list[str], **settings: Any) -> tuple[list[Attempt], float, PublishError | None]:
    """Send an event; return the attempts, how many seconds it took, and how it failed."""
    network.addresses = {f"192.0.2.{number}": kind for number, kind in enumerate(addresses)}
    clock, attempts, deadline = network.clock, list[Attempt](), settings.pop("deadline_seconds", None)
    client = PagerDutyClient(
        base_url=f"http://{HOST}",
        clock=clock,
        sleep=clock.sleep,
        random=lambda: 1.0,
        on_attempt=attempts.append,
        **settings,
    )
    started = clock()
    try:
        client.send(RESOLVE, ROUTING_KEY, deadline=deadline and started + deadline)
    except PublishError as error:
        return attempts, clock() - started, error
    return attempts, clock() - started, None


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_a_dead_address_costs_one_connect_timeout_and_then_the_live_one_is_used(network: Network, dead: int) -> None:
    """Ten seconds are enough for two dead addresses of three, within one attempt."""
    attempts, seconds, error = send(network, ["dead"] * dead + ["live"])
    assert error is None
    assert [attempt.status for attempt in attempts] == ["202"]
    assert seconds <= dead * CONNECT_SECONDS + ROUND_TRIP_SECONDS
    assert all(timeout <= CONNECT_SECONDS for _, timeout in network.tried)


@pytest.mark.parametrize("refused", [1, 5])
def test_an_address_that_refuses_costs_no_time(network: Network, refused: int) -> None:
    """The next one is tried at once."""
    attempts, seconds, error = send(network, ["refused"] * refused + ["live"])
    assert error is None
    assert seconds == pytest.approx(ROUND_TRIP_SECONDS)
    assert [attempt.status for attempt in attempts] == ["202"]


@pytest.mark.parametrize("dead", [1, 3, 8, 100])
def test_an_attempt_never_outlasts_its_time_however_many_addresses_are_dead(network: Network, dead: int) -> None:
    """Three dead ones used to take three times as long as one."""
    attempts, _, error = send(network, ["dead"] * dead, timeout_seconds=10.0, max_retries=3)
    assert isinstance(error, ApiTimeoutError)
    assert not error.may_have_arrived
    assert [attempt.status for attempt in attempts] == ["timeout"] * 4
    assert all(attempt.milliseconds <= 10_000 for attempt in attempts)


@pytest.mark.parametrize("dead", [1, 3, 8])
@pytest.mark.parametrize("deadline_seconds", [0.6, 5.0, 57.0])
def test_send_returns_before_its_deadline(network: Network, dead: int, deadline_seconds: float) -> None:
    """However few seconds are left when it begins."""
    _, seconds, error = send(network, ["dead"] * dead, max_retries=10, deadline_seconds=deadline_seconds)
    assert isinstance(error, NoAnswerError)
    assert seconds < deadline_seconds


def test_little_time_is_shared_so_that_a_live_address_has_its_chance(network: Network) -> None:
    """Of two seconds a dead address may not take all."""
    attempts, seconds, error = send(network, ["dead", "dead", "live"], deadline_seconds=2.0)
    assert error is None
    assert len(attempts) == 1
    assert seconds < 2.0


def test_an_answer_that_trickles_ends_with_the_attempt(network: Network) -> None:
    """Each byte comes in time, and the whole never: urllib3's timeout is for each read."""
    attempts, _, error = send(network, ["trickles"], timeout_seconds=10.0, max_retries=0)
    assert isinstance(error, ApiTimeoutError)
    assert error.may_have_arrived
    assert attempts[0].milliseconds <= 11_000  # the read that was under way when time ran out


def test_a_host_without_an_address_is_a_connection_error(network: Network) -> None:
    """Nothing can have arrived there."""
    _, _, error = send(network, [], max_retries=0)
    assert isinstance(error, ApiConnectionError)
    assert not error.may_have_arrived


def test_a_request_is_sent_whole_however_little_the_socket_takes_at_once(network: Network) -> None:
    """Its length is in its own header."""
    _, _, error = send(network, ["live"])
    head, _, body = network.sent.partition(b"\r\n\r\n")
    assert error is None
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    assert len(body) > MOST_TAKEN_BYTES


def test_a_request_is_one_packet(network: Network) -> None:
    """Head and body: the second one would cost as much as the first."""
    network.largest = 10_000
    _, _, error = send(network, ["live"])
    assert error is None
    assert b"routing_key" in network.sent
    assert network.packets == 1


# --- DNS ---


def test_dns_that_hangs_ends_with_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver cannot be interrupted, and nobody waits for it."""
    resolved = threading.Event()

    def hang(*_: Any) -> list[Any]:
        resolved.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    client = PagerDutyClient(base_url=f"http://{HOST}", timeout_seconds=0.1, max_retries=0)
    with pytest.raises(ApiTimeoutError) as raised:
        client.send(RESOLVE, ROUTING_KEY)
    assert not raised.value.may_have_arrived
    resolved.set()


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_name_that_is_unknown_is_a_connection_error(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """And none that a request can have reached."""

    def fail(*_: Any) -> list[Any]:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ApiConnectionError) as raised:
        PagerDutyClient(base_url=f"http://{HOST}", max_retries=0).send(RESOLVE, ROUTING_KEY)
    assert not raised.value.may_have_arrived


# --- Real sockets ---


@contextlib.contextmanager
def black_holes(port: int, *addresses: str) -> Iterator[int]:
    """Listen at addresses with queues that are full: Linux drops further SYNs, so connecting hangs."""
    with contextlib.ExitStack() as kept:
        for address in addresses:
            listener = kept.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            for _ in range(3):
                waiting = kept.enter_context(socket.socket())
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect((address, port))
        yield port


def test_with_two_of_three_addresses_black_holes_the_first_attempt_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel has it, and not only the test's network."""
    with SimulatorServer(PagerDuty(Clock())) as server:
        port = int(server.url.rpartition(":")[2])
        with black_holes(port, "127.0.0.2", "127.0.0.3"):
            found = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in ("127.0.0.2", "127.0.0.3", "127.0.0.1")
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            attempts: list[Attempt] = []
            client = PagerDutyClient(base_url=f"http://{HOST}:{port}", timeout_seconds=2.0, on_attempt=attempts.append)
            client.send(RESOLVE, ROUTING_KEY)
    assert [attempt.status for attempt in attempts] == ["202"]


def test_the_connection_is_kept_across_calls() -> None:
    """Accepted, refused and failed requests all leave it usable, with its timeouts set anew each time."""
    with SimulatorServer(PagerDuty(Clock())) as server, make_pool() as pool:
        server.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503), Fault(FaultKind.STATUS, status=400))
        client = PagerDutyClient(base_url=server.url, pool=pool, sleep=lambda _: None)
        with pytest.raises(PublishError):
            client.resolve_event(ROUTING_KEY, "db/cpu")
        for _ in range(3):
            client.resolve_event(ROUTING_KEY, "db/cpu")
        kept = pool.connection_from_url(server.url)
        assert (kept.num_requests, kept.num_connections) == (5, 1)


def test_time_left_runs_on() -> None:
    """It starts with the attempt, not with each request that urllib3 makes of it."""
    left = TimeLeft(10.0)
    assert left.clone() is left
    left.start_connect()
    assert 10.0 >= left.connect_timeout >= left.read_timeout > 0
    over = TimeLeft(1e-9)
    assert over.read_timeout == 0
    assert over.connect_timeout > 0


# --- TLS and proxies ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost, with its key."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = [
        *request.split(),
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(path),
        "-out",
        str(path) + ".crt",
    ]
    subprocess.run(made, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Handle each connection to a port on a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=handle, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def read_request(connection: socket.socket) -> bytes:
    request = b""
    while not request.endswith(b"}") and (more := connection.recv(65536)):
        request += more
    return request


@pytest.fixture
def pagerduty_over_tls(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            while read_request(secured):
                secured.sendall(ACCEPTED)

    with serving(handle) as port:
        yield port


@pytest.fixture
def trusted(certificate: Path) -> Iterator[ssl.SSLContext]:
    """The context of all connections, trusting that certificate too."""
    tls_context.cache_clear()
    context = tls_context()
    context.load_verify_locations(certificate)
    yield context
    tls_context.cache_clear()


def test_one_tls_context_serves_all_hosts(trusted: ssl.SSLContext) -> None:
    """Loading the system's certificates for each connection would cost 20 ms of CPU."""
    for pool in (make_pool(), make_pool(), make_pool("http://127.0.0.1:3128")):
        for host in ("events.pagerduty.com", "events.eu.pagerduty.com"):
            kept = pool.connection_from_host(host, scheme="https")
            assert kept.conn_kw["ssl_context"] is trusted
    assert (trusted.check_hostname, trusted.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_an_event_is_sent_over_tls(pagerduty_over_tls: int, trusted: ssl.SSLContext) -> None:
    """Twice over one connection."""
    with make_pool() as pool:
        client = PagerDutyClient(base_url=f"https://localhost:{pagerduty_over_tls}", pool=pool)
        assert [client.resolve_event(ROUTING_KEY, "k").dedup_key for _ in range(2)] == ["k", "k"]
        kept = pool.connection_from_host("localhost", pagerduty_over_tls, "https")
        assert kept.num_connections == 1


def opened_ahead(client: PagerDutyClient, pool: urllib3.PoolManager, port: int) -> Any:
    """Open a connection and return it, once the server has sent something after the handshake: session tickets."""
    client.connect()
    kept = pool.connection_from_host("localhost", port, "https").pool
    assert kept is not None
    [connection] = [each for each in kept.queue if each]
    assert wait_for_read(connection.sock, timeout=10)
    return connection


def test_a_connection_opened_ahead_carries_the_first_request(pagerduty_over_tls: int, trusted: ssl.SSLContext) -> None:
    """The session tickets of TLS 1.3, which wait to be read, do not make it look like a dropped one."""
    with make_pool() as pool:
        client = PagerDutyClient(base_url=f"https://localhost:{pagerduty_over_tls}", pool=pool)
        connection = opened_ahead(client, pool, pagerduty_over_tls)
        socket_of_it = connection.sock
        assert client.resolve_event(ROUTING_KEY, "k").attempts == 1
        assert connection.sock is socket_of_it


def test_a_connection_that_the_server_has_closed_meanwhile_is_opened_again(
    certificate: Path, trusted: ssl.SSLContext
) -> None:
    """The first request then needs no second attempt."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handshakes: list[str | None] = []

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            handshakes.append(secured.version())
            if len(handshakes) > 1 and read_request(secured):
                secured.sendall(ACCEPTED)

    with serving(handle) as port, make_pool() as pool:
        client = PagerDutyClient(base_url=f"https://localhost:{port}", pool=pool)
        connection = opened_ahead(client, pool, port)
        while connection.is_connected:
            assert wait_for_read(connection.sock, timeout=10)
        assert client.resolve_event(ROUTING_KEY, "k").attempts == 1
        assert len(handshakes) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_was_dropped_unseen_is_opened_again(
    scheme: str, certificate: Path, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end got lost while the execution environment was frozen: a request on it would be reset."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    opened: list[int] = []

    def handle(connection: socket.socket) -> None:
        opened.append(len(opened))
        connection.settimeout(10)
        secured = context.wrap_socket(connection, server_side=True) if scheme == "https" else connection
        with secured, contextlib.suppress(OSError):
            if read_request(secured):
                secured.sendall(ACCEPTED)
            read_request(secured)

    with serving(handle) as port, make_pool() as pool:
        client = PagerDutyClient(base_url=f"{scheme}://localhost:{port}", pool=pool)
        assert client.resolve_event(ROUTING_KEY, "k").attempts == 1
        later = time() + IDLE_SECONDS + 1
        monkeypatch.setattr(connections, "time", lambda: later)
        assert client.resolve_event(ROUTING_KEY, "k").attempts == 1
        assert len(opened) == 2


def test_nothing_is_opened_ahead_without_tls_or_through_a_proxy() -> None:
    """Nobody listens at these ports: connecting would raise."""
    PagerDutyClient(base_url="http://127.0.0.1:9").connect()
    PagerDutyClient(proxy_url="http://127.0.0.1:9").connect()


def test_a_server_that_nobody_vouches_for_gets_nothing(pagerduty_over_tls: int) -> None:
    """Neither does one with another host's certificate."""
    tls_context.cache_clear()
    client = PagerDutyClient(base_url=f"https://localhost:{pagerduty_over_tls}", max_retries=0)
    with pytest.raises(ApiConnectionError, match="SSLError"):
        client.resolve_event(ROUTING_KEY, "k")


def test_a_server_with_anothers_certificate_gets_nothing(pagerduty_over_tls: int, trusted: ssl.SSLContext) -> None:
    """The certificate is trusted, and for another name."""
    client = PagerDutyClient(base_url=f"https://127.0.0.1:{pagerduty_over_tls}", max_retries=0)
    with pytest.raises(ApiConnectionError, match="SSLError"):
        client.resolve_event(ROUTING_KEY, "k")


@contextlib.contextmanager
def proxy(port: int, requests: list[bytes], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Iterator[int]:
    """A proxy that joins each tunnel to a port."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def handle(connection: socket.socket) -> None:
        with connection:
            request = b""
            while not request.endswith(b"\r\n\r\n") and (more := connection.recv(65536)):
                request += more
            requests.append(request)
            connection.sendall(answer)
            if b" 200 " not in answer:
                return
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                back = threading.Thread(target=pump, args=(upstream, connection))
                back.start()
                pump(connection, upstream)
                back.join()

    with serving(handle) as proxy_port:
        yield proxy_port


def test_a_proxy_carries_requests_that_it_cannot_read(pagerduty_over_tls: int, trusted: ssl.SSLContext) -> None:
    """It gets its credentials and the host, and not the routing key."""
    requests: list[bytes] = []
    with proxy(pagerduty_over_tls, requests) as port:
        url = f"http://user:password@127.0.0.1:{port}"
        pool = make_pool(url)
        client = PagerDutyClient(base_url=f"https://localhost:{pagerduty_over_tls}", pool=pool)
        assert client.resolve_event(ROUTING_KEY, "k").dedup_key == "k"
        pool.clear()
    (request,) = requests
    assert request.startswith(f"CONNECT localhost:{pagerduty_over_tls} ".encode())
    assert b"authorization: Basic dXNlcjpwYXNzd29yZA==" in request.replace(b"Proxy-A", b"a")
    assert ROUTING_KEY.encode() not in request


def test_a_proxy_that_refuses_is_a_connection_error_without_its_password(trusted: ssl.SSLContext) -> None:
    """The error names PagerDuty's URL, not the proxy's."""
    with proxy(9, [], b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as port:
        client = PagerDutyClient(proxy_url=f"http://user:password@127.0.0.1:{port}", max_retries=0)
        with pytest.raises(ApiConnectionError) as raised:
            client.resolve_event(ROUTING_KEY, "k")
    assert "password" not in str(raised.value)
    assert not raised.value.may_have_arrived


def test_a_proxy_that_says_nothing_ends_with_the_attempt(trusted: ssl.SSLContext) -> None:
    """urllib3 does not count the tunnel as part of the request's time."""
    over = threading.Event()

    def hang(connection: socket.socket) -> None:
        with connection:
            over.wait()

    with serving(hang) as port:
        client = PagerDutyClient(proxy_url=f"http://127.0.0.1:{port}", max_retries=0, timeout_seconds=0.1)
        try:
            with pytest.raises(ApiTimeoutError):
                client.resolve_event(ROUTING_KEY, "k")
        finally:
            over.set()


def test_the_pool_of_a_client_without_a_proxy_has_none() -> None:
    """urllib3 reads no environment variables, and neither does the client."""
    assert not isinstance(make_pool(), urllib3.ProxyManager)
    assert isinstance(make_pool("http://127.0.0.1:3128"), urllib3.ProxyManager)
