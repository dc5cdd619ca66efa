"""What a message of no known shape is about, in one line."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handler.pagerduty.text import truncate
from handler.sources.words.fields import INSIDE, MAX_DEPTH, flattened, json_in, pairs_in, plain_name
from handler.sources.words.identity import PLACES
from handler.sources.words.states import GOOD, PROGRESS, is_state, state_word
from handler.sources.words.text import first_line
from handler.validation import text_of

_TITLES = ("title", "headline", "summary", "subject", "alertname", "alarmname", "incidenttitle", "rulename", "name")
_HEADLINES = (
    *_TITLES,
    *("message", "msg", "description", "text", "errormessage", "error", "reason", "failuremessage", "failurereason"),
    *("statusmessage", "statusreason", "output", "body", "detail", "details"),
)
"""Fields that usually say what a message is about, best first; names are compared without case and punctuation."""
_ENDS_OF_HEADLINES = ("title", "summary", "message", "headline")
"""How fields end that say it where none of those does, such as `problemTitle`."""
_NAMES = ("alertname", "alarmname", "name", "rulename")
"""Headlines that say what it is about, but not what is wrong."""
_ENDS_OF_NAMES = ("name", "identifier", "sourceid")
"""How fields end that name the thing where no title does, such as `jobName`."""
_NO_NAMES = ("username", "accountname", "regionname", "servicename", "typename", "templatename")
_REASONS = (
    *("message", "description", "reason", "errormessage", "error", "failuremessage", "failurereason"),
    *("statusmessage", "statusreason", "cause", "text", "details"),
)
_THINGS = (
    *("job", "task", "pipeline", "workflow", "function", "rule", "check", "monitor", "project", "queue"),
    *PLACES,
)
_MAX_CHARACTERS = 300
_MAX_FACTS = 8


def headline(payload: Any) -> str:
    """Return in one line what a message is about, never as JSON; empty for an empty message."""
    return truncate(_headline(payload, 0), _MAX_CHARACTERS)


def _headline(payload: Any, depth: int) -> str:
    match payload:
        case str():
            inner = (json_in(payload) or pairs_in(payload)) if depth < MAX_DEPTH else None
            return (_headline(inner, depth + 1) if inner else "") or first_line(payload)
        case dict():
            return _headline_of_object(payload, depth) if depth < MAX_DEPTH else ""
        case [only]:
            return _headline(only, depth + 1) if depth < MAX_DEPTH else ""
        case [first, *rest]:
            line = _headline(first, depth + 1) if depth < MAX_DEPTH else ""
            return f"{line} (and {len(rest)} more)" if line else ""
        case _:
            return text_of(payload)


def _headline_of_object(payload: Mapping[Any, Any], depth: int) -> str:
    texts = {plain_name(name): value for name, value in payload.items() if isinstance(value, str)}
    found = next(_lines_of(_HEADLINES, texts, depth), None)
    inner = "" if found else _inner_headline(payload, depth)
    if inner:
        return inner
    found = found or next(_lines_of([name for name in texts if name.endswith(_ENDS_OF_HEADLINES)], texts, depth), None)
    if found is None:
        return facts(payload)
    reasons = [line for _, line in _lines_of(_REASONS, texts, depth)]
    return ": ".join(_parts_of(payload, *found, reasons))


def _lines_of(names: Iterable[str], texts: Mapping[str, str], depth: int) -> Iterator[tuple[str, str]]:
    return ((name, line) for name in names if (line := _line_of(texts.get(name, ""), depth)))


def _inner_headline(payload: Mapping[Any, Any], depth: int) -> str:
    objects = {plain_name(name): value for name, value in payload.items() if isinstance(value, dict | list) and value}
    for name in sorted(objects, key=lambda name: (name not in INSIDE, not _has_title(objects[name])))[:_MAX_FACTS]:
        if _has_headline(objects[name], depth + 1) and (inner := _headline(objects[name], depth + 1)):
            return inner if _has_title(objects[name]) else _with_state(inner, _state_of(payload))
    return ""


def _parts_of(payload: Mapping[Any, Any], named: str, line: str, reasons: list[str]) -> list[str]:
    """Return what an object is about, with its state unless a title says what is wrong, and the reasons."""
    thing = _thing_in(payload) if named not in _TITLES else ""
    thing = "" if thing in line else thing
    parts = [thing or line]
    if thing or named in _NAMES:
        state = _state_of(payload)
        parts = [parts[0] if state.lower() in line.lower() else _with_state(parts[0], state)]
    for reason in (line, *reasons):
        if not any(reason in part or part in reason for part in parts):
            parts.append(reason)
    return parts[: 3 if thing else 2]


def _with_state(text: str, state: str) -> str:
    return f"{text} {state}" if state and state.lower() not in text.lower() else text


def _thing_in(payload: Mapping[Any, Any]) -> str:
    """Return the name of the job, host or service that an object is about, where no title has it."""
    texts = {
        plain_name(name): line for name, value in payload.items() if isinstance(value, str) and (line := value.strip())
    }
    usual = [texts[name] for name in _THINGS if name in texts]
    named = [line for name, line in texts.items() if name.endswith(_ENDS_OF_NAMES) and name not in _NO_NAMES]
    return first_line(next(iter((*usual, *named)), ""))


def _has_title(value: Any) -> bool:
    inner = value[0] if isinstance(value, list) and value else value
    return isinstance(inner, dict) and any(
        plain_name(name) in _HEADLINES and plain_name(name) not in _NAMES for name in inner
    )


def _has_headline(value: Any, depth: int) -> bool:
    inner = value[0] if isinstance(value, list) and value else value
    if not isinstance(inner, dict) or depth >= MAX_DEPTH:
        return False
    has_one = any(plain_name(name) in _HEADLINES and not isinstance(inner[name], dict | list) for name in inner)
    return has_one or any(_has_headline(value, depth + 1) for value in list(inner.values())[:_MAX_FACTS])


def _state_of(payload: Mapping[Any, Any]) -> str:
    """Return the state that an object names, as written, with the reason beside it, if any."""
    for depth in (payload, *(value for value in payload.values() if isinstance(value, dict))):
        fields = {plain_name(name): value for name, value in depth.items() if isinstance(value, str) and value.strip()}
        states = [value for name, value in fields.items() if is_state(name)]
        state = next((value for value in states if state_word(value) not in GOOD | PROGRESS), next(iter(states), ""))
        if state:
            reason = next((fields[name] for name in _REASONS if name in fields), "") if depth is not payload else ""
            return first_line(f"{state}: {reason}" if reason else state)
    return ""


def _line_of(text: str, depth: int) -> str:
    return _headline(text, depth + 1) if text else ""


def facts(payload: Mapping[Any, Any]) -> str:
    """Return a few fields of an object in words, names and states first: `job nightly import, rows 0`."""
    lines = [(name, line) for name, value in flattened(payload) if (line := first_line(text_of(value)))]
    lines.sort(key=lambda named: not _tells_most(plain_name(named[0])))
    return ", ".join(f"{name} {line}" for name, line in lines[:_MAX_FACTS])


def _tells_most(name: str) -> bool:
    return name in _THINGS or name.endswith(_ENDS_OF_NAMES) or is_state(name)
