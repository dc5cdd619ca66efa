"""Cuts texts, JSON values and whole event bodies to a size."""

import json
from collections.abc import Callable, Mapping, Sequence
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


def size_of(body: Mapping[str, Any]) -> int:
    """Return the size of a body in bytes, as it is sent."""
    return len(encode(body))


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the JSON bytes that are sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_CUT_NOTE = "This event was larger than PagerDuty's limit of 512,000 bytes: its longest values were cut."


def cut_to_size(body: dict[str, Any], limit: int) -> dict[str, Any]:
    """Cut a body to at most `limit` bytes: longest values first, labels last.

    Only custom details are cut: everything else has limits of its own.
    """
    if size_of(body) <= limit:
        return body
    details = dict(body.get("payload", {}).get("custom_details") or {})
    labels = details.pop("labels", None)

    def with_details(kept: Mapping[str, Any], kept_labels: Any, event: Mapping[str, Any] = body) -> dict[str, Any]:
        details = {"truncated": _CUT_NOTE, **({"labels": kept_labels} if kept_labels else {}), **kept}
        details["truncated"] = _CUT_NOTE  # replaces a detail with that name
        return {**event, "payload": {**event.get("payload", {}), "custom_details": details}}

    candidates: Sequence[Callable[[int], dict[str, Any]]] = (
        lambda longest: with_details(shorten(details, longest), labels),
        lambda longest: with_details({}, shorten(labels, longest)),
    )
    for candidate in candidates:
        if size_of(candidate(0)) <= limit:
            return candidate(_largest(lambda longest, make=candidate: size_of(make(longest)) <= limit, limit))  # type: ignore[misc]
    without_urls = {name: value for name, value in body.items() if name not in ("links", "images", "client_url")}
    return with_details({}, None, without_urls)


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


def _largest(fits: Callable[[int], bool], upper: int) -> int:
    """Find the largest number in [0, upper] that fits, by halving; 0 is known to fit."""
    low, high = 0, upper
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
