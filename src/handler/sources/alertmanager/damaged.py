"""Reads invalid JSON of Alertmanager: unescaped, as in Amazon Managed Prometheus's documentation, or cut short.

https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-receiver-JSON.html inserts values without
escaping. A quote ends a value if what follows fits. Every expression below looks ahead a bounded distance and never
back, so the time is linear in the text.
"""

import json
import re
from typing import Any, NamedTuple

from handler.sources.alertmanager.fingerprint import is_fingerprint
from handler.validation import parse_text

_ENTRY_KEYS = "status|labels|annotations|startsAt|endsAt|generatorURL|fingerprint"
_GROUP_KEYS = (
    "groupLabels|commonLabels|commonAnnotations|externalURL|version|groupKey|truncatedAlerts|receiver|status|alerts"
)
_NAME = r'"([^"\\{}]{1,256}+)"\s*+:\s*+'
_ENTRY = re.compile(
    r'(?:"alerts"\s*+:\s*+\[|\}\s*+,)\s*+'
    r'(?=\{\s*+"(?:status"\s*+:\s*+"(?:firing|resolved)"|(?:labels|annotations)"\s*+:\s*+\{|(?:startsAt|endsAt|fingerprint)"))'
)
"""The text before an entry of `alerts`."""
_END = re.compile(rf'\]\s*+,\s*+(?="(?:{_GROUP_KEYS})"\s*+:)|\]\s*+\}}\s*+\Z')
"""The text after the last entry."""
_SCALAR = re.compile(r'"(status|startsAt|endsAt|generatorURL|fingerprint|receiver|externalURL)"\s*+:\s*+"([^"]*+)"')
_PAIR = re.compile(rf'\s*+,?+\s*+{_NAME}"')
_VALUE_ENDS = re.compile(
    rf'"\s*+(?:(?=,\s*+{_NAME}")'
    rf'|(?=,?+\s*+\}}\s*+(?:,?+\s*+\}}\s*+(?:,\s*+\{{|\]|\Z)|,\s*+"(?:{_ENTRY_KEYS}|{_GROUP_KEYS})"\s*+:'
    r'|[}\],\s]*+(?:"\w{0,20}+"?+[\s:]*+)?+\Z)))'
)
"""The quote before the next pair, the next key of an entry or a group, the end of an entry, or the end of the text."""
_OPENS = {
    name: re.compile(rf'"{name}"\s*+:\s*+\{{')
    for name in ("labels", "annotations", "groupLabels", "commonLabels", "commonAnnotations")
}
_DECODER = json.JSONDecoder(strict=False)
"""Accepts line breaks in texts."""
_OBJECT_ENDS = re.compile(r"\s*+,?+\s*+\}")


class Pairs(NamedTuple):
    """The readable part of an object of texts, and its position."""

    pairs: dict[str, str]
    start: int
    end: int
    is_whole: bool


def read(text: str) -> tuple[dict[str, Any], bool]:
    """Return the readable part of the message, and whether that is all of it."""
    begins = list(_ENTRY.finditer(text))
    before, inside = (begins[0].start(), begins[-1].end()) if begins else (text.find('"alerts"'),) * 2
    closed = _END.search(text, inside)
    after = closed.start() if closed else len(text)
    ends = [*(begin.start() + 1 for begin in begins[1:]), after]
    found = [_entry(text[begin.end() : end]) for begin, end in zip(begins, ends, strict=False)]
    entries = [entry for entry in found if entry]
    message = {
        **_scalars(text[after:]),
        **_scalars(text[:before]),
        **{name: _object(text, name, after).pairs for name in ("groupLabels", "commonLabels", "commonAnnotations")},
        "alerts": entries,
    }
    return parse_text(json.dumps(message)), closed is not None and 0 < len(entries) == len(found)


def _entry(text: str) -> dict[str, Any] | None:
    """Return one entry, read as JSON, else by its known keys; None if neither identifies the alert."""
    try:
        value, _ = _DECODER.raw_decode(text)
        return value if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        pass
    labels = _object(text, "labels", 0)
    annotations = _object(text, "annotations", labels.end)
    fields = _scalars(text[: labels.start] + text[labels.end : annotations.start] + text[annotations.end :])
    if not ((labels.is_whole and labels.pairs) or is_fingerprint(fields.get("fingerprint", ""))):
        return None
    return {**fields, "labels": labels.pairs, "annotations": annotations.pairs}


def _scalars(text: str) -> dict[str, str]:
    """Return the texts under known keys; the first counts if a key is repeated."""
    return {match[1]: match[2] for match in reversed(list(_SCALAR.finditer(text)))}


def _object(text: str, name: str, start: int) -> Pairs:
    """Read the object of texts under a key, from a position on; if there is none, an empty one at the end."""
    opened = _OPENS[name].search(text, start)
    if opened is None:
        return Pairs({}, len(text), len(text), is_whole=False)
    pairs: dict[str, str] = {}
    at = opened.end()
    while pair := _PAIR.match(text, at):
        ended = _VALUE_ENDS.search(text, pair.end())
        if ended is None:
            return Pairs(pairs, opened.start(), len(text), is_whole=False)
        pairs[pair[1]] = _unescaped(text[pair.end() : ended.start()])
        at = ended.start() + 1
    closed = _OBJECT_ENDS.match(text, at)
    return Pairs(pairs, opened.start(), closed.end() if closed else at, is_whole=closed is not None)


def _unescaped(text: str) -> str:
    """Decode JSON's escapes; a text that does not parse was not escaped."""
    try:
        return str(_DECODER.decode(f'"{text}"'))
    except ValueError:
        return text
