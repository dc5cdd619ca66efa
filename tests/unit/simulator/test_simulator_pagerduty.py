"""What becomes of an event: incidents, limits and faults, on a clock of the test's own."""

import json
import threading
from dataclasses import asdict

import pytest

from local.simulator.faults import Answer, Fault, FaultKind
from local.simulator.incidents import TimelineEntry, mask
from local.simulator.pagerduty import Dropped, PagerDuty, RateLimit

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "0123fedcba98765401234567890abcde"


class Sender:
    """Sends events to a PagerDuty whose time it sets."""

    def __init__(self, limit: RateLimit | None = None, known_keys: list[str] | None = None) -> None:
        """Start at an instant easy to read."""
        self.now = 1_000_000.0
        self.pagerduty = PagerDuty(
            lambda: self.now, limit=limit, known_keys=known_keys, new_dedup_key=lambda: "made by PagerDuty"
        )

    def post(self, event: object, path: str = "/v2/enqueue") -> Answer:
        """Send a body as it is."""
        return self.pagerduty.handle("POST", path, json.dumps(event).encode())

    def trigger(
        self, dedup_key: str | None = "db/cpu", summary: str = "CPU", severity: str = "error", routing_key: str = KEY
    ) -> Answer:
        """Send a valid trigger."""
        payload = {"summary": summary, "source": "db-1", "severity": severity}
        event = {"routing_key": routing_key, "event_action": "trigger", "payload": payload}
        return self.post(event if dedup_key is None else {**event, "dedup_key": dedup_key})

    def send(self, action: str, dedup_key: str = "db/cpu", routing_key: str = KEY) -> Answer:
        """Send a valid event of any action."""
        if action == "trigger":
            return self.trigger(dedup_key, routing_key=routing_key)
        return self.post({"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key})

    def change(self, summary: str = "Deployed 42", routing_key: str = KEY) -> Answer:
        """Send a valid change event."""
        return self.post({"routing_key": routing_key, "payload": {"summary": summary}}, "/v2/change/enqueue")


@pytest.fixture
def sender() -> Sender:
    """A sender to a PagerDuty without limit."""
    return Sender()


def statuses(answers: list[Answer]) -> list[int | None]:
    """Take the status of each answer."""
    return [answer.status for answer in answers]


# -- Answers


def test_accepted_event_is_answered_202_with_its_dedup_key(sender: Sender) -> None:
    """The answer to an alert event names the dedup key."""
    answer = sender.trigger("db/cpu")
    assert answer == Answer(202, {"status": "success", "message": "Event processed", "dedup_key": "db/cpu"})


def test_trigger_without_dedup_key_is_given_one(sender: Sender) -> None:
    """PagerDuty makes a dedup key where there is none, and answers and uses it."""
    answer = sender.trigger(None)
    assert answer.body == {"status": "success", "message": "Event processed", "dedup_key": "made by PagerDuty"}
    assert sender.pagerduty.incidents[0].dedup_key == "made by PagerDuty"
    assert sender.pagerduty.requests[0].dedup_key == "made by PagerDuty"


def test_dedup_keys_made_by_default_differ() -> None:
    """Two triggers without a dedup key open two incidents."""
    sender = Sender()
    sender.pagerduty = PagerDuty(lambda: 0.0)
    sender.trigger(None)
    sender.trigger(None)
    first, second = sender.pagerduty.incidents
    assert first.dedup_key != second.dedup_key


def test_invalid_event_is_answered_400_and_not_taken_in(sender: Sender) -> None:
    """A refusal lists the errors, in PagerDuty's words, and opens nothing."""
    answer = sender.post({"routing_key": "short", "event_action": "resolve", "dedup_key": "db/cpu"})
    errors = ["Length of 'routing_key' is incorrect (should be 32 characters)"]
    assert answer == Answer(400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors})
    (request,) = sender.pagerduty.requests
    assert (request.status, request.accepted, request.errors) == (400, False, tuple(errors))
    assert sender.pagerduty.dropped == ()


def test_unreadable_body_is_answered_400(sender: Sender) -> None:
    """A body that is not JSON gets the answer that PagerDuty's schema documents."""
    answer = sender.pagerduty.handle("POST", "/v2/enqueue", b"{")
    assert answer.status == 400
    assert answer.body == {
        "status": "Unrecognized object",
        "message": "Event object format is unrecognized",
        "errors": ["JSON parse error"],
    }


@pytest.mark.parametrize(("size", "status"), [(512_000, 202), (512_001, 400)])
def test_event_may_have_512_000_bytes(sender: Sender, size: int, status: int) -> None:
    """The limit is on the bytes of the body, and inclusive."""
    event = {
        "routing_key": KEY,
        "event_action": "trigger",
        "payload": {"summary": "CPU", "source": "db-1", "severity": "error", "custom_details": {"log": ""}},
    }
    body = json.dumps(event).encode()
    padded = body.replace(b'"log": ""', b'"log": "%s"' % (b"x" * (size - len(body))))
    assert len(padded) == size
    assert sender.pagerduty.handle("POST", "/v2/enqueue", padded).status == status


def test_other_paths_are_answered_404_and_other_methods_405(sender: Sender) -> None:
    """Only the two endpoints exist, and they take POST alone; both answers are JSON."""
    assert sender.post({}, "/v1/enqueue").status == 404
    answer = sender.pagerduty.handle("GET", "/v2/enqueue", b"")
    assert (answer.status, answer.headers) == (405, {"Allow": "POST"})
    assert [(request.path, request.status) for request in sender.pagerduty.requests] == [
        ("/v1/enqueue", 404),
        ("/v2/enqueue", 405),
    ]


def test_unknown_routing_key_is_refused_once_the_known_ones_are_set(sender: Sender) -> None:
    """A rotated key is a well-formed one that PagerDuty blames."""
    assert sender.trigger().status == 202
    sender.pagerduty.set_known_keys([OTHER_KEY])
    answer = sender.trigger()
    assert (answer.status, answer.errors) == (400, ("Invalid routing key",))
    assert sender.trigger(routing_key=OTHER_KEY).status == 202
    sender.pagerduty.set_known_keys(None)
    assert sender.trigger().status == 202


def test_accepted_event_with_something_ignored_leaves_a_warning(sender: Sender) -> None:
    """What PagerDuty would ignore is accepted, and recorded so that a test can deny it."""
    assert sender.trigger().status == 202
    event = {"routing_key": KEY, "event_action": "resolve", "dedup_key": "db/cpu", "payload": {}, "severity": "info"}
    assert sender.post(event).status == 202
    assert [request.warnings for request in sender.pagerduty.requests] == [
        (),
        (
            "'severity' is unknown and ignored",
            "'payload' is ignored: the event is not a trigger but of type resolve",
        ),
    ]


def test_requests_are_handled_one_at_a_time() -> None:
    """Two threads are never inside at once: there, they would meet at the barrier."""
    barrier = threading.Barrier(2)
    met = []

    def clock() -> float:
        try:
            barrier.wait(0.1)
            met.append(True)
        except threading.BrokenBarrierError:
            pass
        return 0.0

    pagerduty = PagerDuty(clock)
    threads = [threading.Thread(target=pagerduty.handle, args=("POST", "/v2/enqueue", b"{}")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not met
    assert len(pagerduty.requests) == 2


# -- Incidents


@pytest.mark.parametrize(
    ("actions", "state", "changes"),
    [
        ("trigger", "triggered", [True]),
        ("trigger trigger", "triggered", [True, False]),
        ("trigger acknowledge", "acknowledged", [True, True]),
        ("trigger acknowledge acknowledge", "acknowledged", [True, True, False]),
        ("trigger acknowledge trigger", "acknowledged", [True, True, False]),
        ("trigger resolve", "resolved", [True, True]),
        ("trigger acknowledge resolve", "resolved", [True, True, True]),
    ],
)
def test_incident_follows_its_events(sender: Sender, actions: str, state: str, changes: list[bool]) -> None:
    """A trigger opens and folds, an acknowledge and a resolve move on, a trigger never moves back."""
    for action in actions.split():
        sender.now += 1
        assert sender.send(action).status == 202
    (incident,) = sender.pagerduty.incidents
    assert incident.state == state
    assert incident.opened_at == 1_000_001
    assert incident.timeline == tuple(
        TimelineEntry(1_000_001.0 + index, action, changed)
        for index, (action, changed) in enumerate(zip(actions.split(), changes, strict=True))
    )
    assert sender.pagerduty.dropped == ()


def test_trigger_after_resolve_opens_a_new_incident(sender: Sender) -> None:
    """A resolved incident is never reopened: the next trigger makes one with a number of its own."""
    for action in ("trigger", "resolve", "trigger"):
        sender.send(action)
    assert [(each.number, each.state) for each in sender.pagerduty.incidents] == [(1, "resolved"), (2, "triggered")]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
@pytest.mark.parametrize("before", [[], ["trigger", "resolve"]])
def test_event_without_an_open_incident_is_answered_202_and_dropped(
    sender: Sender, action: str, before: list[str]
) -> None:
    """A resolve that overtakes its trigger is lost, and the sender is not told."""
    for each in before:
        sender.send(each)
    incidents = sender.pagerduty.incidents
    assert sender.send(action).status == 202
    assert sender.pagerduty.dropped == (Dropped(sender.now, mask(KEY), action, "db/cpu"),)
    assert sender.pagerduty.incidents == incidents


def test_incidents_are_apart_by_dedup_key_and_routing_key(sender: Sender) -> None:
    """The same dedup key on two services is two incidents."""
    sender.trigger("a")
    sender.trigger("b")
    sender.trigger("a", routing_key=OTHER_KEY)
    sender.send("resolve", "a", routing_key=OTHER_KEY)
    assert [(each.routing_key, each.dedup_key, each.state) for each in sender.pagerduty.incidents] == [
        (mask(KEY), "a", "triggered"),
        (mask(KEY), "b", "triggered"),
        (mask(OTHER_KEY), "a", "resolved"),
    ]


def test_folded_trigger_brings_its_payload_and_the_first_is_kept(sender: Sender) -> None:
    """An incident shows what its latest trigger said, beside the first payload."""
    sender.trigger(summary="CPU at 90 %", severity="warning")
    payload = {"summary": "CPU at 99 %", "source": "db-2", "severity": "critical"}
    sender.post(
        {
            "routing_key": KEY,
            "event_action": "trigger",
            "dedup_key": "db/cpu",
            "payload": payload,
            "links": [{"href": "https://example.com/"}],
            "images": [{"src": "https://example.com/cpu.png"}],
            "client": "Publisher",
            "client_url": "https://console.example.com/",
        }
    )
    (incident,) = sender.pagerduty.incidents
    assert incident.first_payload == {"summary": "CPU at 90 %", "source": "db-1", "severity": "warning"}
    assert incident.payload == payload
    assert (incident.summary, incident.source, incident.severity) == ("CPU at 99 %", "db-2", "critical")
    assert incident.links == [{"href": "https://example.com/"}]
    assert incident.images == [{"src": "https://example.com/cpu.png"}]
    assert (incident.client, incident.client_url) == ("Publisher", "https://console.example.com/")


def test_change_event_is_kept_and_opens_nothing(sender: Sender) -> None:
    """A change event has no dedup key, and none is answered."""
    assert sender.change("Deployed 42").body == {"status": "success", "message": "Event processed"}
    (change,) = sender.pagerduty.changes
    assert (change.at, change.summary, change.payload) == (sender.now, "Deployed 42", {"summary": "Deployed 42"})
    assert sender.pagerduty.incidents == ()
    assert sender.pagerduty.requests[0].action == "change"


def test_no_record_shows_a_routing_key(sender: Sender) -> None:
    """Whatever was sent, valid or not, the records and the faults show no routing key."""
    sender.pagerduty.set_faults(Fault(FaultKind.RESET, action="change", routing_key=KEY))
    sender.change()
    sender.change()
    sender.trigger()
    sender.send("resolve")
    sender.send("resolve")
    sender.post({"routing_key": KEY, "event_action": KEY[:5]})
    shown = repr(asdict(sender.pagerduty.snapshot()))
    assert KEY not in shown
    assert mask(KEY) in shown
    assert KEY not in repr(Fault(FaultKind.RESET, routing_key=KEY))


def test_masks_distinguish_keys_that_begin_alike() -> None:
    """A mask shows four characters and still differs between keys."""
    assert mask(KEY).startswith("0123…")
    assert mask(KEY) != mask(OTHER_KEY)


# -- Rate limit


def test_requests_over_the_limit_are_answered_429_and_not_taken_in() -> None:
    """The excess is refused in PagerDuty's words, with `Retry-After` where configured."""
    sender = Sender(RateLimit(2, retry_after_seconds=30))
    assert statuses([sender.trigger(key) for key in "abc"]) == [202, 202, 429]
    answer = sender.trigger("c")
    assert isinstance(answer.body, dict)
    assert answer.body["status"] == "throttle exceeded"
    assert answer.headers == {"Retry-After": "30"}
    assert len(sender.pagerduty.incidents) == 2
    assert [request.accepted for request in sender.pagerduty.requests] == [True, True, False, False]


def test_429_has_no_retry_after_unless_configured() -> None:
    """PagerDuty does not promise the header."""
    answer = Sender(RateLimit(0)).trigger()
    assert (answer.status, answer.headers) == (429, {})


def test_window_rolls() -> None:
    """A turn comes back exactly one window after it was taken, not at the turn of a minute."""
    sender = Sender(RateLimit(2))
    outcomes = []
    for at in (0, 40, 59.9, 60, 60.1, 99.9, 100):
        sender.now = 1_000_000.0 + at
        outcomes.append(sender.trigger().status)
    assert outcomes == [202, 202, 429, 202, 429, 429, 202]


def test_limit_belongs_to_the_routing_key() -> None:
    """One service's storm does not refuse another's alert."""
    sender = Sender(RateLimit(1))
    assert statuses([sender.trigger(), sender.trigger(), sender.trigger(routing_key=OTHER_KEY)]) == [202, 429, 202]


def test_change_events_share_the_limit() -> None:
    """The quota is one for both endpoints."""
    sender = Sender(RateLimit(1))
    assert statuses([sender.change(), sender.trigger()]) == [202, 429]


@pytest.mark.parametrize(("count_refused", "status"), [(False, 202), (True, 429)])
def test_refused_requests_count_only_if_told_so(count_refused: bool, status: int) -> None:
    """A sender that hammers starves itself where refused requests count."""
    sender = Sender(RateLimit(1, count_refused=count_refused))
    sender.trigger()
    sender.now += 30
    assert sender.trigger().status == 429
    sender.now += 30
    assert sender.trigger().status == status


def test_new_limit_starts_with_nothing_counted() -> None:
    """Replacing the limit forgets what was counted, and None lifts it."""
    sender = Sender(RateLimit(1))
    assert statuses([sender.trigger(), sender.trigger()]) == [202, 429]
    sender.pagerduty.set_limit(RateLimit(1))
    assert statuses([sender.trigger(), sender.trigger()]) == [202, 429]
    sender.pagerduty.set_limit(None)
    assert statuses([sender.trigger(), sender.trigger()]) == [202, 202]


def test_peak_is_the_fullest_rolling_window_of_each_key(sender: Sender) -> None:
    """All requests count towards the peak, also those refused or cut off; a window excludes its own start."""
    sender.pagerduty.set_limit(RateLimit(2))
    sender.pagerduty.set_faults(Fault(FaultKind.RESET))
    for at in (0, 30, 59, 60, 89, 200):
        sender.now = 1_000_000.0 + at
        sender.trigger()
    sender.trigger(routing_key=OTHER_KEY)
    assert sender.pagerduty.peak == {mask(KEY): 4, mask(OTHER_KEY): 1}
    sender.pagerduty.set_limit(RateLimit(2, window_seconds=29))
    assert sender.pagerduty.peak == {mask(KEY): 2, mask(OTHER_KEY): 1}


# -- Faults


@pytest.mark.parametrize(
    ("fault", "expected", "is_taken_in"),
    [
        (
            Fault(FaultKind.STATUS, status=503),
            Answer(503, {"status": "service unavailable", "message": "Service Unavailable", "errors": []}),
            False,
        ),
        (Fault(FaultKind.STATUS, status=500, body={"a": 1}), Answer(500, {"a": 1}), False),
        (
            Fault(FaultKind.STATUS, status=429, body="slow", retry_after=30),
            Answer(429, "slow", {"Retry-After": "30"}),
            False,
        ),
        (Fault(FaultKind.STATUS, status=204, body=""), Answer(204, ""), False),
        (Fault(FaultKind.RESET), Answer(None, resets=True), False),
        (Fault(FaultKind.ACCEPT_THEN_DROP, delay_seconds=2), Answer(None, delay_seconds=2), True),
        (Fault(FaultKind.GARBAGE, body="<"), Answer(200, "<"), False),
        (Fault(FaultKind.GARBAGE, status=500, body="<"), Answer(500, "<"), False),
        (Fault(FaultKind.GARBAGE, status=202, body="<"), Answer(202, "<"), True),
        (
            Fault(FaultKind.ANSWER, delay_seconds=2, trickle_seconds=0.1),
            Answer(
                202,
                {"status": "success", "message": "Event processed", "dedup_key": "db/cpu"},
                delay_seconds=2,
                trickle_seconds=0.1,
            ),
            True,
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_fault_spoils_the_answer_of_one_request(
    sender: Sender, fault: Fault, expected: Answer, is_taken_in: bool
) -> None:
    """A fault decides what the sender sees, and whether the event was taken in nevertheless."""
    sender.pagerduty.set_faults(fault)
    assert sender.trigger() == expected
    assert bool(sender.pagerduty.incidents) is is_taken_in
    assert sender.trigger() == Answer(202, {"status": "success", "message": "Event processed", "dedup_key": "db/cpu"})
    spoiled, sound = sender.pagerduty.requests
    assert (spoiled.status, spoiled.accepted, spoiled.fault) == (expected.status, is_taken_in, fault.kind)
    assert (sound.status, sound.accepted, sound.fault) == (202, True, None)


def test_errors_of_an_unanswered_event_are_recorded(sender: Sender) -> None:
    """A sender that got no answer can still be shown what was wrong with its event."""
    sender.pagerduty.set_faults(Fault(FaultKind.ACCEPT_THEN_DROP))
    assert sender.post({"routing_key": KEY, "event_action": "resolve"}).status is None
    (request,) = sender.pagerduty.requests
    assert (request.status, request.accepted, request.errors) == (None, False, ("'dedup_key' is missing or blank",))


def test_faults_are_a_queue(sender: Sender) -> None:
    """Rules are used up in their order."""
    sender.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=2), Fault(FaultKind.STATUS, status=502))
    assert statuses([sender.trigger() for _ in range(4)]) == [500, 500, 502, 202]


def test_fault_without_count_lasts_until_it_is_replaced(sender: Sender) -> None:
    """A count of None is an outage, which new rules or none end."""
    sender.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None))
    assert statuses([sender.trigger() for _ in range(3)]) == [500] * 3
    sender.pagerduty.set_faults()
    assert sender.trigger().status == 202


def test_fault_ends_at_its_time(sender: Sender) -> None:
    """A rule no longer holds from `until_at` on."""
    sender.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500, count=None, until_at=sender.now + 10))
    sender.now += 9.9
    assert sender.trigger().status == 500
    sender.now += 0.1
    assert sender.trigger().status == 202


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.STATUS, status=500, action="resolve"),
        Fault(FaultKind.STATUS, status=500, action="change"),
        Fault(FaultKind.STATUS, status=500, dedup_key="b"),
        Fault(FaultKind.STATUS, status=500, routing_key=OTHER_KEY),
        Fault(FaultKind.STATUS, status=500, action="trigger", dedup_key="b"),
    ],
)
def test_fault_leaves_requests_alone_that_do_not_match(sender: Sender, fault: Fault) -> None:
    """All matchers of a rule have to fit, and a request that does not fit uses nothing up."""
    sender.pagerduty.set_faults(fault)
    assert sender.trigger("a").status == 202
    if fault.action == "change":
        answer = sender.change()
    else:
        answer = sender.send(fault.action or "trigger", fault.dedup_key or "a", fault.routing_key or KEY)
    assert answer.status == 500


def test_late_answer_may_be_any(sender: Sender) -> None:
    """A delay applies to refusals as well as to success."""
    sender.pagerduty.set_limit(RateLimit(0))
    sender.pagerduty.set_faults(Fault(FaultKind.ANSWER, delay_seconds=0.05, count=None))
    answer = sender.trigger()
    assert (answer.status, answer.delay_seconds) == (429, 0.05)


def test_request_outside_the_events_api_uses_no_fault_up(sender: Sender) -> None:
    """Faults are for events only."""
    sender.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500))
    assert sender.post({}, "/v1/enqueue").status == 404
    assert sender.trigger().status == 500


def test_fault_that_cannot_be_carried_out_is_refused() -> None:
    """A status has to be given, and garbage is a text."""
    with pytest.raises(ValueError, match="needs a status"):
        Fault(FaultKind.STATUS)
    with pytest.raises(ValueError, match="is a text"):
        Fault(FaultKind.GARBAGE, body={})


def test_reset_goes_back_to_the_start() -> None:
    """Events, faults and what was changed since are forgotten; the limit and keys given at the start remain."""
    sender = Sender(RateLimit(1), known_keys=[KEY])
    sender.trigger()
    sender.send("resolve", "b")
    sender.pagerduty.set_limit(None)
    sender.change()
    sender.pagerduty.set_known_keys(None)
    sender.pagerduty.set_faults(Fault(FaultKind.RESET))

    sender.pagerduty.reset()

    assert asdict(sender.pagerduty.snapshot()) == {
        "incidents": (),
        "changes": (),
        "requests": (),
        "dropped": (),
        "peak": {},
    }
    assert sender.trigger(routing_key=OTHER_KEY).errors == ("Invalid routing key",)
    assert statuses([sender.trigger(), sender.trigger()]) == [202, 429]
    assert sender.pagerduty.incidents[0].number == 1
