"""CodePipeline: executions of pipelines, by EventBridge or by a notification rule, and approvals over SNS.

Stages and actions are ignored: the pipeline's own event says the same, once. The messages are described at
https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html and
https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals-json-format.html
"""

from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Ignored, Link, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.sources.aws import Home, filled
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

ORIGIN = "codepipeline"
CLIENT = "AWS CodePipeline"
NOTICES = ("CodePipeline Stage Execution State Change", "CodePipeline Action Execution State Change")
_ENDINGS = {
    "SUCCEEDED": Ending.SUCCEEDED,
    "FAILED": Ending.FAILED,
    **dict.fromkeys(["STOPPED", "CANCELED"], Ending.CHANGED),
    **dict.fromkeys(["STARTED", "RESUMED", "STOPPING", "SUPERSEDED"], Ending.NONE),
}


class Failure(Model):
    """What a notification rule adds to a failed execution."""

    failedStage: LooseText = ""
    failedActions: Objects = Field(default_factory=list)

    @property
    def text(self) -> str:
        """The failed stage, and the messages of its actions."""
        messages = [text_of(action.get("additionalInformation")) for action in self.failedActions]
        return ": ".join(part for part in (self.failedStage, "; ".join(filter(None, messages))) if part)


class Execution(Model):
    """The detail of an execution's state change."""

    pipeline: Name
    state: Name
    execution_id: LooseText = Field("", alias="execution-id")
    version: LooseText = ""
    trigger: Object = Field(default_factory=dict, alias="execution-trigger")
    failure: Annotated[Failure, OrEmpty] = Field(default_factory=Failure, alias="additionalAttributes")


class Approval(Model):
    """A request for a manual approval; the token identifies it."""

    pipelineName: Name
    stageName: LooseText = ""
    actionName: Name
    token: LooseText = ""
    expires: LooseText = ""
    externalEntityLink: LooseText = ""
    approvalReviewLink: LooseText = ""
    customData: LooseText = ""


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger or resolve and a change event, or an alert for a requested approval."""
    if record.detail_type in NOTICES:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    if not record.detail_type:
        return [_approval(record)]
    execution = parse_model(Execution, record.payload, "CodePipeline execution")
    home = Home.of(record, next(iter(record.resources), ""))
    deployment = Alert(
        fingerprint=home.arn("codepipeline", execution.pipeline),
        name=execution.pipeline,
        status=Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, "pipeline": execution.pipeline},
        location=execution.pipeline,
        component=execution.pipeline,
        group=home.account,
        client=CLIENT,
        client_url=home.console(_path(execution.pipeline, execution.execution_id)),
        details={"execution_trigger": execution.trigger, "failed_actions": execution.failure.failedActions},
    )
    run = Run(
        noun="Pipeline",
        id=execution.execution_id,
        state=execution.state,
        ending=_ENDINGS.get(execution.state, Ending.UNKNOWN),
        what=f"version {execution.version.removesuffix('.0')}" if execution.version else "",
        reason=execution.failure.text,
    )
    return deployed(deployment, run)


def _path(pipeline: str, execution_id: str = "") -> str:
    path = f"codesuite/codepipeline/pipelines/{quote(pipeline, safe='')}"
    return f"{path}/executions/{quote(execution_id, safe='')}/timeline" if execution_id else path


def _approval(record: Record) -> Alert:
    approval = parse_model(Approval, record.payload["approval"], "CodePipeline approval")
    home = Home.of(record, region=text_of(record.payload.get("region")))
    location = f"{approval.pipelineName}/{approval.stageName}/{approval.actionName}"
    console = text_of(record.payload.get("consoleLink")) or home.console(_path(approval.pipelineName))
    built = f"Pipeline {approval.pipelineName} waits for approval of {approval.actionName}"
    return Alert(
        fingerprint=f"{home.arn('codepipeline', location)}#approval#{approval.token}",
        name=approval.pipelineName,
        status=Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, "pipeline": approval.pipelineName},
        severity_word="warning",
        summary=record.subject.strip() or built,
        location=location,
        component=approval.pipelineName,
        group=home.account,
        class_="approval",
        client=CLIENT,
        client_url=console,
        links=(
            Link(approval.approvalReviewLink, "Review and approve"),
            Link(approval.externalEntityLink, "What to review"),
            Link(console, f"Pipeline in the {CLIENT} console"),
        ),
        details=filled({"expires": approval.expires, "comment": approval.customData}),
    )
