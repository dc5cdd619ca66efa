"""AWS Backup's jobs, as EventBridge sends them and as a vault's own notifications, which have a text of their own.

A resource's next job of the same kind ends what an earlier one opened. Shapes:
https://docs.aws.amazon.com/aws-backup/latest/devguide/eventbridge.html and
https://docs.aws.amazon.com/aws-backup/latest/devguide/backup-notifications.html
"""

from urllib.parse import quote

from pydantic import AliasChoices, Field

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
from handler.sources.aws import Arn, Home, filled
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    parse_model,
)

ORIGIN = "backup"
CLIENT = "AWS Backup"
_JOBS = {
    "Backup Job State Change": "backup",
    "Copy Job State Change": "copy",
    "Restore Job State Change": "restore",
}
_NOTICES = {
    "Backup Vault State Change",
    "Backup Plan State Change",
    "Recovery Point Change",
    "Recovery Point State Change",
    "Region Setting State Change",
}
_SNS_JOBS = {"BACKUP_JOB": "backup", "COPY_JOB": "copy", "RESTORE_JOB": "restore"}
_STATUS = {
    **dict.fromkeys(["FAILED", "ABORTED", "EXPIRED", "PARTIAL"], Status.FIRING),
    **dict.fromkeys(["COMPLETED", "SUCCESSFUL"], Status.RESOLVED),
    **dict.fromkeys(["CREATED", "PENDING", "STARTED", "RUNNING", "ABORTING"], None),
}


class Job(Model):
    """The detail of an event, or the same fields from a notification; a restore calls its state `status`."""

    state: Name = Field(validation_alias=AliasChoices("state", "status"))
    id: LooseText = Field("", validation_alias=AliasChoices("backupJobId", "copyJobId", "restoreJobId"))
    resourceArn: LooseText = ""
    recoveryPointArn: LooseText = ""
    sourceResourceArn: LooseText = ""
    destinationBackupVaultArn: LooseText = ""
    resourceType: LooseText = ""
    backupVaultName: LooseText = ""
    statusMessage: LooseText = ""
    completionDate: Instant = None


def parse(record: Record) -> list[Alert | Ignored]:
    """Return the job as an alert: a failed job fires, COMPLETED resolves; a running job is ignored."""
    if record.detail_type in _NOTICES:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    if record.detail_type:
        job = parse_model(Job, record.payload, "AWS Backup event")
        return [_alert_or_notice(job, _JOBS[record.detail_type], record, Home.of(record))]
    given, text = record.attributes, record.payload
    fields = {
        "state": given.get("State"),
        "backupJobId": given.get("Id"),
        "resourceArn": _after(text, "Resource ARN"),
        "recoveryPointArn": _after(text, "Recovery point ARN"),
    }
    job = parse_model(Job, fields, "AWS Backup notification")
    home = Home.of(record, account=given.get("AccountId", ""))
    return [_alert_or_notice(job, _SNS_JOBS[given["EventType"]], record, home)]


def _after(text: str, label: str) -> str:
    """Return the word that follows a label and its colon."""
    words = text.partition(label)[2].lstrip(" :").split(maxsplit=1)
    return words[0].rstrip(".") if words else ""


def _alert_or_notice(job: Job, kind: str, record: Record, home: Home) -> Alert | Ignored:
    name = "AWS Backup job" if kind == "backup" else f"AWS Backup {kind} job"
    status = _STATUS.get(job.state, Status.FIRING)  # a state that AWS adds may be a failure
    if status is None:
        return Ignored(SkipReason.NOTICE, f"{name} {job.state}")
    resource = _resource(job, kind, record)
    if not resource and not job.id:
        raise InvalidAlertError(f"{name}: resourceArn: missing, and so is the job's id")
    console = home.console(
        "backup/home",
        fragment=f"/jobs/{kind}/details/{quote(job.id, safe='')}",
    )
    kind_of_resource = job.resourceType or Arn.of(resource).service
    labels = {
        "job": kind,
        "resource_type": kind_of_resource,
        "vault": job.backupVaultName,
    }
    # copies to different vaults are independent
    to = job.destinationBackupVaultArn.strip() if kind == "copy" else ""
    vault = f"#{to}" if to else ""
    summary = f"{name} {job.state.lower()}: {resource or job.id}"
    return Alert(
        fingerprint=f"{resource or home.identity(ORIGIN, job.id)}#{kind}-job{vault}",
        name=name,
        status=status,
        observed_at=record.published_at,
        ends_at=job.completionDate,
        origin=ORIGIN,
        labels={**home.labels, **filled(labels)},
        severity_word=str(Severity.ERROR),
        summary=f"{summary}: {job.statusMessage}" if job.statusMessage else summary,
        location=resource,
        component=kind_of_resource,
        group=home.account,
        class_=name,
        client=CLIENT,
        client_url=console,
        links=(Link(console, "Job in the AWS Backup console"),),
        details=filled({"state": job.state, "job_id": job.id, "message": job.statusMessage}),
    )


def _resource(job: Job, kind: str, record: Record) -> str:
    """Return what was backed up or copied; for a restore the recovery point, which its events list in every state."""
    if kind == "restore":
        listed = next(iter(record.resources), "")
        return (listed.strip() or job.recoveryPointArn or job.sourceResourceArn).strip()
    return job.resourceArn.strip()
