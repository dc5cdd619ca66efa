"""The examples, each checked by its own tool where there is one, and what they send read by the function's parsers."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from handler.alert import Status
from handler.pagerduty.severity import Severity
from handler.targets.secrets import parse_targets
from local.stack import ROOT, SAM
from package.release import template as template_of_a_release
from tests.lab import awscli
from tests.lab.alerts import parse_alert

EXAMPLES = ROOT / "examples"
AMTOOL = ROOT / ".tools/alertmanager/usr/bin/amtool"
TEMPLATE = (ROOT / "template.yaml").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
OUTPUTS = set(re.findall(r"(?m)^  (\w+):", TEMPLATE[TEMPLATE.index("\nOutputs:") :]))
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.name != "README.md")
TEMPLATES = [path for path in FILES if "AWSTemplateFormatVersion" in path.read_text()]
MESSAGE = '{{ template "pagerduty.message" . }}'
STOPPED = {
    "account": "123456789012",
    "time": "2026-11-23T03:40:01Z",
    "detail": {"instance-id": "i-0abcd1234", "state": "stopped"},
}


class Template(yaml.SafeLoader):
    """Reads CloudFormation's tags as texts."""


Template.add_multi_constructor("!", lambda loader, tag, node: f"!{tag} {node.value}")


def read(name: str) -> Any:
    return yaml.load((EXAMPLES / name).read_text(), Template)


def section(text: str, title: str) -> str:
    """Return a section of a page."""
    start = text.index(f"# {title}\n")
    return text[start : text.find("\n#", start + 1)]


def transform(transformer: dict[str, Any], event: dict[str, Any]) -> Any:
    """Do as EventBridge's input transformer: a text is quoted where it stands alone, and put in bare within quotes.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    values = {}
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        values[name] = value

    def put(found: re.Match[str]) -> str:
        if found[0].startswith('"'):
            return re.sub(r"<(\w+)>", lambda name: json.dumps(values[name[1]])[1:-1], found[0])
        return json.dumps(values[found[1]])

    return json.loads(re.sub(r'"[^"]*"|<(\w+)>', put, transformer["InputTemplate"]))


def test_cloudformation_examples_pass_cfn_lint() -> None:
    """Without a warning."""
    assert len(TEMPLATES) >= 5
    command = [str(SAM / "cfn-lint"), "--regions", "eu-west-1", "-t", *map(str, TEMPLATES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_in_examples_are_ones_that_the_aws_cli_takes(path: Path) -> None:
    """And name files that exist, and parameters that the template they deploy has."""
    text = path.read_text() if path.suffix != ".json" else ""
    for command in awscli.commands_of(text):
        assert awscli.problems(command) == []
        for name in re.findall(r"(?:file|fileb)://(\S+)|(?<=\s)(examples/\S+)", " ".join(command)):
            assert (ROOT / "".join(name)).is_file()
        if command[:2] == ["cloudformation", "deploy"]:
            overrides = command[command.index("--parameter-overrides") + 1 :]
            declared = read(path.name)["Parameters"]
            given = {it.split("=")[0] for it in overrides}
            assert given <= declared.keys()
            assert {name for name, it in declared.items() if "Default" not in it} <= given


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_examples_import_nothing_that_is_not_exported(path: Path) -> None:
    """The stack exports nothing: examples take its outputs as parameters."""
    assert "ImportValue" not in path.read_text()
    asked = {
        name for name in read(path.name)["Parameters"] if name.endswith(("Arn", "Url")) and name != "CentralEventBusArn"
    }
    assert asked <= OUTPUTS


def test_the_members_template_sends_to_the_bus_of_others() -> None:
    """Every rule, by a role that may do that alone, with a queue for what cannot be sent."""
    template = read("member-account.yaml")
    assert (
        template["Parameters"]["CentralEventBusArn"]["Description"] == "Output ForeignEventBusArn of the central stack"
    )
    rules = [it["Properties"] for it in template["Resources"].values() if it["Type"] == "AWS::Events::Rule"]
    assert {source for rule in rules for source in rule["EventPattern"]["source"]} == {
        "aws.cloudwatch",
        "aws.guardduty",
        "aws.health",
    }
    for rule in rules:
        ((target),) = rule["Targets"]
        assert (target["Arn"], target["RoleArn"]) == ("!Ref CentralEventBusArn", "!GetAtt Role.Arn")
        assert target["DeadLetterConfig"] == {"Arn": "!GetAtt Undelivered.Arn"}
        assert set(rule["EventPattern"]["detail-type"]) <= set(re.findall(r"(?m)^ +- ([A-Z].*)$", TEMPLATE))


def test_the_stackset_and_terraform_deploy_a_release() -> None:
    """With parameters that its template has, and every capability that it needs; Terraform in 35 lines."""
    release = template_of_a_release(TEMPLATE, {})
    declared = set(re.findall(r"(?m)^  (\w+):\n    Type: (?:String|Number|CommaDelimitedList)", release))
    stack_set = read("publisher-stackset.yaml")["Resources"]["Publishers"]["Properties"]
    assert {it["ParameterKey"] for it in stack_set["Parameters"]} <= declared
    hcl = (EXAMPLES / "terraform/main.tf").read_text()
    stack = hcl2.loads(hcl)["resource"][1]['"aws_cloudformation_stack"']['"publisher"']
    assert set(re.findall(r"(\w+) += ", hcl[hcl.index("merge(") : hcl.index("})")])) <= declared
    for capabilities in (stack_set["Capabilities"], [it.strip('"') for it in stack["capabilities"]]):
        assert set(capabilities) == {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"}
    assert set(re.findall(r'outputs\["(\w+)"\]', hcl)) <= OUTPUTS
    assert len(hcl.splitlines()) <= 35


@pytest.mark.skipif(not shutil.which("terraform"), reason="Terraform is not installed here")
def test_terraform_examples_are_formatted() -> None:
    """And so are HCL to Terraform itself; its AWS provider, which would validate them, is not needed for that."""
    command = ["terraform", "fmt", "-check", "-recursive", str(EXAMPLES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_alarm_with_tags_sends_them() -> None:
    """By the setting of CloudWatch without which a notification has none; the tags are read as labels and severity."""
    alarm = read("cloudwatch-alarm-tags.yaml")["Resources"]["QueueAlarm"]["Properties"]
    assert alarm["ActionConfiguration"] == {"AlarmTagsPropagation": {"Enabled": True}}
    assert {it["Key"]: it["Value"] for it in alarm["Tags"]} == {"severity": "critical", "team": "payments"}


def test_the_whole_target_is_one() -> None:
    """With every field there is, and the defaults that docs/operations.md names."""
    text = (EXAMPLES / "target.json").read_text()
    targets = parse_targets({"pagerduty/payments": text}, "https://events.pagerduty.com")
    assert ([target.name for target in targets.targets], targets.problems) == (["payments"], ())
    documented = set(re.findall(r"(?m)^\| `(\w+)`", section(OPERATIONS, "Fields of a target")))
    assert documented == json.loads(text).keys() - {"format"}


def test_terraform_and_cloudformation_make_the_same_alarm() -> None:
    """The first is HCL, and both page and resolve by the topic."""
    hcl = hcl2.loads((EXAMPLES / "cloudwatch-alarm.tf").read_text())
    alarm = hcl["resource"][0]['"aws_cloudwatch_metric_alarm"']['"errors"']
    other = read("cloudwatch-alarm.yaml")["Resources"]["ErrorAlarm"]["Properties"]
    assert alarm["alarm_actions"] == alarm["ok_actions"] == ["${var.alert_topic_arn}"]
    assert other["AlarmActions"] == other["OKActions"] == ["!Ref AlertTopicArn"]
    assert json.loads(alarm["metric_name"]) == other["MetricName"]
    assert (alarm["period"], alarm["threshold"]) == (other["Period"], other["Threshold"])


def test_the_rules_transformer_makes_a_native_alert() -> None:
    """Of a sample event, handed to the function."""
    (target,) = read("eventbridge-rule.yaml")["Resources"]["InstanceStopped"]["Properties"]["Targets"]
    alert = parse_alert(transform(target["InputTransformer"], STOPPED))
    assert (alert.origin, alert.status, alert.severity) == ("native", Status.FIRING, Severity.WARNING)
    assert alert.fingerprint == "ec2/123456789012/i-0abcd1234"
    assert alert.annotations == {"summary": "Instance i-0abcd1234 is stopped"}
    assert alert.starts_at is not None
    assert alert.starts_at.isoformat() == "2026-11-23T03:40:01+00:00"


def test_the_prometheus_examples_have_one_template() -> None:
    """Tests with a real Alertmanager prove that the function reads what it writes."""
    _comment, _, template = (EXAMPLES / "alertmanager.tmpl").read_text().partition("\n")
    definition = read("amazon-managed-prometheus.yaml")
    assert definition["template_files"]["pagerduty"] == template
    for config in (read("alertmanager.yml"), yaml.safe_load(definition["alertmanager_config"])):
        (sns,) = config["receivers"][0]["sns_configs"]
        assert (sns["message"], sns["subject"]) == (MESSAGE, "Alertmanager: {{ .Status }}")
        assert (config["route"]["group_by"], config["route"]["group_wait"]) == (["..."], "0s")


@pytest.mark.skipif(not AMTOOL.exists(), reason="Alertmanager is not installed here")
def test_amtool_takes_the_alertmanager_example() -> None:
    """With its template."""
    command = [str(AMTOOL), "check-config", str(EXAMPLES / "alertmanager.yml")]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_grafana_example_is_a_contact_point_with_its_template() -> None:
    """Its template writes the keys that the Alertmanager source reads."""
    provisioned = read("grafana-contact-point.yaml")
    ((receiver,),) = [point["receivers"] for point in provisioned["contactPoints"]]
    assert receiver["type"] == "sns"
    assert receiver["settings"]["message"] == MESSAGE
    (template,) = provisioned["templates"]
    assert {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"} <= set(
        re.findall(r'"(\w+)":', template["template"])
    )


def test_every_example_is_in_the_table() -> None:
    """And begins by saying what it does, where its format has comments."""
    readme = (EXAMPLES / "README.md").read_text()
    for path in FILES:
        assert f"({path.relative_to(EXAMPLES)})" in readme
        assert path.suffix == ".json" or path.read_text().startswith(("# ", "{{/* "))
