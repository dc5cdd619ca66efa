"""RDS events of instances, clusters, proxies and the rest, as EventBridge sends them and by an event subscription.

An event is known by its id; one that no table here has is a failure where its category or message says so, else a
notice. Ids and categories:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html and, of Aurora,
https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_Events.Messages.html
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import AliasChoices, Field

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources.aws import Arn, Home, filled
from handler.validation import (
    Instant,
    LooseText,
    LooseTexts,
    Model,
    Name,
    Object,
    parse_model,
)

ORIGIN = "rds"
CLIENT = "Amazon RDS"
_PREFIX = "RDS-EVENT-"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that a database can have, by the ids of the events that open and end it."""

    name: str
    severity: Severity
    opened_by: frozenset[str] = frozenset()
    ended_by: frozenset[str] = frozenset()


def _numbers(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DELETED = _numbers("0003 0171")
"""The deletion of an instance or cluster, which ends all its problems."""
_PROBLEMS = (
    Problem(
        "failure",
        Severity.CRITICAL,
        # recovery has started, could not restart, failed, invalid parameters, incompatible network, Multi-AZ recovery
        opened_by=_numbers("0020 0022 0031 0035 0036 0052"),
        # restarted, recovered, Multi-AZ recovered, started
        ended_by=_numbers("0006 0021 0053 0088"),
    ),
    Problem(
        "low storage",
        Severity.ERROR,
        # consumed, over 90 %, full and shut down, low, cannot grow, maximum reached, Aurora's is low, quota reached
        opened_by=_numbers("0007 0089 0221 0222 0223 0224 0227 0254"),
        # storage changed manually, by autoscaling
        ended_by=_numbers("0017 0218"),
    ),
    Problem(
        "failover",
        Severity.ERROR,
        # Multi-AZ started; of a cluster failed, restarted, started in its zone, across zones; global started, failed
        opened_by=_numbers("0013 0069 0070 0072 0073 0181 0187"),
        # promoted, completed, activated, recovered from a partial one; cluster's finished; global finished, cancelled
        ended_by=_numbers("0015 0049 0051 0065 0071 0185 0186"),
    ),
    Problem(
        "replication",
        Severity.ERROR,
        # error, terminated
        opened_by=_numbers("0045 0057"),
        # resumed
        ended_by=_numbers("0046"),
    ),
    Problem(
        "log volume",
        Severity.ERROR,
        # the dedicated log volume is low, disabled
        opened_by=_numbers("0330 0331"),
        ended_by=_numbers("0332"),
    ),
    Problem(
        "encryption key",
        Severity.CRITICAL,
        # cannot be used, cannot be used so that the database will be inaccessible; can be used, of the category failure
        opened_by=_numbers("0418 0419"),
        ended_by=_numbers("0420"),
    ),
    Problem(
        "support perimeter",
        Severity.WARNING,
        # RDS Custom: outside, inside again
        opened_by=_numbers("0165"),
        ended_by=_numbers("0166"),
    ),
)
_OTHER_FAILURES = _numbers(
    "0039 0058 0067 0079 0080 0081 0159 0188 0195 0198 0202 0243 0245 0249 0252 0261 0275",
)
"""Failures that no event ends; they are listed because a subscription's message has no category."""
_FAILURE_WORDS = re.compile(
    r"\b(?:failed|failure|unable|can't|cannot|couldn't|could not|internal error)\b", re.IGNORECASE
)
"""Words of a failure in the message of an event that no table has; `failover` is none."""
_NEEDS_NOTHING = _numbers("0219 0220 0237")
"""Category failure, but "no actions are necessary": storage autoscaling retries by itself."""


class RdsEvent(Model):
    """The detail of an event, or a subscription's message, which has spaces in its keys and no categories."""

    id: Name = Field(validation_alias=AliasChoices("EventID", "Event ID"))
    arn: LooseText = Field("", validation_alias=AliasChoices("SourceArn", "Source ARN"))
    identifier: LooseText = Field("", validation_alias=AliasChoices("SourceIdentifier", "Source ID"))
    kind: LooseText = Field("", validation_alias=AliasChoices("SourceType", "Event Source"))
    message: LooseText = Field("", validation_alias=AliasChoices("Message", "Event Message"))
    at: Instant = Field(None, validation_alias=AliasChoices("Date", "Event Time"))
    categories: LooseTexts = Field(default_factory=list, validation_alias=AliasChoices("EventCategories"))
    tags: Object = Field(default_factory=dict, validation_alias=AliasChoices("Tags"))


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger for the problem that the event opens, or a resolve for each that it ends."""
    event = parse_model(RdsEvent, record.payload, "RDS event")
    # a subscription's id is the URL of the documentation, with the event's id as its fragment
    event_id = event.id.rpartition("#")[2] or event.id
    found = [_alert(problem, status, event_id, event, record) for problem, status in _changes(event_id, event)]
    return [*found] or [Ignored(SkipReason.NOTICE, event_id)]


def _changes(event_id: str, event: RdsEvent) -> list[tuple[Problem, Status]]:
    number = event_id.removeprefix(_PREFIX)
    opened = [(problem, Status.FIRING) for problem in _PROBLEMS if number in problem.opened_by]
    ended = [(problem, Status.RESOLVED) for problem in _PROBLEMS if number in problem.ended_by | _DELETED]
    is_failure = number in _OTHER_FAILURES or "failure" in event.categories or _FAILURE_WORDS.search(event.message)
    if opened or ended or not is_failure or number in _NEEDS_NOTHING:
        return [*opened, *ended]
    return [(Problem(event_id, Severity.ERROR), Status.FIRING)]


def _alert(problem: Problem, status: Status, event_id: str, event: RdsEvent, record: Record) -> Alert:
    arn = event.arn.strip() or next((arn for arn in record.resources if ":rds:" in arn), "")
    home = Home.of(record, arn)
    name = event.identifier.strip() or Arn.of(arn).resource.rpartition(":")[2]
    if not name:
        raise InvalidAlertError("RDS event: SourceArn: missing, and so is SourceIdentifier")
    # events say DB_INSTANCE or db-instance, depending on the path
    kind = event.kind.lower().replace("_", "-").removeprefix("db-")
    is_cluster = str(kind == "cluster").lower()
    console = home.console(
        "rds/home",
        fragment=f"database:id={quote(name, safe='')};is-cluster={is_cluster}"
        if kind in ("instance", "cluster")
        else "",
    )
    labels = {"database": name, "source_type": kind, "problem": problem.name}
    details = {"message": event.message, "categories": event.categories, "tags": event.tags, "event_id": event_id}
    return Alert(
        fingerprint=f"{arn or home.identity(ORIGIN, kind, name)}#{problem.name}",
        name=f"RDS {problem.name}" if problem in _PROBLEMS else problem.name,
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**home.labels, **filled(labels)},
        starts_at=event.at,
        severity_word=str(problem.severity),
        summary=f"{name}: {event.message}" if event.message else name,
        location=name,
        component=kind,
        group=home.account,
        class_=problem.name,
        client=CLIENT,
        client_url=console,
        links=(
            Link(console, "Database in the RDS console"),
            Link(
                f"https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html#{event_id}", event_id
            ),
        ),
        details={name: value for name, value in details.items() if value},
    )
