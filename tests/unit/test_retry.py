"""The arithmetic of waiting."""

import pytest

from handler.delivery.retry import deferral_seconds
from handler.pagerduty.retry import backoff_seconds


@pytest.mark.parametrize(
    ("retry", "ceiling"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (8, 5.0), (10_000, 5.0)]
)
def test_a_backoff_is_any_part_of_what_doubles_from_100_ms_to_5_s(retry: int, ceiling: float) -> None:
    """Full jitter: from nothing to the whole."""
    assert backoff_seconds(retry, lambda: 0.0) == 0.0
    assert backoff_seconds(retry, lambda: 0.5) == pytest.approx(ceiling / 2)
    assert backoff_seconds(retry, lambda: 1.0) == pytest.approx(ceiling)


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 15), (2, 30), (3, 60), (6, 480), (7, 900), (8, 900), (10_000, 900)]
)
def test_a_deferral_doubles_from_15_s_to_what_sqs_allows(failures: int, ceiling: float) -> None:
    """Half of it is jitter, so that it never comes back at once."""
    assert deferral_seconds(failures, lambda: 0.0) == pytest.approx(ceiling / 2)
    assert deferral_seconds(failures, lambda: 1.0) == pytest.approx(ceiling)
