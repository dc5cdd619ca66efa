"""Secrets Manager in memory, and the secrets of targets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError

from tests.lab.failures import Failures

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "fedcba9876543210fedcba9876543210"


def target_secret(name: str = "production", routing_key: str = ROUTING_KEY, **more: Any) -> str:
    """Return a target's secret."""
    return json.dumps({"name": name, "type": "pagerduty", "headers": {"routing_key": routing_key}, **more})


class FakeSecrets:
    """Secrets by name, all of them tagged; counts the reads."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = dict(secrets)
        self.failures = Failures()
        self.reads = 0

    def fail(self, error: str | BotoCoreError, *, after: int = 0, times: int | None = None) -> None:
        """Fail from now on."""
        self.failures = Failures(error, after, times)

    def batch_get_secret_value(self, *, Filters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self.reads += 1
        self.failures.strike("BatchGetSecretValue")
        prefix = next(each["Values"][0] for each in Filters if each["Key"] == "name")
        found = [(name, text) for name, text in self.secrets.items() if name.startswith(prefix)]
        return {"SecretValues": [{"Name": name, "SecretString": text} for name, text in found]}
