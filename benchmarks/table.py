"""The table: what was measured in pairs, as ratios, and against which bar. Pure; measures nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        what: what was measured.
        values: one for each round; ratios, unless there is a unit.
        bar: what the median must not exceed, where there is one.
        at_least: the bar is what the median must reach.
        seen: what the ratios are of, in absolute terms.
    """

    what: str
    values: Sequence[float]
    unit: str = "x"
    bar: float | None = None
    at_least: bool = False
    seen: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)

    @property
    def is_held(self) -> bool:
        """Whether the bar is, or there is none."""
        if self.bar is None:
            return True
        return self.median >= self.bar if self.at_least else self.median <= self.bar

    def cells(self) -> list[str]:
        """Return the line's cells."""
        numbers = [f"{number:.{_digits(number)}f}" for number in (self.median, min(self.values), max(self.values))]
        bar = "" if self.bar is None else f"{'>=' if self.at_least else '<='} {self.bar:g} {self.unit}"
        verdict = "" if self.bar is None else "held" if self.is_held else "MISSED"
        return [self.what, f"{numbers[0]} {self.unit}", *numbers[1:], bar, verdict, self.seen]


HEADINGS = ("", "median", "min", "max", "bar", "", "of")


def _digits(number: float) -> int:
    return 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], *, unit: str, bar: float | None = None) -> Line:
    """Return the line of ratios of two measurements that were taken in turns, each pair in one round."""
    pairs = list(zip(ours, theirs, strict=True))
    one, other = median(ours), median(theirs)
    seen = f"{one:.{_digits(one)}f} / {other:.{_digits(other)}f} {unit}"
    return Line(what=what, values=[mine / other for mine, other in pairs], bar=bar, seen=seen)


def aligned(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a Markdown table that can be read as text too; the first columns go left, the others right."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(headings))]
    rule = [("-" * width if column < left else "-" * (width - 1) + ":") for column, width in enumerate(widths)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def print_lines(lines: Sequence[Line]) -> str:
    """Return the table of these lines."""
    return aligned(HEADINGS, [line.cells() for line in lines])
