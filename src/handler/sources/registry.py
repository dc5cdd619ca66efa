"""Finds the source that reads a record: by EventBridge's detail-type, else by the shape of the message.

Each source is a module with a function `parse`, imported only when a record is of its kind: an execution environment
sees few of them. To add a source, add a module, a function here that imports it, and a line in one of the tables.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

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
    """A source that decides itself, by a table of its own, whether it reads a record."""

    def recognises(self, record: Record) -> bool:
        """Return whether this source reads the record."""
        ...


type Load[S: Source] = Callable[[], S]
"""Imports a source."""


def source_of(record: Record) -> Source | None:
    """Return the source that reads a record, or None if there is none; import no other source."""
    known = DETAIL_TYPES.get(record.detail_type)
    if known is not None:
        return known()
    for has_shape, load in SHAPES:
        if has_shape(record):
            return load()
    for load_fallback in FALLBACKS:
        fallback = load_fallback()
        if fallback.recognises(record):
            return fallback
    return None


# --- The modules ------------------------------------------------------------------------------------------------------


def _failures() -> Source:
    from handler.sources import failures

    return failures


def _native() -> Source:
    from handler.sources import native

    return native


def _cloudwatch() -> Source:
    from handler.sources import cloudwatch

    return cloudwatch


def _alertmanager() -> Source:
    from handler.sources import alertmanager

    return alertmanager


def _guardduty() -> Source:
    from handler.sources import guardduty

    return guardduty


def _securityhub() -> Source:
    from handler.sources import securityhub

    return securityhub


def _health() -> Source:
    from handler.sources import health

    return health


def _codepipeline() -> Source:
    from handler.sources import codepipeline

    return codepipeline


def _codebuild() -> Source:
    from handler.sources import codebuild

    return codebuild


def _codedeploy() -> Source:
    from handler.sources import codedeploy

    return codedeploy


def _ecs() -> Source:
    from handler.sources import ecs

    return ecs


def _rds() -> Source:
    from handler.sources import rds

    return rds


def _autoscaling() -> Source:
    from handler.sources import autoscaling

    return autoscaling


def _backup() -> Source:
    from handler.sources import backup

    return backup


def _pagerduty_body() -> Source:
    from handler.sources import pagerduty_body

    return pagerduty_body


def _chatbot() -> Source:
    from handler.sources import chatbot

    return chatbot


def _catalog() -> Fallback:
    from handler.sources import catalog

    return catalog


def _notices() -> Fallback:
    from handler.sources import notices

    return notices


def _generic() -> Fallback:
    from handler.sources import generic

    return generic


# --- The tables -------------------------------------------------------------------------------------------------------

DETAIL_TYPES: dict[str, Load[Source]] = {
    "Lambda Function Invocation Result - Failure": _failures,
    "Lambda Function Invocation Result - Success": _failures,
    "Alert": _native,
    "CloudWatch Alarm State Change": _cloudwatch,
    "CloudWatch Alarm Contributor State Change": _cloudwatch,
    "CloudWatch Alarm Configuration Change": _cloudwatch,
    "GuardDuty Finding": _guardduty,
    "Security Hub Findings - Imported": _securityhub,
    "Security Hub Findings - Custom Action": _securityhub,
    "Findings Imported V2": _securityhub,
    "AWS Health Event": _health,
    "AWS Health Abuse Event": _health,
    "CodePipeline Pipeline Execution State Change": _codepipeline,
    "CodePipeline Stage Execution State Change": _codepipeline,
    "CodePipeline Action Execution State Change": _codepipeline,
    "CodeBuild Build State Change": _codebuild,
    "CodeBuild Build Phase Change": _codebuild,
    "CodeDeploy Deployment State-change Notification": _codedeploy,
    "CodeDeploy Instance State-change Notification": _codedeploy,
    "ECS Deployment State Change": _ecs,
    "ECS Service Action": _ecs,
    "ECS Task State Change": _ecs,
    "ECS Container Instance State Change": _ecs,
    "EC2 Instance Launch Unsuccessful": _autoscaling,
    "EC2 Instance Launch Successful": _autoscaling,
    "EC2 Instance Terminate Unsuccessful": _autoscaling,
    "EC2 Instance Terminate Successful": _autoscaling,
    "EC2 Instance-launch Lifecycle Action": _autoscaling,
    "EC2 Instance-terminate Lifecycle Action": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Started": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Succeeded": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Failed": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Cancelled": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Checkpoint Reached": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Started": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Succeeded": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Failed": _autoscaling,
    "Backup Job State Change": _backup,
    "Copy Job State Change": _backup,
    "Restore Job State Change": _backup,
    "Backup Vault State Change": _backup,
    "Backup Plan State Change": _backup,
    "Recovery Point Change": _backup,
    "Recovery Point State Change": _backup,
    "Region Setting State Change": _backup,
}
"""The sources of EventBridge events."""

SHAPES: tuple[tuple[Callable[[Record], bool], Load[Source]], ...] = (
    (shapes.is_failure, _failures),
    (shapes.is_native, _native),
    (shapes.has("AlarmName", "NewStateValue"), _cloudwatch),
    (shapes.has("alarmArn", "alarmData"), _cloudwatch),
    (shapes.is_webhook, _alertmanager),
    (shapes.is_damaged_webhook, _alertmanager),
    (shapes.is_alertmanager_text, _alertmanager),
    (shapes.is_managed_grafana, _alertmanager),
    (shapes.is_approval, _codepipeline),
    (shapes.has("deploymentId", "applicationName", "deploymentGroupName", "status"), _codedeploy),
    (shapes.has("deploymentId", "instanceId", "instanceStatus"), _codedeploy),
    (shapes.is_rds_event, _rds),
    (shapes.is_rds_message, _rds),
    (shapes.is_autoscaling_message, _autoscaling),
    (shapes.has("LifecycleTransition", "AutoScalingGroupName"), _autoscaling),
    (shapes.is_backup_text, _backup),
    (shapes.is_pagerduty_body, _pagerduty_body),
    (shapes.is_custom_notification, _chatbot),
)
"""The sources of everything else. The first match counts; the checks import nothing."""

FALLBACKS: tuple[Load[Fallback], ...] = (_notices, _catalog, _generic)
"""Asked in this order if no table names a source; `generic` is the last resort."""
