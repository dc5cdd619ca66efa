"""Print the table of `docs/sources.md` that says what the catalog makes of each type of event, or write it there.

python -m tools.catalog_table [--write]
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from handler.sources.catalog.events import EVENTS  # noqa: E402
from handler.sources.catalog.messages import MESSAGES  # noqa: E402
from handler.sources.catalog.row import Row, Verdict  # noqa: E402

DOCUMENT = ROOT / "docs" / "sources.md"
START, END = "<!-- catalog: python -m tools.catalog_table --write -->\n", "<!-- end of catalog -->"
_NAME = re.compile(r"^\s*- (.+?)\s*$", re.MULTILINE)


def table() -> str:
    """Return the table, as Markdown."""
    lines = [
        "| service | `origin` | event | comes by | pages | resolves | ignored |",
        "|---|---|---|---|---|---|---|",
    ]
    taken = set(_NAME.findall((ROOT / "template.yaml").read_text()))
    rows = [
        (kind, row, "EventBridge" if kind in taken else "EventBridge, your own rule") for kind, row in EVENTS.items()
    ]
    rows += [(shape.name, shape.row, "SNS, by the service itself") for shape in MESSAGES]
    rows.sort(key=lambda entry: (entry[1].service.removeprefix("Amazon ").removeprefix("AWS ").lower(), entry[0]))
    lines += [
        f"| {row.service} | `{row.origin}` | {kind} | {comes_by} | {' | '.join(_cells(row))} |"
        for kind, row, comes_by in rows
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> Iterable[str]:
    """Return what pages, what resolves and what is ignored."""
    others = ["any other state" if row.bad or row.good else "always"] if row.otherwise is Verdict.BAD else []
    pages = [*_words(row.bad), *others]
    yield ", ".join(pages) or "never"
    resolves = [*_words(row.good), *(["always"] if row.otherwise is Verdict.GOOD else [])]
    yield (", ".join(resolves) or "-") + (" (a change event too)" if row.leaves_change and row.good else "")
    ignored = [*_words((*row.progress, *row.notice)), *(f"{state} (a change event)" for state in _words(row.changes))]
    yield (
        ", ".join([*ignored, *(["all others" if row.bad else "always"] if row.otherwise is Verdict.NOTICE else [])])
        or "-"
    )


def _words(states: Iterable[str]) -> list[str]:
    return [f"`{state}`" for state in states if state not in ("RESOURCE_PROGRESS", "INFORMATION", "FINISHED")]


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
