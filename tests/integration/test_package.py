"""The package that is deployed: what is in it, what starting it does, and that it runs on nothing but itself."""

import importlib.metadata
import importlib.util
import json
import marshal
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.regions import EndpointResolver

from handler.delivery.dynamodb import KEY
from handler.targets.secrets import TAG
from local.simulator.server import SimulatorServer
from local.stack import (
    MACHINE,
    ROOT,
    TEMPLATE,
    Emulator,
    aws_environment,
)
from package import build
from tests.lab.secrets import target_secret
from tests.lab.world import native

PACKAGE = TEMPLATE.parent / "PublisherFunction"
MAX_MB = 20.0
MAX_MODULES = 500
NEVER_AT_INIT = {
    "asyncio",
    "aws_lambda_powertools.event_handler",
    "aws_lambda_powertools.utilities.batch",
    "aws_lambda_powertools.utilities.data_classes",
    "aws_lambda_powertools.utilities.idempotency",
    "aws_lambda_powertools.utilities.parameters",
    "aws_lambda_powertools.utilities.parser.envelopes",
    "aws_xray_sdk",
    "boto3",
    "botocore.crt.auth",
    "doctest",
    "email_validator",
    "handler.agreement",
    "handler.sources.alertmanager",
    "handler.sources.cloudwatch",
    "handler.sources.securityhub",
    "http.server",
    "multiprocessing",
    "pdb",
    "pydantic.deprecated",
    "pydantic.mypy",
    "pydantic.v1",
    "requests",
    "s3transfer",
    "sqlite3",
    "tkinter",
    "unittest",
    "xml.dom",
}
"""What the function has no use for and takes time to import; some of it was imported once."""
FUNCTION = """
import gc, importlib.machinery, json, sys
package, events = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, package)
sys.dont_write_bytecode = False

compiled, loader = [], importlib.machinery.SourceFileLoader
to_code = loader.source_to_code
loader.source_to_code = lambda self, data, path, **more: (compiled.append(path), to_code(self, data, path, **more))[1]

from botocore.session import Session
clients, create = [], Session.create_client
Session.create_client = lambda self, name, *rest, **more: (clients.append(name), create(self, name, *rest, **more))[1]

class Context:
    function_name = invoked_function_arn = aws_request_id = "publisher"
    memory_limit_in_mb = 512
    def get_remaining_time_in_millis(self):
        return 60_000

collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
from handler import app
gc.callbacks.clear()
told = {
    "collections": len(collections),
    "is_collecting": gc.isenabled(),
    "frozen": gc.get_freeze_count(),
    "modules": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
    "clients": list(clients),
    "answers": [app.lambda_handler(event, Context()) for event in events],
}
print(json.dumps({**told, "compiled": compiled, "clients_in_the_end": clients}))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages for both architectures, of a copy of the sources in another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(ROOT / "src", folder / "copy")
    for architecture in build.WHEELS:
        done = subprocess.run(
            [sys.executable, "-I", folder / "copy/package/build.py", architecture, folder / architecture],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 and "Retrying" in done.stderr:
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr
    return {architecture: folder / architecture for architecture in build.WHEELS}


def modules() -> list[Path]:
    """Return the sources in the package."""
    return sorted(PACKAGE.rglob("*.py"))


def run(environment: Mapping[str, str], *events: Any) -> dict[str, Any]:
    """Invoke the function with only its package and the standard library; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", FUNCTION, PACKAGE, json.dumps(events)],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@cache
def started() -> dict[str, Any]:
    """Return what the function told that was started, and not invoked."""
    names = {"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "http://r", "DEAD_LETTER_QUEUE_URL": "http://d"}
    return run({**aws_environment("http://127.0.0.1:9"), **names})


def test_its_size(built: dict[str, Path]) -> None:
    """Both architectures' packages are small when unzipped."""
    sizes = {architecture: round(build.size(folder), 1) for architecture, folder in built.items()}
    assert max(sizes.values()) <= MAX_MB, f"MB unzipped: {sizes}"


def test_two_builds_are_equal(built: dict[str, Path]) -> None:
    """What SAM built and what was built in another folder are the same: names, modes, dates and contents."""
    assert build.digest(built[MACHINE]) == build.digest(PACKAGE)


def test_each_architecture_has_its_own_machine_code(built: dict[str, Path]) -> None:
    """And no other's."""
    for architecture, folder in built.items():
        libraries = list(folder.rglob("*.so"))
        assert libraries
        assert [path.name for path in libraries if build.WHEELS[architecture] not in path.name] == []


@pytest.mark.parametrize("architecture", ["aarch64", "", "../arm64"])
def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path, architecture: str) -> None:
    """The message says which there are."""
    with pytest.raises(build.BuildError, match=re.escape(f"unknown architecture {architecture!r}: Lambda has arm64")):
        build.build(architecture, tmp_path / "package", ROOT / "src")


def test_a_dependency_whose_hash_is_wrong_is_refused(tmp_path: Path) -> None:
    """The message has pip's own words, and nothing is left to deploy by mistake."""
    requirements = tmp_path / "src/requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("six==1.17.0\n")
    with pytest.raises(build.BuildError, match=r"requirements\.txt for arm64:(.|\n)*[Hh]ash"):
        build.build("arm64", tmp_path / "package", requirements.parent)
    assert list((tmp_path / "package").iterdir()) == []


def test_every_module_has_byte_code_that_is_taken_unchecked_and_is_its_own() -> None:
    """PEP 552: the flags say unchecked hash, the hash is the source's; and the path in it is Lambda's."""
    assert len(modules()) > 500
    for path in modules():
        byte_code = Path(importlib.util.cache_from_source(str(path))).read_bytes()
        magic, flags, source_hash = byte_code[:4], byte_code[4:8], byte_code[8:16]
        assert magic == importlib.util.MAGIC_NUMBER, path
        assert int.from_bytes(flags, "little") == 0b01, path
        assert source_hash == importlib.util.source_hash(path.read_bytes()), path
        assert marshal.loads(byte_code[16:]).co_filename == f"/var/task/{path.relative_to(PACKAGE)}"


def test_no_byte_code_is_without_its_source() -> None:
    """Tracebacks show lines."""
    sources = {importlib.util.cache_from_source(str(path)) for path in modules()}
    assert {str(path) for path in PACKAGE.rglob("*.pyc")} == sources


def test_the_function_is_all_there_and_what_builds_it_is_not() -> None:
    """Of src/, the package has handler/ alone."""
    shipped = {path.relative_to(PACKAGE): path.read_bytes() for path in (PACKAGE / "handler").rglob("*.py")}
    assert shipped == {
        path.relative_to(ROOT / "src"): path.read_bytes() for path in (ROOT / "src/handler").rglob("*.py")
    }
    assert not {"package", "requirements.txt", "requirements.in", "Makefile"} & {
        path.name for path in PACKAGE.iterdir()
    }


def test_it_holds_the_pinned_packages_and_nothing_else() -> None:
    """Every top-level entry belongs to what src/requirements.txt pins."""
    pinned = dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", (ROOT / "src/requirements.txt").read_text(), re.MULTILINE))
    distributions = importlib.metadata.distributions(path=[str(PACKAGE)])
    found = {it.name.lower().replace("_", "-"): it.version for it in distributions}
    assert found == pinned
    names = {"dateutil" if name == "python-dateutil" else name.replace("-", "_") for name in pinned}
    others = {path.name for path in PACKAGE.iterdir() if path.suffix != ".dist-info"} - {"handler", "__pycache__"}
    assert {name.removesuffix(".py") for name in others} == names


def test_tests_type_stubs_and_scripts_are_left_out() -> None:
    """Nobody would run them."""
    unwanted = [
        path for path in PACKAGE.rglob("*") if path.suffix == ".pyi" or path.name in ("tests", "py.typed", "bin")
    ]
    assert unwanted == []


def test_botocore_knows_the_services_that_are_called_and_no_other() -> None:
    """One version of each model; and what botocore itself reads."""
    data = PACKAGE / "botocore/data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == set(build.SERVICES)
    assert [path.parent.parent.name for path in sorted(data.rglob("service-2.json*"))] == list(build.SERVICES)
    assert {path.name for path in data.glob("*.json")} == {
        "_retry.json",
        "endpoints.json",
        "partitions.json",
        "sdk-default-configuration.json",
    }


def test_the_models_are_botocores_own_without_the_documentation() -> None:
    """Every operation and shape is there as it was."""
    for path in (PACKAGE / "botocore/data").rglob("*-1*.json"):
        assert json.loads(path.read_text())["rules"]
    model = json.loads(next((PACKAGE / "botocore/data/dynamodb").rglob("service-2.json")).read_text())
    whole = botocore.session.get_session().get_service_model("dynamodb")
    assert list(model["operations"]) == list(whole.operation_names)
    assert set(model["shapes"]) == set(whole.shape_names)


def test_every_endpoint_is_where_botocore_has_it() -> None:
    """In every region of every partition, by name and by rule."""
    cut = EndpointResolver(json.loads((PACKAGE / "botocore/data/endpoints.json").read_text()))
    whole = EndpointResolver(json.loads((Path(botocore.__file__).parent / "data/endpoints.json").read_text()))
    partitions = whole.get_available_partitions()
    regions = [region for name in partitions for region in whole.get_available_endpoints("ec2", name, True)]
    assert len(regions) > 30
    for service, region, fips in product(build.SERVICES, [*regions, "eu-nowhere-9"], [False, True]):
        expected = whole.construct_endpoint(service, region, use_fips_endpoint=fips)
        assert cut.construct_endpoint(service, region, use_fips_endpoint=fips) == expected


def test_nothing_is_compiled_when_it_starts() -> None:
    """Every module of the package comes from its byte-code, and starting leaves no file behind."""
    before = build.digest(PACKAGE)
    assert [path for path in started()["compiled"] if path.startswith(str(PACKAGE))] == []
    assert build.digest(PACKAGE) == before


def test_starting_imports_nothing_that_it_has_no_use_for() -> None:
    """The deny list."""
    assert sorted(NEVER_AT_INIT & set(started()["modules"])) == []


def test_starting_imports_no_more_modules() -> None:
    """Each takes time, whoever imports it: the standard library, the packages and the function's own."""
    assert len(started()["modules"]) <= MAX_MODULES


def test_starting_looks_for_no_garbage_and_invocations_only_in_their_own() -> None:
    """The collector rests during init, leaves out what init made, and works from then on."""
    assert started()["collections"] == 0
    assert started()["is_collecting"]
    assert started()["frozen"] > 50_000


def test_it_needs_nothing_but_itself_and_the_standard_library() -> None:
    """No module comes from anywhere else."""
    files = [Path(file) for file in started()["modules"].values() if file]
    homes = (PACKAGE, Path(importlib.__file__).parent.parent)
    assert [str(file) for file in files if not any(file.is_relative_to(home) for home in homes)] == []


@pytest.fixture
def environment(emulator: Emulator) -> Iterator[dict[str, str]]:
    """What the function is deployed with, on the emulator."""
    sqs, dynamodb, secrets = (emulator.client(service) for service in ("sqs", "dynamodb", "secretsmanager"))
    queues = [sqs.create_queue(QueueName=f"package-{name}")["QueueUrl"] for name in ("retry", "dead-letter")]
    dynamodb.create_table(
        TableName="package",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
        KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
    )
    secret = secrets.create_secret(
        Name="package/target", SecretString=target_secret(), Tags=[{"Key": TAG, "Value": "true"}]
    )
    with SimulatorServer() as simulator:
        yield {
            **aws_environment(emulator.endpoint),
            "PAGERDUTY_BASE_URL": simulator.url,
            "PAGERDUTY_TARGET_PREFIX": "package/",
            "DEDUP_TABLE_NAME": "package",
            "RETRY_QUEUE_URL": queues[0],
            "DEAD_LETTER_QUEUE_URL": queues[1],
        }
    secrets.delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)
    dynamodb.delete_table(TableName="package")
    for queue in queues:
        sqs.delete_queue(QueueUrl=queue)


def test_it_makes_each_client_once_and_every_one_works(environment: dict[str, str]) -> None:
    """The package alone sends a page, skips a repeat and keeps what is broken; no page makes a client.

    Those of the operators' topic and of CloudWatch are made when they are needed.
    """
    told = run(environment, native(), native(), {"alert": {"status": "firing"}})
    assert sorted(told["clients"]) == ["dynamodb", "secretsmanager", "sqs"]
    assert told["clients_in_the_end"] == told["clients"]
    outcomes = [result["outcome"] for answer in told["answers"] for result in answer["results"]]
    assert outcomes == ["accepted", "skipped", "rejected"]
