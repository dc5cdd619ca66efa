"""CloudWatch alarms: one dedup key per alarm on every path; muted alarms, and those without data, page nobody."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from handler import sources
from handler.alert import (
    Alert,
    Ignored,
    Status,
    WhenUndetermined,
)
from handler.envelope import unwrap
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.mapping import event_of
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import native
from tests.lab.alerts import (
    ARRIVED_AT,
    parse,
    parse_alert,
    sample,
    shown,
)

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
ARN = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:stock-is-low"


def message(**fields: Any) -> dict[str, Any]:
    """Make the message of a metric alarm; a field of None is left out."""
    alarm = {
        "AlarmName": "stock-is-low",
        "AlarmDescription": "Fewer than ten lamps",
        "AWSAccountId": "123456789012",
        "NewStateValue": "ALARM",
        "NewStateReason": "Threshold Crossed",
        "StateChangeTime": "2026-11-23T06:59:12.640+0000",
        "Region": "EU (Ireland)",
        "AlarmArn": ARN,
        "OldStateValue": "OK",
        "Trigger": {"MetricName": "Lamps", "Namespace": "Lamplight/Stock", "Dimensions": []},
        **fields,
    }
    return {name: value for name, value in alarm.items() if value is not None}


def by_sns(topic: str = TOPIC, **fields: Any) -> Alert:
    sns = {"TopicArn": topic, "Message": json.dumps(message(**fields)), "Timestamp": "2026-11-23T06:59:13.000Z"}
    return parse_alert({"EventSource": "aws:sns", "Sns": sns})


def change(value: str = "ALARM", /, **detail: Any) -> dict[str, Any]:
    """Make EventBridge's event of the same alarm."""
    return {
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": "123456789012",
        "region": "eu-west-1",
        "time": "2026-11-23T06:59:13Z",
        "resources": [ARN],
        "detail": {
            "alarmName": "stock-is-low",
            "state": {"value": value, "reason": "Threshold Crossed", "timestamp": "2026-11-23T06:59:12.640+0000"},
            "configuration": {
                "description": "Fewer than ten lamps",
                "metrics": [
                    {"metricStat": {"metric": {"name": "Lamps", "namespace": "Lamplight/Stock", "dimensions": {}}}}
                ],
            },
            **detail,
        },
    }


def test_both_paths_give_one_alert() -> None:
    """An alarm wired to SNS and to EventBridge pages once, and the later of the two changes nothing."""
    sns, event = by_sns(), parse_alert(change())

    same = ("fingerprint", "name", "status", "observed_at", "summary", "location", "component", "class_", "client_url")
    assert [getattr(sns, name) for name in same] == [getattr(event, name) for name in same]
    assert sns.labels == event.labels


@pytest.mark.parametrize("name", ["cloudwatch-sns-alarm", "cloudwatch-eventbridge-alarm"])
def test_an_alarm_and_its_end_share_the_fingerprint(name: str) -> None:
    fired, ended = parse_alert(sample(name)), parse_alert(sample(name.replace("alarm", "ok")))

    assert fired.fingerprint == ended.fingerprint
    assert (fired.status, ended.status) == (Status.FIRING, Status.RESOLVED)
    assert fired.observed_at < ended.observed_at


@pytest.mark.parametrize(
    ("topic", "fields", "arn"),
    [
        (TOPIC, {"AlarmArn": None}, ARN),
        (TOPIC, {"AlarmArn": ""}, ARN),
        (TOPIC, {"AlarmArn": " "}, ARN),
        (TOPIC, {"AlarmArn": None, "AWSAccountId": None}, ARN),
        (TOPIC, {"AlarmArn": None, "AWSAccountId": "210987654321"}, ARN.replace("123456789012", "210987654321")),
        (
            TOPIC.replace("aws:sns:eu-west-1", "aws-cn:sns:cn-north-1"),
            {"AlarmArn": None},
            ARN.replace("aws:cloudwatch:eu-west-1", "aws-cn:cloudwatch:cn-north-1"),
        ),
        ("arn:aws:sns:EXAMPLE", {"AlarmArn": None, "Region": "eu-west-1"}, ARN),
    ],
)
def test_an_absent_arn_is_built(topic: str, fields: dict[str, Any], arn: str) -> None:
    """From the topic's region, as `Region` is a long name: the resolve on another path needs the same key."""
    assert by_sns(topic, **fields).fingerprint == arn


def test_an_absent_arn_of_an_event_is_built_from_account_and_region() -> None:
    assert parse_alert({**change(), "resources": []}).fingerprint == ARN


@pytest.mark.parametrize("raw", [message(NewStateValue="INSUFFICIENT_DATA"), change("INSUFFICIENT_DATA")])
def test_insufficient_data_leaves_an_open_incident_alone_unless_told_otherwise(raw: Any) -> None:
    """A setting says what it is; the incident is the alarm's own either way."""
    assert parse(raw) == [Ignored(SkipReason.INSUFFICIENT_DATA, "stock-is-low")]

    record = unwrap(raw, ARRIVED_AT)
    (fired,), (ended,) = (sources.parse(record, when) for when in (WhenUndetermined.TRIGGER, WhenUndetermined.RESOLVE))
    assert isinstance(fired, Alert)
    assert isinstance(ended, Alert)
    assert (fired.status, ended.status) == (Status.FIRING, Status.RESOLVED)
    assert (fired.fingerprint, ended.fingerprint) == (ARN, ARN)


def direct(value: str = "ALARM", /, **detail: Any) -> dict[str, Any]:
    """Make the same alarm's direct action on the function."""
    event = change(value, **detail)
    return {
        "source": "aws.cloudwatch",
        "alarmArn": ARN,
        "accountId": "123456789012",
        "region": "eu-west-1",
        "time": event["detail"]["state"].get("timestamp"),
        "alarmData": event["detail"],
    }


@pytest.mark.parametrize("value", ["ALARM", "OK"])
def test_a_direct_action_gives_the_same_alert(value: str) -> None:
    assert parse_alert(direct(value)) == parse_alert(change(value))


def test_a_direct_action_without_an_arn_is_the_same_alarm() -> None:
    assert parse_alert({**direct(), "alarmArn": ""}).fingerprint == ARN


CONTRIBUTOR = {"id": "c-1", "attributes": {"TableName": "lamps"}}
SUMS_UP = ["2 out of 7 time series evaluated to ALARM", "100+ time series evaluated to ALARM",
           "5 out of 10 contributors evaluated to ALARM"]  # fmt: skip


def contributor_change(value: str = "ALARM", **detail: Any) -> dict[str, Any]:
    event = change(value, alarmContributor=CONTRIBUTOR, **detail)
    return {**event, "detail-type": "CloudWatch Alarm Contributor State Change"}


def test_a_contributor_is_an_incident_of_its_own_on_every_path() -> None:
    """The alarm's ARN and the contributor's id."""
    attributes: dict[str, Any] = {"AlarmContributorId": "c-1", "AlarmContributorAttributes": {"TableName": "lamps"}}
    alerts = [
        parse_alert(contributor_change()),
        by_sns(**attributes),
        parse_alert(direct(alarmContributor=CONTRIBUTOR)),
    ]

    assert {alert.fingerprint for alert in alerts} == {f"{ARN}#c-1"}
    assert {alert.summary for alert in alerts} == {"stock-is-low (lamps): Threshold Crossed"}
    assert {(alert.location, alert.labels["TableName"]) for alert in alerts} == {("lamps", "lamps")}


@pytest.mark.parametrize("reason", SUMS_UP)
def test_an_alarm_whose_contributors_are_notified_of_does_not_page_for_itself(reason: str) -> None:
    """Each contributor pages once, although the parent's notification comes on every path too."""
    told = [Ignored(SkipReason.TOLD_BY_CONTRIBUTORS, "stock-is-low")]

    state = {"value": "ALARM", "reason": reason}
    assert [parse(raw) for raw in (message(NewStateReason=reason), change(state=state), direct(state=state))] == [
        told
    ] * 3


@pytest.mark.parametrize("reason", SUMS_UP)
def test_a_contributor_pages_whatever_its_reason(reason: str) -> None:
    """A log alarm has the summary as the reason of each contributor."""
    assert by_sns(NewStateReason=reason, AlarmContributorId="c-1").status is Status.FIRING


def test_the_end_of_a_parent_is_sent() -> None:
    """It may have fired for want of data, as itself; a resolve too many harms nobody."""
    assert by_sns(NewStateValue="OK", NewStateReason="7 time series evaluated to OK").status is Status.RESOLVED


def configured(operation: str, value: str, time: str = "2026-11-23T06:59:13Z") -> dict[str, Any]:
    event = change(value, operation=operation)
    return {**event, "detail-type": "CloudWatch Alarm Configuration Change", "time": time}


@pytest.mark.parametrize("value", ["ALARM", "INSUFFICIENT_DATA"])
def test_deleting_an_alarm_resolves_what_it_had_opened(value: str) -> None:
    """Nobody else ever will; without data, an incident may still be open."""
    alert = parse_alert(configured("delete", value))

    assert (alert.status, alert.fingerprint) == (Status.RESOLVED, ARN)


def test_a_deletion_comes_after_the_state_change_of_the_same_second() -> None:
    """EventBridge cuts the fraction off the time of the deletion."""
    fired = parse_alert(change())

    assert parse_alert(configured("delete", "ALARM", "2026-11-23T06:59:12Z")).observed_at == fired.observed_at


@pytest.mark.parametrize(("operation", "value"), [("delete", "OK"), ("create", "ALARM"), ("update", "ALARM")])
def test_other_changes_of_an_alarm_page_nobody(operation: str, value: str) -> None:
    assert parse(configured(operation, value)) == [Ignored(SkipReason.NOTICE, "stock-is-low")]


@pytest.mark.parametrize("tags", [{"severity": "P1", "team": "stock"}, [{"Key": "severity", "Value": "P1"},
                         {"Key": "team", "Value": "stock"}, {"Key": "broken"}, 3]], ids=["object", "list"])  # fmt: skip
def test_an_alarms_tags_choose_severity_and_targets(tags: Any) -> None:
    """Where they come; CloudWatch sends none by itself, a rule's input transformer may."""
    for alert in (by_sns(AlarmTags=tags), by_sns(Tags=tags), parse_alert(change(tags=tags))):
        assert alert.severity is Severity.CRITICAL
        assert alert.matching_labels()["team"] == "stock"


@pytest.mark.parametrize(
    "detail",
    [
        {"muteDetail": {"mutedByArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm-mute-rule:stocktaking"}},
        {"state": {"value": "ALARM", "actionsSuppressedBy": "WaitPeriod"}},
    ],
    ids=["muted", "suppressed"],
)
def test_a_muted_or_suppressed_alarm_is_not_paged_but_its_end_is_sent(detail: dict[str, Any]) -> None:
    """EventBridge sends events of muted alarms too. An incident from before the muting must still close."""
    assert parse(change(**detail)) == [Ignored(SkipReason.SUPPRESSED, "stock-is-low")]

    detail = {**detail, "state": {**detail.get("state", {}), "value": "OK"}}
    assert parse_alert(change(**detail)).status is Status.RESOLVED


def test_what_the_alarm_watches_becomes_the_place() -> None:
    dimensions = [{"name": "QueueName", "value": "labels"}, {"value": "eu", "name": "Site"}, {"name": "broken"}, "text"]
    alert = by_sns(Trigger={"MetricName": "Age", "Namespace": "AWS/SQS", "Dimensions": dimensions})

    assert alert.location == "labels, eu"
    assert (alert.component, alert.class_, alert.group) == ("AWS/SQS", "Age", "123456789012")
    assert alert.labels == {
        "QueueName": "labels",
        "Site": "eu",
        "namespace": "AWS/SQS",
        "metric": "Age",
        "account": "123456789012",
        "region": "eu-west-1",
        "alertname": "stock-is-low",
    }


def test_metric_maths_is_placed_by_its_first_metric() -> None:
    alert = parse_alert(sample("cloudwatch-sns-metric-math"))

    assert (alert.component, alert.class_, alert.location) == ("AWS/Lambda", "Errors", "gift-cards")


def test_a_composite_alarm_is_placed_by_its_arn() -> None:
    alert = parse_alert(sample("cloudwatch-sns-composite"))

    assert (alert.component, alert.class_) == ("", "")
    assert alert.location == alert.fingerprint


@pytest.mark.parametrize(
    "fields",
    [
        {"AlarmDescription": None},
        {"Trigger": None},
        {"Trigger": "text"},
        {"Trigger": {"Metrics": "text", "Dimensions": {}}},
        {"Trigger": {"Metrics": [{"MetricStat": {}}, {"MetricStat": {"Metric": []}}, {"Expression": "1"}, 3]}},
        {"Trigger": {"Metrics": [{"MetricStat": {"Metric": {"Namespace": None, "Dimensions": "text"}}}]}},
        {"NewStateReasonData": {"version": "1.0"}},
        {"NewStateReason": None, "OldStateValue": None, "Region": None},
        {"StateChangeTime": ""},
        {"StateChangeTime": "soon"},
    ],
)
def test_what_an_alarm_leaves_out_or_garbles_beside_its_name_and_state_does_not_stop_the_page(
    fields: dict[str, Any],
) -> None:
    assert by_sns(**fields).fingerprint == ARN


def test_null_is_the_same_as_left_out() -> None:
    nulls = dict.fromkeys(["AlarmDescription", "AWSAccountId", "Region", "Trigger", "OldStateValue", "StateChangeTime"])
    sns = {"TopicArn": TOPIC, "Message": json.dumps({**message(), **nulls}), "Timestamp": "2026-11-23T06:59:13.000Z"}

    assert parse_alert({"EventSource": "aws:sns", "Sns": sns}).fingerprint == ARN


def test_without_a_time_of_change_the_publication_counts() -> None:
    assert by_sns(StateChangeTime=None).observed_at.isoformat() == "2026-11-23T06:59:13+00:00"


@pytest.mark.parametrize("time", ["2026-11-23T06:59:12.640+0000", "2026-11-23T06:59:12.640Z"])
def test_both_spellings_of_a_time_are_read(time: str) -> None:
    assert by_sns(StateChangeTime=time).observed_at.isoformat() == "2026-11-23T06:59:12.640000+00:00"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (message(AlarmName=" "), "AlarmName"),
        (message(AlarmName=["hunter2"]), "AlarmName"),
        (message(NewStateValue="hunter2"), "state"),
        (message(NewStateValue=3), "NewStateValue"),
        (message(AlarmArn=["hunter2"]), "AlarmArn"),
        (change("hunter2"), "state"),
        (change(state=None), "state"),
        (change(state={}), "state.value"),
        (change(alarmName=None), "alarmName"),
        ({**change(), "detail": "hunter2"}, "CloudWatch alarm: value"),
        ({**change(), "detail": {}}, "alarmName"),
    ],
)
def test_a_damaged_alarm_is_named_without_its_values(raw: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        parse(raw)

    assert "hunter2" not in shown(refused.value)


def test_the_name_of_an_alarm_alone_is_no_alarm() -> None:
    with pytest.raises(NotAnAlertError):
        parse({"AlarmName": "stock-is-low"})


@pytest.mark.parametrize("name", ["stock is low", "stock/lamps", "stock#lamps&x=y", 'stock "low"', "lämpchen"])
def test_any_alarm_name_gives_a_link_that_pagerduty_takes(name: str) -> None:
    alert = by_sns(AlarmName=name, AlarmArn=f"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:{name}")

    body = event_of(alert, Severity.ERROR).body()

    assert body["client_url"].endswith(f"#alarmsV2:alarm/{quote(name, safe='')}")
    assert body["links"][0]["href"] == body["client_url"]


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ("aws", "", "console.aws.amazon.com"),
    ],
)
def test_every_partition_has_a_console_of_its_own(partition: str, region: str, host: str) -> None:
    alert = by_sns(AlarmArn=f"arn:{partition}:cloudwatch:{region}:123456789012:alarm:stock-is-low")

    assert alert.client_url.startswith(f"https://{host}/cloudwatch/home?region={region}#")


def test_a_region_that_is_a_long_name_gives_no_broken_link() -> None:
    """Without an ARN and a topic, all that is known of the region is "EU (Ireland)": PagerDuty refuses such a host."""
    body = event_of(parse_alert(message(AlarmArn=None)), Severity.ERROR).body()

    assert "links" not in body
    assert "client_url" not in body


def test_a_dimension_called_severity_is_the_severity() -> None:
    trigger = {"MetricName": "Age", "Namespace": "Lamplight", "Dimensions": [{"name": "severity", "value": "P1"}]}

    assert by_sns(Trigger=trigger).severity is Severity.CRITICAL
    assert by_sns(Trigger=trigger).matching_labels()["severity"] == "critical"


@pytest.mark.parametrize(
    "name",
    ["sns-alarm", "sns-ok", "sns-metric-math", "sns-composite", "eventbridge-alarm", "eventbridge-ok"],
)
def test_an_alarm_survives_the_queue(name: str) -> None:
    alert = parse_alert(sample(f"cloudwatch-{name}"))

    assert parse_alert(json.loads(json.dumps(native.dump(alert)))) == alert


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"AlarmName": "checkout-SEV1"}, Severity.CRITICAL),
        ({"AlarmName": "p3-queue"}, Severity.WARNING),
        ({"AlarmName": "latency-p99"}, None),
        ({"AlarmName": "sev10"}, None),
        ({"AlarmName": "step3"}, None),
        ({"AlarmDescription": "SEV-2: orders are slow"}, Severity.ERROR),
        ({"AlarmDescription": "Prio P1."}, Severity.CRITICAL),
        ({"AlarmDescription": "the p5 of the latency"}, None),
        ({"AlarmDescription": "Severity: High\nCall Ines"}, Severity.ERROR),
        ({"AlarmDescription": json.dumps({"severity": "critical", "team": "a"})}, Severity.CRITICAL),
        ({"AlarmDescription": json.dumps({"page": {"Severity": "warning"}})}, Severity.WARNING),
        ({"AlarmDescription": json.dumps({"priority": 2})}, Severity.ERROR),
        ({"AlarmDescription": "*Severity*: critical"}, Severity.CRITICAL),
        ({"AlarmName": "[CRITICAL] till is silent"}, Severity.CRITICAL),
        ({"AlarmName": "warning: till is silent"}, Severity.WARNING),
        ({"AlarmName": "till-is-silent-warning"}, Severity.WARNING),
        ({"AlarmName": "critical-path-latency"}, None),
        ({"AlarmDescription": '{"severity": '}, None),
        ({"AlarmDescription": json.dumps({"severity": "info"}), "AlarmName": "a-SEV1"}, Severity.INFO),
        ({"AlarmTags": [{"Key": "Severity", "Value": "error"}], "AlarmName": "a-SEV1"}, Severity.ERROR),
    ],
)
def test_the_severity_is_that_of_the_tags_or_written_into_the_alarm(fields: Any, severity: Severity | None) -> None:
    assert by_sns(**fields).severity is severity
    assert by_sns(**fields, NewStateValue="OK").severity is severity


def test_addresses_in_the_description_are_links() -> None:
    description = (
        "Few lamps.\nRunbook: https://wiki.lamplight.example/lamps\n[board](https://grafana.lamplight.example/d/1)"
    )

    links = by_sns(AlarmDescription=description).links
    assert [(link.href, link.text) for link in links[1:]] == [
        ("https://wiki.lamplight.example/lamps", "Runbook"),
        ("https://grafana.lamplight.example/d/1", "board"),
    ]
