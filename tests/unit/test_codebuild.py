"""CodeBuild: builds, known by their project, and nothing of the secrets in their environment."""

from typing import Any

import pytest

from handler.alert import Ignored, Status
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from tests.lab.alerts import parse, parse_alerts, sample
from tests.unit.test_deployments import with_detail

FAILED = sample("codebuild-eventbridge-failed")


def with_information(**information: Any) -> dict[str, Any]:
    return with_detail(FAILED, **{"additional-information": information})


@pytest.mark.parametrize("status", ["FAILED", "FAULT", "TIMED_OUT"])
def test_every_way_to_fail_pages(status: str) -> None:
    trigger, _ = parse_alerts(with_detail(FAILED, **{"build-status": status}))

    assert trigger.status is Status.FIRING
    assert trigger.details["state"] == status


def test_a_build_that_runs_is_a_notice_and_one_that_was_stopped_a_change() -> None:
    found = parse(with_detail(FAILED, **{"build-status": "IN_PROGRESS"}))
    (stopped,) = parse_alerts(with_detail(FAILED, **{"build-status": "STOPPED"}))

    assert found == [Ignored(SkipReason.NOTICE, "gift-cards-tests: IN_PROGRESS")]
    assert stopped.is_change


def test_nothing_of_the_environment_is_passed_on() -> None:
    """Its plain-text variables may hold secrets."""
    variable = {"name": "TOKEN", "type": "PLAINTEXT", "value": "hunter2"}
    environment = {"environment-variables": [variable], "image": "hunter2"}

    assert "hunter2" not in repr(parse_alerts(with_information(environment=environment)))


@pytest.mark.parametrize(
    ("phases", "reason"),
    [
        (
            [{"phase-type": "BUILD", "phase-status": "FAILED", "phase-context": ["make: exit 2"]}],
            ": BUILD: make: exit 2",
        ),
        ([{"phase-type": "QUEUED", "phase-status": "TIMED_OUT", "phase-context": [" : "]}], ": QUEUED"),
        ([{"phase-type": "BUILD", "phase-status": "FAILED", "phase-context": [3, None]}], ": BUILD: 3"),
        ([{"phase-type": None, "phase-status": "FAILED", "phase-context": "text"}], ""),
        ([{"phase-type": "BUILD", "phase-status": "SUCCEEDED"}, 3], ""),
        (None, ""),
    ],
)
def test_the_phase_that_failed_is_the_reason(phases: Any, reason: str) -> None:
    alert, _ = parse_alerts(with_information(phases=phases))

    assert alert.summary == f"Build gift-cards-tests failed in eu-west-1{reason}"


@pytest.mark.parametrize(
    ("information", "what"),
    [
        ({"build-number": 318.0, "source-version": "refs/heads/main"}, " (build 318 of refs/heads/main)"),
        ({"build-number": 318}, " (build 318)"),
        ({"source-version": "v4"}, " (v4)"),
        ({}, ""),
    ],
)
def test_a_build_says_which_and_of_what(information: Any, what: str) -> None:
    assert (
        parse_alerts(with_information(**information))[0].summary == f"Build gift-cards-tests{what} failed in eu-west-1"
    )


def test_the_links_lead_to_the_build_and_its_log() -> None:
    alert, _ = parse_alerts(FAILED)

    assert [link.href.partition("?")[0] for link in alert.links] == [
        "https://eu-west-1.console.aws.amazon.com/codesuite/codebuild/123456789012/projects/gift-cards-tests/build/"
        "gift-cards-tests%3Ad1e0f6b3-2c47-4a85-93be-5f70c8a91e11/log",
        "https://console.aws.amazon.com/cloudwatch/home",
    ]
    assert alert.details["initiator"] == "codepipeline/gift-cards-release"


@pytest.mark.parametrize("build_id", [None, "", "text", 3, "arn:aws:codebuild:eu-west-1:123456789012:build/"])
def test_without_the_builds_own_arn_the_link_leads_to_the_project(build_id: Any) -> None:
    alert, _ = parse_alerts(with_detail(FAILED, **{"build-id": build_id}))

    assert alert.client_url.endswith("/codesuite/codebuild/123456789012/projects/gift-cards-tests?region=eu-west-1")


def test_a_build_without_a_project_is_refused() -> None:
    with pytest.raises(InvalidAlertError, match="project-name"):
        parse(with_detail(FAILED, **{"project-name": ""}))
