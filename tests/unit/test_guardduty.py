"""GuardDuty: one dedup key per finding; the number is the severity, and archiving resolves it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.alert import Status
from handler.errors import InvalidAlertError
from handler.sources import native
from tests.lab.alerts import (
    on_topic,
    parse,
    parse_alert,
    sample,
    shown,
    with_detail,
)

FINDING = sample("guardduty-eventbridge-finding")


def test_a_finding_and_its_end_share_the_fingerprint_on_every_path() -> None:
    found, archived = parse_alert(FINDING), parse_alert(sample("guardduty-sns-archived"))

    assert found.fingerprint == archived.fingerprint == FINDING["detail"]["arn"]
    assert (found.status, archived.status) == (Status.FIRING, Status.RESOLVED)
    assert found.observed_at < archived.observed_at


def test_both_paths_give_one_alert() -> None:
    assert parse_alert(on_topic(FINDING)) == parse_alert(FINDING)


def test_a_finding_without_an_arn_is_known_by_account_region_and_id() -> None:
    bare = with_detail(FINDING, arn=..., accountId=..., region=...)

    assert parse_alert(bare).fingerprint == "guardduty:123456789012:eu-west-1:7ac3d1f09b2e4856a1d0c97e35f8b642"
    assert parse_alert(with_detail(FINDING, arn=" ")).fingerprint == parse_alert(bare).fingerprint


@pytest.mark.parametrize(
    ("number", "severity"),
    [
        (10, "critical"),
        (9.0, "critical"),
        (8.9, "error"),
        (7, "error"),
        ("8.0", "error"),
        (6.9, "warning"),
        (4.0, "warning"),
        (3.9, "info"),
        (1.0, "info"),
        (None, ""),
        ("high", ""),
        (True, ""),
        (-1, ""),
        ("NaN", ""),
        (10**400, ""),
    ],
)
def test_the_number_becomes_a_word(number: Any, severity: str) -> None:
    """Critical, high, medium and low, as AWS divides them; what is no number falls to the target's default."""
    assert parse_alert(with_detail(FINDING, severity=number)).severity_word == severity


def test_each_sighting_is_newer_than_the_one_before() -> None:
    first = parse_alert(FINDING)
    again = parse_alert({**FINDING, "time": "2026-11-24T03:15:04Z"})

    assert again.fingerprint == first.fingerprint
    assert again.observed_at > first.observed_at
    assert again.starts_at == first.starts_at == datetime(2026, 11, 24, 2, 4, 51, tzinfo=UTC)


BOTH = {"accessKeyDetails": {"userName": "ines"}, "instanceDetails": {"instanceId": "i-1"}}


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ({"resourceType": "AccessKey", "accessKeyDetails": {"userName": "ines", "accessKeyId": "AKIA"}}, "ines"),
        ({"resourceType": "S3Bucket", "s3BucketDetails": [{"name": "labels"}, {"name": "b"}]}, "labels"),
        ({"resourceType": "EKSCluster", "eksClusterDetails": {"name": "shop"}}, "shop"),
        ({"resourceType": "RDSDBInstance", "rdsDbInstanceDetails": {"dbInstanceIdentifier": "orders"}}, "orders"),
        ({"resourceType": "Lambda", "lambdaDetails": {"functionName": "gift-cards"}}, "gift-cards"),
        ({"resourceType": "Instance", **BOTH}, "i-1"),
        ({"resourceType": "AccessKey", **BOTH}, "ines"),
        ({"resourceType": "Toaster", "s3BucketDetails": [{"name": "labels"}]}, "labels"),
        ({"resourceType": "Instance", "instanceDetails": [], "s3BucketDetails": 3}, "123456789012"),
        (None, "123456789012"),
        ("text", "123456789012"),
    ],
)
def test_the_resource_is_the_place(resource: Any, place: str) -> None:
    assert parse_alert(with_detail(FINDING, resource=resource)).location == place


def test_what_targets_match_on_and_what_is_shown() -> None:
    alert = parse_alert(FINDING)

    assert alert.labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "type": "CryptoCurrency:EC2/BitcoinTool.B!DNS",
        "resource_type": "Instance",
    }
    assert (alert.details["count"], alert.details["severity"]) == ("3", 8.0)
    assert alert.details["action"]["actionType"] == "DNS_REQUEST"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-east-1", "us-gov-east-1.console.amazonaws-us-gov.com"),
    ],
)
def test_the_link_leads_to_the_finding_in_the_console_of_its_partition(region: str, host: str) -> None:
    alert = parse_alert(with_detail(FINDING, region=region))

    fragment = "#/findings?search=id%3D7ac3d1f09b2e4856a1d0c97e35f8b642"
    assert alert.client_url == f"https://{host}/guardduty/home?region={region}{fragment}"


def test_what_a_finding_leaves_out_does_not_stop_the_page() -> None:
    alert = parse_alert({"detail-type": "GuardDuty Finding", "detail": {"id": "7ac3d1f0"}})

    assert (alert.fingerprint, alert.name) == ("guardduty:::7ac3d1f0", "GuardDuty finding")


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ({"id": ...}, "id"),
        ({"id": " "}, "id"),
        ({"id": ["hunter2"]}, "id"),
    ],
)
def test_a_damaged_finding_is_named_without_its_values(detail: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidAlertError, match=f"GuardDuty finding: {field}") as refused:
        parse(with_detail(FINDING, **detail))

    assert "hunter2" not in shown(refused.value)


def test_a_finding_survives_the_queue() -> None:
    alert = parse_alert(FINDING)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


@pytest.mark.parametrize(
    ("sequence", "place"),
    [
        ({"actors": [{"id": "user:AIDA", "user": {"name": "ines"}}], "resources": [{"name": "b"}]}, "ines"),
        ({"actors": [], "resources": [{"uid": "arn:b", "name": "b"}]}, "b"),
        ({"actors": [{"id": "session:1"}]}, "session:1"),
        ({"actors": "text"}, "123456789012"),
    ],
)
def test_the_place_of_an_attack_sequence_is_its_actor(sequence: Any, place: str) -> None:
    service = {"detection": {"sequence": sequence}}
    alert = parse_alert(with_detail(FINDING, resource={"resourceType": "AttackSequence"}, service=service))

    assert alert.location == place
