"""The workflows: what they may do, what they trust, and their commands run here with stand-ins for `aws` and `gh`."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import awscli

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"(?m)^([a-z]+):.*##", (ROOT / "Makefile").read_text()))
FLOWS: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
RELEASE = FLOWS["release"]["jobs"]
UPLOADERS = ("attach", "publish", "deploy")
STAND_IN = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=calls)
"""


def steps() -> list[dict[str, Any]]:
    """Return the steps of all workflows."""
    return [step for flow in FLOWS.values() for job in flow["jobs"].values() for step in job.get("steps", [])]


def script(job: str, name: str) -> str:
    """Return the command of a named step."""
    (found,) = [step["run"] for step in RELEASE[job]["steps"] if step.get("name") == name]
    return str(found)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """What `make package` leaves, with other contents."""
    folder = tmp_path / "dist"
    folder.mkdir()
    names = ["pagerduty-publisher-1.2.3-arm64.zip", "pagerduty-publisher-1.2.3-x86_64.zip", "template.yaml"]
    for name in [*names, "sbom.cdx.json"]:
        (folder / name).write_text(name)
    (folder / "sar.yaml").write_text("CodeUri: s3://CODE_BUCKET/pagerduty-publisher-1.2.3-arm64.zip\n")
    sums = [f"{hashlib.sha256(it.read_bytes()).hexdigest()}  {it.name}\n" for it in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


def run(command: str, folder: Path, **variables: str) -> tuple[int, list[list[str]]]:
    """Run a step as a runner does; return its exit status, and how it called `aws` and `gh`."""
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("aws", "gh"):
        (tools / name).write_text(STAND_IN)
        (tools / name).chmod(0o755)
    calls = folder.parent / "calls"
    calls.write_text("")
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls)}
    given = {"GITHUB_REF_NAME": "v1.2.3", "GITHUB_REPOSITORY": "o/r", "GH_REPO": "o/r", **variables}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env=environment | given,
        capture_output=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in calls.read_text().splitlines()]


def test_every_action_is_pinned_to_a_commit_with_its_release_beside_it() -> None:
    """A tag can be moved."""
    used = [line for path in (ROOT / ".github/workflows").glob("*.yml") for line in path.read_text().splitlines()]
    uses = [line for line in used if "uses:" in line and "./.github/" not in line]
    assert len(uses) >= 10
    assert [
        line for line in uses if not re.fullmatch(r" +- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
    ] == []


def test_ci_runs_what_a_developer_runs_with_no_permission_and_no_variable() -> None:
    """So that it passes on a fork."""
    made = {step["run"].split()[1] for step in steps() if step.get("run", "").startswith("make ")}
    assert made == {"lint", "test", "scan", "package"} <= TARGETS
    assert FLOWS["ci"]["permissions"] == {"contents": "read"}
    assert not re.search(r"secrets\.|vars\.", (ROOT / ".github/workflows/ci.yml").read_text())


def test_no_job_has_both_permissions_and_code_of_the_repository() -> None:
    """Those that may write or ask for credentials check nothing out, run no make, and install nothing."""
    assert FLOWS["release"]["permissions"] == {}
    for name, job in RELEASE.items():
        text = yaml.safe_dump(job)
        if set(job["permissions"].values()) - {"read"}:
            assert name in UPLOADERS
            assert not re.search(r"checkout|setup-python|make |pip |npm |\./(?!\*|\.github)", text), name
        else:
            assert name in ("ci", "build")
    assert "secrets." not in str(FLOWS)
    assert {name: RELEASE[name]["permissions"] for name in UPLOADERS} == {
        "attach": {"contents": "write"},
        "publish": {"id-token": "write"},
        "deploy": {"id-token": "write"},
    }


def test_what_needs_variables_is_skipped_without_them_and_has_an_environment() -> None:
    """A fork's tag makes a release and deploys nothing; an environment can ask for reviewers."""
    assert {name: (RELEASE[name].get("if"), RELEASE[name].get("environment")) for name in UPLOADERS} == {
        "attach": (None, None),
        "publish": ("vars.SAR_APPLICATION_ID != ''", "serverless-application-repository"),
        "deploy": ("vars.AWS_DEPLOY_ROLE_ARN != ''", "production"),
    }


def test_only_a_tag_releases() -> None:
    """And nothing but a version tag."""
    assert FLOWS["release"][True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` so


def test_uploaders_verify_first_what_they_upload(dist: Path) -> None:
    """A file or a list of digests that was changed on the way is refused."""
    digest = hashlib.sha256((dist / "SHA256SUMS").read_bytes()).hexdigest()
    for name in UPLOADERS:
        first, second = RELEASE[name]["steps"][:2]
        assert first["uses"].startswith("actions/download-artifact@")
        assert second["env"] == {"DIGEST": "${{ needs.build.outputs.digest }}"}
        assert run(second["run"], dist, DIGEST=digest)[0] == 0
    verify = script("deploy", "it is what was built")
    assert run(verify, dist, DIGEST="0" * 64)[0] != 0
    (dist / "template.yaml").write_text("changed")
    assert run(verify, dist, DIGEST=digest)[0] != 0


def test_build_hands_over_the_digest_and_refuses_a_tag_of_another_version(dist: Path) -> None:
    """The digest of the list of digests."""
    output = dist.parent / "output"
    (command,) = [step["run"] for step in RELEASE["build"]["steps"] if step.get("id") == "digest"]
    assert run(command, dist.parent, GITHUB_OUTPUT=str(output))[0] == 0
    assert output.read_text() == f"digest={hashlib.sha256((dist / 'SHA256SUMS').read_bytes()).hexdigest()}\n"
    check = script("build", "the tag is the version")
    assert run(check, dist.parent)[0] == 0
    assert run(check, dist.parent, GITHUB_REF_NAME="v1.2.4")[0] != 0


def test_a_release_has_everything_but_the_template_of_the_repository(dist: Path) -> None:
    """Of which the bucket is missing."""
    status, ((*call,),) = run(script("attach", "attach"), dist)
    assert (status, call[:4]) == (0, ["gh", "release", "create", "v1.2.3"])
    assert {Path(it).name for it in call if (dist / it).is_file()} == {
        path.name for path in dist.iterdir() if path.name != "sar.yaml"
    }


def test_publishing_uploads_the_zip_file_and_names_its_bucket(dist: Path) -> None:
    """By two commands that the AWS CLI takes."""
    status, calls = run(script("publish", "publish"), dist, APPLICATION="arn:aws:serverlessrepo:::x", BUCKET="b")
    assert status == 0
    assert [call[1:3] for call in calls] == [["s3", "cp"], ["serverlessrepo", "create-application-version"]]
    assert [problem for call in calls for problem in awscli.problems(call[1:])] == []
    packaged = (dist / "packaged.yaml").read_text()
    assert packaged == "CodeUri: s3://b/1.2.3/pagerduty-publisher-1.2.3-arm64.zip\n"


def test_deploying_uploads_the_zip_files_and_names_the_bucket(dist: Path) -> None:
    """Other parameters are as the variable says, or as they were."""
    given = {"BUCKET": "b", "STACK": "s", "PARAMETERS": "TargetPrefix=p/ GuardDutyRule=ENABLED"}
    status, calls = run(script("deploy", "deploy"), dist, **given)
    assert status == 0
    assert [call[1:3] for call in calls] == [["s3", "cp"], ["cloudformation", "deploy"]]
    assert [problem for call in calls for problem in awscli.problems(call[1:])] == []
    overrides = calls[1][calls[1].index("--parameter-overrides") + 1 :]
    assert overrides == ["CodeBucket=b", "CodePrefix=1.2.3/", "TargetPrefix=p/", "GuardDutyRule=ENABLED"]
    template = (ROOT / "template.yaml").read_text()
    assert all(f"\n  {it.split('=')[0]}:\n" in template for it in overrides if not it.startswith("Code"))


def test_the_documented_trust_policy_checks_audience_repository_and_environment() -> None:
    """Without any of the three, others could assume the role."""
    page = (ROOT / "docs/security.md").read_text()
    (block,) = re.findall(r"(?s)```json\n(.*?)```", page)
    (statement,) = json.loads(block)["Statement"]
    issuer = "token.actions.githubusercontent.com"
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Principal"]["Federated"].endswith(f":oidc-provider/{issuer}")
    assert statement["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": f"repo:OWNER/NAME:environment:{RELEASE['deploy']['environment']}",
        }
    }
    used = set(re.findall(r"vars\.(\w+)", (ROOT / ".github/workflows/release.yml").read_text()))
    assert used <= set(re.findall(r"`([A-Z_]+)`", page))
    assert all(f"`{RELEASE[name]['environment']}`" in page for name in ("publish", "deploy"))


def test_tools_are_installed_from_wheels_with_known_hashes() -> None:
    """A source distribution runs its setup script, and what has no hash may be another package tomorrow."""
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if re.search(r"pip install", line)]
    assert len(installs) >= 2
    assert [line for line in installs if not re.search(r"--only-binary=:all: --require-hashes", line)] == []


def test_the_checker_of_aws_commands_finds_what_the_cli_would_refuse() -> None:
    """Unknown operations and options, and missing ones."""
    assert awscli.problems(["sns", "publishh"]) == ["sns: no operation publishh"]
    assert awscli.problems(["sns", "publish", "--topic", "t", "--message", "m"]) == ["sns publish: no option --topic"]
    assert awscli.problems(["sqs", "send-message", "--queue-url", "q"]) == [
        "sqs send-message: --message-body is required"
    ]
    text = 'x=$(aws sts get-caller-identity --query Account)\n  aws s3 cp a \\\n    "s3://b/$x" >out # why\n'
    assert awscli.commands_of(text) == [
        ["sts", "get-caller-identity", "--query", "Account"],
        ["s3", "cp", "a", "s3://b/$x"],
    ]
    assert awscli.commands_of('aws sns publish --message "$(aws sts get-caller-identity)"') == [
        ["sns", "publish", "--message", "VALUE"],
        ["sts", "get-caller-identity"],
    ]
