"""Alerts for tests: one to vary, messages that contain alerts, and Hypothesis strategies."""

import json
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from handler import sources
from handler.alert import (
    Alert,
    Image,
    Link,
    Status,
)
from handler.envelope import split, unwrap
from handler.pagerduty.severity import Severity

EVENTS = Path(__file__).parents[2] / "events"
NOON = datetime(2026, 11, 30, 12, 0)
ARRIVED_AT = NOON.replace(tzinfo=UTC)
"""Later than every time in the samples: no time inside a message counts for later than its arrival."""
AN_ALERT = Alert(
    fingerprint="checkout-error-rate",
    name="CheckoutErrorRate",
    status=Status.FIRING,
    observed_at=datetime(2026, 11, 23, 3, 40, 1, tzinfo=UTC),
    origin="native",
)
"""Only the required fields; vary it with `dataclasses.replace`."""


def parse(event: Any) -> sources.Parsed:
    """Unwrap and parse a whole invocation that arrived at ARRIVED_AT."""
    return [found for record in split(event) for found in sources.parse(unwrap(record, ARRIVED_AT))]


def parse_alert(event: Any) -> Alert:
    """Return the one alert of an invocation."""
    (found,) = parse_alerts(event)
    return found


def parse_alerts(event: Any) -> list[Alert]:
    """Return the alerts of an invocation in which there is nothing else."""
    found = parse(event)
    alerts = [alert for alert in found if isinstance(alert, Alert)]
    assert alerts == found
    return alerts


def sample(name: str) -> Any:
    """Read a sample invocation of `events/`."""
    return json.loads((EVENTS / f"{name}.json").read_text())


TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"


def on_topic(message: Any, **attributes: str) -> dict[str, Any]:
    """Return the SNS record of a message: a text as it is, anything else as JSON."""
    sns = {
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-11-29T12:00:00.000Z",
        "MessageAttributes": {name: {"Type": "String", "Value": value} for name, value in attributes.items()},
    }
    return {"EventSource": "aws:sns", "Sns": sns}


def with_detail(event: Any, **fields: Any) -> Any:
    """Return an EventBridge event whose detail has these fields; one of `...` is left out."""
    detail = {name: value for name, value in {**event["detail"], **fields}.items() if value is not ...}
    return {**event, "detail": detail}


def shown(error: BaseException) -> str:
    """Return everything that a log could show of an error: text, representation, traceback with its chain."""
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


# --- What Hypothesis makes --------------------------------------------------------------------------------------------

text = st.text(st.characters(codec="utf-8"), max_size=40)
filled = text.map(str.strip).filter(bool)
instants = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
urls = st.one_of(
    text,
    st.builds("{}://{}/{}".format, st.sampled_from(["http", "https", "ftp"]), filled, text),
    st.just("https://grafana.lamplight.example/d/checkout"),
)
words = st.sampled_from(["", "critical", "P1", "warn", "purple"])
label_names = st.sampled_from(
    ["severity", "service", "instance", "cluster", "class", "change_event", "runbook_url", "image_url", "summary"]
)
labels = st.dictionaries(label_names | text, text | urls | st.just("true"), max_size=5)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """Any alert that a source may return: its severity is the classification's, else its own, else the label's."""
    its_labels = draw(labels)
    word = draw(words) or its_labels.get("severity", "")
    classified = draw(st.dictionaries(text.filter(lambda name: name != "severity"), json_values, max_size=3))
    classification = {name: value for name, value in classified.items() if value is not None}
    if classification and word:
        classification["severity"] = word
    return Alert(
        fingerprint=draw(filled | st.text("ab", min_size=250, max_size=300)),
        name=draw(filled),
        status=draw(st.sampled_from(Status)),
        observed_at=draw(st.datetimes(min_value=datetime(1970, 1, 1), max_value=NOON, timezones=st.just(UTC))),
        origin=draw(filled),
        labels=its_labels,
        annotations=draw(labels),
        starts_at=draw(st.none() | instants),
        ends_at=draw(st.none() | instants),
        generator_url=draw(urls),
        classification=classification or None,
        severity_word=word,
        summary=draw(text),
        location=draw(text),
        component=draw(text),
        group=draw(text),
        class_=draw(text),
        client=draw(text),
        client_url=draw(urls),
        links=tuple(draw(st.lists(st.builds(Link, urls, text), max_size=3))),
        images=tuple(draw(st.lists(st.builds(Image, urls, urls, text), max_size=3))),
        details=draw(st.dictionaries(text | label_names | st.just("labels"), json_values, max_size=4)),
        targets=tuple(draw(st.lists(filled, max_size=3, unique=True))),
    )


severities = st.sampled_from(Severity)
