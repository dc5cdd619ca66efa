"""Runs the real publisher and drainer through every interleaving of a few deliveries of one alert.

`model` replays one delivery call by call, `search` visits every state that several of them can reach, `report` says
what was explored, and the shortest path to a violation.
"""

from tests.lab.explore.model import Bounds, Setting
from tests.lab.explore.replay import Outcome
from tests.lab.explore.report import Explored, Violation
from tests.lab.explore.search import Explorer

__all__ = ["Bounds", "Explored", "Explorer", "Outcome", "Setting", "Violation"]
