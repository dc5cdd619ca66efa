"""Connections that keep an attempt within its time, in spite of slow DNS, dead addresses and slow answers.

urllib3 applies a connect timeout to each address of a host and a read timeout to each packet, and does not count DNS or
a proxy's tunnel. Here everything in an attempt shares one end.
"""

import io
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from http.client import HTTPResponse
from ipaddress import ip_address
from threading import Thread
from time import monotonic, time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

CONNECT_SECONDS = 3.0
"""The limit for connecting to one address; the TLS handshake has the same limit again."""
RESERVED_ADDRESSES = 3
"""Each address gets a share of the time that leaves as much for this many others and for the answer."""
IDLE_SECONDS = 60.0
"""A connection that was not used for longer is opened again. Lambda drops idle connections, and the end of one may get
lost while the environment is frozen; a request on it would fail, or have no answer:
https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html"""
UNBOUNDED_SECONDS = 60.0
"""The end of an attempt without a time limit."""
_LAST_MOMENT_SECONDS = 0.001
"""A socket timeout of 0 would mean a non-blocking socket."""

type _Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class TimeLeft(urllib3.Timeout):
    """An attempt's time, from now to a fixed end."""

    def __init__(self, seconds: float) -> None:
        super().__init__(total=seconds)
        self._ends_at = monotonic() + seconds

    def clone(self) -> urllib3.Timeout:
        """Return itself: the end is fixed."""
        return self

    def start_connect(self) -> float:
        """Do nothing: the time runs since the attempt began."""
        return 0.0

    @property
    def connect_timeout(self) -> float:
        """The seconds left."""
        return max(self._ends_at - monotonic(), _LAST_MOMENT_SECONDS)

    @property
    def read_timeout(self) -> float:
        """The seconds left; 0 makes urllib3 raise ReadTimeoutError."""
        return max(self._ends_at - monotonic(), 0.0)


class _Bounded(HTTPConnection):
    """A connection whose `timeout` is an end: it is set in seconds, and reading it returns what is left of them."""

    _ends_at: float
    _used_at = 0.0
    """In epoch seconds: a monotonic clock may stand still while the environment is frozen."""
    _unsent: list[bytes] | None = None
    """What `request` has gathered; None where bytes are sent as they come."""

    @property
    def timeout(self) -> float:
        return max(self._ends_at - monotonic(), _LAST_MOMENT_SECONDS)

    @timeout.setter
    def timeout(self, seconds: Any) -> None:
        self._ends_at = monotonic() + (seconds if isinstance(seconds, int | float) else UNBOUNDED_SECONDS)

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be used again."""
        return self.is_recent and super().is_connected

    @property
    def is_recent(self) -> bool:
        """Whether it was opened or used a moment ago."""
        return time() - self._used_at <= IDLE_SECONDS

    def seconds_left(self) -> float:
        """Return the seconds left of the attempt's time; raise TimeoutError if there are none."""
        left = self._ends_at - monotonic()
        if left <= 0:
            raise TimeoutError("the attempt's time is over")
        return left

    def _new_conn(self) -> socket.socket:
        """Connect to the first of the host's addresses that answers."""
        self._used_at = time()
        try:
            addresses = _resolve(self._dns_host, self.port, max(self.timeout / 2, self.timeout - CONNECT_SECONDS))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"DNS did not resolve {self.host} in time") from error
        except UnicodeError as error:
            raise NewConnectionError(self, f"{self.host} is not a host name") from error
        failure: OSError = OSError("the host has no address")
        for number, address in enumerate(addresses):
            seconds = seconds_for_address(self.seconds_left(), len(addresses) - number - 1)
            try:
                sock = self._connect_to(address, seconds)
            except OSError as error:
                failure = error
            else:
                sock.settimeout(min(CONNECT_SECONDS, self.timeout))  # for the TLS handshake
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no address of {self.host} answered in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure

    def _connect_to(self, address: _Address, seconds: float) -> socket.socket:
        family, kind, protocol, _, where = address
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        if self.sock:
            self.sock.settimeout(min(CONNECT_SECONDS, self.timeout))

    def request(self, *what: Any, **more: Any) -> None:
        """Send a request, its head and its body in one packet: each packet of a small request costs as much."""
        parts: list[bytes] = []
        self._unsent, self._used_at = parts, time()
        try:
            super().request(*what, **more)
        finally:
            self._unsent = None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        """Send bytes within the rest of the attempt's time."""
        if self._unsent is not None:
            self._unsent.append(data)
            return
        if self.sock is None:
            self.connect()
        unsent = memoryview(data)
        while unsent and self.sock:
            self.sock.settimeout(self.seconds_left())
            unsent = unsent[self.sock.send(unsent) :]

    def response_class(  # type: ignore[override]  # a class, to http.client
        self, sock: socket.socket, debuglevel: int = 0, **given: Any
    ) -> HTTPResponse:
        """Return an answer that is read within the rest of the attempt's time."""
        return HTTPResponse(_Answering(sock, self.seconds_left), debuglevel, **given)  # type: ignore[arg-type]


class _BoundedTls(_Bounded, HTTPSConnection):
    """A connection over TLS whose `timeout` is an end."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is still open.

        TLS 1.3 sends session tickets after the handshake. urllib3 takes a connection with something to read for a
        dropped one, and would discard a prepared one.
        """
        if not self.is_recent:
            return False
        if super().is_connected or self.sock is None:
            return self.sock is not None
        try:
            self.sock.settimeout(0)
            self.sock.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False


@dataclass(frozen=True, slots=True)
class _Answering:
    """The part of a socket that http.client needs to read an answer."""

    sock: socket.socket
    seconds_left: Callable[[], float]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file that reads from the socket."""
        return io.BufferedReader(_Reader(self.sock, self.seconds_left))


class _Reader(io.RawIOBase):
    """Reads from a socket; each read ends when the attempt does."""

    def __init__(self, sock: socket.socket, seconds_left: Callable[[], float]) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._seconds_left = seconds_left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._seconds_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def seconds_for_address(seconds_left: float, others: int) -> float:
    """Return how long one address is tried, so that as much is left to the `others` after it, and to the answer."""
    return min(CONNECT_SECONDS, seconds_left / (min(others, RESERVED_ADDRESSES - 1) + 2))


def _resolve(host: str, port: int, seconds: float) -> Sequence[_Address]:
    """Return the host's addresses; raise TimeoutError if DNS takes longer than `seconds`.

    The resolver cannot be interrupted, so it runs on its own thread, which ends when the resolver returns.
    """
    host = host.strip("[]")
    family = allowed_gai_family()
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    found: Future[Sequence[_Address]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    Thread(target=look_up, name="dns", daemon=True).start()
    return found.result(seconds)


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS settings of all connections. Loading the system's certificates costs 20 ms, so it is done once."""
    context = urllib3.util.create_urllib3_context()
    context.load_default_certs()
    return context


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedTls

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **{"ssl_context": tls_context(), **given})

    def connect(self, seconds: float) -> None:
        """Open a connection, and keep it for the next request."""
        connection = self._get_conn()
        try:
            connection.timeout = seconds
            connection.connect()
        except BaseException:
            connection.close()
            raise
        finally:
            self._put_conn(connection)


def connect(pool: urllib3.PoolManager, url: str, seconds: float) -> None:
    """Open a connection of `make_pool` for the next request to `url`, over TLS and without a proxy; else do nothing."""
    if pool.proxy is None:
        match pool.connection_from_url(url):
            case _TlsPool() as of_host:
                of_host.connect(seconds)


def make_pool(proxy_url: str | None = None, connections: int = 10) -> urllib3.PoolManager:
    """Return a pool of such connections, through a proxy if one is given: `http://user:password@host:port`.

    `connections` are kept alive for each host.
    """
    if proxy_url:
        credentials = urllib3.util.parse_url(proxy_url).auth
        headers = urllib3.util.make_headers(proxy_basic_auth=credentials) if credentials else None
        pool: urllib3.PoolManager = urllib3.ProxyManager(proxy_url, maxsize=connections, proxy_headers=headers)
    else:
        pool = urllib3.PoolManager(maxsize=connections)
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return pool
