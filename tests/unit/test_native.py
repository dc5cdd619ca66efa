"""The native alert: what may be left out, what is refused by its name, and that queues lose nothing of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from handler.alert import (
    Alert,
    Image,
    Link,
    Status,
    fingerprint_of,
)
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.pagerduty.severity import Severity
from handler.sources import native
from tests.lab.alerts import (
    AN_ALERT,
    ARRIVED_AT,
    alerts,
    parse,
    parse_alert,
    shown,
)

LEAST = {"alert_name": "Slow", "status": "firing"}
STARTED_AT = datetime(2026, 11, 23, 3, 40, 1, tzinfo=UTC)
ENDED_AT = datetime(2026, 11, 23, 4, 5, tzinfo=UTC)


def read(classification: Any = None, **fields: Any) -> Alert:
    return parse_alert({"alert": {**LEAST, **fields}, "classification": classification})


def test_a_name_and_a_status_are_enough() -> None:
    assert read() == Alert(
        fingerprint=fingerprint_of({"alertname": "Slow"}),
        name="Slow",
        status=Status.FIRING,
        observed_at=ARRIVED_AT,
        origin="native",
    )


def test_null_is_the_same_as_left_out() -> None:
    optional = set(native.NativeAlert.model_fields) - {"name", "status", "links", "images", "details", "class_"}

    assert read(**dict.fromkeys(optional)) == read()
    assert read(labels={"a": None}) == read()


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("firing", Status.FIRING),
        ("acknowledged", Status.ACKNOWLEDGED),
        ("silenced", Status.ACKNOWLEDGED),
        ("resolved", Status.RESOLVED),
    ],
)
def test_silenced_is_an_older_word_for_acknowledged(status: str, meant: Status) -> None:
    assert read(status=status).status is meant


@pytest.mark.parametrize(
    ("fields", "observed_at"),
    [
        ({"status": "firing", "starts_at": "2026-11-23T03:40:01Z"}, ARRIVED_AT),
        ({"status": "firing", "starts_at": "2026-11-23T03:40:01Z", "observed_at": "2026-11-23T04:05:00Z"}, ENDED_AT),
        ({"status": "resolved", "ends_at": "2026-11-23T04:05:00Z"}, ARRIVED_AT),
        ({"status": "acknowledged", "observed_at": "2026-11-23T04:05:00Z"}, ENDED_AT),
        ({"status": "firing", "observed_at": "soon"}, ARRIVED_AT),
        ({"status": "firing", "observed_at": "9999-12-31T00:00:00Z"}, ARRIVED_AT + timedelta(seconds=5)),
    ],
)
def test_the_time_of_publishing_orders_an_alert_unless_its_sender_vouches_for_another(
    fields: dict[str, Any], observed_at: datetime
) -> None:
    """One in the future would mute the alert until then."""
    assert read(**fields).observed_at == observed_at


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T03:40:01Z",
        "2026-11-23T03:40:01+00:00",
        "2026-11-23T03:40:01.000+0000",
        "2026-11-23T04:40:01+0100",
        "2026-11-23T03:40:01",
        "2026-11-23 03:40:01Z",
    ],
)
def test_times_come_in_many_spellings(text: str) -> None:
    assert read(starts_at=text).starts_at == STARTED_AT


def test_a_missing_fingerprint_is_computed_from_name_and_labels() -> None:
    """And a blank one too: PagerDuty refuses a blank dedup key."""
    computed = fingerprint_of({"alertname": "Slow", "a": "1", "b": "2"})

    assert read(labels={"b": "2", "a": "1"}).fingerprint == computed
    assert read(labels={"a": "1", "b": "2"}, fingerprint="").fingerprint == computed
    assert read(labels={"a": "1", "b": "2"}, fingerprint=" \t").fingerprint == computed
    assert read(labels={"a": "1"}, fingerprint="given").fingerprint == "given"


def test_a_computed_fingerprint_is_the_same_for_the_resolve() -> None:
    assert read(status="resolved", labels={"a": "1"}).fingerprint == read(labels={"a": "1"}).fingerprint


@pytest.mark.parametrize(
    ("classified", "given_", "labelled", "meant"),
    [
        ("critical", "warning", "info", Severity.CRITICAL),
        (None, "warning", "info", Severity.WARNING),
        (None, None, "P1", Severity.CRITICAL),
        (None, None, None, None),
        ("purple", None, "info", None),
    ],
)
def test_the_severity_is_the_classifications_then_the_alerts_then_the_labels(
    classified: str | None, given_: str | None, labelled: str | None, meant: Severity | None
) -> None:
    alert = read({"severity": classified, "confidence": 0.9}, severity=given_, labels={"severity": labelled})

    assert alert.severity is meant


def test_a_classification_is_kept_whole() -> None:
    classification = {"severity": "error", "confidence": 0.95, "reasoning": "why", "recommendations": ["a", "b"]}

    assert read(classification).classification == classification
    assert read().classification is None
    assert read({}).classification is None


def test_numbers_and_booleans_are_texts_in_labels() -> None:
    """A page is worth more than a quotation mark."""
    alert = read(labels={"port": 5432, "ratio": 0.5, "change_event": True}, annotations={"value": 97})

    assert alert.labels == {"port": "5432", "ratio": "0.5", "change_event": "true"}
    assert alert.annotations == {"value": "97"}
    assert alert.is_change


def test_links_and_images_come_along() -> None:
    alert = read(links=[{"href": "https://a", "text": "A"}, {"text": None}], images=[{"src": "https://b", "alt": "B"}])

    assert alert.links == (Link("https://a", "A"),)
    assert alert.images == (Image("https://b", alt="B"),)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"alert_name": None}, "alert.alert_name"),
        ({"alert_name": " "}, "alert.alert_name"),
        ({"alert_name": ["hunter2"]}, "alert.alert_name"),
        ({"status": None}, "alert.status"),
        ({"status": "hunter2"}, "alert.status"),
        ({"status": "FIRING"}, "alert.status"),
        ({"fingerprint": 12}, "alert.fingerprint"),
        ({"labels": "hunter2"}, "alert.labels"),
        ({"labels": ["hunter2"]}, "alert.labels"),
        ({"labels": {"team": ["hunter2"]}}, "alert.labels.team"),
        ({"labels": {"severity": 1}}, "alert.labels: Value error, severity: must be a string"),
        ({"labels": {"severity": ["hunter2"]}}, "alert.labels: Value error, severity: must be a string"),
        ({"labels": {"severity": True}}, "alert.labels: Value error, severity: must be a string"),
        ({"severity": 1}, "alert.severity"),
        ({"annotations": {"summary": {"hunter2": 1}}}, "alert.annotations.summary"),
        ({"targets": [f"t{number}" for number in range(21)]}, "alert.targets"),
        ({"generator_url": 12}, "alert.generator_url"),
        ({"links": "hunter2"}, "alert.links"),
        ({"links": ["hunter2"]}, "alert.links.0"),
        ({"images": [{"src": 1}]}, "alert.images.0.src"),
        ({"details": "hunter2"}, "alert.details"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidAlertError, match=f"native alert: {name}") as refused:
        read(**fields)

    assert "hunter2" not in shown(refused.value)


@pytest.mark.parametrize("missing", ["alert_name", "status"])
def test_a_missing_field_is_named(missing: str) -> None:
    alert = {name: value for name, value in LEAST.items() if name != missing}

    with pytest.raises(InvalidAlertError, match=f"native alert: alert.{missing}: Field required"):
        parse({"alert": alert})


@pytest.mark.parametrize(
    ("classification", "name"), [({"severity": 1}, "classification.severity"), ("hunter2", "classification")]
)
def test_a_wrong_classification_is_named(classification: Any, name: str) -> None:
    with pytest.raises(InvalidAlertError, match=f"native alert: {name}: ") as refused:
        read(classification)

    assert "hunter2" not in shown(refused.value)


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidAlertError, match=r"alert\.alert_name.*; .*alert\.status"):
        parse({"alert": {}})


@pytest.mark.parametrize("detail", [{}, {"alert": "hunter2"}, [], None, "hunter2"])
def test_the_detail_type_alert_has_to_be_one(detail: Any) -> None:
    """It is recognised by its detail-type alone, so a damaged one is named rather than passed on."""
    with pytest.raises(InvalidAlertError, match="native alert: ") as refused:
        parse({"detail-type": "Alert", "source": "anything.at.all", "detail": detail})

    assert "hunter2" not in shown(refused.value)


@pytest.mark.parametrize("payload", [{"alert": "Slow"}, {"alert": None}, {"alerts": [LEAST]}, {"alert_name": "Slow"}])
def test_without_an_object_called_alert_it_is_none(payload: Any) -> None:
    with pytest.raises(NotAnAlertError):
        parse(payload)


@given(alerts())
def test_an_alert_survives_the_queue(alert: Alert) -> None:
    """The retry queue and the dead-letter queue carry the native format: what comes back is the very same alert."""
    message = json.loads(json.dumps(native.dump(alert)))

    assert parse_alert(message) == alert


def test_empty_fields_are_left_out_of_a_message() -> None:
    message = native.dump(AN_ALERT)

    assert message == {
        "alert": {
            "fingerprint": "checkout-error-rate",
            "alert_name": "CheckoutErrorRate",
            "status": "firing",
            "observed_at": "2026-11-23T03:40:01Z",
            "origin": "native",
        }
    }


def test_the_order_of_observations_survives_the_queue() -> None:
    """A deferred acknowledgement keeps the time that it was published first."""
    alert = replace(AN_ALERT, status=Status.ACKNOWLEDGED, observed_at=ARRIVED_AT - timedelta(hours=3, microseconds=1))

    assert parse_alert(native.dump(alert)).observed_at == alert.observed_at
