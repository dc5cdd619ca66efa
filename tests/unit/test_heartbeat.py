"""The heartbeat: one GET, no redirect, nothing raised, and its URL never shown."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import urllib3

from handler.heartbeat import Heartbeat, ping
from local.stack import free_port

SECRET = "/ping/5a1b-secret"


@dataclass
class Switch:
    """A dead man's switch on this machine."""

    url: str = ""
    status: int = 200
    location: str = ""
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def switch() -> Iterator[Switch]:
    switch = Switch()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            switch.paths.append(self.path)
            self.send_response(switch.status)
            if switch.location:
                self.send_header("Location", switch.location)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        switch.url = f"http://127.0.0.1:{server.server_port}{SECRET}"
        yield switch
        server.shutdown()
        thread.join()


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager() as pool:
        yield pool


def test_a_heartbeat_is_one_request(switch: Switch, pool: urllib3.PoolManager) -> None:
    assert ping(pool, switch.url) == ""
    assert switch.paths == [SECRET]


def test_each_beat_is_a_ping_of_the_url(switch: Switch) -> None:
    """With a pool of its own, and what went wrong is returned."""
    heartbeat = Heartbeat(switch.url, None)
    assert heartbeat.beat() == ""
    switch.status = 404
    assert heartbeat.beat() == "heartbeat: 127.0.0.1 answers 404: check HeartbeatUrl"
    assert switch.paths == [SECRET, SECRET]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(switch: Switch, pool: urllib3.PoolManager, status: int) -> None:
    switch.status, switch.location = status, switch.url.replace("127.0.0.1", "localhost") + "/elsewhere"
    said = ping(pool, switch.url)
    assert said == ("heartbeat: 127.0.0.1 redirects to localhost: set HeartbeatUrl to the address it redirects to")
    assert switch.paths == [SECRET]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_is_reported_once_and_not_repeated(switch: Switch, pool: urllib3.PoolManager, status: int) -> None:
    switch.status = status
    assert ping(pool, switch.url) == f"heartbeat: 127.0.0.1 answers {status}: check HeartbeatUrl"
    assert len(switch.paths) == 1


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{free_port()}{SECRET}", f"ftp://x{SECRET}", f"http://[{SECRET}", f"https://:x{SECRET}"],
)
def test_nothing_is_raised_and_no_url_is_shown(pool: urllib3.PoolManager, url: str) -> None:
    said = ping(pool, url)
    assert said.startswith("heartbeat: ")
    assert "secret" not in said


def test_a_switch_that_hangs_costs_its_timeout(pool: urllib3.PoolManager) -> None:
    """It accepts and says nothing; the request ends by itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{SECRET}"
        assert ping(pool, url, 0.05) == "heartbeat: 127.0.0.1 does not answer: ReadTimeoutError"
