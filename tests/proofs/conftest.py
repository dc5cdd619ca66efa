"""Says at the end of a test run how much was explored."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.lab.explore import Bounds, Explored, Explorer, Setting

LEDGER = pytest.StashKey[Counter[str]]()


@pytest.fixture
def explore(pytestconfig: pytest.Config) -> Callable[..., Explored]:
    """Explore, and count what was explored."""
    ledger = pytestconfig.stash.setdefault(LEDGER, Counter())

    def explore(
        names: Sequence[str], bounds: Bounds, before: str = "", setting: Setting | None = None, waiting: str = ""
    ) -> Explored:
        explored = Explorer(names, bounds, before, setting, waiting).explore()
        ledger.update(starts=1, states=explored.states, schedules=explored.schedules, ends=explored.ends)
        return explored

    return explore


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the sums."""
    if ledger := config.stash.get(LEDGER, None):
        said = ", ".join(f"{number:,} {name}" for name, number in ledger.items())
        terminalreporter.write_line(f"interleavings explored: {said}")
