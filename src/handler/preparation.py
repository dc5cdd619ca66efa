"""What the first page needs, made at INIT: there the processor is not throttled, and nobody waits for an answer yet.

Connections and the targets cost a new execution environment more than all else it does before its first request to
PagerDuty. Whatever fails here is done again, and reported, when it is needed.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Thread

SECONDS = 1.0
"""How long INIT waits: a service that is slow shall not keep a page that could go out without it."""
INITIALIZATION_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime"""
_STAYS_CONNECTED = ("on-demand", "provisioned-concurrency")
"""A snapshot of SnapStart would hold connections that are long closed, and secrets that are long changed."""


def is_of_use(environ: Mapping[str, str]) -> bool:
    """Return whether this is an execution environment of Lambda's that lives on after INIT."""
    return environ.get(INITIALIZATION_TYPE) in _STAYS_CONNECTED


def prepare(steps: Iterable[Callable[[], object]], seconds: float = SECONDS) -> None:
    """Take all steps at once, each on its own thread; wait for them until `seconds` are over. Never raises."""
    ends_at = time.monotonic() + seconds
    threads = [Thread(target=_quietly, args=(step,), name="preparation", daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))


def _quietly(step: Callable[[], object]) -> None:
    with suppress(Exception):  # the first delivery meets the same, and reports it
        step()
