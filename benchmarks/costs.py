"""What deliveries cost by AWS's list prices: the counted calls times the rates of `prices.json`. Arithmetic alone."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.calls import Calls

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
MONTH_SECONDS = 730 * 3600
TARGETS_KEPT_SECONDS = 300
POLLERS = 5
POLL_SECONDS = 20
"""Lambda reads an empty queue by five long polls at a time."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The rates, each for one unit, in dollars."""

    region: str
    as_known: str
    note: str
    rates: Mapping[str, float]

    @classmethod
    def read(cls, path: Path = PRICES) -> Self:
        """Read them from the file."""
        said: Mapping[str, Any] = json.loads(path.read_text())
        rates = {name: rate["usd"] / rate["per"] for name, rate in said["rates"].items()}
        return cls(region=said["region"], as_known=said["as_known"], note=said["note"], rates=rates)


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

    def of(self, calls: Calls) -> float:
        """Return the billed milliseconds of an invocation, its calls made one after another, no pause between tries."""
        waited = sum(calls.aws.values()) * self.aws + calls.pagerduty * self.pagerduty
        return waited + self.cpu * max(1.0, FULL_PROCESSOR_GB / MEMORY_GB)


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
    gb_seconds = durations.of(calls) / 1000 * MEMORY_GB
    log_bytes = calls.log_bytes + PLATFORM_LOG_BYTES + LOG_EVENT_BYTES * (PLATFORM_LINES + calls.log_lines)
    return Cost(
        sns=times * (rates["sns_publish"] + rates["sns_delivery_to_lambda"]),
        compute=times * (rates["lambda_request"] + gb_seconds * rates["lambda_gb_second"]),
        dynamodb=times * (calls.write_units * rates["dynamodb_write"] + calls.read_units * rates["dynamodb_read"]),
        sqs=times * calls.sqs * rates["sqs_request"],
        logs=times * log_bytes / 2**30 * rates["log_gb"],
        secrets=times * calls.secrets_manager * rates["secret_call"],
    )


def standing_cost(prices: Prices, *, metrics: int, template: str) -> dict[str, float]:
    """Return what a month costs besides alerts, in dollars, by item. A metric costs only in hours that have values."""
    rates = prices.rates
    alarms = len(re.findall(r"Type: AWS::CloudWatch::Alarm\b", template))
    dashboards = len(re.findall(r"Type: AWS::CloudWatch::Dashboard\b", template))
    return {
        "one secret": rates["secret_month"],
        "reading it every five minutes, by one environment": MONTH_SECONDS
        / TARGETS_KEPT_SECONDS
        * rates["secret_call"],
        f"{alarms} alarm{'s' if alarms > 1 else ''}": alarms * rates["alarm_month"],
        f"{dashboards} dashboard": dashboards * rates["dashboard_month"],
        "Lambda's long polls of the empty retry queue": POLLERS * MONTH_SECONDS / POLL_SECONDS * rates["sqs_request"],
        f"{metrics} metrics, if each has values in every hour": metrics * rates["metric_month"],
    }
