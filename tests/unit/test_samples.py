"""The sample invocations of `events/`, the ones that `sam local invoke` uses: each is what its name says."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from handler.alert import Alert, Ignored, Severity
from handler.envelope import split, unwrap
from handler.errors import NotAnAlertError
from handler.events import Action, Event, dedup_key_of, encode
from handler.outcome import SkipReason
from local.simulator.pagerduty import PagerDuty
from tests.alerts import ARRIVED_AT, EVENTS, parse, parse_alert, sample

ALARM = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm"
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
IGNORED = {
    "cloudwatch-eventbridge-insufficient-data": Ignored(SkipReason.INSUFFICIENT_DATA, "orders-db-connections"),
    "cloudwatch-eventbridge-muted": Ignored(SkipReason.SUPPRESSED, "orders-db-connections"),
    "rds-eventbridge-stopped": Ignored(SkipReason.NOTICE, "RDS-EVENT-0087"),
    "autoscaling-sns-test": Ignored(SkipReason.TEST_MESSAGE, "autoscaling:TEST_NOTIFICATION"),
    "backup-eventbridge-running": Ignored(SkipReason.NOTICE, "AWS Backup job RUNNING"),
}
REFUSED = {"not-an-alert"}


def test_every_sample_is_in_a_table_here() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == ALERTS.keys() | IGNORED.keys() | REFUSED


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_is_read_by_the_source_that_its_name_says(name: str, expected: Expected) -> None:
    alert = parse_alert(sample(name))

    assert alert.origin == name.partition("-")[0]
    assert dedup_key_of(alert) == expected.dedup_key
    assert alert.observed_at == datetime.fromisoformat(expected.observed_at).replace(tzinfo=UTC)


@pytest.mark.parametrize(("name", "expected"), ALERTS.items(), ids=ALERTS.keys())
def test_a_sample_becomes_the_event_that_its_name_says(name: str, expected: Expected) -> None:
    event = Event.of(parse_alert(sample(name)), DEFAULT)
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
def test_pagerduty_accepts_every_sample_without_a_warning(name: str) -> None:
    pagerduty = PagerDuty(lambda: 0.0)
    event = Event.of(parse_alert(sample(name)), DEFAULT)
    path = "/v2/change/enqueue" if event.action is Action.CHANGE else "/v2/enqueue"

    answer = pagerduty.handle("POST", path, encode({"routing_key": "0" * 32, **event.body()}))

    assert answer.status == 202
    assert pagerduty.requests[0].warnings == ()


@pytest.mark.parametrize(("name", "expected"), IGNORED.items(), ids=IGNORED.keys())
def test_a_sample_that_pages_nobody_says_why(name: str, expected: Ignored) -> None:
    assert parse(sample(name)) == [expected]


@pytest.mark.parametrize("name", REFUSED)
def test_a_sample_of_no_source_is_refused(name: str) -> None:
    with pytest.raises(NotAnAlertError):
        parse(sample(name))


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED])
def test_a_sample_is_read_alike_out_of_a_dead_letter(name: str) -> None:
    """A redrive brings back what could not be read, once the fault is mended."""
    for record in split(sample(name)):
        letter = {"eventSource": "aws:sqs", "body": json.dumps({"record": record, "error": "no target"})}

        (found,) = parse(letter)
        (directly,) = parse(record)
        assert found == directly
        assert isinstance(found, Alert | Ignored)


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED, *REFUSED])
def test_a_sample_has_a_time_of_its_own(name: str) -> None:
    """All but a direct invocation, which is published when it arrives."""
    for record in split(sample(name)):
        assert (unwrap(record, ARRIVED_AT).published_at == ARRIVED_AT) is (name == "native-direct")
