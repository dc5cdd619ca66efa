"""Reads a record: its source parses it, then the alerts get what the message around them says."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handler.alert import (
    MAX_TARGETS,
    Alert,
    Ignored,
    Status,
    Undetermined,
    WhenUndetermined,
)
from handler.envelope import Record, is_message, unwrap_further
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.outcome import SkipReason
from handler.sources.registry import Found, source_of
from handler.sources.sharing import shared
from handler.validation import MAX_NAME_CHARACTERS

type Parsed = list[Alert | Ignored | InvalidAlertError]
"""What a record holds: alerts, what needs nothing sent, and damaged entries."""

TARGETS_ATTRIBUTE = "targets"
MAX_SHOWN_NAME_CHARACTERS = 256
ACCOUNT_LABEL = "account"
ACCOUNT_NAME_LABEL = "account_name"


def parse(
    record: Record,
    when_undetermined: WhenUndetermined = WhenUndetermined.IGNORE,
    account_names: Mapping[str, str] | None = None,
) -> Parsed:
    """Return what a record holds, with what its SNS attributes ask for.

    Args:
        record: the record, without its wrappings.
        when_undetermined: what to do with an alert whose source does not know whether it is firing.
        account_names: names of AWS accounts by their ids, for the label `account_name`.

    Raises:
        InvalidAlertError: recognised, but a field is missing or wrong.
        NotAnAlertError: no source recognises it, and it did not come from a topic, bus or queue.
    """
    several = _several(record.payload)
    if several:
        around = replace(record, attributes=shared(record.attributes, len(several)))
        records = (replace(around, payload=entry) for entry in several)
        return [found for entry in records for found in _parse_one(entry, when_undetermined, account_names)]
    source = source_of(record)
    if source is None:
        what = f"{_shape(record)} is of no known source, and came by no topic, bus or queue"
        raise NotAnAlertError(f"not an alert: {what}")
    try:
        determined = [_determine(found, when_undetermined) for found in source.parse(record)]
    except InvalidAlertError as invalid:
        raise InvalidAlertError(_with_name(str(invalid), record.payload)) from None
    labels = shared(
        {name: text for name, text in record.attributes.items() if name != TARGETS_ATTRIBUTE}, len(determined)
    )
    return [
        _finish(found, record, labels, account_names or {}) if isinstance(found, Alert) else found
        for found in determined
    ]


def _several(payload: Any) -> list[Any]:
    """Return the records of a message that has several, S3's or a relay's list; of any other, none."""
    match payload:
        case {"Records": [_, _, *_] as records}:
            return list(records)
        case [_, *_] if all(map(is_message, payload)):
            return list(payload)
        case _:
            return []


def _with_name(problem: str, payload: Any) -> str:
    """Add the alert's name to an error message, where the payload has one."""
    match payload:
        case {"alert": {"alert_name": str(name)}} | {"AlarmName": str(name)} | {"alarmName": str(name)}:
            short_name = " ".join(name.split())[:MAX_SHOWN_NAME_CHARACTERS]
            return f"{problem} (alert {short_name!r})" if short_name else problem
        case _:
            return problem


def _parse_one(record: Record, when: WhenUndetermined, account_names: Mapping[str, str] | None) -> Parsed:
    """Return what one of several records in a message holds; a damaged one does not affect the others."""
    try:
        return parse(unwrap_further(record), when, account_names)
    except (InvalidAlertError, NotAnAlertError) as damaged:
        return [InvalidAlertError(str(damaged))]


def _determine(found: Found, when: WhenUndetermined) -> Alert | Ignored | InvalidAlertError:
    if not isinstance(found, Undetermined):
        return found
    match when:
        case WhenUndetermined.IGNORE:
            return Ignored(SkipReason.INSUFFICIENT_DATA, found.alert.name)
        case WhenUndetermined.TRIGGER:
            return replace(found.alert, status=Status.FIRING)
        case WhenUndetermined.RESOLVE:
            return replace(found.alert, status=Status.RESOLVED)


def _finish(alert: Alert, record: Record, labels: Mapping[str, str], account_names: Mapping[str, str]) -> Alert:
    """Add what the message around the alert says: labels, and severity and targets if the alert names none."""
    targets = alert.targets or target_names(record.attributes.get(TARGETS_ATTRIBUTE, ""))
    if len(targets) > MAX_TARGETS:
        raise InvalidAlertError(f"targets: {len(targets)} names: a message may name at most {MAX_TARGETS}")
    account_name = account_names.get(alert.labels.get(ACCOUNT_LABEL, ""))
    if account_name:
        labels = {**labels, ACCOUNT_NAME_LABEL: account_name}
    return replace(
        alert,
        name=alert.name[:MAX_NAME_CHARACTERS],
        observed_at=min(alert.observed_at, record.latest) if record.latest else alert.observed_at,
        labels={**labels, **alert.labels},
        severity_word=(alert.severity_word or _severity_attribute(labels))[:MAX_NAME_CHARACTERS],
        targets=targets,
        message_id=record.message_id,
    )


def _severity_attribute(attributes: Mapping[str, str]) -> str:
    """Return the attribute `severity`, in any case; without one, `priority`."""
    by_name = {name.lower(): text for name, text in attributes.items()}
    return by_name.get("severity") or by_name.get("priority", "")


def target_names(text: str) -> tuple[str, ...]:
    """Read the names of targets: separated by commas, or a JSON list (SNS calls that a String.Array)."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else text.split(",")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _shape(record: Record) -> str:
    """Describe a payload without its values, which may be secrets."""
    payload: Any = record.payload
    if isinstance(payload, dict):
        return f"a JSON object with the keys {', '.join(sorted(map(str, payload))[:8]) or '(none)'}"
    if isinstance(payload, str):
        return "a text that is not JSON" if payload.strip() else "an empty message"
    return f"a JSON {type(payload).__name__}"
