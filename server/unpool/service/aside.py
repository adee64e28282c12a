"""A few threads for what is no bounded piece of work: loading, decoding, listing."""

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
    """A small pool. Its threads never keep the process alive, unlike those of ``concurrent.futures``.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"unpool-aside-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, task: Callable[[], None]) -> None:
        """Queues a task that handles its own errors."""
        self._tasks.put(task)

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
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

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
        return True
