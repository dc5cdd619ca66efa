"""Builds what is deployed: `python package/build.py arm64 FOLDER`, in src/. SAM calls it through function.mk.

The folder holds the function and its dependencies, without what is never called, with byte-code for every module.
Two builds of the same sources are equal, byte for byte, wherever they are made.
"""

import compileall
import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

RUNTIME = (3, 13)
"""Byte-code works with one minor version of Python: the function's."""
WHEELS = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Names of architectures: Lambda's, and the one in the names of wheels."""
GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""What runs on Amazon Linux 2023, on which Lambda's Python 3.13 is."""
SERVICES = ("cloudwatch", "dynamodb", "secretsmanager", "sns", "sqs")
TASK_ROOT = "/var/task"
"""Where Lambda unpacks the function: in tracebacks, instead of the folder it happened to be built in."""
MB = 1_000_000
"""Bytes, in every size of the package that is stated or limited: less than the 2^20 that AWS counts."""
SAME_TIME = 315_619_200
"""1980-01-02 UTC: the first day that a zip archive can hold in every time zone."""

_BOTOCORE_DATA = ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json")
_NEVER_IMPORTED = (
    "bin",
    "annotated_types/test_cases.py",
    "boto3/data",  # of resources; the function makes clients alone
    "boto3/examples",
    "aws_lambda_powertools/event_handler",
    *(
        f"aws_lambda_powertools/utilities/{name}"
        for name in (
            *("auth_alpha", "circuit_breaker", "data_masking", "feature_flags", "idempotency", "kafka", "parameters"),
            *("streaming", "validation"),
        )
    ),
    "pydantic/mypy.py",
    "pydantic/v1",  # pydantic imports it to warn of its models alone
)


class BuildError(Exception):
    """The package cannot be built; the message says what is wrong."""


def build(architecture: str, folder: Path, source: Path) -> None:
    """Fill an empty folder with the package of the function under `source`.

    Raises:
        BuildError: the Python version, pip, the architecture or a dependency is wrong.
    """
    if architecture not in WHEELS:
        raise BuildError(f"unknown architecture {architecture!r}: Lambda has {' and '.join(WHEELS)}")
    if sys.version_info[:2] != RUNTIME:
        raise BuildError(f"this is Python {sys.version.split()[0]}: byte-code for Lambda has to be compiled by 3.13")
    if importlib.util.find_spec("pip") is None:
        raise BuildError(f"{sys.executable} has no pip: run `make build`, which brings its own, or add it (ensurepip)")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BuildError(f"{folder} is not empty")
    install(architecture, folder, source / "requirements.txt")
    shutil.copytree(source / "handler", folder / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    leave_out(folder)
    cut_botocore(folder / "botocore/data")
    compile_all(folder)
    normalise(folder)


def install(architecture: str, folder: Path, requirements: Path) -> None:
    """Unpack the pinned wheels for another machine. Nothing is compiled, and nothing unpinned is installed."""
    platforms = [f"--platform={glibc}_{WHEELS[architecture]}" for glibc in GLIBC]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
            *("--root-user-action=ignore", "--no-compile", "--require-hashes", "--only-binary=:all:"),
            *("--implementation=cp", "--python-version={}.{}".format(*RUNTIME), *platforms),
            *(f"--target={folder}", f"--requirement={requirements}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"pip could not install {requirements.name} for {architecture}:\n{done.stdout}")


def leave_out(folder: Path) -> None:
    """Delete what is never imported: scripts, tests, type stubs, records of the installation.

    METADATA stays: importlib.metadata and scanners for vulnerable versions read it.
    """
    for name in _NEVER_IMPORTED:
        _delete(folder / name)
    for path in sorted(folder.rglob("*")):
        in_record = path.parent.suffix == ".dist-info" and path.name != "METADATA"
        if in_record or path.suffix == ".pyi" or path.name in ("py.typed", "tests"):
            _delete(path)


def cut_botocore(data: Path) -> None:
    """Keep the models of the services that are called, without their documentation, and those services' endpoints.

    botocore reads all of it whenever an execution environment starts.
    """
    for entry in sorted(data.iterdir()):
        if entry.name not in (*SERVICES, *_BOTOCORE_DATA):
            _delete(entry)
    for service in SERVICES:
        *older, newest = sorted(path for path in (data / service).iterdir() if path.is_dir())
        for version in older:
            _delete(version)
        for path in sorted(newest.iterdir()):
            if not path.name.startswith(("service-2.", "endpoint-rule-set-1.")):
                _delete(path)
            elif path.suffix == ".gz":
                _write_json(path.with_suffix(""), json.loads(gzip.decompress(path.read_bytes())))
                _delete(path)
    endpoints = json.loads((data / "endpoints.json").read_text())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: it for name, it in partition["services"].items() if name in SERVICES}
    _write_json(data / "endpoints.json", endpoints)


def compile_all(folder: Path) -> None:
    """Add byte-code that Python uses without checking the source.

    In Lambda the folder is read-only: a module without byte-code, or with that of another date, is compiled at every
    cold start.
    """
    good = compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=folder,
        prependdir=TASK_ROOT,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    if not good:
        raise BuildError("not every module could be compiled: see above")


def normalise(folder: Path) -> None:
    """Set the same modes and dates on every file and folder."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (SAME_TIME, SAME_TIME))


def files(folder: Path) -> Iterator[Path]:
    """Return the files of a package, in order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def size(folder: Path) -> float:
    """Return the size of an unzipped package in MB."""
    return sum(path.stat().st_size for path in files(folder)) / MB


def digest(folder: Path) -> str:
    """Return the SHA-256 of a package: of names, modes, dates and contents."""
    whole = hashlib.sha256()
    for path in files(folder):
        status = path.stat()
        whole.update(f"{path.relative_to(folder)} {status.st_mode:o} {status.st_mtime_ns} {status.st_size}\n".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(_without_documentation(value), separators=(",", ":")))


def _without_documentation(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: _without_documentation(inner)
                for name, inner in value.items()
                if not (name == "documentation" and isinstance(inner, str))
            }
        case list():
            return [_without_documentation(inner) for inner in value]
        case _:
            return value


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        build(sys.argv[1], Path(sys.argv[2]).resolve(), Path(__file__).resolve().parent.parent)
    except BuildError as error:
        sys.exit(f"the function cannot be built: {error}")
    print(f"{sys.argv[1]}: {size(Path(sys.argv[2])):.1f} MB unzipped, sha256 {digest(Path(sys.argv[2]))}")
