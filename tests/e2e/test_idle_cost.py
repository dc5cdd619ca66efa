"""What a stack costs in a month in which nothing happens, counted in full."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from local.stack import ROOT, aws_environment
from tests.e2e.conftest import Deployed
from tests.lab.template import deployed, of_type

_IDLE = """
import json, sys
from handler import app

class Context:
    function_name = "publisher"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:publisher"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self):
        return 60000

for event in json.loads(sys.argv[1]):
    app.lambda_handler(event, Context())
"""
HOURS = 730
DRAINS = HOURS * 60
CHECKS = HOURS * 12
DASHBOARD = 3.00
BAR = 6.00
PLATFORM_BYTES = 350
"""What Lambda itself logs of an invocation: START, END and REPORT, with 26 bytes that CloudWatch adds to each line."""


@dataclass(frozen=True)
class Prices:
    """List prices of us-east-1 in US$, 2026-11.

    https://aws.amazon.com/kms/pricing/, /secrets-manager/pricing/, /cloudwatch/pricing/, /lambda/pricing/,
    /sqs/pricing/, /dynamodb/pricing/on-demand/
    """

    key: float = 1.00
    secret: float = 0.40
    secret_call: float = 0.05 / 10_000
    alarm_metric: float = 0.10
    custom_metric: float = 0.30
    log_byte: float = 0.50 / 10**9
    invocation: float = 0.20 / 10**6
    gigabyte_second: float = 0.0000133334
    queue_request: float = 0.40 / 10**6
    read_unit: float = 0.125 / 10**6


PRICES = Prices()


def idle_output(stack: Deployed, *events: Any) -> list[str]:
    """Return what the function writes when it is invoked with these."""
    function = stack.emulator.client("lambda").get_function_configuration(
        FunctionName=stack.outputs["PublisherFunctionArn"]
    )
    done = subprocess.run(
        [sys.executable, "-c", _IDLE, json.dumps(events)],
        env={
            **aws_environment(stack.emulator.endpoint),
            **function["Environment"]["Variables"],
            "PYTHONPATH": str(ROOT / "src"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def custom_metrics(lines: list[str]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the metrics that are written, each with the values of its dimensions: each of these has its price."""
    found = set()
    for line in lines:
        written = json.loads(line)
        for directive in written.get("_aws", {}).get("CloudWatchMetrics", []):
            for dimensions in directive["Dimensions"]:
                values = tuple((name, str(written[name])) for name in sorted(dimensions))
                found |= {(metric["Name"], values) for metric in directive["Metrics"]}
    return found


@pytest.fixture(scope="module")
def month(stack: Deployed) -> dict[str, float]:
    """The costs of an idle month, by what they are for."""
    template = deployed({"RoutingKey": "0" * 32})
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    # a query costs by the metrics that it finds, and these are there only once something was lost
    watched = sum(
        sum("MetricStat" in entry for entry in alarm["Metrics"]) if "Metrics" in alarm else 1 for alarm in alarms
    )
    check = idle_output(stack, {"health_check": True})
    drain = idle_output(stack, {"drain": True})
    logged = CHECKS * sum(map(len, check)) + DRAINS * sum(map(len, drain)) + (CHECKS + DRAINS) * PLATFORM_BYTES
    seconds = CHECKS * 0.5 + DRAINS * 0.05
    return {
        "key": PRICES.key * len(of_type(template, "AWS::KMS::Key")),
        "secret": PRICES.secret * len(of_type(template, "AWS::SecretsManager::Secret")),
        "reading secrets": PRICES.secret_call * 2 * CHECKS,
        "alarms": PRICES.alarm_metric * watched,
        "custom metrics": PRICES.custom_metric * len(custom_metrics(check + drain)),
        "logs": PRICES.log_byte * logged,
        "invocations": PRICES.invocation * (CHECKS + DRAINS) + PRICES.gigabyte_second * 0.5 * seconds,
        # five pollers, each of which waits 20 seconds: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
        "polling": PRICES.queue_request * 5 * 3 * 60 * HOURS,
        "counting dead letters": PRICES.queue_request * (DRAINS + CHECKS),
        "the table": PRICES.read_unit * (DRAINS + CHECKS) * 16,
    }


def test_an_idle_stack_costs_at_most_six_dollars(month: dict[str, float]) -> None:
    """Besides the dashboard, which a parameter removes."""
    assert sum(month.values()) <= BAR, {name: round(cost, 2) for name, cost in month.items()}


def test_the_dashboard_is_the_one_thing_that_can_be_left_out() -> None:
    """It costs half as much as everything else."""
    with_it, without = deployed(), deployed({"Dashboard": "DISABLED"})
    assert set(with_it["Resources"]) - set(without["Resources"]) == {"OperatorDashboard"}
