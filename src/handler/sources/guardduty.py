"""GuardDuty findings, as EventBridge sends them.

An event comes for a finding that is new and whenever it is seen again:
https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_eventbridge.html
"""

from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Link, Status
from handler.envelope import Record
from handler.pagerduty.severity import Severity
from handler.sources.aws import (
    Home,
    dig,
    filled,
    severity_of,
)
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    Number,
    Object,
    parse_model,
)

ORIGIN = "guardduty"
CLIENT = "Amazon GuardDuty"
_SEVERITIES = ((9.0, Severity.CRITICAL), (7.0, Severity.ERROR), (4.0, Severity.WARNING), (0.0, Severity.INFO))
"""From this number on: critical, high, medium, low.
https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings-severity.html"""
_PLACES = {
    "Instance": ("instanceDetails", "instanceId"),
    "AccessKey": ("accessKeyDetails", "userName"),
    "S3Bucket": ("s3BucketDetails", "name"),
    "S3Object": ("s3BucketDetails", "name"),
    "EKSCluster": ("eksClusterDetails", "name"),
    "ECSCluster": ("ecsClusterDetails", "name"),
    "Container": ("containerDetails", "name"),
    "RDSDBInstance": ("rdsDbInstanceDetails", "dbInstanceIdentifier"),
    "Lambda": ("lambdaDetails", "functionName"),
}
"""Where each type of resource has its human-readable name."""


class Finding(Model):
    """The detail of the event."""

    id: Name
    arn: LooseText = ""
    accountId: LooseText = ""
    region: LooseText = ""
    type: LooseText = ""
    title: LooseText = ""
    description: LooseText = ""
    severity: Number = None
    resource: Object = Field(default_factory=dict)
    service: Object = Field(default_factory=dict)


class Sightings(Model):
    """The times in the finding's `service`."""

    eventFirstSeen: Instant = None


def parse(record: Record) -> list[Alert]:
    """Return the finding as an alert, which fires until the finding is archived."""
    finding = parse_model(Finding, record.payload, "GuardDuty finding")
    seen = parse_model(Sightings, finding.service, "GuardDuty finding: service")
    home = Home.of(record, account=finding.accountId, region=finding.region)
    kind = dig(finding.resource, "resourceType")
    console = home.console(
        "guardduty/home",
        fragment=f"/findings?search=id%3D{quote(finding.id, safe='')}",
    )
    details = {
        "description": finding.description,
        "severity": finding.severity,
        "count": dig(finding.service, "count"),
        "resource": finding.resource,
        "action": finding.service.get("action"),
    }
    return [
        Alert(
            fingerprint=finding.arn.strip() or home.identity(ORIGIN, finding.id),
            name=finding.type.strip() or "GuardDuty finding",
            status=Status.RESOLVED if dig(finding.service, "archived") == "true" else Status.FIRING,
            observed_at=record.published_at,
            origin=ORIGIN,
            labels={**home.labels, **filled({"type": finding.type, "resource_type": kind})},
            starts_at=seen.eventFirstSeen,
            severity_word=severity_of(finding.severity, _SEVERITIES),
            summary=finding.title or finding.description,
            location=_location(finding.resource, kind) or _actor(finding.service) or home.account,
            component=kind,
            group=home.account,
            class_=finding.type,
            client=CLIENT,
            client_url=console,
            links=(Link(console, "Finding in the GuardDuty console"),),
            details={name: value for name, value in details.items() if value},
        )
    ]


def _actor(service: Object) -> str:
    """Return whom or what an attack sequence is about: the user of its first actor, else its first resource.

    https://docs.aws.amazon.com/guardduty/latest/ug/guardduty-attack-sequence-finding-types.html
    """
    paths = (("actors", "user", "name"), ("resources", "name"), ("resources", "uid"), ("actors", "id"))
    return next((name for path in paths if (name := dig(service, "detection", "sequence", *path))), "")


def _location(resource: Object, kind: str) -> str:
    """Return the resource's name: the one for its type, else the first one found."""
    paths = [_PLACES[kind], *_PLACES.values()] if kind in _PLACES else _PLACES.values()
    return next((name for path in paths if (name := dig(resource, *path))), "")
