"""Reads the text that the default templates of Alertmanager (for SNS) and Grafana make of a group of alerts.

https://github.com/prometheus/alertmanager/blob/main/template/default.tmpl and
https://github.com/grafana/alerting/blob/main/templates/default_template.go
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_SECTIONS = {"Alerts Firing:": "firing", "Alerts Resolved:": "resolved"}
_GRAFANA_SECTIONS = {"**Firing**": "firing", "**Resolved**": "resolved"}
_SUBJECTS = {"[FIRING": "firing", "[RESOLVED": "resolved"}
_PAIR = " - "
_VALUE = "Value:"
_ADDRESS = re.compile(r"(Source|Silence|Dashboard|Panel): ?(\S*)(?:\s.*)?")
"""After an alert's annotations; Alertmanager has the source alone."""
_KEYS = {"Source": "generatorURL", "Silence": "silenceURL", "Dashboard": "dashboardURL", "Panel": "panelURL"}


class Part(StrEnum):
    """Where in an alert's block a line is."""

    LABELS = "Labels:"
    ANNOTATIONS = "Annotations:"
    ADDRESSES = "Source:"


@dataclass(slots=True)
class Block:
    """One alert, as far as it was read."""

    status: str
    value: str = ""
    part: Part = Part.LABELS
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    last: str = ""
    more: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Read a line: a pair, the next part, or else more of the value before it."""
        head = line.strip()
        address = _ADDRESS.fullmatch(head) if self.part is not Part.LABELS else None
        if self.part is Part.LABELS and head == Part.ANNOTATIONS:
            self._end_value()
            self.part, self.last = Part.ANNOTATIONS, ""
        elif address:
            self._end_value()
            self.part = Part.ADDRESSES
            self.addresses.setdefault(_KEYS[address[1]], address[2])
        elif self.part is not Part.ADDRESSES:
            self._take_pair(self.labels if self.part is Part.LABELS else self.annotations, line)

    def _take_pair(self, pairs: dict[str, str], line: str) -> None:
        name, equals, value = line.removeprefix(_PAIR).partition(" = ")
        if line.startswith(_PAIR) and equals:
            self._end_value()
            pairs[name], self.last = value, name
        elif self.last:
            self.more.append(line)

    def _end_value(self) -> None:
        pairs = self.labels if self.part is Part.LABELS else self.annotations
        if self.more:
            pairs[self.last] = "\n".join((pairs[self.last], *self.more))
            self.more = []

    def end(self, *, is_grafana: bool) -> None:
        """End the block; the empty lines that Grafana writes between alerts are no part of the last value."""
        while is_grafana and self.more and not self.more[-1]:
            self.more.pop()
        self._end_value()
        if self.is_whole:
            self.part = Part.ADDRESSES

    @property
    def is_whole(self) -> bool:
        """Whether all labels are there: the annotations follow them."""
        return bool(self.labels) and self.part is not Part.LABELS

    def entry(self) -> dict[str, Any]:
        """Return it in the webhook's shape."""
        return {
            "status": self.status,
            "labels": self.labels,
            "annotations": self.annotations,
            "valueString": self.value,
            **self.addresses,
        }


def read(text: str, subject: str) -> tuple[dict[str, Any], bool]:
    """Return the message in the webhook's shape, and whether it is whole.

    A value may have lines of its own: what opens a section or a block is taken for it only where one can begin.
    Grafana's alerts may end without an address, so that there the value of the next one ends them.
    """
    status = next((word for start, word in _SUBJECTS.items() if subject.startswith(start)), "")
    is_grafana = any(heading in text for heading in _GRAFANA_SECTIONS)
    blocks: list[Block] = []
    value = ""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        head = line.strip()
        following, after = (lines[at] if at < len(lines) else "" for at in (number + 1, number + 2))
        is_between = not blocks or blocks[-1].part is Part.ADDRESSES
        if is_grafana and (head in _GRAFANA_SECTIONS or _opens_alert(head, following, after)):
            if blocks:
                blocks[-1].end(is_grafana=True)
            status = _GRAFANA_SECTIONS.get(head, status)
            value = head.removeprefix(_VALUE).strip() if head.startswith(_VALUE) else ""
        elif is_between and head in _SECTIONS and following.strip() == Part.LABELS:
            status = _SECTIONS[head]
        elif (is_between or value) and head == Part.LABELS and following.startswith(_PAIR):
            blocks.append(Block(status, value))
            value = ""
        elif blocks:
            blocks[-1].take(line)
    for block in blocks[-1:]:
        block.end(is_grafana=is_grafana)
    whole = [block for block in blocks if block.is_whole]
    return {"alerts": [block.entry() for block in whole]}, 0 < len(whole) == len(blocks)


def _opens_alert(head: str, following: str, after: str) -> bool:
    return head.startswith(_VALUE) and following.strip() == Part.LABELS and after.startswith(_PAIR)
