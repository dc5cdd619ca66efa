"""PagerDuty's four severities, and the words for them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator


class Severity(StrEnum):
    """PagerDuty's four severities, most urgent first."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def urgency(self) -> int:
        """0 for info to 3 for critical."""
        return len(Severity) - 1 - list(Severity).index(self)


_SYNONYMS = {
    Severity.CRITICAL: "critical crit page fatal emergency emerg alert disaster p1 p0 sev1 sev0 sev-1 s1",
    Severity.ERROR: "error err high major severe p2 sev2 sev-2 s2",
    Severity.WARNING: "warning warn medium moderate average minor p3 sev3 sev-3 s3",
    Severity.INFO: "info information informational low notice none ok debug p4 p5 sev4 sev5 sev-4 sev-5 s4 s5",
}
_SEVERITY_OF_WORD = {word: severity for severity, words in _SYNONYMS.items() for word in words.split()}


def parse_severity(word: str) -> Severity | None:
    """Return the severity that a word such as `page`, `P1` or `warn` means, in any case; None for an unknown word."""
    return _SEVERITY_OF_WORD.get(word.strip().lower())


def _read(value: Any) -> Any:
    return (parse_severity(value) or value) if isinstance(value, str) else value


SeverityWord = Annotated[Severity, BeforeValidator(_read)]
"""A model field that accepts any word for a severity."""
