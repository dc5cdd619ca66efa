"""Alertmanager and Amazon Managed Prometheus: one alert per entry, and one dedup key with every template."""

import json
import time
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import sources
from handler.alert import Alert, Status
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.mapping import event_of
from handler.pagerduty.severity import Severity
from handler.sources import alertmanager, native
from handler.sources.alertmanager import ORIGIN
from handler.sources.alertmanager.fingerprint import prometheus_fingerprint
from handler.sources.registry import source_of
from tests.lab.alerts import (
    json_values,
    on_topic,
    parse,
    parse_alert,
    parse_alerts,
    sample,
    shown,
)

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
STARTED_AT = "2026-11-24T10:00:00.5Z"
PUBLISHED_AT = "2026-11-24T10:00:30.000Z"
LABELS = {"alertname": "LampTooHot", "instance": "lamp-7", "severity": "critical"}
FINGERPRINT = "179109dadcad4878"
"""As Alertmanager 0.25 computes it for these labels."""
NO_END = "0001-01-01T00:00:00Z"


def entry(**fields: Any) -> dict[str, Any]:
    """Make one alert of a message; a field of None is left out."""
    alert = {
        "status": "firing",
        "labels": LABELS,
        "annotations": {"summary": "lamp-7 is at 91 degrees"},
        "startsAt": STARTED_AT,
        "endsAt": NO_END,
        "generatorURL": "https://prometheus.lamplight.example/graph?g0.expr=lamp_celsius",
        "fingerprint": FINGERPRINT,
        **fields,
    }
    return {name: value for name, value in alert.items() if value is not None}


def message(*entries: Any, **fields: Any) -> dict[str, Any]:
    """Make a webhook's message."""
    return {
        "receiver": "pagerduty",
        "status": "firing",
        "alerts": list(entries) or [entry()],
        "groupLabels": {"alertname": "LampTooHot"},
        "commonLabels": {"alertname": "LampTooHot"},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.lamplight.example",
        "version": "4",
        "groupKey": '{}:{alertname="LampTooHot"}',
        "truncatedAlerts": 0,
        **fields,
    }


def published(said: Any, at: str = PUBLISHED_AT, subject: str = "", **attributes: str) -> dict[str, Any]:
    """Make the record of an SNS notification."""
    text = said if isinstance(said, str) else json.dumps(said)
    named = {name: {"Type": "String", "Value": value} for name, value in attributes.items()}
    sns = {"TopicArn": TOPIC, "Message": text, "Timestamp": at, "Subject": subject, "MessageAttributes": named}
    return {"EventSource": "aws:sns", "Sns": sns}


def by_text(labels: dict[str, str], status: str = "Firing", annotations: str = " - summary = hot\n") -> str:
    """Make what the default template writes of one alert."""
    listed = "".join(f" - {name} = {value}\n" for name, value in labels.items())
    return f"hot\n\nAlerts {status}:\nLabels:\n{listed}Annotations:\n{annotations}Source: /graph\n\n\n\n"


def by_amp(*alerts: dict[str, Any], end: str = '],"groupLabels": {"alertname": "LampTooHot"}}') -> str:
    """Make what Amazon Managed Prometheus's documented template writes, which escapes nothing."""

    def texts(pairs: dict[str, str]) -> str:
        return ", ".join(f'"{name}": "{value}"' for name, value in pairs.items())

    written = [
        f'{{"status": "{a["status"]}","labels": {{{texts(a["labels"])}}},"annotations": {{{texts(a["annotations"])}}},'
        f'"startsAt": "2026-11-24 10:00:00.5 +0000 UTC","endsAt": "0001-01-01 00:00:00 +0000 UTC",'
        f'"generatorURL": "{a["generatorURL"]}","fingerprint": "{a["fingerprint"]}"}}'
        for a in alerts
    ]
    return f'{{"receiver": "default","status": "firing","alerts": [{", ".join(written)}{end}'


def alerts_of(event: Any) -> list[Alert]:
    """Return the alerts, and leave errors out."""
    return [found for found in parse(event) if isinstance(found, Alert)]


def errors_of(event: Any) -> list[str]:
    return [str(found) for found in parse(event) if isinstance(found, InvalidAlertError)]


# --- who an alert is ---


@pytest.mark.parametrize(
    ("labels", "fingerprint"),
    [
        ({}, "cbf29ce484222325"),
        (LABELS, FINGERPRINT),
        ({"alertname": "Größe", "path": 'C:\\new\n"x"'}, "f3ada0f55fc13b77"),
    ],
)
def test_the_fingerprint_is_the_one_of_prometheus(labels: dict[str, str], fingerprint: str) -> None:
    """The values are Alertmanager's own: the end-to-end tests ask a running one for more of them."""
    assert prometheus_fingerprint(labels) == fingerprint
    assert prometheus_fingerprint(dict(reversed(labels.items()))) == fingerprint


def test_every_template_gives_one_dedup_key() -> None:
    """Messages with and without the fingerprint meet in one incident."""
    webhook, text = message(), by_text(LABELS)
    paths = [webhook, message(entry(fingerprint=None)), by_amp(entry()), by_amp(entry())[:-60], text]

    assert [alert.fingerprint for path in paths for alert in alerts_of(published(path))] == [FINGERPRINT] * 5


def test_a_message_is_read_alike_on_every_path() -> None:
    """By SNS, by a queue, by a bus, and handed to the function."""
    said = message()
    queue = {"eventSource": "aws:sqs", "body": json.dumps(said)}
    bus = {"detail-type": "Prometheus", "source": "lamplight.prometheus", "detail": said}

    for event in (published(said), queue, bus, said):
        assert parse_alert(event).fingerprint == FINGERPRINT


def test_each_entry_is_an_alert_of_its_own() -> None:
    other = {**LABELS, "instance": "lamp-8"}
    resolved = entry(labels=other, status="resolved", endsAt="2026-11-24T10:00:20Z", fingerprint=None)

    first, second = alerts_of(published(message(entry(), resolved)))
    assert (first.status, second.status) == (Status.FIRING, Status.RESOLVED)
    assert second.fingerprint == prometheus_fingerprint(other)


def test_an_event_of_aws_is_never_taken_for_alertmanagers() -> None:
    event = {"detail-type": "Finding", "source": "aws.guardduty", "detail": message()}

    (found,) = parse(event)
    assert isinstance(found, Alert)
    assert found.origin != ORIGIN


@pytest.mark.parametrize("said", [{"alerts": []}, {"alerts": ["x"]}, {"alerts": {}}, "alerts: none", '{"alerts"'])
def test_what_only_looks_like_alertmanagers_is_left_to_others(said: Any) -> None:
    assert [found.origin for found in alerts_of(published(said))] == ["generic"]


# --- what is shown ---


def test_an_incident_says_where_to_look() -> None:
    alert = parse_alert(published(message(truncatedAlerts=3)))

    body = event_of(alert, Severity.INFO).body()

    assert (body["client"], body["client_url"]) == ("Alertmanager", "https://alertmanager.lamplight.example")
    silence, source = body["links"]
    assert unquote(silence["href"]) == (
        "https://alertmanager.lamplight.example/#/silences/new?filter="
        '{alertname="LampTooHot",instance="lamp-7",severity="critical"}'
    )
    assert source["href"] == "https://prometheus.lamplight.example/graph?g0.expr=lamp_celsius"
    assert (body["payload"]["source"], body["payload"]["severity"]) == ("lamp-7", "critical")
    details = body["payload"]["custom_details"]
    assert (details["receiver"], details["truncated_alerts"]) == ("pagerduty", 3)
    assert details["group_labels"] == {"alertname": "LampTooHot"}


def test_a_silence_that_fits_in_no_link_is_left_out() -> None:
    assert parse_alert(published(message(entry(labels={**LABELS, "query": "x" * 2000})))).links == ()


def test_the_group_fills_what_an_entry_leaves_out() -> None:
    alert = parse_alert(
        published(
            message(
                entry(labels=None, annotations=None),
                commonLabels={"alertname": "LampTooHot", "severity": "P1"},
                commonAnnotations={"summary": "hot"},
            )
        )
    )

    assert (alert.name, alert.severity, alert.annotations["summary"]) == ("LampTooHot", Severity.CRITICAL, "hot")
    assert alert.fingerprint == FINGERPRINT


@pytest.mark.parametrize("kind", ["DatasourceNoData", "DatasourceError"])
def test_a_rule_that_grafana_could_not_evaluate_is_named(kind: str) -> None:
    labels = {"alertname": kind, "rulename": "Till silent"}
    assert parse_alert({"alerts": [entry(labels=labels)], "receiver": "x"}).name == f"Till silent ({kind})"


def test_an_alert_that_no_annotation_describes_shows_its_labels() -> None:
    labels = {"alertname": "TillSilent", "severity": "page", "till": "4", "shop": "Leeds", "empty": " "}
    alert = parse_alert({"alerts": [entry(labels=labels, annotations={"runbook_url": "https://a.example"})]})
    payload = event_of(alert, Severity.ERROR).payload

    assert payload
    assert payload.summary == "TillSilent: till 4, shop Leeds"


def test_without_an_alertname_the_receiver_is_the_name() -> None:
    assert parse_alert({"alerts": [entry(labels={"job": "lamps"})], "receiver": "oncall"}).name == "oncall"
    assert parse_alert({"alerts": [entry(labels={"job": "lamps"})]}).name == "Prometheus alert"


# --- state and order ---


@pytest.mark.parametrize(
    ("fields", "group", "status"),
    [
        ({"status": "RESOLVED"}, "firing", Status.RESOLVED),
        ({"status": None, "endsAt": "2026-11-24T10:00:20Z"}, "firing", Status.RESOLVED),
        ({"status": None}, "resolved", Status.RESOLVED),
        ({"status": None}, "firing", Status.FIRING),
        ({"status": None}, None, Status.FIRING),
    ],
)
def test_an_entry_without_a_status_is_decided_by_its_end_and_by_its_group(
    fields: dict[str, Any], group: Any, status: Status
) -> None:
    assert parse_alert(published(message(entry(**fields), status=group))).status is status


@pytest.mark.parametrize(
    ("fields", "starts_at"),
    [
        ({}, "2026-11-24T10:00:00.500000+00:00"),
        ({"startsAt": "2026-11-24 11:00:00.5 +0100 CET m=+7.5"}, "2026-11-24T10:00:00.500000+00:00"),
        ({"startsAt": "2026-11-24T10:00:00.500123456Z"}, "2026-11-24T10:00:00.500123+00:00"),
    ],
)
def test_a_start_is_read_as_it_is_written(fields: dict[str, Any], starts_at: str) -> None:
    started = parse_alert(published(message(entry(**fields)))).starts_at
    assert started
    assert started.isoformat() == starts_at


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"startsAt": None},
        {"startsAt": "this morning"},
        {"startsAt": "2036-11-24T10:00:00Z"},
        {"status": "resolved", "endsAt": "2026-11-24T10:00:20Z"},
        {"status": "resolved", "endsAt": NO_END},
    ],
)
def test_the_time_of_publishing_orders_an_alert(fields: dict[str, Any]) -> None:
    """Its own times repeat, and Prometheus's clock may be wrong."""
    alert = parse_alert(published(message(entry(**fields))))
    assert alert.observed_at.isoformat() == "2026-11-24T10:00:30+00:00"


def test_an_alert_that_comes_back_with_its_old_start_is_newer_than_its_end() -> None:
    """Prometheus was cut off from Alertmanager, which resolved the alert; then it sends what has fired all the time."""
    end = "2026-11-24T10:20:00Z"
    lost = parse_alert(published(message(entry(status="resolved", endsAt=end)), "2026-11-24T10:21:00Z"))
    back = parse_alert(published(message(), "2026-11-24T10:26:00Z"))

    assert back.observed_at > lost.observed_at


# --- damaged entries ---


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (entry(labels=["hunter2"]), "alert 1: labels"),
        (entry(status="hunter2"), "alert 1: status: neither firing nor resolved"),
        (entry(status=["hunter2"]), "alert 1: status"),
        ("hunter2", "alert 1"),
    ],
)
def test_a_damaged_entry_does_not_disturb_its_sibling(damaged: Any, said: str) -> None:
    first, error = parse(published(message(entry(), damaged)))

    assert isinstance(first, Alert)
    assert isinstance(error, InvalidAlertError)
    assert said in str(error)
    assert "hunter2" not in shown(error)


def test_a_group_without_readable_alerts_pages_for_the_group() -> None:
    """And its resolve, as unreadable, closes it: nobody reads dead letters at night."""
    garbled = '{"status": "%s","alerts": [{"fingerprint": "%s}],"groupLabels": {"alertname": "LampTooHot"}}'

    trigger, resolve = (parse_alert(published(garbled % (s, '"broken"'))) for s in ("firing", "resolved"))
    assert trigger.fingerprint == resolve.fingerprint == f"alertmanager/group/{prometheus_fingerprint(trigger.labels)}"
    assert (trigger.status, resolve.status) == (Status.FIRING, Status.RESOLVED)
    assert "could not be read" in event_of(trigger, Severity.ERROR).body()["payload"]["summary"]


def test_what_names_neither_alert_nor_group_is_refused() -> None:
    (error,) = errors_of(published({"alerts": [entry(labels={}, fingerprint="")], "receiver": "x"}))
    assert "labels" in error
    with pytest.raises(InvalidAlertError, match="none can be read"):
        parse(published('{"alerts": [{"labels": {"alertname": "Lamp'))


# --- JSON that is none ---

HOSTILE = [
    'he said "stop"',
    '"',
    'a, "b", c',
    'got {"status": "error", "labels": {"a": "b"}}',
    'got [{"status": "a"}, {"status": "b"}]',
    "two\nlines",
    "C:\\temp\\",
    "\\d+ \\u00",
    '"}',
    "}, {",
    "tab\tand \x07",
]


@pytest.mark.parametrize("said", HOSTILE)
def test_no_annotation_hides_an_alert(said: str) -> None:
    """The documented template escapes nothing: whatever the text, every alert keeps identity, state and times."""
    other = entry(labels={**LABELS, "instance": "lamp-8"}, fingerprint="00000000000000aa")
    text = by_amp(entry(annotations={"description": said, "summary": "hot"}), other)

    first, second = alerts_of(published(text))

    assert (first.fingerprint, second.fingerprint) == (FINGERPRINT, "00000000000000aa")
    assert first.labels == LABELS
    assert (first.status, first.observed_at) == (Status.FIRING, second.observed_at)
    assert errors_of(published(text)) == []


@pytest.mark.parametrize("said", ['he said "stop"', "two\nlines", "\\d+", '"quoted"'])
def test_what_was_not_escaped_is_shown_as_it_was(said: str) -> None:
    text = by_amp(entry(labels={**LABELS, "query": said}, annotations={"description": said, "summary": "hot"}))

    alert = parse_alert(published(text))

    assert alert.annotations == {"description": said, "summary": "hot"}
    assert alert.labels == {**LABELS, "query": said}


def test_a_template_of_ones_own_may_leave_commas_behind() -> None:
    """After the last pair, where a loop writes one after each."""
    text = '{"alerts":[{"status":"firing","labels":{"alertname":"LampTooHot",},},{"labels":{"alertname":"Dark"}}]}'

    assert [alert.name for alert in alerts_of(published(text))] == ["LampTooHot", "Dark"]
    assert errors_of(published(text)) == []


def test_the_group_of_damaged_json_is_read() -> None:
    end = '],"commonLabels": {"team": "lamps"},"externalURL": "https://alertmanager.lamplight.example"}'

    alert = parse_alert(published(by_amp(entry(annotations={"summary": 'so "hot"'}), end=end)))

    assert (alert.labels["team"], alert.details["receiver"]) == ("lamps", "default")
    assert alert.client_url == "https://alertmanager.lamplight.example"


def test_escapes_are_read_where_only_line_breaks_were_left_as_they_are() -> None:
    text = by_amp(entry(annotations={"summary": 'say \\"hot\\"\ntwice'}), entry(annotations={"summary": 'a "b" \\d\n'}))

    assert [alert.annotations["summary"] for alert in alerts_of(published(text))] == ['say "hot"\ntwice', 'a "b" \\d\n']


@pytest.mark.parametrize("first", ["alertname", "summary"])
def test_a_text_that_cannot_be_read_hides_nothing_else(first: str) -> None:
    """A label or an annotation that is no text, in JSON that is none either."""
    said = entry(annotations={"summary": 'so "hot"'}, fingerprint="00000000000000aa")

    started_at = datetime.fromisoformat(STARTED_AT)
    alert = parse_alert(published(by_amp(said).replace(f'"{first}": "', f'"count": 3, "{first}": "', 1)))

    assert (alert.fingerprint, alert.starts_at, alert.name) == ("00000000000000aa", started_at, "LampTooHot")


def test_a_key_of_ones_own_changes_no_identity() -> None:
    """It hides where the annotations end, and with that the fingerprint, which is computed."""
    text = by_amp(entry(annotations={"summary": 'so "hot"'})).replace('"startsAt"', '"panel": 5,"startsAt"')

    alert = parse_alert(published(text))

    assert (alert.fingerprint, alert.labels, alert.status) == (FINGERPRINT, LABELS, Status.FIRING)


@pytest.mark.parametrize("first", ['"startsAt": "x"', '"fingerprint": ""', '"annotations": {}', '"status": "firing"'])
def test_an_entry_may_begin_with_any_of_its_keys(first: str) -> None:
    labels = '"labels": {"alertname": "%s", "query": "a "b" c"}'
    one, two = (f"{{{first},{labels % name}}}" for name in ("LampTooHot", "Dark"))

    assert [alert.name for alert in alerts_of(published(f'{{"alerts": [{one}, {two}]}}'))] == ["LampTooHot", "Dark"]


def test_an_entry_in_no_known_shape_changes_none_before_it() -> None:
    text = by_amp(entry(annotations={"summary": 'so "hot"'}), end=', {"id": "x","fingerprint": "00000000000000bb"}]}')

    assert [alert.fingerprint for alert in alerts_of(published(text))] == [FINGERPRINT]


@pytest.mark.parametrize("written", ["", "<no value>", "0", "179109DADCAD4878"])
def test_what_is_no_fingerprint_is_computed(written: str) -> None:
    """Whatever a template writes there, it must not make one incident of all alerts."""
    for annotation in ("hot", 'so "hot"'):
        said = entry(fingerprint=written, annotations={"summary": annotation})
        assert parse_alert(published(message(said))).fingerprint == FINGERPRINT
        assert parse_alert(published(by_amp(said))).fingerprint == FINGERPRINT


# --- messages that were cut ---


def written(path: str, count: int) -> str:
    """Return this many alerts in one of the formats."""
    alerts = [
        entry(labels={"alertname": "LampTooHot", "instance": f"lamp-{n}"}, fingerprint=None) for n in range(count)
    ]
    if path == "text":
        blocks = [by_text(alert["labels"]).partition("Labels:")[2].rstrip("\n") + "\n" for alert in alerts]
        return "Alerts Firing:\n" + "".join(f"Labels:{block}" for block in blocks)
    named = [{**alert, "fingerprint": prometheus_fingerprint(alert["labels"])} for alert in alerts]
    return by_amp(*named) if path == "amp" else json.dumps(message(*named))


@pytest.mark.parametrize("path", ["webhook", "amp", "text"])
def test_of_a_cut_message_every_whole_alert_is_sent_and_the_cut_is_reported(path: str) -> None:
    """Wherever Alertmanager cut it, no alert changes its identity, and an operator hears that some are missing."""
    text = written(path, 3)
    everyone = [alert.fingerprint for alert in alerts_of(published(text))]
    assert len(set(everyone)) == 3
    most = 0
    for length in range(text.index("lamp-0") + 100, len(text) - 1):
        found = parse(published(text[:length], truncated="true"))
        *alerts, error = found
        keys = [alert.fingerprint for alert in alerts if isinstance(alert, Alert)]
        assert keys == everyone[: len(keys)]
        assert isinstance(error, InvalidAlertError)
        assert "256 KB" in str(error)
        assert len(keys) >= most
        most = len(keys)
    assert most == 3


@pytest.mark.parametrize(("path", "cut", "count"), [("webhook", 250, 3), ("amp", 700, 1), ("text", 60, 2)])
def test_a_cut_that_no_attribute_mentions_is_noticed(path: str, cut: int, count: int) -> None:
    """Raw delivery to a queue drops the message's attributes."""
    event = {"eventSource": "aws:sqs", "body": written(path, 3)[:-cut]}

    assert len(alerts_of(event)) == count
    (error,) = errors_of(event)
    assert "could not be read" in error


# --- the default text ---


def test_a_section_says_whether_its_alerts_fire() -> None:
    firing, resolved = by_text(LABELS), by_text({**LABELS, "instance": "lamp-8"}, "Resolved")

    first, second = alerts_of(published(firing + resolved))

    assert (first.status, second.status) == (Status.FIRING, Status.RESOLVED)
    assert (first.labels["instance"], second.labels["instance"]) == ("lamp-7", "lamp-8")
    assert first.annotations == {"summary": "hot"}
    assert first.observed_at == datetime(2026, 11, 24, 10, 0, 30, tzinfo=UTC)


def test_headings_may_be_indented() -> None:
    """As in templates that AWS's own guides show."""
    text = by_text(LABELS).replace("Alerts Firing:\nLabels:", "  Alerts Firing:\n    Labels:")

    assert parse_alert(published(text)).fingerprint == FINGERPRINT


@pytest.mark.parametrize(("subject", "status"), [("[FIRING:1] x", Status.FIRING), ("[RESOLVED] x", Status.RESOLVED)])
def test_the_subject_says_what_a_list_without_heading_is(subject: str, status: Status) -> None:
    text = by_text(LABELS).replace("Alerts Firing:\n", "")

    assert parse_alert(published(text, subject=subject)).status is status
    assert parse_alert(published(text, subject="Morning list")).origin == "generic"


@pytest.mark.parametrize("value", ["two\nlines", "a = b", " spaced ", "", "x\n\nLabels:\n", "Alerts Resolved:"])
def test_a_value_may_have_lines_of_its_own(value: str) -> None:
    labels = {**LABELS, "note": value}
    text = by_text(labels, annotations=f" - description = {value}\n - summary = hot\n")

    alert = parse_alert(published(text))

    assert (alert.labels, alert.fingerprint) == (labels, prometheus_fingerprint(labels))
    assert alert.annotations == {"description": value, "summary": "hot"}


@pytest.mark.parametrize("heading", ["", "Alerts Resolved:\n"])
def test_an_annotation_that_looks_like_an_alert_is_none(heading: str) -> None:
    quoted = f" - description = the last mail said\n{heading}Labels:\n - alertname = Other\nno more\n"

    alert = parse_alert(published(by_text(LABELS, annotations=quoted)))

    assert (alert.status, alert.labels) == (Status.FIRING, LABELS)


# --- whatever comes in ---


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in inner for path in paths(child, (*here, key)))]


WHOLE = message(entry(), entry(status="resolved", endsAt="2026-11-24T10:00:20Z"))


@given(st.sampled_from(paths(WHOLE)[1:]), json_values)
def test_any_value_in_any_field_is_an_alert_or_an_error(path: tuple[Any, ...], value: Any) -> None:
    changed = deepcopy(WHOLE)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value

    assert_sound(changed)


@given(st.text(max_size=80) | st.sampled_from(HOSTILE), st.integers(0, 1200), st.integers(0, 1200))
def test_any_damage_to_a_text_is_an_alert_or_an_error(said: str, start: int, length: int) -> None:
    for text in (json.dumps(WHOLE), by_amp(entry(), entry()), by_text(LABELS) + by_text(LABELS, "Resolved")):
        assert_sound(text[:start] + said + text[start + length :])


def assert_sound(payload: Any) -> None:
    record = Record(payload, datetime(2026, 11, 24, 10, 0, 30, tzinfo=UTC), topic_arn=TOPIC)
    try:
        found = sources.parse(record)
    except InvalidAlertError:
        return
    assert found
    for one in found:
        assert isinstance(one, Alert | InvalidAlertError)
        if isinstance(one, Alert):
            assert one.fingerprint
            event_of(one, Severity.ERROR).body()


PIECES = ['"', '",', '", "a": "', "}, ", '],"status":', '{"labels": {', '"} ', "Labels:\n - ", " - a = b\n", "[", " "]


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_is_linear_in_the_text(piece: str) -> None:
    """256 KB of whatever is dearest to an expression is read in a moment."""
    filling = piece * (256 * 1024 // len(piece))
    record = Record(f'{{"alerts": [{{"labels": {{"x": "{filling}', datetime.now(UTC), topic_arn=TOPIC)
    in_words = Record(f"Alerts Firing:\nLabels:\n - {filling}", datetime.now(UTC), topic_arn=TOPIC)

    begun = time.process_time()
    for one in (record, in_words):
        assert source_of(one) is alertmanager
        assert_sound(one.payload)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["sns-firing", "sns-resolved", "sns-text-firing", "amp-firing"])
def test_an_alert_survives_the_queue(name: str) -> None:
    alert = parse_alert(sample(f"alertmanager-{name}"))

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))).fingerprint == alert.fingerprint


ENTRY = {"status": "firing", "labels": {"alertname": "TillIsSilent"}, "annotations": {"summary": "Nobody pays"}}


def test_an_entry_alone_and_a_list_of_entries_are_read_like_the_webhooks() -> None:
    (one,) = parse_alerts(on_topic({"receiver": "till", "alerts": [ENTRY]}))
    (alone,) = parse_alerts(on_topic(ENTRY))
    first, second = parse_alerts(on_topic([ENTRY, {**ENTRY, "status": "resolved"}]))

    assert one.fingerprint == alone.fingerprint == first.fingerprint == second.fingerprint
    assert (alone.status, first.status, second.status) == (Status.FIRING, Status.FIRING, Status.RESOLVED)
    assert alone.annotations["summary"] == "Nobody pays"


@pytest.mark.parametrize("message", [{**ENTRY, "status": "melted"}, {"labels": {"team": "shop"}}, {"labels": "none"}])
def test_labels_alone_make_no_entry(message: Any) -> None:
    (alert,) = parse_alerts(on_topic(message))
    assert alert.origin == "generic"


def test_a_template_that_was_not_filled_in_pages_under_its_subject() -> None:
    record = on_topic('{{ template "till.text" . }}')
    record["Sns"]["Subject"] = "[FIRING:1] TillIsSilent"
    (alert,) = parse_alerts(record)

    assert alert.status is Status.FIRING
    assert "TillIsSilent" in alert.summary
