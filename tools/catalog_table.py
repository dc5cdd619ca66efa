"""Print the table of `docs/sources.md` that says what the catalog makes of each type of event, or write it there.

PYTHONPATH=src python -m tools.catalog_table [--write]
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from handler.sources.catalog.events import EVENTS
from handler.sources.catalog.messages import MESSAGES
from handler.sources.catalog.row import Meaning, Row

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "sources.md"
START = "<!-- catalog: PYTHONPATH=src python -m tools.catalog_table --write -->\n"
END = "<!-- end of catalog -->"
DERIVED = {
    "FINISHED": "a task that stopped because it was done",
    "RESOURCE_PROGRESS": "a resource that has not failed",
    "INFORMATION": "a message without a state",
}
"""States that no event contains: the function derives them."""
_NAME = re.compile(r"^\s*- (.+?)\s*$", re.MULTILINE)


class Like(NamedTuple):
    """What events of the same row of the table have in common."""

    service: str
    origin: str
    pages: str
    resolves: str
    ignored: str

    @classmethod
    def of(cls, row: Row) -> "Like":
        """Return what the table says of a row of the catalog."""
        others = ["any other state" if row.bad or row.good else "always"] if row.otherwise is Meaning.BAD else []
        resolves = [*_words(row.good), *(["always"] if row.otherwise is Meaning.GOOD else [])]
        ignored = [
            *_words((*row.progress, *row.notice)),
            *(f"{state} (a change event)" for state in _words(row.changes)),
            *(["all others" if row.bad else "always"] if row.otherwise is Meaning.NOTICE else []),
        ]
        return cls(
            service=row.service,
            origin=row.origin,
            pages=", ".join([*_words(row.bad), *others]) or "never",
            resolves=(", ".join(resolves) or "-") + (" (a change event too)" if row.leaves_change and row.good else ""),
            ignored=", ".join(ignored) or "-",
        )


def table() -> str:
    """Return the table, as Markdown; events that are treated alike share a row."""
    taken = set(_NAME.findall((ROOT / "template.yaml").read_text()))
    rows: dict[Like, dict[str, list[str]]] = {}
    for kind, row in sorted(EVENTS.items()):
        way = "EventBridge" if kind in taken else "EventBridge, your own rule"
        rows.setdefault(Like.of(row), {}).setdefault(way, []).append(kind)
    for shape in sorted(MESSAGES, key=lambda shape: shape.name):
        rows.setdefault(Like.of(shape.row), {}).setdefault(shape.comes_by, []).append(shape.name)
    lines = [
        "| service | `origin` | event | comes by | pages | resolves | ignored |",
        "|---|---|---|---|---|---|---|",
    ]
    for like, ways in sorted(rows.items(), key=lambda entry: (_sorted_as(entry[0].service), list(entry[1].values()))):
        events = "; ".join(", ".join(names) for names in ways.values())
        cells = [like.service, f"`{like.origin}`", events, "; ".join(ways), like.pages, like.resolves, like.ignored]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sorted_as(service: str) -> str:
    return service.removeprefix("Amazon ").removeprefix("AWS ").lower()


def _words(states: Iterable[str]) -> list[str]:
    return [DERIVED.get(state, f"`{state}`") for state in states]


def documented() -> str:
    """Return the table that the documentation has."""
    return DOCUMENT.read_text().partition(START)[2].partition(END)[0]


def main() -> int:
    """Print the table, or write it into the documentation."""
    if "--write" not in sys.argv[1:]:
        print(table(), end="")
        return 0
    before, _, rest = DOCUMENT.read_text().partition(START)
    DOCUMENT.write_text(f"{before}{START}{table()}{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
