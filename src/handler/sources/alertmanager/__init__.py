"""Alertmanager, Amazon Managed Prometheus and Grafana: one alert per entry, under Prometheus's own fingerprint.

A message is the webhook's JSON, possibly damaged or cut short, or the text of a default template. All are first
converted to the webhook's shape: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. `custom`
reads the output of other templates.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BeforeValidator, Field

from handler.alert import Alert, Ignored, Image, Link, Status
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.alertmanager import custom, damaged, text
from handler.sources.alertmanager.fingerprint import is_fingerprint, prometheus_fingerprint
from handler.sources.sharing import shared, shared_text
from handler.validation import Instant, Model, Text, parse_model, parse_text

ORIGIN = "alertmanager"
CLIENT = "Alertmanager"
MAX_LINK_CHARACTERS = 2000
MAX_LABELS_IN_SUMMARY = 6
_STATUS = {"firing": Status.FIRING, "resolved": Status.RESOLVED}
_NO_STATES = {"pending", "paused"}
"""States of Grafana for which nothing is sent."""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _texts(value: Any) -> Any:
    """Return the values as texts, without nulls: the value of a Prometheus label is always a text."""
    if not isinstance(value, dict):
        return {} if value is None else value
    return {name: _text(inner) for name, inner in value.items() if inner is not None}


Labels = Annotated[dict[str, str], BeforeValidator(_texts)]
"""An object of texts; null reads as an empty one. The labels identify the alert, so they must be an object."""
Remarks = Annotated[dict[str, str], BeforeValidator(lambda value: _texts(value) if isinstance(value, dict) else {})]
"""An object of texts; anything else reads as an empty one."""
Remark = Annotated[str, BeforeValidator(lambda value: value.strip() if isinstance(value, str) else "")]
"""A text; anything else reads as an empty one."""


class Entry(Model):
    """One alert of a message."""

    status: Text = ""
    labels: Labels = Field(default_factory=dict)
    annotations: Remarks = Field(default_factory=dict)
    startsAt: Instant = None
    endsAt: Instant = None
    generatorURL: Remark = ""
    fingerprint: Remark = ""
    silenceURL: Remark = ""
    dashboardURL: Remark = ""
    panelURL: Remark = ""
    imageURL: Remark = ""
    valueString: Remark = ""


class Message(Model):
    """A group of alerts; its entries are validated one by one."""

    receiver: Remark = ""
    status: Remark = ""
    alerts: list[Any]
    groupLabels: Remarks = Field(default_factory=dict)
    commonLabels: Remarks = Field(default_factory=dict)
    commonAnnotations: Remarks = Field(default_factory=dict)
    externalURL: Remark = ""
    groupKey: Remark = ""
    truncatedAlerts: Annotated[int | str, BeforeValidator(lambda value: value if isinstance(value, int) else "")] = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels that all alerts of the group share."""
        return {**self.groupLabels, **self.commonLabels}

    def shared(self) -> "Message":
        """Return the message as each of its alerts shows it."""
        among = len(self.alerts)
        pairs = ("groupLabels", "commonLabels", "commonAnnotations")
        texts = ("receiver", "externalURL", "groupKey")
        return self.model_copy(
            update={
                **{name: shared(getattr(self, name), among) for name in pairs},
                **{name: shared_text(getattr(self, name), among) for name in texts},
            }
        )


def parse(record: Record) -> list[Alert | Ignored | InvalidAlertError]:
    """Return an alert per entry, an error per damaged entry, and one error for a part that was cut off."""
    match record.payload:
        case {"state": str(state), "body": body} as payload:
            return _of_state(payload, state, body, record)
        case {"state": str(state)} as payload if not isinstance(payload.get("alerts"), list):
            return _of_state(payload, state, payload.get("message"), record)
        case str(written) if written.lstrip().startswith("{") and '"alerts"' in written:
            return _of_webhook(*damaged.read(written), record)
        case str(written):
            return _of_text(written, record)
        case [{"labels": {"alertname": str()}}, *_] as entries:
            return _of_webhook({"alerts": entries}, True, record)
        case {"labels": {"alertname": str()}} as entry if "alerts" not in entry:
            return _of_webhook({"alerts": [entry]}, True, record)
        case [*entries]:
            return _of_webhook({"alerts": [custom.unflattened(entry) for entry in entries]}, True, record)
        case {"alerts": _} as payload:
            return _of_webhook(payload, True, record)
        case entry:
            return _of_webhook({"alerts": [custom.unflattened(entry)]}, True, record)


def _of_text(written: str, record: Record, status: Status | None = None) -> list[Alert | Ignored | InvalidAlertError]:
    message, is_whole = text.read(written, record.subject)
    if message["alerts"]:
        return _of_webhook({"status": str(status or ""), **message}, is_whole, record)
    return [*custom.read(written, record, status)]


def _of_state(
    payload: Mapping[str, Any], word: str, body: Any, record: Record
) -> list[Alert | Ignored | InvalidAlertError]:
    """Return the alerts of Amazon Managed Grafana's JSON: a state, and a text or a template's output."""
    state = word.strip().lower()
    if state in _NO_STATES:
        return [Ignored(SkipReason.NOTICE, f"Grafana: {state}")]
    status = _STATUS.get(state, Status.RESOLVED if state in ("ok", "normal") else Status.FIRING)
    inner = parse_text(body) if isinstance(body, str) else body
    if isinstance(inner, dict) and isinstance(inner.get("alerts"), list):
        return _of_webhook(inner, True, record)
    written = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False) if body else ""
    message, is_whole = text.read(written, record.subject)
    if message["alerts"]:
        return _of_webhook({"status": str(status), **message}, is_whole, record)
    return [custom.from_state(payload, record, status, written)]


def _of_webhook(payload: Any, is_whole: bool, record: Record) -> list[Alert | Ignored | InvalidAlertError]:
    missing = "" if is_whole else "a part that is damaged could not be read"
    if isinstance(record.payload, str) and record.attributes.get("truncated") == "true":
        missing = "it was cut at the 256 KB that SNS takes, and what follows is not known"
    message = parse_model(Message, payload, "Alertmanager message").shared()
    found: list[Alert | Ignored | InvalidAlertError] = [
        _alert(number, entry, message, record.published_at) for number, entry in enumerate(message.alerts)
    ]
    if not found:
        return [_group_alert(message, record.published_at)]
    if missing:
        found.append(InvalidAlertError(f"Alertmanager message of {len(found)} readable alerts: {missing}"))
    return found


def _alert(number: int, raw: Any, message: Message, published_at: datetime) -> Alert | InvalidAlertError:
    what = f"Alertmanager alert {number}"
    try:
        entry = parse_model(Entry, raw, what)
    except InvalidAlertError as invalid:
        return invalid
    status = _status(entry, message)
    if status is None:
        return InvalidAlertError(f"{what}: status: neither firing nor resolved")
    identity = _identity(entry, message)
    if not identity:
        return InvalidAlertError(f"{what}: labels: neither these nor a fingerprint say which alert it is")
    labels = {**message.labels, **entry.labels}
    annotations = {**message.commonAnnotations, **entry.annotations}
    says_nothing = not any(annotations.get(name, "").strip() for name in ("summary", "description", "message"))
    return Alert(
        fingerprint=identity,
        name=_name(labels) or message.receiver or "Prometheus alert",
        status=status,
        observed_at=published_at,
        origin=ORIGIN,
        labels=labels,
        annotations=annotations,
        summary=_in_words(labels) if says_nothing else "",
        starts_at=entry.startsAt,
        ends_at=entry.endsAt,
        generator_url=entry.generatorURL,
        severity_word=labels.get("severity", ""),
        client=CLIENT,
        client_url=message.externalURL,
        links=_links(entry, message.externalURL, labels),
        images=tuple(Image(url, alt="Snapshot") for url in _snapshots(entry)),
        details={
            "value": entry.valueString,
            "receiver": message.receiver,
            "group_key": message.groupKey,
            "group_labels": message.groupLabels,
            "truncated_alerts": message.truncatedAlerts or None,
        },
    )


def _name(labels: Mapping[str, str]) -> str:
    """Return the alert's name; where Grafana could not evaluate a rule, the rule's name, which is another label.

    https://grafana.com/docs/grafana/latest/alerting/fundamentals/alert-rule-evaluation/nodata-and-error-states/
    """
    name, rule = labels.get("alertname", "").strip(), labels.get("rulename", "").strip()
    return f"{rule} ({name})" if rule and name in ("DatasourceNoData", "DatasourceError") else name


def _in_words(labels: Mapping[str, str]) -> str:
    """Return the labels of an alert that no annotation describes."""
    told = {name: value for name, value in labels.items() if name not in ("alertname", "severity") and value.strip()}
    return ", ".join(f"{name} {value}" for name, value in list(told.items())[:MAX_LABELS_IN_SUMMARY])


def _status(entry: Entry, message: Message) -> Status | None:
    """Return an entry's status: its own, else resolved if it has an end, else the group's, else firing.

    A group fires while any of its alerts does, so an alert that has ended is resolved even in a firing group.
    """
    if own := entry.status.strip().lower():
        return _STATUS.get(own)
    return Status.RESOLVED if entry.endsAt else _STATUS.get(message.status.lower(), Status.FIRING)


def _identity(entry: Entry, message: Message) -> str:
    """Return Prometheus's fingerprint, from the entry or computed; for an entry without labels the group's."""
    if is_fingerprint(entry.fingerprint):
        return entry.fingerprint
    return prometheus_fingerprint(entry.labels) if entry.labels else _group_identity(message)


def _group_identity(message: Message) -> str:
    labels = message.groupLabels or message.commonLabels
    return f"{ORIGIN}/group/{prometheus_fingerprint(labels)}" if labels else ""


def _links(entry: Entry, external_url: str, labels: Mapping[str, str]) -> tuple[Link, ...]:
    """Return Grafana's links, or a link to a new silence for this alert, as in Alertmanager's own templates."""
    grafana = (
        Link(entry.dashboardURL, "Dashboard"),
        Link(entry.panelURL, "Panel"),
        Link(entry.silenceURL, "Silence in Grafana"),
    )
    links = tuple(link for link in grafana if link.href)
    if entry.silenceURL or not external_url:
        return links
    matchers = ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
    silence = f"{external_url}/#/silences/new?filter={quote('{' + matchers + '}', safe='', errors='replace')}"
    return (*links, Link(silence, "Silence in Alertmanager")) if len(silence) <= MAX_LINK_CHARACTERS else links


def _snapshots(entry: Entry) -> list[str]:
    named = (entry.annotations.get(name, "") for name in ("grafana_snapshot", "__alertImageURL__"))
    return [url for url in dict.fromkeys((entry.imageURL, *named)) if url]


def _group_alert(message: Message, published_at: datetime) -> Alert | InvalidAlertError:
    """Return one alert for a group whose entries cannot be read: a page is better than a dead letter."""
    if not _group_identity(message):
        raise InvalidAlertError("Alertmanager message: alerts: none can be read, and no label says of which group")
    summary = "The alerts of this group could not be read: look at Alertmanager"
    return _alert(0, {"annotations": {"summary": summary}}, message, published_at)
