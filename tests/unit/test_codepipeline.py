"""CodePipeline: executions of pipelines, and nothing of their stages and actions."""

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
from tests.unit.test_deployments import as_rule, with_detail

FAILED = sample("codepipeline-eventbridge-failed")


@pytest.mark.parametrize("state", ["STARTED", "RESUMED", "STOPPING", "SUPERSEDED"])
def test_an_execution_that_neither_failed_nor_succeeded_is_a_notice(state: str) -> None:
    """It changed nothing yet."""
    assert parse(with_detail(FAILED, state=state)) == [Ignored(SkipReason.NOTICE, f"shop-front-release: {state}")]


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:codepipeline:eu-west-1:123456789012:shop-front-release",
        "arn:aws:codepipeline:eu-west-1:123456789012:pipeline:shop-front-release",
    ],
)
def test_both_spellings_of_a_pipelines_arn_are_one_pipeline(resource: str) -> None:
    """AWS's examples have the longer one."""
    alert, _ = parse_alerts({**FAILED, "resources": [resource]})

    assert alert.fingerprint == "arn:aws:codepipeline:eu-west-1:123456789012:shop-front-release"


def test_a_pipeline_is_known_by_its_region_and_account_too() -> None:
    text = json.dumps(FAILED)
    elsewhere = [
        json.loads(text.replace(here, "eu-north-1" if here == FAILED["region"] else "210987654321"))
        for here in (FAILED["region"], FAILED["account"])
    ]

    assert len({parse_alerts(event)[0].fingerprint for event in (FAILED, *elsewhere)}) == 3


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"failedStage": "Production", "failedActions": [{"additionalInformation": "No lamps"}]},
            ": Production: No lamps",
        ),
        ({"failedStage": "Production"}, ": Production"),
        (
            {"failedActions": [{"additionalInformation": "a"}, {"action": "x"}, 3, {"additionalInformation": "b"}]},
            ": a; b",
        ),
        ({"failedStage": None, "failedActions": "text"}, ""),
    ],
)
def test_a_notification_rule_says_what_failed(more: Any, reason: str) -> None:
    """EventBridge's event does not."""
    alert, _ = parse_alerts(as_rule(FAILED, more))

    assert alert.summary == f"Pipeline shop-front-release (version 7) failed in eu-west-1{reason}"


@pytest.mark.parametrize(("version", "what"), [(7, " (version 7)"), (7.0, " (version 7)"), (None, ""), ([], "")])
def test_a_version_is_a_whole_number(version: Any, what: str) -> None:
    """SNS writes it as 7.0."""
    assert parse_alerts(with_detail(FAILED, version=version))[0].summary == (
        f"Pipeline shop-front-release{what} failed in eu-west-1"
    )


def test_the_link_leads_to_the_execution() -> None:
    alert, _ = parse_alerts(with_detail(FAILED, pipeline="a b/c"))

    assert alert.client_url == (
        "https://eu-west-1.console.aws.amazon.com/codesuite/codepipeline/pipelines/a%20b%2Fc/executions/"
        "3a61c0f2-7be4-4d19-8c55-90b1e2f7a401/timeline?region=eu-west-1"
    )
    assert parse_alerts(with_detail(FAILED, **{"execution-id": None}))[0].client_url.endswith(
        "/pipelines/shop-front-release?region=eu-west-1"
    )


def test_a_pipeline_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidAlertError, match="pipeline"):
        parse(with_detail(FAILED, pipeline=None))


def test_an_approval_is_somebodys_wish_to_be_told() -> None:
    """No state of a deployment: the last resort triggers."""
    approval = {"approval": {"pipelineName": "shop-front-release", "stageName": "Production", "token": "t"}}
    topic = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
    alert = parse_alert(
        {
            "EventSource": "aws:sns",
            "Sns": {"TopicArn": topic, "Subject": "APPROVAL NEEDED", "Message": json.dumps(approval)},
        }
    )

    assert (alert.origin, alert.status) == ("generic", Status.FIRING)


@pytest.mark.parametrize("state", ["STOPPED", "CANCELED"])
def test_a_stopped_execution_leaves_a_change_event(state: str) -> None:
    """It pages nobody: who stopped it knows. What it left half done is to be found later."""
    (change,) = parse_alerts(with_detail(FAILED, state=state))

    assert change.is_change
    assert change.summary.endswith(f"{state.lower()} in eu-west-1")


def test_an_approval_is_a_page_with_the_link_to_it() -> None:
    alert = parse_alert(sample("codepipeline-sns-approval"))
    other = sample("codepipeline-sns-approval")
    message = json.loads(other["Records"][0]["Sns"]["Message"])
    message["approval"]["token"] = "another"
    other["Records"][0]["Sns"]["Message"] = json.dumps(message)

    assert alert.links[0].text == "Review and approve"
    assert alert.details["comment"] == "Have a look at the new checkout first"
    assert parse_alert(other).fingerprint != alert.fingerprint
