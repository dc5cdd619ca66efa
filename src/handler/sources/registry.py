"""Finds the source that reads a record: by EventBridge's detail-type, else by the shape of the message.

Each source is a module with a function `parse`, imported only when a record is of its kind: an execution environment
sees few of them. To add a source, add a module, and a line with its name in one of the tables.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from handler.alert import Alert, Ignored, Undetermined
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.sources import shapes

type Found = Alert | Ignored | Undetermined | InvalidAlertError
"""What a source finds in a record; an error stands for a damaged entry among sound ones."""


class Source(Protocol):
    """A source module."""

    def parse(self, record: Record) -> Iterable[Found]:
        """Return the record's alerts; raise InvalidAlertError naming the field where it is damaged."""
        ...


class Fallback(Source, Protocol):
    """A source that decides by itself whether it reads a record."""

    def recognises(self, record: Record) -> bool:
        """Return whether this source reads the record."""
        ...


def source_of(record: Record) -> Source | None:
    """Return the source that reads a record, or None if there is none; import no other source."""
    if name := _name_of(record):
        return cast(Source, _load(name))
    fallbacks = (cast(Fallback, _load(name)) for name in FALLBACKS)
    return next((fallback for fallback in fallbacks if fallback.recognises(record)), None)


def _name_of(record: Record) -> str:
    """Return the name of the source that a table has for a record; empty if no table has one."""
    if name := DETAIL_TYPES.get(record.detail_type, ""):
        return name
    return next((name for has_shape, name in SHAPES if has_shape(record)), "")


def _load(name: str) -> ModuleType:
    """Import a source, unless an earlier record has."""
    return import_module(f"handler.sources.{name}")


DETAIL_TYPES: dict[str, str] = {
    "Lambda Function Invocation Result - Failure": "failures",
    "Lambda Function Invocation Result - Success": "failures",
    "Alert": "native",
    "CloudWatch Alarm State Change": "cloudwatch",
    "CloudWatch Alarm Contributor State Change": "cloudwatch",
    "CloudWatch Alarm Configuration Change": "cloudwatch",
    "GuardDuty Finding": "guardduty",
    "Security Hub Findings - Imported": "securityhub",
    "Security Hub Findings - Custom Action": "securityhub",
    "Findings Imported V2": "securityhub",
    "AWS Health Event": "health",
    "AWS Health Abuse Event": "health",
    "CodePipeline Pipeline Execution State Change": "codepipeline",
    "CodePipeline Stage Execution State Change": "codepipeline",
    "CodePipeline Action Execution State Change": "codepipeline",
    "CodeBuild Build State Change": "codebuild",
    "CodeBuild Build Phase Change": "codebuild",
    "CodeDeploy Deployment State-change Notification": "codedeploy",
    "CodeDeploy Instance State-change Notification": "codedeploy",
    "ECS Deployment State Change": "ecs",
    "ECS Service Action": "ecs",
    "ECS Task State Change": "ecs",
    "ECS Container Instance State Change": "ecs",
    "EC2 Instance Launch Unsuccessful": "autoscaling",
    "EC2 Instance Launch Successful": "autoscaling",
    "EC2 Instance Terminate Unsuccessful": "autoscaling",
    "EC2 Instance Terminate Successful": "autoscaling",
    "EC2 Instance-launch Lifecycle Action": "autoscaling",
    "EC2 Instance-terminate Lifecycle Action": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Started": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Succeeded": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Failed": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Cancelled": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Checkpoint Reached": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Rollback Started": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Rollback Succeeded": "autoscaling",
    "EC2 Auto Scaling Instance Refresh Rollback Failed": "autoscaling",
    "Backup Job State Change": "backup",
    "Copy Job State Change": "backup",
    "Restore Job State Change": "backup",
    "Backup Vault State Change": "backup",
    "Backup Plan State Change": "backup",
    "Recovery Point Change": "backup",
    "Recovery Point State Change": "backup",
    "Region Setting State Change": "backup",
}
"""The source of each detail-type of EventBridge."""

SHAPES: tuple[tuple[Callable[[Record], bool], str], ...] = (
    (shapes.is_failure, "failures"),
    (shapes.is_native, "native"),
    (shapes.has("AlarmName", "NewStateValue"), "cloudwatch"),
    (shapes.has("alarmArn", "alarmData"), "cloudwatch"),
    (shapes.is_webhook, "alertmanager"),
    (shapes.is_flat_alert, "alertmanager"),
    (shapes.is_damaged_webhook, "alertmanager"),
    (shapes.is_alertmanager_text, "alertmanager"),
    (shapes.is_managed_grafana, "alertmanager"),
    (shapes.is_approval, "codepipeline"),
    (shapes.has("deploymentId", "applicationName", "deploymentGroupName", "status"), "codedeploy"),
    (shapes.has("deploymentId", "instanceId", "instanceStatus"), "codedeploy"),
    (shapes.is_rds_event, "rds"),
    (shapes.is_rds_message, "rds"),
    (shapes.is_autoscaling_message, "autoscaling"),
    (shapes.has("LifecycleTransition", "AutoScalingGroupName"), "autoscaling"),
    (shapes.is_backup_text, "backup"),
    (shapes.is_pagerduty_body, "pagerduty_body"),
    (shapes.is_custom_notification, "chatbot"),
)
"""The sources of everything else. The first match counts; the checks import nothing."""

FALLBACKS = ("notices", "catalog", "generic")
"""Asked in this order if no table names a source; `generic` is the last resort."""
