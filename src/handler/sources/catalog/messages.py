"""The catalog's rows for messages that AWS services publish to a topic, by shape."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from handler.envelope import Record
from handler.pagerduty.severity import Severity
from handler.sources.catalog.events import ANOMALY, COMPLIANCE, HEALTH_OF_BEANSTALK, INSIGHT, MAIL, STATES_OF_STACK
from handler.sources.catalog.row import Fields, Meaning, Row, Shape
from handler.sources.catalog.states import resource_state, stack_name, stack_of

_LINE = r"^([A-Za-z][A-Za-z ]{0,40}):[ \t]*(\S[^\n]*)$"
_ASSIGNMENT = r"^(\w{1,40})='([^\n]*)'$"
_MAX_CHARACTERS = 20_000
_ACCOUNT = r"\bAWS Account (\d{12})\b"
_ELASTICACHE = "ElastiCache:"
_OUTCOMES = ("Completed", "Complete", "Failed", "Started", "Rescheduled", "Scheduled", "Canceled")


def _object(record: Record) -> Mapping[str, Any]:
    return record.payload if isinstance(record.payload, dict) else {}


def _text(record: Record) -> str:
    return record.payload[:_MAX_CHARACTERS] if isinstance(record.payload, str) else ""


def _lines(record: Record) -> dict[str, str]:
    return {name: value.strip() for name, value in reversed(re.findall(_LINE, _text(record), re.MULTILINE))}


# --- CloudFormation ---------------------------------------------------------------------------------------------------


def _is_stack_event(record: Record) -> bool:
    text = _text(record)
    return text.lstrip().startswith("StackId='") and "\nResourceStatus='" in text


def _stack_event(record: Record) -> Fields:
    return dict(re.findall(_ASSIGNMENT, _text(record), re.MULTILINE))


def _stack_state(fields: Fields) -> str:
    """Return the stack's state, or a resource's failure unless another resource's failure caused it."""
    is_stack = fields.get("PhysicalResourceId") == fields.get("StackId") or (
        fields.get("ResourceType") == "AWS::CloudFormation::Stack"
        and fields.get("LogicalResourceId") == fields.get("StackName")
    )
    if is_stack:
        return str(fields.get("ResourceStatus", ""))
    is_cancelled = "cancelled" in str(fields.get("ResourceStatusReason", "")).lower()
    return "RESOURCE_PROGRESS" if is_cancelled else resource_state(fields)


_STACK = Row(
    origin="cloudformation",
    service="AWS CloudFormation",
    name="CloudFormation stack",
    id=(stack_of,),
    location=stack_name,
    state=_stack_state,
    reasons=("{LogicalResourceId}", "{ResourceStatusReason}"),
    labels={"resource_type": "ResourceType"},
    console=("cloudformation/home", "/stacks/stackinfo?stackId={StackId}"),
    **STATES_OF_STACK,
)


# --- Elastic Beanstalk ------------------------------------------------------------------------------------------------


def _is_beanstalk(record: Record) -> bool:
    text = _text(record)
    return text.startswith("Timestamp:") and "\nEnvironment: " in text and "\nApplication: " in text


_BEANSTALK = Row(
    origin="elasticbeanstalk",
    service="AWS Elastic Beanstalk",
    name="Elastic Beanstalk environment",
    id=("Application", "Environment"),
    location="Environment",
    labels={"application": "Application", "environment": "Environment"},
    links=("Environment URL",),
    **HEALTH_OF_BEANSTALK,
)


# --- ElastiCache ------------------------------------------------------------------------------------------------------


def _is_elasticache(record: Record) -> bool:
    fields = _object(record)
    return len(fields) == 1 and next(iter(fields)).startswith(_ELASTICACHE)


def _elasticache(record: Record) -> Fields:
    [(name, cluster)] = _object(record).items()
    event = name.removeprefix(_ELASTICACHE).strip()
    about = event.partition(" ")[0]
    outcome = next((word for word in _OUTCOMES if about.endswith(word)), "")
    return {"event": event, "topic": about.removesuffix(outcome), "cluster": cluster}


_CACHE = Row(
    origin="elasticache",
    service="Amazon ElastiCache",
    name="ElastiCache",
    id=("cluster", "topic"),
    key="event",
    location="cluster",
    state="event",
    bad=(
        "FAILOVERCOMPLETE",
        "ADDCACHENODEFAILED",
        "CACHECLUSTERPROVISIONINGFAILED",
        "CACHECLUSTERSCALINGFAILED",
        "CACHENODEREPLACESTARTED",
        "CACHENODESREBOOTED",
        "REPLICATIONGROUPSCALINGFAILED",
        "SNAPSHOTFAILED",
    ),
    good=(
        "ADDCACHENODECOMPLETE",
        "CACHECLUSTERPROVISIONINGCOMPLETE",
        "CACHECLUSTERSCALINGCOMPLETE",
        "CACHENODEREPLACECOMPLETE",
        "REPLICATIONGROUPSCALINGCOMPLETE",
        "SNAPSHOTCOMPLETE",
    ),
    notice=(
        "CACHECLUSTERPARAMETERSCHANGED",
        "CACHECLUSTERSECURITYGROUPMODIFIED",
        "CERTIFICATERENEWALCOMPLETE",
        "CREATEREPLICATIONGROUPCOMPLETE",
        "DELETECACHECLUSTERCOMPLETE",
        "NODEREPLACEMENTCANCELED",
        "NODEREPLACEMENTRESCHEDULED",
        "NODEREPLACEMENTSCHEDULED",
        "REMOVECACHENODECOMPLETE",
        "SERVICEUPDATEAVAILABLEFORNODE",
    ),
    severities={"CACHENODEREPLACESTARTED": Severity.WARNING, "SNAPSHOTFAILED": Severity.WARNING},
    labels={"cluster": "cluster"},
)
"""https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/ElastiCacheSNS.html"""


# --- Redshift ---------------------------------------------------------------------------------------------------------


def _is_redshift(record: Record) -> bool:
    fields = _object(record)
    about = fields.get("About this Event", fields.get("Event ID"))
    return "Event Source" in fields and isinstance(about, str) and "REDSHIFT-EVENT-" in about


def _redshift(record: Record) -> Fields:
    fields = _object(record)
    about = str(fields.get("About this Event", fields.get("Event ID")))
    return {**fields, "event_id": "REDSHIFT-EVENT-" + about.rpartition("REDSHIFT-EVENT-")[2]}


_REDSHIFT = Row(
    origin="redshift",
    service="Amazon Redshift",
    name="Redshift",
    id=("Event Source", "Resource|Source ID", "event_id"),
    key="event",
    location="Resource|Source ID",
    state="Severity",
    bad=("ERROR",),
    notice=("INFO",),
    severity_path="Severity",
    reasons=("{Event Message}",),
    labels={"event_id": "event_id", "source_type": "Event Source"},
    links=("Identifier Link", "About this Event"),
)
"""https://docs.aws.amazon.com/redshift/latest/mgmt/working-with-event-notifications.html"""


# --- SES --------------------------------------------------------------------------------------------------------------


def _is_mail(record: Record) -> bool:
    fields = _object(record)
    return isinstance(fields.get("mail"), dict) and bool(fields.keys() & {"eventType", "notificationType"})


# --- S3 ---------------------------------------------------------------------------------------------------------------


def _is_bucket(record: Record) -> bool:
    return _object(record).get("eventSource") == "aws:s3"


def _bucket(record: Record) -> Fields:
    fields = _object(record)
    key = fields.get("s3", {}).get("object", {}).get("key") if _has_object(fields) else ""
    return {**fields, "key": unquote_plus(key) if isinstance(key, str) else ""}


def _has_object(fields: Fields) -> bool:
    match fields:
        case {"s3": {"object": dict()}}:
            return True
        case _:
            return False


_BUCKET = Row(
    origin="s3",
    service="Amazon S3",
    name="S3",
    id=("s3.bucket.name", "key", "eventName"),
    key="object",
    location="s3.bucket.name",
    state="eventName",
    bad=("OBJECTREMOVED:*", "OBJECTCREATED:*"),
    severity=None,
    reasons=("{key}", "by {userIdentity.principalId}"),
    labels={"bucket": "s3.bucket.name", "event": "eventName"},
)
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""


# --- Database Migration Service ---------------------------------------------------------------------------------------


def _is_migration(record: Record) -> bool:
    event_id = _object(record).get("Event ID")
    return isinstance(event_id, str) and "DMS-EVENT-" in event_id


def _migration(record: Record) -> Fields:
    """Return the fields; the link names the task or instance, and the text says what happened."""
    fields = _object(record)
    link = str(fields.get("Identifier Link", ""))
    named = re.search(r"(?:SourceId:\s*|ids=)([\w-]{1,300})", link)
    words = str(fields.get("Event Message", "")).lower()
    states = {word: state for state, words in _MIGRATION_WORDS.items() for word in words}
    return {
        **fields,
        "name": named[1] if named else "",
        "link": link.split()[0] if link.strip() else "",
        "state": next((state for word, state in states.items() if word in words), "notice"),
    }


_MIGRATION_WORDS = {
    "finished": ("normal", "stop_reason full_load_only_finished", "stopped after", "stopped at"),
    "failed": ("fail", "error", "stopped", "not be", "exhausted", "low storage", "low on storage", "out of"),
    "started": ("started", "running", "resumed", "recovered", "completed", "finished"),
}
_MIGRATION = Row(
    origin="dms",
    service="AWS Database Migration Service",
    name="DMS",
    id=("Event Source", "name"),
    key="event",
    location="name",
    state="state",
    bad=("FAILED",),
    good=("STARTED", "FINISHED"),
    notice=("NOTICE",),
    reasons=("{Event Message}",),
    labels={"source_type": "Event Source"},
    links=("link",),
)
"""https://docs.aws.amazon.com/dms/latest/userguide/CHAP_Events.html"""


# --- DevOps Guru ------------------------------------------------------------------------------------------------------


def _is_insight(record: Record) -> bool:
    return {"insightId", "messageType"} <= _object(record).keys()


# --- Budgets, cost anomalies ------------------------------------------------------------------------------------------


def _is_budget(record: Record) -> bool:
    text = _text(record)
    return "\nBudget Name: " in text and "Budget" in text[:300]


def _budget(record: Record) -> Fields:
    lines = _lines(record)
    amounts = [name for name in lines if name.lower().endswith(" amount") and not name.startswith("Budgeted")]
    subject = record.subject.removeprefix("AWS Budgets:").strip()
    account = re.search(_ACCOUNT, _text(record)[:300])
    return {
        **lines,
        "accountId": account[1] if account else "",
        "amount": f"{amounts[-1].lower()} {lines[amounts[-1]]}" if amounts else "",
        "headline": subject or f"{lines.get('Budget Name', '')} has exceeded its alert threshold",
    }


_BUDGET = Row(
    origin="budgets",
    service="AWS Budgets",
    name="Budget",
    id=("Budget Name", "Alert Type", "Alert Threshold"),
    key="budget",
    location="Budget Name",
    severity=Severity.WARNING,
    reasons=("{headline}", "{amount}", "threshold {Alert Threshold}"),
    labels={"budget": "Budget Name", "alert_type": "Alert Type"},
    console=("billing/home", "/budgets"),
)
"""https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html"""


def _is_anomaly(record: Record) -> bool:
    return {"anomalyId", "impact"} <= _object(record).keys()


# --- Config -----------------------------------------------------------------------------------------------------------


def _is_compliance(record: Record) -> bool:
    return _object(record).get("messageType") == "ComplianceChangeNotification"


def _is_other_of_config(record: Record) -> bool:
    kind = _object(record).get("messageType")
    return isinstance(kind, str) and kind.startswith(
        ("Configuration", "OversizedConfiguration", "ScheduledNotification")
    )


_OTHER_OF_CONFIG = Row(
    origin="config",
    service="AWS Config",
    name="AWS Config",
    id=(),
    key="",
    otherwise=Meaning.NOTICE,
    state="messageType",
)


# --- EventBridge's Scheduler and Pipes -------------------------------------------------------------------------------


def _is_schedule(record: Record) -> bool:
    return {"SCHEDULE_ARN", "ERROR_CODE"} <= record.attributes.keys()


_SCHEDULE = Row(
    origin="scheduler",
    service="Amazon EventBridge Scheduler",
    name="Schedule could not invoke its target",
    id=("SCHEDULE_ARN",),
    key="failure",
    location="SCHEDULE_ARN",
    reasons=("{ERROR_MESSAGE|ERROR_CODE}",),
    labels={"error_code": "ERROR_CODE", "target": "TARGET_ARN"},
)
"""A message of the schedule's dead-letter queue: its attributes say what failed, its body is what the target gets.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
"""


def _is_pipe(record: Record) -> bool:
    match record.payload:
        case {"context": {"partnerResourceArn": str()}}:
            return True
        case _:
            return False


def _pipe(record: Record) -> Fields:
    fields = _object(record)
    return {**fields, "batch": next((batch for name, batch in fields.items() if name.endswith("BatchInfo")), {})}


_PIPE = Row(
    origin="pipes",
    service="Amazon EventBridge Pipes",
    name="Pipe lost a batch of records",
    id=("context.partnerResourceArn",),
    key="failure",
    reasons=("{context.condition}", "{batch.batchSize} records of {batch.streamArn}"),
    labels={"condition": "context.condition"},
)
"""A message of the pipe's dead-letter queue, of a stream; of other sources the queue gets the records themselves.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
"""


MESSAGES: tuple[Shape, ...] = (
    Shape(name="CloudFormation stack event", row=_STACK, is_one=_is_stack_event, read=_stack_event),
    Shape(name="Elastic Beanstalk notification", row=_BEANSTALK, is_one=_is_beanstalk, read=_lines),
    Shape(name="ElastiCache event", row=_CACHE, is_one=_is_elasticache, read=_elasticache),
    Shape(name="Redshift event", row=_REDSHIFT, is_one=_is_redshift, read=_redshift),
    Shape(name="DMS event", row=_MIGRATION, is_one=_is_migration, read=_migration),
    Shape(name="DevOps Guru notification", row=INSIGHT, is_one=_is_insight, read=_object),
    Shape(name="SES event or notification", row=MAIL, is_one=_is_mail, read=_object),
    Shape(name="S3 event notification", row=_BUCKET, is_one=_is_bucket, read=_bucket),
    Shape(name="AWS Budgets notification", row=_BUDGET, is_one=_is_budget, read=_budget),
    Shape(name="Cost anomaly alert", row=ANOMALY, is_one=_is_anomaly, read=_object),
    Shape(name="Config compliance change", row=COMPLIANCE, is_one=_is_compliance, read=_object),
    Shape(
        name="Dead letter of a schedule",
        row=_SCHEDULE,
        is_one=_is_schedule,
        read=lambda record: record.attributes,
        comes_by="SQS, the dead-letter queue",
    ),
    Shape(
        name="Dead letter of a pipe",
        row=_PIPE,
        is_one=_is_pipe,
        read=_pipe,
        comes_by="SQS, the dead-letter queue",
    ),
    Shape(name="Config, all other messages", row=_OTHER_OF_CONFIG, is_one=_is_other_of_config, read=_object),
)
"""The first match counts; checks read only the beginning of a text."""
