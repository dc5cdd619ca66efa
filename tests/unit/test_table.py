"""The dedup table on the fake DynamoDB; tests/integration/test_table_contract.py holds the fake to a real API."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from handler.alert import Status
from handler.delivery.claims import (
    ClaimRecord,
    Observation,
    Verdict,
    decide,
)
from handler.delivery.table import Claimed, DedupTable, Refused
from handler.errors import TableMissingError, TableUnavailableError
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.world import make_table

NOW = 1_795_405_200.0
NOW_MS = 1_795_405_200_000
LEASE_SECONDS = 57.0
DAY = 86400
OLDER, SAME, NEWER = (f"2026-11-23T03:{minute}:00.000000Z" for minute in (10, 20, 30))
IDENTITY = "production#f-1"


@pytest.fixture
def dynamodb() -> FakeDynamoDB:
    return FakeDynamoDB()


@pytest.fixture
def table(dynamodb: FakeDynamoDB) -> DedupTable:
    return make_table(dynamodb)


def seen(status: str | Status = "firing", at: str = SAME, *, is_change: bool = False) -> Observation:
    return Observation(IDENTITY, Status(status), at, is_change)


def claim(table: DedupTable, observation: Observation, owner: str = "me", now: float = NOW) -> Claimed | Refused:
    return table.claim(observation, owner=owner, now=now, lease_until=now + LEASE_SECONDS)


def claimed(table: DedupTable, observation: Observation, owner: str = "me", now: float = NOW) -> Claimed:
    result = claim(table, observation, owner, now)
    assert isinstance(result, Claimed)
    return result


def delivered(table: DedupTable, observation: Observation, now: float = NOW) -> None:
    table.settle(observation, claimed(table, observation, now=now), now)


def stored(dynamodb: FakeDynamoDB) -> dict[str, Any]:
    return plain(dynamodb.tables[TABLE][IDENTITY])


# --- A delivery's life ---


def test_a_claim_records_the_observation_and_the_lease(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """The record counts as attempted before anything is sent: a crash may come at any moment."""
    assert claim(table, seen()) == Claimed("me", known=False, attempted_before=False)
    assert stored(dynamodb) == {
        "id": IDENTITY,
        "status": "firing",
        "version": f"{SAME}/0",
        "observed_at": SAME,
        "attempted": True,
        "owner": "me",
        "lease_until": NOW_MS + 57_000,
        "expires_at": int(NOW) + DAY,
    }


@pytest.mark.parametrize(("status", "attempted"), [("firing", True), ("acknowledged", True), ("resolved", False)])
def test_settling_records_the_delivery_and_ends_the_claim(
    dynamodb: FakeDynamoDB, table: DedupTable, status: str, attempted: bool
) -> None:
    """After a resolve no incident is open."""
    table.settle(seen(status), claimed(table, seen(status)), NOW + 2)
    assert stored(dynamodb) == {
        "id": IDENTITY,
        "status": status,
        "version": seen(status).version,
        "observed_at": SAME,
        "attempted": attempted,
        "delivered_at": NOW_MS + 2_000,
        "expires_at": int(NOW) + 2 + DAY,
    }


def test_a_happy_delivery_takes_two_writes_and_no_read(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """The budget of a warm trigger."""
    delivered(table, seen())
    assert dynamodb.calls == ["UpdateItem", "UpdateItem"]


@pytest.mark.parametrize("attempted", [True, False])
def test_a_release_says_whether_pagerduty_may_know_of_it(
    dynamodb: FakeDynamoDB, table: DedupTable, attempted: bool
) -> None:
    """The claim is gone and nothing is delivered."""
    table.release(seen(), claimed(table, seen()), attempted=attempted)
    record = stored(dynamodb)
    assert record["attempted"] is attempted
    assert not {"owner", "lease_until", "delivered_at"} & record.keys()


@pytest.mark.parametrize(
    ("before", "incoming"), [("firing", "firing"), ("firing", "acknowledged"), ("acknowledged", "resolved")]
)
def test_a_release_unsent_restores_what_was_known_before(
    dynamodb: FakeDynamoDB, table: DedupTable, before: str, incoming: str
) -> None:
    """An incident that an earlier delivery opened is still open."""
    delivered(table, seen(before, OLDER))
    table.release(seen(incoming), claimed(table, seen(incoming)), attempted=False)
    assert stored(dynamodb)["attempted"] is True


def test_a_release_unsent_after_a_resolve_knows_of_no_incident(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """So that the next resolve has nothing to send."""
    delivered(table, seen("resolved", OLDER))
    table.release(seen(), claimed(table, seen()), attempted=False)
    assert stored(dynamodb)["attempted"] is False
    assert claim(table, seen("resolved", NEWER)) == Refused(Verdict.NEVER_OPENED)


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_an_unknown_alert_may_have_an_incident_older_than_the_record(
    dynamodb: FakeDynamoDB, table: DedupTable, status: str
) -> None:
    """What comes first of it, if not a trigger, says that there was one."""
    claim_of_it = claimed(table, seen(status))
    assert claim_of_it.attempted_before
    table.release(seen(status), claim_of_it, attempted=False)
    assert stored(dynamodb)["attempted"] is True


# --- Refusals ---


def test_a_duplicate_and_an_older_one_change_nothing(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """A refused write leaves the record as it was."""
    delivered(table, seen())
    before = stored(dynamodb)
    assert claim(table, seen(), now=NOW + 299) == Refused(Verdict.DUPLICATE)
    assert claim(table, seen("resolved", OLDER)) == Refused(Verdict.SUPERSEDED)
    assert stored(dynamodb) == before


def test_a_repeat_is_sent_again_after_a_while(table: DedupTable) -> None:
    """Somebody still says that it fires."""
    delivered(table, seen())
    assert claim(table, seen(), now=NOW + 300) == Claimed("me", known=True, attempted_before=True)


def test_a_change_event_is_never_sent_again(table: DedupTable) -> None:
    """Not even after a while."""
    delivered(table, seen(is_change=True))
    assert claim(table, seen(is_change=True), now=NOW + 80_000) == Refused(Verdict.DUPLICATE)


def test_a_live_lease_is_respected_until_it_ends(table: DedupTable) -> None:
    """And says when that is."""
    claimed(table, seen())
    assert claim(table, seen(), "you") == Refused(Verdict.BUSY)
    assert claim(table, seen(), "you", NOW + 56.999) == Refused(Verdict.BUSY)
    assert claim(table, seen(), "you", NOW + 57) == Claimed("you", known=True, attempted_before=True)


def test_a_newer_one_is_remembered_while_an_older_is_sent(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """The one who sends keeps the claim; nothing older can come in between."""
    mine = claimed(table, seen())
    assert claim(table, seen("resolved", NEWER), "you", NOW + 1) == Refused(Verdict.BUSY_WITH_OLDER)
    record = stored(dynamodb)
    assert (record["status"], record["version"], record["observed_at"]) == ("resolved", f"{NEWER}/2", NEWER)
    assert (record["owner"], record["lease_until"]) == ("me", NOW_MS + 57_000)
    assert record["expires_at"] == int(NOW) + 1 + DAY
    assert "delivered_at" not in record

    table.settle(seen(), mine, NOW + 2)
    assert claim(table, seen(), now=NOW + 3) == Refused(Verdict.SUPERSEDED)
    assert claim(table, seen("resolved", NEWER), "you", NOW + 3) == Claimed("you", known=True, attempted_before=True)


def test_settling_where_the_version_moved_on_gives_the_claim_back_alone(
    dynamodb: FakeDynamoDB, table: DedupTable
) -> None:
    """What was delivered is not what the record is of; that an incident is open is remembered."""
    mine = claimed(table, seen())
    claim(table, seen("resolved", NEWER), "you")
    table.settle(seen(), mine, NOW + 2)
    record = stored(dynamodb)
    assert record["attempted"] is True
    assert not {"owner", "lease_until", "delivered_at"} & record.keys()
    assert record["version"] == f"{NEWER}/2"


def test_settling_a_resolve_where_a_newer_trigger_waits_knows_that_nothing_is_open(
    dynamodb: FakeDynamoDB, table: DedupTable
) -> None:
    """The trigger was never attempted: the resolve after it would have nothing to do."""
    mine = claimed(table, seen("resolved", OLDER))
    claim(table, seen(), "you")
    table.settle(seen("resolved", OLDER), mine, NOW + 2)
    assert stored(dynamodb)["attempted"] is False
    assert claim(table, seen("resolved", NEWER)) == Refused(Verdict.NEVER_OPENED)


@pytest.mark.parametrize("end", ["settle", "release"])
def test_a_claim_that_was_lost_changes_nothing(dynamodb: FakeDynamoDB, table: DedupTable, end: str) -> None:
    """Another took over when the lease had ended; the record is theirs."""
    mine = claimed(table, seen())
    claimed(table, seen(), "you", NOW + 60)
    before = stored(dynamodb)
    if end == "settle":
        table.settle(seen(), mine, NOW + 61)
    else:
        table.release(seen(), mine, attempted=True)
    assert stored(dynamodb) == before


@pytest.mark.parametrize("end", ["settle", "release"])
def test_a_claim_whose_record_has_gone_is_no_error(dynamodb: FakeDynamoDB, table: DedupTable, end: str) -> None:
    """Nothing is recorded, and above all no half of a record."""
    mine = claimed(table, seen())
    dynamodb.tables[TABLE].clear()
    if end == "settle":
        table.settle(seen(), mine, NOW + 61)
    else:
        table.release(seen(), mine, attempted=True)
    assert dynamodb.tables[TABLE] == {}


def test_what_was_never_opened_is_settled_without_sending(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """The waiting trigger finds itself superseded, and a repeat of the resolve is a duplicate."""
    table.release(seen(), claimed(table, seen()), attempted=False)
    assert claim(table, seen("resolved", NEWER), "you", NOW + 1) == Refused(Verdict.NEVER_OPENED)
    assert stored(dynamodb) == {
        "id": IDENTITY,
        "status": "resolved",
        "version": f"{NEWER}/2",
        "observed_at": NEWER,
        "attempted": False,
        "delivered_at": NOW_MS + 1_000,
        "expires_at": int(NOW) + 1 + DAY,
    }
    assert claim(table, seen(), now=NOW + 2) == Refused(Verdict.SUPERSEDED)
    assert claim(table, seen("resolved", NEWER), now=NOW + 2) == Refused(Verdict.DUPLICATE)


def test_an_expired_record_counts_as_absent_though_dynamodb_still_has_it(
    dynamodb: FakeDynamoDB, table: DedupTable
) -> None:
    """Even an older observation is claimed; but that an incident was opened is not forgotten."""
    delivered(table, seen("firing", NEWER))
    last = NOW + DAY
    assert claim(table, seen("firing", SAME), now=last - 1) == Refused(Verdict.SUPERSEDED)
    assert claim(table, seen("firing", SAME), now=last) == Claimed("me", known=False, attempted_before=True)
    record = stored(dynamodb)
    assert (record["version"], record["expires_at"]) == (f"{SAME}/0", int(last) + DAY)
    assert "delivered_at" not in record


def test_every_change_renews_the_time_to_live(dynamodb: FakeDynamoDB) -> None:
    """It is a top-level number of epoch seconds."""
    table = make_table(dynamodb, ttl=3600)
    mine = claimed(table, seen())
    assert dynamodb.tables[TABLE][IDENTITY]["expires_at"] == {"N": str(int(NOW) + 3600)}
    table.settle(seen(), mine, NOW + 1000)
    assert stored(dynamodb)["expires_at"] == int(NOW) + 4600


def test_targets_do_not_share_a_record(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """One alert to two targets is two deliveries."""
    delivered(table, seen())
    other = Observation("staging#f-1", Status.FIRING, SAME)
    assert isinstance(claim(table, other), Claimed)
    assert set(dynamodb.tables[TABLE]) == {IDENTITY, "staging#f-1"}


# --- The condition is the decision ---


GRID = list(
    product(
        Status,  # of the record
        (OLDER, SAME, NEWER),  # the record's time
        (0, NOW_MS, NOW_MS + 1),  # lease: none, just ended, live
        (None, NOW_MS - 300_000, NOW_MS - 299_999),  # delivered: not yet, long ago, recently
        (True, False),  # attempted
        (int(NOW), int(NOW) + 1),  # expired, just not
    )
)
INCOMING = [*(seen(status) for status in Status), seen(is_change=True)]


def item_of(
    status: Status, at: str, lease_until: int, delivered_at: int | None, attempted: bool, expires_at: int
) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": {"S": IDENTITY},
        "status": {"S": str(status)},
        "version": {"S": Observation(IDENTITY, status, at).version},
        "observed_at": {"S": at},
        "attempted": {"BOOL": attempted},
        "expires_at": {"N": str(expires_at)},
    }
    if lease_until:
        item |= {"owner": {"S": "other"}, "lease_until": {"N": str(lease_until)}}
    if delivered_at:
        item["delivered_at"] = {"N": str(delivered_at)}
    return item


def record_of(item: dict[str, Any]) -> ClaimRecord:
    """Read an item by the names that DESIGN gives its attributes."""
    values = plain(item)
    return ClaimRecord(
        status=Status(values["status"]),
        version=values["version"],
        attempted=values["attempted"],
        expires_at=values["expires_at"],
        owner=values.get("owner"),
        lease_until=values.get("lease_until", 0),
        delivered_at=values.get("delivered_at"),
    )


def expected(incoming: Observation, item: dict[str, Any] | None, verdict: Verdict) -> dict[str, Any] | None:
    """Give the record as it has to be afterwards."""
    newest = {
        "status": str(incoming.status),
        "version": incoming.version,
        "observed_at": SAME,
        "expires_at": int(NOW) + DAY,
    }
    before = plain(item) if item else {"id": IDENTITY}
    match verdict:
        case Verdict.CLAIM:
            lease = {"owner": "me", "lease_until": NOW_MS + 57_000}
            return {"id": IDENTITY, **newest, **lease, "attempted": True}
        case Verdict.BUSY_WITH_OLDER:
            return {name: value for name, value in {**before, **newest}.items() if name != "delivered_at"}
        case Verdict.NEVER_OPENED:
            return {**before, **newest, "delivered_at": NOW_MS}
        case _:
            return before


def test_a_claim_is_granted_exactly_when_the_decision_says_so() -> None:
    """Over a grid of records and observations: condition and decision agree, and the record is as it has to be."""
    verdicts = set()
    for incoming in INCOMING:
        for item in (None, *(item_of(*point) for point in GRID)):
            dynamodb = FakeDynamoDB()
            if item:
                dynamodb.tables[TABLE][IDENTITY] = item
            verdict = decide(incoming, record_of(item) if item else None, NOW_MS, 300_000)
            result = claim(make_table(dynamodb), incoming)
            case = (incoming, item and plain(item), verdict, result)
            assert isinstance(result, Claimed) == (verdict is Verdict.CLAIM), case
            if isinstance(result, Refused):
                assert result.verdict is verdict, case
            elif item and int(item["expires_at"]["N"]) > NOW:
                assert result == Claimed("me", known=True, attempted_before=item["attempted"]["BOOL"]), case
            else:
                was_opened = item is not None and item["attempted"]["BOOL"]
                assert result == Claimed("me", False, was_opened or incoming.status is not Status.FIRING), case
            assert plain(dynamodb.tables[TABLE].get(IDENTITY, {})) == expected(incoming, item, verdict), case
            verdicts.add(verdict)
    assert verdicts == set(Verdict)


# --- Somebody writes in between ---


class Interrupted(FakeDynamoDB):
    """Lets others write before some of the calls."""

    def __init__(self, *others: Callable[[FakeDynamoDB], None]) -> None:
        super().__init__()
        self.others = list(others)

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        if self.others:
            self.others.pop(0)(self)
        return super().update_item(**arguments)


def put(**changes: Any) -> Callable[[FakeDynamoDB], None]:
    point: dict[str, Any] = {
        "status": Status.FIRING,
        "at": OLDER,
        "lease_until": NOW_MS + 9000,
        "delivered_at": None,
        "attempted": True,
        "expires_at": int(NOW) + 999,
    }
    item = item_of(**{**point, **changes})

    def write(dynamodb: FakeDynamoDB) -> None:
        dynamodb.tables[TABLE][IDENTITY] = item

    return write


def test_a_claim_looks_again_when_the_lease_went_while_it_was_to_remember() -> None:
    """The owner of the older observation has finished: there is nobody to leave it to."""
    dynamodb = Interrupted(put(), put(lease_until=0))
    assert claim(make_table(dynamodb), seen()) == Claimed("me", known=True, attempted_before=True)


def test_a_claim_looks_again_when_the_waiting_trigger_was_taken_up() -> None:
    """It is being sent now, so the resolve has to follow it."""
    dynamodb = Interrupted(put(lease_until=0, attempted=False), put())
    assert claim(make_table(dynamodb), seen("resolved")) == Refused(Verdict.BUSY_WITH_OLDER)


def test_a_claim_looks_again_when_something_newer_came_while_it_was_to_remember() -> None:
    """The newest is kept."""
    dynamodb = Interrupted(put(), put(at=NEWER))
    assert claim(make_table(dynamodb), seen()) == Refused(Verdict.SUPERSEDED)


def test_a_record_that_never_holds_still_is_left_for_a_moment() -> None:
    """A claim does not go round for ever: busy means that it comes back."""
    dynamodb = Interrupted(*[put(), put(lease_until=0)] * 8)
    result = claim(make_table(dynamodb), seen())
    assert isinstance(result, Refused)
    assert result.verdict is Verdict.BUSY
    assert len(dynamodb.calls) == 16


# --- Errors ---


@pytest.mark.parametrize(
    "code",
    [
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "InternalServerError",
        "ServiceUnavailable",
        "TransactionConflictException",
    ],
)
def test_throttling_and_outages_pass(dynamodb: FakeDynamoDB, table: DedupTable, code: str) -> None:
    """The error names the table and what DynamoDB said."""
    dynamodb.fail(code)
    with pytest.raises(TableUnavailableError, match=f"{TABLE}: {code}") as raised:
        claim(table, seen())
    assert raised.value.retryable


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://dynamodb.example.org"),
        ReadTimeoutError(endpoint_url="https://dynamodb.example.org"),
    ],
)
def test_an_endpoint_out_of_reach_is_an_outage(dynamodb: FakeDynamoDB, table: DedupTable, error: Any) -> None:
    """It passes too."""
    dynamodb.fail(error)
    with pytest.raises(TableUnavailableError, match=type(error).__name__):
        claim(table, seen())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ResourceNotFoundException", "does not exist"),
        ("AccessDeniedException", "may not be used"),
        ("ValidationException", "has not the key"),
        ("UnrecognizedClientException", "refuses this function's credentials"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda table: claim(table, seen()),
        lambda table: table.settle(seen(), Claimed("me", False, False), NOW),
        lambda table: table.release(seen(), Claimed("me", False, False), attempted=True),
    ],
    ids=["claim", "settle", "release"],
)
def test_what_a_person_has_to_mend_names_the_table_and_the_setting(
    dynamodb: FakeDynamoDB, table: DedupTable, code: str, says: str, call: Callable[[DedupTable], None]
) -> None:
    """No retry can mend it."""
    dynamodb.fail(code)
    with pytest.raises(TableMissingError, match=f"table {TABLE} {says}.*DEDUP_TABLE_NAME") as raised:
        call(table)
    assert not raised.value.retryable


def test_a_table_that_is_not_there_is_missing(dynamodb: FakeDynamoDB) -> None:
    """By the name in the setting."""
    with pytest.raises(TableMissingError, match="no-such-table"):
        claim(make_table(dynamodb, name="no-such-table"), seen())


# --- The fake ---


@pytest.mark.parametrize(
    ("condition", "update", "names", "says"),
    [
        ("((#a = :v))", "SET #b = :v", {"#a": "a", "#b": "b"}, "redundant parentheses"),
        ("#a = :v", "SET #b = :v", {"#a": "a"}, "not defined"),
        ("#a = :v", "SET #b = :v", {"#a": "a", "#b": "b", "#c": "c"}, "unused"),
        ("#a = :v", "SET #b = :v REMOVE #b", {"#a": "a", "#b": "b"}, "overlap"),
        ("#a = ", "SET #b = :v", {"#a": "a", "#b": "b"}, "Syntax"),
        ("#a = :v #b", "SET #b = :v", {"#a": "a", "#b": "b"}, "Syntax"),
        ("#a = :v", "SET #b = #c", {"#a": "a", "#b": "b", "#c": "c"}, "does not exist"),
    ],
)
def test_the_fake_refuses_what_dynamodb_refuses(
    dynamodb: FakeDynamoDB, condition: str, update: str, names: dict[str, str], says: str
) -> None:
    """A wrong expression has to fail here, and not first on AWS."""
    dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "x"}, "a": {"S": "v"}})
    with pytest.raises(ClientError, match=says):
        dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": "x"}},
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={":v": {"S": "v"}},
        )


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("a = :one AND b = :one OR a = :one", True),
        ("a = :one OR b = :one AND b = :one", True),
        ("NOT a = :one OR a = :one", True),
        ("NOT (a = :one OR b = :one)", False),
        ("b = :one", False),
        ("NOT b = :one", True),
        ("b < :one", False),
        ("a < :ten", True),
        ("a > :ten", False),
        ("a <= :one AND a >= :one AND a <> :ten", True),
        ("t < :text", True),
        ("a = :text", False),
        ("attribute_exists(a) AND attribute_not_exists(b)", True),
    ],
)
def test_the_fake_evaluates_as_dynamodb_documents(dynamodb: FakeDynamoDB, condition: str, holds: bool) -> None:
    """NOT before AND before OR; numbers as numbers; nothing is true of what is absent or of another type."""
    dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "x"}, "a": {"N": "1"}, "t": {"S": "2026"}})
    values = {":one": {"N": "1.0"}, ":ten": {"N": "10"}, ":text": {"S": "2027"}, ":new": {"N": "5"}}
    used = {name: value for name, value in values.items() if re.search(rf"{name}\b", f"{condition} :new")}
    refusal: AbstractContextManager[Any] = (
        nullcontext() if holds else pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException)
    )
    with refusal:
        dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": "x"}},
            UpdateExpression="SET c = if_not_exists(c, a) + :new ADD d :new",
            ConditionExpression=condition,
            ExpressionAttributeValues=used,
        )
    changes = {"c": 6, "d": 5} if holds else {}
    assert plain(dynamodb.tables[TABLE]["x"]) == {"id": "x", "a": 1, "t": "2026", **changes}


def test_a_copy_of_the_fake_goes_its_own_way(dynamodb: FakeDynamoDB, table: DedupTable) -> None:
    """So that interleavings can be explored."""
    claimed(table, seen())
    twin = dynamodb.copy()
    delivered(make_table(twin), seen("resolved", NEWER), NOW + 60)
    assert stored(dynamodb)["status"] == "firing"
    assert stored(twin)["status"] == "resolved"
