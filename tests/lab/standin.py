"""AWS and PagerDuty for measurements: one small HTTP server on the loopback interface, connections kept alive.

    python -m tests.lab.standin --aws-ms 5 --pagerduty-ms 50

Run so, in a process of its own, it knows no state and says yes to everything; `serve` takes other answers.
"""

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import IO, cast

from local.stack import ROOT, ROUTING_KEY

HOST = "127.0.0.1"
SECRET_NAME = "pagerduty/bench"
SECRET = json.dumps({"name": "bench", "type": "pagerduty", "headers": {"routing_key": ROUTING_KEY}})
ACCEPTED = {"status": "success", "message": "Event processed", "dedup_key": "bench"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `operation` is AWS's name of the call, empty for PagerDuty."""

    path: str
    operation: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A JSON answer, and how long it takes."""

    status: int
    body: bytes
    delay_seconds: float = 0.0


type Answering = Callable[[Request], Response]


def say_yes(aws_seconds: float, pagerduty_seconds: float) -> Answering:
    """Return a handler that accepts every write and event, and has one target."""
    ok = Response(200, b"{}", aws_seconds)
    answers = {
        "SendMessage": Response(200, b'{"MessageId": "m-1"}', aws_seconds),
        "BatchGetSecretValue": Response(
            200, json.dumps({"SecretValues": [{"Name": SECRET_NAME, "SecretString": SECRET}]}).encode(), aws_seconds
        ),
        "GetSecretValue": Response(
            200, json.dumps({"Name": SECRET_NAME, "SecretString": SECRET}).encode(), aws_seconds
        ),
    }
    accepted = Response(202, json.dumps(ACCEPTED).encode(), pagerduty_seconds)
    return lambda request: answers.get(request.operation, ok) if request.operation else accepted


class _Connection(asyncio.Protocol):
    """One kept-alive connection; requests come one after another."""

    def __init__(self, answering: Answering, on_connection: Callable[[], None]) -> None:
        self._answering = answering
        self._on_connection = on_connection
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._on_connection()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = rest[length:]
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        response = self._answering(Request(first.split(" ")[1], operation, rest[:length]))
        if response.delay_seconds:
            asyncio.get_running_loop().call_later(response.delay_seconds, self._send, response)
        else:
            self._send(response)

    def _send(self, response: Response) -> None:
        head = f"HTTP/1.1 {response.status} -\r\nContent-Type: application/json\r\nContent-Length: {len(response.body)}"
        self._transport.write(head.encode() + b"\r\n\r\n" + response.body)


@contextmanager
def serve(
    answering: Answering, on_connection: Callable[[], None] = lambda: None, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve from a thread of this process and return the URL. `on_connection` is called for each new connection."""
    started: Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def run() -> None:
        stop = asyncio.Event()
        server = await _listen(answering, on_connection, tls)
        started.put((_url(server, tls), asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()
        server.close_clients()
        await server.wait_closed()

    thread = Thread(target=asyncio.run, args=(run(),), name="stand-in", daemon=True)
    thread.start()
    url, loop, stop = started.get(timeout=10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _listen(
    answering: Answering, on_connection: Callable[[], None], tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(answering, on_connection), HOST, 0, backlog=1024, ssl=tls)


def _url(server: asyncio.Server, tls: ssl.SSLContext | None = None) -> str:
    return f"{'https' if tls else 'http'}://{HOST}:{server.sockets[0].getsockname()[1]}"


@contextmanager
def running(*, aws_ms: float = 0.0, pagerduty_ms: float = 0.0) -> Iterator[str]:
    """Run the stand-in that accepts everything in its own process, and return the URL."""
    command = [sys.executable, "-m", "tests.lab.standin", f"--aws-ms={aws_ms}", f"--pagerduty-ms={pagerduty_ms}"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            yield cast(IO[str], process.stdout).readline().strip()
        finally:
            process.terminate()


async def _serve_for_ever(answering: Answering) -> None:
    server = await _listen(answering, lambda: None)
    print(_url(server), flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.standin")
    parser.add_argument("--aws-ms", type=float, default=0.0)
    parser.add_argument("--pagerduty-ms", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(_serve_for_ever(say_yes(options.aws_ms / 1000, options.pagerduty_ms / 1000)))


if __name__ == "__main__":
    main()
