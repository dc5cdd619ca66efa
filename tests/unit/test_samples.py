"""The sample invocations of `events/`, the ones that `sam local invoke` uses: each is what its name says."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from handler.alert import Alert, Ignored
from handler.envelope import split, unwrap
from handler.mapping import dedup_key_of, event_of
from handler.outcome import SkipReason
from handler.pagerduty.events import Action, encode
from handler.pagerduty.severity import Severity
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import (
    ARRIVED_AT,
    EVENTS,
    parse,
    parse_alerts,
    sample,
)

ALARM = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm"
PIPELINE = "arn:aws:codepipeline:eu-west-1:123456789012:shop-front-release"
PROJECT = "arn:aws:codebuild:eu-west-1:123456789012:project/gift-cards-tests"
DEPLOYMENT_GROUP = "arn:aws:codedeploy:eu-west-1:123456789012:deploymentgroup:parcel-tracker/production"
SERVICE = "arn:aws:ecs:eu-west-1:123456789012:service/lamplight-prod/checkout"
FINDING = (
    "arn:aws:guardduty:eu-west-1:123456789012:detector/2eb8f3a6c14d4907b5e2a83d61fc7b90/"
    "finding/7ac3d1f09b2e4856a1d0c97e35f8b642"
)
CONTROL_FINDING = (
    "arn:aws:securityhub:eu-west-1::product/aws/securityhub/arn:aws:securityhub:eu-west-1:123456789012:"
    "security-control/S3.8/finding/9f0b6d2c-41ae-4c73-8e15-d27a0b93c6f4"
)
DEGRADED_DRIVE = (
    "arn:aws:health:eu-west-1::event/EC2/AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED/"
    "AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED_4d8e21b7-60fa#123456789012"
)
ORDERS_DB = "arn:aws:rds:eu-west-1:123456789012:db:orders-db-1"
SHOP_FRONT = (
    "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:b3e1d05f-8c72-4a96-9d4e-60f7a2c81b35:"
    "autoScalingGroupName/shop-front"
)
DEFAULT = Severity.INFO
"""Of the target; no sample asks for it by itself."""


@dataclass(frozen=True)
class Expected:
    """What a sample becomes; an acknowledge and a resolve have no payload to look at."""

    action: Action
    dedup_key: str
    observed_at: str
    severity: str | None = None
    summary: str = ""
    source: str = ""
    component: str | None = None
    group: str | None = None
    class_: str | None = None


ALERTS = {
    "native-sns-firing": Expected(
        Action.TRIGGER,
        "checkout-error-rate-prod",
        "2026-11-23T03:40:01",
        "critical",
        "CheckoutErrorRate: 7.4 % of checkouts fail, 1 % is normal",
        "checkout",
        "checkout",
        "lamplight-prod",
        "CheckoutErrorRate",
    ),
    "native-sns-resolved": Expected(Action.RESOLVE, "checkout-error-rate-prod", "2026-11-23T04:05:30"),
    "native-eventbridge-firing": Expected(
        Action.TRIGGER,
        "orders-replica-lag",
        "2026-11-23T09:12:00",
        "warning",
        "OrdersReplicaLag: orders-db-2 is 95 s behind orders-db-1",
        "orders-db-2",
        "postgres",
        "lamplight-prod",
        "OrdersReplicaLag",
    ),
    "native-eventbridge-acknowledged": Expected(Action.ACKNOWLEDGE, "orders-replica-lag", "2026-11-23T09:15:40"),
    "native-eventbridge-resolved": Expected(Action.RESOLVE, "orders-replica-lag", "2026-11-23T09:31:00"),
    "native-sqs": Expected(
        Action.TRIGGER,
        "catalog-search-latency",
        "2026-11-23T11:02:30",
        "error",
        "CatalogSearchSlow: 99th percentile of searches is 4.1 s",
        "catalog-search",
        "catalog-search",
        "lamplight-prod",
        "CatalogSearchSlow",
    ),
    "native-sqs-sns": Expected(
        Action.TRIGGER,
        "parcels-disk",
        "2026-11-23T12:20:00",
        "error",
        "ParcelTrackerDiskFull: /var/lib/parcels is 96 % full",
        "parcel-tracker-3",
        "disk",
        None,
        "ParcelTrackerDiskFull",
    ),
    "native-direct": Expected(
        Action.TRIGGER,
        "953cc7665e7a14c1ee6151d01cc585b2",
        "2026-11-23T05:00:00",
        "warning",
        "NightlyStockCountLate: The stock count of Leeds has not reported since 02:00",
        "stock-count",
        "stock-count",
        "warehouse",
        "NightlyStockCountLate",
    ),
    "native-change-event": Expected(
        Action.CHANGE,
        "deploy-checkout",
        "2026-11-23T03:31:00",
        None,
        "CheckoutDeployed: checkout 412 deployed to lamplight-prod",
        "checkout",
    ),
    "cloudwatch-sns-alarm": Expected(
        Action.TRIGGER,
        f"{ALARM}:parcel-labels-are-late",
        "2026-11-23T06:59:12.640000",
        "info",
        "parcel-labels-are-late: Threshold Crossed: 3 out of the last 3 datapoints",
        "parcel-labels",
        "AWS/SQS",
        "123456789012",
        "ApproximateAgeOfOldestMessage",
    ),
    "cloudwatch-sns-ok": Expected(Action.RESOLVE, f"{ALARM}:parcel-labels-are-late", "2026-11-23T07:15:12.655000"),
    "cloudwatch-sns-metric-math": Expected(
        Action.TRIGGER,
        f"{ALARM}:gift-cards-error-rate",
        "2026-11-23T13:21:44.018000",
        "info",
        "gift-cards-error-rate: Threshold Crossed: 2 datapoints",
        "gift-cards",
        "AWS/Lambda",
        "123456789012",
        "Errors",
    ),
    "cloudwatch-sns-composite": Expected(
        Action.TRIGGER,
        f"{ALARM}:shop-front-is-down",
        "2026-11-23T16:00:09.311000",
        "info",
        f"shop-front-is-down: {ALARM}:shop-canary-fails transitioned to ALARM",
        f"{ALARM}:shop-front-is-down",
        None,
        "123456789012",
        "shop-front-is-down",
    ),
    "cloudwatch-eventbridge-alarm": Expected(
        Action.TRIGGER,
        f"{ALARM}:orders-db-connections",
        "2026-11-23T10:30:05.207000",
        "info",
        "orders-db-connections: Threshold Crossed: 1 datapoint [192.0",
        "orders-db-1",
        "AWS/RDS",
        "123456789012",
        "DatabaseConnections",
    ),
    "cloudwatch-eventbridge-ok": Expected(
        Action.RESOLVE, f"{ALARM}:orders-db-connections", "2026-11-23T10:44:05.207000"
    ),
    "cloudwatch-eventbridge-deleted": Expected(Action.RESOLVE, f"{ALARM}:orders-db-connections", "2026-11-23T10:40:00"),
    "cloudwatch-direct-alarm": Expected(
        Action.TRIGGER,
        f"{ALARM}:shop-checkout-latency",
        "2026-11-23T18:20:44.871000",
        "info",
        "shop-checkout-latency: Threshold Crossed: 2 datapoints",
        "shop",
        "AWS/ApiGateway",
        "123456789012",
        "Latency",
    ),
    "cloudwatch-eventbridge-contributor-alarm": Expected(
        Action.TRIGGER,
        f"{ALARM}:parcel-tables-throttle#3c1f9a07d2b84e65",
        "2026-11-23T19:40:10.310000",
        "info",
        "parcel-tables-throttle (parcel-events): Threshold Crossed: 1 datapoint [41.0",
        "parcel-events",
        None,
        "123456789012",
        "parcel-tables-throttle",
    ),
    "cloudwatch-sns-log-contributor": Expected(
        Action.TRIGGER,
        f"{ALARM}:shop-endpoint-errors#9b7e5d3c1a2f4068",
        "2026-11-23T20:15:30.100000",
        "info",
        "shop-endpoint-errors (/api/baskets): 2 out of 14 contributors evaluated to ALARM",
        "/api/baskets",
        None,
        "123456789012",
        "shop-endpoint-errors",
    ),
    "alertmanager-sns-firing": Expected(
        Action.TRIGGER,
        "728b106b7c4a19e3",
        "2026-11-24T03:40:01.500000",
        "critical",
        "BasketErrors: baskets answers 6.2 % of requests with an error",
        "10.4.2.17:8080",
        "baskets",
        "lamplight-prod",
        "BasketErrors",
    ),
    "alertmanager-sns-resolved": Expected(Action.RESOLVE, "728b106b7c4a19e3", "2026-11-24T03:43:31.500000"),
    "alertmanager-sns-text-firing": Expected(
        Action.TRIGGER,
        "67d3fbb7b1d9849b",
        "2026-11-24T08:15:30.120000",
        "warning",
        "CourierQueueStuck: collections has not moved for 15 minutes",
        "courier",
        "courier",
        "lamplight-prod",
        "CourierQueueStuck",
    ),
    "alertmanager-amp-firing": Expected(
        Action.TRIGGER,
        "8ea807a0af97871b",
        "2026-11-24T09:05:00.250000",
        "error",
        'LoaderRejects: The loader of "stock" refuses rows',
        "lamplight-etl",
        None,
        "lamplight-etl",
        "LoaderRejects",
    ),
    "codepipeline-eventbridge-failed": Expected(
        Action.TRIGGER,
        PIPELINE,
        "2026-11-24T09:14:22",
        "error",
        "Pipeline shop-front-release (version 7) failed in eu-west-1",
        "shop-front-release",
        "shop-front-release",
        "123456789012",
        "pipeline failure",
    ),
    "codepipeline-sns-failed": Expected(
        Action.TRIGGER,
        PIPELINE,
        "2026-11-24T09:14:22",
        "error",
        "Pipeline shop-front-release (version 7) failed in eu-west-1: Production: The canary saw",
        "shop-front-release",
        "shop-front-release",
        "123456789012",
        "pipeline failure",
    ),
    "codepipeline-eventbridge-succeeded": Expected(Action.RESOLVE, PIPELINE, "2026-11-24T10:02:41"),
    "codebuild-eventbridge-failed": Expected(
        Action.TRIGGER,
        PROJECT,
        "2026-11-24T13:22:45",
        "error",
        "Build gift-cards-tests (build 318 of refs/heads/main) failed in eu-west-1: BUILD: COMMAND",
        "gift-cards-tests",
        "gift-cards-tests",
        "123456789012",
        "build failure",
    ),
    "codebuild-eventbridge-succeeded": Expected(Action.RESOLVE, PROJECT, "2026-11-24T13:48:10"),
    "codedeploy-eventbridge-failed": Expected(
        Action.TRIGGER,
        DEPLOYMENT_GROUP,
        "2026-11-25T15:30:06",
        "error",
        "Deployment parcel-tracker/production (d-LMP4T7Q2X) failed in eu-west-1",
        "parcel-tracker/production",
        "parcel-tracker",
        "production",
        "deployment failure",
    ),
    "codedeploy-sns-failed": Expected(
        Action.TRIGGER,
        DEPLOYMENT_GROUP,
        "2026-11-25T15:30:06",
        "error",
        "Deployment parcel-tracker/production (d-LMP4T7Q2X) failed in eu-west-1: HEALTH_CONSTRAINTS",
        "parcel-tracker/production",
        "parcel-tracker",
        "production",
        "deployment failure",
    ),
    "codedeploy-eventbridge-succeeded": Expected(Action.RESOLVE, DEPLOYMENT_GROUP, "2026-11-25T16:11:48"),
    "ecs-eventbridge-failed": Expected(
        Action.TRIGGER,
        SERVICE,
        "2026-11-26T08:41:09.873000",
        "error",
        "Deployment checkout (ecs-svc/4471902835610927346) failed in eu-west-1: ECS deployment circuit",
        "lamplight-prod/checkout",
        "checkout",
        "lamplight-prod",
        "deployment failure",
    ),
    "ecs-eventbridge-completed": Expected(Action.RESOLVE, SERVICE, "2026-11-26T09:27:32.551000"),
    "ecs-eventbridge-placement-failure": Expected(
        Action.TRIGGER,
        f"{SERVICE}#health",
        "2026-11-26T11:05:37.204000",
        "error",
        "Service checkout: task placement failure: RESOURCE:FARGATE",
        "lamplight-prod/checkout",
        "checkout",
        "lamplight-prod",
        "SERVICE_TASK_PLACEMENT_FAILURE",
    ),
    "ecs-eventbridge-steady-state": Expected(Action.RESOLVE, f"{SERVICE}#health", "2026-11-26T11:19:02.688000"),
    "generic-sns-text": Expected(
        Action.TRIGGER,
        "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts#Scanners",
        "2026-11-23T07:00:00.015000",
        "info",
        "Scanners: Good morning from the warehouse!",
        "lamplight-alerts",
        "lamplight-alerts",
        "123456789012",
        "Scanners",
    ),
    "generic-eventbridge": Expected(
        Action.TRIGGER,
        "lamplight.warehouse#Freezer Door Open#arn:aws:iot:eu-west-1:123456789012:thing/freezer-leeds-2",
        "2026-11-23T21:05:00",
        "warning",
        "Freezer Door Open: The door of freezer 2 has been open for 10 minutes",
        "arn:aws:iot:eu-west-1:123456789012:thing/freezer-leeds-2",
        "lamplight.warehouse",
        "123456789012",
        "Freezer Door Open",
    ),
    "guardduty-eventbridge-finding": Expected(
        Action.TRIGGER,
        FINDING,
        "2026-11-24T02:14:07.530000",
        "error",
        "CryptoCurrency:EC2/BitcoinTool.B!DNS: The EC2 instance i-0c7e52b9f4d1a8360 is querying a domain name of",
        "i-0c7e52b9f4d1a8360",
        "Instance",
        "123456789012",
        "CryptoCurrency:EC2/BitcoinTool.B!DNS",
    ),
    "guardduty-sns-archived": Expected(Action.RESOLVE, FINDING, "2026-11-24T05:14:09.118000"),
    "securityhub-eventbridge-failed": Expected(
        Action.TRIGGER,
        CONTROL_FINDING,
        "2026-11-24T06:30:15",
        "error",
        "S3 general purpose buckets should block public access: arn:aws:s3:::lamplight-parcel-labels",
        "arn:aws:s3:::lamplight-parcel-labels",
        "AwsS3Bucket",
        "123456789012",
        "Software and Configuration Checks/Industry and Regulatory Standards",
    ),
    "securityhub-eventbridge-custom-action": Expected(
        Action.TRIGGER,
        CONTROL_FINDING,
        "2026-11-24T06:41:20",
        "error",
        "S3 general purpose buckets should block public access: arn:aws:s3:::lamplight-parcel-labels",
        "arn:aws:s3:::lamplight-parcel-labels",
        "AwsS3Bucket",
        "123456789012",
        "Software and Configuration Checks/Industry and Regulatory Standards",
    ),
    "securityhub-eventbridge-passed": Expected(Action.RESOLVE, CONTROL_FINDING, "2026-11-24T07:12:44"),
    "health-eventbridge-open": Expected(
        Action.TRIGGER,
        DEGRADED_DRIVE,
        "2026-11-24T09:20:31",
        "error",
        "AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED: We have noticed that the performance of a drive",
        "i-0c7e52b9f4d1a8360",
        "EC2",
        "123456789012",
        "AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED",
    ),
    "health-eventbridge-closed": Expected(Action.RESOLVE, DEGRADED_DRIVE, "2026-11-24T13:45:10"),
    "health-eventbridge-upcoming": Expected(
        Action.TRIGGER,
        "arn:aws:health:eu-west-1::event/RDS/AWS_RDS_MAINTENANCE_SCHEDULED/"
        "AWS_RDS_MAINTENANCE_SCHEDULED_0b93f5c7-2e8d#123456789012",
        "2026-11-24T10:05:00",
        "warning",
        "AWS_RDS_MAINTENANCE_SCHEDULED: Your database will be maintained between",
        "arn:aws:rds:eu-west-1:123456789012:db:orders-db",
        "RDS",
        "123456789012",
        "AWS_RDS_MAINTENANCE_SCHEDULED",
    ),
    "rds-eventbridge-low-storage": Expected(
        Action.TRIGGER,
        f"{ORDERS_DB}#low storage",
        "2026-11-24T14:20:31.293000",
        "error",
        "RDS low storage: orders-db-1: The free storage capacity for DB Instance: orders-db-1 is low",
        "orders-db-1",
        "instance",
        "123456789012",
        "low storage",
    ),
    "rds-sns-storage-added": Expected(Action.RESOLVE, f"{ORDERS_DB}#low storage", "2026-11-24T15:02:48.517000"),
    "rds-sns-recovering": Expected(
        Action.TRIGGER,
        f"{ORDERS_DB}#failure",
        "2026-11-24T21:04:12.874000",
        "critical",
        "RDS failure: orders-db-1: Recovery of the DB instance has started.",
        "orders-db-1",
        "instance",
        "123456789012",
        "failure",
    ),
    "autoscaling-eventbridge-launch-failed": Expected(
        Action.TRIGGER,
        f"{SHOP_FRONT}#launch",
        "2026-11-24T11:03:29",
        "error",
        "EC2 Instance Launch Unsuccessful: shop-front: We currently do not have sufficient c7g.large capacity",
        "shop-front",
        "EC2 Auto Scaling",
        "123456789012",
        "EC2 Instance Launch Unsuccessful",
    ),
    "autoscaling-sns-launched": Expected(Action.RESOLVE, f"{SHOP_FRONT}#launch", "2026-11-24T11:19:47.630000"),
    "backup-eventbridge-failed": Expected(
        Action.TRIGGER,
        "arn:aws:dynamodb:eu-west-1:123456789012:table/gift-cards#backup-job",
        "2026-11-24T01:12:47.503000",
        "error",
        "AWS Backup job failed: arn:aws:dynamodb:eu-west-1:123456789012:table/gift-cards: Insufficient privileges",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/gift-cards",
        "DynamoDB",
        "123456789012",
        "AWS Backup job",
    ),
    "backup-sns-completed": Expected(
        Action.RESOLVE,
        "arn:aws:dynamodb:eu-west-1:123456789012:table/gift-cards#backup-job",
        "2026-11-24T08:41:12.377000",
    ),
}
CHANGES = {
    "codepipeline-eventbridge-failed": f"{PIPELINE}#3a61c0f2-7be4-4d19-8c55-90b1e2f7a401",
    "codepipeline-sns-failed": f"{PIPELINE}#3a61c0f2-7be4-4d19-8c55-90b1e2f7a401",
    "codepipeline-eventbridge-succeeded": f"{PIPELINE}#b8d204e9-15fa-4c63-a7d0-6e3f9c18b502",
    "codebuild-eventbridge-failed": f"{PROJECT}#d1e0f6b3-2c47-4a85-93be-5f70c8a91e11",
    "codebuild-eventbridge-succeeded": f"{PROJECT}#e2f107c4-3d58-4b96-a4cf-6081d9ba2f22",
    "codedeploy-eventbridge-failed": f"{DEPLOYMENT_GROUP}#d-LMP4T7Q2X",
    "codedeploy-sns-failed": f"{DEPLOYMENT_GROUP}#d-LMP4T7Q2X",
    "codedeploy-eventbridge-succeeded": f"{DEPLOYMENT_GROUP}#d-LMP8V1R5Z",
    "ecs-eventbridge-failed": f"{SERVICE}#ecs-svc/4471902835610927346",
    "ecs-eventbridge-completed": f"{SERVICE}#ecs-svc/5580113946721038457",
}
"""The samples above that are a change event too, and its identity."""
IGNORED = {
    "codepipeline-eventbridge-started": Ignored(SkipReason.NOTICE, "shop-front-release: STARTED"),
    "codebuild-eventbridge-phase": Ignored(SkipReason.NOTICE, "CodeBuild Build Phase Change"),
    "codedeploy-eventbridge-instance": Ignored(SkipReason.NOTICE, "CodeDeploy Instance State-change Notification"),
    "ecs-eventbridge-in-progress": Ignored(SkipReason.NOTICE, "checkout: SERVICE_DEPLOYMENT_IN_PROGRESS"),
    "ecs-eventbridge-task": Ignored(SkipReason.NOTICE, "ECS Task State Change"),
    "cloudwatch-eventbridge-insufficient-data": Ignored(SkipReason.INSUFFICIENT_DATA, "orders-db-connections"),
    "cloudwatch-eventbridge-muted": Ignored(SkipReason.SUPPRESSED, "orders-db-connections"),
    "cloudwatch-eventbridge-contributors-alarm": Ignored(SkipReason.TOLD_BY_CONTRIBUTORS, "parcel-tables-throttle"),
    "notice-scheduled-event": Ignored(SkipReason.NOTICE, "Scheduled Event"),
    "notice-subscription-test": Ignored(SkipReason.TEST_MESSAGE, "test_message"),
    "rds-eventbridge-stopped": Ignored(SkipReason.NOTICE, "RDS-EVENT-0087"),
    "autoscaling-sns-test": Ignored(SkipReason.TEST_MESSAGE, "autoscaling:TEST_NOTIFICATION"),
    "backup-eventbridge-running": Ignored(SkipReason.NOTICE, "AWS Backup job RUNNING"),
}


def test_every_sample_is_in_a_table_here() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == ALERTS.keys() | IGNORED.keys()


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_is_read_by_the_source_that_its_name_says(name: str, expected: Expected) -> None:
    alert, *_ = parse_alerts(sample(name))

    assert alert.origin == name.partition("-")[0]
    assert dedup_key_of(alert) == expected.dedup_key
    assert alert.observed_at == datetime.fromisoformat(expected.observed_at).replace(tzinfo=UTC)


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_becomes_the_event_that_its_name_says(name: str, expected: Expected) -> None:
    alert, *_ = parse_alerts(sample(name))
    event = event_of(alert, DEFAULT)
    payload = event.payload

    assert event.action is expected.action
    assert event.dedup_key == (None if expected.action is Action.CHANGE else expected.dedup_key)
    if payload is None:
        assert expected.severity is None
        return
    assert payload.severity == expected.severity
    assert payload.summary.startswith(expected.summary)
    assert payload.source == expected.source
    assert (payload.component, payload.group, payload.class_) == (expected.component, expected.group, expected.class_)


@pytest.mark.parametrize("name", ALERTS)
def test_a_sample_is_a_change_event_besides_where_the_table_says_so(name: str) -> None:
    changes = parse_alerts(sample(name))[1:]

    assert [change.fingerprint for change in changes] == ([CHANGES[name]] if name in CHANGES else [])
    assert all(change.is_change for change in changes)


@pytest.mark.parametrize("name", ALERTS)
def test_pagerduty_accepts_every_sample_without_a_warning(name: str) -> None:
    for alert in parse_alerts(sample(name)):
        pagerduty = PagerDuty(lambda: 0.0)
        event = event_of(alert, DEFAULT)
        path = "/v2/change/enqueue" if event.action is Action.CHANGE else "/v2/enqueue"

        answer = pagerduty.handle("POST", path, encode({"routing_key": "0" * 32, **event.body()}))

        assert answer.status == 202
        assert pagerduty.requests[0].warnings == ()


@pytest.mark.parametrize(("name", "expected"), IGNORED.items(), ids=IGNORED.keys())
def test_a_sample_that_pages_nobody_says_why(name: str, expected: Ignored) -> None:
    assert parse(sample(name)) == [expected]


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED])
def test_a_sample_is_read_alike_out_of_a_dead_letter(name: str) -> None:
    """A redrive brings back what could not be read, once the fault is mended."""
    for record in split(sample(name)):
        letter = {"eventSource": "aws:sqs", "body": json.dumps({"record": record, "error": "no target"})}

        assert parse(letter) == parse(record)
        assert all(isinstance(found, Alert | Ignored) for found in parse(letter))


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED])
def test_a_sample_has_a_time_of_its_own(name: str) -> None:
    """All but direct invocations, which are published when they arrive."""
    for record in split(sample(name)):
        assert (unwrap(record, ARRIVED_AT).published_at == ARRIVED_AT) is ("-direct" in name)
