"""What is made ready at INIT never harms it."""

from threading import Event

import pytest

from handler.preparation import INITIALIZATION_TYPE, is_of_use, prepare


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("on-demand", True), ("provisioned-concurrency", True), ("snap-start", False), ("", False)],
)
def test_only_what_lives_on_after_init_is_prepared(kind: str, expected: bool) -> None:
    """A snapshot would hold closed connections and old secrets."""
    assert is_of_use({INITIALIZATION_TYPE: kind}) is expected
    assert not is_of_use({})


def test_steps_are_taken_at_once_and_one_that_fails_harms_no_other() -> None:
    """The first can only end when the second has been taken."""
    second = Event()

    def waits() -> None:
        assert second.wait(10)

    def fails() -> None:
        second.set()
        raise OSError("no connection")

    prepare([waits, fails], seconds=10)
    assert second.is_set()


def test_init_does_not_wait_for_a_service_that_does_not_answer() -> None:
    """What is still going on then goes on by itself."""
    answer, ended = Event(), Event()

    def hangs() -> None:
        answer.wait(10)
        ended.set()

    prepare([hangs], seconds=0)
    assert not ended.is_set()
    answer.set()
    assert ended.wait(10)
