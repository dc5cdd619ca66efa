"""Evaluates requests against IAM policies with iam-simulate, which knows resources, conditions and resource policies.

https://github.com/cloud-copilot/iam-simulate; `make test` installs it, and it runs as a process of its own.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.stack import ROOT
from tests.lab.template import ACCOUNT

SIMULATOR = ROOT / ".tools/iam"
IS_INSTALLED = bool(shutil.which("node")) and (SIMULATOR / "node_modules/@cloud-copilot/iam-simulate").is_dir()
_SCRIPT = """
import { runSimulation } from '@cloud-copilot/iam-simulate'
let input = ''
for await (const chunk of process.stdin) input += chunk
const empty = { identityPolicies: [], serviceControlPolicies: [], resourceControlPolicies: [] }
const answers = []
for (const simulation of JSON.parse(input))
  try {
    answers.push(await runSimulation({ ...empty, ...simulation }, { simulationMode: 'Strict' }))
  } catch (error) {
    answers.push({ resultType: 'error', message: String(error) })
  }
process.stdout.write(JSON.stringify(answers))
"""
_RENAMED = {
    "kms:EncryptionContext:aws:sns:topicArn": "kms:EncryptionContext:${EncryptionContextKey}",
    "kms:EncryptionContext:SecretARN": "kms:EncryptionContext:${EncryptionContextKey}",
    "secretsmanager:ResourceTag/publishing-target": "secretsmanager:ResourceTag/tag-key",
}
"""The simulator knows condition keys that end in a name by the one that AWS's reference has for them."""
type Statement = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks AWS for.

    Attributes:
        principal: the ARN of a role or user, or a service's name.
        context: values of condition keys.
        own_policy: what the principal's own policies allow; services have none.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    own_policy: Sequence[Statement] = ()


def are_allowed(requests: Sequence[tuple[Request, Sequence[Statement] | None]]) -> list[bool]:
    """Return of each request whether it is allowed, given the statements of the resource's policy, if it has one.

    Raises:
        ValueError: the simulator refuses a request or policy: an action, resource or condition key does not exist.
    """
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", _SCRIPT],
        cwd=SIMULATOR,
        input=_renamed(json.dumps([_simulation(request, policy) for request, policy in requests])),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = []
    for (request, _), answer in zip(requests, json.loads(done.stdout), strict=True):
        if answer["resultType"] == "error" or answer.get("result", {}).get("ignoredContextKeys"):
            raise ValueError(f"{request}: {json.dumps(answer)[:1000]}")
        answers.append(answer["overallResult"] == "Allowed")
    return answers


def _renamed(text: str) -> str:
    for name, new_name in _RENAMED.items():
        text = text.replace(f'"{name}"', f'"{new_name}"')
    return text


def _simulation(request: Request, policy: Sequence[Statement] | None) -> dict[str, Any]:
    simulation: dict[str, Any] = {
        "request": {
            "principal": request.principal,
            "action": request.action,
            "resource": {"resource": request.resource, "accountId": ACCOUNT},
            "contextVariables": dict(request.context),
        }
    }
    if request.own_policy:
        simulation["identityPolicies"] = [{"name": "own", "policy": _document(request.own_policy)}]
    if policy is not None:
        simulation["resourcePolicy"] = _document(policy)
    return simulation


def _document(statements: Sequence[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
