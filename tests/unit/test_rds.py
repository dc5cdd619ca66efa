"""RDS: an event opens a problem, or ends those that it solves, on every path; the rest is ignored."""

import json
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.envelope import unwrap
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import native, rds
from handler.sources.registry import source_of
from tests.lab.alerts import (
    ARRIVED_AT,
    on_topic,
    parse,
    parse_alert,
    sample,
    shown,
    with_detail,
)

LOW = sample("rds-eventbridge-low-storage")
RECOVERING = json.loads(sample("rds-sns-recovering")["Records"][0]["Sns"]["Message"])
ARN = LOW["resources"][0]
GUIDE = "http://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html"


def event(number: str, *categories: str, **detail: Any) -> Any:
    return with_detail(LOW, EventID=f"RDS-EVENT-{number}", EventCategories=list(categories), **detail)


def notification(number: str, **fields: Any) -> Any:
    message = {**RECOVERING, "Event ID": f"{GUIDE}#RDS-EVENT-{number}", **fields}
    return on_topic({name: value for name, value in message.items() if value is not ...})


def keys(raw: Any) -> dict[str, Status]:
    """Return what becomes of each problem of the one database."""
    alerts = [found for found in parse(raw) if isinstance(found, Alert)]
    return {alert.fingerprint.removeprefix(f"{ARN}#"): alert.status for alert in alerts}


def test_a_problem_and_its_end_share_the_fingerprint_on_every_path() -> None:
    low, added = parse_alert(LOW), parse_alert(sample("rds-sns-storage-added"))

    assert low.fingerprint == added.fingerprint == f"{ARN}#low storage"
    assert (low.status, added.status) == (Status.FIRING, Status.RESOLVED)
    assert low.observed_at < added.observed_at


@pytest.mark.parametrize("number", ["0089", "0013", "0021"])
def test_both_paths_give_one_alert(number: str) -> None:
    at = {"Date": "2026-11-24T21:04:12.874Z", "Message": RECOVERING["Event Message"]}
    by_event, told = parse_alert(event(number, **at)), parse_alert(notification(number))

    same = (
        "fingerprint",
        "name",
        "status",
        "starts_at",
        "severity",
        "summary",
        "location",
        "component",
        "client_url",
    )
    assert [getattr(told, name) for name in same] == [getattr(by_event, name) for name in same]
    assert told.labels == by_event.labels
    assert parse_alert(on_topic(LOW)) == parse_alert(LOW)


@pytest.mark.parametrize(
    ("problem", "opened_by", "ended_by"),
    [
        ("failure", "0020 0022 0031 0035 0036 0052", "0006 0021 0053 0088"),
        ("low storage", "0007 0089 0221 0222 0223 0224 0227 0254", "0017 0218"),
        ("failover", "0013 0069 0070 0072 0073 0181 0187", "0015 0049 0051 0065 0071 0185 0186"),
        ("replication", "0045 0057", "0046"),
        ("log volume", "0330 0331", "0332"),
        ("encryption key", "0418 0419", "0420"),
        ("support perimeter", "0165", "0166"),
    ],
)
def test_a_recovery_ends_exactly_what_it_solves(problem: str, opened_by: str, ended_by: str) -> None:
    """And what targets may match on is the same in both, so that the resolve finds the target that opened."""
    opened = [parse_alert(event(number)) for number in opened_by.split()]
    ended = [parse_alert(event(number)) for number in ended_by.split()]

    assert {(alert.fingerprint, alert.status) for alert in opened} == {(f"{ARN}#{problem}", Status.FIRING)}
    assert {(alert.fingerprint, alert.status) for alert in ended} == {(f"{ARN}#{problem}", Status.RESOLVED)}
    assert len({str({**alert.matching_labels(), "status": ""}) for alert in [*opened, *ended]}) == 1


@pytest.mark.parametrize("number", ["0003", "0171"])
def test_what_is_deleted_has_no_problems_left(number: str) -> None:
    problems = [
        "failure",
        "low storage",
        "failover",
        "replication",
        "log volume",
        "encryption key",
        "support perimeter",
    ]

    assert keys(event(number)) == dict.fromkeys(problems, Status.RESOLVED)


@pytest.mark.parametrize("raw", [event("0058", "failure"), event("0058"), notification("0058")])
def test_a_failure_that_nothing_ends_is_known_by_its_id(raw: Any) -> None:
    alert = parse_alert(raw)

    assert (alert.fingerprint, alert.name) == (f"{ARN}#RDS-EVENT-0058", "RDS-EVENT-0058")
    assert (alert.status, alert.severity) == (Status.FIRING, Severity.ERROR)


def test_a_known_failure_opens_its_problem_alone() -> None:
    """Not one of its id as well, though its category says failure."""
    assert keys(event("0031", "failure")) == {"failure": Status.FIRING}
    assert keys(event("0223", "failure")) == {"low storage": Status.FIRING}


def test_an_unknown_event_is_a_failure_where_its_category_says_so() -> None:
    assert keys(event("9999", "maintenance", "failure")) == {"RDS-EVENT-9999": Status.FIRING}
    assert parse(event("9999", "maintenance")) == [Ignored(SkipReason.NOTICE, "RDS-EVENT-9999")]
    assert parse(notification("9999")) == [Ignored(SkipReason.NOTICE, "RDS-EVENT-9999")]


def test_a_key_that_can_be_used_again_is_good_news_though_its_category_says_failure() -> None:
    assert keys(event("0420", "failure")) == {"encryption key": Status.RESOLVED}


@pytest.mark.parametrize(
    ("message", "is_failure"),
    [
        ("The DB engine version upgrade failed. The engine version upgrade rollback succeeded.", True),
        ("Unable to convert the DB instance to Multi-AZ: in-memory file groups", True),
        ("RDS Custom couldn't modify the DB instance because the pre-check failed.", True),
        ("The DB instance can't be created because of insufficient resource limits.", True),
        ("Abandoning user requested failover since a failover recently occurred.", False),
        ("The engine version upgrade finished.", False),
        ("Recovered from partial failover.", False),
    ],
)
def test_the_message_of_an_event_that_no_table_has_tells_a_failure(message: str, is_failure: bool) -> None:
    """A subscription's has no category, and an upgrade that failed is of the category maintenance."""
    expected = {"RDS-EVENT-9999": Status.FIRING} if is_failure else {}
    assert keys(notification("9999", **{"Event Message": message})) == expected
    assert keys(event("9999", "maintenance", Message=message)) == expected


@pytest.mark.parametrize("number", ["0219", "0220", "0237"])
def test_a_failure_that_needs_no_action_is_a_notice(number: str) -> None:
    assert parse(event(number, "failure")) == [Ignored(SkipReason.NOTICE, f"RDS-EVENT-{number}")]


def test_a_shutdown_is_a_notice() -> None:
    """It goes with every reboot, stop and failover."""
    assert parse(event("0004", "availability")) == [Ignored(SkipReason.NOTICE, "RDS-EVENT-0004")]


def test_the_time_of_a_message_is_utc_though_it_does_not_say_so() -> None:
    """It is shown; the time of publishing orders."""
    alert = parse_alert(notification("0020"))
    assert alert.starts_at
    assert alert.starts_at.isoformat() == "2026-11-24T21:04:12.874000+00:00"
    assert alert.observed_at.isoformat() == "2026-11-29T12:00:00+00:00"
    assert parse_alert(notification("0020", **{"Event Time": "soon"})).starts_at is None


def test_a_database_without_an_arn_is_known_by_account_region_kind_and_name() -> None:
    key = "rds:123456789012:eu-west-1:instance:orders-db-1#low storage"

    assert parse_alert({**event("0089", SourceArn=...), "resources": []}).fingerprint == key
    assert parse_alert(event("0089", SourceArn=...)).fingerprint == f"{ARN}#low storage"
    assert parse_alert(notification("0089", **{"Source ARN": ...})).fingerprint == key
    assert parse_alert(event("0089", SourceIdentifier=None)).location == "orders-db-1"


@pytest.mark.parametrize(
    ("event_side", "message_side", "component"),
    [
        ("DB_INSTANCE", "db-instance", "instance"),
        ("CLUSTER", "db-cluster", "cluster"),
        ("DB_PROXY", "db-proxy", "proxy"),
    ],
)
def test_both_paths_call_a_kind_alike(event_side: str, message_side: str, component: str) -> None:
    assert parse_alert(event("0089", SourceType=event_side)).component == component
    assert parse_alert(notification("0089", **{"Event Source": message_side})).component == component


def test_what_targets_match_on_and_what_is_shown() -> None:
    alert = parse_alert(LOW)

    assert alert.labels == {
        "account": "123456789012",
        "region": "eu-west-1",
        "database": "orders-db-1",
        "source_type": "instance",
        "problem": "low storage",
    }
    assert alert.details["tags"] == {"team": "orders"}
    assert alert.details["event_id"] == "RDS-EVENT-0089"


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("DB_INSTANCE", "#database:id=orders-db-1;is-cluster=false"),
        ("CLUSTER", "#database:id=orders-db-1;is-cluster=true"),
        ("DB_PROXY", ""),
    ],
)
def test_links_lead_to_the_database_and_to_what_the_event_means(kind: str, fragment: str) -> None:
    alert = parse_alert(event("0089", SourceType=kind))

    home = "https://eu-west-1.console.aws.amazon.com/rds/home?region=eu-west-1"
    assert alert.client_url == home + fragment
    assert alert.links[1].href.endswith("#RDS-EVENT-0089")


@pytest.mark.parametrize(
    "message",
    [
        {"Event Source": "cluster", "Event ID": "http://docs.amazonwebservices.com/redshift#REDSHIFT-EVENT-2000"},
        {"Event Source": "replication-task", "Event ID": "http://docs.aws.amazon.com/dms/#DMS-EVENT-0079"},
        {"Event Source": "db-instance", "Event ID": 3},
        {"Event Source": "db-instance"},
    ],
)
def test_another_services_message_is_left_alone(message: Any) -> None:
    assert source_of(unwrap(on_topic(message), ARRIVED_AT)) is not rds


@pytest.mark.parametrize("kind", ["RDS DB Cluster Event", "RDS DB Proxy Event", "RDS DB Cluster Snapshot Event"])
def test_every_kind_of_event_is_read(kind: str) -> None:
    assert parse_alert({**LOW, "detail-type": kind}) == parse_alert(LOW)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (with_detail(LOW, EventID=...), "EventID"),
        (with_detail(LOW, EventID=["hunter2"]), "EventID"),
        (with_detail({**LOW, "resources": []}, SourceArn=..., SourceIdentifier=...), "SourceArn"),
        ({**LOW, "detail": "hunter2"}, "RDS event"),
    ],
)
def test_a_damaged_event_is_named_without_its_values(raw: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        parse(raw)

    assert "hunter2" not in shown(refused.value)


def test_an_event_survives_the_queue() -> None:
    alert = parse_alert(LOW)

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert
