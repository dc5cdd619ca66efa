"""Bounds what the alerts of one message share: each has a copy, and a small message could become a large text."""

from collections.abc import Mapping

MAX_CHARACTERS = 10_000_000
"""The most characters of shared labels and texts in all alerts of one message together."""
_PAIR_CHARACTERS = 20
"""What a pair of a name and a text takes besides their characters."""


def shared(pairs: Mapping[str, str], among: int) -> dict[str, str]:
    """Return the shared labels that each of `among` alerts may keep, 10 million characters in all."""
    left = MAX_CHARACTERS // max(1, among)
    kept: dict[str, str] = {}
    for name, text in pairs.items():
        left -= len(name) + _PAIR_CHARACTERS
        if left <= 0:
            break
        kept[name] = text[:left]
        left -= len(text)
    return kept


def shared_text(text: str, among: int) -> str:
    """Return the part of a shared text that each of `among` alerts may keep, 10 million characters in all."""
    return text[: MAX_CHARACTERS // max(1, among)]
