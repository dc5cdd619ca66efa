"""Prepares what the first page needs at INIT, where the CPU is not throttled and no alert waits yet.

Opening connections and reading the targets take a new execution environment longer than everything else before its
first request to PagerDuty. What fails here is repeated, and reported, when it is needed.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Thread

SECONDS = 1.0
"""How long INIT waits: a slow service must not delay a page that can go out without it."""
INITIALIZATION_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""Says how the environment was started:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime"""
_STAYS_CONNECTED = ("on-demand", "provisioned-concurrency")
"""A SnapStart snapshot would contain closed connections and outdated secrets."""


def is_of_use(environ: Mapping[str, str]) -> bool:
    """Return whether this is a Lambda execution environment that is used directly after INIT."""
    return environ.get(INITIALIZATION_TYPE) in _STAYS_CONNECTED


def prepare(steps: Iterable[Callable[[], object]], seconds: float = SECONDS) -> None:
    """Run all steps at once, each on its own thread, and wait up to `seconds` for them. Never raises."""
    ends_at = time.monotonic() + seconds
    threads = [Thread(target=_quietly, args=(step,), name="preparation", daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))


def _quietly(step: Callable[[], object]) -> None:
    with suppress(Exception):  # the first delivery fails the same way, and reports it
        step()
