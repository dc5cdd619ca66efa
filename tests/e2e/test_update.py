"""A stack of the first version is updated to this one, and keeps what it knows."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.short_forms import read_template
from local.simulator.server import SimulatorServer
from local.stack import ROOT, TEMPLATE, Emulator, await_until, deploy, parameters_for

FIRST = "82640d6"
"""A commit before deliveries waited in their records."""


@pytest.fixture
def first_template() -> Iterator[Path]:
    """The first version's template, with the code of this one, beside the built template."""
    shown = subprocess.run(
        ["git", "show", f"{FIRST}:template.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if shown.returncode != 0:
        pytest.skip("the history is not here")
    template = read_template(shown.stdout)
    built = read_template(TEMPLATE.read_text())
    function = template["Resources"]["PublisherFunction"]
    function["Properties"]["CodeUri"] = built["Resources"]["PublisherFunction"]["Properties"]["CodeUri"]
    del function["Metadata"], template["Metadata"]["AWS::ServerlessRepo::Application"]
    path = TEMPLATE.with_name("first.json")
    path.write_text(json.dumps(template))
    yield path
    path.unlink()


def test_an_update_keeps_the_table_and_the_queues(own_emulator: Emulator, first_template: Path) -> None:
    """Their names stay, a record stays, and the index of what waits is added; alerts page as before."""
    name = "from-the-first-version"
    key = "update/1"
    with SimulatorServer() as simulator:
        parameters = parameters_for(simulator.url, TargetPrefix="update/")
        before = deploy(own_emulator, parameters, stack_name=name, template=first_template)
        dynamodb = own_emulator.client("dynamodb")
        dynamodb.put_item(TableName=before["DedupTableName"], Item={"id": {"S": "kept"}})
        after = deploy(own_emulator, {**parameters, "NativeAlertRule": "DISABLED"}, stack_name=name)
        kept = ("AlertTopicArn", "PublisherFunctionArn", "DedupTableName", "RetryQueueUrl", "DeadLetterQueueUrl")
        assert {each: after[each] for each in kept} == {each: before[each] for each in kept}
        table = dynamodb.describe_table(TableName=after["DedupTableName"])["Table"]
        assert [index["IndexName"] for index in table["GlobalSecondaryIndexes"]] == ["waiting"]
        assert "Item" in dynamodb.get_item(TableName=after["DedupTableName"], Key={"id": {"S": "kept"}})
        alert = {"fingerprint": key, "alert_name": "Update", "status": "firing", "labels": {"severity": "critical"}}
        own_emulator.client("sns").publish(TopicArn=after["AlertTopicArn"], Message=json.dumps({"alert": alert}))
        await_until(lambda: [i for i in simulator.pagerduty.incidents if i.dedup_key == key], 30, "the page")
