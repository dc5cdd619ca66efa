"""What the sources for AWS services share: ARNs, accounts and regions, and console links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from handler.envelope import Record
from handler.pagerduty.severity import Severity
from handler.validation import text_of

_CONSOLE_DOMAINS = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of an ARN; all empty if the text is not an ARN."""

    partition: str = ""
    service: str = ""
    region: str = ""
    account: str = ""
    resource: str = ""

    @classmethod
    def of(cls, text: str) -> "Arn":
        """Read an ARN; the resource is everything after the account, including colons."""
        parts = text.split(":", 5)
        return cls(*parts[1:]) if len(parts) == 6 and parts[0] == "arn" else cls()

    @property
    def home(self) -> "Home":
        """The account and region in the ARN."""
        return Home(self.account, self.region)


def partition_of(region: str) -> str:
    """Return a region's partition; most events name only the region."""
    return next((partition for prefix, partition in _PARTITIONS.items() if region.startswith(prefix)), "aws")


@dataclass(frozen=True, slots=True)
class Home:
    """The account and region that something belongs to."""

    account: str = ""
    region: str = ""

    @classmethod
    def of(cls, record: Record, arn: str = "", *, account: str = "", region: str = "") -> "Home":
        """Take each from the ARN, else from the message, else from the event, else from the topic."""
        own, topic = Arn.of(arn), Arn.of(record.topic_arn)
        return cls(
            account=own.account or account or record.account or topic.account,
            region=own.region or region or record.region or topic.region,
        )

    @property
    def labels(self) -> dict[str, str]:
        """The labels that targets match on."""
        return filled({"account": self.account, "region": self.region})

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource here."""
        return f"arn:{partition_of(self.region)}:{service}:{self.region}:{self.account}:{resource}"

    def identity(self, origin: str, *parts: str) -> str:
        """Return the identity of something here that has no ARN."""
        return ":".join((origin, self.account, self.region, *parts))

    def console(self, path: str, fragment: str = "") -> str:
        """Return the URL of a console page in this region; the caller quotes path and fragment."""
        domain = _CONSOLE_DOMAINS.get(partition_of(self.region), "console.aws.amazon.com")
        host = f"{self.region}.{domain}" if self.region else domain
        return f"https://{host}/{path}?region={quote(self.region)}" + (f"#{fragment}" if fragment else "")


def severity_of(number: float | None, least: Sequence[tuple[float, Severity]]) -> str:
    """Return the first severity whose minimum the number reaches; empty if there is no number."""
    return next((str(word) for from_number, word in least if number is not None and number >= from_number), "")


def filled(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the values as texts, without the empty ones."""
    return {name: str(value) for name, value in values.items() if value not in (None, "", [], {})}


def dig(value: Any, *path: str) -> str:
    """Return the text at a path through nested objects and the first entries of lists; empty if there is none."""
    for name in path:
        if isinstance(value, list):
            value = next(iter(value), None)
        value = value.get(name) if isinstance(value, dict) else None
    return text_of(value)
