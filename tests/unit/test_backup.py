"""AWS Backup: a failed job pages, and the resource's next good one resolves it, on every path."""

import json
from typing import Any

import pytest

from handler.alert import Ignored, Status
from handler.envelope import unwrap
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import backup, generic, native
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

FAILED = sample("backup-eventbridge-failed")
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/gift-cards"
POINT = "arn:aws:backup:eu-west-1:123456789012:recovery-point:8e2c5d90"


def notification(
    text: str = f"An AWS Backup job failed. Resource ARN : {TABLE}. BackupJob ID : c5e8", **given: str
) -> Any:
    attributes = {"EventType": "BACKUP_JOB", "State": "FAILED", "AccountId": "123456789012", "Id": "c5e8", **given}
    return on_topic(text, **attributes)


def restore(status: str, **detail: Any) -> Any:
    return {
        **FAILED,
        "detail-type": "Restore Job State Change",
        "resources": [POINT],
        "detail": {"restoreJobId": "1b2c", "resourceType": "EBS", "status": status, **detail},
    }


def test_a_failure_and_the_next_good_job_share_the_fingerprint_on_every_path() -> None:
    failed, completed = parse_alert(FAILED), parse_alert(sample("backup-sns-completed"))

    assert failed.fingerprint == completed.fingerprint == f"{TABLE}#backup-job"
    assert (failed.status, completed.status) == (Status.FIRING, Status.RESOLVED)
    assert failed.observed_at < completed.observed_at


def test_both_paths_give_one_alert() -> None:
    told, event = parse_alert(notification()), parse_alert(FAILED)

    same = ("fingerprint", "name", "status", "severity", "location", "group", "class_")
    assert [getattr(told, name) for name in same] == [getattr(event, name) for name in same]
    assert parse_alert(on_topic(FAILED)) == event


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("FAILED", Status.FIRING),
        ("ABORTED", Status.FIRING),
        ("EXPIRED", Status.FIRING),
        ("PARTIAL", Status.FIRING),
        ("COMPLETED", Status.RESOLVED),
        ("SUCCESSFUL", Status.RESOLVED),
    ],
)
def test_what_did_not_end_well_fires(state: str, status: Status) -> None:
    """With one severity for both, or a matcher on it would keep the resolve from the target that opened."""
    for alert in (parse_alert(with_detail(FAILED, state=state)), parse_alert(notification(State=state))):
        assert (alert.status, alert.severity) == (status, Severity.ERROR)


@pytest.mark.parametrize("state", ["CREATED", "PENDING", "STARTED", "RUNNING", "ABORTING"])
def test_a_job_on_its_way_is_a_notice(state: str) -> None:
    ignored = [Ignored(SkipReason.NOTICE, f"AWS Backup job {state}")]

    assert parse(with_detail(FAILED, state=state)) == ignored
    assert parse(notification(State=state)) == ignored


@pytest.mark.parametrize(
    "detail_type",
    [
        "Backup Vault State Change",
        "Backup Plan State Change",
        "Recovery Point Change",
        "Recovery Point State Change",
        "Region Setting State Change",
    ],
)
def test_what_is_no_job_is_a_notice(detail_type: str) -> None:
    event = {**FAILED, "detail-type": detail_type, "detail": {"state": "FAILED"}}

    assert parse(event) == [Ignored(SkipReason.NOTICE, detail_type)]


def test_each_kind_of_job_has_incidents_of_its_own() -> None:
    """A good backup does not resolve a failed copy."""
    copy = parse_alert({**with_detail(FAILED, copyJobId="4d5e"), "detail-type": "Copy Job State Change"})

    assert copy.fingerprint == f"{TABLE}#copy-job"
    assert (copy.name, copy.labels["job"]) == ("AWS Backup copy job", "copy")


def test_a_restore_is_known_by_its_recovery_point() -> None:
    """Which the event lists in every state, while some states name no other resource."""
    failed = parse_alert(restore("FAILED", statusMessage="No such role"))
    completed = parse_alert(restore("COMPLETED", sourceResourceArn=TABLE, createdResourceArn="arn:aws:ec2:::volume/v"))

    assert failed.fingerprint == completed.fingerprint == f"{POINT}#restore-job"
    assert (failed.status, completed.status) == (Status.FIRING, Status.RESOLVED)
    told = f"A restore job failed. Recovery point ARN: {POINT}. RestoreJob ID : 1b2c"
    assert parse_alert(notification(told, EventType="RESTORE_JOB")).fingerprint == failed.fingerprint


def test_a_job_of_no_known_resource_is_known_by_its_id() -> None:
    key = "backup:123456789012:eu-west-1:c5e8#backup-job"

    assert parse_alert(notification("An AWS Backup job failed.")).fingerprint == key
    assert parse_alert(with_detail(FAILED, resourceArn={}, backupJobId="c5e8")).fingerprint == key


@pytest.mark.parametrize(
    "text",
    [
        f"Resource ARN : {TABLE}. BackupJob ID : c5e8",
        f"Resource ARN: {TABLE}",
        f"Resource ARN :{TABLE}.\nBackupJob ID : c5e8",
    ],
)
def test_the_resource_is_read_out_of_the_text(text: str) -> None:
    assert parse_alert(notification(text)).location == TABLE


@pytest.mark.parametrize("text", ["Resource ARN", "Resource ARN : " * 50_000, " : " * 50_000, "Resource ARN :  . "])
def test_a_text_that_names_no_resource_is_no_trouble(text: str) -> None:
    assert parse_alert(notification(text)).fingerprint.endswith("#backup-job")


def test_a_text_is_recognised_by_its_attributes() -> None:
    text = f"An AWS Backup job failed. Resource ARN : {TABLE}."

    assert source_of(unwrap(on_topic(text, EventType="BACKUP_JOB"), ARRIVED_AT)) is backup
    assert source_of(unwrap(on_topic(text), ARRIVED_AT)) is generic
    assert source_of(unwrap(on_topic(text, EventType="ORDER"), ARRIVED_AT)) is generic
    assert source_of(unwrap(on_topic({"text": text}, EventType="BACKUP_JOB"), ARRIVED_AT)) is generic


def test_the_time_of_the_event_orders_a_job_and_its_own_end_is_shown() -> None:
    alert = parse_alert(FAILED)
    assert alert.observed_at.isoformat() == "2026-11-24T01:15:20+00:00"
    assert alert.ends_at
    assert alert.ends_at.isoformat() == "2026-11-24T01:12:47.503000+00:00"


def test_what_targets_match_on() -> None:
    assert parse_alert(FAILED).labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "job": "backup",
        "resource_type": "DynamoDB",
        "vault": "lamplight-nightly",
    }
    assert parse_alert(notification()).labels["resource_type"] == "dynamodb"


def test_the_link_leads_to_the_job() -> None:
    home = "https://eu-west-1.console.aws.amazon.com/backup/home?region=eu-west-1"

    assert parse_alert(notification()).client_url == f"{home}#/jobs/backup/details/c5e8"
    assert parse_alert(restore("FAILED")).client_url == f"{home}#/jobs/restore/details/1b2c"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (with_detail(FAILED, state=...), "AWS Backup event: state"),
        (with_detail(FAILED, state={"hunter2": 1}), "AWS Backup event: state"),
        (with_detail(FAILED, resourceArn=..., backupJobId=...), "resourceArn"),
        ({**FAILED, "detail": "hunter2"}, "AWS Backup event"),
        (notification(State=""), "AWS Backup notification: state"),
        (notification("hunter2", Id=""), "resourceArn"),
    ],
)
def test_a_damaged_job_is_named_without_its_values(event: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        parse(event)

    assert "hunter2" not in shown(refused.value)


@pytest.mark.parametrize("event", [with_detail(FAILED, state="MELTED"), notification(State="MELTED")])
def test_a_state_that_nobody_knows_pages_with_its_name(event: Any) -> None:
    alert = parse_alert(event)

    assert alert.status is Status.FIRING
    assert "melted" in alert.summary


def test_a_job_survives_the_queue() -> None:
    alert = parse_alert(FAILED)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


def test_a_copy_to_one_vault_says_nothing_of_a_copy_to_another() -> None:
    copy = {**FAILED, "detail-type": "Copy Job State Change"}
    vaults = [f"arn:aws:backup:eu-west-1:123456789012:backup-vault:{name}" for name in ("near", "far")]

    assert len({parse_alert(with_detail(copy, destinationBackupVaultArn=vault)).fingerprint for vault in vaults}) == 2
