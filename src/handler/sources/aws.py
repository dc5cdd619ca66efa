"""What the sources that are AWS services share: ARNs, and addresses in the AWS console."""

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
    """The parts of an ARN; all of them empty for a text that is none."""

    partition: str = ""
    service: str = ""
    region: str = ""
    account: str = ""
    resource: str = ""

    @classmethod
    def of(cls, text: str) -> "Arn":
        """Read an ARN; the resource is everything after the account, colons and all."""
        parts = text.split(":", 5)
        return cls(*parts[1:]) if len(parts) == 6 and parts[0] == "arn" else cls()

    @property
    def home(self) -> "Home":
        """The account and region that it names."""
        return Home(self.account, self.region)


def partition_of(region: str) -> str:
    """Return the partition that a region lies in: an event names its region, and mostly not its partition."""
    return next((partition for prefix, partition in _PARTITIONS.items() if region.startswith(prefix)), "aws")


@dataclass(frozen=True, slots=True)
class Home:
    """The account and region that something belongs to."""

    account: str = ""
    region: str = ""

    @classmethod
    def of(cls, record: Record, arn: str = "", *, account: str = "", region: str = "") -> "Home":
        """Find it by the thing's ARN, else by what the message says, else by the event, else by the topic."""
        known, topic = Arn.of(arn), Arn.of(record.topic_arn)
        return cls(
            account=known.account or account or record.account or topic.account,
            region=known.region or region or record.region or topic.region,
        )

    @property
    def labels(self) -> dict[str, str]:
        """The labels that targets match on."""
        return filled({"account": self.account, "region": self.region})

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource here."""
        return f"arn:{partition_of(self.region)}:{service}:{self.region}:{self.account}:{resource}"

    def identity(self, origin: str, *parts: str) -> str:
        """Return an identity of something here that has no ARN."""
        return ":".join((origin, self.account, self.region, *parts))

    def console(self, path: str, fragment: str = "") -> str:
        """Return the address of a page of the AWS console here; path and fragment are quoted by the caller."""
        domain = _CONSOLE_DOMAINS.get(partition_of(self.region), "console.aws.amazon.com")
        host = f"{self.region}.{domain}" if self.region else domain
        return f"https://{host}/{path}?region={quote(self.region)}" + (f"#{fragment}" if fragment else "")


def severity_of(number: float | None, least: Sequence[tuple[float, Severity]]) -> str:
    """Return the severity of a number: the first whose least number it reaches; empty where there is no number."""
    return next((str(word) for from_number, word in least if number is not None and number >= from_number), "")


def filled(values: Mapping[str, Any]) -> dict[str, str]:
    """Return labels of what is known: as text, and without what is empty."""
    return {name: str(value) for name, value in values.items() if value not in (None, "", [], {})}


def dig(value: Any, *path: str) -> str:
    """Return the text at the end of a path through objects, of a list through its first; empty where it ends early."""
    for name in path:
        if isinstance(value, list):
            value = next(iter(value), None)
        value = value.get(name) if isinstance(value, dict) else None
    return text_of(value)
