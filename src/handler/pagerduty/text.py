"""Cuts texts, and the texts in JSON values, to a length."""

from collections.abc import Mapping, Sequence
from typing import Any

ELLIPSIS = "…"


def truncate(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, the last of which is an ellipsis if there is room."""
    if len(text) <= limit:
        return text
    return text[:limit] if limit <= len("...") else text[: limit - 1] + ELLIPSIS


def truncate_bytes(text: str, limit: int) -> str:
    """Cut a text to `limit` bytes of UTF-8 without splitting a character, ending in an ellipsis where it fits."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    room = limit - len(ELLIPSIS.encode())
    if room < 0:
        return "." * limit
    return encoded[:room].decode(errors="ignore") + ELLIPSIS


def shorten(value: Any, longest: int, most: int | None = None) -> Any:
    """Return a JSON value with every text cut to this many bytes, and every list to its first `most` entries."""
    match value:
        case str():
            return truncate_bytes(value, longest)
        case Mapping():
            return {key: shorten(inner, longest, most) for key, inner in value.items()}
        case Sequence():
            return [shorten(inner, longest, most) for inner in value[:most]]
        case _:
            return value
