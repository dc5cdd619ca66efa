"""Agreement with CloudWatch: what was lost pages, what nobody resolved resolves, and everything else is left alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from handler import sources
from handler.agreement.agreement import Agreement, Disagreement
from handler.agreement.alarm import Alarm, notification
from handler.agreement.decisions import AlarmDecision, AlarmVerdict, Why
from handler.agreement.routing import Routing
from handler.agreement.wiring import Scope
from handler.alert import Alert, Status
from handler.envelope import unwrap
from handler.mapping import dedup_key_of
from handler.sources.reader import Reader
from handler.targets.secrets import parse_targets
from tests.lab.alerts import AN_ALERT, parse_alert, sample
from tests.lab.clock import Clock
from tests.lab.cloudwatch import (
    FUNCTION,
    OTHER_TOPIC,
    PREFIX,
    SINCE,
    TOPIC,
    FakeCloudWatch,
    described,
)
from tests.lab.deliveries import DAMAGES
from tests.lab.failures import client_error
from tests.lab.secrets import OTHER_KEY, target_secret
from tests.lab.sns import FakeSNS
from tests.lab.wire import BASE_URL

NOW = SINCE + timedelta(minutes=10)


@dataclass
class FakeTable:
    """Items that can be read, in batches and in pages; some keys of a batch stay unprocessed on demand."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    unprocessed: int = 0
    calls: int = 0

    def put(self, target: str, key: str, **record: Any) -> None:
        """Put a record in the shape of `delivery`."""
        given = {"status": "firing", "observed_at": SINCE, "open": True, **record}
        item: dict[str, Any] = {
            "id": {"S": f"{target}#{key}"},
            "status": {"S": given["status"]},
            "observed_at": {"S": given["observed_at"].isoformat(timespec="microseconds")},
            "open": {"BOOL": given["open"]},
        }
        if "expires_at" in given:
            item["expires_at"] = {"N": str(given["expires_at"])}
        self.items[f"{target}#{key}"] = item

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        self.calls += 1
        [(table, request)] = RequestItems.items()
        assert request["ConsistentRead"]
        keys = [key["id"]["S"] for key in request["Keys"]]
        assert 1 <= len(keys) <= 100
        assert len(set(keys)) == len(keys)
        left, keys = (keys[:1], keys[1:]) if self.unprocessed > 0 else ([], keys)
        self.unprocessed -= 1
        more = {table: {**request, "Keys": [{"id": {"S": key}} for key in left]}} if left else {}
        return {
            "Responses": {table: [self.items[key] for key in keys if key in self.items]},
            "UnprocessedKeys": more,
        }

    def scan(self, *, ExclusiveStartKey: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        self.calls += 1
        ids = sorted(self.items)
        start = ids.index(ExclusiveStartKey["id"]["S"]) + 1 if ExclusiveStartKey else 0
        page = ids[start : start + 300]
        more = {"LastEvaluatedKey": {"id": {"S": page[-1]}}} if start + 300 < len(ids) else {}
        return {"Items": [self.items[identity] for identity in page], **more}


def parse(message: Mapping[str, Any], now: datetime = NOW) -> Alert | None:
    """Parse as the publisher does."""
    [found] = sources.parse(unwrap(dict(message), now))
    return found if isinstance(found, Alert) else None


@dataclass
class Bench:
    """Everything that an agreement needs."""

    cloudwatch: FakeCloudWatch = field(default_factory=FakeCloudWatch)
    table: FakeTable = field(default_factory=FakeTable)
    sns: FakeSNS = field(default_factory=FakeSNS)
    clock: Clock = field(default_factory=Clock)
    said: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=lambda: {"pagerduty/a": target_secret("a")})

    def agreement(self, scope: Scope = Scope.WIRED) -> Agreement:
        return Agreement(
            cast(Any, self.cloudwatch),
            cast(Any, self.table),
            cast(Any, self.sns),
            table="t",
            topic_arn=TOPIC,
            function_arn=FUNCTION,
            scope=scope,
            reader=Reader(),
            clock=self.clock,
            report=self.said.append,
        )

    @property
    def routing(self) -> Routing:
        return Routing(parse_targets(self.secrets, BASE_URL))

    def run(self, agreement: Agreement | None = None, seconds: float = 50) -> list[Disagreement]:
        run = (agreement or self.agreement()).run(self.routing, self.clock() + seconds)
        return [found for page in run for found in page]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_lost_alarm_pages_as_its_notification_would_have(bench: Bench) -> None:
    """The message makes the alert that the notification itself makes: identity, time, summary, labels and links."""
    event = sample("cloudwatch-sns-alarm")
    natural = parse_alert(event)
    bench.clock.now = natural.observed_at.timestamp() + 3600
    bench.cloudwatch.alarms = [
        described(
            "parcel-labels-are-late",
            AlarmArn=natural.fingerprint,
            StateReason=natural.details["reason"],
            StateTransitionedTimestamp=natural.observed_at,
        )
    ]
    [found] = bench.run()
    alert = parse(found.message, natural.observed_at)
    assert alert
    assert found.decision == AlarmDecision(AlarmVerdict.PAGE, Why.NO_RECORD)
    for name in ("fingerprint", "observed_at", "status", "name", "summary", "labels", "location", "links", "group"):
        assert getattr(alert, name) == getattr(natural, name)
    assert dedup_key_of(alert) == dedup_key_of(natural)


def test_what_the_table_knows_is_left_alone(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described()]
    bench.table.put("a", f"{PREFIX}late")
    agreement = bench.agreement()
    assert bench.run(agreement) == []
    assert agreement.left == {Why.KNOWN: 1, Why.STILL_FIRING: 1}


def test_an_expired_record_counts_as_absent(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described()]
    bench.table.put("a", f"{PREFIX}late", expires_at=int(bench.clock()))
    assert [found.decision.verdict for found in bench.run()] == [AlarmVerdict.PAGE]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_record_that_cannot_be_read_stops_no_comparison(bench: Bench, what: str) -> None:
    """The alarms beside it page and resolve; its own incident stays open."""
    bench.cloudwatch.alarms = [described("bad"), described("lost"), described("ended", "OK")]
    for name in ("bad", "ended"):
        bench.table.put("a", f"{PREFIX}{name}")
    bench.table.items[f"a#{PREFIX}bad"] |= DAMAGES[what]
    found = {(each.name, each.decision.verdict) for each in bench.run()}
    assert found - {("bad", AlarmVerdict.PAGE)} == {("lost", AlarmVerdict.PAGE), ("ended", AlarmVerdict.RESOLVE)}
    assert bench.said == []


UNREADABLE: dict[str, dict[str, Any]] = {
    "a state of a later version": DAMAGES["a state of a later version"],
    "no state": DAMAGES["no state"],
    "no time": DAMAGES["no time"],
    "a time that no clock has": {"observed_at": {"S": "0001-01-01T00:00:00+14:00"}},
    "a state of another type": {"status": {"N": "1"}},
    "no expiry": {"expires_at": {"S": "x"}},
    "no lease": {"lease_until": {"N": "x"}},
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize(("state", "verdicts"), [("ALARM", [AlarmVerdict.PAGE]), ("OK", [])])
def test_a_record_that_cannot_be_read_says_nothing(
    bench: Bench, what: str, state: str, verdicts: list[AlarmVerdict]
) -> None:
    """Its alarm pages, for the page may be lost; nobody knows whether what it opened has ended."""
    bench.cloudwatch.alarms = [described("bad", state)]
    bench.table.put("a", f"{PREFIX}bad")
    bench.table.items[f"a#{PREFIX}bad"] |= UNREADABLE[what]
    assert [found.decision.verdict for found in bench.run()] == verdicts


def test_an_open_incident_of_an_alarm_that_is_ok_or_gone_is_resolved(bench: Bench) -> None:
    """At the alarm's own time, each incident once however many targets have it, contributors too."""
    since = SINCE + timedelta(minutes=5)
    bench.secrets["pagerduty/b"] = target_secret("b", OTHER_KEY)
    bench.cloudwatch.alarms = [described("ok", "OK", StateTransitionedTimestamp=since), described("firing")]
    for target in ("a", "b"):
        bench.table.put(target, f"{PREFIX}ok")
    bench.table.put("a", f"{PREFIX}ok#0123456789abcdef")
    bench.table.put("a", f"{PREFIX}gone")
    bench.table.put("a", f"{PREFIX}firing")
    bench.table.put("a", f"{PREFIX}done", status="resolved")
    bench.table.put("a", f"{PREFIX}closed", open=False)
    bench.table.put("a", "arn:aws:cloudwatch:eu-west-1:999999999999:alarm:of-another-account")
    bench.table.put("a", "orders-db")
    alerts = [parse(found.message) for found in bench.run()]
    assert [(a.fingerprint, a.status, a.observed_at) for a in alerts if a] == [
        (f"{PREFIX}gone", Status.RESOLVED, NOW),
        (f"{PREFIX}ok", Status.RESOLVED, since),
        (f"{PREFIX}ok#0123456789abcdef", Status.RESOLVED, since),
    ]


def test_a_resolve_whose_sender_died_is_sent_again(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described("ok", "OK")]
    bench.table.put("a", f"{PREFIX}ok", status="resolved")
    bench.table.items[f"a#{PREFIX}ok"]["owner"] = {"S": "dead"}
    assert [found.name for found in bench.run()] == ["ok"]


def test_a_dedup_key_that_was_cut_is_of_no_known_alarm(bench: Bench) -> None:
    """It is not taken for that of a deleted alarm."""
    name = "x" * 300
    cut = dedup_key_of(replace(AN_ALERT, fingerprint=f"{PREFIX}{name}"))
    bench.cloudwatch.alarms = [described(name)]
    bench.table.put("a", cut)
    assert cut.startswith(PREFIX)
    assert bench.run() == []


def test_a_target_that_sends_no_resolves_is_not_asked_for_one(bench: Bench) -> None:
    """It would skip one every five minutes for ever."""
    bench.secrets = {"pagerduty/a": target_secret("a", auto_resolve=False)}
    bench.table.put("a", f"{PREFIX}gone")
    bench.table.put("removed", f"{PREFIX}gone")
    assert bench.run() == []


@pytest.mark.parametrize(
    ("actions", "scope", "pages"),
    [
        ([TOPIC], Scope.WIRED, True),
        ([FUNCTION], Scope.WIRED, True),
        ([f"{FUNCTION}:live"], Scope.WIRED, True),
        ([f"{FUNCTION}-of-somebody-else"], Scope.WIRED, False),
        ([OTHER_TOPIC], Scope.WIRED, True),
        ([f"{OTHER_TOPIC}-of-somebody-else"], Scope.WIRED, False),
        ([], Scope.WIRED, False),
        ([], Scope.ALL, True),
        (["arn:aws:autoscaling:eu-west-1:123456789012:scalingPolicy:x"], Scope.WIRED, False),
    ],
)
def test_only_alarms_of_this_stack_count(bench: Bench, actions: list[str], scope: Scope, pages: bool) -> None:
    """Those that name its topic, its function, or a topic that the function is subscribed to; or all, if so set."""
    bench.sns.endpoints = {OTHER_TOPIC: ["ops@example.com", FUNCTION]}
    bench.cloudwatch.alarms = [described(AlarmActions=actions)]
    assert bool(bench.run(bench.agreement(scope))) is pages


def test_a_topic_is_asked_for_its_subscribers_once_in_a_while(bench: Bench) -> None:
    bench.sns.endpoints = {OTHER_TOPIC: [FUNCTION]}
    bench.cloudwatch.alarms = [described(f"n-{n}", AlarmActions=[OTHER_TOPIC]) for n in range(20)]
    agreement = bench.agreement()
    assert len(bench.run(agreement)) == 20
    bench.run(agreement)
    assert bench.sns.reads == 1
    bench.clock.advance(1000)
    bench.run(agreement)
    assert bench.sns.reads == 2


def test_a_muted_alarm_pages_when_its_window_ends(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described()]
    bench.cloudwatch.muted = ["late"]
    assert bench.run() == []
    bench.cloudwatch.muted = []
    assert len(bench.run()) == 1


def test_a_region_without_mute_rules_has_none(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described()]
    bench.cloudwatch.errors["ListAlarmMuteRules"] = client_error("InvalidAction", "ListAlarmMuteRules")
    assert len(bench.run()) == 1


def test_nobody_is_woken_while_the_mute_rules_cannot_be_read(bench: Bench) -> None:
    bench.cloudwatch.alarms = [described()]
    bench.cloudwatch.errors["ListAlarmMuteRules"] = client_error("Throttling", "ListAlarmMuteRules")
    assert bench.run() == []
    assert bench.said == ["alarms and records could not be compared: ListAlarmMuteRules: Throttling"]


def test_tags_come_along_where_the_alarm_sends_them(bench: Bench) -> None:
    """As its own notification would have had them: routes and severities do not depend on the path."""
    bench.secrets = {"pagerduty/a": target_secret("a", match=['team="labels"'])}
    bench.cloudwatch.tags = {f"{PREFIX}{name}": {"team": "labels", "cost": "7"} for name in ("sent", "kept")}
    enabled = {"AlarmTagsPropagation": {"Enabled": True, "ExcludedTagKeys": ["cost"]}}
    bench.cloudwatch.alarms = [described("sent", ActionConfiguration=enabled), described("kept")]
    agreement = bench.agreement()
    [found] = bench.run(agreement)
    assert (found.name, found.message["AlarmTags"]) == ("sent", {"team": "labels"})
    assert agreement.left == {Why.NO_TARGET: 1}


def test_only_the_tags_that_the_alarm_names_come_along(bench: Bench) -> None:
    bench.cloudwatch.tags = {f"{PREFIX}late": {"team": "labels", "cost": "7"}}
    enabled = {"AlarmTagsPropagation": {"Enabled": True, "IncludedTagKeys": ["team"]}}
    bench.cloudwatch.alarms = [described(ActionConfiguration=enabled)]
    [found] = bench.run()
    assert found.message["AlarmTags"] == {"team": "labels"}


def test_what_no_target_wants_is_not_asked_about_again_at_once(bench: Bench) -> None:
    """Below a threshold, or with no target that matches: nothing would come of publishing it every five minutes."""
    bench.secrets = {"pagerduty/a": target_secret("a", severity_threshold="critical")}
    enabled = {"AlarmTagsPropagation": {"Enabled": True}}
    bench.cloudwatch.alarms = [described(ActionConfiguration=enabled)]
    agreement = bench.agreement()
    for _ in range(3):
        assert bench.run(agreement) == []
    assert bench.cloudwatch.calls.count("ListTagsForResource") == 1
    bench.cloudwatch.tags = {f"{PREFIX}late": {"severity": "critical"}}
    bench.clock.advance(1000)
    assert len(bench.run(agreement)) == 1


def test_what_no_target_wanted_is_asked_about_again_when_it_fires_anew(bench: Bench) -> None:
    """Its tags may have changed since."""
    bench.secrets = {"pagerduty/a": target_secret("a", severity_threshold="critical")}
    enabled = {"AlarmTagsPropagation": {"Enabled": True}}
    bench.cloudwatch.alarms = [described(ActionConfiguration=enabled)]
    agreement = bench.agreement()
    assert bench.run(agreement) == []
    bench.cloudwatch.tags = {f"{PREFIX}late": {"severity": "critical"}}
    bench.cloudwatch.alarms[0]["StateTransitionedTimestamp"] = SINCE + timedelta(minutes=5)
    assert len(bench.run(agreement)) == 1


def test_a_position_that_cloudwatch_no_longer_knows_is_given_up(bench: Bench) -> None:
    """The run after that begins with the first alarm."""
    bench.cloudwatch.alarms = [described(f"n-{n:03}") for n in range(300)]
    agreement = bench.agreement()
    pages = agreement.run(bench.routing, bench.clock() + 50)
    assert next(pages)[0].name == "n-000"
    assert next(pages)[0].name == "n-100"
    bench.cloudwatch.errors["DescribeAlarms"] = client_error("InvalidNextToken", "DescribeAlarms")
    assert bench.run(agreement) == []
    del bench.cloudwatch.errors["DescribeAlarms"]
    assert bench.run(agreement)[0].name == "n-000"


def test_ten_thousand_alarms_take_a_page_at_a_time(bench: Bench) -> None:
    """A hundred to a call, and a run that is cut short goes on where it stopped."""
    bench.cloudwatch.alarms = [described(f"n-{n:05}") for n in range(10_000)]
    for n in range(0, 10_000, 2):
        bench.table.put("a", f"{PREFIX}n-{n:05}")
    agreement = bench.agreement()
    names: list[str] = []
    for page in agreement.run(bench.routing, bench.clock() + 50):
        assert len(page) <= 100
        names += [found.name for found in page]
        bench.clock.advance(1)
    assert len(names) == 2500
    bench.clock.now -= 50  # still within the grace of nothing: the states are old
    names += [found.name for found in bench.run(agreement)]
    assert names == [f"n-{n:05}" for n in range(1, 10_000, 2)]
    # a hundred pages of alarms in ALARM, and once more for the five thousand open incidents
    assert bench.cloudwatch.calls.count("DescribeAlarms") == 100 + 50
    assert bench.table.calls == 100 + 17


def test_a_table_that_throttles_pages_nobody_twice(bench: Bench) -> None:
    """Keys that come back unread are asked for again, three times; then nothing is concluded from their absence."""
    bench.cloudwatch.alarms = [described()]
    bench.table.put("a", f"{PREFIX}late")
    bench.table.unprocessed = 2
    assert bench.run() == []
    assert bench.said == []
    bench.table.unprocessed = 3
    assert bench.run() == []
    assert bench.said == ["alarms and records could not be compared: DynamoDB table t throttles"]


@pytest.mark.parametrize(
    "error", [client_error("AccessDenied", "DescribeAlarms"), EndpointConnectionError(endpoint_url="https://x.example")]
)
def test_an_error_is_reported_and_ends_the_run(bench: Bench, error: Exception) -> None:
    bench.cloudwatch.errors["DescribeAlarms"] = error
    assert bench.run() == []
    [said] = bench.said
    assert said.startswith("alarms and records could not be compared: ")


def test_an_alarm_that_is_summed_up_or_unreadable_is_left_alone(bench: Bench) -> None:
    """What the sources ignore of a notification is ignored here too."""
    bench.cloudwatch.alarms = [
        described("sum", StateReason="2 time series evaluated to ALARM"),
        described("odd", StateReason="", StateValue="ALARM", AlarmDescription=None, Dimensions=None),
    ]
    assert [found.name for found in bench.run()] == ["odd"]


SUM = described("sum", StateReason="3 out of 14 contributors evaluated to ALARM")


def series(identity: str, **more: Any) -> dict[str, Any]:
    return {
        "ContributorId": identity,
        "ContributorAttributes": {"endpoint": f"/api/{identity}"},
        "StateReason": "Threshold Crossed",
        "StateTransitionedTimestamp": SINCE,
        **more,
    }


def test_each_time_series_of_an_alarm_is_compared(bench: Bench) -> None:
    """As its own notification would have been: by the key with the contributor's id, with its attributes."""
    bench.cloudwatch.alarms = [SUM]
    bench.cloudwatch.contributors = [
        series("known"),
        series("young", StateTransitionedTimestamp=NOW - timedelta(seconds=5)),
        series("lost"),  # on the second page
    ]
    bench.table.put("a", f"{PREFIX}sum#known")
    [found] = bench.run()
    alert = parse(found.message)
    assert alert
    assert (alert.fingerprint, alert.status, alert.observed_at) == (f"{PREFIX}sum#lost", Status.FIRING, SINCE)
    assert "/api/lost" in alert.summary


def test_a_time_series_that_fires_no_more_is_resolved_though_others_fire(bench: Bench) -> None:
    bench.cloudwatch.alarms = [SUM]
    bench.cloudwatch.contributors = [series("firing")]
    for identity in ("firing", "ended"):
        bench.table.put("a", f"{PREFIX}sum#{identity}")
    bench.table.put("a", f"{PREFIX}sum#young", observed_at=NOW - timedelta(seconds=5))
    [found] = bench.run()
    alert = parse(found.message)
    assert alert
    assert (alert.fingerprint, alert.status) == (f"{PREFIX}sum#ended", Status.RESOLVED)


def test_an_alarm_with_a_hash_in_its_name_is_not_taken_for_a_time_series(bench: Bench) -> None:
    """Also where another alarm has the name before the `#`."""
    bench.cloudwatch.alarms = [described("errors", "OK"), described("errors#2"), described("queue #3", "OK")]
    for name in ("errors#2", "queue #3", "#gone"):
        bench.table.put("a", f"{PREFIX}{name}")
    bench.cloudwatch.muted = ["errors"]
    alerts = [parse(found.message) for found in bench.run()]
    assert {(a.fingerprint, a.name) for a in alerts if a} == {
        (f"{PREFIX}#gone", "#gone"),
        (f"{PREFIX}queue #3", "queue #3"),
    }


@pytest.mark.parametrize("contributors", [None, []])
def test_where_the_time_series_are_not_known_nothing_is_done(bench: Bench, contributors: Any) -> None:
    bench.cloudwatch.alarms = [SUM]
    bench.cloudwatch.contributors = contributors
    bench.table.put("a", f"{PREFIX}sum#ended")
    assert bench.run() == []


def test_a_composite_alarm_has_a_notification_too() -> None:
    alarm = Alarm.of({**described("all"), "MetricName": None, "Namespace": None, "Dimensions": None, "Threshold": None})
    message = notification(alarm)
    assert "Trigger" not in message
    assert parse(message)
