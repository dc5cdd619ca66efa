"""Reads the text that Alertmanager's default template for SNS, `sns.default.message`, makes of a group of alerts.

https://github.com/prometheus/alertmanager/blob/main/template/default.tmpl
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_SECTIONS = {"Alerts Firing:": "firing", "Alerts Resolved:": "resolved"}
_SUBJECTS = {"[FIRING": "firing", "[RESOLVED": "resolved"}
_PAIR = " - "


class Part(StrEnum):
    """Where in an alert's block a line is."""

    LABELS = "Labels:"
    ANNOTATIONS = "Annotations:"
    SOURCE = "Source:"


@dataclass(slots=True)
class Block:
    """One alert, as far as it was read."""

    status: str
    part: Part = Part.LABELS
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    source: str = ""
    last: str = ""

    def take(self, line: str) -> None:
        """Read a line: a pair, the next part, or else more of the value before it."""
        head = line.strip()
        if self.part is Part.LABELS and head == Part.ANNOTATIONS:
            self.part, self.last = Part.ANNOTATIONS, ""
        elif self.part is not Part.LABELS and head.startswith(Part.SOURCE):
            self.part, self.source = Part.SOURCE, head.removeprefix(Part.SOURCE).strip()
        elif self.part is not Part.SOURCE:
            self._take_pair(self.labels if self.part is Part.LABELS else self.annotations, line)

    def _take_pair(self, pairs: dict[str, str], line: str) -> None:
        name, equals, value = line.removeprefix(_PAIR).partition(" = ")
        if line.startswith(_PAIR) and equals:
            pairs[name], self.last = value, name
        elif self.last:
            pairs[self.last] += f"\n{line}"

    @property
    def is_whole(self) -> bool:
        """Whether all labels are there: the annotations follow them."""
        return bool(self.labels) and self.part is not Part.LABELS

    def entry(self) -> dict[str, Any]:
        """Give it in the webhook's shape."""
        return {
            "status": self.status,
            "labels": self.labels,
            "annotations": self.annotations,
            "generatorURL": self.source,
        }


def read(text: str, subject: str) -> tuple[dict[str, Any], bool]:
    """Give the message in the webhook's shape, and whether it is whole.

    A value may have lines of its own: what opens a section or a block is taken for it only where one can begin.
    """
    status = next((word for start, word in _SUBJECTS.items() if subject.startswith(start)), "")
    blocks: list[Block] = []
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        head = line.strip()
        is_between = not blocks or blocks[-1].part is Part.SOURCE
        if is_between and head in _SECTIONS and following.strip() == Part.LABELS:
            status = _SECTIONS[head]
        elif is_between and head == Part.LABELS and following.startswith(_PAIR):
            blocks.append(Block(status))
        elif blocks:
            blocks[-1].take(line)
    whole = [block for block in blocks if block.is_whole]
    return {"alerts": [block.entry() for block in whole]}, 0 < len(whole) == len(blocks)
