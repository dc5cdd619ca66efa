"""A real Alertmanager publishes to the deployed stack's topic, by the template of the examples and by others."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
import yaml

from local.stack import (
    REGION,
    ROOT,
    await_until,
    aws_environment,
    free_port,
)
from tests.e2e.conftest import PATIENCE_SECONDS, Deployed

UNPACKED = ROOT / ".tools/alertmanager"
"""What `make` unpacks where Alertmanager is not installed. Its templates are found from there."""


def find(*names: str) -> str | None:
    """Return the first of these programs that is installed or unpacked."""
    path = f"{os.environ['PATH']}:{UNPACKED / 'usr/bin'}"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


ALERTMANAGER = find("prometheus-alertmanager", "alertmanager")
AMTOOL = find("amtool")
needs_alertmanager = pytest.mark.skipif(
    ALERTMANAGER is None, reason="no Alertmanager: install it, or run `make test` where there is apt"
)
needs_amtool = pytest.mark.skipif(AMTOOL is None, reason="no amtool: it comes with Alertmanager")

TEMPLATE, CONFIG, AMP = (
    (ROOT / "examples" / name).read_text()
    for name in ("alertmanager.tmpl", "alertmanager.yml", "amazon-managed-prometheus.yaml")
)
UNESCAPED = """{{ define "unescaped.texts" }}{ {{- range $i, $pair := .SortedPairs }}{{ if $i }}, {{ end -}}
"{{ $pair.Name }}": "{{ $pair.Value }}"{{ end -}} }{{ end }}
{{ define "unescaped.message" }}{"receiver": "{{ .Receiver }}","status": "{{ .Status }}","alerts": [
{{- range $i, $alert := .Alerts }}{{ if $i }}, {{ end }}{"status": "{{ .Status }}",
"labels": {{ template "unescaped.texts" .Labels }},"annotations": {{ template "unescaped.texts" .Annotations }},
"startsAt": "{{ .StartsAt }}","endsAt": "{{ .EndsAt }}","generatorURL": "{{ .GeneratorURL }}",
"fingerprint": "{{ .Fingerprint }}"}{{ end }}],"groupLabels": {{ template "unescaped.texts" .GroupLabels }}}{{ end }}"""
"""Writes values into quotes as they are, like the template that Amazon documents."""
SUBJECT = yaml.safe_load(CONFIG)["receivers"][0]["sns_configs"][0]["subject"]
PATHS = ["documented", "unescaped", "default"]
NO_SUBJECT = "no subject"
"""A receiver with Alertmanager's default subject, which joins all common labels."""
HOSTILE = 'He said "stop", then\nwrote {"status": "error"} to C:\\temp\\new'


def configuration(stack: Deployed) -> str:
    """Make a receiver for each template; an alert with the label `path` = `all` goes to every one."""
    messages = {
        "documented": '{{ template "pagerduty.message" . }}',
        "unescaped": '{{ template "unescaped.message" . }}',
    }
    receivers = [
        {
            "name": path,
            "sns_configs": [
                {
                    "api_url": stack.emulator.endpoint,
                    "sigv4": {"region": REGION, "access_key": "test", "secret_key": "test"},
                    "topic_arn": stack.outputs["AlertTopicArn"],
                    **({"message": messages[path]} if path in messages else {}),
                    **({"subject": SUBJECT} if path != NO_SUBJECT else {}),
                }
            ],
        }
        for path in (*PATHS, NO_SUBJECT)
    ]
    routes = [{"receiver": path, "matchers": [f'path=~"all|{path}"'], "continue": True} for path in PATHS]
    routes += [{"receiver": NO_SUBJECT, "matchers": [f'path="{NO_SUBJECT}"']}]
    times = {"group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s"}
    return json.dumps(
        {"templates": ["*.tmpl"], "route": {"receiver": PATHS[0], "routes": routes, **times}, "receivers": receivers}
    )


@dataclass(frozen=True)
class Alertmanager:
    """One that runs, and what a Prometheus would say to it."""

    url: str

    def post(self, *alerts: dict[str, Any]) -> None:
        answer = urllib3.request("POST", f"{self.url}/api/v2/alerts", json=list(alerts), retries=False)
        assert answer.status == 200, answer.data

    def fingerprint(self, labels: dict[str, str]) -> str:
        """Return the fingerprint that it computes."""
        alerts = urllib3.request("GET", f"{self.url}/api/v2/alerts", retries=False).json()
        (found,) = [alert["fingerprint"] for alert in alerts if alert["labels"] == labels]
        return str(found)

    def notifications(self) -> tuple[int, int]:
        """Return how many messages it has published, and how many of them were refused."""
        said = urllib3.request("GET", f"{self.url}/metrics", retries=False).data.decode()
        counts = [
            re.search(rf'^alertmanager_{name}{{integration="sns"}} (\d+)$', said, re.MULTILINE)
            for name in ("notifications_total", "notifications_failed_total")
        ]
        total, failed = (int(found[1]) if found else 0 for found in counts)
        return total, failed


@pytest.fixture
def alertmanager(stack: Deployed, tmp_path: Path) -> Iterator[Alertmanager]:
    """An Alertmanager of this test's own."""
    (tmp_path / "alertmanager.yml").write_text(configuration(stack))
    (tmp_path / "pagerduty.tmpl").write_text(TEMPLATE)
    (tmp_path / "unescaped.tmpl").write_text(UNESCAPED)
    running = Alertmanager(f"http://127.0.0.1:{free_port()}")
    log = tmp_path / "alertmanager.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(ALERTMANAGER),
                f"--config.file={tmp_path / 'alertmanager.yml'}",
                f"--storage.path={tmp_path / 'data'}",
                f"--web.listen-address={running.url.removeprefix('http://')}",
                "--web.external-url=https://alertmanager.lamplight.example",
                "--web.route-prefix=/",
                "--cluster.listen-address=",
            ],
            cwd=UNPACKED if UNPACKED.exists() else tmp_path,
            env=aws_environment(stack.emulator.endpoint),
            stdout=output,
            stderr=output,
        )
    try:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return urllib3.request("GET", f"{running.url}/-/ready", retries=False, timeout=2).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        await_until(is_ready, PATIENCE_SECONDS, "Alertmanager")
        yield running
    finally:
        process.terminate()
        process.wait(10)


def named(path: str, **labels: str) -> dict[str, str]:
    """Make labels that no other test uses."""
    return {"alertname": f"Lamp{uuid4().hex[:8]}", "path": path, "severity": "critical", **labels}


def alert(labels: dict[str, str], *, started: timedelta = timedelta(0), ended: bool = False) -> dict[str, Any]:
    """Make an alert as Prometheus posts it, started so long ago."""
    now = datetime.now(UTC)
    return {
        "labels": labels,
        "annotations": {"description": HOSTILE, "summary": f"{labels.get('instance', 'a lamp')} is too hot"},
        "generatorURL": "https://prometheus.lamplight.example/graph?g0.expr=lamp_celsius",
        "startsAt": (now - started).isoformat(),
        **({"endsAt": now.isoformat()} if ended else {}),
    }


@needs_alertmanager
@pytest.mark.parametrize("path", PATHS)
def test_a_group_pages_and_resolves_one_by_one(stack: Deployed, alertmanager: Alertmanager, path: str) -> None:
    """Two alerts in one notification are two incidents under Prometheus's fingerprints; each ends by itself."""
    first = named(path, instance="lamp-7", note='Größe "XL"\n')
    second = {**first, "instance": "lamp-8", "severity": "warning"}
    alertmanager.post(alert(first), alert(second))
    keys = [alertmanager.fingerprint(labels) for labels in (first, second)]

    opened = [stack.incident(key, "triggered") for key in keys]
    assert alertmanager.notifications() == (1, 0)
    assert [(i.source, i.severity) for i in opened] == [("lamp-7", "critical"), ("lamp-8", "warning")]
    assert [i.summary for i in opened] == [f"{first['alertname']}: lamp-{n} is too hot" for n in (7, 8)]
    details: Any = opened[0].payload["custom_details"]
    assert details["labels"] == first
    assert details["annotations"]["description"] == HOSTILE

    alertmanager.post(alert(first, ended=True))
    stack.incident(keys[0], "resolved")
    assert stack.incident(keys[1], "triggered").number == opened[1].number
    alertmanager.post(alert(second, ended=True))
    stack.incident(keys[1], "resolved")


@needs_alertmanager
def test_every_template_gives_one_dedup_key(stack: Deployed, alertmanager: Alertmanager) -> None:
    """An alert that reaches the topic in three shapes is one incident, and is over when it is over."""
    labels = named("all", instance="lamp-9")
    alertmanager.post(alert(labels))
    await_until(lambda: alertmanager.notifications() == (3, 0), PATIENCE_SECONDS, "three notifications")
    key = alertmanager.fingerprint(labels)

    opened = stack.incident(key, "triggered")
    alertmanager.post(alert(labels, ended=True))
    assert stack.incident(key, "resolved").number == opened.number
    await_until(lambda: alertmanager.notifications() == (6, 0), PATIENCE_SECONDS, "three more notifications")
    assert len([i for i in stack.pagerduty.incidents if i.summary == opened.summary]) == 1


@needs_alertmanager
@pytest.mark.parametrize("path", PATHS)
def test_an_alert_that_was_lost_from_sight_pages_again(stack: Deployed, alertmanager: Alertmanager, path: str) -> None:
    """It was resolved for want of news; what comes back began before that, and still is a new incident."""
    labels, started = named(path), timedelta(hours=3)
    alertmanager.post(alert(labels, started=started))
    key = alertmanager.fingerprint(labels)
    first = stack.incident(key, "triggered")
    alertmanager.post(alert(labels, started=started, ended=True))
    stack.incident(key, "resolved")

    alertmanager.post(alert(labels, started=started))

    assert stack.incident(key, "triggered").number > first.number


@needs_alertmanager
def test_without_a_subject_of_ones_own_sns_refuses_the_message(stack: Deployed, alertmanager: Alertmanager) -> None:
    """And Alertmanager gives up, which is why the documented configuration has one.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    labels = named(
        NO_SUBJECT, instance="lamp-7.eu-central-1.compute.internal:9100", namespace="lighting", pod="lamp-7f"
    )
    alertmanager.post(alert(labels))
    await_until(lambda: alertmanager.notifications() == (1, 1), PATIENCE_SECONDS, "the message to be refused")
    assert stack.requests(alertmanager.fingerprint(labels)) == []


@needs_amtool
@pytest.mark.parametrize("kind", ["Alertmanager", "Amazon Managed Prometheus"])
def test_the_documented_configuration_is_valid(tmp_path: Path, kind: str) -> None:
    """What the docs tell to copy, Alertmanager's own check accepts."""
    config = CONFIG if kind == "Alertmanager" else yaml.safe_load(AMP)["alertmanager_config"]
    (tmp_path / "alertmanager.yml").write_text(config)
    for name in ("alertmanager.tmpl", "pagerduty"):
        (tmp_path / name).write_text(TEMPLATE)

    done = subprocess.run(
        [str(AMTOOL), "check-config", tmp_path / "alertmanager.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 templates" in done.stdout
