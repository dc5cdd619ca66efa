"""EC2 Auto Scaling: a failure pages, and the next success of the same kind in the group resolves it, on every path."""

import json
from dataclasses import replace
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.envelope import unwrap
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import native
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

FAILED = sample("autoscaling-eventbridge-launch-failed")
LAUNCHED = json.loads(sample("autoscaling-sns-launched")["Records"][0]["Sns"]["Message"])
ARN = FAILED["resources"][0]


def event(detail_type: str, **detail: Any) -> Any:
    return with_detail({**FAILED, "detail-type": detail_type}, **detail)


def notification(name: str, **fields: Any) -> Any:
    message = {**LAUNCHED, "Event": f"autoscaling:{name}", **fields}
    return on_topic({field: value for field, value in message.items() if value is not ...})


def test_a_failure_and_the_next_success_share_the_fingerprint_on_every_path() -> None:
    failed, launched = parse_alert(FAILED), parse_alert(sample("autoscaling-sns-launched"))

    assert failed.fingerprint == launched.fingerprint == f"{ARN}#launch"
    assert (failed.status, launched.status) == (Status.FIRING, Status.RESOLVED)
    assert failed.observed_at < launched.observed_at


def test_both_paths_give_one_alert() -> None:
    told = parse_alert(notification("EC2_INSTANCE_LAUNCH_ERROR", **FAILED["detail"]))

    assert replace(told, observed_at=parse_alert(FAILED).observed_at) == parse_alert(FAILED)
    assert parse_alert(on_topic(FAILED)) == parse_alert(FAILED)


@pytest.mark.parametrize(
    ("failure", "success", "key", "severity"),
    [
        ("EC2 Instance Launch Unsuccessful", "EC2 Instance Launch Successful", "launch", "error"),
        ("EC2 Instance Terminate Unsuccessful", "EC2 Instance Terminate Successful", "terminate", "warning"),
        ("EC2 Auto Scaling Instance Refresh Failed", "EC2 Auto Scaling Instance Refresh Succeeded", "refresh", "error"),
        ("EC2_INSTANCE_LAUNCH_ERROR", "EC2_INSTANCE_LAUNCH", "launch", "error"),
        ("EC2_INSTANCE_TERMINATE_ERROR", "EC2_INSTANCE_TERMINATE", "terminate", "warning"),
    ],
)
def test_a_failure_opens_and_a_success_ends(failure: str, success: str, key: str, severity: str) -> None:
    """All that a target may match on is the same in both, so that the resolve finds the target that opened."""
    opened, ended = (parse_alert(event(name) if " " in name else notification(name)) for name in (failure, success))

    assert opened.fingerprint == ended.fingerprint == f"{ARN}#{key}"
    assert (opened.status, ended.status) == (Status.FIRING, Status.RESOLVED)
    assert opened.severity is ended.severity is Severity(severity)
    assert {**opened.matching_labels(), "status": ""} == {**ended.matching_labels(), "status": ""}


@pytest.mark.parametrize("code", ["InProgress", "Successful", None, ...])
def test_a_notification_of_a_success_may_say_in_progress(code: Any) -> None:
    assert parse_alert(notification("EC2_INSTANCE_LAUNCH", StatusCode=code)).status is Status.RESOLVED


def test_a_group_without_an_arn_is_known_by_account_region_and_name() -> None:
    key = "autoscaling:123456789012:eu-west-1:shop-front#launch"

    assert parse_alert({**FAILED, "resources": ["instance-arn"]}).fingerprint == key
    assert parse_alert(notification("EC2_INSTANCE_LAUNCH", AutoScalingGroupARN=...)).fingerprint == key
    assert parse_alert(notification("EC2_INSTANCE_LAUNCH", AutoScalingGroupARN=" ", AccountId=...)).fingerprint == key


@pytest.mark.parametrize(
    "detail_type",
    [
        "EC2 Instance-launch Lifecycle Action",
        "EC2 Instance-terminate Lifecycle Action",
        "EC2 Auto Scaling Instance Refresh Started",
        "EC2 Auto Scaling Instance Refresh Cancelled",
        "EC2 Auto Scaling Instance Refresh Checkpoint Reached",
    ],
)
def test_what_neither_fails_nor_succeeds_is_a_notice(detail_type: str) -> None:
    assert parse(event(detail_type)) == [Ignored(SkipReason.NOTICE, detail_type)]


def test_a_lifecycle_hook_is_a_notice() -> None:
    hook = {"LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "AutoScalingGroupName": "shop-front"}

    assert parse(on_topic(hook)) == [Ignored(SkipReason.NOTICE, "lifecycle hook")]


def test_a_test_notification_is_known_as_one() -> None:
    assert parse(sample("autoscaling-sns-test")) == [Ignored(SkipReason.TEST_MESSAGE, "autoscaling:TEST_NOTIFICATION")]


def test_an_activity_is_as_old_as_its_end() -> None:
    """Not as its start: a failure may start before a success and end after it."""
    assert parse_alert(FAILED).observed_at.isoformat() == "2026-11-24T11:03:29+00:00"
    sent = parse_alert(with_detail({**FAILED, "time": "2026-11-24T11:03:30Z"}, EndTime=None))
    assert sent.observed_at.isoformat() == "2026-11-24T11:03:30+00:00"


@pytest.mark.parametrize(
    ("detail", "summary"),
    [
        ({}, "shop-front: We currently do not have"),
        ({"StatusMessage": ""}, "shop-front: Launching a new EC2 instance"),
        ({"StatusMessage": None, "Description": ...}, "shop-front: At 2026-11-24T11:03:20Z an instance was started"),
        ({"StatusMessage": [], "Description": {}, "Cause": None, "Details": "text"}, "shop-front"),
    ],
)
def test_the_summary_is_what_the_service_says(detail: dict[str, Any], summary: str) -> None:
    assert parse_alert(with_detail(FAILED, **detail)).summary.startswith(summary)


def test_what_targets_match_on_and_what_is_shown() -> None:
    alert = parse_alert(FAILED)

    assert alert.labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "auto_scaling_group": "shop-front",
        "activity": "launch",
    }
    assert alert.details["details"] == {"Availability Zone": "eu-west-1b", "Subnet ID": "subnet-0a4c81e7d93b52f60"}


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_the_link_leads_to_the_activity_of_the_group(region: str) -> None:
    alert = parse_alert(with_detail({**FAILED, "region": region, "resources": []}, AutoScalingGroupName="shop/front"))

    domain = "console.amazonaws.cn" if region.startswith("cn-") else "console.aws.amazon.com"
    fragment = "#AutoScalingGroupDetails:id=shop%2Ffront;view=activity"
    assert alert.client_url == f"https://{region}.{domain}/ec2/home?region={region}{fragment}"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (with_detail(FAILED, AutoScalingGroupName=...), "AutoScalingGroupName"),
        (with_detail(FAILED, AutoScalingGroupName=["hunter2"]), "AutoScalingGroupName"),
        (notification("hunter2"), "Event"),
        ({**FAILED, "detail": "hunter2"}, "Auto Scaling activity"),
    ],
)
def test_a_damaged_activity_is_named_without_its_values(raw: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        parse(raw)

    assert "hunter2" not in shown(refused.value)


@pytest.mark.parametrize("message", [{"Event": "s3:TestEvent"}, {"Event": 3}, {"AutoScalingGroupName": "shop-front"}])
def test_another_services_event_is_left_alone(message: Any) -> None:
    assert source_of(unwrap(message, ARRIVED_AT)) is None


def test_an_activity_survives_the_queue() -> None:
    alert = parse_alert(FAILED)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


def test_a_refresh_that_is_rolled_back_is_a_failure_that_the_rollback_does_not_end() -> None:
    """The version that was to be deployed still does not run; the next refresh that succeeds ends it."""
    name = "EC2 Auto Scaling Instance Refresh"
    detail = {"InstanceRefreshId": "r-1", "AutoScalingGroupName": "shop-front"}
    begun, done, better = (
        parse({**event(f"{name} {what}"), "detail": detail})
        for what in ("Rollback Started", "Rollback Succeeded", "Succeeded")
    )
    ((begun_alert,), (better_alert,)) = (begun, better)

    assert isinstance(begun_alert, Alert)
    assert isinstance(better_alert, Alert)
    assert (begun_alert.status, better_alert.status) == (Status.FIRING, Status.RESOLVED)
    assert begun_alert.fingerprint == better_alert.fingerprint
    assert begun_alert.summary == "shop-front: instance refresh rollback started"
    assert [type(found) for found in done] == [Ignored]
