"""The commands of docs/operations.md wire a topic that exists already, on the deployed stack."""

import json
import re

from local.stack import ACCOUNT, REGION, ROOT
from tests.e2e.conftest import Deployed
from tests.lab import awscli

OPERATIONS = (ROOT / "docs/operations.md").read_text()


def command(start: str) -> str:
    """Return a command of the page."""
    (found,) = re.findall(rf"(?ms)^{start}.*?[^\\]$", OPERATIONS)
    return str(found)


def test_a_topic_that_alarms_already_name_is_subscribed_by_one_command(stack: Deployed, key: str) -> None:
    """An alert on it pages; what SNS could not deliver would go to the stack's dead-letter queue."""
    sns = stack.emulator.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    text = re.sub(r"""'?"?\$\(output (\w+)\)"?'?""", lambda name: stack.outputs[name[1]], command("aws sns subscribe"))
    (words,) = awscli.commands_of(text.replace("eu-west-1", REGION).replace("123456789012", ACCOUNT))
    subscribed = awscli.run(words, sns)["SubscriptionArn"]
    attributes = sns.get_subscription_attributes(SubscriptionArn=subscribed)["Attributes"]
    assert json.loads(attributes["RedrivePolicy"]) == {"deadLetterTargetArn": stack.outputs["DeadLetterQueueArn"]}
    alert = {"alert_name": "Existing", "status": "firing", "fingerprint": key}
    sns.publish(TopicArn=topic, Message=json.dumps({"alert": alert}))
    assert stack.incident(key, "triggered").summary == "Existing"
    sns.delete_topic(TopicArn=topic)
