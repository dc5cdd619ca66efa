"""Reads what comes in by a function's settings, so that the function, its reports and the tools read the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from handler import sources
from handler.alert import Alert, WhenUndetermined
from handler.envelope import Record, unwrap
from handler.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Unwraps records, and parses their alerts.

    Attributes:
        when_undetermined: what to do with an alert whose source does not know whether it is firing.
        account_names: names of AWS accounts by their ids, for the label `account_name`.
        function_name: the name of the function. Its own on-failure records are unwrapped, those of others are alerts.
        foreign_topic_arn: the topic that other accounts publish to; empty where there is none.
    """

    when_undetermined: WhenUndetermined = WhenUndetermined.IGNORE
    account_names: Mapping[str, str] = field(default_factory=dict)
    function_name: str = ""
    foreign_topic_arn: str = ""

    @classmethod
    def of(cls, settings: Settings, function_name: str) -> "Reader":
        """Return the reader of a function with these settings."""
        return cls(
            when_undetermined=settings.CLOUDWATCH_INSUFFICIENT_DATA,
            account_names=settings.ACCOUNT_NAMES,
            function_name=function_name,
            foreign_topic_arn=settings.FOREIGN_TOPIC_ARN or "",
        )

    def read(self, raw: Any, received_at: datetime) -> sources.Parsed:
        """Unwrap and parse a record; raises as `unwrap` and `sources.parse` do."""
        return self.parse(self.unwrap(raw, received_at))

    def unwrap(self, raw: Any, received_at: datetime) -> Record:
        """Return a record without its wrappings."""
        return unwrap(raw, received_at, self.function_name)

    def parse(self, record: Record) -> sources.Parsed:
        """Return what a record holds; an alert of another account names no target, and resolves only its own."""
        parsed = sources.parse(record, self.when_undetermined, self.account_names)
        if not record.is_foreign(self.foreign_topic_arn):
            return parsed
        return [_as_foreign(found) if isinstance(found, Alert) else found for found in parsed]


def _as_foreign(alert: Alert) -> Alert:
    return replace(alert, fingerprint=f"foreign#{alert.fingerprint}", targets=())
