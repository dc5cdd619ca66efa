"""Arrivals, their wake-ups, whole drainers and the schedule: what waits goes out, whatever dies, gets lost or is slow.

What holds in each state and at each end is in `tests.lab.explore.wake_ups`; README.md says it in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.lab.explore import Explored, Hazards
from tests.lab.marks import ALL

type Explore = Callable[[Sequence[str], Hazards], Explored]

HANDOVER = Hazards(paused_seconds=4.0, invocation_seconds=13.0)
"""The first drainer's time is up while it lingers."""


def named(hazards: Hazards) -> str:
    unusual = {name: getattr(hazards, name) for name in Hazards.__slots__}
    usual = {name: getattr(Hazards(), name) for name in Hazards.__slots__}
    return "-".join(f"{name}={value:g}" for name, value in unusual.items() if value != usual[name]) or "nothing"


@pytest.mark.parametrize("hazards", [Hazards(delays=2), replace(HANDOVER, delays=1)], ids=named)
def test_wake_ups_alone_drain_everything(hazards: Hazards, explore_wake_ups: Explore) -> None:
    """Where nothing goes wrong, nothing waits for the schedule: an arrival can come while a drainer is about to end."""
    assert explore_wake_ups(["a", "b"], hazards).states >= 10_000


@pytest.mark.parametrize(
    "hazards",
    [
        Hazards(),
        Hazards(crashes=1),
        Hazards(lost=1),
        Hazards(slow=1),
        Hazards(early=1, delays=0),
        HANDOVER,
        replace(HANDOVER, crashes=1),
    ],
    ids=named,
)
def test_one_alert_that_waits_goes_out(hazards: Hazards, explore_wake_ups: Explore) -> None:
    """By the schedule at the latest, and once, unless a process died."""
    explored = explore_wake_ups(["a"], hazards)
    assert explored.states >= 50
    assert explored.requests_at_most <= 1 + hazards.crashes


@ALL
@pytest.mark.parametrize(
    ("names", "hazards"),
    [
        ("ab", Hazards()),
        ("ab", Hazards(lost=1)),
        ("ab", Hazards(slow=1, delays=0)),
        ("ab", replace(HANDOVER, delays=3)),
        ("a", Hazards(early=1, delays=1)),
        ("a", Hazards(crashes=2)),
        ("a", Hazards(crashes=1, lost=1, slow=1, delays=1)),
        ("a", replace(HANDOVER, crashes=2, lost=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_what_waits_goes_out(names: str, hazards: Hazards, explore_wake_ups: Explore) -> None:
    """By the schedule at the latest, and once, unless a process died."""
    explored = explore_wake_ups(names, hazards)
    assert explored.states >= 1000
    assert explored.requests_at_most <= len(names) + hazards.crashes
