"""The function from outside, in Lambda's emulator: its init, memory, CPU per alert, and throughput."""

from collections import defaultdict
from time import perf_counter

from benchmarks.artifacts import Artifact
from benchmarks.emulator import NOTHING, ExecutionEnvironment
from benchmarks.messages import with_alerts
from benchmarks.table import Line, ratio
from tests.lab import standin

BARE = "INIT / a bare function, same packages and clients"
SAME_MODULES = "INIT / the same, every module we import of them"
PLAIN = "INIT / the same code, plain `sam build`"
COLD_ROUNDS = 9
LIVES = 3
ALERTS_OF_A_LIFE = 1000
MESSAGES = {1: 12, 10: 6, 100: 6}
"""Alerts in a message: how many such messages."""
MANY = 100
ALERTS_A_SECOND = 200
"""The least, of messages of so many alerts."""
AWS_MS = 5.0
PAGERDUTY_MS = 50.0


def measure_init(ours: Artifact, plain: Artifact, bare: Artifact, same_modules: Artifact) -> list[Line]:
    """Start each function in turn, again and again; the first start of each is not counted."""
    taken: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    artifacts = [ours, plain, bare, same_modules]
    for number in range(COLD_ROUNDS + 1):
        turn = number % len(artifacts)
        for artifact in artifacts[turn:] + artifacts[:turn]:
            with ExecutionEnvironment(artifact) as environment:
                environment.invoke(NOTHING)
                if number:
                    taken[artifact.name].append(environment.init_ms)
                    cpu[artifact.name].append(environment.main_thread_cpu_ms)
    return [
        ratio(BARE, taken["ours"], taken["bare"], unit="ms"),
        ratio(f"{BARE}, CPU", cpu["ours"], cpu["bare"], unit="ms", bar=1.05),
        ratio(SAME_MODULES, taken["ours"], taken["same modules"], unit="ms"),
        ratio(f"{SAME_MODULES}, CPU", cpu["ours"], cpu["same modules"], unit="ms"),
        ratio(PLAIN, taken["ours"], taken["plain"], unit="ms"),
        ratio(f"{PLAIN}, CPU", cpu["ours"], cpu["plain"], unit="ms", bar=0.35),
    ]


def measure_life(ours: Artifact) -> list[Line]:
    """Send one alert after another to an environment; the servers answer at once."""
    first: list[float] = []
    last: list[float] = []
    cpu: list[float] = []
    with standin.running() as endpoint:
        for life in range(LIVES):
            with ExecutionEnvironment(ours, endpoint) as environment:
                environment.invoke(NOTHING)
                first.append(environment.resident_mb)
                environment.invoke(with_alerts(1, f"first-{life}"))
                before = environment.cpu_ms
                for number in range(ALERTS_OF_A_LIFE // LIVES):
                    environment.invoke(with_alerts(1, f"life-{life}-{number}"))
                cpu.append((environment.cpu_ms - before) / (ALERTS_OF_A_LIFE // LIVES))
                if life == LIVES - 1:
                    for number in range(ALERTS_OF_A_LIFE - ALERTS_OF_A_LIFE // LIVES):
                        environment.invoke(with_alerts(1, f"rest-{number}"))
                    last.append(environment.resident_mb)
    return [
        Line(what="CPU per alert, all of it, in Lambda's runtime", values=cpu, unit="ms"),
        Line(what="resident memory after init", values=first, unit="MB", bar=128),
        Line(what=f"resident memory after {ALERTS_OF_A_LIFE:,} alerts", values=last, unit="MB", bar=128),
    ]


def measure_throughput(ours: Artifact) -> list[Line]:
    """Send messages of some alerts to one environment; the servers take their time."""
    speeds: dict[int, list[float]] = defaultdict(list)
    with (
        standin.running(aws_ms=AWS_MS, pagerduty_ms=PAGERDUTY_MS) as endpoint,
        ExecutionEnvironment(ours, endpoint) as environment,
    ):
        environment.invoke(with_alerts(MANY, "first"))  # opens the connections
        for number in range(max(MESSAGES.values())):
            for alerts, times in MESSAGES.items():
                if number < times:
                    event = with_alerts(alerts, f"message-{number}")
                    started = perf_counter()
                    environment.invoke(event)
                    speeds[alerts].append(alerts / (perf_counter() - started))
    return [
        Line(
            what=f"one environment, messages of {alerts} alert{'s' if alerts > 1 else ''}",
            values=values,
            unit="alerts/s",
            bar=ALERTS_A_SECOND if alerts == MANY else None,
            at_least=True,
            seen=f"{alerts / sorted(values)[len(values) // 2] * 1000:.0f} ms a message",
        )
        for alerts, values in speeds.items()
    ]


def measure_size(ours: Artifact, plain: Artifact) -> list[Line]:
    """Weigh the packages."""
    return [
        Line(what="package, unzipped", values=[ours.unzipped_mb], unit="MB", bar=20),
        ratio("package, unzipped / plain `sam build`", [ours.unzipped_mb], [plain.unzipped_mb], unit="MB"),
        ratio("package, zipped / plain `sam build`", [ours.zipped_mb], [plain.zipped_mb], unit="MB"),
    ]
