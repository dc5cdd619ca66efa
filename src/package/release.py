"""Makes a release: `PYTHONPATH=src python -m package.release FOLDER`, which `make package` runs.

    pagerduty-publisher-VERSION-arm64.zip, -x86_64.zip    the function, for Lambda
    template.yaml     deploys it from a bucket of yours; names the zips and their digests
    sar.yaml          the same for the Serverless Application Repository: arm64 alone, and CODE_BUCKET to be replaced
    sbom.cdx.json     what the zips contain, in CycloneDX
    SHA256SUMS        of all of these

The same sources make the same bytes.
"""

import base64
import hashlib
import importlib.metadata
import json
import re
import sys
import tempfile
import tomllib
import uuid
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from package import build

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "pagerduty-publisher"
_UNIX = 3
_DAY = (1980, 1, 2, 0, 0, 0)
_BUILD = re.compile(r"    Metadata:\n      BuildMethod: makefile[^\n]*\n      ContextPath: [^\n]*\n")
_CODE = "      CodeUri: src/\n"
_PARAMETERS = """
Parameters:
  CodeBucket:
    Type: String
    Description: The bucket that holds the zip files of this release. It has to be in the region of the stack.
  CodePrefix:
    Type: String
    Default: ""
    Description: What comes before a zip file's name in the bucket, such as releases/
"""


def version() -> str:
    """Return the version in pyproject.toml."""
    project: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return project


def zip_name(architecture: str) -> str:
    """Return the name of an architecture's zip file."""
    return f"{NAME}-{version()}-{architecture}.zip"


def write_zip(package: Path, path: Path) -> None:
    """Write a package as a zip file that has the same bytes wherever it is made.

    It is not compressed, because what deflate makes depends on the version of zlib.
    """
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for file in build.files(package):
            entry = ZipInfo(file.relative_to(package).as_posix(), _DAY)
            entry.create_system = _UNIX
            entry.external_attr = (0o100000 | file.stat().st_mode & 0o777) << 16
            archive.writestr(entry, file.read_bytes())


def template(source: str, packages: dict[str, bytes]) -> str:
    """Return the template that deploys zip files from a bucket.

    Args:
        source: the text of template.yaml.
        packages: the SHA-256 of the zip file of each architecture.
    """
    code = f"""      CodeUri:
        Bucket: !Ref CodeBucket
        Key: !Sub ${{CodePrefix}}{NAME}-{version()}-${{Architecture}}.zip
"""
    changed = _once(source, "\nParameters:\n", _PARAMETERS)
    return _with_digests(_without_build(_once(changed, _CODE, code)), packages)


def sar_template(source: str, packages: dict[str, bytes]) -> str:
    """Return the template for the Serverless Application Repository, which cannot choose a zip file by a parameter."""
    changed = _once(source, _CODE, f"      CodeUri: s3://CODE_BUCKET/{zip_name('arm64')}\n")
    changed = _once(changed, "AllowedValues: [arm64, x86_64]", "AllowedValues: [arm64]")
    return _with_digests(_without_build(changed), {"arm64": packages["arm64"]})


def _without_build(text: str) -> str:
    changed, count = _BUILD.subn("", text)
    if count != 1:
        raise build.BuildError(f"template.yaml has {count} functions that are built by a Makefile, not one")
    return changed


def _with_digests(text: str, packages: dict[str, bytes]) -> str:
    lines = [
        f"    {zip_name(architecture)}: {{SHA256: {digest.hex()}, CodeSha256: {base64.b64encode(digest).decode()}}}\n"
        for architecture, digest in packages.items()
    ]
    return _once(text, "\nMetadata:\n", "\nMetadata:\n  Packages: # CodeSha256 is what Lambda shows\n" + "".join(lines))


def _once(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise build.BuildError(f"template.yaml has {old.strip()!r} {text.count(old)} times, not once")
    return text.replace(old, new)


def bill_of_materials(packages: dict[str, Path]) -> dict[str, Any]:
    """Return what packages contain, as CycloneDX 1.6. https://cyclonedx.org/docs/1.6/json/."""
    found = {
        (distribution.name, distribution.version): distribution
        for package in packages.values()
        for distribution in importlib.metadata.distributions(path=[str(package)])
    }
    components = []
    for (name, its_version), distribution in sorted(found.items(), key=lambda it: it[0][0].lower()):
        purl = f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{its_version}"
        license_name = distribution.metadata.get("License-Expression") or distribution.metadata.get("License")
        components.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": its_version, "purl": purl}
            | ({"licenses": [{"license": {"name": license_name.splitlines()[0]}}]} if license_name else {})
        )
    digests = "".join(build.digest(package) for package in packages.values())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, digests).urn,
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": NAME, "name": NAME, "version": version()},
            "lifecycles": [{"phase": "build"}],
        },
        "components": components,
        "dependencies": [{"ref": NAME, "dependsOn": [it["bom-ref"] for it in components]}],
    }


def make(folder: Path) -> None:
    """Fill a folder with everything a release has.

    Raises:
        BuildError: the folder is not empty, or a package cannot be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise build.BuildError(f"{folder} is not empty")
    with tempfile.TemporaryDirectory(prefix=NAME) as name:
        packages = {architecture: Path(name, architecture) for architecture in build.WHEELS}
        for architecture, package in packages.items():
            build.build(architecture, package, ROOT / "src")
            write_zip(package, folder / zip_name(architecture))
        bom = bill_of_materials(packages)
    (folder / "sbom.cdx.json").write_text(json.dumps(bom, indent=2) + "\n")
    digests = {it: hashlib.sha256((folder / zip_name(it)).read_bytes()).digest() for it in packages}
    source = (ROOT / "template.yaml").read_text()
    (folder / "template.yaml").write_text(template(source, digests))
    (folder / "sar.yaml").write_text(sar_template(source, digests))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]).resolve())
    except build.BuildError as error:
        sys.exit(f"the release cannot be made: {error}")
    print(Path(sys.argv[1], "SHA256SUMS").read_text(), end="")
