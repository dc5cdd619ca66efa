"""Runs the real publisher and drainer through every interleaving of a few deliveries.

`replay` replays one invocation call by call, `graph` visits every state that several of them can reach and says what
was explored, or the shortest path to a violation. `search` explores what happens to one alert (`model`), `wake_ups`
how what waits finds a drainer.
"""

from tests.lab.explore.graph import Explored, Violation
from tests.lab.explore.model import Bounds, Setting
from tests.lab.explore.replay import Outcome
from tests.lab.explore.search import Explorer
from tests.lab.explore.wake_ups import Hazards, WakeUpExplorer

__all__ = ["Bounds", "Explored", "Explorer", "Hazards", "Outcome", "Setting", "Violation", "WakeUpExplorer"]
