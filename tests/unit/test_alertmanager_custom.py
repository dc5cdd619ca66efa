"""What people's own templates and Grafana make of alerts: identity, state, a readable summary, links."""

from datetime import UTC, datetime
from typing import Any

import pytest

from handler import sources
from handler.alert import Alert, Ignored, Image, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import generic
from handler.sources.alertmanager.custom import read_yaml
from handler.sources.links import links_in
from handler.sources.registry import source_of
from tests.lab.alerts import ARRIVED_AT, TOPIC, parse_alert, sample

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


def read(message: Any, subject: str = "[FIRING:1]") -> list[Alert]:
    """Return the alerts of a message under a subject."""
    found = sources.parse(Record(message, NOW, topic_arn=TOPIC, subject=subject))
    return [alert for alert in found if isinstance(alert, Alert)]


# --- YAML -------------------------------------------------------------------------------------------------------------


def test_an_event_in_yaml_is_read_as_its_fields_say() -> None:
    firing = parse_alert(sample("alertmanager-sns-yaml-firing"))
    resolved = parse_alert(sample("alertmanager-sns-yaml-resolved"))

    assert firing.fingerprint == resolved.fingerprint == "TapeLibraryJam/tape-3"
    assert (firing.status, resolved.status) == (Status.FIRING, Status.RESOLVED)
    assert (firing.summary, firing.severity) == ("Robot arm of tape-3 is stuck", Severity.ERROR)
    assert firing.labels["team"] == "parcels"
    assert firing.client_url.startswith("https://aps-workspaces.")


def test_several_events_in_one_message_are_several_alerts() -> None:
    """A template that ranges over the alerts of a group repeats the names."""
    text = "".join(f"severity: error\ndescription: lamp {n} is dark\ndetails:\n  lamp: {n}\n" for n in (1, 2))

    assert [alert.summary for alert in read(text)] == ["lamp 1 is dark", "lamp 2 is dark"]
    assert len({alert.fingerprint for alert in read(text)}) == 2
    assert {a.fingerprint for a in read(text)} == {a.fingerprint for a in read(text, "[RESOLVED]")}


def test_an_event_in_yaml_needs_no_subject_and_may_say_its_own_state() -> None:
    (alert,) = read("dedup_key: a\nevent_action: resolve\nseverity: error", subject="")

    assert (alert.fingerprint, alert.status) == ("a", Status.RESOLVED)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("a: 1\nb:  two words  \n", [{"a": "1", "b": "two words"}]),
        ("  a: 'x: y'\n  b:\n    c: \"d\"\n  e: f", [{"a": "x: y", "b": {"c": "d"}, "e": "f"}]),
        ("a: one\n  more\nb: 2", [{"a": "one more", "b": "2"}]),
        ("a: |\n  first\n  second\nb: 2", [{"a": "first second", "b": "2"}]),
        ("a: 1\n---\na: 2", [{"a": "1"}, {"a": "2"}]),
        ("# note\na: https://x.example/b\nhttps://y.example", [{"a": "https://x.example/b https://y.example"}]),
        ("", []),
        ("no pairs at all", []),
    ],
)
def test_the_little_yaml_of_such_messages(text: str, events: list[Any]) -> None:
    assert read_yaml(text) == events


# --- Free texts -------------------------------------------------------------------------------------------------------


def test_a_free_text_and_its_resolve_are_one_incident() -> None:
    firing = parse_alert(sample("alertmanager-sns-custom-firing"))
    resolved = parse_alert(sample("alertmanager-sns-custom-resolved"))

    assert firing.fingerprint == resolved.fingerprint
    assert (firing.status, resolved.status) == (Status.FIRING, Status.RESOLVED)
    assert firing.labels["shop"] == "Leeds"
    assert [(link.href, link.text) for link in firing.links] == [
        ("https://wiki.lamplight.example/printers", "how to refill")
    ]


@pytest.mark.parametrize(
    ("firing", "resolved"),
    [
        ("**FIRING** Till 4 is silent\nValue: 3", "**RESOLVED** Till 4 is silent\nValue: 0"),
        (
            ":fire: Till 4 is silent\nStarted: 10:00",
            ":white_check_mark: Till 4 is silent\nStarted: 10:00\nEnded: 11:00",
        ),
        ("**Firing**\n\nValue: ", "**Resolved**\n\nValue: "),
        ("\U0001f525 Till 4 is silent", "\u2705 Till 4 is silent"),
    ],
)
def test_what_names_a_state_is_no_part_of_the_identity(firing: str, resolved: str) -> None:
    (first,), (second,) = read(firing, "[FIRING:1] Till shops"), read(resolved, "[RESOLVED] Till shops")

    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("firing", "resolved", "summary"),
    [
        ("FIRING: TillSilent", "RESOLVED: TillSilent", "TillSilent: Till 4 is silent"),
        ("[prod] FIRING: TillSilent", "[prod] RESOLVED: TillSilent", "[prod] TillSilent: Till 4 is silent"),
        ("shop [FIRING:2] TillSilent", "shop [RESOLVED] TillSilent", "shop TillSilent: Till 4 is silent"),
        ("TillSilent (FIRING)", "TillSilent (RESOLVED)", "TillSilent: Till 4 is silent"),
    ],
)
def test_the_state_may_stand_anywhere_in_a_subject(firing: str, resolved: str, summary: str) -> None:
    (one,), (end,) = read("Till 4 is silent", firing), read("Till 4 is silent", resolved)

    assert (one.status, end.status, one.summary) == (Status.FIRING, Status.RESOLVED, summary)
    assert one.fingerprint == end.fingerprint


@pytest.mark.parametrize("subject", ["Firing: till", "FIRING squad", "Ceasefire FIRINGS: 2", "RESOLVED"])
def test_another_word_in_a_subject_is_no_state(subject: str) -> None:
    """A template's is in capitals, with a sign behind it."""
    assert source_of(Record("Till 4", ARRIVED_AT, topic_arn=TOPIC, subject=subject)) is generic


def test_different_texts_under_one_subject_are_different_incidents() -> None:
    texts = [f"Alert: {what}" for what in ("till 4 is silent", "till 5 is silent", "door 4 is open")]

    assert len({alert.fingerprint for text in texts for alert in read(text)}) == 3
    assert len({alert.fingerprint for n in range(3) for alert in read("Look", f"[FIRING:1] till {n}")}) == 3


@pytest.mark.parametrize(
    ("text", "subject", "summary"),
    [
        ("*Alert:* Till is silent", "[FIRING:1]", "Till is silent"),
        ("Alert: Till is silent\nSummary: no sale for an hour", "[FIRING:1]", "Till is silent: no sale for an hour"),
        ("Nobody has sold anything", "[FIRING:1] TillSilent shops", "TillSilent shops: Nobody has sold anything"),
        (":fire:\n<https://a.example|Graph>\nThe till is silent", "[FIRING:1]", "The till is silent"),
        ("**Firing**\n\nValue: ", "[FIRING:1] TillSilent (York)", "TillSilent (York)"),
        ("", "[FIRING:1]", "Prometheus alert"),
        ("<b>Look</b><br>Alert: Till is silent<br>", "[FIRING:1]", "Till is silent"),
    ],
)
def test_the_summary_says_what_is_wrong(text: str, subject: str, summary: str) -> None:
    (alert,) = read(text, subject)

    assert (alert.summary or alert.name) == summary


# --- Flat objects -----------------------------------------------------------------------------------------------------

FLAT = {"alertname": "TillSilent", "status": "firing", "instance": "till-4", "severity": "page", "value": "3"}


def test_a_flat_object_of_a_template_is_an_alert_and_its_resolve_ends_it() -> None:
    (firing,) = read({**FLAT, "summary": "No sale for 3 hours", "dashboard_url": "https://g.example/d/1"}, "")
    (resolved,) = read({**FLAT, "status": "RESOLVED", "value": "0", "summary": "Sold again"}, "")

    assert (firing.origin, firing.name, firing.severity) == ("alertmanager", "TillSilent", Severity.CRITICAL)
    assert (firing.status, resolved.status) == (Status.FIRING, Status.RESOLVED)
    assert firing.annotations["summary"] == "No sale for 3 hours"
    assert firing.annotations["dashboard_url"] == "https://g.example/d/1"
    assert firing.fingerprint == resolved.fingerprint
    assert firing.fingerprint != read({**FLAT, "instance": "till-5"}, "")[0].fingerprint


def test_without_an_instance_the_text_tells_two_alerts_apart() -> None:
    shop = {name: value for name, value in FLAT.items() if name != "instance"} | {"team": "shop"}
    one, other = (read({**shop, "summary": f"Till {number} is silent"}, "")[0] for number in (4, 5))
    assert one.fingerprint != other.fingerprint


def test_a_list_of_flat_objects_is_one_alert_each() -> None:
    found = read([FLAT, {**FLAT, "instance": "till-5", "status": "resolved"}], "")
    assert [(alert.labels["instance"], alert.status) for alert in found] == [
        ("till-4", Status.FIRING),
        ("till-5", Status.RESOLVED),
    ]


@pytest.mark.parametrize(
    "payload", [{"alertname": "X"}, {"alertname": "X", "status": "red"}, {"status": "firing"}, [FLAT, {"a": 1}], []]
)
def test_what_lacks_a_name_or_a_state_is_no_flat_alert(payload: Any) -> None:
    assert source_of(Record(payload, ARRIVED_AT, topic_arn=TOPIC)) is generic


# --- Grafana ----------------------------------------------------------------------------------------------------------


def block(shop: str, end: str = "") -> str:
    """Return an alert as Grafana's default template writes it."""
    labels = f" - alertname = QueueTooLong\n - severity = critical\n - shop = {shop}\n"
    return f"Value: A=31\nLabels:\n{labels}Annotations:\n - summary = people wait\n{end}\n"


@pytest.mark.parametrize("end", ["", "Source: https://g.example/a\n", "Dashboard: https://g.example/d/b\n"])
def test_the_sections_of_grafana_say_which_alerts_fire(end: str) -> None:
    """Source lines are there only where Grafana knows its own address."""
    text = f"**Firing**\n\n{block('Leeds', end)}{block('Hull', end)}\n\n**Resolved**\n\n{block('York', end)}"
    alerts = read(text, "[FIRING:2, RESOLVED:1] QueueTooLong")

    assert [(alert.labels["shop"], alert.status) for alert in alerts] == [
        ("Leeds", Status.FIRING),
        ("Hull", Status.FIRING),
        ("York", Status.RESOLVED),
    ]
    assert all(alert.annotations == {"summary": "people wait"} for alert in alerts)
    assert {a.fingerprint for a in read(f"**Resolved**\n\n{block('Hull')}", "[RESOLVED]")} <= {
        alert.fingerprint for alert in alerts
    }


def test_the_addresses_of_grafana_are_links() -> None:
    alert = parse_alert(sample("alertmanager-sns-grafana-firing"))

    assert [link.text for link in alert.links] == ["Dashboard", "Panel", "Silence in Grafana"]
    assert alert.generator_url.endswith("/view")
    assert alert.details["value"] == "A=31"


def test_a_snapshot_is_an_image() -> None:
    entry = {"labels": {"a": "b"}, "annotations": {"grafana_snapshot": "https://g.example/s.png"}}
    (alert,) = read({"alerts": [{**entry, "imageURL": "https://g.example/i.png"}]}, "")

    assert alert.images == tuple(Image(f"https://g.example/{n}.png", alt="Snapshot") for n in "is")


def test_managed_grafanas_state_is_the_status() -> None:
    firing = parse_alert(sample("alertmanager-sns-grafana-state"))
    over = parse_alert(sample("alertmanager-sns-grafana-state-ok"))

    assert firing.fingerprint == over.fingerprint
    assert (firing.status, over.status) == (Status.FIRING, Status.RESOLVED)
    assert firing.summary == "Delivery vans offline: 4 of 9 vans have sent no position for ten minutes"


@pytest.mark.parametrize(("state", "status"), [("alerting", Status.FIRING), ("OK", Status.RESOLVED)])
def test_a_body_beside_a_state_may_be_a_text_of_alerts(state: str, status: Status) -> None:
    (alert,) = read({"state": state, "body": block("Leeds")}, "")

    assert (alert.status, alert.labels["shop"]) == (status, "Leeds")


@pytest.mark.parametrize("body", ["till 4 is silent", "till 5 is silent", None, {"a": 1}, 7])
def test_a_body_alone_is_the_identity(body: Any) -> None:
    (alert,), (over,) = (read({"state": state, "body": body}, "") for state in ("alerting", "ok"))
    (other,) = read({"state": "alerting", "body": "till 6 is silent"}, "")

    assert alert.fingerprint == over.fingerprint != other.fingerprint


def test_a_pending_rule_pages_nobody() -> None:
    record = Record({"state": "pending", "body": "x"}, NOW, topic_arn=TOPIC)

    assert sources.parse(record) == [Ignored(SkipReason.NOTICE, "Grafana: pending")]


# --- Links ------------------------------------------------------------------------------------------------------------


A, B = "https://a.example/x", "https://b.example/y"


@pytest.mark.parametrize(
    ("text", "links"),
    [
        (f"see {A}.", [(A, "")]),
        (f"Runbook: {A}\n{B}", [(A, "Runbook"), (B, "")]),
        (f"[how to]({A}) ({B})", [(A, "how to"), (B, "")]),
        (f"<{A}|how to> <{B}>", [(A, "how to"), (B, "")]),
        ("ftp://a.example javascript:alert(1)", []),
        (f"{A} {A}", [(A, "")]),
    ],
)
def test_links_are_found_with_what_they_are_called(text: str, links: list[tuple[str, str]]) -> None:
    assert [(link.href, link.text) for link in links_in(text)] == links


PIECES = [
    *("\n", "a: b\n", "a:\n  b: c\n", "[a](http://x", "<http://aaa", "http://aaaa ", "`*a", "# x\n", "A", "• "),
    *("Value: \nLabels:\n - a = b\n", " - a = b\n", "firing ", ":a", "**Firing**\n", "Source: x\n"),
    "dedup_key: a\nseverity: b\n",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_message_of_256_kb_of_whatever_is_dearest_is_read(piece: str) -> None:
    """In time linear in its length: a quadratic expression would take minutes here."""
    for start in ("", f"**Firing**\n\n{block('Leeds')}", "dedup_key: x\nseverity: y\n"):
        assert read(start + piece * (256 * 1024 // len(piece)))
