"""What the sources' field types make of what AWS writes."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from handler.validation import Instant, LooseText, Number

instant: TypeAdapter[Any] = TypeAdapter(Instant)
loose: TypeAdapter[str] = TypeAdapter(LooseText)
number: TypeAdapter[float | None] = TypeAdapter(Number)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-24T03:40:01Z", "2026-11-24T03:40:01+00:00"),
        ("2026-11-24T03:40:01.640+0100", "2026-11-24T02:40:01.640000+00:00"),
        ("2026-11-24 03:40:01.874", "2026-11-24T03:40:01.874000+00:00"),
        ("Tue, 24 Nov 2026 03:40:01 GMT", "2026-11-24T03:40:01+00:00"),
        ("Sat, 24 Nov 2026 03:40:01 GMT", "2026-11-24T03:40:01+00:00"),
        ("Tue Nov 24 03:40:01 UTC 2026", "2026-11-24T03:40:01+00:00"),
        ("2026-11-24 03:40:01.5 +0000 UTC m=+7.5", "2026-11-24T03:40:01.500000+00:00"),
        ("2026-11-24 03:40:01.123456789", "2026-11-24T03:40:01.123456+00:00"),
    ],
)
def test_a_time_is_read_as_it_is_written(written: str, meant: str) -> None:
    assert instant.validate_python(written).isoformat() == meant


@pytest.mark.parametrize("written", [None, "", "0001-01-01T00:00:00Z"])
def test_no_time_is_none(written: Any) -> None:
    assert instant.validate_python(written) is None


@pytest.mark.parametrize("written", ["soon", "soon GMT", "9999-12-31T23:00:00-05:00", 10**30, {}])
def test_what_is_no_time_is_none(written: Any) -> None:
    """A page is worth more than its time."""
    assert instant.validate_python(written) is None


@pytest.mark.parametrize(
    ("given", "text"), [("a", "a"), (3, "3"), (1.5, "1.5"), (True, "true"), (None, ""), ([1], ""), ({}, "")]
)
def test_a_loose_text_takes_anything(given: Any, text: str) -> None:
    assert loose.validate_python(given) == text


@pytest.mark.parametrize(
    ("given", "value"),
    [(8, 8.0), ("8.5", 8.5), (True, None), ("high", None), ("inf", None), (10**400, None), (None, None), ([1], None)],
)
def test_a_number_is_finite_or_none(given: Any, value: float | None) -> None:
    assert number.validate_python(given) == value
