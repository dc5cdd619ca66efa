"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from local.stack import Emulator

# no test depends on the speed of the machine
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The AWS emulator, started once for all tests that ask for it."""
    with Emulator() as emulator:
        yield emulator
