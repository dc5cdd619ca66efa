"""Which words say how severe something is."""

import re
from typing import Any

from handler.pagerduty.severity import Severity, parse_severity
from handler.sources.words.fields import all_fields, plain_name

_SEVERITIES = ("severity", "alertseverity", "sev", "level", "priority", "urgency")
_SEVERITY_INSIDE = ("label", "description", "name", "value", "level")
_OCSF_SEVERITIES = {2: Severity.INFO, 1: Severity.INFO, 3: Severity.WARNING, 4: Severity.ERROR, 5: Severity.CRITICAL}
"""https://schema.ocsf.io/1.5.0/classes/detection_finding: `severity_id`; 6 is Fatal."""
_SEVERITY_HEADING = (
    r"[^\w\n]{0,5}(critical|fatal|emergency|error|warning|warn|info|sev[\s_-]?[0-5]|p[0-5])(?:\s?[\]):|]|\s[\u2013-]\s)"
)
_SEVERITY_IN_LOG = (
    r"[\[(]?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,20}\s{1,3}[\[(]?(CRITICAL|FATAL|EMERGENCY|ERROR|WARNING|WARN)\b"
)


def severity_word(payload: Any) -> str:
    """Return a message's severity word, the least deep one; empty if it has none.

    A word for one of PagerDuty's severities takes precedence over an unknown one.
    """
    unknown = ""
    named = [(name, value) for name, value, _ in all_fields(payload) if name in _SEVERITIES or name == "severityid"]
    for wanted in (*_SEVERITIES, "severityid"):
        for value in (value for name, value in named if name == wanted):
            word = _severity_in(wanted, value)
            if word and parse_severity(word):
                return word
            unknown = unknown or (word if wanted == "severity" else "")
    return unknown


def severity_in_heading(text: str) -> str:
    """Return the severity word of a heading, `CRITICAL: ...`, `[SEV1] ...`, `P2 - ...`, or of a line of a log."""
    found = re.match(_SEVERITY_HEADING, text[:60], re.IGNORECASE) or re.match(_SEVERITY_IN_LOG, text[:80])
    return re.sub(r"[\s_-]", "", found[1]) if found else ""


def _severity_in(name: str, value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case dict():
            inner = {plain_name(name): text for name, text in value.items() if isinstance(text, str)}
            return next((inner[name].strip() for name in _SEVERITY_INSIDE if inner.get(name, "").strip()), "")
        case bool():
            return ""
        case int() if name == "severityid":
            return str(Severity.CRITICAL if value == 6 else _OCSF_SEVERITIES.get(value, ""))
        case int() if name == "priority":
            return f"P{value}"
        case _:
            return ""
