"""The alert: what severity words mean, what targets match on, and what makes two alerts the same."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import fingerprint_of
from handler.mapping import event_of
from handler.pagerduty.severity import Severity, parse_severity
from tests.lab.alerts import AN_ALERT


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("critical", Severity.CRITICAL),
        ("page", Severity.CRITICAL),
        ("p1", Severity.CRITICAL),
        ("P1", Severity.CRITICAL),
        ("sev1", Severity.CRITICAL),
        (" Critical\n", Severity.CRITICAL),
        ("error", Severity.ERROR),
        ("high", Severity.ERROR),
        ("P2", Severity.ERROR),
        ("warning", Severity.WARNING),
        ("warn", Severity.WARNING),
        ("sev3", Severity.WARNING),
        ("info", Severity.INFO),
        ("P5", Severity.INFO),
        ("purple", None),
        ("", None),
        ("critical!", None),
    ],
)
def test_severity_words_mean_one_of_four_severities_in_any_case(word: str, severity: Severity | None) -> None:
    assert parse_severity(word) is severity


def test_severities_are_ordered_by_urgency() -> None:
    ordered = [Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.CRITICAL]

    assert [severity.urgency for severity in ordered] == [0, 1, 2, 3]


def test_an_alert_without_a_severity_word_has_no_severity() -> None:
    assert AN_ALERT.severity is None
    assert replace(AN_ALERT, severity_word="purple").severity is None
    assert replace(AN_ALERT, severity_word="page").severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("value", "is_change"), [("true", True), ("True", True), ("false", False), ("", False), ("yes", False)]
)
def test_the_label_change_event_makes_a_change(value: str, is_change: bool) -> None:
    assert replace(AN_ALERT, labels={"change_event": value}).is_change is is_change


def test_targets_match_on_source_fields_as_on_labels() -> None:
    alert = replace(AN_ALERT, component="db", group="shop", class_="cpu", severity_word="P1", labels={"team": "a"})

    assert alert.matching_labels() == {
        "alertname": "CheckoutErrorRate",
        "origin": "native",
        "source": "CheckoutErrorRate",
        "status": "firing",
        "component": "db",
        "group": "shop",
        "class": "cpu",
        "severity": "critical",
        "team": "a",
    }


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"location": "db-1", "labels": {"instance": "db-2"}}, "db-1"),
        ({"location": " ", "labels": {"job": "api", "instance": "db-2"}}, "db-2"),
        ({"labels": {"instance": " ", "cluster": "prod"}, "generator_url": "https://prom.example/graph"}, "prod"),
        ({"generator_url": "https://prom.example/graph"}, "prom.example"),
        ({"generator_url": "ftp://prom.example/graph"}, "CheckoutErrorRate"),
        ({"generator_url": "https://[::1"}, "CheckoutErrorRate"),
    ],
)
def test_the_matched_source_is_the_affected_resource_as_pagerduty_shows_it(fields: dict[str, Any], source: str) -> None:
    """Who reads `Source` on an incident may match on it; the parser's name is `origin`."""
    alert = replace(AN_ALERT, **fields)

    assert (alert.matching_labels()["source"], alert.matching_labels()["origin"]) == (source, "native")
    assert event_of(alert, Severity.ERROR).body()["payload"]["source"] == source


def test_a_label_wins_over_a_field_but_the_severity_is_the_one_it_means() -> None:
    """A matcher `severity="critical"` has to meet `P1`, and `component` is whatever the label says."""
    alert = replace(
        AN_ALERT, component="db", severity_word="warn", labels={"component": "disk", "severity": "critical"}
    )

    matched = alert.matching_labels()

    assert (matched["component"], matched["severity"]) == ("disk", "warning")


def test_an_unknown_severity_word_is_matched_as_it_is() -> None:
    assert replace(AN_ALERT, severity_word="purple").matching_labels()["severity"] == "purple"


@given(st.dictionaries(st.text(), st.text()), st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_the_labels(labels: dict[str, str], random: object) -> None:
    names = list(labels)
    random.shuffle(names)  # type: ignore[attr-defined]

    assert fingerprint_of({name: labels[name] for name in names}) == fingerprint_of(labels)


@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.text(max_size=3))
)
def test_different_labels_have_different_fingerprints(one: dict[str, str], other: dict[str, str]) -> None:
    assert (fingerprint_of(one) == fingerprint_of(other)) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "bc"}, {"ab": "c"}),
        ({"a": "b", "c": "d"}, {"a": "bcd"}),
        ({"a": ""}, {}),
        ({"a": "b", "c": ""}, {"a": "", "b": "c"}),
        ({"a": "ÿ"}, {"a": "y"}),
    ],
)
def test_names_and_values_are_kept_apart(one: dict[str, str], other: dict[str, str]) -> None:
    assert fingerprint_of(one) != fingerprint_of(other)


def test_a_fingerprint_stays_the_same_from_release_to_release() -> None:
    """An incident opened before an update has to be resolved after it."""
    assert fingerprint_of({"alertname": "Slow", "service": "checkout"}) == "bc7e2618260d5cf5ec7e0ebbbf8c7e5e"
