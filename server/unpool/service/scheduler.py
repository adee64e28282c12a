"""Turns among callers: one worker thread takes the next piece of each running request in turn.

A request is an iterator that yields results, and ``None`` between two pieces of work that have nothing to show. Pieces
are bounded in time, so that streaming, fairness, back-pressure, cancellation and deadlines are all decided between
two of them: whose turn it is, whether a reader has room for another result, whether anybody still waits for one. A
step that cannot be bounded is yielded as ``Elsewhere``: it is done aside, and its request has no turn until then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from unpool.graph.errors import ExhaustedError
from unpool.service.aside import Aside
from unpool.service.elsewhere import Elsewhere

_log = logging.getLogger(__name__)
_LISTING = 4
"""Threads beside those of admitted requests: for lists and descriptions, which nobody has to be admitted for."""
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pieces(Protocol[T_co]):
    """An iterator of results, ``None`` where a piece of work had none, that can be abandoned between two pieces."""

    def __next__(self) -> T_co | Elsewhere[object] | None: ...

    def close(self) -> None:
        """Ends the work and gives back what it holds; also when it never began."""
        ...


Work: TypeAlias = Callable[[], Pieces[T]]
"""Prepares a request (looks at it, loads what it needs) and gives its pieces."""


@dataclass(frozen=True)
class SchedulerSettings:
    """Limits of the scheduler.

    Attributes:
        admitted: how many requests may run or wait at once.
        results: how many results wait for a slow reader before its request stops getting turns.
        result_bytes: how many bytes of results do, counted by their ``nbytes``; one larger result still fits.
        retry_seconds: what refused callers are told.
    """

    admitted: int = 32
    results: int = 64
    result_bytes: int = 16 << 20
    retry_seconds: float = 1.0


class _End:
    """Put behind the last result; carries the error that ended the work, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def settle(self) -> None:
        """Raises the error, once: its traceback holds on to what the work had in hand."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error


class _Job(Generic[T]):
    """One admitted request. All fields but ``outbox`` belong to whoever holds the scheduler's lock."""

    def __init__(self) -> None:
        self.pieces: Pieces[T] | None = None
        self.waiting = 0
        self.waiting_bytes = 0
        self.parked = False
        self.abandoned = False
        self.outbox: asyncio.Queue[T | _End] = asyncio.Queue()


def _size(result: object) -> int:
    """The bytes that a result holds, where it says so."""
    size = getattr(result, "nbytes", 0)
    return size if isinstance(size, int) else 0


class Results(Generic[T]):
    """The results of one request, as they come."""

    def __init__(self, job: _Job[T], taken: Callable[[_Job[T], int], None]) -> None:
        self._job = job
        self._taken = taken

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            item = await self._job.outbox.get()
            if isinstance(item, _End):
                item.settle()
                return
            size = _size(item)
            yield item
            # Not at once when it is taken: a reader has room for the next when it is done with this one.
            del item
            self._taken(self._job, size)

    async def one(self) -> T:
        """The only result."""
        item = await self._job.outbox.get()
        if isinstance(item, _End):
            item.settle()
            raise RuntimeError("a request ended without its result")
        return item


class Scheduler:
    """Runs requests piece by piece; made and used on the event loop, works in one thread of its own.

    Args:
        settings: limits.
    """

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self._settings = settings or SchedulerSettings()
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Condition()
        self._ready: deque[_Job[object]] = deque()
        self._admitted = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.aside = Aside(self._settings.admitted + _LISTING)
        self._thread = threading.Thread(target=self._work, name="unpool-worker", daemon=True)
        self._thread.start()

    @property
    def admitted(self) -> int:
        """Requests that run, wait, or are being wound up."""
        return self._admitted

    @asynccontextmanager
    async def submit(self, work: Work[T]) -> AsyncIterator[Results[T]]:
        """Admits a request; leaving the context, in whatever way, ends its work within one piece.

        Raises:
            ExhaustedError: too many are admitted already, or the server is shutting down.
        """
        job: _Job[T] = _Job()
        with self._turn:
            if self._closed:
                raise _shutting_down()
            if self._admitted >= self._settings.admitted:
                raise ExhaustedError(
                    f"{self._admitted} requests run or wait already; try again later",
                    retry_seconds=self._settings.retry_seconds,
                )
            self._admitted += 1
            self._idle.clear()
        # Loading a model or decoding a picture is no bounded piece: it must not hold up the others' turns.
        self.aside.put(lambda: self._prepare(job, work))
        try:
            yield Results(job, self._taken)
        finally:
            self._abandon(job)

    async def idle(self) -> None:
        """Waits until nothing is admitted."""
        await self._idle.wait()

    def close(self, timeout: float = 5.0) -> bool:
        """Ends the threads after the piece in hand; ``False`` where one has not ended in time."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        until = time.monotonic() + timeout
        self._thread.join(timeout)
        return self.aside.close(max(0.0, until - time.monotonic())) and not self._thread.is_alive()

    def _prepare(self, job: _Job[T], work: Work[T]) -> None:
        if job.abandoned:
            self._end(job, None)
            return
        try:
            pieces = work()
        except BaseException as error:
            self._end(job, error)
            return
        job.pieces = pieces
        self._get_ready(job)

    def _step_aside(self, job: _Job[T], step: Elsewhere[object]) -> None:
        if not job.abandoned:
            step.run()
        self._get_ready(job)

    def _get_ready(self, job: _Job[T]) -> None:
        with self._turn:
            closed = self._closed
            if not closed:
                self._ready.append(job)  # type: ignore[arg-type]  # a queue of jobs of all kinds
                self._turn.notify()
        if closed:
            self._close(job, None if job.abandoned else _shutting_down())

    def _work(self) -> None:
        while self._take_turn():
            pass

    def _take_turn(self) -> bool:
        """One piece of one request; a function of its own, so that nothing of a request outlives it on the stack."""
        with self._turn:
            while not self._ready and not self._closed:
                self._turn.wait()
            if not self._ready:
                return False
            job = self._ready.popleft()
            abandoned = job.abandoned or self._closed
        pieces = job.pieces
        assert pieces is not None
        if abandoned:
            self._close(job, None if job.abandoned else _shutting_down())
            return True
        try:
            result = next(pieces)
        except StopIteration:
            self._end(job, None)
            return True
        except BaseException as error:
            self._close(job, error)
            return True
        with self._turn:
            if isinstance(result, Elsewhere):
                step = result
                if not self._closed:
                    self.aside.put(lambda: self._step_aside(job, step))
                    return True
            elif result is not None:
                job.waiting += 1
                job.waiting_bytes += _size(result)
                self._deliver(job, result)
            if self._has_room(job) or job.abandoned:
                self._ready.append(job)
            else:
                job.parked = True
        return True

    def _has_room(self, job: _Job[T]) -> bool:
        return job.waiting < self._settings.results and job.waiting_bytes < self._settings.result_bytes

    def _taken(self, job: _Job[T], size: int) -> None:
        with self._turn:
            job.waiting -= 1
            job.waiting_bytes -= size
            if self._has_room(job):
                self._unpark(job)

    def _abandon(self, job: _Job[T]) -> None:
        with self._turn:
            job.abandoned = True
            if job in self._ready:
                self._ready.remove(job)  # type: ignore[arg-type]
                self._ready.appendleft(job)  # type: ignore[arg-type]
            self._unpark(job)

    def _unpark(self, job: _Job[T]) -> None:
        if job.parked:
            job.parked = False
            self._ready.append(job)  # type: ignore[arg-type]
            self._turn.notify()

    def _close(self, job: _Job[T], error: BaseException | None = None) -> None:
        assert job.pieces is not None
        try:
            job.pieces.close()
        except Exception:
            _log.exception("abandoned work did not end cleanly")
        self._end(job, error)

    def _end(self, job: _Job[T], error: BaseException | None) -> None:
        job.pieces = None
        with self._turn:
            self._admitted -= 1
            self._deliver(job, _End(error))
            if not self._admitted:
                self._call(self._settle)

    def _settle(self) -> None:
        if not self._admitted:
            self._idle.set()

    def _deliver(self, job: _Job[T], item: T | _End) -> None:
        self._call(lambda: job.outbox.put_nowait(item))

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The loop has ended, and with it everybody who could wait for this.
            _log.debug("result dropped: the event loop has ended")


def _shutting_down() -> ExhaustedError:
    return ExhaustedError("the server is shutting down; try another, or try again later", retry_seconds=5.0)
