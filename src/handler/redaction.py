"""Redacts routing keys in messages, so that no event, dedup key, log, record or dead letter contains one.

A key is replaced by a mark with eight digits of its SHA-256, so that messages that differ only in keys stay different.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_NAMES = ("routingkey", "servicekey", "integrationkey", "routingkeys", "servicekeys", "integrationkeys", "pagerdutykey")
_NAMED_BY, _VALUES = {"name", "key", "field", "label", "title"}, {"value", "values", "text"}
"""Fields of an object such as `{"name": "routing_key", "value": "0f1e..."}`."""
_SIGNS = (
    *(f"{name}{between}key" for name in ("routing", "service", "integration") for between in ("", "_", "-", " ", ".")),
    *("pagerduty.com/", "/integration/", "pagerduty_key", "pagerdutykey", "pagerduty-key"),
)
"""Words in every text with a key. Most texts have none of them and need no regular expression."""
_IN_TEXT = (
    r"""((?:routing|service|integration)[ ._-]?key\\*+["']?\s*+[:=]\s*+(?:[>|][+-]?\s*+)?\\*+["']?)"""
    r"""([A-Za-z0-9+/_=-]{16,})"""
)
"""`routing_key: 0f1e...` in JSON within a text, YAML, a query or plain words, with any number of escapes."""
_WHOLE_KEY = r"[A-Za-z0-9]{32}(?![A-Za-z0-9])"
_WHOLE_KEY_ALONE = rf"((?<![A-Za-z0-9]))({_WHOLE_KEY})"
_BETWEEN = r"(?:%[0-9A-Fa-f]{2}|[^A-Za-z0-9%])"
_NEAR = (
    r"((?:routing|service|integration|pagerduty)[ ._-]?keys?"
    rf"{_BETWEEN}{{1,16}}(?:[A-Za-z0-9]{{1,8}}{_BETWEEN}{{1,16}}){{0,4}})({_WHOLE_KEY})"
)
"""A whole key up to four short words after the name, as in `the routing key is 0f1e...`, XML, YAML with a tag."""
_KEY = r"[A-Za-z0-9+/_=-]{16,}"
"""PagerDuty's keys have 32 characters; a message queue's routing key is usually shorter or has dots, and is no
secret."""
_IN_URL = r"((?:pagerduty\.com|/integration)/(?:[a-z0-9._-]{1,30}/){0,4})([a-z0-9]{20,})"
"""An integration's URL contains its key."""
_LONG = 20
"""A key of at least this many characters is redacted wherever else it stands; PagerDuty's have 32."""
_MOST = 100
"""The most keys of one message that are redacted wherever else they stand: each is a search through the message."""
_MARK = "(redacted "


def redacted(value: Any) -> Any:
    """Return a JSON value without the routing keys in it, the same object where there are none."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if not _is_suspicious(text):
            return value
        keys: set[str] = set()
        left = _redacted(value, keys)
        repeated = sorted(key for key in keys if len(key) >= _LONG)[:_MOST]
        return _without_repeats(left, repeated) if repeated else left
    except RecursionError:
        return "(nested too deeply to be kept)"


def _is_suspicious(text: str) -> bool:
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS)


def _redacted(value: Any, keys: set[str]) -> Any:
    match value:
        case dict():
            is_named = any(_is_name(text) for name, text in value.items() if str(name).lower() in _NAMED_BY)
            return {
                _without(name, keys): _hidden(inner, keys)
                if _is_name(name) or (is_named and str(name).lower() in _VALUES)
                else _redacted(inner, keys)
                for name, inner in value.items()
            }
        case list():
            return [_redacted(inner, keys) for inner in value]
        case str():
            return _without(value, keys)
        case _:
            return value


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) < 100 and "".join(filter(str.isalpha, name.lower())).endswith(_NAMES)


def _hidden(value: Any, keys: set[str]) -> Any:
    match value:
        case dict():
            return {name: _hidden(inner, keys) for name, inner in value.items()}
        case list():
            return [_hidden(inner, keys) for inner in value]
        case str() if re.fullmatch(_KEY, value.strip()):
            keys.add(value.strip())
            return _mark(value.strip())
        case str():
            return _without_matches(_WHOLE_KEY_ALONE, value, keys)
        case _:
            return value


def _without(text: Any, keys: set[str]) -> Any:
    """Return a text without keys: of JSON in it the value without them, written again, else what looks like one."""
    if not isinstance(text, str) or not _is_suspicious(text):
        return text
    if text.lstrip().startswith(("{", "[")):
        with suppress(ValueError):
            value = json.loads(text)
            left = _redacted(value, keys)
            return text if left == value else json.dumps(left)

    for pattern in (_IN_TEXT, _NEAR, _IN_URL):
        text = _without_matches(pattern, text, keys)
    return text


def _without_matches(pattern: str, text: str, keys: set[str]) -> str:
    """Return a text without what the second group of a pattern matches."""

    def hide(found: re.Match[str]) -> str:
        keys.add(found[2])
        return found[1] + _mark(found[2])

    return re.sub(pattern, hide, text, flags=re.IGNORECASE)


def _without_repeats(value: Any, keys: Sequence[str]) -> Any:
    match value:
        case dict():
            return {_without_repeats(name, keys): _without_repeats(inner, keys) for name, inner in value.items()}
        case list():
            return [_without_repeats(inner, keys) for inner in value]
        case str():
            for key in keys:
                value = value.replace(key, _mark(key))
            return value
        case _:
            return value


def _mark(key: str) -> str:
    return f"{_MARK}{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]})"
