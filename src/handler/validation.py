"""What every module may import: Powertools' parser for models, safe JSON, and field types.

The field types accept the variants in which AWS and Prometheus write texts, numbers, objects and times.
"""

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from aws_lambda_powertools.utilities.parser import ValidationError, parse
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from handler.errors import InvalidAlertError, NotAnAlertError, PublishError

MAX_DEPTH = 100
"""The limit for nested objects and lists; pydantic serialises 254 levels, and an event adds some."""
MAX_ENTRIES = 1000
"""The limit for each list in a message that is too large to be kept whole."""
MAX_INFLATED_BYTES = 50_000_000
"""The limit for a message that was kept compressed."""


class Model(BaseModel):
    """A model that is built on first use, because an execution environment sees few sources."""

    model_config = ConfigDict(defer_build=True)


_OFFSET_WITHOUT_COLON = re.compile(r"([+-]\d{2})(\d{2})$")
_RFC_1123 = "%a, %d %b %Y %H:%M:%S GMT"
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,9})?) ([+-]\d{4})(?: .*)?", re.ASCII)
"""As `time.Time.String` writes it: https://pkg.go.dev/time#Time.String. A zone's name and a monotonic clock reading may
follow."""
_JAVA_TIME = "%a %b %d %H:%M:%S UTC %Y"
"""Written by `java.util.Date`, as in CodeDeploy's notifications."""


def _readable(value: Any) -> Any:
    """Read times in the formats of Go, RFC 1123 and Java; an empty text or Go's zero time is None."""
    if not isinstance(value, str):
        return value
    if not value or value.startswith("0001-01-01"):
        return None
    for sign, spelling in ((" GMT", _RFC_1123), (" UTC ", _JAVA_TIME)):
        if sign in value:
            with suppress(ValueError):
                return datetime.strptime(value, spelling).replace(tzinfo=UTC)
    of_go = _GO_TIME.fullmatch(value)
    return _OFFSET_WITHOUT_COLON.sub(r"\1:\2", f"{of_go[1]}T{of_go[2]}{of_go[3]}" if of_go else value)


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("a time outside the years 1 to 9999") from None


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


Instant = Annotated[
    Annotated[datetime, AfterValidator(_utc)] | None, BeforeValidator(_readable), WrapValidator(_or_none)
]
"""A time in UTC (a time without a zone is taken as UTC), or None if it is missing or unreadable: a page matters more
than its time."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""A required text."""

Names = Annotated[
    list[Name],
    BeforeValidator(
        lambda value: [v for v in value.split(",") if v.strip()] if isinstance(value, str) else value or []
    ),
]
"""A list of texts, or one text separated by commas."""

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
"""A text; null reads as empty."""


def text_of(value: Any) -> str:
    """Return a text unchanged, a number or boolean as in JSON, and anything else as an empty text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


LooseText = Annotated[str, BeforeValidator(text_of)]
"""A text that is shown or matched on: anything but a text, number or boolean reads as empty and stops no page."""

MAX_SHOWN_CHARACTERS = 100
"""The most characters of a field's name that an error shows: the name may come from the message."""
MAX_NAME_CHARACTERS = 1024
"""The most characters that are kept of a name or address around a message."""

LooseName = Annotated[str, BeforeValidator(lambda value: text_of(value)[:MAX_NAME_CHARACTERS])]
"""A text that is shown or matched on, cut to the length of a name."""

LooseTexts = Annotated[
    list[str],
    BeforeValidator(lambda value: [t for v in (value if isinstance(value, list) else [value]) if (t := text_of(v))]),
]
"""A list of texts that are shown or matched on, or a single one; empty ones are left out."""


def number_of(value: Any) -> float | None:
    """Return a number, or one in a text; None if it is neither, or not finite."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


Number = Annotated[float | None, BeforeValidator(number_of)]
"""A number, or one in a text; anything else reads as None."""

OrEmpty = BeforeValidator(lambda value: value if isinstance(value, dict) else {})
"""For an object or a model: anything but an object reads as an empty one."""

Object = Annotated[dict[str, Any], OrEmpty]
"""An object; anything else reads as an empty one."""

Objects = Annotated[
    list[dict[str, Any]],
    BeforeValidator(lambda value: [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []),
]
"""A list of objects; other entries are left out."""


def parse_model[M: BaseModel](
    model: type[M], payload: Any, what: str, error: type[PublishError] = InvalidAlertError
) -> M:
    """Validate a payload with a model; raise an `error` that says `what` it is and names each invalid field."""
    try:
        return parse(event=payload, model=model)
    except ValidationError as invalid:
        raise error(_explain(invalid, what)) from None


def _explain(invalid: ValidationError, what: str) -> str:
    """Return which fields are invalid and why, without values, which may be secrets."""
    problems = invalid.errors(include_input=False, include_url=False, include_context=False)
    places = [".".join(str(part)[:MAX_SHOWN_CHARACTERS] for part in problem["loc"]) for problem in problems[:5]]
    return "; ".join(
        f"{what}: {place or 'value'}: {problem['msg']}" for place, problem in zip(places, problems, strict=False)
    )


def parse_text(text: str) -> Any:
    """Return the well-formed JSON value in a text, or the text itself if it is not JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return well_formed(value)


def well_formed(payload: Any) -> Any:
    """Replace what cannot be encoded: half surrogate pairs by question marks, `NaN` and infinities by texts."""
    if not _is_shallow(payload):
        raise NotAnAlertError("nested too deeply to be an alert")
    try:
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return json.loads(json.dumps(payload, ensure_ascii=False).encode(errors="replace"), parse_constant=str)
    return payload


def _is_shallow(payload: Any) -> bool:
    level = [payload]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
