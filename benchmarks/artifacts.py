"""What is measured: the function as our build makes it, as a plain `sam build` would, and a bare one."""

import ast
import compileall
import io
import py_compile
import re
import shutil
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from local.stack import ROOT
from package.build import MB, files, size

BUILT = ROOT / ".aws-sam/local/PublisherFunction"
MADE = ROOT / ".aws-sam/bench"
SOURCE = ROOT / "src/handler"

BARE_MAIN = '''"""Does nothing, with the same packages and clients as the publisher."""

import boto3
import urllib3
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config
from pydantic import BaseModel


class Settings(BaseModel):
    url: str = "https://events.pagerduty.com"


config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 3})
logger = Logger(service="bare")
metrics = Metrics(namespace="bare", service="bare")
settings = Settings()
dynamodb = boto3.client("dynamodb", config=config)
sqs = boto3.client("sqs", config=config)
secrets = boto3.client("secretsmanager", config=config)
pool = urllib3.PoolManager(maxsize=10)


@logger.inject_lambda_context
def lambda_handler(event, context):
    return {}
'''
BARE_PAGE = '''"""Reads one secret, makes one conditional write and one POST."""

import json
import os

from main import dynamodb, logger, pool, secrets, settings


@logger.inject_lambda_context
def lambda_handler(event, context):
    secret = json.loads(secrets.get_secret_value(SecretId="pagerduty/bench")["SecretString"])
    dynamodb.put_item(
        TableName=os.environ["DEDUP_TABLE_NAME"],
        Item={"id": {"S": "bench#alert"}, "rev": {"N": "1"}},
        ConditionExpression="attribute_not_exists(id)",
    )
    body = {
        "routing_key": secret["headers"]["routing_key"],
        "event_action": "trigger",
        "dedup_key": "alert",
        "payload": {"summary": "7.4 % of checkouts fail", "source": "lamplight-prod", "severity": "error"},
    }
    url = os.environ.get("PAGERDUTY_BASE_URL", settings.url)
    response = pool.request("POST", f"{url}/v2/enqueue", json=body, retries=False, timeout=10)
    if response.status != 202:
        raise RuntimeError("not accepted")
    return response.json()
'''
SAME_MODULES_MAIN = '''"""Does nothing, with every module of the packages that the publisher imports."""

{imports}

from main import lambda_handler
'''


@dataclass(frozen=True, slots=True)
class Artifact:
    """A function's folder, and its handler."""

    name: str
    folder: Path
    handler: str = "handler.app.lambda_handler"

    @property
    def unzipped_mb(self) -> float:
        """The size that Lambda's limit of 250 MB is about."""
        return size(self.folder)

    @property
    def zipped_mb(self) -> float:
        """The size of what is uploaded."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as zipped:
            for path in files(self.folder):
                zipped.write(path, path.relative_to(self.folder))
        return len(archive.getvalue()) / MB


def make() -> tuple[Artifact, Artifact, Artifact, Artifact]:
    """Return ours, the plain one, the bare one, and the bare one with all modules that ours imports."""
    shutil.rmtree(MADE, ignore_errors=True)
    plain = _make_plain(MADE / "plain")
    bare = _make_bare(MADE / "bare")
    return (
        Artifact("ours", BUILT),
        Artifact("plain", plain),
        Artifact("bare", bare, "main.lambda_handler"),
        Artifact("same modules", bare, "same_modules.lambda_handler"),
    )


def _make_plain(folder: Path) -> Path:
    """What `pip install --target` leaves of the pinned packages, as they came, and the source; no byte-code.

    Copied from the environment of the tests, which has the very same packages: this needs no network.
    """
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "src/requirements.txt").read_text(), re.MULTILINE)
    for name in pinned:
        installed = distribution(name)
        for file in installed.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(installed.locate_file(file)), target)
    shutil.copytree(SOURCE, folder / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _make_bare(folder: Path) -> Path:
    """Everything of ours but the handler, which is another: so it is built the same way."""
    shutil.copytree(BUILT, folder, ignore=lambda at, names: ["handler"] if Path(at) == BUILT else [])
    (folder / "main.py").write_text(BARE_MAIN)
    (folder / "page.py").write_text(BARE_PAGE)
    (folder / "same_modules.py").write_text(SAME_MODULES_MAIN.format(imports="\n".join(_imports_of_packages())))
    if any((BUILT / "handler").rglob("*.pyc")):
        for file in ("main.py", "page.py", "same_modules.py"):
            compileall.compile_file(
                folder / file, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
    return folder


def _imports_of_packages() -> list[str]:
    """Return the function's imports of other packages, in the order in which init executes them."""
    found: set[str] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        for statement in ast.parse(path.read_text()).body:
            match statement:
                case ast.Import(names=[*_]):
                    found.add(ast.unparse(statement))
                case ast.ImportFrom(module=str(module)) if not module.startswith(("handler", "__future__")):
                    found.add(ast.unparse(statement))
    return sorted(found)
