"""Threads for what is no bounded piece of work: loading, decoding, listing."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Aside:
    """A pool that grows. Its threads never keep the process alive, unlike those of ``concurrent.futures``.

    Args:
        threads: how many at the most; as many as may wait for slow models at once, so that nobody waits for them who
            asks about another.
    """

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._in_hand = 0

    def put(self, task: Callable[[], None]) -> None:
        """Queues a task that handles its own errors."""
        with self._lock:
            self._in_hand += 1
            self._tasks.put(task)
            if self._in_hand > len(self._threads) < self._most:
                name = f"unpool-aside-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()

    async def call(self, function: Callable[[], T]) -> T:
        """Runs a function and waits for what it returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # there is no error, so it is what the function gave

        def task() -> None:
            if future.cancelled():
                return
            result, failure = None, None
            try:
                result = function()
            except Exception as error:
                failure = error
            loop.call_soon_threadsafe(deliver, result, failure)

        self.put(task)
        return await future

    def close(self, timeout: float) -> bool:
        """Ends the threads after the task in hand; ``False`` where one has not ended in time."""
        with self._lock:
            threads = list(self._threads)
            self._most = len(threads)
        for _ in threads:
            self._tasks.put(None)
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """A function of its own, so that a task and what it holds do not outlive it on this thread's stack."""
        task = self._tasks.get()
        if task is None:
            return False
        try:
            task()
        except Exception:
            _log.exception("a task failed aside")
        finally:
            with self._lock:
                self._in_hand -= 1
        return True
