"""The checks: each yields what is wrong with the facts, and the command that fixes it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import quote
from typing import Any

from handler.agreement.alarm import Alarm, notification
from handler.alert import Alert
from handler.errors import NoTargetError, PublishError
from handler.pagerduty.severity import parse_severity
from handler.sources.reader import Reader
from handler.targets.target import TargetSet
from tools.doctor.facts import Facts, names_of, region_of, topics_of
from tools.stack import ToolError, one_line, reader_of

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


def invalid_settings(facts: Facts) -> Iterator[Finding]:
    """Find settings with which the function does not start."""
    try:
        reader_of(facts.stack)
    except ToolError as error:
        yield Finding(
            one_line(str(error), 300),
            "deploy with a valid value of the parameter, or undo the change of the function's environment"
            " (docs/operations.md, parameters)",
        )


def foreign_regions(facts: Facts) -> Iterator[Finding]:
    """Find alarms that name a topic of another region: CloudWatch reaches topics of its own region alone."""
    for alarm in facts.stranded:
        wrong = [topic for topic in topics_of(alarm) if region_of(topic) != facts.stack.region]
        if wrong:
            yield Finding(
                f"alarm {one_line(alarm['AlarmName'])} names a topic of another region: {wrong[0]}",
                rewire(alarm, facts.stack.topic_arn, instead_of=wrong[0]),
            )


def dead_topics(facts: Facts) -> Iterator[Finding]:
    """Find topics that alarms name and nobody subscribes to, or that are gone, where they reach nobody else."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for alarm in facts.stranded:
        for topic in topics_of(alarm):
            if topic != facts.stack.topic_arn and region_of(topic) == facts.stack.region:
                named.setdefault(topic, []).append(alarm)
    for topic, alarms in named.items():
        if topic not in facts.topics or any(each.is_confirmed for each in facts.topics[topic] or ()):
            continue
        if facts.topics[topic] is None:
            fix = rewire(alarms[0], facts.stack.topic_arn, instead_of=topic)
            yield Finding(f"{len(alarms)} alarms name a topic that does not exist: {topic}", fix, names_of(alarms))
        else:
            function = facts.stack.function_arn
            fix = (
                f"aws lambda add-permission --function-name {function} --statement-id {topic.rpartition(':')[2]}"
                f" --action lambda:InvokeFunction --principal sns.amazonaws.com --source-arn {topic}"
                f" && aws sns subscribe --topic-arn {topic} --protocol lambda --notification-endpoint {function}"
            )
            yield Finding(
                f"{len(alarms)} alarms name a topic that nobody subscribes to: {topic}", fix, names_of(alarms)
            )


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
        if not topics_of(alarm) or any(map(facts.delivers, alarm.get("OKActions") or ()))
    ]
    if not others:
        return
    yield Finding(
        f"{len(others)} alarms have no ALARM action that leads to this stack: nobody is paged for them",
        rewire(others[0], facts.stack.topic_arn),
        names_of(others),
    )
    for rule in facts.rules:
        if rule.reads_alarms and not rule.is_enabled:
            yield Finding(
                f"rule {rule.name} is disabled, and {len(others)} alarms have no other way here",
                f"deploy with {rule.parameter or 'CloudWatchAlarmRule'}=ENABLED to page for every alarm of the account,"
                " or wire the alarms one by one, above",
                names_of(others),
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
            names_of(silent),
        )


def disabled_actions(facts: Facts) -> Iterator[Finding]:
    """Find alarms whose actions are disabled: they change state and notify nobody."""
    disabled = [alarm for alarm in facts.wired if not alarm.get("ActionsEnabled", True)]
    if disabled:
        names = " ".join(quote(name) for name in names_of(disabled)[:100])
        yield Finding(
            f"{len(disabled)} alarms have their actions disabled: they page nobody",
            f"aws cloudwatch enable-alarm-actions --alarm-names {names}",
            names_of(disabled),
        )


def unroutable(facts: Facts) -> Iterator[Finding]:
    """Find alarms that no target takes: their alerts go to the dead-letter queue."""
    if facts.targets is None:
        return
    try:
        reader = reader_of(facts.stack)
    except ToolError:  # `invalid_settings` finds it
        return
    targets = facts.targets
    lost = [alarm for alarm in facts.wired if _is_lost(alarm, facts.tags.get(alarm["AlarmArn"], {}), reader, targets)]
    if lost:
        yield Finding(
            f"{len(lost)} alarms would be taken by no target: each alert of theirs becomes a dead letter",
            f"add a target without `match`, which takes what no other takes: a secret {facts.stack.target_prefix}..."
            " (docs/operations.md, targets); or let an existing one match",
            names_of(lost),
        )


def _is_lost(alarm: Mapping[str, Any], tags: Mapping[str, str], reader: Reader, targets: TargetSet) -> bool:
    firing = Alarm.of({**alarm, "StateValue": "ALARM"})
    message = notification(firing, tags if _sends_tags(alarm) else {})
    try:
        found = reader.read(message, datetime.now(UTC))
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
                    f"alarm {name} has the tag {key}={one_line(value, 40)}: not a known severity",
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
            names_of(hidden),
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
    invalid_settings,
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


def diagnose(facts: Facts) -> list[Finding]:
    """Return all problems with what was read."""
    return [finding for check in CHECKS for finding in check(facts)]
