"""Security Hub's findings as EventBridge sends them, several in one event: in AWS's format (ASFF) or in OCSF (V2).

https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-cwe-event-formats.html and
https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-v2-cwe-event-formats.html
"""

from dataclasses import replace
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
from handler.sources.aws import Home, dig, filled, severity_of
from handler.validation import (
    LooseName,
    LooseText,
    LooseTexts,
    Model,
    Name,
    Number,
    Object,
    Objects,
    number_of,
    parse_model,
    text_of,
)

ORIGIN = "securityhub"
CLIENT = "AWS Security Hub"
IMPORTED = "Security Hub Findings - Imported"
IMPORTED_V2 = "Findings Imported V2"
_SEVERITIES = ((90, Severity.CRITICAL), (70, Severity.ERROR), (40, Severity.WARNING), (0, Severity.INFO))
"""The severity from each value of `Normalized` on, as AWS defines it:
https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Severity.html Labels (CRITICAL, HIGH, ...) are severity
words already."""
_WORKFLOW_IS_OVER = {"RESOLVED", "SUPPRESSED"}
_IS_COMPLIANT = {"PASSED", "NOT_AVAILABLE"}


_OCSF_SEVERITIES = {1: "info", 2: "low", 3: "medium", 4: "high", 5: "critical", 6: "fatal"}
_OCSF_OVER = {3, 4, 5}
"""https://schema.ocsf.io/1.5.0/classes/detection_finding: suppressed, resolved, archived; 1 is new, 2 in progress."""


class FindingsEvent(Model):
    """The detail of the event."""

    findings: list[Any]
    actionName: LooseName = ""
    actionDescription: LooseName = ""


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
        """Whether it is archived, resolved, suppressed or compliant."""
        return (
            self.RecordState == "ARCHIVED"
            or dig(self.Workflow, "Status") in _WORKFLOW_IS_OVER
            or dig(self.Compliance, "Status") in _IS_COMPLIANT
        )

    @property
    def severity_word(self) -> str:
        """The label, else the severity of the older number."""
        label = dig(self.Severity, "Label").lower()
        return label or severity_of(number_of(self.Severity.get("Normalized")), _SEVERITIES)


def parse(record: Record) -> list[Alert | Ignored | InvalidAlertError]:
    """Return one alert per finding; one sent by a custom action fires whatever its state."""
    event = parse_model(FindingsEvent, record.payload, "Security Hub event")
    if not event.findings:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    if record.detail_type == IMPORTED_V2:
        return [_ocsf_or_error(raw, number, record) for number, raw in enumerate(event.findings)]
    return [_alert_or_error(raw, number, event, record) for number, raw in enumerate(event.findings)]


def _alert_or_error(raw: Any, number: int, event: FindingsEvent, record: Record) -> Alert | InvalidAlertError:
    try:
        return _alert(parse_model(Finding, raw, f"Security Hub finding {number}"), event, record)
    except InvalidAlertError as damaged:
        return damaged


def _alert(finding: Finding, event: FindingsEvent, record: Record) -> Alert:
    region = finding.Region or dig(finding.Resources, "Region")
    home = Home.of(record, account=finding.AwsAccountId, region=region)
    kind = dig(finding.Resources, "Type")
    places = ", ".join(filter(None, (dig(resource, "Id") for resource in finding.Resources)))
    # as the console builds it: its operators are percent-encoded twice
    value = quote(quote(rf"\operator\:EQUALS\:{finding.Id}", safe=""), safe="")
    console = _hub(record, home).console("securityhub/home", f"/findings?search=Id%3D{value}")
    title = finding.Title.strip() or "Security Hub finding"
    labels = {
        "product": finding.ProductName,
        "control": dig(finding.Compliance, "SecurityControlId"),
        "type": next(iter(finding.Types), ""),
        "resource_type": kind,
        "action": event.actionName,
    }
    details = {
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
        # the event's time, as a change of the workflow does not change the finding's UpdatedAt
        # https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchUpdateFindings.html
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, **filled(labels)},
        severity_word=finding.severity_word,
        summary=f"{title}: {places}" if places else title,
        location=places or home.account,
        component=kind,
        group=home.account,
        class_=labels["type"] or finding.GeneratorId,
        client=CLIENT,
        client_url=console,
        links=(
            Link(console, "Finding in the Security Hub console"),
            Link(dig(finding.Remediation, "Recommendation", "Url"), "Remediation"),
            Link(finding.SourceUrl, "Finding in the product that found it"),
        ),
        details={name: value for name, value in details.items() if value},
    )


def _hub(record: Record, home: Home) -> Home:
    """Return the region whose console shows the finding: an aggregation region also sends the events of others."""
    return replace(home, region=record.region or home.region)


class OcsfFinding(Model):
    """A finding in the Open Cybersecurity Schema Framework."""

    finding_info: Object = Field(default_factory=dict)
    metadata: Object = Field(default_factory=dict)
    cloud: Object = Field(default_factory=dict)
    compliance: Object = Field(default_factory=dict)
    remediation: Object = Field(default_factory=dict)
    resources: Objects = Field(default_factory=list)
    vendor_attributes: Object = Field(default_factory=dict)
    class_name: LooseText = ""
    severity: LooseText = ""
    severity_id: Number = None
    status: LooseText = ""
    status_id: Number = None

    @property
    def is_over(self) -> bool:
        """Whether it is resolved, suppressed, archived or compliant."""
        words = {self.status.lower(), dig(self.compliance, "status").lower()}
        return self.status_id in _OCSF_OVER or bool(words & {"resolved", "suppressed", "archived", "pass"})

    @property
    def severity_word(self) -> str:
        """The severity set by a person or by Security Hub, else the product's."""
        own = dig(self.vendor_attributes, "severity") or self.severity
        by_number = _OCSF_SEVERITIES.get(int(self.severity_id), "") if self.severity_id is not None else ""
        return own.lower() if own and own.lower() not in ("unknown", "other") else by_number


def _ocsf_or_error(raw: Any, number: int, record: Record) -> Alert | InvalidAlertError:
    try:
        finding = parse_model(OcsfFinding, raw, f"Security Hub finding {number}")
        identity = dig(finding.finding_info, "uid") or dig(finding.metadata, "uid")
        if not identity.strip():
            raise InvalidAlertError(f"Security Hub finding {number}: finding_info.uid: missing")
        return _from_ocsf(finding, identity.strip(), record)
    except InvalidAlertError as damaged:
        return damaged


def _from_ocsf(finding: OcsfFinding, identity: str, record: Record) -> Alert:
    home = Home.of(record, account=dig(finding.cloud, "account", "uid"), region=dig(finding.cloud, "region"))
    product = dig(finding.metadata, "product", "uid")
    kind = dig(finding.resources, "type")
    places = ", ".join(filter(None, (dig(resource, "uid") for resource in finding.resources)))
    title = dig(finding.finding_info, "title").strip() or "Security Hub finding"
    console = _hub(record, home).console("securityhub/v2/home", "/findings")
    labels = {
        "product": dig(finding.metadata, "product", "name"),
        "control": dig(finding.compliance, "control"),
        "type": _first(finding.finding_info.get("types")),
        "resource_type": kind,
    }
    details = {
        "description": dig(finding.finding_info, "desc"),
        "status": finding.status,
        "compliance": finding.compliance,
        "resources": finding.resources,
        "remediation": dig(finding.remediation, "desc"),
    }
    return Alert(
        fingerprint=f"{product or ORIGIN}/{identity}",
        name=title,
        status=Status.RESOLVED if finding.is_over else Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, **filled(labels)},
        severity_word=finding.severity_word,
        summary=f"{title}: {places}" if places else title,
        location=places or home.account,
        component=kind,
        group=home.account,
        class_=labels["type"] or finding.class_name,
        client=CLIENT,
        client_url=console,
        links=(
            Link(console, "Findings in the Security Hub console"),
            Link(_first(finding.remediation.get("references")), "Remediation"),
            Link(dig(finding.finding_info, "src_url"), "Finding in the product that found it"),
        ),
        details={name: value for name, value in details.items() if value},
    )


def _first(values: Any) -> str:
    return text_of(values[0]) if isinstance(values, list) and values else ""
