"""The catalog: each row with its samples, its words and its place in the documentation."""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.envelope import split, unwrap
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.sources import catalog
from handler.sources.catalog.events import EVENTS
from handler.sources.catalog.messages import MESSAGES
from handler.sources.catalog.row import Meaning, Row
from handler.sources.registry import DETAIL_TYPES
from handler.sources.words.states import state_word
from tests.lab.alerts import ARRIVED_AT, on_topic, parse, parse_alert, sample, with_detail
from tests.lab.alerts import EVENTS as SAMPLES
from tools import catalog_table

ROWS = [*EVENTS.items(), *((shape.name, shape.row) for shape in MESSAGES)]
HAS_NO_BAD_SAMPLE = {
    "AWS Console Action via CloudTrail",
    "AWS Insight via CloudTrail",
    "Elastic Beanstalk resource status change",
    "Other resource status change",
    "Synthetics Canary TestRun Successful",
    "Email Delivered",
    "Email Sent",
    "Email Opened",
    "Email Clicked",
    "Email Subscribed",
}
"""As another row in all but the name, or events of which AWS sends the other half under another name."""


def outcomes() -> Iterator[tuple[str, str, list[Alert | Ignored]]]:
    """Yield what each sample is, by the name of its row, and what becomes of it."""
    for path in sorted(SAMPLES.glob("*.json")):
        for raw in split(sample(path.stem)):
            record = unwrap(raw, ARRIVED_AT)
            shape = next((shape.name for shape in MESSAGES if not record.detail_type and shape.is_one(record)), "")
            yield path.stem, record.detail_type or shape, catalog.parse(record)


OUTCOMES = [(name, kind, found) for name, kind, found in outcomes() if found]


def statuses(kind: str) -> set[Status]:
    return {each.status for _, name, found in OUTCOMES if name == kind for each in found if isinstance(each, Alert)}


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[kind for kind, _ in ROWS])
def test_a_row_that_pages_has_a_sample_that_does(kind: str, row: Row) -> None:
    if row.otherwise is Meaning.BAD and kind not in HAS_NO_BAD_SAMPLE:
        assert Status.FIRING in statuses(kind)


RESOLVED_BY_ANOTHER = {
    "Synthetics Canary TestRun Failure": "Synthetics Canary TestRun Successful",
    "Glue Job Run Status": "Glue Job State Change",
    "Synthetics Canary TestRun Successful": "Synthetics Canary TestRun Failure",
    "Config compliance change": "Config Rules Compliance Change",
    "CloudFormation Resource Status Change": "CloudFormation Stack Status Change",
    "Managed update status change": "Health status change",
    "Elastic Beanstalk resource status change": "Health status change",
    "Other resource status change": "Health status change",
}


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[kind for kind, _ in ROWS])
def test_a_row_that_resolves_has_a_sample_that_does_with_the_key_of_its_trigger(kind: str, row: Row) -> None:
    if not row.good:
        return
    kinds = {kind, RESOLVED_BY_ANOTHER.get(kind, kind)}
    keys: dict[Status, set[str]] = {status: set() for status in Status}
    for _, name, found in OUTCOMES:
        for alert in found if name in kinds else ():
            if isinstance(alert, Alert) and not alert.is_change:
                keys[alert.status].add(alert.fingerprint)
    assert keys[Status.FIRING] & keys[Status.RESOLVED]


def test_thirty_types_and_more_are_known() -> None:
    assert len({row.name for _, row in ROWS}) > 60


def test_no_type_is_both_a_row_and_a_module() -> None:
    assert not EVENTS.keys() & DETAIL_TYPES.keys()


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[kind for kind, _ in ROWS])
def test_the_states_of_a_row_are_spelled_as_they_are_looked_up_and_mean_one_thing(kind: str, row: Row) -> None:
    states = [*row.bad, *row.good, *row.progress, *row.notice, *row.changes]
    assert len(set(states)) == len(states)
    assert [state_word(state) for state in states] == states
    assert row.severities.keys() <= set(row.bad) | {"CANCELED"}
    assert row.id or row.otherwise is Meaning.NOTICE


@pytest.mark.parametrize("name", sorted({name for name, _, _ in OUTCOMES}))
def test_a_sample_is_ordered_by_when_it_was_published(name: str) -> None:
    for raw in split(sample(name)):
        record = unwrap(raw, ARRIVED_AT)
        found = [each for each in catalog.parse(record) if isinstance(each, Alert)]
        assert all(alert.observed_at == record.published_at for alert in found)


@pytest.mark.parametrize(
    "name",
    [
        *("glue-eventbridge-job-succeeded", "stepfunctions-eventbridge-running", "batch-eventbridge-succeeded"),
        *("ec2-eventbridge-running", "inspector2-eventbridge-closed", "dlm-eventbridge-enabled"),
        *("accessanalyzer-eventbridge-unused-resolved", "trustedadvisor-eventbridge-ok"),
    ],
)
def test_a_state_that_no_row_knows_pages_with_its_name(name: str) -> None:
    event = sample(name)
    row = EVENTS[event["detail-type"]]
    assert isinstance(row.state, str)
    alert = parse_alert(with_detail(event, **{row.state: "Melted down"}))
    assert alert.status is Status.FIRING
    assert "Melted down" in alert.summary


@pytest.mark.parametrize("name", ["glue-eventbridge-job-succeeded", "batch-eventbridge-succeeded"])
def test_a_missing_state_pages(name: str) -> None:
    event = sample(name)
    row = EVENTS[event["detail-type"]]
    assert isinstance(row.state, str)
    assert parse_alert(with_detail(event, **{row.state: ...})).status is Status.FIRING


@pytest.mark.parametrize("detail", [{}, None, [], "text", {"state": {"a": 1}}])
@pytest.mark.parametrize("detail_type", sorted(kind for kind, row in EVENTS.items() if row.otherwise is Meaning.BAD))
def test_a_damaged_event_pages_by_itself(detail_type: str, detail: Any) -> None:
    """Two of them with different contents are two incidents."""

    def found(**fields: Any) -> Any:
        row = EVENTS[detail_type]
        event = {"detail-type": detail_type, "source": row.source, "detail": detail, **fields}
        return catalog.parse(unwrap(event, ARRIVED_AT))

    (one,), (other,) = found(account="1"), found(account="2")
    if isinstance(one, Alert):
        assert one.summary.strip()
        assert one.fingerprint != other.fingerprint
    else:
        assert one.name


def test_an_event_of_another_source_that_has_the_same_type_is_not_taken_for_it() -> None:
    event = {**sample("s3-eventbridge-created"), "source": "lamplight.warehouse"}
    assert parse_alert(event).origin == "generic"


@pytest.mark.parametrize("change", [{"jobName": "another"}, {"jobName": 7}])
def test_another_thing_is_another_incident(change: dict[str, Any]) -> None:
    event = sample("glue-eventbridge-job-failed")
    assert parse_alert(event).fingerprint != parse_alert(with_detail(event, **change)).fingerprint
    assert parse_alert(event).fingerprint != parse_alert({**event, "account": "210987654321"}).fingerprint


def test_an_event_is_the_same_by_a_rule_and_by_a_topic() -> None:
    event = sample("stepfunctions-eventbridge-failed")
    assert parse_alert(event) == dataclasses.replace(parse_alert(on_topic(event)), message_id=event["id"])


def test_the_severity_of_the_event_goes_before_that_of_its_state_and_of_the_row() -> None:
    assert parse_alert(sample("inspector2-eventbridge-active")).severity is Severity.ERROR
    untriaged = with_detail(sample("inspector2-eventbridge-active"), severity="UNTRIAGED")
    assert parse_alert(untriaged).severity is Severity.ERROR
    stopped = with_detail(sample("glue-eventbridge-job-failed"), state="STOPPED")
    assert parse_alert(stopped).severity is Severity.WARNING
    assert parse_alert(sample("s3-eventbridge-created")).severity is None


def test_a_message_of_another_account_is_of_that_account_even_on_a_central_topic() -> None:
    event = sample("config-sns-non-compliant")
    other = sample("config-sns-non-compliant")
    sns = other["Records"][0]["Sns"]
    sns["Message"] = sns["Message"].replace('"awsAccountId":"123456789012"', '"awsAccountId":"210987654321"')
    sns["Message"] = sns["Message"].replace('"awsAccountId": "123456789012"', '"awsAccountId": "210987654321"')
    assert parse_alert(event).labels["account"] == "123456789012"
    assert parse_alert(other).labels["account"] == "210987654321"
    assert parse_alert(event).fingerprint != parse_alert(other).fingerprint


def test_mails_that_were_received_are_told_apart_and_bounces_of_one_recipient_are_not() -> None:
    for name, is_same in (("ses-sns-received", False), ("ses-sns-bounce", True)):
        event, other = sample(name), sample(name)
        sns = other["Records"][0]["Sns"]
        mail = json.loads(sns["Message"])
        mail["mail"]["messageId"] = "another"
        sns["Message"] = json.dumps(mail)
        assert (parse_alert(event).fingerprint == parse_alert(other).fingerprint) is is_same


@pytest.mark.parametrize(
    ("parameters", "end"),
    [
        ({"bucketPolicy": {}, "bucketName": "ledger"}, "; on ledger"),
        ({"groupId": "sg-1", "ipPermissions": {}}, "; on sg-1"),
        ({"domainName": "lamps"}, "; on lamps"),
        (None, "from 198.51.100.21"),
    ],
)
def test_a_call_says_what_it_was_about(parameters: Any, end: str) -> None:
    event = with_detail(sample("cloudtrail-eventbridge-api-call"), requestParameters=parameters)
    assert parse_alert(event).summary.endswith(end)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("RotationAbandoned", Status.FIRING),
        ("TestRotationFailed", Status.FIRING),
        ("RotationSucceeded", Status.RESOLVED),
        ("DeleteKey", Status.FIRING),
        ("RotationStarted", None),
    ],
)
def test_a_services_event_says_in_its_name_how_it_ended(name: str, status: Status | None) -> None:
    (found,) = parse(with_detail(sample("cloudtrail-eventbridge-rotation-failed"), eventName=name))
    assert (found.status if isinstance(found, Alert) else None) is status
    same = (
        isinstance(found, Alert)
        and found.fingerprint == parse_alert(sample("cloudtrail-eventbridge-rotation-failed")).fingerprint
    )
    assert same is (name in ("RotationAbandoned", "RotationSucceeded"))


# --- Rows with a function ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Stop Reason FULL_LOAD_ONLY_FINISHED", Status.RESOLVED),
        ("Stop Reason NORMAL", Status.RESOLVED),
        ("Stop Reason RECOVERABLE_ERROR", Status.FIRING),
        ("", Status.FIRING),
    ],
)
def test_a_replication_task_that_stopped_pages_unless_it_was_done(said: str, status: Status) -> None:
    assert parse_alert(with_detail(sample("dms-eventbridge-stopped"), detailMessage=said)).status is status


def test_a_resource_that_is_gone_complies() -> None:
    gone = with_detail(sample("config-eventbridge-non-compliant"), newEvaluationResult=None)
    assert parse_alert(gone).status is Status.RESOLVED
    unknown = with_detail(sample("config-eventbridge-non-compliant"), newEvaluationResult=...)
    assert parse_alert(unknown).status is Status.FIRING


@pytest.mark.parametrize(
    ("counts", "status"),
    [({"LOW": 1}, Status.RESOLVED), ({"HIGH": 1}, Status.FIRING), (None, Status.FIRING)],
)
def test_a_scan_pages_for_what_is_serious(counts: Any, status: Status) -> None:
    event = with_detail(sample("ecr-eventbridge-scan-clean"), **{"finding-severity-counts": counts})
    assert parse_alert(event).status is status


def test_a_stack_that_is_created_again_closes_its_old_incident() -> None:
    failed, done = sample("cloudformation-sns-update-rollback"), sample("cloudformation-sns-update-complete")
    sns = done["Records"][0]["Sns"]
    sns["Message"] = sns["Message"].replace("8d1f5b30-c9a2-11f0-9d24-0ab3c4d5e6f7", "another")
    resolve, change = parse(done)
    assert isinstance(resolve, Alert)
    assert isinstance(change, Alert)
    assert resolve.fingerprint == parse_alert(failed).fingerprint
    assert change.is_change


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_IN_PROGRESS"])
def test_a_resource_of_a_stack_that_is_well_says_nothing_of_the_stack(status: str) -> None:
    event = sample("cloudformation-sns-resource-failed")
    sns = event["Records"][0]["Sns"]
    sns["Message"] = sns["Message"].replace("ResourceStatus='UPDATE_FAILED'", f"ResourceStatus='{status}'")
    (found,) = parse(event)
    assert isinstance(found, Ignored)
    assert found.reason is SkipReason.IN_PROGRESS


def test_a_resource_that_was_only_cancelled_pages_nobody() -> None:
    event = sample("cloudformation-sns-resource-failed")
    sns = event["Records"][0]["Sns"]
    sns["Message"] = sns["Message"].replace("The image lamplight/checkout:412", "Resource update cancelled: it")
    assert isinstance(parse(event)[0], Ignored)


def test_a_deployment_of_beanstalk_is_a_change_event() -> None:
    alert = parse_alert(sample("elasticbeanstalk-sns-deployed"))
    assert alert.is_change


def test_the_key_of_an_object_is_shown_as_people_write_it() -> None:
    assert "2026/november ledger.csv" in parse_alert(sample("s3-sns-removed")).summary


# --- Documentation -------------------------------------------------------------------------------------------------


def test_the_documentation_has_the_catalog() -> None:
    """`PYTHONPATH=src python -m tools.catalog_table --write` brings it up to date."""
    assert catalog_table.documented() == catalog_table.table()


def test_the_table_has_every_event_once_and_every_state_of_it() -> None:
    """Events that are treated alike share a row; a state that the function derives stands there in words."""
    shown: dict[str, list[str]] = {}
    lines = [line.strip("|").split("|") for line in catalog_table.table().splitlines()[2:]]
    for _, _, events, _, *treatment in lines:
        for name in re.split("; |, (?!all other messages)", events.strip()):
            assert name not in shown
            shown[name] = treatment
    assert shown.keys() == {name for name, _ in ROWS}
    for name, row in ROWS:
        for states, cell in zip((row.bad, row.good, row.progress + row.notice), shown[name], strict=True):
            assert all(catalog_table.DERIVED.get(state, f"`{state}`") in cell for state in states)
    assert len({(service, *treatment) for service, _, _, _, *treatment in lines}) == len(lines)


def test_a_type_that_no_rule_of_the_stack_takes_is_marked() -> None:
    assert "your own rule" in catalog_table.table()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Environment health has transitioned from Ok to Severe. ELB is unhealthy.", Status.FIRING),
        ("Environment health has transitioned to Degraded.", Status.FIRING),
        ("Environment health has transitioned from No Data to Ok.", Status.RESOLVED),
        ("Environment health has transitioned from Ok to No Data. None of the instances are sending data.", None),
        ("Environment health has transitioned to Info.", None),
    ],
)
def test_the_health_of_an_environment_is_read_from_the_message(message: str, status: Status | None) -> None:
    """As https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/AWSHowTo.eventbridge.html lists the messages."""
    (found,) = parse(with_detail(sample("elasticbeanstalk-eventbridge-severe"), Message=message))

    assert (found.status if isinstance(found, Alert) else None) is status
    assert status or isinstance(found, Ignored)


def test_two_alarms_of_one_channel_are_two_incidents() -> None:
    event = sample("medialive-eventbridge-set")
    assert parse_alert(event).fingerprint != parse_alert(with_detail(event, alarm_id="51ff")).fingerprint
