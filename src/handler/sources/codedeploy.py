"""CodeDeploy: deployments, by EventBridge, by a notification rule, or by a trigger of the deployment group over SNS.

On every path the identity is the deployment group's ARN. Single instances are ignored: the deployment's own event says
whether enough of them failed. The messages are described at
https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-sns-event-notifications-json-format.html
"""

from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AliasChoices, BeforeValidator, Field

from handler.alert import Alert, Ignored, Status
from handler.envelope import Record
from handler.errors import NotAnAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Home
from handler.sources.deployments import (
    Ending,
    Run,
    deployed,
)
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    Object,
    parse_model,
    parse_text,
    text_of,
)

ORIGIN = "codedeploy"
CLIENT = "AWS CodeDeploy"
NOTICE = "CodeDeploy Instance State-change Notification"
_ENDINGS = {
    **dict.fromkeys(["SUCCESS", "SUCCEEDED"], Ending.SUCCEEDED),
    **dict.fromkeys(["FAILURE", "FAILED"], Ending.FAILED),
    **dict.fromkeys(["START", "CREATED", "QUEUED", "INPROGRESS", "BAKING", "READY"], Ending.NONE),
    **dict.fromkeys(["STOP", "STOPPED"], Ending.CHANGED),
}
"""The states that EventBridge uses, and those that SNS uses, which are the API's."""


def _written(value: Any) -> Any:
    """Read an object from a JSON text; a text that is not JSON is the error message itself."""
    if not isinstance(value, str):
        return value
    with suppress(NotAnAlertError):
        inner = parse_text(value)
        if isinstance(inner, dict):
            return inner
    return {"ErrorMessage": value}


class StateChange(Model):
    """A state change of a deployment; the first name of each field is EventBridge's, the second SNS's."""

    application: Name = Field(validation_alias=AliasChoices("application", "applicationName"))
    group: Name = Field(validation_alias=AliasChoices("deploymentGroup", "deploymentGroupName"))
    state: Name = Field(validation_alias=AliasChoices("state", "status"))
    deployment_id: LooseText = Field("", alias="deploymentId")
    region: LooseText = ""
    account: LooseText = Field("", alias="accountId")
    completed_at: Instant = Field(None, alias="completeTime")
    overview: Annotated[Object, BeforeValidator(_written)] = Field(default_factory=dict, alias="deploymentOverview")
    error: Annotated[Object, BeforeValidator(_written)] = Field(default_factory=dict, alias="errorInformation")


def _is_of_an_instance(record: Record) -> bool:
    if record.detail_type:
        return record.detail_type == NOTICE
    return "instanceStatus" in record.payload


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger or resolve, and a change event."""
    if _is_of_an_instance(record):
        return [Ignored(SkipReason.NOTICE, NOTICE)]
    change = parse_model(StateChange, record.payload, "CodeDeploy deployment")
    name = f"{change.application}/{change.group}"
    home = Home.of(record, next(iter(record.resources), ""), account=change.account, region=change.region)
    deployment = Alert(
        fingerprint=home.arn("codedeploy", f"deploymentgroup:{name}"),
        name=name,
        status=Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, "application": change.application, "deployment_group": change.group},
        # in whole seconds, like the time of EventBridge's event
        starts_at=(change.completed_at or record.published_at).replace(microsecond=0),
        location=name,
        component=change.application,
        group=change.group,
        client=CLIENT,
        client_url=home.console(f"codesuite/codedeploy/deployments/{quote(change.deployment_id, safe='')}"),
        details={"overview": change.overview},
    )
    run = Run(
        noun="Deployment",
        id=change.deployment_id,
        state=change.state,
        ending=_ENDINGS.get(change.state.upper(), Ending.UNKNOWN),
        what=change.deployment_id,
        reason=": ".join(filter(None, [text_of(change.error.get(key)) for key in ("ErrorCode", "ErrorMessage")])),
    )
    return deployed(deployment, run)
