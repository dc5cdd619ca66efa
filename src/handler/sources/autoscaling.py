"""EC2 Auto Scaling's activities, as EventBridge sends them and as a group's own notifications.

The next success of the same kind in the same group ends what a failure opened. Shapes:
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html and
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-sns-notifications.html
"""

from dataclasses import dataclass
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
from handler.sources.aws import Home, filled
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    Object,
    parse_model,
)

ORIGIN = "autoscaling"
CLIENT = "Amazon EC2 Auto Scaling"
TEST = "autoscaling:TEST_NOTIFICATION"


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity of a group, and the alert's name when it fails."""

    kind: str
    name: str
    severity: Severity


_LAUNCH = Activity("launch", "EC2 Instance Launch Unsuccessful", Severity.ERROR)
_TERMINATE = Activity("terminate", "EC2 Instance Terminate Unsuccessful", Severity.WARNING)
_REFRESH = Activity("refresh", "EC2 Auto Scaling Instance Refresh Failed", Severity.ERROR)
_EVENTS = {
    "EC2 Instance Launch Unsuccessful": (_LAUNCH, Status.FIRING),
    "EC2 Instance Launch Successful": (_LAUNCH, Status.RESOLVED),
    "EC2 Instance Terminate Unsuccessful": (_TERMINATE, Status.FIRING),
    "EC2 Instance Terminate Successful": (_TERMINATE, Status.RESOLVED),
    "EC2 Auto Scaling Instance Refresh Failed": (_REFRESH, Status.FIRING),
    "EC2 Auto Scaling Instance Refresh Succeeded": (_REFRESH, Status.RESOLVED),
    # a successful rollback is no recovery: the intended version is still not running
    "EC2 Auto Scaling Instance Refresh Rollback Started": (_REFRESH, Status.FIRING),
    "EC2 Auto Scaling Instance Refresh Rollback Failed": (_REFRESH, Status.FIRING),
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR": (_LAUNCH, Status.FIRING),
    "autoscaling:EC2_INSTANCE_LAUNCH": (_LAUNCH, Status.RESOLVED),
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR": (_TERMINATE, Status.FIRING),
    "autoscaling:EC2_INSTANCE_TERMINATE": (_TERMINATE, Status.RESOLVED),
}
"""By detail-type, or by the notification's `Event`; its StatusCode is InProgress even for a success."""
_NOTICES = {
    "EC2 Instance-launch Lifecycle Action",
    "EC2 Instance-terminate Lifecycle Action",
    "EC2 Auto Scaling Instance Refresh Started",
    "EC2 Auto Scaling Instance Refresh Cancelled",
    "EC2 Auto Scaling Instance Refresh Rollback Succeeded",
    "EC2 Auto Scaling Instance Refresh Checkpoint Reached",
}


class GroupActivity(Model):
    """The detail of an event, or a notification."""

    AutoScalingGroupName: Name
    AutoScalingGroupARN: LooseText = ""
    AccountId: LooseText = ""
    ActivityId: LooseText = ""
    EC2InstanceId: LooseText = ""
    Description: LooseText = ""
    Cause: LooseText = ""
    StatusMessage: LooseText = ""
    Details: Object = Field(default_factory=dict)
    StartTime: Instant = None
    EndTime: Instant = None


def parse(record: Record) -> list[Alert | Ignored]:
    """Return the activity as an alert about its group: a failure fires, a success resolves; the rest is ignored."""
    if record.detail_type in _NOTICES:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    event = record.detail_type or record.payload.get("Event")
    if event == TEST:
        return [Ignored(SkipReason.TEST_MESSAGE, TEST)]
    if event is None:
        return [Ignored(SkipReason.NOTICE, "lifecycle hook")]
    if event not in _EVENTS:
        raise InvalidAlertError(f"Auto Scaling notification: Event: none of {', '.join(_EVENTS)}")
    return [_alert(*_EVENTS[event], parse_model(GroupActivity, record.payload, "Auto Scaling activity"), record)]


def _alert(activity: Activity, status: Status, activity_detail: GroupActivity, record: Record) -> Alert:
    listed = next((arn for arn in record.resources if ":autoScalingGroup:" in arn), "")
    arn = activity_detail.AutoScalingGroupARN.strip() or listed
    home = Home.of(record, arn, account=activity_detail.AccountId)
    group = activity_detail.AutoScalingGroupName
    console = home.console(
        "ec2/home",
        fragment=f"AutoScalingGroupDetails:id={quote(group, safe='')};view=activity",
    )
    message = activity_detail.StatusMessage or activity_detail.Description or activity_detail.Cause
    if not message and activity is _REFRESH:
        message = record.detail_type.removeprefix("EC2 Auto Scaling ").lower()
    details = {
        "instance": activity_detail.EC2InstanceId,
        "activity": activity_detail.ActivityId,
        "description": activity_detail.Description,
        "cause": activity_detail.Cause,
        "status_message": activity_detail.StatusMessage,
        "details": activity_detail.Details,
    }
    return Alert(
        fingerprint=f"{arn or home.identity(ORIGIN, group)}#{activity.kind}",
        name=activity.name,
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, **filled({"auto_scaling_group": group, "activity": activity.kind})},
        starts_at=activity_detail.StartTime,
        ends_at=activity_detail.EndTime,
        severity_word=str(activity.severity),
        summary=f"{group}: {message}" if message else group,
        location=group,
        component="EC2 Auto Scaling",
        group=home.account,
        class_=activity.name,
        client=CLIENT,
        client_url=console,
        links=(Link(console, "Activity of the group in the EC2 console"),),
        details={name: value for name, value in details.items() if value},
    )
