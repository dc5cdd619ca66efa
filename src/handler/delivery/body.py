"""An alert that waits in its record: the native message, compressed and small enough for an item."""

import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from handler.alert import Alert
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.pagerduty.text import shorten
from handler.sources import native
from handler.validation import MAX_ENTRIES, MAX_INFLATED_BYTES

MAX_BYTES = 350_000
"""An item takes 400 KB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""
_LONGEST = (50_000, 5_000, 500)
_UNKNOWN = datetime.fromtimestamp(0, UTC)
"""When an alert was observed whose body does not say so; whatever `pack` writes does."""


def pack(alert: Alert) -> bytes:
    """Return the alert as at most 350 KB; if it is larger, its longest texts are cut."""
    message = native.dump(alert)
    packed = _compress(message)
    for longest in _LONGEST:
        if len(packed) <= MAX_BYTES:
            return packed
        packed = _compress(shorten(message, longest, MAX_ENTRIES))
    if len(packed) <= MAX_BYTES:
        return packed
    return _compress(native.dump(replace(alert, details={}, annotations={}, classification=None, links=(), images=())))


def unpack(body: bytes) -> Alert:
    """Return the alert that was packed; raise InvalidAlertError if the body is damaged."""
    try:
        message = json.loads(zlib.decompressobj().decompress(body, MAX_INFLATED_BYTES))
        [alert] = native.parse(Record(payload=message, published_at=_UNKNOWN))
    except (zlib.error, ValueError, TypeError, RecursionError, InvalidAlertError) as damage:
        raise InvalidAlertError(f"its body is damaged: {damage}") from damage
    return alert


def _compress(message: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
