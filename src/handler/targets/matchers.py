"""Prometheus Alertmanager's matchers over labels: `severity=~"critical|error"`, `cluster!="dev"`.

As there, a label that is missing has the empty value, and regular expressions are anchored at both ends:
https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_MATCHER = re.compile(r"""\s*([^\s{}!=~,\\"'`]+|"(?:[^"\\]|\\.)+")\s*(=~|!~|!=|=)\s*(.*?)\s*""", re.DOTALL)
_ONE_OF_SEVERAL = re.compile(r'(?:"(?:[^"\\]|\\.)*+"?|[^",])++', re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(r'\\([n"\\])')
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class Matcher(NamedTuple):
    """One condition on one label."""

    name: str
    operator: str
    value: str
    pattern: re.Pattern[str] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet the condition."""
        value = labels.get(self.name, "")
        met = self.pattern.fullmatch(value) is not None if self.pattern else value == self.value
        return met is not self.operator.startswith("!")


def split_matchers(text: str) -> list[str]:
    """Return the matchers in a text such as `{severity="critical", cluster="prod"}`; the braces may be missing."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    found: list[str] = _ONE_OF_SEVERAL.findall(inner)
    return [each for each in found if each.strip()] or [text]


def parse_matcher(text: str) -> Matcher:
    """Read one matcher.

    Raises:
        ValueError: it is none; the message says what is wrong with it without the text, which may be a secret.
    """
    found = _MATCHER.fullmatch(text)
    if not found:
        raise ValueError('not a matcher: write it as name="value", with =, !=, =~ or !~')
    name, operator, value = found.groups()
    name, value = _unquote(name), _unquote(value)
    if not operator.endswith("~"):
        return Matcher(name, operator, value)
    if "[[:" in value:
        raise ValueError("not a regular expression of Python's: write [a-z] for [[:lower:]]")
    try:
        return Matcher(name, operator, value, re.compile(value))
    except (re.error, RecursionError, OverflowError) as error:
        # what else re says may quote the text
        place = f" at character {error.pos + 1}" if isinstance(error, re.error) and error.pos is not None else ""
        raise ValueError(f"not a regular expression{place}") from None


def _unquote(value: str) -> str:
    if _QUOTED.fullmatch(value):
        return _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], value[1:-1])
    if '"' in value:
        raise ValueError('a quotation mark that is not closed, or inside a value: write it as \\"')
    return value
