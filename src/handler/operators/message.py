"""The message to operators: a subject and a text that say everything, without opening anything else."""

from collections.abc import Mapping
from datetime import UTC, datetime

from handler.operators.entries import Entry, Kind
from handler.operators.state import State
from handler.pagerduty.text import truncate

MAX_SUBJECT = 99
"""SNS takes fewer than 100 ASCII characters: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

_HEADINGS = {
    Kind.LATE: (
        "NOT ACCEPTED: {} critical, for two minutes or more",
        "PagerDuty has not accepted them. They wait, and go out by themselves; until then nobody is paged.",
    ),
    Kind.DEAD_LETTER: (
        "DEAD LETTERS: {}",
        "They could not be delivered and are kept for 14 days. Fix the cause, then: make redrive",
    ),
    Kind.RECOVERED: ("NO LONGER WAITING: {}", "They were reported as not accepted."),
}


def compose(state: State, *, stack: str = "") -> tuple[str, str]:
    """Return the subject and the text of the message about everything in a state."""
    counted = {kind: state.counts.get(kind, 0) for kind in Kind}
    lines: list[str] = []
    for kind, (heading, explanation) in _HEADINGS.items():
        if not counted[kind]:
            continue
        entries = [entry for entry in state.entries if entry.kind is kind]
        lines += [heading.format(counted[kind]), explanation, ""]
        for entry in entries:
            lines += [*_lines(entry), ""]
        if rest := counted[kind] - len(entries):
            lines += [f"and {rest} more", ""]
    if state.late and not counted[Kind.LATE]:
        lines += [f"Still not accepted: {len(state.late)} critical.", ""]
    given = f"STACK={stack} " if stack else ""
    lines.append(f"To trace an alert: make trace {given}NAME=...   To check the setup: make doctor {given}".rstrip())
    return _subject(state, counted), "\n".join(lines)


def _lines(entry: Entry) -> list[str]:
    title = f"{entry.severity.upper()}  {entry.name}" if entry.severity else entry.name
    shown = {
        "": entry.summary if entry.summary != entry.name else "",
        "place": entry.location,
        "target": entry.target,
        "since": f"{datetime.fromtimestamp(entry.since, UTC):%Y-%m-%d %H:%M:%S} UTC" if entry.since else "",
        "error" if entry.kind is Kind.DEAD_LETTER else "state": entry.note,
        "link": entry.link,
    }
    return [title, *(f"  {label:<8}{value}" if label else f"  {value}" for label, value in shown.items() if value)]


def _subject(state: State, counted: Mapping[Kind, int]) -> str:
    late, dead, recovered = (counted[kind] for kind in Kind)
    if late + dead == 1:
        names = [entry.name for entry in state.entries if entry.kind is not Kind.RECOVERED]
        text = ": ".join(["Not accepted by PagerDuty" if late else "Dead letter", *names[:1]])
    elif late or dead:
        parts = [f"{late} critical alerts not accepted" if late else "", f"{dead} dead letters" if dead else ""]
        text = "PagerDuty Publisher: " + ", ".join(part for part in parts if part)
    else:
        text = f"PagerDuty Publisher: {recovered} no longer waiting, {len(state.late)} still"
    line = " ".join("".join(letter if " " <= letter <= "~" else "?" for letter in text).split())
    return truncate(line, MAX_SUBJECT).replace("…", "...")[:MAX_SUBJECT]
