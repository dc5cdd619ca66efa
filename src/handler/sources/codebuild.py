"""CodeBuild: builds, by EventBridge or by a notification rule. Phases are ignored: the build's own event says it all.

Of the build's environment nothing is passed on: its plain-text variables may hold secrets. The events are described at
https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html
"""

from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Ignored, Link, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.sources.aws import Arn, Home, filled
from handler.sources.deployments import (
    Ending,
    Run,
    deployed,
)
from handler.validation import (
    LooseText,
    Model,
    Name,
    Object,
    Objects,
    OrEmpty,
    parse_model,
    text_of,
)

ORIGIN = "codebuild"
CLIENT = "AWS CodeBuild"
NOTICE = "CodeBuild Build Phase Change"
_ENDINGS = {
    "SUCCEEDED": Ending.SUCCEEDED,
    **dict.fromkeys(["FAILED", "FAULT", "TIMED_OUT"], Ending.FAILED),
    "STOPPED": Ending.CHANGED,
    "IN_PROGRESS": Ending.NONE,
}


class Information(Model):
    """What an event says about a build besides its state."""

    build_number: LooseText = Field("", alias="build-number")
    initiator: LooseText = ""
    source: Object = Field(default_factory=dict)
    source_version: LooseText = Field("", alias="source-version")
    logs: Object = Field(default_factory=dict)
    phases: Objects = Field(default_factory=list)

    @property
    def failure(self) -> str:
        """The first failed phase, with its message."""
        for phase in self.phases:
            if phase.get("phase-status") in ("FAILED", "FAULT", "TIMED_OUT", "CLIENT_ERROR"):
                context = phase.get("phase-context")
                messages = [text_of(text).strip(" :") for text in context] if isinstance(context, list) else []
                return ": ".join(filter(None, [text_of(phase.get("phase-type")), "; ".join(filter(None, messages))]))
        return ""


class Build(Model):
    """The detail of a build's state change."""

    project: Name = Field(alias="project-name")
    status: Name = Field(alias="build-status")
    build_id: LooseText = Field("", alias="build-id")
    information: Annotated[Information, OrEmpty] = Field(default_factory=Information, alias="additional-information")


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger or resolve, and a change event."""
    if record.detail_type == NOTICE:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    build = parse_model(Build, record.payload, "CodeBuild build")
    information = build.information
    home = Home.of(record, next(iter(record.resources), ""))
    run_id = Arn.of(build.build_id).resource.removeprefix("build/")
    path = f"codesuite/codebuild/{quote(home.account, safe='')}/projects/{quote(build.project, safe='')}"
    if run_id:
        path += f"/build/{quote(run_id, safe='')}/log"
    number = f"build {information.build_number.removesuffix('.0')}" if information.build_number else ""
    deployment = Alert(
        fingerprint=home.arn("codebuild", f"project/{build.project}"),
        name=build.project,
        status=Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, "project": build.project},
        location=build.project,
        component=build.project,
        group=home.account,
        client=CLIENT,
        client_url=home.console(path),
        links=(Link(text_of(information.logs.get("deep-link")), "Log of the build"),),
        details=filled({"initiator": information.initiator, "source": text_of(information.source.get("location"))}),
    )
    run = Run(
        noun="Build",
        id=build.build_id.rpartition(":")[2],
        state=build.status,
        ending=_ENDINGS.get(build.status, Ending.UNKNOWN),
        what=" of ".join(filter(None, [number, information.source_version])),
        reason=information.failure,
    )
    return deployed(deployment, run)
