"""The sources: one module a kind of input, tried in this order. Adding one is a module here and a line below."""

from types import ModuleType
from typing import Any, Protocol, cast

from handler.alert import Alert, Ignored
from handler.envelope import Record
from handler.errors import NotAnAlertError
from handler.sources import cloudwatch, native

type Parsed = list[Alert | Ignored]


class Source(Protocol):
    """What a source module offers."""

    def recognises(self, record: Record) -> bool:
        """Whether this record is of this kind, by its shape or its detail-type alone."""
        ...

    def parse(self, record: Record) -> Parsed:
        """Give the record's alerts; raise InvalidAlertError naming the field where it is damaged."""
        ...


def _source(module: ModuleType) -> Source:
    return cast(Source, module)


SOURCES: tuple[Source, ...] = (_source(native), _source(cloudwatch))


def parse(record: Record) -> Parsed:
    """Give the alerts of a record by the first source that recognises it.

    Raises:
        InvalidAlertError: recognised, but a field is missing or wrong.
        NotAnAlertError: no source recognises it.
    """
    for source in SOURCES:
        if source.recognises(record):
            return source.parse(record)
    raise NotAnAlertError(f"not an alert: {_shape(record)} is of no known source")


def _shape(record: Record) -> str:
    """Describe a payload without its values, which may be secrets."""
    if record.detail_type:
        return f"EventBridge detail-type {record.detail_type!r}"
    payload: Any = record.payload
    if isinstance(payload, dict):
        return f"a JSON object with the keys {', '.join(sorted(map(str, payload))[:8]) or '(none)'}"
    if isinstance(payload, str):
        return "a text that is not JSON" if payload.strip() else "an empty message"
    return f"a JSON {type(payload).__name__}"
