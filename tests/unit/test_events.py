"""Events: what an alert becomes at PagerDuty, always within the limits and never refused for its form."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.alert import (
    Alert,
    Image,
    Link,
    Status,
)
from handler.errors import InvalidDedupKeyError
from handler.mapping import dedup_key_of, event_of
from handler.pagerduty.events import MAX_EVENT_BYTES, Action, Event, Payload, cut_to_size, encode
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import ELLIPSIS, truncate, truncate_bytes
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import (
    AN_ALERT,
    alerts,
    json_values,
    severities,
    text,
)

KEY = "0123456789abcdef0123456789abcdef"
PATHS = {Action.CHANGE: "/v2/change/enqueue"}


def body_of(alert: Alert, default_severity: Severity = Severity.ERROR) -> dict[str, Any]:
    return event_of(alert, default_severity).body()


def payload_of(alert: Alert) -> dict[str, Any]:
    payload: dict[str, Any] = body_of(alert)["payload"]
    return payload


def with_key(body: dict[str, Any]) -> bytes:
    return encode({"routing_key": KEY, **body})


# --- What PagerDuty accepts -------------------------------------------------------------------------------------------


def accept(event: Event) -> None:
    """Send an event to the simulator, and insist that it has nothing to say against it."""
    pagerduty = PagerDuty(lambda: 0.0)

    answer = pagerduty.handle("POST", PATHS.get(event.action, "/v2/enqueue"), with_key(event.body()))

    (request,) = pagerduty.requests
    assert (answer.status, request.errors, request.warnings) == (202, (), ())


@given(alerts(), severities)
def test_pagerduty_accepts_what_becomes_of_any_alert(alert: Alert, default_severity: Severity) -> None:
    """Without an error, and without a warning that it ignores a part."""
    accept(event_of(alert, default_severity))


@pytest.mark.parametrize(
    "field",
    ["fingerprint", "name", "generator_url", "summary", "location", "component", "group", "class_", "client"],
)
def test_pagerduty_accepts_an_alert_whatever_field_is_enormous(field: str) -> None:
    """SQS carries a mebibyte, and PagerDuty names no limit for most fields but that of the event."""
    enormous = "https://" + "ab.example/" * 90_000

    fields: dict[str, Any] = {field: enormous}

    accept(event_of(replace(AN_ALERT, **fields), Severity.ERROR))


@pytest.mark.parametrize("name", ["instance", "service", "cluster", "class", "runbook_url", "image_url", "x" * 600_000])
def test_pagerduty_accepts_an_alert_whatever_label_is_enormous(name: str) -> None:
    accept(event_of(replace(AN_ALERT, labels={name: "https://a.example/" + "b" * 600_000}), Severity.ERROR))


# --- Actions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "action"),
    [(Status.ACKNOWLEDGED, "acknowledge"), (Status.RESOLVED, "resolve")],
)
def test_acknowledge_and_resolve_carry_the_dedup_key_alone(status: Status, action: str) -> None:
    alert = replace(AN_ALERT, status=status, labels={"a": "b"}, links=(Link("https://a.example"),), client="us")

    assert body_of(alert) == {"event_action": action, "dedup_key": "checkout-error-rate"}


@pytest.mark.parametrize("status", Status)
def test_a_change_has_no_key_no_severity_and_no_client_whatever_its_status(status: Status) -> None:
    alert = replace(AN_ALERT, status=status, labels={"change_event": "true", "severity": "P1"}, severity_word="P1")

    body = body_of(alert)

    assert event_of(alert, Severity.ERROR).action is Action.CHANGE
    assert body.keys() == {"payload"}
    assert body["payload"].keys() == {"summary", "source", "timestamp", "custom_details"}


def test_the_least_alert_becomes_a_whole_trigger() -> None:
    assert body_of(AN_ALERT) == {
        "event_action": "trigger",
        "dedup_key": "checkout-error-rate",
        "payload": {
            "summary": "CheckoutErrorRate",
            "source": "CheckoutErrorRate",
            "severity": "error",
            "timestamp": "2026-11-23T03:40:01Z",
            "class": "CheckoutErrorRate",
        },
        "client": "PagerDuty Publisher",
    }


@pytest.mark.parametrize(
    ("word", "severity"), [("", "info"), ("purple", "info"), ("P1", "critical"), ("warn", "warning")]
)
def test_an_unknown_severity_falls_to_the_targets_default(word: str, severity: str) -> None:
    assert body_of(replace(AN_ALERT, severity_word=word), Severity.INFO)["payload"]["severity"] == severity


def test_the_timestamp_is_the_start_where_there_is_one() -> None:
    started = replace(AN_ALERT, starts_at=datetime(2026, 11, 23, 3, 0, tzinfo=UTC))

    assert payload_of(started)["timestamp"] == "2026-11-23T03:00:00Z"


@pytest.mark.parametrize(
    ("fields", "labels", "payload"),
    [
        (
            {"component": "db", "group": "shop", "class_": "cpu"},
            {"service": "a", "cluster": "b", "class": "c"},
            {"component": "db", "group": "shop", "class": "cpu"},
        ),
        (
            {},
            {"service": "checkout", "job": "node", "cluster": "prod", "namespace": "shop", "class": "latency"},
            {"component": "checkout", "group": "prod", "class": "latency"},
        ),
        (
            {},
            {"job": "node", "namespace": "shop"},
            {"component": "node", "group": "shop", "class": "CheckoutErrorRate"},
        ),
        ({}, {}, {"component": None, "group": None, "class": "CheckoutErrorRate"}),
    ],
)
def test_component_group_and_class_come_from_fields_then_labels(
    fields: dict[str, str], labels: dict[str, str], payload: dict[str, str | None]
) -> None:
    given_ = payload_of(replace(AN_ALERT, labels=labels, **fields))  # type: ignore[arg-type]

    assert {name: given_.get(name) for name in payload} == payload


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"location": "orders-db-1", "labels": {"instance": "a"}}, "orders-db-1"),
        ({"labels": {"instance": "a", "service": "b"}}, "a"),
        ({"location": " ", "labels": {"instance": "\t", "cluster": "prod"}}, "prod"),
        ({"generator_url": "https://prometheus.example:9090/graph"}, "prometheus.example"),
        ({"generator_url": "not a url"}, "CheckoutErrorRate"),
        ({}, "CheckoutErrorRate"),
    ],
)
def test_the_source_is_never_blank(fields: dict[str, Any], source: str) -> None:
    assert payload_of(replace(AN_ALERT, **fields))["source"] == source


# --- The summary ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summary", "annotations", "said"),
    [
        ("7 % fail", {"summary": "no"}, "CheckoutErrorRate: 7 % fail"),
        ("", {"summary": "7 % fail", "description": "no"}, "CheckoutErrorRate: 7 % fail"),
        ("", {"summary": "", "description": "7 % fail"}, "CheckoutErrorRate: 7 % fail"),
        (" ", {"summary": "\n", "message": "7 % fail"}, "CheckoutErrorRate: 7 % fail"),
        ("CheckoutErrorRate is high", {}, "CheckoutErrorRate is high"),
        ("two\nlines,  one\tsummary ", {}, "CheckoutErrorRate: two lines, one summary"),
        ("", {}, "CheckoutErrorRate"),
    ],
)
def test_a_summary_names_the_alert_in_one_line(summary: str, annotations: dict[str, str], said: str) -> None:
    assert payload_of(replace(AN_ALERT, summary=summary, annotations=annotations))["summary"] == said


def test_a_summary_is_cut_on_a_character_with_an_ellipsis() -> None:
    cut = payload_of(replace(AN_ALERT, summary="🔥" * 2000))["summary"]

    assert len(cut) == 1024
    assert cut.endswith("🔥" + ELLIPSIS)


# --- The dedup key ----------------------------------------------------------------------------------------------------


def test_a_fingerprint_that_fits_is_the_dedup_key() -> None:
    assert dedup_key_of(replace(AN_ALERT, fingerprint="a" * 255)) == "a" * 255


def test_a_longer_one_keeps_a_readable_prefix_and_ends_in_its_sha256() -> None:
    """The SHA-256 is of the whole: two long ones with the same beginning stay apart."""
    one = dedup_key_of(replace(AN_ALERT, fingerprint="arn:" + "a" * 300 + "1"))
    other = dedup_key_of(replace(AN_ALERT, fingerprint="arn:" + "a" * 300 + "2"))

    assert one != other
    assert len(one) == len(other) == 255
    assert one.startswith("arn:aaa")
    assert one == dedup_key_of(replace(AN_ALERT, status=Status.RESOLVED, fingerprint="arn:" + "a" * 300 + "1"))


@pytest.mark.parametrize("key", ["", " ", "\n", "a" * 256])
@pytest.mark.parametrize("action", [Action.TRIGGER, Action.ACKNOWLEDGE, Action.RESOLVE])
def test_a_key_that_pagerduty_would_refuse_is_not_sent(action: Action, key: str) -> None:
    with pytest.raises(InvalidDedupKeyError):
        Event(action=action, dedup_key=key).body()


@pytest.mark.parametrize("action", [Action.ACKNOWLEDGE, Action.RESOLVE])
def test_only_a_trigger_may_go_without_a_key(action: Action) -> None:
    with pytest.raises(InvalidDedupKeyError, match=f"{action} without a dedup key"):
        Event(action=action).body()

    payload = Payload(summary="s", source="s", severity=Severity.INFO)
    assert "dedup_key" not in Event(action=Action.TRIGGER, payload=payload).body()


# --- Links and images -------------------------------------------------------------------------------------------------


def test_urls_of_annotations_and_labels_become_links() -> None:
    alert = replace(
        AN_ALERT,
        annotations={"runbook_url": "https://wiki.example/checkout", "grafana_url": "https://grafana.example/a"},
        labels={"dashboard_url": "https://grafana.example/b", "runbook_url": "https://not.this"},
        generator_url="http://prometheus.example/graph",
        links=(Link("https://console.example", "Console"), Link("https://grafana.example/a", "Named by the source")),
    )

    assert body_of(alert)["links"] == [
        {"href": "https://console.example", "text": "Console"},
        {"href": "https://grafana.example/a", "text": "Named by the source"},
        {"href": "https://wiki.example/checkout", "text": "Runbook"},
        {"href": "https://grafana.example/b", "text": "Dashboard"},
        {"href": "http://prometheus.example/graph", "text": "Source"},
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "wiki/checkout",
        "ftp://a.example",
        "javascript:alert(1)",
        "https://",
        "https://[::1",
        "https://wiki.example/check out",
        "https://a b.example/",
        " https://a.example",
        "https://a.example\n",
        "https://a.example:port/",
        "https://a.example:99999/",
        "https://a.example/\u202egnp.exe",
        "https://\u00b8.example/",
    ],
)
def test_what_is_no_url_is_left_out_rather_than_refused_with_the_event(url: str) -> None:
    alert = replace(
        AN_ALERT,
        annotations={"runbook_url": url, "image_url": url},
        links=(Link(url),),
        images=(Image(url), Image("https://a.example/a.png", href=url)),
        generator_url=url,
        client_url=url,
    )

    body = body_of(alert)

    assert "links" not in body
    assert "client_url" not in body
    assert body["images"] == [{"src": "https://a.example/a.png"}]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:password@wiki.example:8443/a?b=@#c", "https://wiki.example:8443/a?b=@#c"),
        ("https://pagerduty.com@evil.example/", "https://evil.example/"),
        ("https://evil.example\\@pagerduty.com/", "https://pagerduty.com/"),
        ("https://a@b@evil.example", "https://evil.example"),
        ("https://wiki.example/a@b", "https://wiki.example/a@b"),
    ],
)
def test_user_info_in_a_url_is_dropped(url: str, shown: str) -> None:
    """It would be a password on a screen, or another host's name in front of the real one."""
    alert = replace(
        AN_ALERT, links=(Link(url, "Runbook"),), images=(Image(url, href=url),), client_url=url, generator_url=url
    )
    body = body_of(alert)

    assert body["links"] == [{"href": shown, "text": "Runbook"}]
    assert body["images"] == [{"src": shown, "href": shown}]
    assert body["client_url"] == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://p\u0430gerduty.com:8443/a", "https://xn--pgerduty-16g.com:8443/a"),
        ("https://pagerduty.com\u3002evil.example/", "https://pagerduty.com.evil.example/"),
        ("https://\uff45vil.example/\u00e4", "https://evil.example/\u00e4"),
    ],
)
def test_a_host_outside_ascii_is_shown_as_dns_has_it(url: str, shown: str) -> None:
    """Its letters may look like those of another."""
    assert body_of(replace(AN_ALERT, links=(Link(url),), generator_url=""))["links"] == [{"href": shown}]


@pytest.mark.parametrize("url", ["https://evil.example\\.pagerduty.com/", "https://user@", "https://user@:443"])
def test_a_url_whose_host_is_in_doubt_is_none(url: str) -> None:
    """Browsers end a host at a backslash, and Python's parser does not."""
    assert "links" not in body_of(replace(AN_ALERT, links=(Link(url),), generator_url=""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Runbook", "Runbook"),
        ("", None),
        ("Read v1.2 of the runbook, e.g. step 3.", "Read v1.2 of the runbook, e.g. step 3."),
        ("On evil.example", "On evil.example"),
        ("All of example", "All of example"),
        ("https://pagerduty.com/incidents", "www.evil.example: https://pagerduty.com/incidents"),
        ("PagerDuty.com", "www.evil.example: PagerDuty.com"),
        ("evil.example and pagerduty.com", "www.evil.example: evil.example and pagerduty.com"),
        ("pagerduty\uff0ecom", "www.evil.example: pagerduty\uff0ecom"),
        ("pagerduty\u3002com", "www.evil.example: pagerduty\u3002com"),
        ("pager\u200bduty.com", "www.evil.example: pager\u200bduty.com"),
        (".pagerduty.com", "www.evil.example: .pagerduty.com"),
        ("pagerduty.xn--p1ai", "www.evil.example: pagerduty.xn--p1ai"),
        ("at 10.0.0.1", "www.evil.example: at 10.0.0.1"),
        ("https://intranet/login", "www.evil.example: https://intranet/login"),
        ("https://www.evil.example@10/", "www.evil.example: https://www.evil.example@10/"),
        ("https://[::1]/", "www.evil.example: https://[::1]/"),
        ("https://[::1", "www.evil.example: https://[::1"),
        ("https://www.evil.example/docs", "https://www.evil.example/docs"),
        ("\u202emoc.ytudregap", "www.evil.example: moc.ytudregap"),
        ("x" * 2000, "x" * 1023 + "\u2026"),
        ("notevil.example", "www.evil.example: notevil.example"),
        ("www.evil.example.org", "www.evil.example: www.evil.example.org"),
    ],
)
def test_a_link_that_names_another_host_than_it_leads_to_shows_the_host(text: str, shown: str | None) -> None:
    alert = replace(AN_ALERT, links=(Link("https://www.evil.example/login", text),), generator_url="")

    assert body_of(alert)["links"][0].get("text") == shown


def test_images_are_https_alone() -> None:
    alert = replace(
        AN_ALERT,
        annotations={
            "image_url": "http://a.example/a.png",
            "snapshot_url": "https://a.example/b.png",
            "grafana_snapshot": "https://a.example/d.png",
        },
        images=(Image("https://a.example/c.png", "http://a.example", "c"),),
    )

    assert body_of(alert)["images"] == [
        {"src": "https://a.example/c.png", "href": "http://a.example", "alt": "c"},
        {"src": "https://a.example/d.png", "alt": "Snapshot"},
        {"src": "https://a.example/b.png", "alt": "Snapshot"},
    ]


@pytest.mark.parametrize(
    ("client_url", "generator_url", "url"),
    [
        ("https://console.example", "https://prometheus.example", "https://console.example"),
        ("", "https://prometheus.example", "https://prometheus.example"),
        ("nonsense", "https://prometheus.example", "https://prometheus.example"),
        ("", "", None),
    ],
)
def test_the_client_url_is_where_the_alert_can_be_looked_at(
    client_url: str, generator_url: str, url: str | None
) -> None:
    body = body_of(replace(AN_ALERT, client="Prometheus", client_url=client_url, generator_url=generator_url))

    assert (body["client"], body.get("client_url")) == ("Prometheus", url)


# --- Custom details ---------------------------------------------------------------------------------------------------


def test_custom_details_keep_what_the_source_said() -> None:
    alert = replace(
        AN_ALERT,
        labels={"a": "1"},
        annotations={"b": "2"},
        starts_at=datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
        ends_at=datetime(2026, 11, 23, 4, 0, tzinfo=UTC),
        classification={"severity": "critical", "confidence": 0.9},
        details={"state": "ALARM", "count": 0, "off": False, "nothing": None, "empty": {}},
    )

    assert payload_of(alert)["custom_details"] == {
        "labels": {"a": "1"},
        "annotations": {"b": "2"},
        "starts_at": "2026-11-23T03:00:00+00:00",
        "ends_at": "2026-11-23T04:00:00+00:00",
        "classification": {"severity": "critical", "confidence": 0.9},
        "state": "ALARM",
        "count": 0,
        "off": False,
    }


def test_details_do_not_hide_labels_and_classification() -> None:
    alert = replace(AN_ALERT, labels={"a": "1"}, details={"labels": "mine", "annotations": "kept, as there are none"})

    assert payload_of(alert)["custom_details"] == {"labels": {"a": "1"}, "annotations": "kept, as there are none"}


# --- Too large --------------------------------------------------------------------------------------------------------

details = st.dictionaries(
    text | st.sampled_from(["labels", "truncated", "annotations"]),
    st.one_of(
        json_values,
        st.builds(
            lambda unit, times: unit * times,
            st.sampled_from(["a", "é", "🔥", '"', "\n", "\x00"]),
            st.integers(0, 600_000),
        ),
        st.builds(lambda value, times: [value] * times, json_values, st.integers(0, 20_000)),
        st.integers(0, 30_000).map(lambda times: {f"name {n}": n for n in range(times)}),
    ),
    max_size=4,
)


@settings(max_examples=40)
@given(details)
def test_a_body_is_never_larger_than_pagerduty_takes(custom_details: dict[str, Any]) -> None:
    body = Event(
        action=Action.TRIGGER,
        dedup_key="k",
        payload=Payload(summary="s", source="s", severity=Severity.INFO, custom_details=custom_details),
    ).body()

    assert len(with_key(body)) <= MAX_EVENT_BYTES
    if body["payload"]["custom_details"] != custom_details:
        assert "larger than PagerDuty's limit" in body["payload"]["custom_details"]["truncated"]


def too_large(**details_: Any) -> dict[str, Any]:
    alert = replace(
        AN_ALERT,
        labels={"service": "checkout", "team": "payments"},
        annotations={"summary": "short"},
        links=(Link("https://wiki.example/checkout", "Runbook"),),
        details=details_,
    )
    return body_of(alert)


def test_the_longest_values_are_cut_first_and_labels_and_links_stay() -> None:
    body = too_large(log="l" * 600_000, note="n" * 1000, lines=["x" * 300_000, "y"])
    kept = body["payload"]["custom_details"]

    assert kept["labels"] == {"service": "checkout", "team": "payments"}
    assert kept["annotations"] == {"summary": "short"}
    assert (kept["note"], kept["lines"][1]) == ("n" * 1000, "y")
    assert kept["log"].endswith(ELLIPSIS)
    assert kept["lines"][0].endswith(ELLIPSIS)
    assert body["links"] == [{"href": "https://wiki.example/checkout", "text": "Runbook"}]
    assert "longest values were cut" in kept["truncated"]


def test_no_more_is_cut_than_has_to_be() -> None:
    assert len(with_key(too_large(log="l" * 600_000))) > MAX_EVENT_BYTES - 10


def test_an_event_of_exactly_the_limit_is_not_touched() -> None:
    room = MAX_EVENT_BYTES - len(with_key(too_large(log="l")))
    exact = too_large(log="l" * (room + 1))

    assert len(with_key(exact)) == MAX_EVENT_BYTES
    assert "truncated" not in exact["payload"]["custom_details"]
    assert "truncated" in too_large(log="l" * (room + 2))["payload"]["custom_details"]


def test_details_of_too_many_small_values_go_as_a_whole_and_labels_stay() -> None:
    kept = too_large(counts={f"host {n}": n for n in range(60_000)})["payload"]["custom_details"]

    assert kept.keys() == {"truncated", "labels"}
    assert kept["labels"] == {"service": "checkout", "team": "payments"}


def test_an_event_says_that_it_was_cut_whatever_its_details_say() -> None:
    kept = too_large(truncated="no", log="l" * 600_000)["payload"]["custom_details"]

    assert "longest values were cut" in kept["truncated"]


def test_cutting_leaves_the_event_given_as_it_was() -> None:
    body = {"payload": {"custom_details": {"labels": {"a": "b" * 100}, "log": "l" * 1000}}, "links": [{"href": "x"}]}
    before = json.dumps(body)

    assert len(encode(cut_to_size(body, 600))) <= 600
    assert json.dumps(body) == before


# --- Truncation -------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 30))
def test_truncate_keeps_to_its_limit(text_: str, limit: int) -> None:
    cut = truncate(text_, limit)

    assert len(cut) == min(len(text_), limit)
    assert cut == text_ or text_.startswith(cut.removesuffix(ELLIPSIS))


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 30))
def test_truncate_bytes_keeps_to_its_limit_and_splits_no_character(text_: str, limit: int) -> None:
    cut = truncate_bytes(text_, limit)

    assert len(cut.encode()) <= limit
    assert cut == text_ or set(cut) == {"."} or not cut or text_.startswith(cut.removesuffix(ELLIPSIS))


def test_an_alert_of_a_blank_name_is_called_after_its_origin() -> None:
    """A blank summary, or a blank source, would be refused."""
    event = event_of(replace(AN_ALERT, name=" "), Severity.ERROR)
    assert event.payload
    assert (event.payload.summary, event.payload.source) == ("An alert of native",) * 2
