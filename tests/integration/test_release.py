"""What a release has: the same bytes each time, a template that deploys it, digests, and what it contains."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import pytest
import yaml

from local.simulator.server import SimulatorServer
from local.stack import MACHINE, ROOT, SAM, Emulator, await_until, emulated, parameters_for
from package import build, release

TEMPLATE = (ROOT / "template.yaml").read_text()
VERSION = release.version()


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's tags as what they are on."""


def untagged(loader: Any, tag: str, node: yaml.Node) -> Any:
    """Return the value of a tagged node without its tag."""
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node)
    return loader.construct_mapping(node)


Loader.add_multi_constructor("!", untagged)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A release of the work tree."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "package.release", folder],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "Retrying" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def test_it_has_both_architectures_templates_bill_and_sums(released: Path) -> None:
    """And nothing else; the sums are those of the files."""
    names = {"template.yaml", "sar.yaml", "sbom.cdx.json", *map(release.zip_name, build.WHEELS)}
    assert {path.name for path in released.iterdir()} == names | {"SHA256SUMS"}
    sums = set((released / "SHA256SUMS").read_text().splitlines())
    assert sums == {f"{hashlib.sha256((released / name).read_bytes()).hexdigest()}  {name}" for name in names}


def test_a_zip_is_the_package_and_has_the_same_bytes_each_time(released: Path, tmp_path: Path) -> None:
    """That of this machine holds what SAM built; packed again, it is equal."""
    whole = ROOT / ".aws-sam/local/PublisherFunction"
    release.write_zip(whole, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (released / release.zip_name(MACHINE)).read_bytes()
    with ZipFile(tmp_path / "again.zip") as archive:
        assert archive.testzip() is None
        assert {it.compress_type for it in archive.infolist()} == {ZIP_STORED}
        assert {it.filename for it in archive.infolist()} == {
            path.relative_to(whole).as_posix() for path in build.files(whole)
        }


def test_the_templates_name_the_digests_of_the_zips(released: Path) -> None:
    """Both as sha256sum prints them and as Lambda shows them."""
    for name, architectures in {"template.yaml": list(build.WHEELS), "sar.yaml": ["arm64"]}.items():
        packages = yaml.load((released / name).read_text(), Loader)["Metadata"]["Packages"]
        assert packages == {
            release.zip_name(architecture): {
                "SHA256": (
                    digest := hashlib.sha256((released / release.zip_name(architecture)).read_bytes())
                ).hexdigest(),
                "CodeSha256": base64.b64encode(digest.digest()).decode(),
            }
            for architecture in architectures
        }


def test_the_templates_differ_from_the_source_only_in_where_the_code_is(released: Path) -> None:
    """Every resource, output and parameter is there, and nothing is left to build."""
    source = yaml.load(TEMPLATE, Loader)
    for name, more in {"template.yaml": {"CodeBucket", "CodePrefix"}, "sar.yaml": set()}.items():
        made = yaml.load((released / name).read_text(), Loader)
        assert set(made["Parameters"]) == set(source["Parameters"]) | more
        assert made["Outputs"] == source["Outputs"]
        function, original = (it["Resources"].pop("PublisherFunction") for it in (made, yaml.load(TEMPLATE, Loader)))
        assert made["Resources"] == {key: it for key, it in source["Resources"].items() if key != "PublisherFunction"}
        assert "Metadata" not in function
        assert {**function["Properties"], "CodeUri": "src/"} == original["Properties"]


def test_sam_takes_the_templates(released: Path) -> None:
    """As valid ones, and that for the repository has one architecture."""
    for name in ("template.yaml", "sar.yaml"):
        command = [str(SAM / "sam"), "validate", "--region", "us-east-1", "--template", str(released / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    sar = yaml.load((released / "sar.yaml").read_text(), Loader)
    assert sar["Parameters"]["Architecture"]["AllowedValues"] == ["arm64"]
    assert sar["Resources"]["PublisherFunction"]["Properties"]["CodeUri"].startswith("s3://CODE_BUCKET/")


def test_a_changed_template_that_cannot_be_packaged_is_refused() -> None:
    """Rather than released half changed."""
    with pytest.raises(build.BuildError, match="CodeUri"):
        release.template(TEMPLATE.replace("CodeUri: src/", "CodeUri: elsewhere/"), {})
    with pytest.raises(build.BuildError, match="2 functions that are built"):
        release.template(TEMPLATE + "".join(release._BUILD.findall(TEMPLATE)), {})


def test_the_bill_names_every_pin_and_nothing_else(released: Path) -> None:
    """As CycloneDX, with the versions that are in the zips."""
    bill = json.loads((released / "sbom.cdx.json").read_text())
    pins = [
        line.split(" ")[0] for line in (ROOT / "src/requirements.txt").read_text().splitlines() if "==" in line[:60]
    ]
    assert {it["purl"] for it in bill["components"]} == {f"pkg:pypi/{pin.replace('==', '@')}" for pin in pins}
    assert len(bill["components"]) == len(pins)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["dependencies"] == [
        {"ref": "pagerduty-publisher", "dependsOn": [it["bom-ref"] for it in bill["components"]]}
    ]


def test_the_version_is_the_same_everywhere() -> None:
    """In pyproject.toml, the template and the changelog, which has it as a release with its day."""
    assert yaml.load(TEMPLATE, Loader)["Metadata"]["AWS::ServerlessRepo::Application"]["SemanticVersion"] == VERSION
    assert f"\n## [{VERSION}] - 2" in (ROOT / "CHANGELOG.md").read_text()


def test_it_deploys_from_a_bucket_and_pages(released: Path, emulator: Emulator, tmp_path: Path) -> None:
    """By the commands of docs/operations.md: a bucket with the zip file, and CloudFormation alone."""
    s3, cloudformation = emulator.client("s3"), emulator.client("cloudformation")
    s3.create_bucket(Bucket="releases")
    name = release.zip_name(MACHINE)
    s3.put_object(Bucket="releases", Key=f"v/{name}", Body=(released / name).read_bytes())
    shutil.copy(released / "template.yaml", tmp_path)
    s3.put_object(Bucket="releases", Key="v/template.json", Body=emulated(tmp_path / "template.yaml").read_bytes())
    stack_name = "from-a-release"
    with SimulatorServer() as simulator:
        parameters = parameters_for(
            simulator.url, CodeBucket="releases", CodePrefix="v/", TargetPrefix="from-a-release/"
        )
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateURL=f"{emulator.endpoint}/releases/v/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        (stack,) = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
        topic = next(it["OutputValue"] for it in stack["Outputs"] if it["OutputKey"] == "AlertTopicArn")
        alert = {"alert_name": "FromARelease", "status": "firing", "fingerprint": "from-a-release"}
        emulator.client("sns").publish(TopicArn=topic, Message=json.dumps({"alert": alert}))
        await_until(lambda: simulator.pagerduty.incidents, 45, "the page of a released function")
    cloudformation.delete_stack(StackName=stack_name)
