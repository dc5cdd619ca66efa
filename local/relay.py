"""Makes this machine's loopback ports available inside a container, over Unix sockets in a shared folder.

Runs on both sides with only the standard library. In the container it is also the function's handler.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PORTS_VARIABLE = "LOCAL_PORTS"
FOLDER = ".host"
"""In the function's folder, the only one that `sam local invoke` mounts."""
DOCKER_DESKTOP = "host.docker.internal"
"""The host's name inside containers, for machines that cannot share Unix sockets with them."""


def relay(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Forward each connection of the listener to one that `connect` opens, until the listener is closed."""

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = connect()
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def offer(port: int, folder: Path) -> socket.socket:
    """Offer a loopback port of this machine as a Unix socket in a folder; return its listener, to be closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / f"{port}.sock"))
    listener.listen(64)
    relay(listener, lambda: socket.create_connection(("127.0.0.1", port), timeout=60))
    return listener


def take(port: int, folder: Path) -> None:
    """Make an offered port available on this container's loopback while the process lives."""
    listener = socket.create_server(("127.0.0.1", port), backlog=64)

    def connect() -> socket.socket:
        host = socket.socket(socket.AF_UNIX)
        try:
            host.connect(str(folder / f"{port}.sock"))
        except OSError:
            host.close()
            return socket.create_connection((DOCKER_DESKTOP, port), timeout=60)
        return host

    relay(listener, connect)


if os.environ.get(PORTS_VARIABLE):  # in the container, where the runtime imports this module as the handler
    for _port in os.environ[PORTS_VARIABLE].split(","):
        take(int(_port), Path(__file__).parent / FOLDER)
    from handler.app import lambda_handler as lambda_handler
