"""Prometheus's fingerprints, which identify an alert by its labels."""

import re
from collections.abc import Mapping

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_OFFSET_BASIS, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


def is_fingerprint(text: str) -> bool:
    """Return whether a text is a fingerprint, rather than a template's output for a missing one."""
    return _FINGERPRINT.fullmatch(text) is not None


def prometheus_fingerprint(labels: Mapping[str, str]) -> str:
    """Return Prometheus's fingerprint of these labels.

    FNV-1a of 64 bits over the sorted names and values, each followed by the byte 0xFF:
    https://pkg.go.dev/github.com/prometheus/common/model#LabelSet.Fingerprint
    """
    digest = _OFFSET_BASIS
    for name in sorted(labels):
        for byte in b"%b\xff%b\xff" % (name.encode(errors="replace"), labels[name].encode(errors="replace")):
            digest = (digest ^ byte) * _PRIME & _MASK
    return f"{digest:016x}"
