"""Security Hub's findings in the AWS Security Finding Format, as EventBridge sends them: several in one event.

https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-cwe-event-formats.html
"""

from typing import Any
from urllib.parse import quote

from pydantic import Field

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources.aws import (
    console_url,
    dig,
    filled,
    severity_of,
)
from handler.validation import (
    LooseText,
    LooseTexts,
    Model,
    Name,
    Object,
    Objects,
    number_of,
    parse_model,
)

ORIGIN = "securityhub"
CLIENT = "AWS Security Hub"
IMPORTED = "Security Hub Findings - Imported"
_SEVERITIES = ((90, Severity.CRITICAL), (70, Severity.ERROR), (40, Severity.WARNING), (0, Severity.INFO))
"""From this `Normalized` on, as AWS reads it: https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Severity.html
Its labels (CRITICAL, HIGH, ...) are words for a severity as they are."""
_WORKFLOW_IS_OVER = {"RESOLVED", "SUPPRESSED"}
_IS_COMPLIANT = {"PASSED", "NOT_AVAILABLE"}


class FindingsEvent(Model):
    """The detail of the event."""

    findings: list[Any]
    actionName: LooseText = ""
    actionDescription: LooseText = ""


class Finding(Model):
    """One finding."""

    Id: Name
    ProductArn: LooseText = ""
    ProductName: LooseText = ""
    AwsAccountId: LooseText = ""
    Region: LooseText = ""
    GeneratorId: LooseText = ""
    Types: LooseTexts = Field(default_factory=list)
    Title: LooseText = ""
    Description: LooseText = ""
    Severity: Object = Field(default_factory=dict)
    RecordState: LooseText = ""
    Workflow: Object = Field(default_factory=dict)
    Compliance: Object = Field(default_factory=dict)
    Resources: Objects = Field(default_factory=list)
    Remediation: Object = Field(default_factory=dict)
    SourceUrl: LooseText = ""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do: archived, dealt with, suppressed or compliant."""
        return (
            self.RecordState == "ARCHIVED"
            or dig(self.Workflow, "Status") in _WORKFLOW_IS_OVER
            or dig(self.Compliance, "Status") in _IS_COMPLIANT
        )

    @property
    def severity_word(self) -> str:
        """The label, else the older number as a word."""
        label = dig(self.Severity, "Label").lower()
        return label or severity_of(number_of(self.Severity.get("Normalized")), _SEVERITIES)


def parse(record: Record) -> list[Alert | Ignored | InvalidAlertError]:
    """Give one alert per finding; one that a person sent by a custom action fires in whatever state it is."""
    event = parse_model(FindingsEvent, record.payload, "Security Hub event")
    if not event.findings:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    return [_alert_or_error(raw, number, event, record) for number, raw in enumerate(event.findings)]


def _alert_or_error(raw: Any, number: int, event: FindingsEvent, record: Record) -> Alert | InvalidAlertError:
    try:
        return _alert(parse_model(Finding, raw, f"Security Hub finding {number}"), event, record)
    except InvalidAlertError as damaged:
        return damaged


def _alert(finding: Finding, event: FindingsEvent, record: Record) -> Alert:
    account = finding.AwsAccountId or record.account
    region = finding.Region or dig(finding.Resources, "Region") or record.region
    kind = dig(finding.Resources, "Type")
    places = ", ".join(filter(None, (dig(resource, "Id") for resource in finding.Resources)))
    # the console's own fragment: its operators are percent-encoded twice
    value = quote(quote(rf"\operator\:EQUALS\:{finding.Id}", safe=""), safe="")
    home = record.region or region
    console = console_url("securityhub/home", region=home, fragment=f"/findings?search=Id%3D{value}")
    title = finding.Title.strip() or "Security Hub finding"
    labels = {
        "account": account,
        "region": region,
        "product": finding.ProductName,
        "control": dig(finding.Compliance, "SecurityControlId"),
        "type": next(iter(finding.Types), ""),
        "resource_type": kind,
        "action": event.actionName,
    }
    shown = {
        "description": finding.Description,
        "action": event.actionDescription,
        "record_state": finding.RecordState,
        "workflow": finding.Workflow,
        "compliance": finding.Compliance,
        "severity": finding.Severity,
        "resources": finding.Resources,
        "remediation": dig(finding.Remediation, "Recommendation", "Text"),
    }
    return Alert(
        fingerprint=f"{finding.ProductArn.strip() or ORIGIN}/{finding.Id}",
        name=title,
        status=Status.RESOLVED if finding.is_over and record.detail_type == IMPORTED else Status.FIRING,
        # the event's time: a change of the workflow does not touch the finding's UpdatedAt
        # https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchUpdateFindings.html
        observed_at=record.published_at,
        origin=ORIGIN,
        labels=filled(labels),
        severity_word=finding.severity_word,
        summary=f"{title}: {places}" if places else title,
        location=places or account,
        component=kind,
        group=account,
        class_=labels["type"] or finding.GeneratorId,
        client=CLIENT,
        client_url=console,
        links=(
            Link(console, "Finding in the Security Hub console"),
            Link(dig(finding.Remediation, "Recommendation", "Url"), "Remediation"),
            Link(finding.SourceUrl, "Finding in the product that found it"),
        ),
        details={name: value for name, value in shown.items() if value},
    )
