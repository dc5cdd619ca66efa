"""Serve the simulator until told to stop: `python -m local.simulator --port 8080`."""

import argparse
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from local.simulator.pagerduty import PagerDuty, RateLimit
from local.simulator.server import SimulatorServer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description="A PagerDuty for this machine.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--rate-limit", type=int, metavar="N", help="requests a routing key has in a rolling minute")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="where to write the URL once it serves")
    parser.add_argument("--verbose", action="store_true", help="log every request")
    options = parser.parse_args(arguments)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    limit = None if options.rate_limit is None else RateLimit(options.rate_limit)
    with SimulatorServer(PagerDuty(time.time, limit=limit), port=options.port, is_verbose=options.verbose) as server:
        if options.ready_file is not None:
            _write_whole(options.ready_file, server.url)
        print(f"PagerDuty simulator: {server.url}", flush=True)
        stopped.wait()


def _write_whole(path: Path, text: str) -> None:
    """Write a file that no reader sees half written."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text + "\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
