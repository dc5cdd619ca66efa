"""Reads the output of custom templates: the YAML of an AWS guide, and any text under a known subject.

In the guide Amazon Managed Prometheus writes a PagerDuty event as YAML:
https://aws.amazon.com/blogs/mt/using-amazon-managed-service-for-prometheus-alert-manager-to-receive-alerts-with-pagerduty/
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from handler.alert import Alert, Status
from handler.envelope import Record
from handler.pagerduty.text import truncate
from handler.sources.aws import filled
from handler.sources.links import links_in
from handler.sources.shapes import ALERT_NAMES
from handler.sources.words.severity import severity_word
from handler.sources.words.text import without_tags
from handler.validation import text_of

ORIGIN = "alertmanager"
CLIENT = "Alertmanager"
MAX_PAIRS = 30
MAX_VALUE_CHARACTERS = 4000
"""The limit for a multi-line text in YAML."""
MAX_SUMMARY_CHARACTERS = 1024
_SUBJECT = re.compile(r"\s*+\[(FIRING|RESOLVED)\b[^\]\n]{0,60}+\]?", re.IGNORECASE)
_STATE_IN_SUBJECT = re.compile(r"(?:^|(?<=[\s\[(|-]))(FIRING|RESOLVED)(?::\s?\d{1,5})?(?=\s?[:\])])")
_GRAFANA_TITLE = re.compile(r"\s*+\[(?:ALERTING|OK|NO DATA|FIRING|RESOLVED)\b[^\]\n]{0,60}+\]", re.IGNORECASE)
_STATE_WORDS = re.compile(
    r"\b(?:firing|resolved|alerting|triggered|ok)\b|:[a-z0-9_+-]{1,40}:|[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]",
    re.IGNORECASE,
)
"""What differs between a trigger and its resolve: words, emojis, and Slack's emoji names."""
_MARKUP = re.compile(r"[*`]+|:[a-z0-9_+-]{1,40}:|<https?://[^<>|\s]{1,2000}\|([^<>\n]{1,200})>")
_PAIR = re.compile(r"[-•\s]*+([A-Za-z][\w .-]{0,39}?)\s*+[:=](?!//)\s*+(.*)", re.DOTALL)
_NAMES = ("alert", "alertname", "alert_name", "rule", "rule_name", "title", "name")
_SUMMARIES = ("summary", "description", "message", "text")
_SEVERITIES = ("severity", "priority", "level", "sev")
_INSTANCES = ("instance", "host", "hostname", "node", "pod")
_VARYING = frozenset(
    (
        *("value", "values", "current_value", "status", "state", "time", "timestamp", "date", "duration"),
        *("started", "started_at", "starts_at", "startsat", "start", "ended", "ended_at", "ends_at", "endsat", "end"),
        "resolved_at",
    )
)
"""What differs between a trigger and its resolve."""
_EVENT_KEYS = frozenset(("routing_key", "service_key", "dedup_key", "severity", "description", "summary", "details"))
_EVENT_KEYS |= {"client_url", "event_action", "incident_key", "alert_name", "alertname"}
_STATUS = {
    **dict.fromkeys(["firing", "trigger", "alerting"], Status.FIRING),
    **dict.fromkeys(["resolved", "resolve", "ok"], Status.RESOLVED),
    **dict.fromkeys(["acknowledge", "acknowledged"], Status.ACKNOWLEDGED),
}

type Mappings = dict[str, str | dict[str, str]]


def read(text: str, record: Record, status: Status | None = None) -> list[Alert]:
    """Return the alerts of a text: one per event in YAML, else one for the whole text."""
    word, rest = _state_in_subject(record.subject)
    status = status or _status_in(word, text)
    events = [event for event in read_yaml(text) if len(_EVENT_KEYS & event.keys()) > 1]
    if events:
        return [_from_event(event, record, status) for event in events]
    return [_from_text(text, rest, record, status)]


def _state_in_subject(subject: str) -> tuple[str, str]:
    """Return the state in a subject, and the rest; `[FIRING:1] Disk` and `[prod] FIRING: Disk` are both usual."""
    found = _SUBJECT.match(subject)
    if found:
        return found[1], subject[found.end() :].strip()
    found = _STATE_IN_SUBJECT.search(subject)
    if found is None:
        return "", subject.strip()
    before, after = subject[: found.start()].rstrip(" [(|-"), subject[found.end() :].lstrip(" :])")
    return found[1], f"{before} {after}".strip()


def _status_in(word: str, text: str) -> Status:
    """Return the status in the subject, else in the first heading, else firing: when in doubt, page."""
    if word:
        return _STATUS[word.lower()]
    start = text.lstrip()[:200].lower()
    return Status.RESOLVED if start.startswith(("**resolved**", "alerts resolved:")) else Status.FIRING


def _from_event(event: Mappings, record: Record, status: Status) -> Alert:
    details = event.get("details")
    labels = {name: value for name, value in details.items() if value} if isinstance(details, dict) else {}
    fields = {name: value for name, value in event.items() if isinstance(value, str)}
    key = fields.get("dedup_key") or fields.get("incident_key", "")
    summary = fields.get("description") or fields.get("summary", "")
    name = (
        next((text for candidate in _NAMES if (text := labels.get(candidate) or fields.get(candidate, ""))), "")
        or key
        or summary
    )
    own_status = _STATUS.get((fields.get("event_action") or fields.get("status", "")).lower())
    return Alert(
        fingerprint=key or f"{ORIGIN}/text/{_digest(record.topic_arn, *sorted(map(str, (labels or fields).items())))}",
        name=name or "Prometheus alert",
        status=own_status or status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**labels, **filled({"severity": fields.get("severity"), "alertname": name})},
        severity_word=fields.get("severity") or labels.get("severity", ""),
        summary=summary,
        component=fields.get("component", ""),
        group=fields.get("group", ""),
        class_=fields.get("class", ""),
        client=fields.get("client") or CLIENT,
        client_url=fields.get("client_url", ""),
        links=links_in("\n".join(f"{name}: {text}" for name, text in {**fields, **labels}.items())),
    )


def _from_text(text: str, subject: str, record: Record, status: Status) -> Alert:
    lines = [line for raw in without_tags(text).splitlines() if (line := _plain(raw))]
    pairs: dict[str, str] = {}
    for line in lines:
        pair = _PAIR.fullmatch(line[:2000])
        if pair and pair[2].strip() and len(pairs) < MAX_PAIRS:
            pairs.setdefault(_key(pair[1]), pair[2].strip())
    named = next((pairs[name] for name in _NAMES if name in pairs), "")
    summary = next((pairs[name] for name in _SUMMARIES if name in pairs), "")
    telling = (line for line in lines if _identity_of(line) and " " in line)
    first = next(telling, next((line for line in lines if _identity_of(line)), ""))
    name = named or subject or first or "Prometheus alert"
    detail = named or summary or first
    headline = f"{subject}: {detail}" if subject and detail and detail not in subject else subject or detail
    if named and summary and summary not in headline:
        headline = f"{headline}: {summary}"
    identity = filter(None, (subject.lower(), *map(_identity_of, lines)))
    own_words = (*_NAMES, *_SUMMARIES, *_VARYING)
    return Alert(
        fingerprint=f"{ORIGIN}/text/{_digest(record.topic_arn, *identity)}",
        name=truncate(name, 255),
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={name: value for name, value in pairs.items() if name not in own_words and len(value) <= 255},
        severity_word=next((pairs[name] for name in _SEVERITIES if name in pairs), ""),
        summary=truncate(headline, MAX_SUMMARY_CHARACTERS),
        client=CLIENT,
        links=links_in(text),
        details={"subject": record.subject, "message": text},
    )


def unflattened(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat object of a template in the shape of the webhook's entries.

    What remains without states, values, times, texts and addresses identifies the alert. Where no label says which
    instance it is, the text does too: it may be all that tells two alerts apart.
    """
    nested = [inner for name in ("labels", "annotations") if isinstance(inner := entry.get(name), dict)]
    texts = {_key(name): text for name, value in entry.items() if (text := text_of(value).strip())}
    name = next(text for key in ALERT_NAMES if (text := text_of(entry.get(key)).strip()))
    told = {key: text for key, text in texts.items() if key in _SUMMARIES or key.endswith("url") or "://" in text}
    labels = {key: text for key, text in texts.items() if key not in (*told, *_VARYING, "alertname", "alert_name")}
    labels = {**labels, **(nested[0] if "labels" in entry and nested else {}), "alertname": name}
    if labels.keys().isdisjoint(_INSTANCES):
        labels = {**labels, **{key: text for key, text in told.items() if key in _SUMMARIES}}
    return {
        "status": texts.get("status") or texts.get("state", ""),
        "labels": labels,
        "annotations": {**told, **(nested[-1] if "annotations" in entry and nested else {})},
        "startsAt": entry.get("startsAt"),
        "endsAt": entry.get("endsAt"),
        "generatorURL": entry.get("generatorURL"),
        "fingerprint": entry.get("fingerprint"),
    }


def from_state(payload: Mapping[str, Any], record: Record, status: Status, body: str) -> Alert:
    """Return the alert of an object with a state and a text; its rule, if it names one, is the identity."""
    title = next((text for key in ("title", "ruleName", "name") if isinstance(text := payload.get(key), str)), "")
    alert = _from_text(body, _GRAFANA_TITLE.sub("", title or record.subject).strip(), record, status)
    ids = ("ruleUrl", "ruleId", "alert_uid")
    rule = next((payload[key] for key in ids if isinstance(payload.get(key), str | int)), "")
    fingerprint = f"{ORIGIN}/rule/{_digest(record.topic_arn, str(rule))}" if rule else alert.fingerprint
    return Alert(
        **{
            **{name: getattr(alert, name) for name in Alert.__slots__},
            "fingerprint": fingerprint,
            "severity_word": alert.severity_word or severity_word(payload),
            "links": (*alert.links, *links_in(" ".join(t for t in payload.values() if isinstance(t, str)))),
        }
    )


def _plain(line: str) -> str:
    """Return a line without Markdown, Slack's links and emojis."""
    return _MARKUP.sub(lambda found: found[1] or "", line).strip()


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _identity_of(line: str) -> str:
    """Return the part of a line that identifies the alert, without states, values and times."""
    pair = _PAIR.fullmatch(line[:2000])
    if (pair and _key(pair[1]) in _VARYING) or line.lower().strip(" :") in _VARYING:
        return ""
    return " ".join(_STATE_WORDS.sub("", line).lower().split()).strip(" -:*[]")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]


def read_yaml(text: str) -> list[Mappings]:
    """Read the simple YAML of such messages: names with texts, and one nested level of the same.

    A repeated name starts the next event; a line without a name continues the text before it.
    """
    events: list[Mappings] = [{}]
    holder: dict[str, Any] = events[0]
    last, parent, base = "", "", -1
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        base = indent if base < 0 else base
        name, colon, value = line.strip().partition(":")
        is_named = bool(colon) and re.fullmatch(r"[\w.-]{1,100}", name) is not None and not value.startswith("//")
        if line.strip() == "---" or (is_named and indent <= base and name in events[-1]):
            events.append({})
            last = parent = ""
        if line.strip() == "---":
            continue
        if is_named and indent <= base:
            holder, last = events[-1], name
            parent = name if value.strip() in ("", "|", ">", "|-", ">-") else ""
            holder[name] = "" if parent else _unquoted(value)
        elif is_named and parent:
            inside = events[-1].get(parent)
            if not isinstance(inside, dict):
                inside = events[-1][parent] = {}
            holder, last = inside, name
            holder[name] = _unquoted(value)
        elif last and isinstance(holder.get(last), str) and len(holder[last]) < MAX_VALUE_CHARACTERS:
            holder[last] = f"{holder[last]} {line.strip()}".strip()
    return [event for event in events if event]


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
