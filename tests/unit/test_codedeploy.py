"""CodeDeploy: deployments, identified by their group, from EventBridge and from the group's own triggers."""

import json
from typing import Any

import pytest

from handler.alert import Ignored, Status
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from tests.lab.alerts import (
    parse,
    parse_alert,
    parse_alerts,
    sample,
)
from tests.unit.test_deployments import with_detail

FAILED = sample("codedeploy-eventbridge-failed")
MESSAGE = json.loads(sample("codedeploy-sns-failed")["Records"][0]["Sns"]["Message"])
TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"


def by_sns(**fields: Any) -> dict[str, Any]:
    """Make the record of a trigger; a field of None is null."""
    sns = {"TopicArn": TOPIC, "Message": json.dumps({**MESSAGE, **fields}), "Timestamp": "2026-11-25T15:30:08.911Z"}
    return {"EventSource": "aws:sns", "Sns": sns}


@pytest.mark.parametrize("status", ["FAILED", "Failed", "SUCCEEDED", "Succeeded"])
def test_sns_spells_a_state_in_both_ways(status: str) -> None:
    """AWS's example has `Failed`, its messages `FAILED`."""
    alert, _ = parse_alerts(by_sns(status=status))

    assert alert.status is (Status.FIRING if status.upper() == "FAILED" else Status.RESOLVED)


@pytest.mark.parametrize("state", ["START", "READY"])
def test_a_deployment_that_has_not_ended_is_a_notice(state: str) -> None:
    assert parse(with_detail(FAILED, state=state)) == [
        Ignored(SkipReason.NOTICE, f"parcel-tracker/production: {state}")
    ]


@pytest.mark.parametrize("status", ["CREATED", "QUEUED", "InProgress", "Ready", "BAKING"])
def test_so_is_one_that_sns_announces(status: str) -> None:
    found = parse(by_sns(status=status))

    assert found == [Ignored(SkipReason.NOTICE, f"parcel-tracker/production: {status}")]


def test_a_stopped_deployment_leaves_one_change_event_whatever_its_path() -> None:
    changes = [*parse_alerts(with_detail(FAILED, state="STOP")), *parse_alerts(by_sns(status="STOPPED"))]

    assert [change.is_change for change in changes] == [True, True]
    assert len({(change.fingerprint, change.starts_at) for change in changes}) == 1


def test_a_trigger_for_instances_is_a_notice() -> None:
    message = {"deploymentId": "d-LMP4T7Q2X", "instanceId": "i-0c3d7e9f1a2b4c5d6", "instanceStatus": "FAILED"}

    (found,) = parse(message)
    assert found == Ignored(SkipReason.NOTICE, "CodeDeploy Instance State-change Notification")


@pytest.mark.parametrize(
    "time",
    ["1795620606.402", 1795620606.402, "Wed Nov 25 15:30:06 UTC 2026", "2026-11-25T15:30:06Z"],
)
def test_every_spelling_of_the_time_of_completion_is_read(time: Any) -> None:
    completed = parse_alerts(by_sns(completeTime=time))[0].starts_at
    assert completed
    assert completed.isoformat() == "2026-11-25T15:30:06+00:00"


@pytest.mark.parametrize("time", [None, "", "soon"])
def test_without_a_time_of_completion_the_publication_counts(time: Any) -> None:
    completed = parse_alerts(by_sns(completeTime=time))[0].starts_at
    assert completed
    assert completed.isoformat() == "2026-11-25T15:30:08+00:00"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"ErrorCode": "NO_INSTANCES", "ErrorMessage": "none"}, ": NO_INSTANCES: none"),
        ('{"ErrorCode": "NO_INSTANCES", "ErrorMessage": "none"}', ": NO_INSTANCES: none"),
        ("There is no instance", ": There is no instance"),
        ('["x"]', ': ["x"]'),
        ({"ErrorMessage": ["x"]}, ""),
        (None, ""),
        (3, ""),
        ("[" * 300 + "]" * 300, ": " + "[" * 300 + "]" * 300),
    ],
)
def test_the_error_is_an_object_or_a_json_text_of_one_or_a_text(error: Any, reason: str) -> None:
    alert, _ = parse_alerts(by_sns(errorInformation=error))

    assert alert.summary == f"Deployment parcel-tracker/production (d-LMP4T7Q2X) failed in eu-west-1{reason}"


def test_the_overview_is_shown() -> None:
    alert, _ = parse_alerts(by_sns())

    assert alert.details["overview"] == {"Succeeded": 1, "Failed": 2, "Skipped": 1, "InProgress": 0, "Pending": 0}


@pytest.mark.parametrize(
    ("field", "value"),
    [("applicationName", None), ("deploymentGroupName", 3), ("status", {"hunter2": 1})],
)
def test_a_damaged_trigger_is_named_without_its_values(field: str, value: Any) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        parse(by_sns(**{field: value}))

    assert "hunter2" not in str(refused.value)


def test_what_only_resembles_a_trigger_is_of_another_source() -> None:
    alert = parse_alert({"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": '{"deploymentId": "d-1"}'}})

    assert alert.origin == "generic"
