"""ECS: deployments of services, and services that cannot run their tasks. By EventBridge, the only road there is.

Tasks and container instances are left alone: they come and go by the thousand. The events are described at
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html and
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
"""

from dataclasses import dataclass
from urllib.parse import quote

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Arn, console_url, filled
from handler.sources.deployments import (
    SEVERITY,
    Deployment,
    Ending,
    ending_of,
)
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    parse_model,
)

ORIGIN = "ecs"
CLIENT = "Amazon ECS"
DEPLOYMENT = "ECS Deployment State Change"
ACTION = "ECS Service Action"
NOTICES = ("ECS Task State Change", "ECS Container Instance State Change")
_ENDINGS = {
    "SERVICE_DEPLOYMENT_COMPLETED": Ending.SUCCEEDED,
    "SERVICE_DEPLOYMENT_FAILED": Ending.FAILED,
    "SERVICE_DEPLOYMENT_IN_PROGRESS": Ending.NONE,
}
STEADY_STATE = "SERVICE_STEADY_STATE"
START_IMPAIRED = "SERVICE_TASK_START_IMPAIRED"
"""A warning that pages as an error does: no task starts. ECS mends by itself what the other warnings tell of."""


class ServiceDeployment(Model):
    """The detail of a deployment's state change."""

    eventName: Name
    deploymentId: LooseText = ""
    updatedAt: Instant = None
    reason: LooseText = ""


class ServiceAction(Model):
    """The detail of a service action."""

    eventName: Name
    eventType: LooseText = ""
    createdAt: Instant = None
    reason: LooseText = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its ARN: `service/<cluster>/<name>`, of old `service/<name>`."""

    arn: str

    @classmethod
    def of(cls, record: Record) -> "Service":
        """Find the service among the record's resources."""
        arn = next((r for r in record.resources if Arn.of(r).resource.startswith("service/")), "")
        service = cls(arn)
        if not service.name:
            raise InvalidAlertError(f"{record.detail_type}: resources: no service among them")
        return service

    @property
    def path(self) -> str:
        """The cluster and the name."""
        return Arn.of(self.arn).resource.removeprefix("service/")

    @property
    def name(self) -> str:
        """The name alone."""
        return self.path.rpartition("/")[2].strip()

    @property
    def cluster(self) -> str:
        """The cluster's name; empty in an ARN of old."""
        return self.path.rpartition("/")[0]

    @property
    def labels(self) -> dict[str, str]:
        """What targets match on."""
        return filled({"cluster": self.cluster, "service": self.name})

    def page(self, page: str) -> str:
        """Give the address of a page of the service in the console."""
        known = Arn.of(self.arn)
        path = f"ecs/v2/clusters/{quote(self.cluster, safe='')}/services/{quote(self.name, safe='')}/{page}"
        return console_url(path if self.cluster else "ecs/v2/clusters", region=known.region)


def parse(record: Record) -> list[Alert | Ignored]:
    """Give a deployment's end and the change that it is, or the service's trouble or the end of it."""
    if record.detail_type in NOTICES:
        return [Ignored(SkipReason.NOTICE, record.detail_type)]
    return _deployment(record) if record.detail_type == DEPLOYMENT else [_action(record)]


def _deployment(record: Record) -> list[Alert | Ignored]:
    deployment = parse_model(ServiceDeployment, record.payload, "ECS deployment")
    service = Service.of(record)
    return Deployment(
        origin=ORIGIN,
        client=CLIENT,
        noun="Deployment",
        name=service.name,
        arn=service.arn,
        run_id=deployment.deploymentId,
        state=deployment.eventName,
        ending=ending_of(deployment.eventName, _ENDINGS, "ECS deployment: eventName"),
        observed_at=record.published_at,
        starts_at=deployment.updatedAt,
        place=service.path,
        component=service.name,
        group=service.cluster,
        url=service.page("deployments"),
        what=deployment.deploymentId,
        reason=deployment.reason,
        labels=service.labels,
    ).alerts()


def _action(record: Record) -> Alert | Ignored:
    action = parse_model(ServiceAction, record.payload, "ECS service action")
    service = Service.of(record)
    is_trouble = action.eventType == "ERROR" or action.eventName == START_IMPAIRED
    if not is_trouble and action.eventName != STEADY_STATE:
        return Ignored(SkipReason.NOTICE, f"{service.name}: {action.eventName}")
    known = Arn.of(service.arn)
    url = service.page("health")
    said = action.eventName.removeprefix("SERVICE_").replace("_", " ").lower()
    return Alert(
        # beside the deployments' identity: a service may run well while its last deployment failed
        fingerprint=f"{service.arn}#health",
        name=service.name,
        status=Status.FIRING if is_trouble else Status.RESOLVED,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**filled({"account": known.account, "region": known.region}), **service.labels},
        starts_at=action.createdAt or record.published_at,
        severity_word=SEVERITY,
        summary=f"Service {service.name}: {said}" + (f": {action.reason}" if action.reason else ""),
        location=service.path,
        component=service.name,
        group=service.cluster,
        class_=action.eventName,
        client=CLIENT,
        client_url=url,
        links=(Link(url, f"Service in the {CLIENT} console"),),
        details=filled({"event": action.eventName, "reason": action.reason}),
    )
