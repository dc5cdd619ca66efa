"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator

import pytest

from local.stack import Emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The AWS emulator, started once for all tests that ask for it."""
    with Emulator() as emulator:
        yield emulator
