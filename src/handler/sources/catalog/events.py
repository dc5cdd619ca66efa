"""The catalog's rows for EventBridge events, by detail-type.

Shapes and states are from the services' documentation, listed at
https://docs.aws.amazon.com/eventbridge/latest/ref/event-delivery-level.html
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handler.pagerduty.severity import Severity
from handler.sources.catalog.row import Meaning, Row
from handler.sources.catalog.states import (
    access_state,
    beanstalk_state,
    checked_item,
    config_state,
    dms_state,
    event_without_outcome,
    received_mail,
    resource_state,
    scan_state,
    stack_name,
    stack_of,
)

CRITICAL, ERROR, WARNING, INFO = Severity.CRITICAL, Severity.ERROR, Severity.WARNING, Severity.INFO


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _service(origin: str, service: str, source: str = "") -> Mapping[str, Any]:
    return {"origin": origin, "service": service, "source": source}


_BATCH_PROGRESS = _words("SUBMITTED PENDING RUNNABLE STARTING RUNNING")
_GLUE = _service("glue", "AWS Glue", "aws.glue")
_EMR = _service("emr", "Amazon EMR", "aws.emr")
_DMS = _service("dms", "AWS Database Migration Service", "aws.dms")
_DATASYNC = _service("datasync", "AWS DataSync", "aws.datasync")
_SYNTHETICS = _service("synthetics", "Amazon CloudWatch Synthetics", "aws.synthetics")
_EC2 = _service("ec2", "Amazon EC2", "aws.ec2")
_EBS = _service("ebs", "Amazon EBS", "aws.ec2")
_ACM = _service("acm", "AWS Certificate Manager", "aws.acm")
_MALWARE = _service("guardduty", "Amazon GuardDuty", "aws.guardduty")
_MACIE = _service("macie", "Amazon Macie", "aws.macie")
_GURU = _service("devopsguru", "Amazon DevOps Guru", "aws.devops-guru")
_SES = _service("ses", "Amazon SES", "aws.ses")
_S3 = _service("s3", "Amazon S3", "aws.s3")
_INSPECTOR = _service("inspector2", "Amazon Inspector", "aws.inspector2")
_ANALYZER = _service("accessanalyzer", "IAM Access Analyzer", "aws.access-analyzer")
_CONFIG = _service("config", "AWS Config", "aws.config")
_TRAIL = _service("cloudtrail", "AWS CloudTrail")
_STACK = _service("cloudformation", "AWS CloudFormation", "aws.cloudformation")
_BEANSTALK = _service("elasticbeanstalk", "AWS Elastic Beanstalk", "aws.elasticbeanstalk")
_KMS = _service("kms", "AWS KMS", "aws.kms")
_SSM = _service("ssm", "AWS Systems Manager", "aws.ssm")
_DRS = _service("drs", "AWS Elastic Disaster Recovery", "aws.drs")
_SAGEMAKER = _service("sagemaker", "Amazon SageMaker", "aws.sagemaker")


def _notice(common: Mapping[str, Any], name: str) -> Row:
    return Row(**common, name=name, id=(), key="", otherwise=Meaning.NOTICE)


def _finding(common: Mapping[str, Any], name: str, **fields: Any) -> Row:
    return Row(**common, name=name, key="finding", **fields)


def _certificate(name: str, *reasons: str, **fields: Any) -> Row:
    return Row(
        **_ACM,
        name=name,
        id=("@resource|CommonName",),
        key="certificate",
        location="CommonName|@resource",
        reasons=reasons,
        labels={"common_name": "CommonName"},
        console=("acm/home", "/certificates/list"),
        **fields,
    )


def _insight(name: str, **fields: Any) -> Row:
    return Row(
        **_GURU,
        name=name,
        id=("insightId",),
        key="insight",
        location="insightDescription",
        severity_path="insightSeverity",
        labels={"insight_type": "insightType"},
        links=("insightUrl",),
        **fields,
    )


INSIGHT = _insight(
    "DevOps Guru insight",
    state="messageType",
    bad=_words("NEW_INSIGHT SEVERITY_UPGRADED"),
    good=_words("CLOSED_INSIGHT"),
    notice=_words("NEW_ASSOCIATION NEW_RECOMMENDATION"),
)
"""Over SNS, where the type of the message is the state.

https://docs.aws.amazon.com/devops-guru/latest/userguide/sns-notifications.html
"""


_RECIPIENT = (
    "bounce.bouncedRecipients.emailAddress|complaint.complainedRecipients.emailAddress"
    "|deliveryDelay.delayedRecipients.emailAddress|mail.destination"
)
MAIL = Row(
    **_SES,
    name="SES",
    id=(_RECIPIENT, "mail.source", "eventType|notificationType", received_mail),
    key="mail",
    location=_RECIPIENT,
    state="eventType|notificationType",
    bad=_words("BOUNCE COMPLAINT REJECT RENDERING_FAILURE DELIVERYDELAY"),
    notice=_words("SEND DELIVERY OPEN CLICK SUBSCRIPTION"),
    severity=WARNING,
    reasons=(
        "{bounce.bounceType}",
        "{bounce.bouncedRecipients.diagnosticCode|bounce.bouncedRecipients.status}",
        "{complaint.complaintFeedbackType}",
        "{reject.reason}",
        "{failure.errorMessage}",
        "{deliveryDelay.delayType}",
        "{mail.commonHeaders.subject}",
        "sent by {mail.source}",
    ),
    labels={"sender": "mail.source", "bounce_type": "bounce.bounceType"},
)
"""Of mail, by EventBridge and by SNS alike.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""


def _object(name: str) -> Row:
    return Row(
        **_S3,
        name=f"S3 {name}",
        id=("bucket.name", "object.key"),
        key=name.lower().replace(" ", "-"),
        reasons=("{reason}", "by {requester}"),
        severity=None,
        labels={"bucket": "bucket.name"},
    )


COMPLIANCE = Row(
    **_CONFIG,
    name="Config rule",
    id=("configRuleName", "resourceType", "resourceId"),
    key="compliance",
    location="resourceId",
    state=config_state,
    bad=_words("NON_COMPLIANT"),
    good=_words("COMPLIANT NOT_APPLICABLE"),
    notice=_words("INSUFFICIENT_DATA"),
    severity=WARNING,
    reasons=("{configRuleName}", "{newEvaluationResult.annotation}"),
    labels={"rule": "configRuleName", "resource_type": "resourceType"},
    console=("config/home", "/rules/details?configRuleName={configRuleName}"),
)
"""https://docs.aws.amazon.com/config/latest/developerguide/monitor-config-with-cloudwatchevents.html"""

HEALTH_OF_BEANSTALK: Mapping[str, Any] = MappingProxyType(
    {
        "key": "environment",
        "state": beanstalk_state,
        "bad": _words("SEVERE DEGRADED WARNING FAILED"),
        "good": _words("OK"),
        "progress": _words("INFO PENDING UNKNOWN NODATA NO_DATA SUSPENDED"),
        "notice": _words("INFORMATION"),
        "changes": _words("DEPLOYED"),
        "severities": MappingProxyType({"SEVERE": CRITICAL, "WARNING": WARNING}),
        "reasons": ("{Message}",),
    }
)
"""https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/health-enhanced-status.html"""

STATES_OF_STACK: Mapping[str, Any] = MappingProxyType(
    {
        "key": "stack",
        "bad": _words(
            "CREATE_FAILED UPDATE_FAILED DELETE_FAILED ROLLBACK_IN_PROGRESS ROLLBACK_FAILED ROLLBACK_COMPLETE"
            " UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_FAILED UPDATE_ROLLBACK_COMPLETE"
            " IMPORT_ROLLBACK_IN_PROGRESS IMPORT_ROLLBACK_FAILED IMPORT_ROLLBACK_COMPLETE"
        ),
        "good": _words("CREATE_COMPLETE UPDATE_COMPLETE IMPORT_COMPLETE DELETE_COMPLETE"),
        "progress": _words(
            "CREATE_IN_PROGRESS UPDATE_IN_PROGRESS DELETE_IN_PROGRESS REVIEW_IN_PROGRESS IMPORT_IN_PROGRESS"
            " UPDATE_COMPLETE_CLEANUP_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS RESOURCE_PROGRESS"
        ),
        "leaves_change": True,
    }
)
"""https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html"""

_SIGN_IN: Mapping[str, Any] = MappingProxyType(
    {
        **_TRAIL,
        "id": (
            "userIdentity.arn|userIdentity.principalId",
            "eventName",
            "responseElements.ConsoleLogin",
            "sourceIPAddress",
        ),
        "key": "sign-in",
        "location": "userIdentity.userName|userIdentity.arn|userIdentity.principalId",
        "reasons": (
            "{eventName} of {userIdentity.type}",
            "{responseElements.ConsoleLogin}",
            "{errorMessage}",
            "from {sourceIPAddress}",
            "MFA {additionalEventData.MFAUsed}",
        ),
        "state": "userIdentity.type",
        "bad": _words("ROOT IAMUSER ASSUMEDROLE"),
        "severity": WARNING,
        "severities": MappingProxyType({"ROOT": CRITICAL}),
        "labels": MappingProxyType({"event_name": "eventName", "user_type": "userIdentity.type"}),
    }
)


_PARAMETERS = "|".join(
    f"requestParameters.{name}" for name in ("bucketName", "groupId", "userName", "roleName", "keyId", "name", "*")
)
"""What a call was about: a usual name, else the first parameter that is a text."""


def _api_call(name: str) -> Row:
    return Row(
        **_TRAIL,
        name=name,
        id=("eventID|@id",),
        key="call",
        location="userIdentity.userName|userIdentity.arn|userIdentity.invokedBy|eventSource",
        reasons=(
            "{eventName}",
            "{eventSource}",
            "{errorCode}",
            "{errorMessage}",
            "from {sourceIPAddress}",
            f"on {{{_PARAMETERS}}}",
        ),
        severity=None,
        labels={"event_name": "eventName", "event_source": "eventSource", "error_code": "errorCode"},
        console=("cloudtrailv2/home", "/events/{eventID}"),
    )


ANOMALY = Row(
    **_service("costanomaly", "AWS Cost Anomaly Detection", "aws.ce"),
    name="Cost anomaly",
    id=("anomalyId",),
    key="anomaly",
    is_global=True,
    location="dimensionValue|dimensionalValue|monitorName",
    severity=WARNING,
    reasons=(
        "{impact.totalImpact} USD more than expected",
        "{rootCauses.service}",
        "{rootCauses.usageType}",
        "{rootCauses.region}",
    ),
    labels={"monitor": "monitorName"},
    links=("anomalyDetailsLink",),
)
"""https://docs.aws.amazon.com/cost-management/latest/userguide/getting-started-ad.html"""


EVENTS: dict[str, Row] = {
    # https://docs.aws.amazon.com/glue/latest/dg/automating-awsglue-with-cloudwatch-events.html
    "Glue Job State Change": Row(
        **_GLUE,
        name="Glue job",
        id=("jobName",),
        key="job",
        state="state",
        bad=_words("FAILED TIMEOUT STOPPED ERROR EXPIRED"),
        good=_words("SUCCEEDED"),
        progress=_words("STARTING RUNNING STOPPING WAITING"),
        severities={"STOPPED": WARNING},
        reasons=("{message}",),
        labels={"job": "jobName"},
        console=("gluestudio/home", "/job/{jobName}/run/{jobRunId}"),
    ),
    "Glue Job Run Status": Row(
        **_GLUE,
        name="Late Glue job",
        id=("jobName",),
        key="job",
        state="state",
        bad=_words("STARTING RUNNING STOPPING"),
        good=_words("SUCCEEDED"),
        severity=WARNING,
        reasons=("{message}",),
        labels={"job": "jobName"},
    ),
    "Glue Crawler State Change": Row(
        **_GLUE,
        name="Glue crawler",
        id=("crawlerName",),
        key="crawler",
        state="state",
        bad=_words("FAILED"),
        good=_words("SUCCEEDED"),
        progress=_words("STARTED RUNNING"),
        reasons=("{errorMessage}", "{message}"),
        labels={"crawler": "crawlerName"},
    ),
    # https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
    "Step Functions Execution Status Change": Row(
        origin="stepfunctions",
        service="AWS Step Functions",
        source="aws.states",
        name="Step Functions execution",
        id=("stateMachineArn",),
        key="execution",
        location="stateMachineArn",
        state="status",
        bad=_words("FAILED TIMED_OUT ABORTED"),
        good=_words("SUCCEEDED"),
        progress=_words("RUNNING PENDING_REDRIVE"),
        severities={"ABORTED": WARNING},
        reasons=("{error}", "{cause}", "execution {name}"),
        console=("states/home", "/v2/executions/details/{executionArn}"),
    ),
    # https://docs.aws.amazon.com/batch/latest/userguide/batch_job_events.html
    "Batch Job State Change": Row(
        origin="batch",
        service="AWS Batch",
        source="aws.batch",
        name="Batch job",
        id=("jobQueue", "jobName"),
        key="job",
        location="jobName",
        state="status",
        bad=_words("FAILED"),
        good=_words("SUCCEEDED"),
        progress=_BATCH_PROGRESS,
        reasons=("{statusReason}", "{container.reason}", "exit code {container.exitCode}"),
        labels={"job": "jobName", "job_queue": "jobQueue"},
        console=("batch/home", "jobs/detail/{jobId}"),
    ),
    # https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-manage-cloudwatch-events.html
    "EMR Cluster State Change": Row(
        **_EMR,
        name="EMR cluster",
        id=("clusterId",),
        key="cluster",
        location="name|clusterId",
        state="state",
        bad=_words("TERMINATED_WITH_ERRORS"),
        good=_words("WAITING RUNNING TERMINATED"),
        progress=_words("STARTING BOOTSTRAPPING TERMINATING"),
        reasons=("{message}",),
        labels={"cluster": "name"},
        console=("emr/home", "/clusterDetails/{clusterId}"),
    ),
    "EMR Step Status Change": Row(
        **_EMR,
        name="EMR step",
        id=("clusterId", "name"),
        key="step",
        location="name",
        state="state",
        bad=_words("FAILED CANCELLED INTERRUPTED"),
        good=_words("COMPLETED"),
        progress=_words("PENDING RUNNING CANCEL_PENDING"),
        severities={"CANCELLED": WARNING, "INTERRUPTED": WARNING},
        reasons=("{message}",),
        labels={"step": "name", "cluster_id": "clusterId"},
        console=("emr/home", "/clusterDetails/{clusterId}"),
    ),
    "EMR Instance Group State Change": Row(
        **_EMR,
        name="EMR instance group",
        id=("clusterId", "instanceGroupId"),
        key="instance-group",
        state="state",
        bad=_words("SUSPENDED ARRESTED"),
        good=_words("RUNNING"),
        progress=_words("PROVISIONING BOOTSTRAPPING RECONFIGURING RESIZING TERMINATING SHUTTING_DOWN"),
        notice=_words("TERMINATED ENDED"),
        severity=WARNING,
        reasons=("{message}",),
    ),
    "EMR Configuration Error": Row(
        **_EMR,
        name="EMR configuration error",
        id=("clusterId",),
        key="configuration",
        reasons=("{description|message}",),
    ),
    # https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/using-eventbridge.html
    "EMR Serverless Job Run State Change": Row(
        origin="emr",
        service="Amazon EMR Serverless",
        source="aws.emr-serverless",
        name="EMR Serverless job run",
        id=("applicationId", "jobRunName|jobRunId"),
        key="job-run",
        location="jobRunName|jobRunId",
        state="state",
        bad=_words("FAILED CANCELLED"),
        good=_words("SUCCESS"),
        progress=_words("SUBMITTED PENDING SCHEDULED RUNNING QUEUED CANCELLING"),
        severities={"CANCELLED": WARNING},
    ),
    # https://docs.aws.amazon.com/dms/latest/userguide/CHAP_EventBridge.html
    "DMS Replication Task State Change": Row(
        **_DMS,
        name="DMS replication task",
        id=("@resource|resourceLink",),
        key="task",
        state=dms_state,
        bad=_words("REPLICATION_TASK_FAILED REPLICATION_TASK_STOPPED"),
        good=_words("REPLICATION_TASK_STARTED FINISHED"),
        notice=_words("REPLICATION_TASK_CREATED REPLICATION_TASK_DELETED REPLICATION_TASK_MODIFIED"),
        reasons=("{detailMessage}",),
        labels={"event_id": "eventId", "category": "category"},
        links=("resourceLink",),
    ),
    "DMS Replication Instance State Change": Row(
        **_DMS,
        name="DMS replication instance",
        id=("@resource|resourceLink",),
        key="instance",
        state="category",
        bad=_words("FAILURE"),
        good=_words("RECOVERY"),
        otherwise=Meaning.NOTICE,
        blank=Meaning.BAD,
        reasons=("{detailMessage}",),
        labels={"event_id": "eventId"},
        links=("resourceLink",),
    ),
    # https://docs.aws.amazon.com/datasync/latest/userguide/monitor-datasync.html
    "DataSync Task Execution State Change": Row(
        **_DATASYNC,
        name="DataSync task",
        id=("@resource:/execution/",),
        key="execution",
        state="State",
        bad=_words("ERROR"),
        good=_words("SUCCESS"),
        progress=_words("QUEUED LAUNCHING PREPARING TRANSFERRING VERIFYING CANCELLING"),
        severities={"CANCELED": WARNING},
    ),
    "DataSync Agent State Change": Row(
        **_DATASYNC,
        name="DataSync agent",
        id=("@resource",),
        key="agent",
        state="State",
        bad=_words("OFFLINE"),
        good=_words("ONLINE"),
    ),
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/monitoring-events-eventbridge.html
    "Synthetics Canary TestRun Failure": Row(
        **_SYNTHETICS,
        name="Synthetics canary run",
        id=("canary-name",),
        key="canary-run",
        state="test-run-status",
        bad=_words("FAILED"),
        good=_words("PASSED"),
        reasons=("{state-reason|message}",),
        labels={"canary": "canary-name"},
        console=("cloudwatch/home", "synthetics:canary/detail/{canary-name}"),
    ),
    "Synthetics Canary TestRun Successful": Row(
        **_SYNTHETICS,
        name="Synthetics canary run",
        id=("canary-name",),
        key="canary-run",
        state="test-run-status",
        bad=_words("FAILED"),
        good=_words("PASSED"),
        blank=Meaning.GOOD,
        reasons=("{state-reason|message}",),
        labels={"canary": "canary-name"},
        console=("cloudwatch/home", "synthetics:canary/detail/{canary-name}"),
    ),
    "Synthetics Canary Status Change": Row(
        **_SYNTHETICS,
        name="Synthetics canary",
        id=("canary-name",),
        key="canary-state",
        state="current-state",
        bad=_words("ERROR"),
        good=_words("RUNNING READY"),
        progress=_words("CREATING STARTING UPDATING STOPPING DELETING"),
        notice=_words("STOPPED"),
        reasons=("{message}",),
        labels={"canary": "canary-name"},
    ),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
    "EC2 Instance State-change Notification": Row(
        **_EC2,
        name="EC2 instance",
        id=("@resource|instance-id",),
        key="state",
        location="instance-id",
        state="state",
        bad=_words("STOPPING STOPPED SHUTTING_DOWN TERMINATED"),
        good=_words("RUNNING"),
        progress=_words("PENDING"),
        severity=WARNING,
        labels={"instance": "instance-id"},
        console=("ec2/home", "InstanceDetails:instanceId={instance-id}"),
    ),
    "EC2 Spot Instance Interruption Warning": Row(
        **_EC2,
        name="EC2 spot instance will be interrupted",
        id=("@resource|instance-id",),
        key="spot-interruption",
        location="instance-id",
        severity=WARNING,
        reasons=("{instance-action}",),
        labels={"instance": "instance-id"},
    ),
    "EC2 Instance Rebalance Recommendation": _notice(_EC2, "EC2 rebalance recommendation"),
    # https://docs.aws.amazon.com/ebs/latest/userguide/ebs-cloud-watch-events.html
    "EBS Volume Notification": Row(
        **_EBS,
        name="EBS volume",
        id=("@resource",),
        key="volume",
        state="result",
        bad=_words("FAILED"),
        good=_words("AVAILABLE DELETED SUCCEEDED ATTACHED DETACHED MODIFIED"),
        progress=_words("IN_PROGRESS OPTIMIZING"),
        reasons=("{event}", "{cause}"),
        labels={"event": "event"},
    ),
    "EBS Snapshot Notification": Row(
        **_EBS,
        name="EBS snapshot",
        id=("source|snapshot_id", "event"),
        key="snapshot",
        location="source|snapshot_id",
        state="result",
        bad=_words("FAILED"),
        good=_words("SUCCEEDED COMPLETED"),
        reasons=("{event}", "{cause}"),
        labels={"event": "event"},
    ),
    "EBS Multi-Volume Snapshots Completion Status": Row(
        **_EBS,
        name="EBS snapshots",
        id=("source", "event"),
        key="snapshots",
        location="source",
        state="result",
        bad=_words("FAILED"),
        good=_words("SUCCEEDED COMPLETED"),
        reasons=("{cause}",),
    ),
    # https://docs.aws.amazon.com/acm/latest/userguide/supported-events.html
    "ACM Certificate Approaching Expiration": _certificate(
        "Certificate expires soon", "in {DaysToExpiry} days", severity=WARNING
    ),
    "ACM Certificate Expired": _certificate("Certificate expired", severity=CRITICAL),
    "ACM Certificate Renewal Action Required": _certificate(
        "Certificate cannot be renewed", "{RenewalStatusReason}", "in {DaysToExpiry} days it expires"
    ),
    "ACM Certificate Revoked": _certificate("Certificate revoked", severity=CRITICAL),
    "ACM Certificate Available": _certificate("Certificate available", "{Action}", otherwise=Meaning.GOOD),
    # https://docs.aws.amazon.com/devops-guru/latest/userguide/working-with-eventbridge.html
    "DevOps Guru New Insight Open": _insight("DevOps Guru insight opened"),
    "DevOps Guru Insight Severity Upgraded": _insight("DevOps Guru insight upgraded"),
    "DevOps Guru Insight Closed": _insight("DevOps Guru insight closed", otherwise=Meaning.GOOD),
    "DevOps Guru New Anomaly Association": _notice(_GURU, "DevOps Guru anomaly"),
    "DevOps Guru New Recommendation Created": _notice(_GURU, "DevOps Guru recommendation"),
    # https://docs.aws.amazon.com/xray/latest/devguide/xray-console-insights.html
    "AWS X-Ray Insight Update": Row(
        origin="xray",
        service="AWS X-Ray",
        source="aws.xray",
        name="X-Ray insight",
        id=("InsightId",),
        key="insight",
        location="RootCauseServiceId.Name|GroupName",
        state="State",
        bad=_words("ACTIVE"),
        good=_words("CLOSED"),
        reasons=("{Summary}", "{Categories}"),
        labels={"group_name": "GroupName", "root_cause": "RootCauseServiceId.Name"},
        console=("cloudwatch/home", "xray:insights/{InsightId}"),
    ),
    # https://docs.aws.amazon.com/cost-management/latest/userguide/cad-eventbridge.html
    "Anomaly Detected": ANOMALY,
    # https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html
    "Email Bounced": MAIL,
    "Email Complaint Received": MAIL,
    "Email Rejected": MAIL,
    "Email Rendering Failed": MAIL,
    "Email Delivery Delayed": MAIL,
    "Email Delivered": MAIL,
    "Email Sent": MAIL,
    "Email Opened": MAIL,
    "Email Clicked": MAIL,
    "Email Subscribed": MAIL,
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    "Object Created": _object("object created"),
    "Object Deleted": _object("object deleted"),
    "Object Restore Completed": _object("object restored"),
    "Object ACL Updated": _object("object ACL updated"),
    # https://docs.aws.amazon.com/inspector/latest/user/eventbridge-integration.html
    "Inspector2 Finding": _finding(
        _INSPECTOR,
        "Inspector finding",
        id=("findingArn",),
        location="resources.id",
        state="status",
        bad=_words("ACTIVE"),
        good=_words("CLOSED SUPPRESSED"),
        severity_path="severity",
        reasons=("{title}", "fix available: {fixAvailable}"),
        labels={"finding_type": "type", "resource_type": "resources.type"},
        console=("inspector/v2/home", "/findings/all"),
    ),
    "Inspector2 Scan": _notice(_INSPECTOR, "Inspector scan"),
    "Inspector2 Coverage": _notice(_INSPECTOR, "Inspector coverage"),
    # https://docs.aws.amazon.com/guardduty/latest/ug/monitor-with-eventbridge-s3-malware-protection.html
    "GuardDuty Malware Protection Object Scan Result": Row(
        **_MALWARE,
        name="Malware scan of an object",
        id=("s3ObjectDetails.bucketName", "s3ObjectDetails.objectKey"),
        key="malware",
        state="scanResultDetails.scanResultStatus|scanStatus",
        bad=_words("THREATS_FOUND UNSUPPORTED ACCESS_DENIED FAILED"),
        good=_words("NO_THREATS_FOUND"),
        severities={"UNSUPPORTED": WARNING, "ACCESS_DENIED": WARNING, "FAILED": WARNING},
        reasons=("{scanResultDetails.threats.name}",),
        labels={"bucket": "s3ObjectDetails.bucketName"},
    ),
    # https://docs.aws.amazon.com/macie/latest/user/findings-publish-event-schemas.html
    "Macie Finding": _finding(
        _MACIE,
        "Macie finding",
        id=("id",),
        location="resourcesAffected.s3Bucket.name|resourcesAffected.s3Object.path",
        state=lambda fields: "archived" if fields.get("archived") is True else "",
        good=_words("ARCHIVED"),
        severity_path="severity.description",
        reasons=("{title}", "{description}"),
        labels={"finding_type": "type", "bucket": "resourcesAffected.s3Bucket.name"},
        console=("macie/home", "findings?search=id%3D{id}"),
    ),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-eventbridge.html
    "Access Analyzer Finding": _finding(
        _ANALYZER,
        "Access Analyzer finding",
        id=("id",),
        location="resource",
        state=access_state,
        bad=_words("ACTIVE"),
        good=_words("RESOLVED ARCHIVED"),
        reasons=("{resourceType} can be reached from outside", "public: {isPublic}", "by {principal.AWS}"),
        labels={"resource_type": "resourceType"},
        console=("access-analyzer/home", "/findings/details/{id}"),
    ),
    "Unused Access Finding for IAM entities": _finding(
        _ANALYZER,
        "Unused access finding",
        id=("findingId|id",),
        location="resource",
        state="status",
        bad=_words("ACTIVE"),
        good=_words("RESOLVED ARCHIVED"),
        severity=INFO,
        reasons=("{findingType}", "{resourceType}"),
    ),
    "Config Rules Compliance Change": COMPLIANCE,
    "Config Configuration Item Change": _notice(_CONFIG, "Config item change"),
    "Config Configuration Snapshot Delivery Status": _notice(_CONFIG, "Config snapshot delivery"),
    "Config Configuration History Delivery Status": _notice(_CONFIG, "Config history delivery"),
    "Config Rules Re-evaluation Status": _notice(_CONFIG, "Config re-evaluation"),
    # https://docs.aws.amazon.com/awssupport/latest/user/cloudwatch-events-ta.html
    "Trusted Advisor Check Item Refresh Notification": Row(
        origin="trustedadvisor",
        service="AWS Trusted Advisor",
        source="aws.trustedadvisor",
        name="Trusted Advisor check",
        id=("check-name", checked_item),
        key="check",
        location="resource_id|check-item-detail.Limit Name|check-name",
        state="status",
        bad=_words("ERROR WARN"),
        good=_words("OK"),
        notice=_words("NOT_AVAILABLE"),
        severities={"WARN": WARNING},
        reasons=("{check-name}", "{check-item-detail.Service}", "{check-item-detail.Region}"),
        labels={"check": "check-name"},
        console=("trustedadvisor/home", "/dashboard"),
    ),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html
    "AWS Console Sign In via CloudTrail": Row(**{**_SIGN_IN, "name": "Console sign-in"}),
    "AWS API Call via CloudTrail": _api_call("API call"),
    # https://docs.aws.amazon.com/secretsmanager/latest/userguide/cloudtrail_log_entries.html and, of Control Tower,
    # https://docs.aws.amazon.com/controltower/latest/userguide/lifecycle-events.html
    "AWS Service Event via CloudTrail": _api_call("Service event")._replace(
        id=(
            "additionalEventData.SecretId|serviceEventDetails.*.account.accountId|eventID|@id",
            event_without_outcome,
        ),
        location="additionalEventData.SecretId|serviceEventDetails.*.account.accountName|eventSource",
        state="serviceEventDetails.*.state|eventName",
        bad=_words("FAILED ROTATIONFAILED ROTATIONABANDONED TESTROTATIONFAILED"),
        good=_words("SUCCEEDED ROTATIONSUCCEEDED TESTROTATIONSUCCEEDED"),
        progress=_words("ROTATIONSTARTED TESTROTATIONSTARTED"),
        severity=ERROR,
        reasons=("{eventName}", "{serviceEventDetails.*.message}", "{errorCode}", "{errorMessage}"),
    ),
    "AWS Console Action via CloudTrail": _api_call("Console action"),
    "AWS Insight via CloudTrail": _api_call("CloudTrail insight"),
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stacks-event-bridge.html
    "CloudFormation Stack Status Change": Row(
        **_STACK,
        name="CloudFormation stack",
        id=(stack_of,),
        location=stack_name,
        state="status-details.status",
        reasons=("{status-details.status-reason}",),
        console=("cloudformation/home", "/stacks/stackinfo?stackId={stack-id}"),
        **STATES_OF_STACK,
    ),
    "CloudFormation Resource Status Change": Row(
        **_STACK,
        name="CloudFormation resource",
        id=(stack_of,),
        key="stack",
        location=stack_name,
        state=resource_state,
        bad=_words("CREATE_FAILED UPDATE_FAILED DELETE_FAILED"),
        progress=_words("RESOURCE_PROGRESS"),
        reasons=("{logical-resource-id}", "{status-details.status-reason}"),
        labels={"resource_type": "resource-type"},
    ),
    "CloudFormation Drift Detection Status Change": Row(
        **_STACK,
        name="CloudFormation drift",
        id=(stack_of,),
        key="drift",
        location=stack_name,
        state="status-details.stack-drift-status",
        bad=_words("DRIFTED"),
        good=_words("IN_SYNC"),
        notice=_words("NOT_CHECKED UNKNOWN"),
        severity=WARNING,
        blank=Meaning.PROGRESS,
        reasons=("{drift-detection-details.drifted-stack-resource-count} resources differ from the template",),
    ),
    # https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/AWSHowTo.eventbridge.html
    **{
        detail_type: Row(
            **_BEANSTALK,
            name=name,
            id=("ApplicationName", "EnvironmentName"),
            location="EnvironmentName",
            labels={"application": "ApplicationName", "environment": "EnvironmentName"},
            **HEALTH_OF_BEANSTALK,
        )
        for detail_type, name in {
            "Health status change": "Elastic Beanstalk environment",
            "Elastic Beanstalk resource status change": "Elastic Beanstalk environment",
            "Other resource status change": "Elastic Beanstalk resource",
            "Managed update status change": "Elastic Beanstalk managed update",
        }.items()
    },
    # https://docs.aws.amazon.com/kms/latest/developerguide/kms-events.html
    "KMS Imported Key Material Expiration": Row(
        **_KMS, name="KMS key material expired", id=("@resource|key-id",), key="expiration", location="key-id"
    ),
    "KMS CMK Deletion": Row(
        **_KMS, name="KMS key deleted", id=("@resource|key-id",), key="deletion", location="key-id", severity=CRITICAL
    ),
    "KMS CMK Rotation": _notice(_KMS, "KMS key rotation"),
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/reference-eventbridge-events.html
    "EC2 Automation Execution Status-change Notification": Row(
        **_SSM,
        name="SSM automation",
        id=("Definition",),
        key="automation",
        state="Status",
        bad=_words("FAILED TIMEDOUT CANCELLED"),
        good=_words("SUCCESS COMPLETEDWITHSUCCESS"),
        progress=_words("PENDING INPROGRESS WAITING CANCELLING"),
        severities={"CANCELLED": WARNING},
        reasons=("{FailureMessage}", "execution {ExecutionId}"),
        console=("systems-manager/automation/execution/home", "{ExecutionId}"),
    ),
    "EC2 Command Status-change Notification": Row(
        **_SSM,
        name="SSM command",
        id=("command-id",),
        key="command",
        location="document-name",
        state="status",
        bad=_words("FAILED TIMEDOUT CANCELLED"),
        good=_words("SUCCESS"),
        progress=_words("PENDING INPROGRESS DELAYED CANCELLING"),
        severities={"CANCELLED": WARNING},
        reasons=("command {command-id}",),
    ),
    "Maintenance Window Execution State-change Notification": Row(
        **_SSM,
        name="SSM maintenance window",
        id=("window-id",),
        key="maintenance-window",
        state="status",
        bad=_words("FAILED TIMED_OUT CANCELLED"),
        good=_words("SUCCESS"),
        progress=_words("PENDING IN_PROGRESS CANCELLING SKIPPED_OVERLAPPING"),
        severity=WARNING,
    ),
    "EC2 Command Invocation Status-change Notification": Row(
        **_SSM,
        name="SSM command on an instance",
        id=("command-id", "instance-id"),
        key="command",
        location="instance-id",
        state="status",
        bad=_words("FAILED TIMEDOUT CANCELLED"),
        good=_words("SUCCESS"),
        progress=_words("PENDING INPROGRESS DELAYED CANCELLING"),
        severities={"CANCELLED": WARNING},
        reasons=("{document-name}", "command {command-id}"),
        labels={"instance": "instance-id"},
    ),
    "EC2 State Manager Association State Change": Row(
        **_SSM,
        name="SSM association",
        id=("association-id",),
        key="association",
        location="document-name",
        state="status",
        bad=_words("FAILED"),
        good=_words("SUCCESS"),
        progress=_words("PENDING INPROGRESS"),
        severity=WARNING,
        reasons=("association {association-id}",),
    ),
    "EC2 State Manager Instance Association State Change": Row(
        **_SSM,
        name="SSM association of an instance",
        id=("association-id", "instance-id"),
        key="association",
        location="instance-id",
        state="status",
        bad=_words("FAILED"),
        good=_words("SUCCESS"),
        progress=_words("PENDING INPROGRESS"),
        severity=WARNING,
        reasons=("{document-name}", "{error-code}"),
        labels={"instance": "instance-id"},
    ),
    "Configuration Compliance State Change": Row(
        **_SSM,
        name="SSM compliance",
        id=("resource-id", "compliance-type"),
        key="compliance",
        location="resource-id",
        state="compliance-status",
        bad=_words("NON_COMPLIANT"),
        good=_words("COMPLIANT"),
        severity=WARNING,
        severity_path="severity",
        reasons=("{compliance-type}",),
        labels={"instance": "resource-id"},
    ),
    **{
        detail_type: Row(
            **_SSM,
            name="OpsItem",
            id=("ops-item-id",),
            key="ops-item",
            location="title",
            state="status",
            bad=_words("OPEN REOPEN"),
            good=ended,
            progress=_words("INPROGRESS PENDING"),
            severity=WARNING,
            severity_path="severity",
            reasons=("{description}", "{ops-item-id}"),
            console=("systems-manager/opsitems", ""),
        )
        for detail_type, ended in (("OpsItem Create", ()), ("OpsItem Update", ("RESOLVED", "CLOSED")))
    },
    # https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    **{
        f"SageMaker {kind} Job State Change": Row(
            **_SAGEMAKER,
            name=f"SageMaker {word} job",
            id=(f"{field}JobArn|{field}JobName",),
            key=f"{word}-job",
            location=f"{field}JobName",
            state=f"{field}JobStatus",
            bad=_words("FAILED STOPPED"),
            good=_words("COMPLETED"),
            progress=_words("INPROGRESS STOPPING"),
            severities={"STOPPED": WARNING},
            reasons=("{FailureReason}",),
        )
        for kind, field, word in (
            ("Processing", "Processing", "processing"),
            ("Transform", "Transform", "transform"),
            ("HyperParameter Tuning", "HyperParameterTuning", "tuning"),
        )
    },
    "SageMaker Training Job State Change": Row(
        **_SAGEMAKER,
        name="SageMaker training job",
        id=("TrainingJobArn|TrainingJobName",),
        key="training-job",
        location="TrainingJobName",
        state="TrainingJobStatus",
        bad=_words("FAILED STOPPED"),
        good=_words("COMPLETED"),
        progress=_words("INPROGRESS STOPPING"),
        severities={"STOPPED": WARNING},
        reasons=("{FailureReason}",),
    ),
    "SageMaker Endpoint State Change": Row(
        **_SAGEMAKER,
        name="SageMaker endpoint",
        id=("EndpointArn|EndpointName",),
        key="endpoint",
        location="EndpointName",
        state="EndpointStatus",
        bad=_words("FAILED OUTOFSERVICE OUT_OF_SERVICE UPDATE_ROLLBACK_FAILED"),
        good=_words("INSERVICE IN_SERVICE"),
        progress=_words("CREATING UPDATING SYSTEMUPDATING SYSTEM_UPDATING ROLLINGBACK ROLLING_BACK DELETING"),
        notice=_words("DELETED"),
        severity=CRITICAL,
        reasons=("{FailureReason}",),
    ),
    "SageMaker Model Building Pipeline Execution Status Change": Row(
        **_SAGEMAKER,
        name="SageMaker pipeline",
        id=("pipelineArn",),
        key="pipeline",
        state="currentPipelineExecutionStatus",
        bad=_words("FAILED STOPPED"),
        good=_words("SUCCEEDED"),
        progress=_words("EXECUTING STOPPING"),
        severities={"STOPPED": WARNING},
    ),
    # https://docs.aws.amazon.com/mediaconvert/latest/ug/eventbridge_events.html
    "MediaConvert Job State Change": Row(
        origin="mediaconvert",
        service="AWS Elemental MediaConvert",
        source="aws.mediaconvert",
        name="MediaConvert job",
        id=("jobId",),
        key="job",
        state="status",
        bad=_words("ERROR"),
        good=_words("COMPLETE"),
        progress=_words("PROGRESSING INPUT_INFORMATION STATUS_UPDATE QUEUE_HOP NEW_WARNING"),
        notice=_words("CANCELED"),
        reasons=("{errorMessage}", "error {errorCode}"),
        labels={"queue": "queue"},
    ),
    # https://docs.aws.amazon.com/medialive/latest/ug/eventbridge-events.html
    "MediaLive Channel Alert": Row(
        origin="medialive",
        service="AWS Elemental MediaLive",
        source="aws.medialive",
        name="MediaLive channel alert",
        id=("channel_arn|@resource", "alarm_id|alert_type", "pipeline"),
        key="alert",
        location="channel_arn|@resource",
        state="alarm_state",
        bad=_words("SET"),
        good=_words("CLEARED"),
        reasons=("{alert_type}", "{message}"),
        labels={"alert_type": "alert_type"},
    ),
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    "ECR Image Scan": Row(
        origin="ecr",
        service="Amazon ECR",
        source="aws.ecr",
        name="ECR image scan",
        id=("repository-name", "image-digest"),
        key="scan",
        location="repository-name",
        state=scan_state,
        bad=_words("FAILED CRITICAL HIGH"),
        good=_words("CLEAN"),
        severities={"CRITICAL": CRITICAL, "FAILED": WARNING},
        reasons=("{image-tags}", "{finding-severity-counts.CRITICAL} critical", "{finding-severity-counts.HIGH} high"),
        labels={"repository": "repository-name"},
    ),
    # https://docs.aws.amazon.com/athena/latest/ug/athena-events.html
    "Athena Query State Change": Row(
        origin="athena",
        service="Amazon Athena",
        source="aws.athena",
        name="Athena query",
        id=("queryExecutionId",),
        key="query",
        location="workgroupName",
        state="currentState",
        bad=_words("FAILED"),
        good=_words("SUCCEEDED"),
        progress=_words("QUEUED RUNNING"),
        notice=_words("CANCELLED"),
        reasons=("{athenaError.errorMessage}", "query {queryExecutionId}"),
        labels={"workgroup": "workgroupName"},
    ),
    # https://docs.aws.amazon.com/amplify/latest/userguide/notifications.html
    "Amplify Deployment Status Change": Row(
        origin="amplify",
        service="AWS Amplify",
        source="aws.amplify",
        name="Amplify deployment",
        id=("appId", "branchName"),
        key="deployment",
        state="jobStatus",
        bad=_words("FAILED"),
        good=_words("SUCCEED SUCCEEDED"),
        progress=_words("STARTED"),
        notice=_words("CANCELLED"),
        reasons=("job {jobId}",),
        leaves_change=True,
    ),
    # https://docs.aws.amazon.com/ebs/latest/userguide/dlm-monitor-lifecycle.html
    "DLM Policy State Change": Row(
        origin="dlm",
        service="Amazon Data Lifecycle Manager",
        source="aws.dlm",
        name="Lifecycle policy",
        id=("policy_id|@resource",),
        key="policy",
        state="state",
        bad=_words("ERROR"),
        good=_words("ENABLED"),
        notice=_words("DISABLED"),
        reasons=("{cause}",),
    ),
    # https://docs.aws.amazon.com/drs/latest/userguide/monitoring-event-bridge-sample.html
    "DRS Source Server Data Replication Stalled Change": Row(
        **_DRS,
        name="DRS replication",
        id=("@resource",),
        key="replication",
        state="state",
        bad=_words("STALLED"),
        good=_words("NOT_STALLED"),
    ),
    "DRS Source Server Launch Result": Row(
        **_DRS,
        name="DRS launch",
        id=("@resource",),
        key="launch",
        state="state",
        bad=_words("RECOVERY_LAUNCH_FAILED"),
        good=_words("RECOVERY_LAUNCH_SUCCEEDED"),
        reasons=("job {job-id}", "drill {is-drill}"),
    ),
    "DRS Recovery Instance Failback State Change": Row(
        **_DRS,
        name="DRS failback",
        id=("@resource",),
        key="failback",
        state="state",
        bad=_words("FAILBACK_ERROR"),
        good=_words("FAILBACK_COMPLETED"),
        progress=_words("FAILBACK_IN_PROGRESS"),
    ),
    "DRS PIT Snapshot Taken": _notice(_DRS, "DRS snapshot"),
    # https://docs.aws.amazon.com/awssupport/latest/user/event-bridge-support.html
    "Support Case Update": Row(
        origin="support",
        service="AWS Support",
        source="aws.support",
        name="Support case",
        id=("case-id",),
        key="case",
        location="display-id|case-id",
        state="event-name",
        bad=_words("CREATECASE ADDCOMMUNICATIONTOCASE REOPENCASE"),
        good=_words("RESOLVECASE"),
        severity=WARNING,
        is_global=True,
        reasons=("by {origin}",),
        console=("support/home", "/case/?displayId={display-id}"),
    ),
    # https://docs.newrelic.com/docs/alerts/get-notified/notification-integrations/#eventBridge
    "NewRelicEvent": Row(
        origin="newrelic",
        service="New Relic",
        name="New Relic issue",
        id=("id|issueId",),
        key="issue",
        location="impactedEntities|alertConditionNames|id",
        state="state",
        bad=_words("CREATED ACTIVATED"),
        good=_words("CLOSED"),
        progress=_words("ACKNOWLEDGED"),
        is_global=True,
        severity_path="priority",
        reasons=("{title}", "{alertPolicyNames}"),
        labels={"condition": "alertConditionNames", "policy": "alertPolicyNames"},
        links=("issueUrl", "violationChartUrl"),
    ),
    # https://docs.datadoghq.com/integrations/amazon_event_bridge/
    "Datadog Alert Notification": Row(
        origin="datadog",
        service="Datadog",
        name="Datadog monitor",
        id=("meta.monitor.id", "meta.monitor.group|meta.result.group|group"),
        key="monitor",
        location="meta.monitor.name|title|meta.monitor.id",
        state="meta.transition.trans_name|meta.states.dest_state|alert_type",
        bad=_words("TRIGGERED RE_TRIGGERED WARN RE_WARN NO_DATA RE_NO_DATA RENOTIFY ALERT ERROR WARNING"),
        good=_words("RECOVERED OK SUCCESS NO_DATA_RECOVERED WARN_RECOVERED ALERT_RECOVERED"),
        severity_path="alert_type",
        severities={"WARN": WARNING, "RE_WARN": WARNING, "NO_DATA": WARNING},
        reasons=("{meta.monitor.query}", "{title}"),
        labels={"monitor": "meta.monitor.name", "priority": "priority"},
        links=("meta.monitor.url|url|link",),
    ),
}
