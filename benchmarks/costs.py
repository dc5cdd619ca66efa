"""What deliveries and a stack cost by AWS's list prices: counted calls times the rates of `prices.json`.

Arithmetic alone; the one calculation that the results, the README and the tests go by.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.calls import Calls, Idle

PRICES = Path(__file__).with_name("prices.json")
MILLION = 1_000_000
MEMORY_GB = 0.5
"""As the template has it."""
FULL_PROCESSOR_GB = 1769 / 1024
"""With so much memory a function has one whole processor: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
PLATFORM_LOG_BYTES = 300
"""Assumed: the lines START, END and REPORT that Lambda writes of an invocation."""
LOG_EVENT_BYTES = 26
"""CloudWatch adds this to each line: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""
PLATFORM_LINES = 3
HOURS = 730
CHECKS = HOURS * 12
DRAINS = HOURS * 60
"""The schedules' invocations in a month."""
POLLS = HOURS * 3600 / 20 * 5
"""Lambda reads an empty queue by five long polls at a time, of 20 seconds:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
MEMORY_SIZES = (256, 512, 768, 1024, 1769)


@dataclass(frozen=True, slots=True)
class Prices:
    """The rates, each for one unit, in dollars."""

    region: str
    looked_up: str
    note: str
    rates: Mapping[str, float]

    @classmethod
    def read(cls, path: Path = PRICES) -> Self:
        """Read them from the file."""
        said: Mapping[str, Any] = json.loads(path.read_text())
        rates = {name: rate["usd"] / rate["per"] for name, rate in said["rates"].items()}
        return cls(region=said["region"], looked_up=said["looked_up"], note=said["note"], rates=rates)


def slowness(memory_gb: float) -> float:
    """Return how much longer the CPU of an invocation takes with so much memory than on a whole processor."""
    return max(1.0, FULL_PROCESSOR_GB / memory_gb)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long things take, in milliseconds, for what Lambda bills of a delivery.

    Attributes:
        cpu: of the whole invocation, on one whole processor; a smaller function takes longer.
        aws: one call of AWS.
        pagerduty: one request to PagerDuty.
    """

    cpu: float
    aws: float
    pagerduty: float

    def of(self, calls: Calls, memory_gb: float = MEMORY_GB) -> float:
        """Return the billed milliseconds of an invocation, its calls made one after another, no pause between tries."""
        waited = sum(calls.aws.values()) * self.aws + calls.pagerduty * self.pagerduty
        return waited + self.cpu * slowness(memory_gb)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Dollars, by service."""

    sns: float
    compute: float
    dynamodb: float
    sqs: float
    logs: float
    secrets: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.sns + self.compute + self.dynamodb + self.sqs + self.logs + self.secrets


def cost_of(calls: Calls, durations: Durations, prices: Prices, *, times: int = MILLION) -> Cost:
    """Return what a number of deliveries of a kind cost, each an invocation of its own, published to the topic."""
    rates = prices.rates
    log_bytes = calls.log_bytes + PLATFORM_LOG_BYTES + LOG_EVENT_BYTES * (PLATFORM_LINES + calls.log_lines)
    return Cost(
        sns=times * (rates["sns_publish"] + rates["sns_delivery_to_lambda"]),
        compute=times * compute_of(calls, durations, prices),
        dynamodb=times * (calls.write_units * rates["dynamodb_write"] + calls.read_units * rates["dynamodb_read"]),
        sqs=times * calls.sqs * rates["sqs_request"],
        logs=times * log_bytes / 2**30 * rates["log_gb"],
        secrets=times * calls.secrets_manager * rates["secret_call"],
    )


def compute_of(calls: Calls, durations: Durations, prices: Prices, memory_gb: float = MEMORY_GB) -> float:
    """Return what Lambda bills for an invocation, in dollars."""
    gb_seconds = durations.of(calls, memory_gb) / 1000 * memory_gb
    return prices.rates["lambda_request"] + gb_seconds * prices.rates["lambda_gb_second"]


def idle_month(idle: Idle, durations: Durations, prices: Prices, template: Mapping[str, Any]) -> dict[str, float]:
    """Return what a month costs in which nothing happens, in dollars, by item; the dashboard is the last.

    Args:
        idle: what the schedules use each time.
        durations: of their invocations.
        prices: the rates.
        template: as a stack has it: `deployed` of `tests.lab.template`.
    """
    rates = prices.rates
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    check, drain = (cost_of(calls, durations, prices, times=1) for calls in (idle.check, idle.drain))
    metrics = len(idle.check.metrics | idle.drain.metrics)
    watched = sum(map(_metrics_of, template["Resources"].values()))
    dashboards = kinds.count("AWS::CloudWatch::Dashboard")
    return {
        "the topics' key": kinds.count("AWS::KMS::Key") * rates["key_month"],
        "one secret": kinds.count("AWS::SecretsManager::Secret") * rates["secret_month"],
        "reading it": CHECKS * check.secrets + DRAINS * drain.secrets,
        f"alarms, of {watched} metrics": watched * rates["alarm_month"],
        f"{metrics} metrics": metrics * rates["metric_month"],
        "logs": CHECKS * check.logs + DRAINS * drain.logs,
        "invocations by the schedules": CHECKS * check.compute + DRAINS * drain.compute,
        "the table": CHECKS * check.dynamodb + DRAINS * drain.dynamodb,
        "Lambda's long polls of the retry queue, and counts of dead letters": POLLS * rates["sqs_request"]
        + CHECKS * check.sqs
        + DRAINS * drain.sqs,
        "comparing CloudWatch's alarms with the records": CHECKS * rates["cloudwatch_request"],
        "the dashboard": dashboards * rates["dashboard_month"],
    }


def _metrics_of(resource: Mapping[str, Any]) -> int:
    """Return how many metrics an alarm is billed for: those that it names. A query finds none here, and costs none."""
    if resource["Type"] != "AWS::CloudWatch::Alarm":
        return 0
    several = resource["Properties"].get("Metrics")
    return 1 if several is None else sum("MetricStat" in entry for entry in several)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a memory size comes to.

    Attributes:
        size: in MB.
        cold_ms: a cold page.
        warm_ms: a page of an environment that has paged before.
        hundred_ms: a message of a hundred alerts, its CPU alone.
        dollars: Lambda's, of a million pages.
    """

    size: int
    cold_ms: float
    warm_ms: float
    hundred_ms: float
    dollars: float


def memory_curve(
    trigger: Calls, durations: Durations, prices: Prices, *, init_ms: float, cold_cpu_ms: float, cold_aws_calls: float
) -> Iterator[Memory]:
    """Return latency and cost by memory size.

    Args:
        trigger: a warm one.
        durations: of its invocation.
        prices: the rates.
        init_ms: CPU until INIT has ended, which Lambda does not throttle.
        cold_cpu_ms: CPU from then until a first alert arrives at PagerDuty, on a whole processor.
        cold_aws_calls: made until then.
    """
    for size in MEMORY_SIZES:
        gb = size / 1024
        yield Memory(
            size=size,
            cold_ms=init_ms + cold_cpu_ms * slowness(gb) + cold_aws_calls * durations.aws + durations.pagerduty,
            warm_ms=durations.of(trigger, gb),
            hundred_ms=100 * durations.cpu * slowness(gb),
            dollars=MILLION * compute_of(trigger, durations, prices, gb),
        )
