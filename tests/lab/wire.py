"""The connection to the PagerDuty simulator, without a socket."""

import io
import json
from typing import Any, cast

import urllib3

from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import Clock

BASE_URL = "https://events.pagerduty.com"


class DirectPool(urllib3.PoolManager):
    """A pool that calls the simulator's core directly and waits on the test's clock."""

    def __init__(self, pagerduty: PagerDuty, clock: Clock, latency_seconds: float = 0.0) -> None:
        super().__init__()
        self.pagerduty = pagerduty
        self.clock = clock
        self.latency_seconds = latency_seconds

    def request(  # type: ignore[override]
        self, method: str, url: str, *, body: bytes, timeout: urllib3.Timeout, **_: Any
    ) -> urllib3.BaseHTTPResponse:
        answer = self.pagerduty.handle(method, url[len(BASE_URL) :], body)
        patience = float(cast(float, timeout.total))
        taken = answer.delay_seconds + self.latency_seconds
        self.clock.advance(min(taken, patience))
        if taken > patience:
            raise urllib3.exceptions.ReadTimeoutError(cast(Any, self), url, "no answer in time")
        if answer.status is None:
            raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return urllib3.HTTPResponse(
            io.BytesIO(text.encode()), headers=dict(answer.headers), status=answer.status, preload_content=False
        )
