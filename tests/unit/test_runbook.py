"""The runbook names what there is: fields that the function logs, reasons, alarms and metrics."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ErrorReason, PublisherErrorReason
from handler.metrics import Dimension, Metric
from handler.outcome import DeferReason, SkipReason
from local.simulator.faults import Fault, FaultKind
from tests.lab.world import native
from tests.unit.test_app import Function, function, sns

__all__ = ["function"]
ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/operations.md").read_text()
TEMPLATE = (ROOT / "template.yaml").read_text()
QUERIES = re.findall(r"```logs\n(.*?)```", RUNBOOK, re.DOTALL)
WORDS = {
    "fields",
    "filter",
    "sort",
    "stats",
    "by",
    "as",
    "asc",
    "desc",
    "or",
    "and",
    "in",
    "like",
    "ispresent",
    "count",
}
WORDS |= {"count", "max", "bin", "m"}


def fields_of(query: str) -> set[str]:
    """Return the fields that a query reads, without the names it defines by `as`."""
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\bas \w+", "", query))
    return {name.partition(".")[0] for name in re.findall(r"@?[a-z][\w.]*", bare)} - WORDS - {"@timestamp"}


@pytest.fixture
def logged(function: Function) -> list[dict[str, Any]]:
    """The lines of a trigger that is accepted, one refused, one deferred, and one that has waited."""
    function.invoke(sns(native("f-1")))
    function.invoke(sns(native("f-1")))
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429), Fault(FaultKind.STATUS, status=400))
    function.invoke(sns(native("f-2"), native("f-3")))
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    record = function.world.take_retry()
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    function.invoke({"Records": [record]})
    return [line for line in map(json.loads, function.output.splitlines()) if "_aws" not in line]


def test_every_query_reads_fields_that_the_function_logs(logged: list[dict[str, Any]]) -> None:
    """To the letter: Logs Insights finds nothing of a misspelt field, and says nothing."""
    names = {name for line in logged for name in line}
    assert len(QUERIES) >= 5
    assert {query: fields_of(query) - names for query in QUERIES} == {query: set() for query in QUERIES}


def test_every_reason_that_a_query_looks_for_exists() -> None:
    """Reasons, types and outcomes are of closed sets."""
    words = {
        *SkipReason,
        *DeferReason,
        *ErrorReason,
        *PublisherErrorReason,
        "deferred",
        "trigger",
        "ERROR",
        "orders-db-cpu",
    }
    assert {text for query in QUERIES for text in re.findall(r'"([^"]*)"', query)} <= {str(word) for word in words}


def test_every_alarm_is_in_the_runbook_and_every_one_named_exists() -> None:
    """Whoever is woken by one finds its section."""
    alarms = set(re.findall(r"(?m)^  (\w+Alarm):\n    Type: AWS::CloudWatch::Alarm", TEMPLATE))
    start = RUNBOOK.index("| alarm |")
    table = RUNBOOK[start : RUNBOOK.index("\n\n", start)]
    assert set(re.findall(r"`(\w+Alarm)`", table)) == alarms


def test_every_metric_and_dimension_named_exists() -> None:
    """In the lines that begin with `Metrics:`."""
    for line in re.findall(r"(?m)^Metrics: .*$", RUNBOOK):
        names = set(re.findall(r"`(\w+)`", line))
        assert names <= {*map(str, Metric), *map(str, Dimension)}
