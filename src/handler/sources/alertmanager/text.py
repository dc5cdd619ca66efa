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
"""A line after an alert's annotations; Alertmanager writes only the source."""
_KEYS = {"Source": "generatorURL", "Silence": "silenceURL", "Dashboard": "dashboardURL", "Panel": "panelURL"}


class Part(StrEnum):
    """The part of an alert's block that a line belongs to."""

    LABELS = "Labels:"
    ANNOTATIONS = "Annotations:"
    ADDRESSES = "Source:"


@dataclass(slots=True)
class Block:
    """The alert that is being read."""

    status: str
    value: str = ""
    part: Part = Part.LABELS
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    last: str = ""
    more: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Read a line: a pair, a heading, or a continuation of the value before it."""
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
        """End the block; Grafana's empty lines between alerts do not belong to the last value."""
        while is_grafana and self.more and not self.more[-1]:
            self.more.pop()
        self._end_value()
        if self.is_whole:
            self.part = Part.ADDRESSES

    @property
    def is_whole(self) -> bool:
        """Whether all labels were read: the annotations follow them."""
        return bool(self.labels) and self.part is not Part.LABELS

    def entry(self) -> dict[str, Any]:
        """Return the alert in the webhook's shape."""
        return {
            "status": self.status,
            "labels": self.labels,
            "annotations": self.annotations,
            "valueString": self.value,
            **self.addresses,
        }


def read(text: str, subject: str) -> tuple[dict[str, Any], bool]:
    """Return the message in the webhook's shape, and whether it is whole.

    A value may have several lines, so a heading counts only where a section or block can begin. Grafana's alerts may
    end without a URL; then the next alert's value ends them.
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
