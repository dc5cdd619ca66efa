"""Security Hub: one alert for each finding of an event; what is archived, dealt with or compliant is over."""

import json
from typing import Any
from urllib.parse import unquote

import pytest

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import unwrap
from handler.errors import InvalidAlertError
from handler.mapping import event_of
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import native, securityhub
from handler.sources.registry import source_of
from tests.lab.alerts import (
    ARRIVED_AT,
    on_topic,
    parse,
    parse_alert,
    sample,
    shown,
    with_detail,
)

FAILED = sample("securityhub-eventbridge-failed")
CUSTOM_ACTION = sample("securityhub-eventbridge-custom-action")
PASSED = sample("securityhub-eventbridge-passed")
(FINDING,) = FAILED["detail"]["findings"]


def with_findings(*findings: Any, event: Any = FAILED) -> Any:
    return with_detail(event, findings=list(findings))


def alert_of(**fields: Any) -> Alert:
    """Return the alert of the finding with these fields; one of `...` is left out."""
    finding = {name: value for name, value in {**FINDING, **fields}.items() if value is not ...}
    return parse_alert(with_findings(finding))


def test_a_finding_and_its_end_share_the_fingerprint() -> None:
    """The one that AWS lists under the event's resources."""
    failed, passed = parse_alert(FAILED), parse_alert(PASSED)

    assert failed.fingerprint == passed.fingerprint == FAILED["resources"][0]
    assert (failed.status, passed.status) == (Status.FIRING, Status.RESOLVED)
    assert failed.observed_at < passed.observed_at


def test_both_paths_give_one_alert() -> None:
    assert parse_alert(on_topic(FAILED)) == parse_alert(FAILED)


def test_a_finding_of_no_product_keeps_out_of_the_way_of_guardduty() -> None:
    arn = sample("guardduty-eventbridge-finding")["detail"]["arn"]

    assert alert_of(Id=arn, ProductArn=...).fingerprint == f"securityhub/{arn}"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, Status.FIRING),
        ({"RecordState": "ARCHIVED"}, Status.RESOLVED),
        ({"Workflow": {"Status": "RESOLVED"}}, Status.RESOLVED),
        ({"Workflow": {"Status": "SUPPRESSED"}}, Status.RESOLVED),
        ({"Workflow": {"Status": "NOTIFIED"}}, Status.FIRING),
        ({"Compliance": {"Status": "PASSED"}}, Status.RESOLVED),
        ({"Compliance": {"Status": "NOT_AVAILABLE"}}, Status.RESOLVED),
        ({"Compliance": {"Status": "WARNING"}}, Status.FIRING),
        ({"Compliance": ..., "Workflow": ..., "RecordState": ...}, Status.FIRING),
        ({"Compliance": None, "Workflow": "text", "RecordState": 3}, Status.FIRING),
    ],
)
def test_what_is_archived_dealt_with_or_compliant_is_over(fields: dict[str, Any], status: Status) -> None:
    assert alert_of(**fields).status is status


@pytest.mark.parametrize("over", [{"RecordState": "ARCHIVED"}, {"Compliance": {"Status": "PASSED"}}])
def test_a_custom_action_pages_whatever_the_state(over: dict[str, Any]) -> None:
    """A person asked for it. It shares its incident with the finding."""
    alert = parse_alert(with_findings({**FINDING, **over}, event=CUSTOM_ACTION))

    assert alert.status is Status.FIRING
    assert alert.fingerprint == parse_alert(FAILED).fingerprint
    assert alert.labels["action"] == "Page the owner"


def test_a_change_of_the_workflow_is_newer_though_the_finding_keeps_its_time() -> None:
    """BatchUpdateFindings does not touch UpdatedAt: a person's resolve has to end what a custom action opened."""
    resolved = with_findings({**FINDING, "Workflow": {"Status": "RESOLVED"}})
    resolved = {**resolved, "time": "2026-11-24T06:50:00Z"}

    assert parse_alert(resolved).observed_at > parse_alert(CUSTOM_ACTION).observed_at


@pytest.mark.parametrize(
    ("severity", "word"),
    [
        ({"Label": "CRITICAL"}, "critical"),
        ({"Label": "HIGH"}, "error"),
        ({"Label": "MEDIUM", "Normalized": 90}, "warning"),
        ({"Label": "LOW"}, "info"),
        ({"Label": "INFORMATIONAL"}, "info"),
        ({"Normalized": 90}, "critical"),
        ({"Normalized": 89}, "error"),
        ({"Normalized": 69.5}, "warning"),
        ({"Normalized": "39"}, "info"),
        ({"Normalized": 0}, "info"),
    ],
)
def test_the_label_or_the_number_is_the_severity(severity: dict[str, Any], word: str) -> None:
    assert alert_of(Severity=severity).severity is Severity(word)


@pytest.mark.parametrize("severity", [..., None, {}, "HIGH", {"Label": "DREADFUL"}, {"Normalized": "much"}])
def test_an_unknown_severity_falls_to_the_default_of_the_target(severity: Any) -> None:
    assert alert_of(Severity=severity).severity is None


def test_every_finding_of_an_event_is_an_alert_of_its_own() -> None:
    one, two = parse(with_findings(FINDING, {**FINDING, "Id": "other", "RecordState": "ARCHIVED"}))

    assert isinstance(one, Alert)
    assert isinstance(two, Alert)
    assert (one.status, two.status) == (Status.FIRING, Status.RESOLVED)
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize("damaged", [None, "hunter2", {}, {**FINDING, "Id": ["hunter2"]}, {**FINDING, "Id": " "}])
def test_a_damaged_finding_does_not_disturb_its_siblings(damaged: Any) -> None:
    first, broken, last = parse(with_findings(FINDING, damaged, FINDING))

    assert first == last == parse_alert(FAILED)
    assert isinstance(broken, InvalidAlertError)
    assert "Security Hub finding 1: " in str(broken)
    assert "hunter2" not in shown(broken)


@pytest.mark.parametrize("findings", [..., None, {}, "hunter2"])
def test_an_event_without_a_list_of_findings_is_damaged(findings: Any) -> None:
    with pytest.raises(InvalidAlertError, match="Security Hub event: findings") as refused:
        parse(with_detail(FAILED, findings=findings))

    assert "hunter2" not in shown(refused.value)


def test_an_event_of_no_finding_is_a_notice() -> None:
    assert parse(with_findings()) == [Ignored(SkipReason.NOTICE, "Security Hub Findings - Imported")]


@pytest.mark.parametrize("detail_type", ["Security Hub Insight Results"])
def test_what_is_no_finding_in_this_format_is_left_alone(detail_type: str) -> None:
    assert source_of(unwrap({**FAILED, "detail-type": detail_type}, ARRIVED_AT)) is not securityhub


def test_the_resources_are_the_place() -> None:
    resources = [{"Type": "AwsEc2Instance", "Id": "i-1", "Region": "eu-west-1"}, {"Id": "i-2"}, {}, "text"]

    alert = alert_of(Resources=resources)
    assert (alert.location, alert.component) == ("i-1, i-2", "AwsEc2Instance")
    assert alert.summary == f"{FINDING['Title']}: i-1, i-2"
    nowhere = alert_of(Resources=None)
    assert (nowhere.location, nowhere.summary) == ("123456789012", FINDING["Title"])


def test_what_targets_match_on() -> None:
    assert parse_alert(FAILED).labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "product": "Security Hub",
        "control": "S3.8",
        "type": "Software and Configuration Checks/Industry and Regulatory Standards",
        "resource_type": "AwsS3Bucket",
    }
    assert alert_of(Types=...).class_ == "security-control/S3.8"


def test_links_lead_to_the_finding_and_its_remediation() -> None:
    body = event_of(parse_alert(FAILED), Severity.ERROR).body()

    assert body["client_url"].startswith(
        "https://eu-west-1.console.aws.amazon.com/securityhub/home?region=eu-west-1#/findings?search=Id%3D%255Coperator"
    )
    assert unquote(unquote(body["client_url"])).endswith(rf"Id=\operator\:EQUALS\:{FINDING['Id']}")
    assert [link["text"] for link in body["links"]] == ["Finding in the Security Hub console", "Remediation"]
    assert (
        Link("https://hub.example/1", "Finding in the product that found it")
        in alert_of(SourceUrl="https://hub.example/1").links
    )


def test_a_finding_survives_the_queue() -> None:
    alert = parse_alert(FAILED)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


# --- OCSF -------------------------------------------------------------------------------------------------------------

OCSF = sample("securityhub-eventbridge-ocsf")


def ocsf(*findings: Any) -> dict[str, Any]:
    """Return the event of findings, each given by what differs."""
    first = OCSF["detail"]["findings"][0]
    return {**OCSF, "detail": {"findings": [{**first, **f} if isinstance(f, dict) else f for f in findings]}}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, Status.FIRING),
        ({"status": "In Progress", "status_id": 2}, Status.FIRING),
        ({"status": "Resolved", "status_id": 4}, Status.RESOLVED),
        ({"status": "Suppressed", "status_id": None}, Status.RESOLVED),
        ({"status": "", "status_id": 5}, Status.RESOLVED),
        ({"compliance": {"status": "Pass"}}, Status.RESOLVED),
    ],
)
def test_a_finding_in_ocsf_fires_until_it_is_dealt_with(fields: dict[str, Any], status: Status) -> None:
    alert = parse_alert(ocsf(fields))

    assert alert.status is status
    assert alert.fingerprint == parse_alert(OCSF).fingerprint


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"severity": "Critical", "vendor_attributes": {}}, Severity.CRITICAL),
        ({"severity": "Low", "vendor_attributes": {"severity": "High"}}, Severity.ERROR),
        ({"severity": "Unknown", "severity_id": 3, "vendor_attributes": {}}, Severity.WARNING),
        ({"severity": None, "severity_id": 6, "vendor_attributes": None}, Severity.CRITICAL),
        ({"severity": None, "severity_id": None, "vendor_attributes": None}, None),
    ],
)
def test_the_severity_of_ocsf_is_that_of_security_hub(fields: dict[str, Any], severity: Severity | None) -> None:
    assert parse_alert(ocsf(fields)).severity is severity


def test_a_damaged_finding_in_ocsf_does_not_affect_its_siblings() -> None:
    found = parse(ocsf({}, "hunter2", {"finding_info": {}, "metadata": {}}))

    assert [type(each) for each in found] == [Alert, InvalidAlertError, InvalidAlertError]
    assert "hunter2" not in str(found)
