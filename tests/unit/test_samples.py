"""The sample invocations of `events/`, the ones that `sam local invoke` uses: each is what its name says.

What becomes of a sample stands beside it, in `events/expected/<source>.yaml`.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from handler.alert import Alert, Ignored
from handler.envelope import split, unwrap
from handler.mapping import dedup_key_of, event_of
from handler.outcome import SkipReason
from handler.pagerduty.events import Action, encode
from handler.pagerduty.severity import Severity
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import (
    ARRIVED_AT,
    EVENTS,
    parse,
    parse_alerts,
    sample,
)

DEFAULT = Severity.INFO
"""Of the target; no sample asks for it by itself."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a sample becomes; an acknowledge and a resolve have no payload to look at.

    Attributes:
        summary: how the event's summary begins.
        change: the fingerprint of the change event that the sample is besides.
    """

    action: Action
    dedup_key: str
    observed_at: str
    severity: str | None = None
    summary: str = ""
    source: str = ""
    component: str | None = None
    group: str | None = None
    class_: str | None = None
    change: str | None = None


def expected_of(fields: dict[str, Any]) -> Expected | Ignored:
    """Return an entry of `events/expected/`: an event, or why there is none."""
    if "ignored" in fields:
        return Ignored(SkipReason(fields["ignored"]), fields["name"])
    named = {"class_" if name == "class" else name: value for name, value in fields.items()}
    return Expected(**{**named, "action": Action(fields["action"])})


EXPECTED = {
    name: expected_of(fields)
    for path in sorted((EVENTS / "expected").glob("*.yaml"))
    for name, fields in yaml.safe_load(path.read_text()).items()
}
ALERTS = {name: expected for name, expected in EXPECTED.items() if isinstance(expected, Expected)}
IGNORED = {name: expected for name, expected in EXPECTED.items() if isinstance(expected, Ignored)}


def test_every_sample_has_its_expectation() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == EXPECTED.keys()


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_is_read_by_the_source_that_its_name_says(name: str, expected: Expected) -> None:
    alert, *_ = parse_alerts(sample(name))

    assert alert.origin == name.partition("-")[0]
    assert dedup_key_of(alert) == expected.dedup_key
    assert alert.observed_at == datetime.fromisoformat(expected.observed_at).replace(tzinfo=UTC)


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_becomes_the_event_that_its_name_says(name: str, expected: Expected) -> None:
    alert, *_ = parse_alerts(sample(name))
    event = event_of(alert, DEFAULT)
    payload = event.payload

    assert event.action is expected.action
    assert event.dedup_key == (None if expected.action is Action.CHANGE else expected.dedup_key)
    if payload is None:
        assert expected.severity is None
        return
    assert payload.severity == expected.severity
    assert payload.summary.startswith(expected.summary)
    assert payload.source == expected.source
    assert (payload.component, payload.group, payload.class_) == (expected.component, expected.group, expected.class_)


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_is_a_change_event_besides_where_expected(name: str, expected: Expected) -> None:
    changes = parse_alerts(sample(name))[1:]

    assert [change.fingerprint for change in changes] == ([expected.change] if expected.change else [])
    assert all(change.is_change for change in changes)


@pytest.mark.parametrize("name", ALERTS)
def test_pagerduty_accepts_every_sample_without_a_warning(name: str) -> None:
    for alert in parse_alerts(sample(name)):
        pagerduty = PagerDuty(lambda: 0.0)
        event = event_of(alert, DEFAULT)
        path = "/v2/change/enqueue" if event.action is Action.CHANGE else "/v2/enqueue"

        answer = pagerduty.handle("POST", path, encode({"routing_key": "0" * 32, **event.body()}))

        assert answer.status == 202
        assert pagerduty.requests[0].warnings == ()


@pytest.mark.parametrize(("name", "expected"), IGNORED.items(), ids=IGNORED.keys())
def test_a_sample_that_pages_nobody_says_why(name: str, expected: Ignored) -> None:
    assert parse(sample(name)) == [expected]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_is_read_alike_out_of_a_dead_letter(name: str) -> None:
    """A redrive brings back what could not be read, once the fault is fixed."""
    for record in split(sample(name)):
        letter = {"eventSource": "aws:sqs", "body": json.dumps({"record": record, "error": "no target"})}

        assert parse(letter) == parse(record)
        assert all(isinstance(found, Alert | Ignored) for found in parse(letter))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_has_a_time_of_its_own(name: str) -> None:
    """All but direct invocations, which are published when they arrive."""
    for record in split(sample(name)):
        assert (unwrap(record, ARRIVED_AT).published_at == ARRIVED_AT) is ("-direct" in name)
