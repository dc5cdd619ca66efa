"""Whether a message of no known shape is good news or mere progress, or has to page."""

import re

from handler.outcome import SkipReason
from handler.sources.words.states import ENDED, GOOD, PROGRESS, state_word

_GOOD_WORDS = (
    *("ok", "resolved", "recovered", "recovery", "cleared", "closed", "restored", "solved", "fixed", "success", "up"),
    "passed",
)
_GOOD_HEADING = rf"\W{{0,5}}(?:{'|'.join(_GOOD_WORDS)})\b\W{{0,3}}(?:\Z|[:\]\u2013-])"
_GOOD_BRACKET = rf"\[\W{{0,5}}(?:{'|'.join(_GOOD_WORDS)})\W{{0,3}}\]"
_BAD_WORDS = ("fail", "error", "unsuccessful", "denied", "expir", "revoke", "down", "critical", "crash", "timed out")
_DOUBTFUL_WORDS = (
    "high",
    "low",
    "warn",
    "alert",
    "alarm",
    "firing",
    "problem",
    "degraded",
    "unhealthy",
    "lost",
    "missing",
)


def skip_reason(
    heading: str, text: str, states: set[str], *, detail_type: str = "", is_urgent: bool = False
) -> SkipReason | None:
    """Return why a message needs no trigger, or None if it needs one.

    A message is good news or progress only if all its states are. A heading about a failure pages too, unless a state
    says that something is over. An urgent message is never mere progress.

    Args:
        heading: the subject, or the message where it is a text.
        text: what the message is about, in one line.
        states: all states that it names.
        detail_type: of an event of AWS, whose last word may be its state.
        is_urgent: whether its severity is critical or error.
    """
    start = heading[:21].lower()
    if any(word in start for word in _GOOD_WORDS) and re.match(_GOOD_HEADING, start):
        return SkipReason.NOTICE
    if not states - GOOD and _is_good_line(heading or text):
        return SkipReason.NOTICE
    kind = detail_type.lower()
    if not states and kind and not any(word in kind for word in _BAD_WORDS):
        states = {state_word(detail_type.rpartition(" ")[2])} & GOOD
    if not states & ENDED and any(word in heading[:200].lower() for word in _BAD_WORDS):
        return None
    if states and states <= GOOD:
        return SkipReason.NOTICE
    if states and states <= GOOD | PROGRESS and not is_urgent:
        return SkipReason.IN_PROGRESS
    return None


def _is_good_line(line: str) -> bool:
    """Return whether a headline has a good state in brackets, such as `[shop] [✅ Up]`, and nothing bad."""
    lower = line[:200].lower()
    return not any(word in lower for word in (*_BAD_WORDS, *_DOUBTFUL_WORDS)) and bool(re.search(_GOOD_BRACKET, lower))
