"""`make doctor`: finds what would keep an alarm from paging, with the command that fixes it. Changes nothing.

`gather` reads the account, a hundred alarms at a time; the checks are pure functions of what it read. An alarm concerns
this stack if an action of its leads here, or if it reaches nobody at all. One that reaches somebody else is none of its
business: it is counted in a note. So is what the caller may not read, or this region does not know.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from shlex import quote
from typing import Any

from botocore.exceptions import ClientError

from handler import sources
from handler.agreement.alarm import Alarm, notification
from handler.agreement.cloudwatch import ALARM_TYPES, ALARMS_A_PAGE
from handler.alert import Alert
from handler.envelope import unwrap
from handler.errors import NoTargetError, PublishError
from handler.pagerduty.severity import parse_severity
from handler.targets.target import TargetSet
from tools.stack import (
    FINDING,
    FINE,
    STACK_NAME,
    Connect,
    Say,
    Stack,
    connect,
    find_stack,
    one_line,
    read_targets,
    refusal,
    run,
    say,
)

MAX_NAMED = 10
"""How many alarms a finding names; the rest are counted."""
TAGS_ONE_BY_ONE = 200
"""Up to this many alarms are asked for their tags one by one if the tagging service has none."""
_CHILD = re.compile(r"""(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*["']?([^"')]+)["']?\s*\)""")
_SCALING = ("autoscaling", "application-autoscaling")
_READ_ONLY = (
    "AlarmArn,AlarmConfigurationUpdatedTimestamp,StateValue,StateReason,StateReasonData,StateUpdatedTimestamp,"
    "StateTransitionedTimestamp,EvaluationState,ActionsSuppressedBy,ActionsSuppressedReason"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that keeps alarms from paging or resolving, or operators from being notified.

    Attributes:
        what: the problem in one sentence.
        fix: the command that fixes it, or what to do where no command does.
        names: what it concerns.
    """

    what: str
    fix: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """An EventBridge rule of the stack.

    Attributes:
        parameter: the template's parameter that switches it; empty where it has none.
    """

    name: str
    is_enabled: bool
    reads_alarms: bool
    parameter: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """The subscriptions of a topic."""

    protocol: str
    endpoint: str
    is_confirmed: bool


_NOT_READ = (Subscription("", "", is_confirmed=True),)


@dataclass
class Facts:
    """What was read of the account.

    Attributes:
        prefix: how the names of the alarms begin that are looked at.
        alarms: all of the account and region that begin so.
        tags: by ARN, of the alarms that name the stack.
        topics: subscriptions by topic; None for one that does not exist.
        own_alarms: names of the alarms that watch the stack itself.
        siblings: the operators' topics of other publishers, with their stacks' names: their doctor looks at these.
        loops: what Lambda does about recursive loops; empty where it was not read.
        takes_retries: whether the retry queue feeds the function; None where it was not read.
        skipped: what could not be read, and why.
    """

    stack: Stack
    prefix: str = ""
    alarms: list[Mapping[str, Any]] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    topics: dict[str, list[Subscription] | None] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    own_alarms: set[str] = field(default_factory=set)
    siblings: dict[str, str] = field(default_factory=dict)
    operator_topic: str = ""
    targets: TargetSet | None = None
    dead_letters: int = 0
    loops: str = ""
    takes_retries: bool | None = None
    skipped: list[str] = field(default_factory=list)

    @property
    def takes_all_alarms(self) -> bool:
        """Whether a rule pages for every alarm, with or without an action."""
        return any(rule.reads_alarms and rule.is_enabled for rule in self.rules)

    def delivers(self, action: str) -> bool:
        """Return whether an alarm's action leads to the function."""
        function = self.stack.function_arn
        if action == function or action.startswith(f"{function}:"):
            return True
        return any(
            subscription.is_confirmed
            and (subscription.endpoint == function or subscription.endpoint.startswith(f"{function}:"))
            for subscription in self.topics.get(action) or ()
        )

    def leads_here(self, alarm: Mapping[str, Any]) -> bool:
        """Return whether an ALARM action of an alarm leads to the function."""
        return any(map(self.delivers, _actions(alarm)))

    def reaches_others(self, alarm: Mapping[str, Any]) -> bool:
        """Return whether an ALARM action leads to somebody else; a topic that was not read counts as one that does."""
        for action in _actions(alarm):
            if not _is_topic(action):
                return True
            if action == self.stack.topic_arn or _region_of(action) != self.stack.region:
                continue
            subscriptions = self.topics.get(action, _NOT_READ) or ()
            if any(each.is_confirmed for each in subscriptions):
                return True
        return False

    @cached_property
    def concerned(self) -> list[Mapping[str, Any]]:
        """Return the alarms for people: not publishers' own, not those of scaling, not the parts of a composite."""
        parts = {name for alarm in self.alarms for name in _CHILD.findall(alarm.get("AlarmRule") or "")}
        return [
            alarm
            for alarm in self.alarms
            if alarm["AlarmName"] not in self.own_alarms
            and not (_actions(alarm) and self.siblings.keys() >= set(_actions(alarm)))
            and not (alarm["AlarmName"] in parts and not alarm.get("AlarmActions"))
            and not any(action.split(":")[2:3] and action.split(":")[2] in _SCALING for action in _actions(alarm))
        ]

    @cached_property
    def wired(self) -> list[Mapping[str, Any]]:
        """Return the alarms that reach the function by an action of theirs, or by the rule."""
        return [alarm for alarm in self.concerned if self.takes_all_alarms or self.leads_here(alarm)]

    @cached_property
    def others(self) -> list[Mapping[str, Any]]:
        """Return the alarms that reach somebody else, and have no action that leads here."""
        return [
            alarm
            for alarm in self.concerned
            if not self.takes_all_alarms
            and not self.leads_here(alarm)
            and not any(map(self.delivers, alarm.get("OKActions") or ()))
            and self.reaches_others(alarm)
        ]

    @cached_property
    def stranded(self) -> list[Mapping[str, Any]]:
        """Return the alarms that reach nobody; also those that only their OK action leads here."""
        reaching = {alarm["AlarmArn"] for alarm in (*self.wired, *self.others)}
        return [alarm for alarm in self.concerned if alarm["AlarmArn"] not in reaching]


def _actions(alarm: Mapping[str, Any]) -> list[str]:
    return list(alarm.get("AlarmActions") or ())


def _names(alarms: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(alarm["AlarmName"] for alarm in alarms)


def _region_of(arn: str) -> str:
    parts = arn.split(":")
    return parts[3] if len(parts) > 3 else ""


def _is_topic(action: str) -> bool:
    return action.split(":")[2:3] == ["sns"]


def _topics_of(alarm: Mapping[str, Any]) -> list[str]:
    return [action for action in _actions(alarm) if _is_topic(action)]


# --- The checks: each of what was read yields what is wrong ---


def foreign_regions(facts: Facts) -> Iterator[Finding]:
    """Find alarms that name a topic of another region: CloudWatch reaches topics of its own region alone."""
    for alarm in facts.stranded:
        wrong = [topic for topic in _topics_of(alarm) if _region_of(topic) != facts.stack.region]
        if wrong:
            yield Finding(
                f"alarm {one_line(alarm['AlarmName'])} names a topic of another region: {wrong[0]}",
                rewire(alarm, facts.stack.topic_arn, instead_of=wrong[0]),
            )


def dead_topics(facts: Facts) -> Iterator[Finding]:
    """Find topics that alarms name and nobody subscribes to, or that are gone, where they reach nobody else."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for alarm in facts.stranded:
        for topic in _topics_of(alarm):
            if topic != facts.stack.topic_arn and _region_of(topic) == facts.stack.region:
                named.setdefault(topic, []).append(alarm)
    for topic, alarms in named.items():
        if topic not in facts.topics or any(each.is_confirmed for each in facts.topics[topic] or ()):
            continue
        if facts.topics[topic] is None:
            fix = rewire(alarms[0], facts.stack.topic_arn, instead_of=topic)
            yield Finding(f"{len(alarms)} alarms name a topic that does not exist: {topic}", fix, _names(alarms))
        else:
            function = facts.stack.function_arn
            fix = (
                f"aws lambda add-permission --function-name {function} --statement-id {topic.rpartition(':')[2]}"
                f" --action lambda:InvokeFunction --principal sns.amazonaws.com --source-arn {topic}"
                f" && aws sns subscribe --topic-arn {topic} --protocol lambda --notification-endpoint {function}"
            )
            yield Finding(f"{len(alarms)} alarms name a topic that nobody subscribes to: {topic}", fix, _names(alarms))


def own_topic(facts: Facts) -> Iterator[Finding]:
    """Find that the stack's own topic does not lead to its function."""
    if facts.stack.topic_arn in facts.topics and not facts.delivers(facts.stack.topic_arn):
        yield Finding(
            "the stack's topic does not lead to its function: what is published there pages nobody",
            f"aws sns subscribe --topic-arn {facts.stack.topic_arn} --protocol lambda"
            f" --notification-endpoint {facts.stack.function_arn}",
        )


def without_alarm_action(facts: Facts) -> Iterator[Finding]:
    """Find alarms that reach nobody: they have no ALARM action, or only their OK action leads here."""
    others = [
        alarm
        for alarm in facts.stranded
        if not _topics_of(alarm) or any(map(facts.delivers, alarm.get("OKActions") or ()))
    ]
    if not others:
        return
    yield Finding(
        f"{len(others)} alarms have no ALARM action that leads to this stack: nobody is paged for them",
        rewire(others[0], facts.stack.topic_arn),
        _names(others),
    )
    for rule in facts.rules:
        if rule.reads_alarms and not rule.is_enabled:
            yield Finding(
                f"rule {rule.name} is disabled, and {len(others)} alarms have no other way here",
                f"deploy with {rule.parameter or 'CloudWatchAlarmRule'}=ENABLED to page for every alarm of the account,"
                " or wire the alarms one by one, above",
                _names(others),
            )


def disabled_rules(facts: Facts) -> Iterator[Finding]:
    """Find rules that the stack has enabled and somebody has disabled."""
    for rule in facts.rules:
        wanted = facts.stack.parameters.get(rule.parameter, "ENABLED") == "ENABLED"
        if wanted and not rule.is_enabled:
            yield Finding(
                f"rule {rule.name} is disabled, although the stack enables it",
                f"aws events enable-rule --name {rule.name}",
            )


def without_ok_action(facts: Facts) -> Iterator[Finding]:
    """Find alarms that page and never resolve."""
    if facts.takes_all_alarms:
        return
    silent = [a for a in facts.wired if not any(map(facts.delivers, a.get("OKActions") or ()))]
    if silent:
        agrees = facts.stack.settings.get("AGREE_WITH_CLOUDWATCH", "off") != "off"
        yield Finding(
            f"{len(silent)} alarms have no OK action: their incidents "
            + ("resolve minutes late, by comparison (AgreeWithCloudWatch)" if agrees else "stay open"),
            rewire(silent[0], facts.stack.topic_arn, action="OKActions"),
            _names(silent),
        )


def disabled_actions(facts: Facts) -> Iterator[Finding]:
    """Find alarms whose actions are disabled: they change state and notify nobody."""
    disabled = [alarm for alarm in facts.wired if not alarm.get("ActionsEnabled", True)]
    if disabled:
        names = " ".join(quote(name) for name in _names(disabled)[:100])
        yield Finding(
            f"{len(disabled)} alarms have their actions disabled: they page nobody",
            f"aws cloudwatch enable-alarm-actions --alarm-names {names}",
            _names(disabled),
        )


def unroutable(facts: Facts) -> Iterator[Finding]:
    """Find alarms that no target takes: their alerts go to the dead-letter queue."""
    if facts.targets is None:
        return
    lost = [alarm for alarm in facts.wired if _is_lost(alarm, facts.tags.get(alarm["AlarmArn"], {}), facts.targets)]
    if lost:
        yield Finding(
            f"{len(lost)} alarms would be taken by no target: each alert of theirs becomes a dead letter",
            f"add a target without `match`, which takes what no other takes: a secret {facts.stack.target_prefix}..."
            " (docs/operations.md, targets); or let an existing one match",
            _names(lost),
        )


def _is_lost(alarm: Mapping[str, Any], tags: Mapping[str, str], targets: TargetSet) -> bool:
    firing = Alarm.of({**alarm, "StateValue": "ALARM"})
    message = notification(firing, tags if _sends_tags(alarm) else {})
    try:
        found = sources.parse(unwrap(message, datetime.now(UTC)))
    except PublishError:
        return False
    for each in found:
        if isinstance(each, Alert):
            try:
                targets.taking(each)
            except NoTargetError:
                return True
    return False


def _sends_tags(alarm: Mapping[str, Any]) -> bool:
    configuration = alarm.get("ActionConfiguration") or {}
    return bool((configuration.get("AlarmTagsPropagation") or {}).get("Enabled"))


def severity_words(facts: Facts) -> Iterator[Finding]:
    """Find tags with an unknown severity word: the target's default is used instead."""
    for alarm in facts.wired:
        for key, value in facts.tags.get(alarm["AlarmArn"], {}).items():
            if key.lower() == "severity" and parse_severity(value) is None:
                name, arn = one_line(alarm["AlarmName"]), quote(alarm["AlarmArn"])
                yield Finding(
                    f"alarm {name} has the tag {key}={one_line(value, 40)}: no severity is called so",
                    f"aws cloudwatch tag-resource --resource-arn {arn} --tags Key={key},Value=critical"
                    "   (or error, warning, info)",
                )


def hidden_tags(facts: Facts) -> Iterator[Finding]:
    """Find alarms whose tags would route them or say their severity, and that do not send them along."""
    matched = {
        matcher.name for target in (facts.targets.targets if facts.targets else ()) for matcher in target.match
    } | {"severity"}
    hidden = [
        alarm
        for alarm in facts.wired
        if not _sends_tags(alarm)
        and any(key in matched or key.lower() == "severity" for key in facts.tags.get(alarm["AlarmArn"], {}))
    ]
    if hidden:
        yield Finding(
            f"{len(hidden)} alarms have tags that say their severity or route, and do not send them along",
            rewire(hidden[0], "", action="ActionConfiguration"),
            _names(hidden),
        )


def operators(facts: Facts) -> Iterator[Finding]:
    """Find operators whose subscription is not confirmed."""
    for each in facts.topics.get(facts.operator_topic) or ():
        if not each.is_confirmed:
            yield Finding(
                f"{each.protocol} {each.endpoint} has not confirmed its subscription to the operators' topic",
                f"aws sns subscribe --topic-arn {facts.operator_topic} --protocol {each.protocol}"
                f" --notification-endpoint {quote(each.endpoint)}   and open the link in the message that comes",
            )


def secrets(facts: Facts) -> Iterator[Finding]:
    """Find targets that cannot be read, or that none exists."""
    if facts.targets is None:
        return
    for problem in facts.targets.problems:
        name = str(problem).removeprefix("secret ").partition(":")[0]
        yield Finding(
            one_line(str(problem), 300),
            f"aws secretsmanager put-secret-value --secret-id {quote(name)} --secret-string file://target.json",
        )
    if not any(target.is_paging for target in facts.targets.targets):
        yield Finding(
            "there is no enabled target: nobody can be paged",
            f"aws secretsmanager create-secret --name {facts.stack.target_prefix}first"
            " --tags Key=publishing-target,Value=true --secret-string file://target.json",
        )


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Find alerts that could not be delivered."""
    if facts.dead_letters:
        yield Finding(
            f"{facts.dead_letters} dead letters wait in the queue",
            f"make redrive DRY_RUN=1 STACK={facts.stack.name}   shows each with its error; fix that, then redrive",
        )


def loop_detection(facts: Facts) -> Iterator[Finding]:
    """Find that Lambda would stop the function because it receives its own messages from the retry queue."""
    if facts.loops.lower() == "terminate":
        yield Finding(
            "Lambda's recursive loop detection is set to Terminate: it stops retries after about 16 in a row",
            "aws lambda put-function-recursion-config --recursive-loop Allow"
            f" --function-name {facts.stack.function_arn}",
        )


def retries(facts: Facts) -> Iterator[Finding]:
    """Find that nothing reads the retry queue."""
    if facts.takes_retries is False:
        yield Finding(
            "the function does not take from the retry queue: what waits there stays there",
            f"aws lambda list-event-source-mappings --function-name {facts.stack.function_arn}"
            "   names it; aws lambda update-event-source-mapping --enabled --uuid ...",
        )


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    own_topic,
    secrets,
    dead_letters,
    loop_detection,
    retries,
    disabled_rules,
    disabled_actions,
    without_alarm_action,
    foreign_regions,
    dead_topics,
    without_ok_action,
    unroutable,
    severity_words,
    hidden_tags,
    operators,
)


def rewire(alarm: Mapping[str, Any], topic: str, *, action: str = "AlarmActions", instead_of: str = "") -> str:
    """Return the command that changes one setting of an alarm and keeps the others: CloudWatch replaces them all."""
    is_composite = "AlarmRule" in alarm
    kind = "CompositeAlarms" if is_composite else "MetricAlarms"
    drop = ",".join(f".{name}" for name in _READ_ONLY.split(","))
    match action:
        case "ActionConfiguration":
            change = ".ActionConfiguration.AlarmTagsPropagation.Enabled = true"
        case _ if instead_of:
            change = f'(.AlarmActions,.OKActions) |= (map(if . == "{instead_of}" then "{topic}" else . end))'
        case _:
            change = f'.{action} += ["{topic}"]'
    name = quote(alarm["AlarmName"])
    return (
        f"aws cloudwatch put-{'composite' if is_composite else 'metric'}-alarm --cli-input-json"
        f' "$(aws cloudwatch describe-alarms --alarm-types CompositeAlarm MetricAlarm --alarm-names {name}'
        f""" --query '{kind}[0]' | jq 'del({drop}) | del(..|nulls) | {change}')\""""
    )


# --- Reading ---


def gather(connect: Connect, stack: Stack, prefix: str = "") -> Facts:
    """Read the account, page by page; of its alarms those whose names begin with the prefix."""
    facts = Facts(stack, prefix)

    def attempt(what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except ClientError as error:
            facts.skipped.append(f"{what}: {refusal(error)}")

    rules: dict[str, str] = {}
    attempt("the stack's resources", lambda: rules.update(_read_resources(connect, facts)))
    attempt("the stack's rules", lambda: _read_rules(connect, facts, rules))
    attempt("targets", lambda: _read_targets(connect, facts))
    attempt("other publishers", lambda: _read_siblings(connect, facts))
    attempt("alarms", lambda: _read_alarms(connect, facts))
    attempt("topics", lambda: _read_topics(connect, facts))
    attempt("tags of alarms", lambda: _read_tags(connect, facts))
    attempt("dead letters", lambda: _read_dead_letters(connect, facts))
    attempt("loop detection", lambda: _read_loops(connect, facts))
    attempt("the retry queue's mapping", lambda: _read_mappings(connect, facts))
    return facts


def _pages(
    call: Callable[..., Mapping[str, Any]], token: str = "NextToken", **arguments: Any
) -> Iterator[Mapping[str, Any]]:
    more: dict[str, Any] = {}
    while True:
        page = call(**arguments, **more)
        yield page
        if not page.get(token):
            return
        more = {token: page[token]}


def _read_resources(connect: Connect, facts: Facts) -> dict[str, str]:
    """Read what the stack consists of; return its rules' names, by their logical ids."""
    rules = {}
    for page in _pages(connect("cloudformation").list_stack_resources, StackName=facts.stack.name):
        for resource in page["StackResourceSummaries"]:
            logical, physical = resource["LogicalResourceId"], resource.get("PhysicalResourceId", "")
            match resource["ResourceType"]:
                case "AWS::CloudWatch::Alarm":
                    facts.own_alarms.add(physical)
                case "AWS::SNS::Topic" if logical == "OperatorTopic":
                    facts.operator_topic = physical
                case "AWS::Events::Rule":
                    rules[logical] = physical.rpartition("/")[2]
    return rules


def _read_rules(connect: Connect, facts: Facts, rules: Mapping[str, str]) -> None:
    for logical, name in rules.items():
        rule = connect("events").describe_rule(Name=name)
        parameter = "" if rule.get("ScheduleExpression") else _switch_of(logical, facts.stack.parameters)
        reads_alarms = '"aws.cloudwatch"' in rule.get("EventPattern", "")
        facts.rules.append(Rule(rule["Name"], rule.get("State") != "DISABLED", reads_alarms, parameter))


def _switch_of(logical: str, parameters: Mapping[str, str]) -> str:
    """Return the parameter that switches a rule: `EcsRule` of `Ecs` and `EcsTask`; empty where none does."""
    words = re.findall(r"[A-Z][a-z0-9]*", logical.removeprefix("PublisherFunction"))
    names = ("".join(words[:count]) + "Rule" for count in range(len(words), 0, -1))
    return next((name for name in names if name in parameters), "")


def _read_targets(connect: Connect, facts: Facts) -> None:
    facts.targets = read_targets(connect, facts.stack)


def _read_siblings(connect: Connect, facts: Facts) -> None:
    for page in _pages(connect("cloudformation").describe_stacks):
        for stack in page["Stacks"]:
            outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            if (
                outputs.keys() >= {"PublisherFunctionArn", "OperatorTopicArn"}
                and stack["StackName"] != facts.stack.name
            ):
                facts.siblings[outputs["OperatorTopicArn"]] = stack["StackName"]


def _read_alarms(connect: Connect, facts: Facts) -> None:
    describe = connect("cloudwatch").describe_alarms
    which = {"AlarmNamePrefix": facts.prefix} if facts.prefix else {}
    for page in _pages(describe, AlarmTypes=ALARM_TYPES, MaxRecords=ALARMS_A_PAGE, **which):
        for kind in ALARM_TYPES:
            facts.alarms += page.get(f"{kind}s", [])


def _read_topics(connect: Connect, facts: Facts) -> None:
    sns = connect("sns")
    named = {topic for alarm in facts.concerned for topic in _topics_of(alarm)}
    for topic in sorted({*named, facts.stack.topic_arn, facts.operator_topic} - {""}):
        if _region_of(topic) != facts.stack.region:
            continue
        try:
            facts.topics[topic] = [
                Subscription(each["Protocol"], each.get("Endpoint", ""), each["SubscriptionArn"].startswith("arn:"))
                for page in _pages(sns.list_subscriptions_by_topic, TopicArn=topic)
                for each in page.get("Subscriptions", [])
            ]
        except ClientError as error:
            if "NotFound" in error.response["Error"].get("Code", ""):
                facts.topics[topic] = None
            else:
                facts.skipped.append(f"topic {topic}: {refusal(error)}")


def _read_tags(connect: Connect, facts: Facts) -> None:
    """Read tags a hundred alarms at a time, by the tagging service; where it knows none, of a few alarms one by one."""
    wired = [alarm["AlarmArn"] for alarm in facts.wired]
    if not wired:
        return
    tagging = connect("resourcegroupstaggingapi")
    found = {
        each["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
        for page in _pages(
            tagging.get_resources, "PaginationToken", ResourceTypeFilters=["cloudwatch:alarm"], ResourcesPerPage=100
        )
        for each in page.get("ResourceTagMappingList", [])
    }
    if not found and len(wired) <= TAGS_ONE_BY_ONE:
        cloudwatch = connect("cloudwatch")
        for arn in wired:
            tags = cloudwatch.list_tags_for_resource(ResourceARN=arn).get("Tags", [])
            found[arn] = {tag["Key"]: tag["Value"] for tag in tags}
    facts.tags = found


def _read_dead_letters(connect: Connect, facts: Facts) -> None:
    name = "ApproximateNumberOfMessages"
    answer = connect("sqs").get_queue_attributes(QueueUrl=facts.stack.dead_letter_url, AttributeNames=[name])
    facts.dead_letters = int(answer["Attributes"][name])


def _read_loops(connect: Connect, facts: Facts) -> None:
    answer = connect("lambda").get_function_recursion_config(FunctionName=facts.stack.function_arn)
    facts.loops = answer.get("RecursiveLoop", "")


def _read_mappings(connect: Connect, facts: Facts) -> None:
    queue = facts.stack.retry_url.rpartition("/")[2]
    mappings = connect("lambda").list_event_source_mappings(FunctionName=facts.stack.function_arn)[
        "EventSourceMappings"
    ]
    states = [m.get("State", "") for m in mappings if m.get("EventSourceArn", "").endswith(f":{queue}")]
    facts.takes_retries = any(state not in ("Disabled", "Disabling") for state in states)


def diagnose(facts: Facts) -> list[Finding]:
    """Return all problems with what was read."""
    return [finding for check in CHECKS for finding in check(facts)]


def notes(facts: Facts) -> Iterator[str]:
    """Yield what may be meant to be so, and what could not be looked at."""
    if facts.operator_topic and facts.topics.get(facts.operator_topic) == []:
        yield (
            "nobody subscribes to the operators' topic: aws sns subscribe --topic-arn "
            f"{facts.operator_topic} --protocol email --notification-endpoint you@example.com"
        )
    if facts.prefix and not facts.alarms:
        yield f"no alarm's name begins with {facts.prefix}"
    if facts.others:
        yield f"{len(facts.others)} alarms lead to others, and not to this stack: {_some(_names(facts.others))}"
    for name in sorted(facts.siblings.values()):
        yield f"stack {name} is a publisher too, and looks at its own alarms: make doctor STACK={quote(name)}"
    for skipped in facts.skipped:
        yield f"not checked: {skipped}"


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - MAX_NAMED
    shown = ", ".join(one_line(name, 80) for name in names[:MAX_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown


def main(arguments: Sequence[str], connect: Connect = connect, say: Say = say) -> int:
    """Print the problems of a stack; return the exit status."""
    parser = argparse.ArgumentParser("doctor", description="what would keep an alarm from paging; changes nothing")
    parser.add_argument("--stack", default=STACK_NAME, help="the CloudFormation stack (default: %(default)s)")
    parser.add_argument("--alarms", default="", help="only alarms whose names begin like this, in a shared account")
    given = parser.parse_args(arguments)
    facts = gather(connect, find_stack(connect, given.stack), given.alarms)
    found = diagnose(facts)
    for number, finding in enumerate(found, 1):
        say(f"{number}. {finding.what}")
        if finding.names:
            say(f"   {_some(finding.names)}")
        say(f"   fix: {finding.fix}")
        say("")
    for note in notes(facts):
        say(f"note: {note}")
    wired = len(facts.wired)
    say(f"{stack_line(facts)}: {len(facts.alarms)} alarms looked at, {wired} lead here; {len(found)} findings.")
    return FINDING if found else FINE


def stack_line(facts: Facts) -> str:
    """Return which stack this is."""
    version = f" {facts.stack.version}" if facts.stack.version else ""
    return f"{facts.stack.name}{version} in {facts.stack.account}, {facts.stack.region}"


if __name__ == "__main__":
    run(main)
