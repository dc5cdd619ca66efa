"""Hostile input: damages sound documents with Hypothesis, and asserts what must hold for all of them."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from handler import sources
from handler.alert import Alert, Ignored
from handler.envelope import split, unwrap
from handler.errors import PublishError
from handler.mapping import event_of
from handler.pagerduty.events import Action, encode
from handler.pagerduty.severity import Severity
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import ARRIVED_AT, json_values

INSIDE = "(JSON inside the text)"
"""The key of a path under which a text is the JSON that it holds: a message inside its wrapping."""

PIECES = ["[", '{"a":', '"', "\\", "\n", " ", ",", "=", ":", "- ", "a", "0", "é", "{{", '\\"', "a,b=c\n"]
PIECES += ["Labels:\n - a = b\n", "Alerts Firing:\n", 'a="b",', "http://a ", "arn:aws:", "2026-11-23T"]
"""Fillers for cut texts: long repetitions, on which a parser with backtracking would need quadratic time."""

type Path = tuple[str | int, ...]


def _nested(depth: int) -> Any:
    value: Any = "the core"
    for level in range(depth):
        value = [value] if level % 2 else {"inner": value}
    return value


values = json_values | st.sampled_from(
    [
        "x" * 600_000,
        "\U0001f526" * 2_000,
        "\x00\x01\x1b[31m\x7f\u2028\u202e",
        " \t\r\n\u00a0",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "https://[::1",
        "https://lamplight.example/a b\nc",
        "arn:",
        "arn:::::",
        "arn:aws:a:b:c:d",
        "GMT",
        "9" * 300,
        10**400,
        "arn:aws:ecs:eu-west-1\n:123456789012:service/a/b",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "1e999",
        "[" * 20_000,
        '{"a":' * 20_000,
        "\\" * 20_000,
        10**40,
        -1e308,
        _nested(90),
        _nested(150),
        {f"key {number}": "v" * 1_000 for number in range(800)},
        [{}] * 2_000,
    ]
)
"""Any JSON value, including those that are hard for parsers."""


def paths_of(document: Any, path: Path = ()) -> Iterator[Path]:
    """Return the path of every value in a document, its own first, inside its texts too."""
    yield path
    inside: Any = ()
    match document:
        case dict():
            inside = document.items()
        case list():
            inside = enumerate(document)
        case str() if (opened := _opened(document)) is not None:
            inside = [(INSIDE, opened)]
    for key, inner in inside:
        yield from paths_of(inner, (*path, key))


def _opened(text: str) -> Any:
    """Return the object or list that a text holds as JSON; None if it holds none."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def value_at(document: Any, path: Path) -> Any:
    """Return the value at a path of a document."""
    for key in path:
        document = json.loads(document) if key == INSIDE else document[key]
    return document


def replaced(document: Any, path: Path, value: Any) -> Any:
    """Return a copy of a document with another value at a path."""
    if not path:
        return value
    key, *rest = path
    if key == INSIDE:
        return json.dumps(replaced(json.loads(document), tuple(rest), value))
    document = copy.copy(document)
    document[key] = replaced(document[key], tuple(rest), value)
    return document


@st.composite
def mutations(draw: st.DrawFn, document: Any) -> Any:
    """A document with up to three damages, in its wrappings or in what they hold.

    A value is replaced by any other, a key deleted, an entry of a list doubled, or a text cut and filled up.
    """
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths_of(document))[:500]))
        value = value_at(document, path)
        parent = value_at(document, path[:-1])
        match draw(st.integers(0, 5)):
            case 0 if path and isinstance(parent, dict):
                document = replaced(document, path[:-1], {key: each for key, each in parent.items() if key != path[-1]})
            case 0 if path and isinstance(parent, list):
                document = replaced(document, path[:-1], [*parent, value])
            case 1 if isinstance(value, str) and value:
                start = draw(st.integers(0, len(value)))
                end = draw(st.integers(start, len(value)))
                document = replaced(document, path, value[:start] + draw(st.sampled_from(PIECES)) + value[end:])
            case _:
                document = replaced(document, path, draw(values))
    return document


def within(event: Any, change: Callable[[Any], Any]) -> Any:
    """Return an invocation with its innermost payload changed: inside SNS, SQS and EventBridge, in any nesting."""
    match event:
        case {"Records": [*records]}:
            return {**event, "Records": [within(record, change) for record in records]}
        case {"Sns": {"Message": str(text)} as sns}:
            return {**event, "Sns": {**sns, "Message": _within_text(text, change)}}
        case {"Type": "Notification", "Message": str(text)}:
            return {**event, "Message": _within_text(text, change)}
        case {"eventSource": "aws:sqs", "body": str(text)}:
            return {**event, "body": _within_text(text, change)}
        case {"detail": detail, **rest} if "detail-type" in rest or "detailType" in rest:
            return {**event, "detail": change(detail)}
        case _:
            return change(event)


def _within_text(text: str, change: Callable[[Any], Any]) -> str:
    try:
        inner = json.loads(text)
    except ValueError:
        inner = text
    changed = within(inner, change)
    return changed if isinstance(changed, str) else json.dumps(changed)


def assert_safe(event: Any) -> None:
    """Assert that everything in an invocation ends in a request that PagerDuty accepts, or with a named reason."""
    for record in split(event):
        for found in _outcomes(record):
            _assert_safe(found)


def _outcomes(record: Any) -> Sequence[Alert | Ignored | PublishError]:
    try:
        return sources.parse(unwrap(record, ARRIVED_AT))
    except PublishError as refused:
        return [refused]


def _assert_safe(found: Alert | Ignored | PublishError) -> None:
    if not isinstance(found, Alert):
        assert found.name if isinstance(found, Ignored) else str(found)
        return
    assert found.fingerprint.strip()
    pagerduty = PagerDuty(lambda: 0.0)
    event = event_of(found, Severity.ERROR)
    path = "/v2/change/enqueue" if event.action is Action.CHANGE else "/v2/enqueue"
    answer = pagerduty.handle("POST", path, encode({"routing_key": "0" * 32, **event.body()}))
    assert answer.status == 202, answer
    assert pagerduty.requests[0].warnings == ()
