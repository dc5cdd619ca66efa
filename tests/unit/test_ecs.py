"""ECS: deployments and troubles of services, apart from one another, and nothing of tasks and instances."""

from typing import Any

import pytest

from handler.alert import Ignored, Status
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from tests.lab.alerts import (
    parse,
    parse_alert,
    parse_alerts,
    sample,
)
from tests.unit.test_deployments import with_detail

FAILED = sample("ecs-eventbridge-failed")
TROUBLE = sample("ecs-eventbridge-placement-failure")
SERVICE = "arn:aws:ecs:eu-west-1:123456789012:service/lamplight-prod/checkout"
STEADY = {"eventType": "INFO", "eventName": "SERVICE_STEADY_STATE"}


def action(kind: str, name: str) -> dict[str, Any]:
    return with_detail(TROUBLE, eventType=kind, eventName=name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ERROR", "SERVICE_TASK_PLACEMENT_FAILURE"),
        ("ERROR", "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED"),
        ("ERROR", "SERVICE_TASK_CONFIGURATION_FAILURE"),
        ("ERROR", "SOMETHING_NEW"),
        ("WARN", "SERVICE_TASK_START_IMPAIRED"),
    ],
)
def test_a_service_that_cannot_run_its_tasks_pages_until_its_steady_state(kind: str, name: str) -> None:
    trigger, resolve = parse_alert(action(kind, name)), parse_alert(with_detail(TROUBLE, **STEADY))

    assert (trigger.status, resolve.status) == (Status.FIRING, Status.RESOLVED)
    assert trigger.fingerprint == resolve.fingerprint
    assert trigger.severity is resolve.severity is Severity.ERROR
    assert trigger.labels == resolve.labels


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("WARN", "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY"),
        ("WARN", "VPC_LATTICE_TARGET_UNHEALTHY"),
        ("INFO", "SERVICE_DESIRED_COUNT_UPDATED"),
        ("INFO", "TASKSET_STEADY_STATE"),
        ("INFO", "CAPACITY_PROVIDER_STEADY_STATE"),
    ],
)
def test_what_ecs_recovers_from_or_only_announces_is_a_notice(kind: str, name: str) -> None:
    """The steady state of a task set or a capacity provider says nothing of the service."""
    assert parse(action(kind, name)) == [Ignored(SkipReason.NOTICE, f"checkout: {name}")]


def test_a_steady_state_does_not_resolve_a_failed_deployment() -> None:
    """The old tasks run well: the new version is not out all the same."""
    failed, _ = parse_alerts(FAILED)

    assert parse_alert(with_detail(TROUBLE, **STEADY)).fingerprint != failed.fingerprint


def test_the_time_of_the_event_orders_a_deployment_and_its_own_is_shown() -> None:
    alert = parse_alerts(FAILED)[0]
    assert alert.observed_at.isoformat() == "2026-11-26T08:41:10+00:00"
    assert alert.starts_at
    assert alert.starts_at.isoformat() == "2026-11-26T08:41:09.873000+00:00"


def test_a_deployment_in_progress_is_a_change_event() -> None:
    """AWS reports no end of one that never reaches a steady state, unless the circuit breaker is on."""
    (change,) = parse_alerts(with_detail(FAILED, eventName="SERVICE_DEPLOYMENT_IN_PROGRESS"))
    _, ended = parse_alerts(FAILED)

    assert change.is_change
    assert "in progress" in change.summary
    assert change.fingerprint != ended.fingerprint


def test_a_failed_deployment_is_one_incident_by_either_event() -> None:
    by_action = parse_alert(with_detail(TROUBLE, eventName="SERVICE_DEPLOYMENT_FAILED", eventType="ERROR"))

    assert by_action.fingerprint == parse_alerts({**FAILED, "resources": TROUBLE["resources"]})[0].fingerprint


# --- Tasks ------------------------------------------------------------------------------------------------------------

TASK = sample("ecs-eventbridge-task-failed")


def test_a_task_that_fails_is_a_trouble_of_its_service() -> None:
    """The service's steady state ends it."""
    alert = parse_alert(TASK)
    steady = parse_alert(sample("ecs-eventbridge-steady-state"))

    assert (alert.status, steady.status) == (Status.FIRING, Status.RESOLVED)
    assert alert.fingerprint == steady.fingerprint
    assert alert.summary == "Service checkout: web exited with code 3"


@pytest.mark.parametrize(
    ("detail", "summary"),
    [
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": "CannotPullContainerError: no such tag"},
            "Service checkout: a task failed to start: CannotPullContainerError: no such tag",
        ),
        (
            {"containers": [{"name": "web", "exitCode": 137, "reason": "OutOfMemoryError: killed"}]},
            "Service checkout: web exited with code 137: OutOfMemoryError: killed",
        ),
        ({"containers": [{"name": "web"}]}, "Service checkout: a container exited: Essential container in task exited"),
        (
            {"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Task failed container health checks"},
            "Service checkout: a task was stopped: Task failed container health checks",
        ),
        ({"containers": "text"}, "Service checkout: a container exited: Essential container in task exited"),
    ],
)
def test_the_summary_says_why_a_task_failed(detail: dict[str, Any], summary: str) -> None:
    assert parse_alert(with_detail(TASK, **detail)).summary == summary


@pytest.mark.parametrize(
    "detail",
    [
        {"lastStatus": "RUNNING"},
        {"stopCode": "ServiceSchedulerInitiated"},
        {"stopCode": "UserInitiated"},
        {"stopCode": "SpotInterruption"},
        {"containers": [{"name": "web", "exitCode": 0}]},
    ],
)
def test_a_task_that_is_stopped_on_purpose_or_ends_well_pages_nobody(detail: dict[str, Any]) -> None:
    (found,) = parse(with_detail(TASK, **detail))

    assert isinstance(found, Ignored)
    assert found.name.startswith("checkout: ")


def test_a_task_that_runs_on_its_own_is_known_by_its_family() -> None:
    """Its next success ends what a failure opened."""
    alone = {
        "group": "family:stock-count",
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:1:task-definition/stock-count:7",
    }
    failed = parse_alert(with_detail(TASK, **alone))
    succeeded = parse_alert(with_detail(TASK, **alone, containers=[{"name": "web", "exitCode": 0}]))
    other = parse_alert(
        with_detail(TASK, **{**alone, "taskDefinitionArn": "arn:aws:ecs:eu-west-1:1:task-definition/b:1"})
    )

    assert (failed.status, succeeded.status) == (Status.FIRING, Status.RESOLVED)
    assert failed.fingerprint == succeeded.fingerprint != other.fingerprint
    assert failed.summary == "Task stock-count: web exited with code 3"


def test_a_service_in_the_old_format_has_no_cluster_in_its_arn() -> None:
    alert, _ = parse_alerts({**FAILED, "resources": [SERVICE.replace("lamplight-prod/", "")]})

    assert (alert.name, alert.location, alert.group) == ("checkout", "checkout", "")
    assert "cluster" not in alert.labels
    assert alert.client_url == "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters?region=eu-west-1"


def test_the_service_is_found_among_the_resources() -> None:
    resources = ["text", SERVICE.replace("service/", "task-set/"), SERVICE]

    assert parse_alerts({**FAILED, "resources": resources})[0].fingerprint == SERVICE


@pytest.mark.parametrize("resources", [[], ["text"], ["arn:aws:ecs:eu-west-1:123456789012:service/"], [SERVICE + "/ "]])
@pytest.mark.parametrize("event", [FAILED, TROUBLE], ids=["deployment", "action"])
def test_an_event_of_no_service_is_refused(event: dict[str, Any], resources: list[str]) -> None:
    with pytest.raises(InvalidAlertError, match="resources"):
        parse({**event, "resources": resources})


@pytest.mark.parametrize(
    ("reason", "summary"),
    [
        ("RESOURCE:FARGATE", "Service checkout: task placement failure: RESOURCE:FARGATE"),
        (None, "Service checkout: task placement failure"),
        ({}, "Service checkout: task placement failure"),
    ],
)
def test_a_reason_is_reported_where_there_is_one(reason: Any, summary: str) -> None:
    assert parse_alert(with_detail(TROUBLE, reason=reason)).summary == summary


def test_a_success_needs_no_reason() -> None:
    """It says no more than that it is complete."""
    resolve, change = parse_alerts(with_detail(FAILED, eventName="SERVICE_DEPLOYMENT_COMPLETED", reason="completed."))

    assert change.summary == "Deployment checkout (ecs-svc/4471902835610927346) succeeded in eu-west-1"
    assert resolve.details["reason"] == "completed."


def test_the_links_lead_to_the_service() -> None:
    page = "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/lamplight-prod/services/checkout"

    assert parse_alerts(FAILED)[0].client_url == f"{page}/deployments?region=eu-west-1"
    assert parse_alert(TROUBLE).client_url == f"{page}/health?region=eu-west-1"
