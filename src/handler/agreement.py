"""Compares CloudWatch's alarms with the table's records, every five minutes, apart from the path of a page.

An alarm in ALARM without a record pages: its notification was lost, the stack is newer than the alarm, or a mute window
ended. An open incident whose alarm is OK or gone is resolved: the alarm has no OK action, or its notification was lost.

The decisions are `left_alone`, `decide_firing` and `decide_ended`, which are pure. `Agreement` reads CloudWatch and the
table, and yields messages in the shape of CloudWatch's own notifications, to be published like any other: the same
fingerprint, dedup key and state timestamp, so that a notification that comes after all is a duplicate.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from handler.alert import Alert, Status, WhenUndetermined
from handler.errors import NoTargetError
from handler.mapping import dedup_key_of
from handler.pagerduty.events import MAX_DEDUP_KEY_CHARACTERS
from handler.targets.target import TargetSet

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_sns.client import SNSClient

ALARM_TYPES: list[Literal["MetricAlarm", "CompositeAlarm", "LogAlarm"]] = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
"""DescribeAlarms returns metric alarms alone unless asked for the others; composite alarms need the permission on `*`:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html"""
ALARMS_A_PAGE = 100
KEYS_A_BATCH = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
PROJECTION = "id, #s, observed_at, #o, attempted, waiting, #w, lease_until, delivered_at, expires_at"
NAMES = {"#s": "status", "#o": "open", "#w": "owner"}
BATCH_ATTEMPTS = 3
GRACE = timedelta(seconds=30)
"""A state this young may still be on its way as a notification."""
TIE = timedelta(seconds=1.5)
"""A notification may have a state's time in whole seconds or rounded; such times count as the same, as in the
records."""
KNOWN_FOR_SECONDS = 900
"""How long a topic's subscribers, and alarms that no target takes, are remembered."""
_SUMS_UP_CONTRIBUTORS = ("time series evaluated to ALARM", "contributors evaluated to ALARM")
"""How the reason ends for an alarm that pages by its contributors, as in `sources.cloudwatch`."""

_NO_SUCH_OPERATION = ("InvalidAction", "UnknownOperationException", "UnknownOperation")
"""CloudWatch's error in regions without mute rules."""


class Scope(StrEnum):
    """Which alarms are compared."""

    WIRED = "wired"
    """Those with an ALARM action to this stack's topic or function, or to a topic the function is subscribed to."""
    ALL = "all"
    """All of the account and region: the stack's rule for CloudWatch alarms is enabled."""


class Verdict(StrEnum):
    """What to do about an alarm, given its records."""

    PAGE = "page"
    RESOLVE = "resolve"
    LEAVE = "leave"


class Why(StrEnum):
    """Why, for the log line."""

    NO_RECORD = "no_record"
    NEWER_ALARM = "newer_alarm"
    ALARM_IS_OK = "alarm_is_ok"
    ALARM_IS_GONE = "alarm_is_gone"
    KNOWN = "known"
    NEWER_RECORD = "newer_record"
    TOO_RECENT = "too_recent"
    NOT_WIRED = "not_wired"
    ACTIONS_DISABLED = "actions_disabled"
    SUPPRESSED = "suppressed"
    MUTED = "muted"
    SUMS_UP = "sums_up_contributors"
    STILL_FIRING = "still_firing"
    UNDETERMINED = "insufficient_data"
    NO_TARGET = "no_target_wants_it"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and its reason."""

    verdict: Verdict
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm as CloudWatch describes it now.

    Attributes:
        since: when its state last changed, in UTC.
        actions: the ARNs that it notifies of ALARM.
        described: the whole answer of DescribeAlarms.
        contributor: the id of the time series that this is about, of an alarm over several; empty for the whole alarm.
        attributes: the contributor's.
    """

    arn: str
    name: str
    state: str
    since: datetime
    reason: str = ""
    actions: tuple[str, ...] = ()
    actions_enabled: bool = True
    is_suppressed: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)
    contributor: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its alert."""
        return f"{self.arn}#{self.contributor}" if self.contributor else self.arn

    @property
    def sums_up(self) -> bool:
        """Whether it pages by its contributors, and not itself."""
        return not self.contributor and self.reason.endswith(_SUMS_UP_CONTRIBUTORS)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Alarm":
        """Read one entry of DescribeAlarms."""
        # StateUpdatedTimestamp moves with the evaluation too; notifications carry the time of the transition
        since = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
        return cls(
            arn=described["AlarmArn"],
            name=described["AlarmName"],
            state=described["StateValue"],
            since=since.astimezone(UTC),
            reason=described.get("StateReason") or "",
            actions=tuple(described.get("AlarmActions") or ()),
            actions_enabled=described.get("ActionsEnabled", True),
            is_suppressed=bool(described.get("ActionsSuppressedBy")),
            described=described,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The record of one alert at one target.

    Attributes:
        is_open: an incident may be open.
        is_waiting: its newest observation waits for its delivery.
        is_abandoned: whoever was sending its newest observation died. A notification would be delivered again, but what
            this comparison publishes has no carrier.
    """

    target: str
    dedup_key: str
    status: Status
    observed_at: datetime
    is_open: bool
    is_waiting: bool
    is_abandoned: bool = False

    @classmethod
    def of(cls, item: Mapping[str, Any], now: datetime) -> "Known | None":
        """Read an item of the table; an expired one, or one that is not a record, counts as absent."""
        target, separator, dedup_key = item["id"]["S"].partition("#")
        if not target or not separator or "status" not in item or "observed_at" not in item:
            return None
        expires_at = item.get("expires_at", {}).get("N")
        if expires_at is not None and int(expires_at) <= now.timestamp():
            return None
        is_open = item.get("open", item.get("attempted", {}))  # older records call it `attempted`
        lease_until = int(item.get("lease_until", {}).get("N", 0)) / 1000
        is_undelivered = "delivered_at" not in item and "waiting" not in item
        return cls(
            target=target,
            dedup_key=dedup_key,
            status=Status(item["status"]["S"]),
            observed_at=datetime.fromisoformat(item["observed_at"]["S"]).astimezone(UTC),
            is_open=is_open.get("BOOL", False),
            is_waiting="waiting" in item,
            is_abandoned=is_undelivered and "owner" in item and lease_until <= now.timestamp(),
        )


def left_alone(alarm: Alarm, now: datetime, *, is_wired: bool, is_muted: bool) -> Why | None:
    """Return why this function leaves an alarm in ALARM alone at the moment, or None."""
    if not is_wired:
        return Why.NOT_WIRED
    if why := silenced(alarm, is_muted=is_muted):
        return why
    if alarm.sums_up:
        return Why.SUMS_UP
    return Why.TOO_RECENT if now - alarm.since < GRACE else None


def silenced(alarm: Alarm, *, is_muted: bool) -> Why | None:
    """Return by what the alarm's actions are held back, or None."""
    if not alarm.actions_enabled:
        return Why.ACTIONS_DISABLED
    if alarm.is_suppressed:
        return Why.SUPPRESSED
    return Why.MUTED if is_muted else None


def decide_firing(alarm: Alarm, known: Sequence[Known]) -> Decision:
    """Decide on an alarm in ALARM: a record of this ALARM, or an open incident, is agreement.

    An incident that a person has resolved in PagerDuty is still open in the table, and stays resolved there.
    """
    if not known:
        return Decision(Verdict.PAGE, Why.NO_RECORD)
    firing = [record for record in known if record.status is not Status.RESOLVED and not record.is_abandoned]
    if any(record.is_open or record.is_waiting or record.observed_at >= alarm.since - TIE for record in firing):
        return Decision(Verdict.LEAVE, Why.KNOWN)
    if max(record.observed_at for record in known) > alarm.since:
        return Decision(Verdict.LEAVE, Why.NEWER_RECORD)
    return Decision(Verdict.PAGE, Why.NEWER_ALARM)


def decide_ended(
    alarm: Alarm | None, record: Known, now: datetime, when_undetermined: WhenUndetermined, *, is_muted: bool
) -> Decision:
    """Decide on an open incident; `alarm` is None where CloudWatch has no alarm of that name any more."""
    if alarm is None:
        is_young = now - record.observed_at < GRACE
        return Decision(Verdict.LEAVE, Why.TOO_RECENT) if is_young else Decision(Verdict.RESOLVE, Why.ALARM_IS_GONE)
    if why := silenced(alarm, is_muted=is_muted):
        return Decision(Verdict.LEAVE, why)
    if alarm.state == "ALARM":
        return Decision(Verdict.LEAVE, Why.STILL_FIRING)
    if alarm.state != "OK" and when_undetermined is not WhenUndetermined.RESOLVE:
        return Decision(Verdict.LEAVE, Why.UNDETERMINED)
    if now - alarm.since < GRACE:
        return Decision(Verdict.LEAVE, Why.TOO_RECENT)
    if alarm.since < record.observed_at:
        return Decision(Verdict.LEAVE, Why.NEWER_RECORD)
    return Decision(Verdict.RESOLVE, Why.ALARM_IS_OK)


def notification(alarm: Alarm, tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the message that CloudWatch would publish about the alarm's state."""
    described = alarm.described
    account = alarm.arn.split(":")[4] if alarm.arn.count(":") >= 5 else ""
    trigger = {
        name: described[name]
        for name in ("MetricName", "Namespace", "Statistic", "Period", "Threshold", "ComparisonOperator", "Metrics")
        if described.get(name) not in (None, "")
    }
    if described.get("Dimensions"):
        trigger["Dimensions"] = [{"name": each["Name"], "value": each["Value"]} for each in described["Dimensions"]]
    return {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmDescription": described.get("AlarmDescription") or "",
        "AWSAccountId": account,
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": alarm.since.isoformat(timespec="milliseconds"),
        **({"Trigger": trigger} if trigger else {}),
        **({"AlarmTags": dict(tags)} if tags else {}),
        **({"AlarmContributorId": alarm.contributor} if alarm.contributor else {}),
        **({"AlarmContributorAttributes": dict(alarm.attributes)} if alarm.attributes else {}),
    }


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A message to publish, and why.

    Attributes:
        message: in the shape of CloudWatch's notifications.
    """

    name: str
    decision: Decision
    message: Mapping[str, Any]


class Routing(Protocol):
    """What the comparison needs to know about targets."""

    def names(self) -> Sequence[str]:
        """Return the names of all targets."""
        ...

    def paging(self, alert: Alert) -> Sequence[str]:
        """Return the names of the targets that would open an incident for the alert; none where none would."""
        ...

    def resolving(self, name: str) -> bool:
        """Return whether this target sends resolves."""
        ...


@dataclass(frozen=True, slots=True)
class TargetRouting:
    """The routing of the targets that were read last."""

    targets: TargetSet

    def names(self) -> Sequence[str]:
        """Return the names of all targets, disabled ones too: their records count."""
        return [target.name for target in self.targets.targets]

    def paging(self, alert: Alert) -> Sequence[str]:
        """Return the names of the targets that would open an incident for the alert."""
        try:
            taking = self.targets.taking(alert)
        except NoTargetError:
            return []
        return [target.name for target in taking if target.skip_reason(alert) is None]

    def resolving(self, name: str) -> bool:
        """Return whether this target sends resolves; a deleted one does not."""
        return any(target.name == name and target.auto_resolve for target in self.targets.targets)


class Agreement:
    """Compares the alarms of this account and region with the records.

    Args:
        cloudwatch: allowed DescribeAlarms, DescribeAlarmContributors, ListAlarmMuteRules, GetAlarmMuteRule and
            ListTagsForResource.
        dynamodb: allowed BatchGetItem and Scan on the table.
        sns: allowed ListSubscriptionsByTopic.
        parse: returns a notification as an alert, or None where a source ignores it.
        clock: epoch seconds.
        report: called with one sentence about what could not be read.
    """

    def __init__(
        self,
        cloudwatch: "CloudWatchClient",
        dynamodb: "DynamoDBClient",
        sns: "SNSClient",
        *,
        table: str,
        topic_arn: str,
        function_arn: str,
        scope: Scope,
        parse: Callable[[Mapping[str, Any]], Alert | None],
        clock: Callable[[], float],
        report: Callable[[str], None],
        when_undetermined: WhenUndetermined = WhenUndetermined.IGNORE,
    ) -> None:
        self._cloudwatch = cloudwatch
        self._dynamodb = dynamodb
        self._sns = sns
        self._table = table
        self._topic_arn = topic_arn
        self._function_arn = function_arn
        self._scope = scope
        self._parse = parse
        self._clock = clock
        self._report = report
        self._when_undetermined = when_undetermined
        self._position = ""
        self._subscribed: dict[str, tuple[float, bool]] = {}
        self._unwanted: dict[str, tuple[float, datetime]] = {}
        self.left: Counter[Why] = Counter()
        """How many alarms were left alone in the last run, and why."""

    def run(self, routing: Routing, deadline: float) -> Iterator[list[Disagreement]]:
        """Yield what to publish, a page of alarms at a time, until all are compared or the deadline is near.

        The next run begins where this one was cut short. Never raises an AWS client's error: what could not be read
        this time is read in five minutes.
        """
        self.left = Counter()
        try:
            muted = self._muted()
            yield from self._lost(routing, muted, deadline)
            yield from self._unresolved(routing, muted, deadline)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and "NextToken" in error.response["Error"].get("Code", ""):
                self._position = ""
            self._report(f"alarms and records could not be compared: {_said(error)}")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    # --- alarms in ALARM without an incident ---

    def _lost(self, routing: Routing, muted: set[str], deadline: float) -> Iterator[list[Disagreement]]:
        while self._clock() < deadline:
            more: dict[str, Any] = {"NextToken": self._position} if self._position else {}
            page = self._cloudwatch.describe_alarms(
                AlarmTypes=ALARM_TYPES, StateValue="ALARM", MaxRecords=ALARMS_A_PAGE, **more
            )
            yield list(self._lost_of(_alarms(page), routing, muted))
            # after the page is published: a run that is killed reads it again
            self._position = page.get("NextToken", "")
            if not self._position:
                return

    def _lost_of(self, alarms: Sequence[Alarm], routing: Routing, muted: set[str]) -> Iterator[Disagreement]:
        concerned = []
        for described in alarms:
            is_wired = self._is_wired(described)
            for alarm in self._series(described) if is_wired else [described]:
                why = left_alone(alarm, self._now(), is_wired=is_wired, is_muted=alarm.name in muted)
                until, since = self._unwanted.get(alarm.fingerprint, (0.0, alarm.since))
                if not why and self._clock() < until and since == alarm.since:
                    why = Why.NO_TARGET
                if why:
                    self.left[why] += 1
                elif self._parse(notification(alarm)) is None:
                    self.left[Why.UNREADABLE] += 1
                else:
                    concerned.append(alarm)
        keys = {alarm.fingerprint: _dedup_key(alarm.fingerprint) for alarm in concerned}
        known = self._records([f"{target}#{key}" for key in keys.values() for target in routing.names()])
        if known is None:
            return
        for alarm in concerned:
            decision = decide_firing(alarm, known.get(keys[alarm.fingerprint], ()))
            if decision.verdict is Verdict.PAGE:
                message = notification(alarm, self._tags(alarm))
                alert = self._parse(message)
                if alert is not None and routing.paging(alert):
                    yield Disagreement(alarm.name, decision, message)
                    continue
                self._unwanted[alarm.fingerprint] = (self._clock() + KNOWN_FOR_SECONDS, alarm.since)
                decision = Decision(Verdict.LEAVE, Why.NO_TARGET)
            self.left[decision.why] += 1

    def _series(self, alarm: Alarm) -> list[Alarm]:
        """Return the time series in ALARM of an alarm that pages by contributors, else the alarm itself.

        Also where CloudWatch does not tell them: it is left alone then.
        """
        if not alarm.sums_up:
            return [alarm]
        found: list[Alarm] = []
        more: dict[str, Any] = {}
        while True:
            try:
                page = self._cloudwatch.describe_alarm_contributors(AlarmName=alarm.name, **more)
            except ClientError as error:
                if error.response["Error"].get("Code", "") in _NO_SUCH_OPERATION:
                    return [alarm]
                raise
            found += [
                replace(
                    alarm,
                    contributor=each["ContributorId"],
                    attributes=each.get("ContributorAttributes") or {},
                    since=(each.get("StateTransitionedTimestamp") or alarm.since).astimezone(UTC),
                    reason=each.get("StateReason") or "",
                )
                for each in page.get("AlarmContributors", [])
            ]
            if not (token := page.get("NextToken")):
                return found
            more = {"NextToken": token}

    def _is_wired(self, alarm: Alarm) -> bool:
        if self._scope is Scope.ALL:
            return True
        return any(
            action == self._topic_arn
            or action == self._function_arn
            or action.startswith(f"{self._function_arn}:")
            or (action.split(":")[2:3] == ["sns"] and self._is_subscribed(action))
            for action in alarm.actions
        )

    def _is_subscribed(self, topic_arn: str) -> bool:
        """Return whether the function is subscribed to a topic; one that may not be asked counts as foreign."""
        until, known = self._subscribed.get(topic_arn, (0.0, False))
        if self._clock() < until:
            return known
        try:
            found = self._ask_for_subscription(topic_arn)
        except (ClientError, BotoCoreError):
            found = False
        self._subscribed[topic_arn] = (self._clock() + KNOWN_FOR_SECONDS, found)
        return found

    def _ask_for_subscription(self, topic_arn: str) -> bool:
        more: dict[str, Any] = {}
        while True:
            page = self._sns.list_subscriptions_by_topic(TopicArn=topic_arn, **more)
            for subscription in page.get("Subscriptions", []):
                endpoint = subscription.get("Endpoint", "")
                if endpoint == self._function_arn or endpoint.startswith(f"{self._function_arn}:"):
                    return True
            if not (token := page.get("NextToken")):
                return False
            more = {"NextToken": token}

    def _tags(self, alarm: Alarm) -> dict[str, str]:
        """Return the tags that the alarm's own notification would carry: none unless their propagation is enabled."""
        propagation = (alarm.described.get("ActionConfiguration") or {}).get("AlarmTagsPropagation") or {}
        if not propagation.get("Enabled"):
            return {}
        tags = self._cloudwatch.list_tags_for_resource(ResourceARN=alarm.arn).get("Tags", [])
        included, excluded = propagation.get("IncludedTagKeys"), propagation.get("ExcludedTagKeys") or ()
        return {
            tag["Key"]: tag["Value"]
            for tag in tags
            if tag["Key"] not in excluded and (not included or tag["Key"] in included)
        }

    def _muted(self) -> set[str]:
        """Return the names of the alarms that a mute rule holds back at the moment."""
        muted: set[str] = set()
        more: dict[str, Any] = {}
        while True:
            try:
                page = self._cloudwatch.list_alarm_mute_rules(Statuses=["ACTIVE"], **more)
            except ClientError as error:
                if error.response["Error"].get("Code", "") in _NO_SUCH_OPERATION:
                    return muted
                raise
            for summary in page.get("AlarmMuteRuleSummaries", []):
                name = summary.get("AlarmMuteRuleArn", "").rpartition(":")[2]
                rule = self._cloudwatch.get_alarm_mute_rule(AlarmMuteRuleName=name)
                muted.update((rule.get("MuteTargets") or {}).get("AlarmNames", []))
            if not (token := page.get("NextToken")):
                return muted
            more = {"NextToken": token}

    def _records(self, ids: Sequence[str]) -> dict[str, list[Known]] | None:
        """Read records, consistently; return them by dedup key, or None where the table did not return them all."""
        known: dict[str, list[Known]] = {}
        for start in range(0, len(ids), KEYS_A_BATCH):
            left: Any = {
                self._table: {
                    "Keys": [{"id": {"S": identity}} for identity in ids[start : start + KEYS_A_BATCH]],
                    "ConsistentRead": True,
                    "ProjectionExpression": PROJECTION,
                    "ExpressionAttributeNames": NAMES,
                }
            }
            for _ in range(BATCH_ATTEMPTS):
                answer = self._dynamodb.batch_get_item(RequestItems=left)
                for item in answer["Responses"].get(self._table, []):
                    if record := Known.of(item, self._now()):
                        known.setdefault(record.dedup_key, []).append(record)
                left = answer.get("UnprocessedKeys") or {}
                if not left:
                    break
            else:
                self._report(f"alarms and records could not be compared: DynamoDB table {self._table} throttles")
                return None
        return known

    # --- incidents whose alarm has ended ---

    def _unresolved(self, routing: Routing, muted: set[str], deadline: float) -> Iterator[list[Disagreement]]:
        if self._clock() >= deadline:
            return
        home = self._function_arn.split(":")
        prefix = f"arn:{home[1]}:cloudwatch:{home[3]}:{home[4]}:alarm:"
        by_name: dict[str, list[Known]] = {}
        for record in self._open_records(prefix, deadline):
            if routing.resolving(record.target):
                name = record.dedup_key.removeprefix(prefix).partition("#")[0]
                by_name.setdefault(name, []).append(record)
        names = sorted(by_name)
        for start in range(0, len(names), ALARMS_A_PAGE):
            if self._clock() >= deadline:
                return
            asked = names[start : start + ALARMS_A_PAGE]
            page = self._cloudwatch.describe_alarms(AlarmNames=asked, AlarmTypes=ALARM_TYPES, MaxRecords=ALARMS_A_PAGE)
            found = {alarm.name: alarm for alarm in _alarms(page)}
            yield [
                disagreement
                for name in asked
                for disagreement in self._unresolved_of(name, found.get(name), by_name[name], prefix, muted)
            ]

    def _open_records(self, prefix: str, deadline: float) -> Iterator[Known]:
        """Yield the records of this account's alarms whose incident may be open and that fire as far as they know."""
        more: dict[str, Any] = {}
        while self._clock() < deadline:
            page = self._dynamodb.scan(
                TableName=self._table,
                FilterExpression="contains(id, :prefix) AND (#s <> :resolved OR attribute_exists(#w))"
                " AND (#o = :true OR attempted = :true)",
                ProjectionExpression=PROJECTION,
                ExpressionAttributeNames=NAMES,
                ExpressionAttributeValues={
                    ":prefix": {"S": f"#{prefix}"},
                    ":resolved": {"S": str(Status.RESOLVED)},
                    ":true": {"BOOL": True},
                },
                **more,
            )
            for item in page.get("Items", []):
                record = Known.of(item, self._now())
                # a long name is cut and ends in a hash, which does not say which alarm it was
                if (
                    record
                    and record.is_open
                    and (record.status is not Status.RESOLVED or record.is_abandoned)
                    and record.dedup_key.startswith(prefix)
                    and len(record.dedup_key) < MAX_DEDUP_KEY_CHARACTERS
                ):
                    yield record
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _unresolved_of(
        self, name: str, alarm: Alarm | None, records: Sequence[Known], prefix: str, muted: set[str]
    ) -> Iterator[Disagreement]:
        now = self._now()
        firing = {each.contributor for each in self._series(alarm)} if alarm and alarm.state == "ALARM" else set()
        resolved: set[str] = set()
        for record in records:
            contributor = record.dedup_key.removeprefix(prefix).partition("#")[2]
            current = alarm
            if alarm and contributor and firing and not {contributor, ""} & firing:
                # its alarm fires by others; when it ended, nobody knows
                current = replace(alarm, state="OK", since=now - GRACE, reason="This time series fires no more")
            decision = decide_ended(current, record, now, self._when_undetermined, is_muted=name in muted)
            if decision.verdict is not Verdict.RESOLVE:
                self.left[decision.why] += 1
            elif record.dedup_key not in resolved:  # one resolve reaches all targets
                resolved.add(record.dedup_key)
                gone = Alarm(arn=f"{prefix}{name}", name=name, state="OK", since=now, reason="The alarm was deleted")
                ended = replace(current or gone, state="OK", contributor=contributor)
                yield Disagreement(name, decision, notification(ended))


def _alarms(page: Mapping[str, Any]) -> list[Alarm]:
    return [Alarm.of(each) for kind in ALARM_TYPES for each in page.get(f"{kind}s", [])]


def _dedup_key(arn: str) -> str:
    """Return the dedup key of an alarm's alert: as the publisher makes it of the fingerprint."""
    alert = Alert(fingerprint=arn, name=arn, status=Status.FIRING, observed_at=datetime.min, origin="cloudwatch")
    return dedup_key_of(alert)


def _said(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {error.response['Error'].get('Code', '')}"
    return type(error).__name__
