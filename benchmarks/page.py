"""The cold page: what passes from the start of a process until PagerDuty has accepted its first alert, over TLS.

    python -m benchmarks.page

The CPU time after INIT is counted at the share of a core that the memory size gets; INIT itself is not throttled.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import artifacts
from benchmarks.artifacts import MADE, Artifact
from benchmarks.emulator import ExecutionEnvironment
from benchmarks.function import AWS_MS, PAGERDUTY_MS
from benchmarks.messages import alarm, native, over_sns, webhook
from benchmarks.table import Line, print_lines, ratio
from benchmarks.tls import Authority, authority
from tests.lab.standin import Request, Response, say_yes, serve

CORE_SHARE = 512 / 1769
"""Of 512 MB: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, one vCPU at 1,769 MB."""
ROUNDS = 9
BAR = 1.25
INIT_CPU = "CPU until INIT has ended"
LATER_CPU = "CPU after INIT until the alert arrives, of a whole core"
AWS_CALLS = "calls of AWS until then"
ALERTS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "native": lambda: over_sns(native("cold")),
    "CloudWatch": lambda: over_sns(alarm("cold")),
    "Alertmanager": lambda: over_sns(webhook(1, "cold")),
}
PROBE = '''"""Imports the handler that the environment names, and prints what its init has used of the processor."""

import json
import os
import time
from importlib import import_module

module, _, name = os.environ["PROBED_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(module), name)
print(json.dumps({"init_cpu_ms": time.process_time() * 1000}), flush=True)
'''


@dataclass(frozen=True, slots=True)
class Page:
    """One cold page.

    Attributes:
        init_cpu_ms: from the start of the process until the handler is imported, with what is called on the way.
        later_cpu_ms: from then until PagerDuty has the request.
        aws_calls: made until then, INIT included.
        connections: opened until then.
    """

    init_cpu_ms: float
    later_cpu_ms: float
    aws_calls: int
    connections: int

    @property
    def milliseconds(self) -> float:
        """What a person waits for: each call counts, although those of INIT may overlap."""
        return self.init_cpu_ms + self.later_cpu_ms / CORE_SHARE + self.aws_calls * AWS_MS + PAGERDUTY_MS


class Watched:
    """AWS and PagerDuty, which note what the function has used of the processor when the first alert arrives."""

    def __init__(self) -> None:
        self.connections = 0
        self.aws_calls = 0
        self.cpu_ms = 0.0
        self._answer = say_yes(AWS_MS / 1000, PAGERDUTY_MS / 1000)

    def count_connection(self) -> None:
        """Count one more connection, until the alert has arrived."""
        self.connections += not self.cpu_ms

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        if not self.cpu_ms:
            if request.operation:
                self.aws_calls += 1
            else:
                self.cpu_ms = process_cpu_ms(self.environment.process)
        return self._answer(request)

    environment: ExecutionEnvironment


def process_cpu_ms(process: int) -> float:
    """Return what a process has used of the processor, threads that have ended included: Linux's clock of a process."""
    return time.clock_gettime((~process) << 3 | 2) * 1000


def page(artifact: Artifact, event: Mapping[str, Any], trusted: Authority) -> Page:
    """Start a function, send it one alert, and return what that took."""
    watched = Watched()
    with serve(watched.answer, watched.count_connection, trusted.server_context()) as endpoint:
        probe = replace(artifact, handler="probe.lambda_handler")
        more = {
            **trusted.environment(),
            "PYTHONPATH": f"{artifact.folder}:{MADE / 'probe'}",
            "PROBED_HANDLER": artifact.handler,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }
        with ExecutionEnvironment(probe, endpoint, more) as environment:
            watched.environment = environment
            environment.invoke(event)
            [said] = [json.loads(line) for line in environment.log().splitlines() if line.startswith('{"init_cpu_ms"')]
    if not watched.cpu_ms:
        raise RuntimeError("no alert has arrived")
    init_cpu_ms = float(said["init_cpu_ms"])
    return Page(init_cpu_ms, watched.cpu_ms - init_cpu_ms, watched.aws_calls, watched.connections)


def measure(ours: Artifact, bare: Artifact) -> list[Line]:
    """Page with each kind of alert in turn, each beside the bare function; the first round does not count."""
    bare_page = replace(bare, handler="page.lambda_handler")
    probe = MADE / "probe/probe.py"
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.write_text(PROBE)
    taken: dict[str, list[Page]] = defaultdict(list)
    beside: dict[str, list[Page]] = defaultdict(list)
    with authority() as trusted:
        for number in range(ROUNDS + 1):
            for kind, make in ALERTS.items():
                event = make()
                pair: list[tuple[Artifact, dict[str, list[Page]]]] = [(ours, taken), (bare_page, beside)]
                for artifact, pages in pair if number % 2 else pair[::-1]:
                    found = page(artifact, event, trusted)
                    if number:
                        pages[kind].append(found)
    lines = [
        ratio(
            f"cold page / a bare function's: {kind}",
            [each.milliseconds for each in taken[kind]],
            [each.milliseconds for each in beside[kind]],
            unit="ms",
            bar=BAR,
        )
        for kind in ALERTS
    ]
    whole = {
        "ours": [each for kind in taken.values() for each in kind],
        "bare": [each for kind in beside.values() for each in kind],
    }
    parts = [
        Line(what=f"{name}: {what}", values=values, unit=unit)
        for name, pages in whole.items()
        for what, unit, values in _parts(pages)
    ]
    return [*lines, *parts]


def _parts(pages: Sequence[Page]) -> list[tuple[str, str, list[float]]]:
    return [
        (INIT_CPU, "ms", [each.init_cpu_ms for each in pages]),
        (LATER_CPU, "ms", [each.later_cpu_ms for each in pages]),
        (AWS_CALLS, "", [float(each.aws_calls) for each in pages]),
        ("connections until then", "", [float(each.connections) for each in pages]),
    ]


def main() -> None:
    """Measure the cold page alone and print it."""
    ours, _, bare, _ = artifacts.make()
    print(print_lines(measure(ours, bare)))


if __name__ == "__main__":
    main()
