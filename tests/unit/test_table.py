"""The dedup table: records as items, written whole and only if nobody else changed them meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Lock
from typing import Any, cast

import pytest
from botocore.exceptions import BotoCoreError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import Status
from handler.delivery.dynamodb import OUT_SECONDS, Table
from handler.delivery.record import DAY_MS, Keeping, Order, Record, Waiting
from handler.delivery.table import (
    MAX_PAGES,
    MAX_ROUNDS,
    SHARDS,
    DedupTable,
    Place,
    dump,
    load,
    shard_of,
)
from handler.errors import (
    PublishError,
    TableContendedError,
    TableMissingError,
    TableThrottledError,
    TableUnavailableError,
)
from tests.lab.clock import NOW as NOW_SECONDS
from tests.lab.clock import Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB, check_item, item_bytes, plain
from tests.lab.failures import client_error
from tests.lab.world import make_table

NOW = round(NOW_SECONDS * 1000)
IDENTITY = "production#f-1"
RESOLVER_SECONDS = 10.0
"""How long a resolver takes that asks twice and gets no answer."""
FIRING = Record(status=Status.FIRING, at=NOW - 1, owner="me", lease_until=NOW + 57_000, open=True)
RESOLVED = Record(status=Status.RESOLVED, at=NOW, delivered_at=NOW)
WAITING = Record(
    status=Status.FIRING, at=NOW - 1, waiting=Waiting(Order.TRIGGER, NOW), waiting_since=NOW, body=b"the alert"
)


class Watched(FakeDynamoDB):
    """Calls `before` and `after` around each write."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def put_item(self, **request: Any) -> dict[str, Any]:
        if self.before:
            self.before()
        answer = super().put_item(**request)
        if self.after:
            self.after()
        return answer


@pytest.fixture
def dynamodb() -> Watched:
    return Watched()


@pytest.fixture
def table(dynamodb: Watched) -> DedupTable:
    return make_table(dynamodb)


def become(record: Record | None) -> Callable[[Record | None], Record | None]:
    """Return a transition to this record, whatever was there."""
    return lambda _: record


def put(table: DedupTable, record: Record, identity: str = IDENTITY, now: int = NOW) -> Record:
    after = table.change(identity, become(record), now).after
    assert after is not None
    return after


def update(table: DedupTable, **fields: Any) -> Record:
    """Change some fields of the record that is there."""
    [known] = table.read([IDENTITY], NOW).values()
    after = table.change(IDENTITY, lambda record: record and replace(record, **fields), NOW, known=known).after
    assert after is not None
    return after


def stored(dynamodb: FakeDynamoDB, identity: str = IDENTITY) -> dict[str, Any]:
    return plain(dynamodb.tables[TABLE].get(identity, {}))


# --- items ------------------------------------------------------------------------------------------------------------

milliseconds = st.integers(1, 9_999_999_999_999)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record that can be stored: with a number, and a life in whole seconds."""
    waits = draw(st.booleans())
    return Record(
        status=draw(st.sampled_from(Status)),
        at=draw(st.integers(-62_135_596_800_000, 253_402_300_799_999)),
        rev=draw(milliseconds),
        message_ids=draw(st.dictionaries(st.sampled_from(Status), texts)),
        owner=draw(st.none() | texts),
        lease_until=draw(st.just(0) | milliseconds),
        open=draw(st.booleans()),
        triggered=draw(st.booleans()),
        delivered_at=draw(st.none() | milliseconds),
        urgency=draw(st.integers(0, 3)),
        summary=draw(st.just("") | texts),
        summary_sent_at=draw(st.none() | milliseconds),
        acknowledge=draw(st.none() | milliseconds),
        routed_to=draw(st.frozensets(texts, max_size=3)),
        waiting=Waiting(draw(st.sampled_from(Order)), draw(milliseconds)) if waits else None,
        waiting_since=draw(milliseconds) if waits else None,
        body=draw(st.binary(min_size=1, max_size=20)) if waits else None,
        failing_since=draw(st.none() | milliseconds),
        tries=draw(st.integers(0, 9)),
        expires_at=draw(st.none() | st.integers(0, 9_999_999_999).map(lambda seconds: seconds * 1000)),
    )


@given(records())
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    """Attribute by attribute, and DynamoDB takes its item."""
    item = dump(IDENTITY, record)
    check_item({"id": {"S": IDENTITY}, **item})
    assert load({"id": {"S": IDENTITY}, **item}) == record


def test_the_item_of_a_delivery_that_waits() -> None:
    """What other programs may rely on, attribute by attribute."""
    record = replace(
        WAITING, rev=7, message_ids={Status.FIRING: "m-1"}, routed_to=frozenset({"a", "b"}), expires_at=NOW
    )
    assert plain(dump(IDENTITY, record)) == {
        "rev": 7,
        "status": "firing",
        "observed_at": "2026-11-23T03:40:00.999000Z",
        "firing_id": "m-1",
        "open": False,
        "triggered": False,
        "urgency": 0,
        "routed_to": {"a", "b"},
        "waiting": f"production#{shard_of(IDENTITY)}",
        "waiting_order": f"1#{NOW}",
        "waiting_since": NOW,
        "body": b"the alert",
        "expires_at": NOW // 1000,
    }


def test_a_bound_on_calls_is_kept() -> None:
    """Of four threads at most two are with DynamoDB at a time; both are there at once."""
    both, counted, most = Barrier(2), Lock(), 0
    now = 0

    class Slow(FakeDynamoDB):
        def put_item(self, **request: Any) -> Any:
            nonlocal now, most
            with counted:
                now += 1
                most = max(most, now)
            both.wait(10)
            with counted:
                now -= 1
            return super().put_item(**request)

    table = DedupTable(Table(cast(Any, Slow(TABLE)), TABLE, Clock(), 2), Keeping(ttl_ms=DAY_MS))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: table.change(f"a#{number}", become(FIRING), NOW), range(4)))
    assert most == 2


def test_what_does_not_wait_is_not_in_the_index() -> None:
    """The index is sparse: its keys are there only while a delivery waits."""
    assert not {"waiting", "waiting_order", "body"} & dump(IDENTITY, FIRING).keys()


def test_shards_are_used_alike() -> None:
    """No partition of the index takes much more than its share of a target's deliveries."""
    counts = [0] * SHARDS
    for number in range(16_000):
        counts[shard_of(f"production#{number}")] += 1
    assert min(counts) > 800
    assert max(counts) < 1200


# --- records of the version before ------------------------------------------------------------------------------------

EARLIER: dict[str, Any] = {
    "id": {"S": IDENTITY},
    "status": {"S": "firing"},
    "version": {"S": "2026-11-23T03:40:00.000000Z/0"},
    "observed_at": {"S": "2026-11-23T03:40:00.000000Z"},
    "attempted": {"BOOL": True},
    "delivered_at": {"N": str(NOW - 500)},
    "expires_at": {"N": str(NOW // 1000 + 86_400)},
}


def test_a_record_of_an_earlier_version_is_read() -> None:
    """What was attempted there may be open here, and its trigger was accepted."""
    assert load(EARLIER) == Record(
        status=Status.FIRING,
        at=NOW - 1000,
        open=True,
        triggered=True,
        delivered_at=NOW - 500,
        expires_at=NOW - NOW % 1000 + DAY_MS,
    )
    assert not load({**EARLIER, "attempted": {"BOOL": False}}).open


def test_a_record_of_an_earlier_version_is_changed(table: DedupTable, dynamodb: Watched) -> None:
    """It gets a number, and loses what is no longer used."""
    dynamodb.tables[TABLE][IDENTITY] = EARLIER
    update(table, status=Status.RESOLVED)
    assert (stored(dynamodb)["status"], stored(dynamodb)["rev"]) == ("resolved", 1)
    assert not {"version", "attempted"} & stored(dynamodb).keys()
    assert update(table, open=False).rev == 2


def test_a_record_of_an_earlier_version_has_one_successor(table: DedupTable, dynamodb: Watched) -> None:
    """Two that have read it do not both write."""
    dynamodb.tables[TABLE][IDENTITY] = EARLIER
    [known] = table.read([IDENTITY], NOW).values()
    put(table, replace(known, owner="other"))
    seen: list[Record | None] = []

    def transition(record: Record | None) -> Record | None:
        seen.append(record)
        return record and replace(record, tries=record.tries + 1)

    table.change(IDENTITY, transition, NOW, known=known)
    assert [record and record.owner for record in seen] == [None, "other"]


# --- change -----------------------------------------------------------------------------------------------------------


def test_the_first_write_asks_nobody(table: DedupTable, dynamodb: Watched) -> None:
    """A new record costs one call, and so does one whose content is known."""
    mine = put(table, FIRING)
    assert dynamodb.calls == ["PutItem"]
    change = table.change(IDENTITY, lambda record: record and replace(record, owner=None), NOW, known=mine)
    assert dynamodb.calls == ["PutItem", "PutItem"]
    assert change.before == mine
    assert change.after is not None
    assert change.after.rev == mine.rev + 1


def test_a_record_that_is_there_is_looked_at_again(table: DedupTable, dynamodb: Watched) -> None:
    """The refused write brings it along; the transition decides anew."""
    mine = put(table, FIRING)
    change = table.change(IDENTITY, lambda record: replace(record or RESOLVED, tries=3), NOW)
    assert change.before == mine
    assert change.after is not None
    assert (change.after.owner, change.after.tries) == ("me", 3)
    assert dynamodb.calls == ["PutItem"] * 3


def test_a_change_that_is_none_writes_nothing(table: DedupTable, dynamodb: Watched) -> None:
    """Neither where the transition says so, nor where everything is as it was."""
    mine = put(table, FIRING)
    for nothing in (become(None), become(mine)):
        change = table.change(IDENTITY, nothing, NOW, known=mine)
        assert change.before == change.after == mine
    assert dynamodb.calls == ["PutItem"]


def test_what_another_wrote_meanwhile_is_kept(table: DedupTable, dynamodb: Watched) -> None:
    """Both changes are in the record in the end."""
    mine = put(table, FIRING)

    def another() -> None:
        dynamodb.before = None
        update(table, acknowledge=NOW)

    dynamodb.before = another
    change = table.change(IDENTITY, lambda record: record and replace(record, tries=1), NOW, known=mine)
    assert change.after is not None
    assert (change.after.acknowledge, change.after.tries) == (NOW, 1)


def test_of_two_that_know_the_same_one_writes(table: DedupTable) -> None:
    """The other's transition sees the record as it is now."""
    mine = put(table, replace(FIRING, owner=None, lease_until=0))

    def take(owner: str) -> Callable[[Record | None], Record | None]:
        return lambda record: replace(record, owner=owner) if record and record.owner is None else None

    assert table.change(IDENTITY, take("a"), NOW, known=mine).after != mine
    lost = table.change(IDENTITY, take("b"), NOW, known=mine)
    assert lost.after is not None
    assert lost.after.owner == "a"


@pytest.mark.parametrize("known", [True, False])
def test_a_lost_answer_is_recognised(table: DedupTable, dynamodb: Watched, known: bool) -> None:
    """Botocore asks again, and finds its own write in its way: it is written once, and counts as written."""
    mine = put(table, FIRING) if known else None

    def lose_answer() -> None:
        dynamodb.after = None
        request = requests[-1]
        FakeDynamoDB.put_item(dynamodb, **request)  # which is refused, for the first one has arrived

    requests: list[dict[str, Any]] = []
    original = dynamodb.put_item

    def remember(**request: Any) -> dict[str, Any]:
        requests.append(request)
        return original(**request)

    dynamodb.put_item = remember  # type: ignore[method-assign]
    dynamodb.after = lose_answer
    owner = iter(["once", "twice"])
    change = table.change(IDENTITY, lambda record: replace(record or FIRING, owner=next(owner)), NOW, known=mine)
    assert change.before == mine
    assert change.after is not None
    assert (change.after.owner, len(requests)) == ("once", 1)
    assert table.read([IDENTITY], NOW) == {IDENTITY: change.after}


def test_an_expired_record_is_replaced(table: DedupTable, dynamodb: Watched) -> None:
    """DynamoDB deletes it days later; until then it counts as absent, in the write's condition too."""
    put(table, RESOLVED)
    end = stored(dynamodb)["expires_at"] * 1000
    alive = table.change(IDENTITY, become(None), end - 1, known=load(dynamodb.tables[TABLE][IDENTITY]))
    assert alive.before is not None
    change = table.change(IDENTITY, lambda record: None if record else FIRING, end)
    assert change.before is None
    assert stored(dynamodb)["owner"] == "me"
    assert table.read([IDENTITY], end)[IDENTITY].owner == "me"


def test_a_record_that_expires_while_it_is_known_is_absent(table: DedupTable, dynamodb: Watched) -> None:
    """Its number does not count any more, and the new one's is another."""
    mine = put(table, RESOLVED)
    assert mine.expires_at is not None
    change = table.change(IDENTITY, lambda record: None if record else FIRING, mine.expires_at, known=mine)
    assert (change.before, change.after and change.after.owner) == (None, "me")
    assert change.after is not None
    assert change.after.rev > mine.rev


def test_a_number_is_never_used_twice(table: DedupTable, dynamodb: Watched) -> None:
    """Who knew a record that DynamoDB has deleted since cannot write over its successor."""
    mine = put(table, FIRING)
    dynamodb.delete(IDENTITY)
    put(table, replace(FIRING, owner="next"), now=NOW + 1)
    change = table.change(IDENTITY, lambda record: record and replace(record, tries=1), NOW + 1, known=mine)
    assert change.after is not None
    assert (change.after.owner, change.after.tries) == ("next", 1)


def test_a_record_that_was_known_and_is_gone_is_absent(table: DedupTable, dynamodb: Watched) -> None:
    """The transition is asked again."""
    mine = put(table, FIRING)
    dynamodb.delete(IDENTITY)
    change = table.change(IDENTITY, lambda record: replace(record, tries=1) if record else RESOLVED, NOW, known=mine)
    assert (change.before, change.after and change.after.status) == (None, Status.RESOLVED)


def test_a_record_that_has_to_be_there_is_read_first(table: DedupTable, dynamodb: Watched) -> None:
    """And none is made where there is none, or an expired one."""
    gone = table.change_known(IDENTITY, lambda record: replace(record, tries=1), NOW)
    assert (gone.before, gone.after, dynamodb.tables[TABLE]) == (None, None, {})
    mine = put(table, RESOLVED)
    assert mine.expires_at is not None
    assert table.change_known(IDENTITY, lambda record: replace(record, tries=1), mine.expires_at).after is None
    change = table.change_known(IDENTITY, lambda record: replace(record, tries=1), NOW)
    assert change.before == mine
    assert stored(dynamodb)["tries"] == 1


@pytest.mark.parametrize("key", ["my#change#k", "change#k#1", "#production#k#1", "#"])
def test_a_key_that_looks_like_a_change_event_s_is_kept_as_an_alert(
    table: DedupTable, dynamodb: Watched, key: str
) -> None:
    """Whatever is in a key."""
    put(table, FIRING, f"production#{key}")
    assert stored(dynamodb, f"production#{key}")["expires_at"] >= NOW // 1000 + 30 * 86_400


def test_contention_is_bounded(table: DedupTable, dynamodb: Watched) -> None:
    """A record that changes under every write is left to others after a while, and nothing of this one is written."""
    mine = put(table, FIRING)
    writes = 0

    def another() -> None:
        nonlocal writes
        writes += 1
        dynamodb.before = None
        update(table, acknowledge=writes)
        dynamodb.before = another

    dynamodb.before = another
    with pytest.raises(TableContendedError, match=TABLE):
        table.change(IDENTITY, lambda record: record and replace(record, tries=1), NOW, known=mine)
    assert writes == MAX_ROUNDS
    assert "tries" not in stored(dynamodb)


def test_a_record_expires_after_its_life(table: DedupTable, dynamodb: Watched) -> None:
    """In epoch seconds, none of them too early; what waits has none."""
    put(table, RESOLVED, now=NOW + 1)
    assert stored(dynamodb)["expires_at"] == NOW // 1000 + 15 * 86_400 + 1
    put(table, WAITING)
    assert "expires_at" not in stored(dynamodb)
    put(table, RESOLVED, "#production#k#1")
    assert stored(dynamodb, "#production#k#1")["expires_at"] == NOW // 1000 + 86_400


def test_the_largest_body_fits(table: DedupTable, dynamodb: Watched) -> None:
    """With every other attribute at its longest, an item stays below DynamoDB's 400 KB."""
    identity = "production#" + "k" * 255
    full = replace(
        WAITING,
        body=b"x" * 350_000,
        message_ids=dict.fromkeys(Status, "m" * 100),
        routed_to=frozenset(f"{number}".rjust(100, "t") for number in range(20)),
        owner="o" * 32,
        summary="s" * 16,
    )
    put(table, full, identity)
    assert item_bytes(dynamodb.tables[TABLE][identity]) < 400_000


# --- reading ----------------------------------------------------------------------------------------------------------


def test_many_records_are_read_a_hundred_at_a_time(table: DedupTable, dynamodb: Watched) -> None:
    """Only those that are there and alive."""
    every = [f"t-{number}#f" for number in range(250)]
    for number, identity in enumerate(every):
        if number % 2:
            put(table, replace(FIRING, urgency=number % 4), identity)
    dynamodb.tables[TABLE]["t-0#f"] = {**EARLIER, "id": {"S": "t-0#f"}, "expires_at": {"N": str(NOW // 1000)}}
    dynamodb.calls.clear()
    found = table.read(every, NOW)
    assert dynamodb.calls == ["BatchGetItem"] * 3
    assert list(sorted(found)) == sorted(every[1::2])
    assert all(found[identity].urgency == number % 4 for number, identity in enumerate(every) if number % 2)


def test_keys_that_were_left_out_are_asked_for_again(table: DedupTable, dynamodb: Watched) -> None:
    """DynamoDB may answer a part."""
    every = [f"t-{number}#f" for number in range(5)]
    for identity in every:
        put(table, FIRING, identity)
    dynamodb.unread = [3, 2, 1]
    assert table.read(every, NOW).keys() == set(every)


def test_nothing_is_read_for_nothing(table: DedupTable, dynamodb: Watched) -> None:
    """DynamoDB refuses a batch without keys."""
    assert table.read([], NOW) == {}
    assert dynamodb.calls == []


def test_keys_that_are_never_read_are_an_error_of_the_table(table: DedupTable, dynamodb: Watched) -> None:
    """The caller keeps the alert, as with any other failure of DynamoDB."""
    dynamodb.unread = [1] * 100
    with pytest.raises(TableUnavailableError):
        table.read([IDENTITY], NOW)


def begin_to_wait(table: DedupTable, order: Order, due: int, identity: str) -> Place:
    put(table, replace(WAITING, waiting=Waiting(order, due)), identity)
    return Place(order, due, identity)


def test_what_waits_for_a_target_is_found_in_order(table: DedupTable) -> None:
    """Over all shards: by class, then by age; nothing of other targets, not even of one whose name begins like it."""
    places = [
        begin_to_wait(table, order, NOW + number, f"a#{order}-{number}")
        for order in reversed(Order)
        for number in reversed(range(9))
    ]
    begin_to_wait(table, Order.CRITICAL, 1, "b#x")
    begin_to_wait(table, Order.CRITICAL, 1, "a1#x")
    assert table.waiting("a", 50) == sorted(places)


def test_of_each_shard_the_most_urgent_are_found(table: DedupTable) -> None:
    """A large backlog is not read whole."""
    for number in range(200):
        begin_to_wait(table, Order.TRIGGER, NOW + 1000 - number, f"a#{number}")
    found = table.waiting("a", 2)
    assert len(found) == 2 * SHARDS
    assert found[0] == Place(Order.TRIGGER, NOW + 801, "a#199")


def test_everything_that_waits_is_found(table: DedupTable, dynamodb: Watched) -> None:
    """Of all targets, on however many pages, and nothing that does not wait."""
    dynamodb.page_size = 3
    places = [begin_to_wait(table, Order.TRIGGER, NOW, f"{target}#{number}") for target in "ab" for number in range(5)]
    put(table, FIRING, "a#not-waiting")
    assert sorted(table.all_waiting()) == sorted(places)


def test_what_is_tracked_is_counted(table: DedupTable, dynamodb: Watched) -> None:
    """Records that have not expired, on however many pages, and no limiter's item."""
    dynamodb.page_size = 2
    for number in range(3):
        put(table, RESOLVED, f"production#{number}")
    put(table, WAITING, "production#waits")
    dynamodb.tables[TABLE]["permits#x"] = {"id": {"S": "permits#x"}, "used": {"N": "1"}}
    assert table.count(NOW_SECONDS) == 4
    assert table.count(NOW_SECONDS + 16 * 86_400) == 1


def test_a_very_large_table_is_not_counted_whole(table: DedupTable, dynamodb: Watched) -> None:
    """The number of pages is bounded."""
    dynamodb.page_size = 1
    for number in range(MAX_PAGES + 5):
        put(table, RESOLVED, f"production#{number}")
    dynamodb.calls.clear()
    assert table.count(NOW_SECONDS) == MAX_PAGES
    assert len(dynamodb.calls) == MAX_PAGES


# --- failures ---------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[DedupTable], object]] = {
    "change": lambda table: table.change(IDENTITY, become(FIRING), NOW),
    "read": lambda table: table.read([IDENTITY], NOW),
    "waiting": lambda table: table.waiting("production", 1),
    "all_waiting": lambda table: list(table.all_waiting()),
    "count": lambda table: table.count(NOW_SECONDS),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("ProvisionedThroughputExceededException", TableThrottledError),
        ("ThrottlingException", TableThrottledError),
        ("RequestLimitExceeded", TableThrottledError),
        ("InternalServerError", TableUnavailableError),
        (EndpointConnectionError(endpoint_url="https://dynamodb"), TableUnavailableError),
        ("ResourceNotFoundException", TableMissingError),
        ("AccessDeniedException", TableMissingError),
        ("ValidationException", TableMissingError),
        ("UnrecognizedClientException", TableMissingError),
    ],
)
def test_errors_of_dynamodb_say_who_has_to_act(
    call: Callable[[DedupTable], object], error: str | BotoCoreError, expected: type[PublishError]
) -> None:
    """Throttled and failing ones pass by themselves; a missing table names itself and what to check."""
    dynamodb = FakeDynamoDB()
    dynamodb.fail(error)
    with pytest.raises(expected, match=TABLE) as caught:
        call(make_table(dynamodb))
    assert type(caught.value) is expected
    assert caught.value.retryable is (expected is not TableMissingError)


@pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="x"), ConnectTimeoutError(endpoint_url="x")])
def test_a_call_that_hangs_costs_its_patience_once(error: BotoCoreError) -> None:
    """The table counts as out for a while: the rest of a batch does not pay again, and then it is asked again."""
    clock = Clock()
    dynamodb = FakeDynamoDB()
    table = make_table(dynamodb, clock=clock)
    dynamodb.fail(error)
    for call in CALLS.values():
        with pytest.raises(TableUnavailableError):
            call(table)
    assert len(dynamodb.calls) == 1
    dynamodb.heal()
    clock.advance(OUT_SECONDS - 0.1)
    with pytest.raises(TableUnavailableError, match="not asked again"):
        table.read([IDENTITY], NOW)
    clock.advance(0.1)
    assert table.read([IDENTITY], NOW) == {}


@pytest.mark.parametrize(
    ("error", "calls"), [(EndpointConnectionError(endpoint_url="x"), 1), (client_error("ThrottlingException"), 2)]
)
def test_a_call_without_an_answer_for_long_has_hung(
    error: Exception, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where DNS hangs, botocore waits as long as the resolver does, and says only that it could not connect."""
    clock = Clock()
    dynamodb = FakeDynamoDB()

    def fail(**_: Any) -> Any:
        clock.advance(RESOLVER_SECONDS)
        raise error

    monkeypatch.setattr(dynamodb, "put_item", fail)
    table = make_table(dynamodb, clock=clock)
    for _ in range(2):
        with pytest.raises(TableUnavailableError):
            put(table, FIRING)
    assert clock() - NOW_SECONDS == calls * RESOLVER_SECONDS


@pytest.mark.parametrize(
    "error", ["InternalServerError", "ThrottlingException", EndpointConnectionError(endpoint_url="x")]
)
def test_a_call_that_fails_at_once_costs_no_patience(error: str | BotoCoreError) -> None:
    """The next one is made."""
    dynamodb = FakeDynamoDB()
    table = make_table(dynamodb)
    dynamodb.fail(error, times=1)
    with pytest.raises(TableUnavailableError):
        table.read([IDENTITY], NOW)
    assert table.read([IDENTITY], NOW) == {}
