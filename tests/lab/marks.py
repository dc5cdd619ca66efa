"""Marks of tests."""

import os

import pytest

ALL = pytest.mark.skipif("PROOFS_EXAMPLES" not in os.environ, reason="takes minutes: `make proofs`")
"""Marks a test that `make proofs` runs and `make test` does not."""
