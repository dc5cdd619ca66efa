"""A certificate authority for measurements: the stand-ins speak TLS, and functions verify them as they verify AWS."""

import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Authority:
    """A local authority and a server's certificate.

    Attributes:
        bundle: the authorities that a function trusts: botocore's, so that loading them costs what it costs in
            Lambda, and the local one.
        certificate: the server's.
        key: of the server's certificate.
    """

    bundle: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS settings of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def environment(self) -> Mapping[str, str]:
        """Return the variables by which boto3 and OpenSSL trust the local authority."""
        return {"AWS_CA_BUNDLE": str(self.bundle), "SSL_CERT_FILE": str(self.bundle)}


@contextmanager
def authority() -> Iterator[Authority]:
    """Make an authority by the program `openssl`, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="pagerduty-publisher-") as name:
        folder = Path(name)
        root, root_key = folder / "root.pem", folder / "root.key"
        certificate, key = folder / "server.pem", folder / "server.key"
        _sign(root, root_key, "bench authority", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
        signer = ("-CA", str(root), "-CAkey", str(root_key))
        leaf = ("basicConstraints=critical,CA:FALSE", f"subjectAltName=IP:{HOST}")
        _sign(certificate, key, "bench server", *leaf, signer=signer)
        bundle = folder / "bundle.pem"
        bundle.write_bytes(files("botocore").joinpath("cacert.pem").read_bytes() + b"\n" + root.read_bytes())
        yield Authority(bundle, certificate, key)


def _sign(certificate: Path, key: Path, name: str, *extensions: str, signer: tuple[str, ...] = ()) -> None:
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    added = [part for extension in extensions for part in ("-addext", extension)]
    command = [*new, "-keyout", str(key), "-out", str(certificate), *added, *signer]
    subprocess.run(command, check=True, capture_output=True)
