"""The warm path from inside, in CPU time: one POST, one DynamoDB call, and what the handler adds to them.

    python -m benchmarks.warm FILE

Run so by `measure`, in a process that has the built function and the other clients; it leaves its numbers in FILE.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.artifacts import Artifact
from benchmarks.emulator import PYTHON, function_environment
from benchmarks.messages import Context, with_alerts
from benchmarks.table import Line, ratio
from local.stack import ROOT, ROUTING_KEY
from tests.lab import standin

ROUNDS = 15
POSTS = 150
CALLS = 100
ALERTS = 150
CUSTOM_DETAILS = {
    "labels": {"service": "checkout", "cluster": "lamplight-prod", "team": "payments"},
    "annotations": {"runbook_url": "https://wiki.lamplight.example/runbooks/checkout"},
    "starts_at": "2026-11-23T03:40:01Z",
}
SETTLE: Mapping[str, Any] = {
    "TableName": "dedup",
    "Key": {"id": {"S": "production#checkout-error-rate-prod"}},
    "UpdateExpression": "SET #a = :a, #d = :d, #e = :e REMOVE #o, #l",
    "ConditionExpression": "#o = :o AND #v = :v",
    "ExpressionAttributeNames": {
        "#a": "attempted",
        "#d": "delivered_at",
        "#e": "expires_at",
        "#o": "owner",
        "#l": "lease_until",
        "#v": "version",
    },
    "ExpressionAttributeValues": {
        ":a": {"BOOL": True},
        ":d": {"N": "1795405201000"},
        ":e": {"N": "1795491601"},
        ":o": {"S": "0123456789abcdef0123456789abcdef"},
        ":v": {"S": "2026-11-23T03:40:01+00:00#1"},
    },
    "ReturnValues": "ALL_OLD",
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}
"""A write as a delivery makes three of."""

type Samples = dict[str, list[float]]


def measure(ours: Artifact) -> list[Line]:
    """Measure in a process of its own, against servers of their own that answer at once."""
    with standin.running() as endpoint, tempfile.NamedTemporaryFile("r", prefix="pagerduty-publisher-") as found:
        environment = function_environment(ours.folder, endpoint)
        environment["PYTHONPATH"] = f"{ours.folder}:{ROOT}:{ROOT}/src"  # the built function before its source
        command = [str(PYTHON), "-W", "ignore", "-m", "benchmarks.warm", found.name]
        subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        taken: Samples = json.load(found)
    post = taken["bare urllib3"]
    return [
        ratio("one POST, CPU: this client / bare urllib3", taken["this client"], post, unit="ms", bar=1.10),
        ratio("one POST, CPU: PagerDuty's `pagerduty` / bare urllib3", taken["pagerduty"], post, unit="ms"),
        ratio("one POST, CPU: `pdpyras` / bare urllib3", taken["pdpyras"], post, unit="ms"),
        ratio("one POST, CPU: this client / `pagerduty`", taken["this client"], taken["pagerduty"], unit="ms"),
        ratio(
            "one DynamoDB call, CPU: our client / a default one",
            taken["our DynamoDB client"],
            taken["default DynamoDB client"],
            unit="ms",
            bar=0.85,
        ),
        Line(
            what="own overhead of a warm delivery: less boto3 and HTTP",
            values=taken["own overhead"],
            unit="ms",
            bar=0.6,
        ),
        Line(what="a whole warm delivery, CPU, all of it", values=taken["whole delivery"], unit="ms"),
    ]


def in_turns(calls: Mapping[str, Callable[[], object]], times: int) -> Samples:
    """Measure the CPU milliseconds of one call of each, in rounds; the first, not counted, warms them up."""
    samples: Samples = defaultdict(list)
    names = list(calls)
    for number in range(ROUNDS + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            call = calls[name]
            gc.collect()
            started = process_time()
            for _ in range(times):
                call()
            if number:
                samples[name].append((process_time() - started) / times * 1000)
    return samples


def posts() -> Samples:
    """Send the same trigger by each client, its connection kept."""
    import pagerduty
    import pdpyras
    import urllib3

    from handler.pagerduty.client import PagerDutyClient
    from handler.pagerduty.events import Action, Event, Payload
    from handler.pagerduty.severity import Severity

    base_url = os.environ["PAGERDUTY_BASE_URL"]
    summary, source, dedup_key = "7.4 % of checkouts fail, 1 % is normal", "lamplight-prod", "checkout-error-rate-prod"
    body = {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {"summary": summary, "source": source, "severity": "error", "custom_details": CUSTOM_DETAILS},
    }
    payload = Payload(summary=summary, source=source, severity=Severity.ERROR, custom_details=CUSTOM_DETAILS)
    event = Event(action=Action.TRIGGER, dedup_key=dedup_key, payload=payload)
    client = PagerDutyClient(base_url=base_url)
    pool = urllib3.PoolManager(maxsize=10)
    sdk = pagerduty.EventsApiV2Client(ROUTING_KEY)
    sdk._url = base_url  # all without TLS, which it would refuse
    old_sdk = pdpyras.EventsAPISession(ROUTING_KEY)
    old_sdk.url = base_url

    def post_bare() -> None:
        response = pool.request("POST", f"{base_url}/v2/enqueue", json=body, retries=False, timeout=10)
        if response.status != 202 or not response.json()["dedup_key"]:
            raise RuntimeError("not accepted")

    def post_by(trigger: Callable[..., object]) -> Callable[[], object]:
        return lambda: trigger(summary, source, dedup_key=dedup_key, severity="error", custom_details=CUSTOM_DETAILS)

    return in_turns(
        {
            "bare urllib3": post_bare,
            "this client": lambda: client.send(event, ROUTING_KEY),
            "pagerduty": post_by(sdk.trigger),
            "pdpyras": post_by(old_sdk.trigger),
        },
        POSTS,
    )


def deliveries() -> Samples:
    """Make the DynamoDB call by the function's own client; then deliver, with and without boto3 and HTTP."""
    import boto3
    import urllib3
    from botocore.client import BaseClient

    from handler import app

    gc.unfreeze()  # the function has put what init made out of the collector's sight
    # wherever the function keeps it: what counts is the client that it uses
    [own] = [
        each
        for each in gc.get_objects()
        if isinstance(each, BaseClient) and each.meta.service_model.service_name == "dynamodb"
    ]
    default = boto3.client("dynamodb")
    samples = in_turns(
        {
            "our DynamoDB client": lambda: own.update_item(**SETTLE),  # type: ignore[attr-defined]
            "default DynamoDB client": lambda: default.update_item(**SETTLE),
        },
        CALLS,
    )
    event = with_alerts(1, "warm")
    context: Any = Context()

    def deliver() -> None:
        [result] = app.lambda_handler(event, context)["results"]
        if result["outcome"] != "accepted":
            raise RuntimeError(f"not accepted: {result}")

    samples |= in_turns({"whole delivery": deliver}, ALERTS)

    accepted = json.dumps(standin.ACCEPTED).encode()
    BaseClient._make_api_call = lambda self, operation, arguments: {}  # type: ignore[attr-defined]
    urllib3.PoolManager.request = lambda self, method, url, **_: Accepted(accepted)  # type: ignore[method-assign,assignment]
    return samples | in_turns({"own overhead": deliver}, ALERTS)


class Accepted:
    """An answer of PagerDuty that cost nothing."""

    status = 202
    headers: Mapping[str, str] = {}
    connection = None

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._unread = data

    def read1(self, amount: int = -1) -> bytes:
        """Return the body, then nothing."""
        body, self._unread = self._unread, b""
        return body

    read = read1

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.data)

    def close(self) -> None:
        """Do nothing."""

    release_conn = close


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(posts() | deliveries()))
