"""The fields of a message of no known shape: their names, compared without case and punctuation, and their values."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


STATES = word_set(
    "status state alertstatus alertstate newstate newstatus newstatevalue currentstate currentstatus teststatus"
    " result outcome conclusion compliancetype alarmstate health healthstatus incidentstatus eventstatus"
    " readinessstatus"
)
"""Names of fields that hold a state."""
FORMER = ("old", "previous", "prior", "last")
"""Prefixes of names of earlier states."""
INSIDE = (
    *("detail", "details", "payload", "alert", "alertgroup", "incident", "issue", "problem", "ticket", "event", "data"),
    *("build", "run", "workflowrun", "pipeline", "deployment", "execution", "objectattributes"),
    *("body", "content", "message", "notification", "finding"),
)
"""Names of fields whose object is what the message is about."""
MAX_DEPTH = 4
"""How deep a message is read."""
_MAX_OBJECTS = 100
"""The limit for fields at one depth of a message."""
NAMED_LINE = r"^[ \t*_-]{0,5}([A-Za-z][\w -]{0,39}?)[*_]{0,2}[ \t]?[:=][ \t*_]{0,5}(\S[^\n]{0,200})$"
"""A line `name: value` of a text."""


def pairs_in(text: str) -> dict[str, str]:
    """Return the lines `name: value` of a text that consists of them; else nothing."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()]
    pairs = [found[0] for line in lines if (found := re.findall(NAMED_LINE, line))]
    is_list = len(pairs) > 2 and len(pairs) * 3 > len(lines) * 2 and re.match(NAMED_LINE, lines[0])
    return {name: value.strip() for name, value in reversed(pairs)} if is_list else {}


def json_in(text: str) -> Any:
    """Return the object or list in a JSON text, or None."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def plain_name(name: Any) -> str:
    """Return the name of a field in lower case, letters and digits alone; empty if it is no text."""
    return "".join(filter(str.isalnum, name[:100].lower())) if isinstance(name, str) else ""


def fields_near_top(payload: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an object, then of the objects in it and of the first one in a list."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if not isinstance(payload, dict):
        return
    yield from ((plain_name(name), value) for name, value in payload.items())
    for value in payload.values():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from ((plain_name(name), deeper) for name, deeper in inner.items())


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        name: as `plain_name` returns it.
        is_own: whether it belongs to the message itself, or to a part of it.
    """

    name: str
    value: Any
    is_own: bool


def all_fields(payload: Any) -> list[Field]:
    """Return a message's fields, least deep first.

    An object under a usual name such as `detail`, or the only object, is the message itself. A text has lines `name:
    value`.
    """
    if isinstance(payload, str):
        return [
            Field(plain_name(name), value.strip(), is_own=True)
            for name, value in re.findall(NAMED_LINE, payload[:20_000], re.M)
        ]
    found: list[Field] = []
    level = [(payload, True)]
    for _ in range(MAX_DEPTH + 1):
        inside: list[tuple[Any, bool]] = []
        for entry, is_own in level:
            value = entry[0] if isinstance(entry, list) and entry else entry
            if not isinstance(value, dict):
                continue
            found.extend(Field(plain_name(name), inner, is_own) for name, inner in value.items())
            objects = [
                (plain_name(name), inner) for name, inner in value.items() if isinstance(inner, dict | list) and inner
            ]
            objects = [(name, inner) for name, inner in objects if not name.startswith(FORMER)]
            is_it = [is_own and (len(objects) == 1 or name in INSIDE or name in STATES) for name, _ in objects]
            inside.extend(zip((inner for _, inner in objects), is_it, strict=True))
        level = inside[:_MAX_OBJECTS]
    return found


def flattened(payload: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an object and of the objects in it; of a list, its first plain value."""
    for name, value in payload.items():
        if isinstance(value, dict):
            yield from ((str(inner), deeper) for inner, deeper in value.items() if not isinstance(deeper, dict | list))
        elif isinstance(value, list):
            yield str(name), next((entry for entry in value if not isinstance(entry, dict | list)), "")
        else:
            yield str(name), value


def texts_in(payload: Any) -> Iterable[str]:
    """Yield all texts of a message, least deep first."""
    level = [payload]
    while level:
        inside: list[Any] = []
        for value in level:
            match value:
                case str():
                    yield value
                case dict():
                    inside.extend(value.values())
                case list():
                    inside.extend(value)
        level = inside
