"""The keys of records: two different things never share one."""

from hypothesis import given
from hypothesis import strategies as st

from handler.identity import identity_of, identity_of_change, is_of_change, key_of, target_of
from tests.lab.dynamodb import TABLE
from tests.lab.world import make_world, native

targets = st.text(st.characters(exclude_characters="#", exclude_categories=["Z", "C"]), min_size=1, max_size=5)
keys = st.text("#ac1 ", max_size=8) | st.sampled_from(["change#k#1", "#t#k#1", "#"])
times = st.integers(0, 2_000_000_000_000)


@given(targets, keys, times)
def test_an_identity_can_be_read_back(target: str, key: str, occurred: int) -> None:
    """Its target, its dedup key, and which kind it is."""
    of_alert, of_change = identity_of(target, key), identity_of_change(target, key, occurred)
    assert (target_of(of_alert), key_of(of_alert), is_of_change(of_alert)) == (target, key, False)
    assert (target_of(of_change), key_of(of_change), is_of_change(of_change)) == (target, key, True)


@given(targets, keys, times, targets, keys, times)
def test_two_occurrences_have_two_identities(
    target: str, key: str, occurred: int, other_target: str, other_key: str, other_occurred: int
) -> None:
    """And the same one for the same."""
    one, other = (target, key, occurred), (other_target, other_key, other_occurred)
    assert (identity_of_change(*one) == identity_of_change(*other)) is (one == other)


def test_an_alert_whose_key_looks_like_a_change_event_is_sent_beside_it() -> None:
    """A record of one must not make a duplicate of the other."""
    world = make_world()
    labels = {"severity": "critical", "change_event": "true"}
    world.publish_one(native("k", labels=labels, starts_at="2026-11-23T03:15:00Z"))
    [identity] = [key for key in world.dynamodb.tables[TABLE] if not key.startswith("permits#")]
    occurred = identity.rpartition("#")[2]
    for fingerprint in (f"change#k#{occurred}", identity):
        assert world.publish_one(native(fingerprint)).outcome == "accepted"
        assert world.states[fingerprint] == "triggered"
    assert (
        world.publish_one(native("k", minute=1, labels=labels, starts_at="2026-11-23T03:15:00Z")).outcome == "skipped"
    )
