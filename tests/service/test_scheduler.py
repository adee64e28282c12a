"""The transport alone: pieces are sleeps and counters here, so that turns and ends can be counted exactly."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from unpool.graph.errors import ExhaustedError
from unpool.service.elsewhere import Elsewhere
from unpool.service.held import Held
from unpool.service.scheduler import Pieces, Scheduler, SchedulerSettings


class Log:
    """What the pieces of several requests did, in order."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.ended: list[str] = []

    def count(self, name: str, pieces: int, *, every: int = 1, seconds: float = 0.0) -> Held[int]:
        def work() -> Iterator[int | None]:
            for i in range(pieces):
                self.turns.append(name)
                time.sleep(seconds)
                yield i if i % every == 0 else None

        return Held(work(), lambda: self.ended.append(name))


async def until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not come true in time"
        await asyncio.sleep(0.005)


async def test_results_come_in_order_and_ticks_do_not() -> None:
    scheduler, log = Scheduler(), Log()
    async with scheduler.submit(lambda: log.count("a", 10, every=3)) as results:
        assert [i async for i in results] == [0, 3, 6, 9]
    await scheduler.idle()
    assert log.ended == ["a"]
    assert scheduler.close()


async def test_running_requests_take_turns() -> None:
    scheduler, log = Scheduler(), Log()
    gate = threading.Event()

    async def ask(name: str) -> None:
        def work() -> Pieces[int]:
            gate.wait(5)
            return log.count(name, 30, every=10, seconds=0.001)

        async with scheduler.submit(work) as results:
            async for _ in results:
                pass

    tasks = [asyncio.create_task(ask(name)) for name in "ab"]
    await asyncio.sleep(0.05)
    gate.set()
    await asyncio.gather(*tasks)
    # Nobody ever gets a third turn in a row while the other waits, but for the moment when they begin.
    middle = "".join(log.turns[5:-5])
    assert "aaa" not in middle
    assert "bbb" not in middle
    scheduler.close()


async def test_a_short_request_does_not_wait_for_a_long_one() -> None:
    scheduler, log = Scheduler(), Log()
    async with scheduler.submit(lambda: log.count("long", 10_000, every=10_001, seconds=0.002)):
        await until(lambda: log.turns)
        begin = time.monotonic()
        async with scheduler.submit(lambda: log.count("short", 3, seconds=0.002)) as results:
            assert [i async for i in results] == [0, 1, 2]
        assert time.monotonic() - begin < 1.0
    scheduler.close()


async def test_a_slow_reader_stops_its_request_and_nobody_elses() -> None:
    scheduler, log = Scheduler(SchedulerSettings(results=2)), Log()
    async with scheduler.submit(lambda: log.count("slow", 100)) as slow:
        await until(lambda: log.turns.count("slow") == 2)
        async with scheduler.submit(lambda: log.count("quick", 50)) as quick:
            assert [i async for i in quick] == list(range(50))
        assert log.turns.count("slow") == 2
        reading = aiter(slow)
        assert await anext(reading) == 0
        assert await anext(reading) == 1
        await until(lambda: log.turns.count("slow") == 3)
        await asyncio.sleep(0.05)
        assert log.turns.count("slow") == 3
    await scheduler.idle()
    assert log.turns.count("slow") == 3
    assert "slow" in log.ended
    scheduler.close()


async def test_leaving_ends_the_work_within_one_piece() -> None:
    scheduler, log = Scheduler(), Log()
    async with scheduler.submit(lambda: log.count("a", 1000, every=1001, seconds=0.05)):
        await until(lambda: log.turns)
    turns = len(log.turns)
    await asyncio.wait_for(scheduler.idle(), 1.0)
    assert len(log.turns) <= turns + 1
    assert log.ended == ["a"]
    scheduler.close()


async def test_a_parked_request_is_ended_too() -> None:
    scheduler, log = Scheduler(SchedulerSettings(results=1)), Log()
    async with scheduler.submit(lambda: log.count("a", 1000)):
        await until(lambda: log.turns)
        await asyncio.sleep(0.02)
    await asyncio.wait_for(scheduler.idle(), 1.0)
    assert log.ended == ["a"]
    assert len(log.turns) == 1
    scheduler.close()


async def test_leaving_before_the_work_is_prepared_gives_back_what_it_borrows() -> None:
    scheduler, log = Scheduler(), Log()
    begun, gate = threading.Event(), threading.Event()

    def work() -> Pieces[int]:
        begun.set()
        gate.wait(5)
        return log.count("a", 5)

    async with scheduler.submit(work):
        await until(begun.is_set)
    gate.set()
    await asyncio.wait_for(scheduler.idle(), 1.0)
    assert log.turns == []
    assert log.ended == ["a"]
    scheduler.close()


async def test_an_abandoned_request_leaves_no_memory_behind() -> None:
    scheduler = Scheduler(SchedulerSettings(results=1))
    kept: list[weakref.ref[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]] = []

    def work() -> Held[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        def pieces() -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
            held = np.ones(1000)
            kept.append(weakref.ref(held))
            for i in range(100):
                result = held * i
                kept.append(weakref.ref(result))
                yield result

        return Held(pieces(), lambda: None)

    async def vanish() -> None:
        async with scheduler.submit(work) as results:
            async for _ in results:
                await asyncio.sleep(10)

    task = asyncio.create_task(vanish())
    await until(lambda: len(kept) >= 2)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(scheduler.idle(), 1.0)
    del task
    await until(lambda: gc.collect() >= 0 and not any(ref() is not None for ref in kept), 2.0)
    scheduler.close()


async def test_errors_reach_the_reader_and_what_was_borrowed_is_given_back() -> None:
    scheduler, log = Scheduler(), Log()

    def failing() -> Held[int]:
        def pieces() -> Iterator[int]:
            yield 1
            raise ValueError("half way")

        return Held(pieces(), lambda: log.ended.append("failing"))

    def unprepared() -> Held[int]:
        raise ValueError("at once")

    async with scheduler.submit(failing) as results:
        reading = aiter(results)
        assert await anext(reading) == 1
        with pytest.raises(ValueError, match="half way"):
            await anext(reading)
    async with scheduler.submit(unprepared) as results:
        with pytest.raises(ValueError, match="at once"):
            await results.one()
    await scheduler.idle()
    assert log.ended == ["failing"]
    scheduler.close()


async def test_too_many_at_once_are_refused_with_a_hint_and_room_comes_back() -> None:
    scheduler, log = Scheduler(SchedulerSettings(admitted=2, retry_seconds=3.5)), Log()
    async with (
        scheduler.submit(lambda: log.count("a", 1000, seconds=0.01)),
        scheduler.submit(lambda: log.count("b", 1000, seconds=0.01)),
    ):
        with pytest.raises(ExhaustedError) as caught:
            async with scheduler.submit(lambda: log.count("c", 1)):
                pass
        assert caught.value.retry_seconds == 3.5
    await asyncio.wait_for(scheduler.idle(), 1.0)
    async with scheduler.submit(lambda: log.count("d", 1)) as results:
        assert [i async for i in results] == [0]
    scheduler.close()


async def test_what_runs_when_the_scheduler_closes_is_told_so() -> None:
    scheduler, log = Scheduler(), Log()
    async with scheduler.submit(lambda: log.count("a", 1000, every=1001, seconds=0.01)) as results:
        await until(lambda: log.turns)
        assert await asyncio.to_thread(scheduler.close)
        with pytest.raises(ExhaustedError, match="shutting down"):
            async for _ in results:
                pass
        with pytest.raises(ExhaustedError, match="shutting down"):
            async with scheduler.submit(lambda: log.count("b", 1)):
                pass
    assert log.ended == ["a"]


async def test_aside_gives_results_and_errors_and_does_not_keep_the_thread_busy_for_who_left() -> None:
    scheduler = Scheduler()
    assert await scheduler.aside.call(lambda: 41 + 1) == 42

    def fail() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await scheduler.aside.call(fail)
    task = asyncio.create_task(scheduler.aside.call(lambda: time.sleep(0.1)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await scheduler.aside.call(lambda: "still here") == "still here"
    scheduler.close()


async def test_nobody_waits_behind_requests_whose_models_load_slowly() -> None:
    scheduler, log = Scheduler(SchedulerSettings(admitted=8)), Log()
    gate, waiting = threading.Event(), []

    async def slow(name: str) -> list[int]:
        def work() -> Pieces[int]:
            waiting.append(name)
            assert gate.wait(20)
            return log.count(name, 1)

        async with scheduler.submit(work) as results:
            return [i async for i in results]

    held = [asyncio.create_task(slow(f"slow {i}")) for i in range(7)]
    await until(lambda: len(waiting) == 7)
    async with scheduler.submit(lambda: log.count("quick", 2)) as results:
        assert [i async for i in results] == [0, 1]
    assert await scheduler.aside.call(lambda: "listed") == "listed"
    assert log.turns == ["quick", "quick"]
    gate.set()
    assert await asyncio.gather(*held) == [[0]] * 7
    await scheduler.idle()
    assert scheduler.close()


async def test_others_go_on_while_a_step_is_done_aside() -> None:
    scheduler, log = Scheduler(), Log()
    begun, gate = threading.Event(), threading.Event()
    where: list[str] = []

    def work() -> Held[str]:
        def load() -> str:
            where.append(threading.current_thread().name)
            begun.set()
            assert gate.wait(10)
            return "loaded"

        def pieces() -> Iterator[str | Elsewhere[object] | None]:
            yield "begun"
            step = Elsewhere(load)
            yield step
            yield step.result()

        return Held(pieces(), lambda: log.ended.append("loading"))

    async with scheduler.submit(work) as results:
        await until(begun.is_set)
        async with scheduler.submit(lambda: log.count("other", 50)) as others:
            assert [i async for i in others] == list(range(50))
        assert not gate.is_set()
        gate.set()
        assert [r async for r in results] == ["begun", "loaded"]
    await scheduler.idle()
    assert where[0].startswith("unpool-aside")
    assert log.ended == ["other", "loading"]
    assert scheduler.close()


async def test_a_step_aside_that_fails_or_is_abandoned_ends_its_request() -> None:
    scheduler, log = Scheduler(), Log()
    begun, gate = threading.Event(), threading.Event()

    def asking(function: Callable[[], None]) -> Held[int]:
        def pieces() -> Iterator[int | Elsewhere[object] | None]:
            step = Elsewhere(function)
            yield step
            step.result()
            log.turns.append("went on")
            yield 1

        return Held(pieces(), lambda: log.ended.append("step"))

    def fail() -> None:
        raise ValueError("no such model")

    def wait() -> None:
        begun.set()
        assert gate.wait(10)

    async with scheduler.submit(lambda: asking(fail)) as results:
        with pytest.raises(ValueError, match="no such model"):
            await results.one()
    async with scheduler.submit(lambda: asking(wait)):
        await until(begun.is_set)
    gate.set()
    await asyncio.wait_for(scheduler.idle(), 5.0)
    begun.clear()
    gate.clear()
    async with scheduler.submit(lambda: asking(wait)) as results:
        await until(begun.is_set)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        await asyncio.sleep(0.05)
        gate.set()
        with pytest.raises(ExhaustedError, match="shutting down"):
            await results.one()
        assert await closing
    assert log.ended == ["step"] * 3
    assert log.turns == []
