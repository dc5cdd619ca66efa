"""Where a thing in AWS belongs: its ARN says the account and region, else the message, the event, the topic."""

from typing import Any

import pytest

from handler.envelope import Record
from handler.sources.aws import Home
from tests.lab.alerts import ARRIVED_AT, parse_alert, sample, with_detail

ARN = "arn:aws:rds:eu-north-1:111111111111:db:orders"
TOPIC = "arn:aws:sns:us-east-1:444444444444:alerts"
BY_ARN = Home("111111111111", "eu-north-1")
BY_MESSAGE = Home("222222222222", "eu-south-1")
BY_EVENT = Home("333333333333", "eu-west-3")
BY_TOPIC = Home("444444444444", "us-east-1")


@pytest.mark.parametrize(
    ("arn", "message", "event", "topic", "expected"),
    [
        (ARN, BY_MESSAGE, BY_EVENT, TOPIC, BY_ARN),
        ("", BY_MESSAGE, BY_EVENT, TOPIC, BY_MESSAGE),
        ("", Home(), BY_EVENT, TOPIC, BY_EVENT),
        ("", Home(), Home(), TOPIC, BY_TOPIC),
        ("", Home(), Home(), "", Home()),
        ("arn:aws:s3:::receipts", Home(), BY_EVENT, TOPIC, BY_EVENT),
        ("orders", Home(), BY_EVENT, TOPIC, BY_EVENT),
    ],
    ids=["arn", "message", "event", "topic", "nothing", "arn without account and region", "no arn"],
)
def test_the_home_of_a_thing_is_what_is_nearest_to_it(
    arn: str, message: Home, event: Home, topic: str, expected: Home
) -> None:
    record = Record(payload={}, published_at=ARRIVED_AT, topic_arn=topic, account=event.account, region=event.region)

    assert Home.of(record, arn, account=message.account, region=message.region) == expected


def in_another_home(event: Any, arn: str) -> Any:
    return {**event, "account": BY_EVENT.account, "region": BY_EVENT.region, "resources": [arn]}


@pytest.mark.parametrize(
    "event",
    [
        in_another_home(with_detail(sample("rds-eventbridge-low-storage"), SourceArn=ARN), ARN),
        in_another_home(
            with_detail(sample("autoscaling-eventbridge-launch-failed"), AccountId=BY_MESSAGE.account),
            "arn:aws:autoscaling:eu-north-1:111111111111:autoScalingGroup:0f1e:autoScalingGroupName/checkout",
        ),
        {
            **in_another_home(sample("rds-eventbridge-low-storage"), ARN),
            "source": "lambda",
            "detail-type": "Lambda Function Invocation Result - Failure",
            "detail": {
                "requestContext": {
                    "functionArn": "arn:aws:lambda:eu-north-1:111111111111:function:orders:$LATEST",
                    "condition": "RetriesExhausted",
                },
                "requestPayload": {},
                "responsePayload": {"errorMessage": "no such order"},
            },
        },
    ],
    ids=["rds", "autoscaling", "lambda"],
)
def test_the_arn_says_where_a_thing_is_whatever_the_event_says(event: Any) -> None:
    alert = parse_alert(event)

    assert {name: alert.labels[name] for name in ("account", "region")} == BY_ARN.labels
    assert alert.group == BY_ARN.account
    assert alert.client_url.startswith("https://eu-north-1.console.aws.amazon.com/")
