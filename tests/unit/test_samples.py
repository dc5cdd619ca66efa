"""The sample invocations of `events/`, the ones that `sam local invoke` uses: each is what its name says."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from handler.alert import Alert, Ignored, Severity
from handler.envelope import split, unwrap
from handler.events import Action, Event, dedup_key_of, encode
from handler.outcome import SkipReason
from local.simulator.pagerduty import PagerDuty
from tests.alerts import ARRIVED_AT, EVENTS, parse, parse_alert, sample

ALARM = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm"
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
}
IGNORED = {
    "cloudwatch-eventbridge-insufficient-data": Ignored(SkipReason.INSUFFICIENT_DATA, "orders-db-connections"),
    "cloudwatch-eventbridge-muted": Ignored(SkipReason.SUPPRESSED, "orders-db-connections"),
    "cloudwatch-eventbridge-contributors-alarm": Ignored(SkipReason.TOLD_BY_CONTRIBUTORS, "parcel-tables-throttle"),
    "notice-scheduled-event": Ignored(SkipReason.NOTICE, "Scheduled Event"),
    "notice-subscription-test": Ignored(SkipReason.TEST_MESSAGE, "test_message"),
}


def test_every_sample_is_in_a_table_here() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == ALERTS.keys() | IGNORED.keys()


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


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED])
def test_a_sample_is_read_alike_out_of_a_dead_letter(name: str) -> None:
    """A redrive brings back what could not be read, once the fault is mended."""
    for record in split(sample(name)):
        letter = {"eventSource": "aws:sqs", "body": json.dumps({"record": record, "error": "no target"})}

        (found,) = parse(letter)
        (directly,) = parse(record)
        assert found == directly
        assert isinstance(found, Alert | Ignored)


@pytest.mark.parametrize("name", [*ALERTS, *IGNORED])
def test_a_sample_has_a_time_of_its_own(name: str) -> None:
    """All but direct invocations, which are published when they arrive."""
    for record in split(sample(name)):
        assert (unwrap(record, ARRIVED_AT).published_at == ARRIVED_AT) is ("-direct" in name)
