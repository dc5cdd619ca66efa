"""The examples, each checked by its own tool where there is one, and what they send read by the function's parsers."""

import json
import re
import subprocess
from typing import Any

import hcl2
import pytest
import yaml

from handler.alert import Status
from handler.pagerduty.severity import Severity
from local.stack import ROOT, SAM
from tests.lab.alerts import parse_alert
from tests.unit.test_app import sns

EXAMPLES = ROOT / "examples"
AMTOOL = ROOT / ".tools/alertmanager/usr/bin/amtool"
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


@pytest.mark.parametrize("name", ["cloudwatch-alarm.yaml", "eventbridge-rule.yaml"])
def test_cloudformation_examples_pass_cfn_lint(name: str) -> None:
    """Without a warning."""
    command = [str(SAM / "cfn-lint"), "--regions", "eu-west-1", "-t", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_terraform_and_cloudformation_make_the_same_alarm() -> None:
    """The first is HCL, and both page and resolve by the topic."""
    hcl = hcl2.loads((EXAMPLES / "cloudwatch-alarm.tf").read_text())
    alarm = hcl["resource"][0]['"aws_cloudwatch_metric_alarm"']['"errors"']
    other = read("cloudwatch-alarm.yaml")["Resources"]["ErrorAlarm"]["Properties"]
    assert alarm["alarm_actions"] == alarm["ok_actions"] == ["${var.alert_topic_arn}"]
    assert other["AlarmActions"] == other["OKActions"] == ["!Ref AlertTopicArn"]
    assert json.loads(alarm["metric_name"]) == other["MetricName"]
    assert (alarm["period"], alarm["threshold"]) == (other["Period"], other["Threshold"])


def test_the_rules_transformer_gives_a_native_alert() -> None:
    """Of a sample event, over the topic."""
    (target,) = read("eventbridge-rule.yaml")["Resources"]["InstanceStopped"]["Properties"]["Targets"]
    alert = parse_alert(sns(transform(target["InputTransformer"], STOPPED)))
    assert (alert.origin, alert.status, alert.severity) == ("native", Status.FIRING, Severity.WARNING)
    assert alert.fingerprint == "ec2/123456789012/i-0abcd1234"
    assert alert.annotations == {"summary": "Instance i-0abcd1234 is stopped"}
    assert alert.observed_at.isoformat() == "2026-11-23T03:40:01+00:00"


def test_the_prometheus_examples_have_the_template_of_the_docs() -> None:
    """Of which tests with a real Alertmanager prove that the function reads what it makes."""
    template = next(
        block
        for block in re.findall(r"```\w*\n(.*?)```", (ROOT / "docs/sources.md").read_text(), re.DOTALL)
        if 'define "pagerduty.message"' in block
    )
    assert (EXAMPLES / "alertmanager.tmpl").read_text().endswith(template)
    definition = read("amazon-managed-prometheus.yaml")
    assert definition["template_files"]["pagerduty"] == template
    for config in (read("alertmanager.yml"), yaml.safe_load(definition["alertmanager_config"])):
        assert [sns["message"] for sns in config["receivers"][0]["sns_configs"]] == [MESSAGE]


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
    """And begins by saying what it does."""
    readme = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.name != "README.md":
            assert f"({path.name})" in readme
            assert path.read_text().startswith(("# ", "{{/* "))
