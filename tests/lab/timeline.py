"""Virtual time for many threads: one runs at a time, until it sleeps; then the one that is due next runs.

A run with the same seed repeats exactly, because nothing depends on the machine. Nothing really sleeps.
"""

import heapq
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from threading import Lock, Thread

from tests.lab.clock import NOW


class Killed(BaseException):
    """The work was killed; no `except Exception` catches it."""


class _Worker:
    """A thread that runs one piece of work after another, whenever it is its turn."""

    def __init__(self, timeline: "Timeline") -> None:
        self.timeline = timeline
        self.go = Lock()
        self.go.acquire()
        self.work: Callable[[], None] | None = None
        self.ends = False
        self.thread = Thread(target=self._run, daemon=True, name="execution")
        self.thread.start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            if self.work is None:
                self.timeline.baton.release()
                return
            try:
                self.work()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the thread of the test
                self.timeline.errors.append(error)
            self.work = None
            self.timeline.idle.append(self)
            self.timeline.baton.release()


class Timeline:
    """Virtual time: a schedule of actions, in order of time, then of planning."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.baton = Lock()
        self.baton.acquire()
        self.idle: list[_Worker] = []
        self.errors: list[BaseException] = []
        self._suspended: set[_Worker] = set()
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._running: _Worker | None = None
        self._until = now

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Schedule an action."""
        heapq.heappush(self._planned, (max(when, self.now), next(self._numbers), act))

    def start(self, work: Callable[[], None]) -> None:
        """Begin work that may sleep; return when it first does. Only scheduled actions may call this."""
        worker = self.idle.pop() if self.idle else _Worker(self)
        worker.work = work
        self._resume(worker)

    def sleep(self, seconds: float) -> None:
        """Let time pass for the work that calls this; others run meanwhile."""
        worker, wakes_at = self._running, self.now + max(0.0, seconds)
        assert worker, "only work can sleep"
        if wakes_at <= self._until and (not self._planned or wakes_at < self._planned[0][0]):
            self.now = wakes_at
            return
        self.at(wakes_at, lambda: self._resume(worker))
        self._suspend(worker)

    def map[A, B](self, function: Callable[[A], B], things: Iterable[A]) -> list[B]:
        """Call a function for all arguments at the same time, and wait for all calls.

        The first exception is raised when all have ended; if one call was killed, the caller is killed too.
        """
        worker, each = self._running, list(things)
        assert worker, "only work can wait"
        results: dict[int, B] = {}
        failures: dict[int, Exception] = {}
        left = len(each)

        def call(number: int, thing: A) -> None:
            nonlocal left
            try:
                results[number] = function(thing)
            except Exception as error:  # noqa: BLE001 - raised again below
                failures[number] = error
            finally:
                left -= 1
                if not left:
                    self.at(self.now, lambda: self._resume(worker))

        for number, thing in enumerate(each):
            self.at(self.now, partial(self.start, partial(call, number, thing)))
        if each:
            self._suspend(worker)
        for number in sorted(failures):
            raise failures[number]
        if len(results) < len(each):
            raise Killed
        return [results[number] for number in range(len(each))]

    def run(self, seconds: float) -> None:
        """Run for this long, or until nothing is scheduled."""
        self._until = self.now + seconds
        try:
            while self._planned and self._planned[0][0] <= self._until and not self.errors:
                self.now, _, act = heapq.heappop(self._planned)
                act()
        finally:
            self._end()
        if self.errors:
            raise self.errors[0]

    @property
    def is_over(self) -> bool:
        """Whether nothing is scheduled."""
        return not self._planned

    def _suspend(self, worker: _Worker) -> None:
        self._suspended.add(worker)
        self.baton.release()
        worker.go.acquire()
        self._suspended.discard(worker)
        if worker.ends:
            raise Killed

    def _resume(self, worker: _Worker) -> None:
        self._running = worker
        worker.go.release()
        self.baton.acquire()
        self._running = None

    def _end(self) -> None:
        while self._suspended:
            worker = next(iter(self._suspended))
            worker.ends = True
            self._resume(worker)
        while self.idle:
            worker = self.idle.pop()
            worker.go.release()
            self.baton.acquire()
            worker.thread.join()
