"""Deployments of every kind: an end is a change event, a failure pages, the next success of the same resolves it."""

import json
from datetime import timedelta
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.errors import InvalidAlertError
from handler.mapping import event_of
from handler.outcome import SkipReason
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.sources import native
from tests.lab.alerts import parse, parse_alerts, sample

FAILED_AND_SUCCEEDED = [
    ("codepipeline-eventbridge-failed", "codepipeline-eventbridge-succeeded"),
    ("codebuild-eventbridge-failed", "codebuild-eventbridge-succeeded"),
    ("codedeploy-eventbridge-failed", "codedeploy-eventbridge-succeeded"),
    ("codedeploy-sns-failed", "codedeploy-eventbridge-succeeded"),
    ("ecs-eventbridge-failed", "ecs-eventbridge-completed"),
]
FAILED = [failed for failed, _ in FAILED_AND_SUCCEEDED]
STATES = {"codepipeline": "state", "codebuild": "build-status", "codedeploy": "state", "ecs": "eventName"}


def as_rule(event: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the SNS record that a notification rule of the developer tools makes of EventBridge's event."""
    kept = {name: value for name, value in event.items() if name not in ("detail-type", "id", "version")}
    rule = "arn:aws:codestar-notifications:eu-west-1:123456789012:notificationrule/4f1c0b7a"
    message = {
        **kept,
        "detailType": event["detail-type"],
        "notificationRuleArn": rule,
        "additionalAttributes": more or {},
    }
    topic = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
    return {"EventSource": "aws:sns", "Sns": {"TopicArn": topic, "Message": json.dumps(message)}}


def with_detail(event: dict[str, Any], **detail: Any) -> dict[str, Any]:
    return {**event, "detail": {**event["detail"], **detail}}


@pytest.mark.parametrize(("failed", "succeeded"), FAILED_AND_SUCCEEDED)
def test_the_next_success_resolves_a_failure(failed: str, succeeded: str) -> None:
    (trigger, _), (resolve, _) = parse_alerts(sample(failed)), parse_alerts(sample(succeeded))

    assert (trigger.status, resolve.status) == (Status.FIRING, Status.RESOLVED)
    assert trigger.fingerprint == resolve.fingerprint
    assert trigger.observed_at < resolve.observed_at


@pytest.mark.parametrize(("failed", "succeeded"), FAILED_AND_SUCCEEDED)
def test_a_resolve_goes_where_its_trigger_went(failed: str, succeeded: str) -> None:
    """Targets match on labels and severity: those of the two are the same."""
    (trigger, _), (resolve, _) = parse_alerts(sample(failed)), parse_alerts(sample(succeeded))

    apart_from_status = {**resolve.matching_labels(), "status": "firing"}
    assert trigger.matching_labels() == apart_from_status
    assert trigger.severity is Severity.ERROR


@pytest.mark.parametrize(("failed", "succeeded"), FAILED_AND_SUCCEEDED)
def test_every_run_is_a_change_event_of_its_own(failed: str, succeeded: str) -> None:
    """Even two that end in the same second."""
    (_, first), (_, second) = parse_alerts(sample(failed)), parse_alerts(sample(succeeded))

    assert first.is_change
    assert second.is_change
    assert len({alert.fingerprint for name in (failed, succeeded) for alert in parse_alerts(sample(name))}) == 3


@pytest.mark.parametrize("name", FAILED)
def test_a_change_event_says_what_was_deployed_where_and_has_no_severity(name: str) -> None:
    trigger, change = parse_alerts(sample(name))
    event = event_of(change, Severity.CRITICAL)

    assert event.action is Action.CHANGE
    assert event.payload
    assert event.payload.severity is None
    assert event.payload.summary == trigger.summary
    assert event.links
    assert change.name in event.payload.summary
    assert "eu-west-1" in event.payload.summary


@pytest.mark.parametrize(
    "name", ["codepipeline-eventbridge-failed", "codebuild-eventbridge-failed", "codedeploy-eventbridge-failed"]
)
def test_a_notification_rule_and_eventbridge_give_one_alert(name: str) -> None:
    """A pipeline that is connected on both paths pages once, and is one change event."""
    event = sample(name)

    assert parse(as_rule(event)) == parse(event)


def test_codedeploys_own_trigger_and_eventbridge_give_one_alert() -> None:
    """The change, too, is one occurrence: their times have milliseconds and whole seconds."""
    paths = [parse_alerts(sample(name)) for name in ("codedeploy-sns-failed", "codedeploy-eventbridge-failed")]

    assert len({trigger.fingerprint for trigger, _ in paths}) == 1
    assert len({(change.fingerprint, change.starts_at) for _, change in paths}) == 1


@pytest.mark.parametrize("name", FAILED[:3])
@pytest.mark.parametrize(
    ("region", "partition", "host"),
    [
        ("cn-north-1", "aws-cn", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "aws-us-gov", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_every_partition_has_its_own_arns_and_console(name: str, region: str, partition: str, host: str) -> None:
    event = sample(name)
    alert, _ = parse_alerts(json.loads(json.dumps(event).replace(event["region"], region)))

    assert alert.fingerprint.startswith(f"arn:{partition}:{alert.origin}:{region}:123456789012:")
    assert alert.client_url.startswith(f"https://{host}/codesuite/")


@pytest.mark.parametrize("name", [*FAILED[:3], FAILED[4]])
def test_a_state_that_nobody_knows_pages_with_its_name(name: str) -> None:
    """It may be a failure, and the next success ends it."""
    field = STATES[name.partition("-")[0]]

    alert, change = parse_alerts(with_detail(sample(name), **{field: "MELTED_AWAY"}))

    assert alert.status is Status.FIRING
    assert " melted away" in alert.summary
    assert alert.fingerprint == parse_alerts(sample(name))[0].fingerprint
    assert change.is_change


@pytest.mark.parametrize("name", [*FAILED[:3], FAILED[4]])
@pytest.mark.parametrize("damage", [None, 3, [], {}, "", " "])
def test_a_state_that_is_missing_or_no_text_is_named(name: str, damage: Any) -> None:
    field = STATES[name.partition("-")[0]]

    with pytest.raises(InvalidAlertError, match=field):
        parse(with_detail(sample(name), **{field: damage}))


@pytest.mark.parametrize(
    "detail_type",
    [
        "CodePipeline Stage Execution State Change",
        "CodePipeline Action Execution State Change",
        "CodeBuild Build Phase Change",
        "CodeDeploy Instance State-change Notification",
        "ECS Container Instance State Change",
    ],
)
@pytest.mark.parametrize("detail", [{}, {"state": "FAILED"}, None, "text"])
def test_parts_of_a_run_are_ignored_by_name(detail_type: str, detail: Any) -> None:
    """Parts of a deployment never page, whatever they contain: the deployment's own event does."""
    assert parse({"detail-type": detail_type, "detail": detail}) == [Ignored(SkipReason.NOTICE, detail_type)]


@pytest.mark.parametrize("name", [name for pair in FAILED_AND_SUCCEEDED for name in pair])
def test_a_deployment_survives_the_queue(name: str) -> None:
    for alert in parse_alerts(sample(name)):
        assert parse_alerts(json.loads(json.dumps(native.dump(alert)))) == [alert]


def test_a_record_without_account_and_region_takes_them_from_its_resources() -> None:
    event = {**sample("codepipeline-eventbridge-failed"), "account": "", "region": ""}

    assert parse_alerts(event)[0].fingerprint == parse_alerts(sample("codepipeline-eventbridge-failed"))[0].fingerprint


def test_a_later_end_of_a_run_goes_before_an_earlier_one() -> None:
    """A pipeline's execution that is retried fails and succeeds under the same id."""
    event = sample("codepipeline-eventbridge-failed")
    retried = with_detail({**event, "time": "2026-11-24T09:44:22Z"}, state="SUCCEEDED")

    (failed, first), (resolved, second) = parse_alerts(event), parse_alerts(retried)
    assert resolved.observed_at - failed.observed_at == timedelta(minutes=30)
    assert (first.is_change, second.is_change) == (True, True)
    assert (first.fingerprint, first.starts_at or first.observed_at) != (
        second.fingerprint,
        second.starts_at or second.observed_at,
    )


def of(event: Any) -> Alert:
    return parse_alerts(event)[0]


@pytest.mark.parametrize("name", FAILED[:3])
def test_what_is_optional_may_be_missing(name: str) -> None:
    """A page needs the name of what failed, and its state."""
    event = sample(name)
    needed = {"pipeline", "project-name", "application", "deploymentGroup", *STATES.values()}
    bare = {**event, "detail": {key: value for key, value in event["detail"].items() if key in needed}}

    assert of(bare).fingerprint == of(event).fingerprint
    assert of({**bare, "resources": []}).fingerprint == of(event).fingerprint
