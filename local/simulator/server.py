"""The simulator over HTTP, on the loopback interface only: it carries out what the core's answers say."""

import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from local.simulator.control import PREFIX, control
from local.simulator.faults import Answer
from local.simulator.page import look
from local.simulator.pagerduty import PagerDuty

HOST = "127.0.0.1"
# Well over PagerDuty's own limit, which the core enforces; larger bodies are not read.
MAX_BODY_BYTES = 8 * 1024 * 1024
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


def _is_loopback(host: str) -> bool:
    """Return whether a `Host` names this machine.

    A page of another site can make its own name lead to 127.0.0.1, and a browser would let it read the answers. Nobody
    can own a name that ends in `.test` (RFC 6761).
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".test") or ip_address(name).is_loopback
    except ValueError:
        return False


class SimulatorServer:
    """A simulator that serves from its own thread while the context lasts.

    Attributes:
        pagerduty: the account that it serves.
        url: where it serves, such as `http://127.0.0.1:40123`.
    """

    def __init__(
        self,
        pagerduty: PagerDuty | None = None,
        *,
        port: int = 0,
        sleep: Callable[[float], object] = time.sleep,
        is_verbose: bool = False,
    ) -> None:
        """Bind the port (0: any that is free), without serving yet.

        Raises:
            OSError: the port is in use.
        """
        self.pagerduty = pagerduty or PagerDuty(time.time)
        self._server = _Server(self.pagerduty, port, sleep, is_verbose)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True)
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop serving, and close the connections that senders keep alive."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port = False
    request_queue_size = 1024  # the default of 5 delays a storm's connections by a second

    def __init__(self, pagerduty: PagerDuty, port: int, sleep: Callable[[float], object], is_verbose: bool) -> None:
        self.pagerduty = pagerduty
        self.sleep = sleep
        self.is_verbose = is_verbose
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer would ask the DNS for a name
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a sender that did not wait is no error
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def _serve(self) -> None:
        try:
            length = self._body_length()
        except ValueError as error:
            self.close_connection = True
            self._send(Answer(HTTPStatus.BAD_REQUEST, {"error": str(error)}))
            return
        body = self.rfile.read(length)
        if len(body) < length:  # the sender has gone
            self.close_connection = True
            return
        if not _is_loopback(self.headers.get("Host", HOST)):
            self._send(Answer(HTTPStatus.MISDIRECTED_REQUEST, {"error": f"the simulator is {HOST}, and nothing else"}))
            return
        url = urlsplit(self.path)
        path = url.path
        if (shown := look(self.server.pagerduty, self.command, path, url.query)) is not None:
            self._send(shown)
        elif path.startswith(PREFIX):
            self._send(control(self.server.pagerduty, self.command, path, body))
        else:
            self._send(self.server.pagerduty.handle(self.command, path, body))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def _body_length(self) -> int:
        if "Transfer-Encoding" in self.headers:
            raise ValueError("a body needs a Content-Length")
        length = int(self.headers.get("Content-Length", 0))
        if not 0 <= length <= MAX_BODY_BYTES:
            raise ValueError(f"a body may have {MAX_BODY_BYTES} bytes")
        return length

    def _send(self, answer: Answer) -> None:
        if answer.delay_seconds:
            self.server.sleep(answer.delay_seconds)
        if answer.status is None:
            self._hang_up(answer.resets)
            return
        is_text = isinstance(answer.body, str)
        body = str(answer.body).encode() if is_text else json.dumps(answer.body).encode()
        if answer.status in _BODILESS:
            body = b""
        self.send_response(answer.status)
        for name, value in {"Content-Type": "text/html" if is_text else "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if not answer.trickle_seconds:
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            self.server.sleep(answer.trickle_seconds)

    def _hang_up(self, resets: bool) -> None:
        self.log_request("closed without an answer")
        self.close_connection = True
        if resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
            # Closed here, below the socket object: its own way of closing would first end the connection in order.
            socket.close(self.connection.detach())

    def log_message(self, format: str, *args: object) -> None:
        if self.server.is_verbose:
            super().log_message(format, *args)
