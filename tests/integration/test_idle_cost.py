"""What a stack costs in a month in which nothing happens, counted in full."""

from functools import cache

from benchmarks import calls
from benchmarks.costs import Durations, Prices, idle_month
from tests.lab.template import deployed

BAR = 6.00
DASHBOARD = 3.00


@cache
def month() -> dict[str, float]:
    """The costs of an idle month, by what they are for."""
    durations = Durations(cpu=20, aws=10, pagerduty=100)  # whatever they are, they cost a few cents
    return idle_month(calls.idle(), durations, Prices.read(), deployed({"RoutingKey": "0" * 32}))


def test_an_idle_stack_costs_at_most_six_dollars_and_its_dashboard_three() -> None:
    """The dashboard is the last item."""
    *rest, dashboard = month().values()
    assert sum(rest) <= BAR, {name: round(cost, 2) for name, cost in month().items()}
    assert dashboard == DASHBOARD


def test_nothing_is_left_out() -> None:
    """Each item costs something, and the schedules' metrics are those of one target."""
    assert min(month().values()) > 0
    idle = calls.idle()
    assert {metric.partition("{")[0] for metric in idle.check.metrics} == {
        *("AllHealthy", "ApiCalls", "ApiRequestDuration", "CacheSize", "Healthy", "OldestWaiting"),
    }
    assert idle.drain.metrics == frozenset()


def test_the_dashboard_is_the_one_thing_that_can_be_left_out() -> None:
    """It costs half as much as everything else."""
    with_it, without = deployed(), deployed({"Dashboard": "DISABLED"})
    assert set(with_it["Resources"]) - set(without["Resources"]) == {"OperatorDashboard"}
