"""A catalog row: where an event has its id, location, state and reason, and what each state means."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from handler.envelope import Record
from handler.pagerduty.severity import Severity


class Meaning(StrEnum):
    """What a state means."""

    BAD = "bad"
    GOOD = "good"
    PROGRESS = "progress"
    NOTICE = "notice"
    CHANGE = "change"


type Fields = Mapping[str, Any]
"""The fields of a message: an event's detail, a JSON message, or what was read from a text."""

type Path = str | Callable[[Fields], str]
"""The path to a text, or a function that finds it."""


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """One kind of event. A named tuple, because it is cheap to make: the first event makes about a hundred.

    A path is names separated by dots, `*` for any one; it goes through the first entry of a list. Paths separated by
    `|` are tried in turn. `@resource` is the event's first resource, `@resource:/x/` what comes before `/x/` in it,
    `@id` the message's id. A function may stand for a path.

    Attributes:
        origin: the name of the parser, for targets to match on; the samples begin with it.
        service: as AWS calls it.
        name: what happened, or what it happened to; the event's class.
        source: EventBridge's source of such events; empty where any may send them.
        id: the paths that together identify the thing. Where all are empty, the whole message is the identity.
        key: which of the problems of the thing this is; events that open and end the same one have the same.
        location: the thing as a person calls it; its id where this is empty.
        state: the path of the state; empty where all events of a kind mean the same.
        good: the states that resolve.
        progress: the states that are ignored as `in_progress`.
        notice: the states that are ignored as `notice`.
        changes: the states that are a change event alone.
        bad: the states known to page; shown in the documentation. A state that no table has pages too.
        otherwise: what any other state means.
        blank: what a missing state means, where that differs.
        severity: of what pages.
        severities: of single states.
        severity_path: where the event says it; goes before the others.
        reasons: templates with one path in braces each, shown in the summary where the path leads to something.
        labels: paths by name of what targets may match on.
        links: paths of addresses.
        console: path and fragment of the page in the AWS console, with paths in braces.
        leaves_change: whether good news is a change event too.
        is_global: whether the service is the same in all regions, so that the region is no part of the identity.
    """

    origin: str
    service: str
    name: str
    id: tuple[Path, ...]
    key: str
    source: str = ""
    location: Path = ""
    state: Path = ""
    bad: tuple[str, ...] = ()
    good: tuple[str, ...] = ()
    progress: tuple[str, ...] = ()
    notice: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    otherwise: Meaning = Meaning.BAD
    blank: Meaning | None = None
    severity: Severity | None = Severity.ERROR
    severities: Mapping[str, Severity] = NOTHING
    severity_path: str = ""
    reasons: tuple[str, ...] = ()
    labels: Mapping[str, str] = NOTHING
    links: tuple[str, ...] = ()
    console: tuple[str, str] = ("", "")
    leaves_change: bool = False
    is_global: bool = False

    def meaning_of(self, state: str) -> Meaning:
        """Return what a state means, spelled as in the tables."""
        if not state:
            return self.blank or self.otherwise
        tables = (
            (self.good, Meaning.GOOD),
            (self.progress, Meaning.PROGRESS),
            (self.notice, Meaning.NOTICE),
            (self.changes, Meaning.CHANGE),
            (self.bad, Meaning.BAD),
        )
        return next((meaning for states, meaning in tables if state in states), self.otherwise)


class Shape(NamedTuple):
    """A kind of message from a topic or queue: how to recognise it, how to read its fields, and who sends it."""

    name: str
    row: Row
    is_one: Callable[[Record], bool]
    read: Callable[[Record], Fields]
    comes_by: str = "SNS, by the service itself"
