"""The registry of sources: SNS attributes, alerts left to a setting, damaged entries among sound ones."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
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
from handler.sources import registry, target_names
from tests.lab.alerts import AN_ALERT, EVENTS
from tests.lab.world import native

ROOT = Path(__file__).parents[2]


def parsed(*found: Any, attributes: dict[str, str] | None = None, **options: Any) -> sources.Parsed:
    """Parse a record in which the only source finds these."""
    only = SimpleNamespace(parse=lambda _: found)
    record = Record({}, datetime(2026, 11, 23, tzinfo=UTC), attributes=attributes or {}, message_id="m-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "handler.sources.only", only)
        patch.setattr(registry, "SHAPES", ((lambda _: True, "only"),))
        return sources.parse(record, **options)


def native_with(attributes: dict[str, str], **alert: Any) -> Alert:
    (found,) = sources.parse(Record(native(**alert), datetime(2026, 11, 23, tzinfo=UTC), attributes=attributes))
    assert isinstance(found, Alert)
    return found


def test_attributes_become_labels_to_match_on() -> None:
    alert = native_with({"team": "payments"})
    assert alert.matching_labels()["team"] == "payments"


def test_an_attribute_gives_the_severity_of_an_alert_that_names_none() -> None:
    for attributes in ({"severity": "P1"}, {"Severity": "critical"}, {"PRIORITY": "p1"}):
        assert native_with(attributes, labels={}).severity is Severity.CRITICAL


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


def test_the_fingerprint_does_not_depend_on_attributes() -> None:
    """A resolve on another path has none, and closes the same incident."""
    alert = {"alert_name": "A", "fingerprint": "", "labels": {"x": "1"}}
    assert native_with({"team": "payments"}, **alert).fingerprint == native_with({}, **alert).fingerprint


def test_every_module_with_a_parse_is_in_a_table_and_the_last_resort_is_last() -> None:
    package = Path(sources.__file__).parent
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if "\ndef parse(record: Record) -> list" in path.read_text()
    }
    names = {*registry.DETAIL_TYPES.values(), *(name for _, name in registry.SHAPES), *registry.FALLBACKS}
    assert names == modules
    assert registry.FALLBACKS[-1] == "generic"
    assert all(callable(import_module(f"handler.sources.{name}").recognises) for name in registry.FALLBACKS)


IMPORTED = """
import json, sys
from datetime import UTC, datetime
from handler import sources
from handler.envelope import unwrap
sources.parse(unwrap(json.load(open(sys.argv[1])), datetime.now(UTC)))
names = {name.removeprefix("handler.sources.") for name in sys.modules if name.startswith("handler.sources.")}
print(*sorted(names - {"registry", "shapes", "sharing"}))
"""


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("guardduty-eventbridge-finding", "aws guardduty"),
        ("native-direct", "native"),
        ("cloudwatch-direct-alarm", "aws cloudwatch links"),
        ("ecs-eventbridge-failed", "aws deployments ecs"),
        (
            "glue-eventbridge-job-failed",
            "aws catalog catalog.events catalog.row catalog.states notices"
            " words words.fields words.identity words.states words.text",
        ),
        (
            "pagerduty-sns-trigger",
            "aws links pagerduty_body"
            " words words.fields words.headline words.identity words.links words.states words.text",
        ),
    ],
)
def test_only_the_module_that_reads_a_record_is_imported(name: str, modules: str) -> None:
    command = [sys.executable, "-c", IMPORTED, str(EVENTS / f"{name}.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == modules


def test_an_alert_has_the_id_of_the_message_it_came_in() -> None:
    (alert,) = parsed(AN_ALERT)
    assert isinstance(alert, Alert)
    assert alert.message_id == "m-1"


def test_a_message_names_at_most_twenty_targets() -> None:
    twenty = [f"t{number}" for number in range(20)]
    assert native_with({"targets": ",".join(twenty)}).targets == tuple(twenty)
    with pytest.raises(InvalidAlertError, match="targets: 21 names"):
        native_with({"targets": ",".join([*twenty, "one more"])})


def test_a_name_is_cut_on_reading() -> None:
    """A name that many alerts share would be written with each of them."""
    assert native_with({}, alert_name="x" * 5000).name == "x" * 1024


def test_an_account_that_has_a_name_is_labelled_with_it() -> None:
    named = replace(AN_ALERT, labels={"account": "123456789012"})
    (alert,) = parsed(named, account_names={"123456789012": "production"})
    (other,) = parsed(named, account_names={"210987654321": "staging"})
    assert isinstance(alert, Alert)
    assert alert.labels == {"account": "123456789012", "account_name": "production"}
    assert other == named


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
