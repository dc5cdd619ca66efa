"""The arithmetic of the benchmarks: ratios, bars and dollars. What they measure is not tested."""

import json
from datetime import date
from pathlib import Path

import pytest

from benchmarks.artifacts import Artifact
from benchmarks.calls import Calls, Idle
from benchmarks.costs import (
    LOG_EVENT_BYTES,
    PLATFORM_LOG_BYTES,
    PRICES,
    Durations,
    Prices,
    cost_of,
    idle_month,
    memory_curve,
)
from benchmarks.table import Line, aligned, print_lines, ratio
from package.build import size

NO_CALLS = Calls(
    aws={}, pagerduty=0, write_units=0, read_units=0, log_bytes=0, log_lines=0, metrics=frozenset({"EventsPublished{}"})
)
A_TRIGGER = Calls(
    aws={"UpdateItem": 3, "GetItem": 1, "SendMessage": 2, "BatchGetSecretValue": 1},
    pagerduty=1,
    write_units=3,
    read_units=0.5,
    log_bytes=2000,
    log_lines=4,
    metrics=frozenset(),
)
ROUND_PRICES = Prices(
    region="here",
    looked_up="2026-11-26",
    note="",
    rates={
        "lambda_request": 1.0,
        "lambda_gb_second": 2.0,
        "dynamodb_write": 10.0,
        "dynamodb_read": 4.0,
        "sqs_request": 3.0,
        "sns_publish": 5.0,
        "sns_delivery_to_lambda": 0.0,
        "log_gb": 2.0**30,
        "metric_month": 0.5,
        "alarm_month": 0.25,
        "cloudwatch_request": 0.0,
        "dashboard_month": 3.0,
        "key_month": 1.5,
        "secret_month": 0.4,
        "secret_call": 7.0,
    },
)


def test_a_ratio_is_taken_in_each_round_before_the_median() -> None:
    """Else a machine that slows down half way would change it: here every round says 2."""
    line = ratio("a / b", [2.0, 20.0, 200.0], [1.0, 10.0, 100.0], unit="ms")
    assert list(line.values) == [2.0, 2.0, 2.0]
    assert line.cells() == ["a / b", "2.00 x", "2.00", "2.00", "", "", "20.0 / 10.0 ms"]


def test_rounds_that_do_not_pair_are_an_error() -> None:
    """They would be ratios of different rounds."""
    with pytest.raises(ValueError, match="shorter"):
        ratio("a / b", [1.0, 2.0], [1.0], unit="ms")


@pytest.mark.parametrize(("values", "verdict"), [([1.0, 1.1, 9.0], "held"), ([1.0, 1.2, 1.3], "MISSED")])
def test_a_bar_is_about_the_median(values: list[float], verdict: str) -> None:
    """One slow round is the machine's."""
    assert Line(what="it", values=values, bar=1.1).cells()[5] == verdict


@pytest.mark.parametrize(("values", "verdict"), [([210.0, 220.0], "held"), ([150.0, 190.0], "MISSED")])
def test_a_bar_may_be_one_to_reach(values: list[float], verdict: str) -> None:
    """Of a speed."""
    line = Line(what="it", values=values, unit="alerts/s", bar=200, at_least=True)
    assert line.cells()[4:6] == [">= 200 alerts/s", verdict]


def test_a_line_without_a_bar_holds() -> None:
    """And claims nothing."""
    line = Line(what="it", values=[3.0], unit="ms")
    assert line.is_held
    assert line.cells() == ["it", "3.00 ms", "3.00", "3.00", "", "", ""]


def test_a_table_is_aligned_markdown() -> None:
    """It reads as text, too."""
    assert aligned(("what", "how much"), [["one", "1"], ["thousand", "1,000"]]).splitlines() == [
        "| what     | how much |",
        "| -------- | -------: |",
        "| one      |        1 |",
        "| thousand |    1,000 |",
    ]
    assert len(print_lines([Line(what="it", values=[1.0])]).splitlines()) == 3


def test_a_delivery_costs_what_it_calls() -> None:
    """Each service's units, times its rate."""
    cost = cost_of(A_TRIGGER, Durations(cpu=0, aws=100, pagerduty=300), ROUND_PRICES, times=1)
    gb_seconds = 0.5 * (7 * 0.1 + 0.3)
    assert cost.compute == pytest.approx(1.0 + 2.0 * gb_seconds)
    assert cost.dynamodb == pytest.approx(3 * 10.0 + 0.5 * 4.0)
    assert cost.sqs == pytest.approx(6.0)
    assert cost.secrets == pytest.approx(7.0)
    assert cost.sns == pytest.approx(5.0)
    assert cost.logs == pytest.approx(2000 + PLATFORM_LOG_BYTES + (4 + 3) * LOG_EVENT_BYTES)
    assert cost.total == pytest.approx(sum((1.0 + 2.0 * gb_seconds, 32.0, 6.0, 7.0, 5.0, cost.logs)))


def test_a_million_cost_a_million_times_one() -> None:
    """There are no tiers here."""
    durations = Durations(cpu=5, aws=5, pagerduty=50)
    one, million = (cost_of(A_TRIGGER, durations, ROUND_PRICES, times=times) for times in (1, 1_000_000))
    assert million.total == pytest.approx(1_000_000 * one.total)


def test_a_small_function_computes_longer() -> None:
    """512 MB have 512/1769 of a processor."""
    assert Durations(cpu=10, aws=0, pagerduty=0).of(NO_CALLS) == pytest.approx(10 * 1769 / 512)


def test_an_idle_month_counts_what_the_stack_has() -> None:
    """Keys, secrets, and each metric that an alarm names; the schedules run 8,760 and 43,800 times."""
    alarms = [{"MetricName": "Errors"}, {"Metrics": [{"MetricStat": {}}, {"MetricStat": {}}, {"Expression": "a + b"}]}]
    kinds = ["AWS::KMS::Key", "AWS::SecretsManager::Secret", "AWS::CloudWatch::Dashboard"]
    resources = [
        *({"Type": "AWS::CloudWatch::Alarm", "Properties": alarm} for alarm in alarms),
        *({"Type": kind} for kind in kinds),
    ]
    template = {"Resources": {str(number): resource for number, resource in enumerate(resources)}}
    items = idle_month(Idle(A_TRIGGER, NO_CALLS), Durations(cpu=0, aws=0, pagerduty=0), ROUND_PRICES, template)
    assert items["the topics' key"] == 1.5
    assert items["one secret"] == 0.4
    assert items["alarms, of 3 metrics"] == pytest.approx(0.75)
    assert items["1 metrics"] == 0.5
    assert items["reading it"] == pytest.approx(8760 * 7)
    assert items["invocations by the schedules"] == pytest.approx(8760 + 43_800)
    assert list(items.items())[-1] == ("the dashboard", 3.0)


def test_more_memory_is_faster_and_costs_more_up_to_a_whole_processor() -> None:
    """INIT is as fast with any size, and waiting is too."""
    durations = Durations(cpu=10, aws=5, pagerduty=50)
    sizes = list(memory_curve(A_TRIGGER, durations, ROUND_PRICES, init_ms=200, cold_cpu_ms=10, cold_aws_calls=4))
    whole, half = sizes[-1], next(it for it in sizes if it.size == 512)
    assert (whole.size, whole.cold_ms, whole.warm_ms, whole.hundred_ms) == (1769, 280, 95, 1000)
    assert half.warm_ms == pytest.approx(85 + 10 * 1769 / 512)
    assert [it.warm_ms for it in sizes] == sorted((it.warm_ms for it in sizes), reverse=True)
    assert [it.dollars for it in sizes] == sorted(it.dollars for it in sizes)


def test_a_package_is_measured_in_millions_of_bytes_as_the_build_does(tmp_path: Path) -> None:
    """So that the bar of 20 MB is one limit for both, and the stricter one."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/one").write_bytes(bytes(1_500_000))
    (tmp_path / "two").write_bytes(bytes(500_000))
    assert Artifact("ours", tmp_path).unzipped_mb == size(tmp_path) == 2.0


def test_every_price_says_where_it_is_from() -> None:
    """A rate, its unit, the page, and when it was known; the arithmetic asks for no other."""
    said = json.loads(PRICES.read_text())
    assert said["region"]
    date.fromisoformat(said["looked_up"])
    for rate in said["rates"].values():
        assert rate["usd"] >= 0
        assert rate["per"] > 0
        assert rate["unit"]
        assert rate["page"].startswith("https://aws.amazon.com/")
        assert rate["as_of"] is None or date.fromisoformat(rate["as_of"]) <= date.fromisoformat(said["looked_up"])
    assert said["rates"].keys() == ROUND_PRICES.rates.keys()
    assert Prices.read(Path(PRICES)).rates["sqs_request"] == pytest.approx(0.4e-6)
