"""Measure everything, print the tables, and write them to `results.md`: `make bench`.

Needs what the Makefile installs and builds, Linux, and no network.
"""

import os
import platform
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from subprocess import run
from time import perf_counter

from benchmarks import artifacts, calls, function, page, storm, warm
from benchmarks.artifacts import BUILT
from benchmarks.costs import MEMORY_GB, Cost, Durations, Memory, Prices, cost_of, idle_month, memory_curve
from benchmarks.emulator import EMULATOR, PYTHON
from benchmarks.table import Line, aligned, print_lines
from local.stack import ROOT
from tests.lab.template import deployed

RESULTS = Path(__file__).with_name("results.md")
MEASURED = ("boto3", "botocore", "aws-lambda-powertools", "pydantic", "urllib3")
COMPARED = ("awslambdaric", "pagerduty", "pdpyras")


def print_calls(counted: Mapping[str, calls.Calls]) -> str:
    """Return the table of what each kind of delivery calls."""
    headings = ("one alert, alone in its invocation", "DynamoDB", "write units", "read units", "SQS", "Secrets Manager")
    rows = [
        [
            kind,
            str(each.dynamodb),
            f"{each.write_units:g}",
            f"{each.read_units:g}",
            str(each.sqs),
            str(each.secrets_manager),
            str(each.pagerduty),
            f"{each.log_bytes:,}",
        ]
        for kind, each in counted.items()
    ]
    return aligned((*headings, "PagerDuty", "log bytes"), rows)


def print_costs(counted: Mapping[str, calls.Calls], durations: Durations, prices: Prices) -> str:
    """Return the table of what a million of each kind cost."""
    names = [field.name for field in fields(Cost)]
    rows = []
    for kind, each in counted.items():
        cost = cost_of(each, durations, prices)
        rows.append([kind, *(f"{getattr(cost, name):.2f}" for name in names), f"{cost.total:.2f}"])
    return aligned(("a million of them, in dollars", *names, "total"), rows)


def print_idle(items: Mapping[str, float]) -> str:
    """Return the table of what a month costs in which nothing happens."""
    *rest, (dashboard, its_dollars) = items.items()
    without = sum(dollars for _, dollars in rest)
    rows = [*rest, ["without the dashboard", without], [dashboard, its_dollars], ["total", without + its_dollars]]
    return aligned(("an idle month, in dollars", ""), [[str(what), f"{dollars:.2f}"] for what, dollars in rows])


def idle_bars(items: Mapping[str, float]) -> list[Line]:
    """Return what an idle month costs against its bars."""
    *rest, dashboard = items.values()
    return [
        Line(what="an idle month, without the dashboard", values=[sum(rest)], unit="US$", bar=6),
        Line(what="the dashboard", values=[dashboard], unit="US$", bar=3),
    ]


def print_memory(sizes: Iterable[Memory]) -> str:
    """Return the table of latency and cost by memory size."""
    rows = [
        [f"{it.size} MB", *(f"{ms:.0f} ms" for ms in (it.cold_ms, it.warm_ms, it.hundred_ms)), f"{it.dollars:.2f}"]
        for it in sizes
    ]
    headings = ("memory", "cold page", "warm page", "CPU of 100 alerts", "dollars of Lambda's, a million pages")
    return aligned(headings, rows)


def describe_machine() -> str:
    """Return what this ran on."""
    cpu = next(iter(re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())), platform.processor())
    memory = next(iter(re.findall(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())), "0")
    return (
        f"{os.cpu_count()} x {cpu or 'unknown processor'} ({platform.machine()}), {int(memory) / 2**20:.0f} GB, "
        f"Linux {platform.release().partition('-')[0]}"
    )


def describe_versions() -> str:
    """Return what was measured, and compared with."""
    script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    compared = run([PYTHON, "-c", script, *COMPARED], check=True, capture_output=True, text=True).stdout.split()
    named = [*((name, version(name)) for name in MEASURED), *zip(COMPARED, compared, strict=True)]
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {number}" for name, number in named)])


def describe_code() -> str:
    """Return which commit this is."""
    commit = run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return commit.stdout.strip() or "no commit"


def fill(text: str) -> str:
    """Return a paragraph."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Measure, print, write."""
    if not EMULATOR.exists() or not PYTHON.exists() or not BUILT.exists():
        sys.exit("what is measured is not there: run `make bench`, on Linux")
    began = perf_counter()
    report = [
        "# Results of `make bench`",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {describe_code()}. {describe_machine()}.",
        f"{describe_versions()}.",
        fill(
            f"Load when it began: {os.getloadavg()[0]:.1f}. Where that is not near nothing, milliseconds come out too "
            "long, and the lowest are nearest to the truth; ratios suffer less."
        ),
    ]
    print(*report, sep="\n", flush=True)

    def section(title: str, *parts: str) -> None:
        text = "\n".join(["", f"## {title}", *(f"\n{part}" for part in parts)])
        print(text, flush=True)
        report.extend(text.split("\n"))

    ours, plain, bare, same_modules = artifacts.make()
    measured: list[Line] = []

    def measure(title: str, explanation: str, *groups: list[Line]) -> None:
        lines = [line for group in groups for line in group]
        measured.extend(lines)
        section(title, print_lines(lines), fill(explanation))

    measure("Package", PACKAGE, function.measure_size(ours, plain))
    measure("Cold start", COLD, function.measure_init(ours, plain, bare, same_modules))
    measure("Cold page", PAGE, page.measure(ours, bare))
    measure("Warm path", WARM, warm.measure(ours))
    life = function.measure_life(ours)
    measure("Life of an environment", LIFE, life)
    measure("Throughput", THROUGHPUT, function.measure_throughput(ours))

    measure("Storms", storm.ASSUMED, storm.measure())
    section("Storms, compared", storm.compare())

    counted = calls.count_all()
    prices = Prices.read()
    durations = Durations(cpu=life[0].median, aws=function.AWS_MS, pagerduty=function.PAGERDUTY_MS)
    log_bytes = Line(
        what="log bytes of a trigger / as it was",
        values=[counted["trigger"].log_bytes / LOG_BYTES_BEFORE],
        bar=0.5,
        seen=f"{counted['trigger'].log_bytes:,} / {LOG_BYTES_BEFORE:,} bytes",
    )
    measured.append(log_bytes)
    section("Calls of each kind of delivery", print_calls(counted), print_lines([log_bytes]), fill(CALLS))
    month = idle_month(calls.idle(), durations, prices, deployed({"RoutingKey": "0" * 32}))
    measured.extend(idle_bars(month))
    section(
        "Cost",
        print_costs(counted, durations, prices),
        fill(COST),
        print_idle(month),
        print_lines(idle_bars(month)),
        fill(f"{IDLE} Prices of {prices.region}, looked up on {prices.looked_up}: {prices.note}"),
    )
    by_name = {line.what: line.median for line in measured}
    curve = memory_curve(
        counted["trigger"],
        durations,
        prices,
        init_ms=by_name[f"ours: {page.INIT_CPU}"],
        cold_cpu_ms=by_name[f"ours: {page.LATER_CPU}"],
        cold_aws_calls=by_name[f"ours: {page.AWS_CALLS}"],
    )
    section("Memory size", print_memory(curve), fill(MEMORY))
    missed = [line.what for line in measured if not line.is_held]
    section(
        "Bars",
        "All held." if not missed else "\n".join(["Missed:", "", *(f"- {what}" for what in missed)]),
        f"All of this took {perf_counter() - began:.0f} s.",
    )
    RESULTS.write_text("\n".join(report) + "\n")


PACKAGE = """
The function for this machine's processor as our build leaves it, and the same packages and source as `sam build` leaves
them without: all of botocore's data, no byte-code. Sizes are the sum of the files' bytes; MB are 10^6 bytes.
"""
COLD = f"""
`INIT REPORT` of Lambda's runtime interface emulator, which does not throttle the processor; each in turn,
{function.COLD_ROUNDS} times after one that does not count, and no byte-code is written. CPU is that of the process from
its start to its first answer; it is steadier where the machine has other work. The bare function makes a
Logger, Metrics, one pydantic model, a urllib3 pool and the three clients, on the packages as our build leaves them.
"Every module" imports on top of that whatever our modules import from the packages: what is left then is our own code.
Neither connects to anything here; what the function prepares at INIT in Lambda is counted in the cold page.
"""
PAGE = f"""
From the start of the process to PagerDuty's acceptance of the first alert, in Lambda's emulator, in pairs,
{page.ROUNDS} times after one that does not count; over TLS to every endpoint, with the authorities that botocore brings
and a local one. Sums: the CPU until INIT has ended, the CPU after that divided by the {page.CORE_SHARE:.2f} of a core
that 512 MB get, {function.AWS_MS:g} ms for each call of AWS (those of INIT too, although they overlap) and
{function.PAGERDUTY_MS:g} ms for PagerDuty. The bare function makes the clients of the one above, reads one secret,
makes one conditional write and one POST by urllib3.
"""
WARM = f"""
CPU time of the process, system calls included: in turns, {warm.ROUNDS} rounds after one that does not count, of
{warm.CALLS} calls or more; connections kept, the server in another process, no TLS. The bare POST is urllib3's
`request(json=...)`, its status checked and its answer read. The DynamoDB call is an update as a delivery makes three
of; ours is the very client that the function has made. The own overhead is that of a whole invocation with one alert
over SNS, log and metrics included, botocore's and urllib3's calls cut out.
"""
LIFE = f"""
One alert after another through Lambda's emulator, in {function.LIVES} environments; AWS and PagerDuty answer at once.
The CPU is that of the function's process, Lambda's Python runtime included. The memory is what is resident, in MB of
2^20 bytes, as Lambda counts it.
"""
THROUGHPUT = f"""
Alerts over SNS through Lambda's emulator, one message after another; AWS answers after {function.AWS_MS:g} ms,
PagerDuty after {function.PAGERDUTY_MS:g} ms, and no limit is in the way.
"""
LOG_BYTES_BEFORE = 1823
"""On 2026-11-24, with a blob of metrics for each set of dimensions."""
CALLS = """
Counted on the function itself, over HTTP, with a clock that stands still. DynamoDB bills a refused condition as a
write. The first permit of a new environment takes one write more. A deferred delivery comes back as an
invocation of its own, with a receive and a delete by Lambda. Log bytes cannot be halved without giving up a metric, a
dimension or a field of the log that is documented: of a trigger's, 630 are five metrics with five sets of
dimensions, each of which the format wants with its namespace; 190 are their values, 60 the frame, and 320
the line that people read.
"""
COST = f"""
Each alert published to the topic by itself, alone in its invocation of {MEMORY_GB * 1024:.0f} MB on arm64. Billed
time: the CPU per alert measured above, slower by the share of a processor that this memory gets, as if arm64 were as
fast as this machine; {function.AWS_MS:g} ms for each call of AWS and {function.PAGERDUTY_MS:g} ms for each request to
PagerDuty; no pause between tries. Left out: data to the internet (some 1 KB an alert), storage of table and log.
"""
IDLE = """
Counted on the function and the template: both schedules in a month of 730 hours, one target, no alerts.
"""
MEMORY = """
Computed from the CPU times above, with the same assumptions: memory brings a share of a processor, one whole at
1,769 MB, and INIT is not throttled. A message of a hundred alerts takes its CPU, or the waiting of four rounds of
thirty, whichever is more. The default is 512 MB: less makes a message of many alerts twice as slow and saves little;
more saves a page few milliseconds, and each page pays for it.
"""


if __name__ == "__main__":
    main()
