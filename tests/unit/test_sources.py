"""The registry of sources: SNS attributes, alerts left to a setting, damaged entries among sound ones."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handler import sources
from handler.alert import (
    Alert,
    Ignored,
    Status,
    Undetermined,
    WhenUndetermined,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import target_names
from tests.lab.alerts import AN_ALERT
from tests.lab.fakes import native


def parsed(*found: Any, attributes: dict[str, str] | None = None, **options: Any) -> sources.Parsed:
    """Parse a record in which the only source finds these."""
    only = SimpleNamespace(recognises=lambda _: True, parse=lambda _: found)
    record = Record({}, datetime(2026, 11, 23, tzinfo=UTC), attributes=attributes or {})
    kept = sources.SOURCES
    sources.SOURCES = (only,)
    try:
        return sources.parse(record, **options)
    finally:
        sources.SOURCES = kept


def native_with(attributes: dict[str, str], **alert: Any) -> Alert:
    (found,) = sources.parse(Record(native(**alert), datetime(2026, 11, 23, tzinfo=UTC), attributes=attributes))
    assert isinstance(found, Alert)
    return found


def test_attributes_become_labels_to_match_on() -> None:
    alert = native_with({"team": "payments"})
    assert alert.matching_labels()["team"] == "payments"


def test_an_attribute_gives_the_severity_of_an_alert_that_names_none() -> None:
    alert = native_with({"severity": "P1"}, labels={})
    assert alert.severity is Severity.CRITICAL


def test_what_the_alert_says_goes_before_the_attributes() -> None:
    alert = native_with(
        {"severity": "info", "team": "payments", "targets": "a"}, labels={"severity": "error", "team": "search"}
    )
    assert (alert.severity, alert.labels["team"]) == (Severity.ERROR, "search")
    assert native_with({"targets": "a"}, targets=["b"]).targets == ("b",)


def test_an_attribute_names_targets_and_is_no_label() -> None:
    alert = native_with({"targets": "payments, search"})
    assert alert.targets == ("payments", "search")
    assert "targets" not in alert.labels


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" , ", ()),
        ("a", ("a",)),
        ("a,b , a", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ('["a", 1, null]', ("a",)),
        ("[not json", ("[not json",)),
        ("[" * 100_000, ("[" * 100_000,)),
    ],
)
def test_names_of_targets_are_a_list_or_a_text(text: str, names: tuple[str, ...]) -> None:
    """A String.Array of SNS is JSON."""
    assert target_names(text) == names


def test_the_fingerprint_does_not_hang_on_attributes() -> None:
    """A resolve by another road has none, and closes the same incident."""
    alert = {"alert_name": "A", "fingerprint": "", "labels": {"x": "1"}}
    assert native_with({"team": "payments"}, **alert).fingerprint == native_with({}, **alert).fingerprint


def test_every_module_of_a_source_is_in_the_registry_and_the_last_resort_is_last() -> None:
    """By the names of the modules that have both functions."""
    package = Path(sources.__file__).parent
    modules = {path.stem for path in package.glob("*.py") if "def recognises(record" in path.read_text()}
    names = [source.name for source in sources.SOURCES if isinstance(source, sources.OnDemand)]
    assert sorted(names) == sorted(modules)
    assert names[-1] == "generic"
    assert all(callable(source.recognises) and callable(source.parse) for source in sources.SOURCES)


@pytest.mark.parametrize(
    ("when", "becomes"),
    [
        (WhenUndetermined.IGNORE, Ignored(SkipReason.INSUFFICIENT_DATA, AN_ALERT.name)),
        (WhenUndetermined.TRIGGER, Status.FIRING),
        (WhenUndetermined.RESOLVE, Status.RESOLVED),
    ],
)
def test_a_setting_decides_over_what_a_source_cannot(when: WhenUndetermined, becomes: Any) -> None:
    (found,) = parsed(Undetermined(AN_ALERT), when_undetermined=when)
    assert (found.status if isinstance(found, Alert) else found) == becomes


def test_a_damaged_entry_does_not_harm_its_siblings() -> None:
    """It comes as an error, in its place."""
    damaged = InvalidAlertError("entry 1: no name")
    assert parsed(AN_ALERT, damaged, attributes={"a": "b"})[1] is damaged
    assert len(parsed(AN_ALERT, damaged, AN_ALERT)) == 3
