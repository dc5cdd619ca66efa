"""The mutants of `make mutants`, without running them."""

from tests.proofs.mutants import misfits


def test_every_mutant_fits_the_source() -> None:
    """Code that a mutant changes has changed: change the mutant too, so that the rule stays tested."""
    assert misfits() == []
