"""ECS: deployments of services, services that cannot run their tasks, and tasks that fail. Only EventBridge has them.

Tasks that are stopped on purpose, and container instances, are ignored: they come and go by the thousand. The events:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html and
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Arn, Home, filled
from handler.sources.deployments import (
    SEVERITY,
    Ending,
    Run,
    deployed,
)
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    Objects,
    number_of,
    parse_model,
    text_of,
)

ORIGIN = "ecs"
CLIENT = "Amazon ECS"
_ENDINGS = {
    "SERVICE_DEPLOYMENT_COMPLETED": Ending.SUCCEEDED,
    "SERVICE_DEPLOYMENT_FAILED": Ending.FAILED,
    # AWS reports COMPLETED only at steady state, and FAILED only with the circuit breaker on
    "SERVICE_DEPLOYMENT_IN_PROGRESS": Ending.CHANGED,
}
STEADY_STATE = "SERVICE_STEADY_STATE"
START_IMPAIRED = "SERVICE_TASK_START_IMPAIRED"
"""These warnings page like errors, because no task starts. ECS recovers from the other warnings on its own."""
DEPLOYMENT_FAILED = "SERVICE_DEPLOYMENT_FAILED"


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


class Task(Model):
    """The detail of a task's state change."""

    taskArn: LooseText = ""
    clusterArn: LooseText = ""
    taskDefinitionArn: LooseText = ""
    group: LooseText = ""
    lastStatus: LooseText = ""
    stopCode: LooseText = ""
    stoppedReason: LooseText = ""
    stoppedAt: Instant = None
    containers: Objects = Field(default_factory=list)

    @property
    def family(self) -> str:
        """The name of the task definition, without its revision."""
        return Arn.of(self.taskDefinitionArn).resource.removeprefix("task-definition/").rpartition(":")[0]

    @property
    def exits(self) -> dict[str, int]:
        """The exit codes of its containers, by name."""
        codes = {text_of(container.get("name")): number_of(container.get("exitCode")) for container in self.containers}
        return {name: int(code) for name, code in codes.items() if code is not None}

    @property
    def failure(self) -> str:
        """Why it failed; empty if it did not."""
        if self.stopCode == "TaskFailedToStart":
            return f"a task failed to start: {self.stoppedReason}"
        if "health check" in self.stoppedReason[:200].lower():
            return f"a task was stopped: {self.stoppedReason}"
        failed = [f"{name or 'a container'} exited with code {code}" for name, code in self.exits.items() if code]
        reasons = [text for container in self.containers if (text := text_of(container.get("reason")))]
        if self.stopCode != "EssentialContainerExited" or (self.exits and not failed and not reasons):
            return ""
        message = "; ".join(reasons) or ("" if failed else self.stoppedReason)
        return ": ".join(filter(None, (", ".join(failed) or "a container exited", message)))


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its ARN: `service/<cluster>/<name>`, or `service/<name>` in the old format."""

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
        return Arn.of(self.arn).resource.partition("/")[2]

    @property
    def name(self) -> str:
        """The name alone."""
        return self.path.rpartition("/")[2].strip()

    @property
    def cluster(self) -> str:
        """The cluster's name; empty in an ARN of the old format."""
        return self.path.rpartition("/")[0]

    @property
    def labels(self) -> dict[str, str]:
        """What targets match on."""
        return filled({"cluster": self.cluster, "service": self.name})

    def page(self, page: str) -> str:
        """Return the address of a page of the service in the console."""
        path = f"ecs/v2/clusters/{quote(self.cluster, safe='')}/services/{quote(self.name, safe='')}/{page}"
        return Arn.of(self.arn).home.console(path if self.cluster else "ecs/v2/clusters")


def parse(record: Record) -> list[Alert | Ignored]:
    """Return the alerts of a deployment, of a service action, or of a stopped task."""
    match record.detail_type:
        case "ECS Deployment State Change":
            return _deployment(record)
        case "ECS Service Action":
            return [_action(record)]
        case "ECS Task State Change":
            return [_task(record)]
        case _:
            return [Ignored(SkipReason.NOTICE, record.detail_type)]


def _deployment(record: Record) -> list[Alert | Ignored]:
    deployment = parse_model(ServiceDeployment, record.payload, "ECS deployment")
    service = Service.of(record)
    run = Run(
        noun="Deployment",
        id=deployment.deploymentId,
        state=deployment.eventName,
        ending=_ENDINGS.get(deployment.eventName, Ending.UNKNOWN),
        what=deployment.deploymentId,
        reason=deployment.reason,
    )
    alert = _of_service(record, service, fingerprint=service.arn, page="deployments", starts_at=deployment.updatedAt)
    return deployed(alert, run)


def _of_service(
    record: Record, service: Service, *, fingerprint: str, page: str, starts_at: datetime | None, **fields: Any
) -> Alert:
    """Return an alert about a service; the caller passes its other fields."""
    home = Home.of(record, service.arn)
    return Alert(
        **{
            "fingerprint": fingerprint,
            "name": service.name,
            "status": Status.FIRING,
            "observed_at": record.published_at,
            "origin": ORIGIN,
            "labels": {**home.labels, **service.labels},
            "starts_at": starts_at,
            "location": service.path,
            "component": service.name,
            "group": service.cluster,
            "client": CLIENT,
            "client_url": service.page(page),
            **fields,
        }
    )


def _action(record: Record) -> Alert | Ignored:
    action = parse_model(ServiceAction, record.payload, "ECS service action")
    service = Service.of(record)
    is_trouble = action.eventType == "ERROR" or action.eventName == START_IMPAIRED
    if not is_trouble and action.eventName != STEADY_STATE:
        return Ignored(SkipReason.NOTICE, f"{service.name}: {action.eventName}")
    message = action.eventName.removeprefix("SERVICE_").replace("_", " ").lower()
    # a failed deployment has its own identity: a service may run well while its last deployment failed
    fingerprint = service.arn if action.eventName == DEPLOYMENT_FAILED else f"{service.arn}#health"
    return _of_service(
        record,
        service,
        fingerprint=fingerprint,
        page="health",
        starts_at=action.createdAt or record.published_at,
        status=Status.FIRING if is_trouble else Status.RESOLVED,
        severity_word=SEVERITY,
        summary=f"Service {service.name}: {message}" + (f": {action.reason}" if action.reason else ""),
        class_=action.eventName,
        links=(Link(service.page("health"), f"Service in the {CLIENT} console"),),
        details=filled({"event": action.eventName, "reason": action.reason}),
    )


def _task(record: Record) -> Alert | Ignored:
    """Return an alert about the task's service or, for a standalone task, about its family."""
    task = parse_model(Task, record.payload, "ECS task")
    cluster = Arn.of(task.clusterArn).resource.removeprefix("cluster/")
    name = task.group.removeprefix("service:") if task.group.startswith("service:") else ""
    summary = ": ".join(filter(None, (name or task.family, task.stopCode or task.lastStatus))) or record.detail_type
    has_succeeded = task.stopCode == "EssentialContainerExited" and bool(task.exits) and not any(task.exits.values())
    if task.lastStatus != "STOPPED" or not (task.failure or (has_succeeded and not name)):
        return Ignored(SkipReason.NOTICE, summary)
    home = Home.of(record, task.taskArn)
    if name:
        service = Service(home.arn("ecs", f"service/{cluster}/{name}" if cluster else f"service/{name}"))
        kind, fingerprint, page = "Service", f"{service.arn}#health", "health"
    else:
        family = task.family or Arn.of(task.taskArn).resource.rpartition("/")[2]
        service = Service(home.arn("ecs", f"task/{cluster}/{family}"))
        kind, fingerprint, page = "Task", f"{service.arn}#task", ""
    path = f"ecs/v2/clusters/{quote(cluster, safe='')}/tasks/{quote(task.taskArn.rpartition('/')[2], safe='')}"
    console = service.page(page) if name else home.console(path)
    reason = task.failure or "succeeded"
    return _of_service(
        record,
        service,
        fingerprint=fingerprint,
        page="health",
        starts_at=task.stoppedAt,
        name=service.name,
        status=Status.FIRING if task.failure else Status.RESOLVED,
        severity_word=SEVERITY,
        summary=f"{kind} {service.name}: {reason}",
        location=f"{cluster}/{service.name}" if cluster else service.name,
        class_=task.stopCode,
        client_url=console,
        links=(Link(console, f"{kind} in the {CLIENT} console"), Link(home.console(path), "Stopped task")),
        details={
            **filled({"stop_code": task.stopCode, "reason": task.stoppedReason, "task": task.taskArn}),
            "containers": task.containers,
        },
    )
