"""CodePipeline: executions of pipelines, by EventBridge or by a notification rule.

Stages and actions are left alone: the pipeline's own event tells the same, once. The events are listed at
https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
"""

from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Ignored
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.sources.aws import Arn, console_url
from handler.sources.deployments import (
    Deployment,
    Ending,
    arn_in,
    ending_of,
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
    **dict.fromkeys(["STARTED", "RESUMED", "STOPPING", "STOPPED", "CANCELED", "SUPERSEDED"], Ending.NONE),
}


class Failure(Model):
    """What a notification rule adds to a failed execution."""

    failedStage: LooseText = ""
    failedActions: Objects = Field(default_factory=list)

    @property
    def text(self) -> str:
        """The stage and what its actions say."""
        said = [text_of(action.get("additionalInformation")) for action in self.failedActions]
        return ": ".join(part for part in (self.failedStage, "; ".join(filter(None, said))) if part)


class Execution(Model):
    """The detail of an execution's state change."""

    pipeline: Name
    state: Name
    execution_id: LooseText = Field("", alias="execution-id")
    version: LooseText = ""
    trigger: Object = Field(default_factory=dict, alias="execution-trigger")
    failure: Annotated[Failure, OrEmpty] = Field(default_factory=Failure, alias="additionalAttributes")


def parse(record: Record) -> list[Alert | Ignored]:
    """Give a failure or a success, and the change that it is."""
    if record.detail_type in NOTICES:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    execution = parse_model(Execution, record.payload, "CodePipeline execution")
    arn = arn_in(record, "codepipeline", execution.pipeline)
    home = Arn.of(arn)
    path = f"codesuite/codepipeline/pipelines/{quote(execution.pipeline, safe='')}"
    if execution.execution_id:
        path += f"/executions/{quote(execution.execution_id, safe='')}/timeline"
    return Deployment(
        origin=ORIGIN,
        client=CLIENT,
        noun="Pipeline",
        name=execution.pipeline,
        arn=arn,
        run_id=execution.execution_id,
        state=execution.state,
        ending=ending_of(execution.state, _ENDINGS, "CodePipeline execution: state"),
        observed_at=record.published_at,
        place=execution.pipeline,
        component=execution.pipeline,
        group=home.account,
        url=console_url(path, region=home.region),
        what=f"version {execution.version.removesuffix('.0')}" if execution.version else "",
        reason=execution.failure.text,
        labels={"pipeline": execution.pipeline},
        details={"execution_trigger": execution.trigger, "failed_actions": execution.failure.failedActions},
    ).alerts()
