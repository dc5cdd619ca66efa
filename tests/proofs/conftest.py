"""Says at the end of a test run how much was explored."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.lab.explore import Bounds, Explored, Explorer, Hazards, Setting, WakeUpExplorer

LEDGER = pytest.StashKey[Counter[str]]()


def count(config: pytest.Config, explored: Explored) -> Explored:
    """Add what was explored to the sums."""
    ledger = config.stash.setdefault(LEDGER, Counter())
    ledger.update(starts=1, states=explored.states, schedules=explored.schedules, ends=explored.ends)
    return explored


@pytest.fixture
def explore(pytestconfig: pytest.Config) -> Callable[..., Explored]:
    """Explore what happens to one alert, and count what was explored."""

    def explore(
        names: Sequence[str], bounds: Bounds, before: str = "", setting: Setting | None = None, waiting: str = ""
    ) -> Explored:
        return count(pytestconfig, Explorer(names, bounds, before, setting, waiting).explore())

    return explore


@pytest.fixture
def explore_wake_ups(pytestconfig: pytest.Config) -> Callable[[Sequence[str], Hazards], Explored]:
    """Explore how what waits finds a drainer, and count what was explored."""
    return lambda names, hazards: count(pytestconfig, WakeUpExplorer(names, hazards).explore())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the sums."""
    if ledger := config.stash.get(LEDGER, None):
        said = ", ".join(f"{number:,} {name}" for name, number in ledger.items())
        terminalreporter.write_line(f"interleavings explored: {said}")
