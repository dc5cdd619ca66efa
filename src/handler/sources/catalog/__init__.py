"""AWS services whose events need no logic of their own: one row each in `events` or `messages`.

Bad states trigger and good states resolve under the same identity; progress and notices are ignored. An unknown state
pages with its name.
"""

from typing import Any
from urllib.parse import quote

from handler.alert import CHANGE_EVENT_LABEL, Alert, Ignored, Link, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity, parse_severity
from handler.sources.aws import Arn, Home, filled
from handler.sources.catalog.row import Fields, Meaning, Path, Row, Shape
from handler.sources.words.identity import digest_of
from handler.sources.words.states import state_word
from handler.sources.words.text import first_line
from handler.validation import text_of

_REASONS = {Meaning.PROGRESS: SkipReason.IN_PROGRESS, Meaning.NOTICE: SkipReason.NOTICE}
_MAX_REASON_CHARACTERS = 500
_ACCOUNT, _REGION = "awsAccountId|accountId", "awsRegion|region"


def recognises(record: Record) -> bool:
    """Return whether a row describes the record."""
    return _find(record) is not None


def parse(record: Record) -> list[Alert | Ignored]:
    """Return the alerts, or the reason to ignore it, that the record's row says."""
    found = _find(record)
    if found is None:
        return []
    row, fields = (found.row, found.read(record)) if isinstance(found, Shape) else (found, _detail(record))
    return _outcome(row, fields, record)


def _find(record: Record) -> Row | Shape | None:
    if record.detail_type:
        from handler.sources.catalog.events import EVENTS

        row = EVENTS.get(record.detail_type)
        return row if row and row.source in ("", record.event_source) else None
    from handler.sources.catalog.messages import MESSAGES

    return next((shape for shape in MESSAGES if shape.is_one(record)), None)


def _detail(record: Record) -> Fields:
    return record.payload if isinstance(record.payload, dict) else {}


def _outcome(row: Row, fields: Fields, record: Record) -> list[Alert | Ignored]:
    word = text_at(row.state, fields, record)
    state = state_word(word)
    meaning = row.meaning_of(state)
    if meaning in _REASONS:
        return [Ignored(_REASONS[meaning], " ".join(part for part in (row.name, word) if part))]
    alert = _alert(row, fields, record, word=word, state=state, is_good=meaning is not Meaning.BAD)
    if meaning is Meaning.CHANGE:
        return [_change(alert, record)]
    return [alert, _change(alert, record)] if row.leaves_change and meaning is Meaning.GOOD else [alert]


def _alert(row: Row, fields: Fields, record: Record, *, word: str, state: str, is_good: bool) -> Alert:
    home = _home(fields, record)
    identity = "/".join(part for path in row.id if (part := text_at(path, fields, record)))
    location = text_at(row.location, fields, record) or identity
    if not identity:
        fingerprint = f"{row.origin}:{digest_of(record)}"
    elif identity.startswith("arn:"):
        fingerprint = f"{identity}#{row.key}"
    else:
        fingerprint = f"{row.origin}:{home.account}:{'' if row.is_global else home.region}:{identity}#{row.key}"
    reasons = [reason for template in row.reasons if (reason := _filled_in(template, fields, record))]
    short_location = Arn.of(location).resource or location
    reasons = [reason for reason in reasons if reason not in (short_location, location, word)]
    heading = " ".join(part for part in (row.name, word) if part)
    links = [Link(address) for path in row.links if (address := text_at(path, fields, record))]
    console, fragment = row.console
    if console:
        fragment = _filled_in(fragment, fields, record, is_quoted=True)
        links.append(Link(home.console(console, fragment), f"{row.service} console"))
    labels = {name: text_at(path, fields, record) for name, path in row.labels.items()}
    return Alert(
        fingerprint=fingerprint,
        name=row.name,
        status=Status.RESOLVED if is_good else Status.FIRING,
        observed_at=record.published_at,
        origin=row.origin,
        labels={**home.labels, **filled({"detail_type": record.detail_type, **labels})},
        severity_word=_severity_word(row, state, fields, record),
        summary=": ".join(
            [heading, *([short_location] if short_location else []), *(["; ".join(reasons)] if reasons else [])]
        ),
        location=location,
        component=row.service,
        group=home.account,
        class_=row.name,
        client=row.service,
        client_url=links[-1].href if links else "",
        links=tuple(links),
        details={"state": word, "subject": record.subject, "message": record.payload},
    )


def _home(fields: Fields, record: Record) -> Home:
    """Return whose event it is; a message says it itself, for one topic may serve many accounts and regions."""
    if record.detail_type:
        return Home.of(record)
    account, region = text_at(_ACCOUNT, fields, record), text_at(_REGION, fields, record)
    return Home.of(record, account=account, region=region)


def _severity_word(row: Row, state: str, fields: Fields, record: Record) -> str:
    word = text_at(row.severity_path, fields, record) if row.severity_path else ""
    if parse_severity(word):
        return word
    severity: Severity | None = row.severities.get(state, row.severity)
    return str(severity or "")


def _change(alert: Alert, record: Record) -> Alert:
    """Return a change event, which PagerDuty shows beside later incidents."""
    return Alert(
        fingerprint=f"{alert.fingerprint}#{record.message_id}",
        name=alert.name,
        status=Status.RESOLVED,
        observed_at=alert.observed_at,
        starts_at=alert.observed_at,
        origin=alert.origin,
        labels={**alert.labels, CHANGE_EVENT_LABEL: "true"},
        summary=alert.summary,
        location=alert.location,
        links=alert.links,
        details=alert.details,
    )


def text_at(paths: Path, fields: Fields, record: Record) -> str:
    """Return the first text, number or boolean that one of the paths leads to; empty if none does."""
    if not isinstance(paths, str):
        return paths(fields).strip()
    for path in paths.split("|"):
        value: Any
        if path.startswith("@resource"):
            resource, end = next(iter(record.resources), ""), path.partition(":")[2]
            value = resource.partition(end)[0] if end else resource
        else:
            value = record.message_id if path == "@id" else _at(path, fields)
        if text := text_of(value).strip():
            return text
    return ""


def _at(path: str, value: Any) -> Any:
    for name in path.split("."):
        if isinstance(value, list):
            value = next(iter(value), None)
        found = value if isinstance(value, dict) else {}
        value = next(iter(found.values()), None) if name == "*" else found.get(name)
    return next(iter(value), None) if isinstance(value, list) else value


def _filled_in(template: str, fields: Fields, record: Record, *, is_quoted: bool = False) -> str:
    """Return a template with its paths filled in; empty if one of them leads nowhere."""
    parts = template.split("{")
    filled_in = parts[0]
    for part in parts[1:]:
        path, _, rest = part.partition("}")
        text = first_line(text_at(path, fields, record))[:_MAX_REASON_CHARACTERS]
        if not text:
            return ""
        filled_in += (quote(text, safe="") if is_quoted else text) + rest
    return filled_in
