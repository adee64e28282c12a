"""Threads and callers beside a walk: nothing of theirs is changed, nothing they use is let go of."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from tests.methods.small import SETTINGS, engine_of, feeds_of, rectified

from unpool.engine import Capture, Geometry, Policy
from unpool.engine.binding import Extents
from unpool.engine.captures import CaptureStore
from unpool.engine.devices import resolve
from unpool.engine.sessions import Sessions
from unpool.graph import load
from unpool.methods import Positions, ProjectionRequest, project


def test_a_paused_walk_leaves_gradients_switched_on() -> None:
    engine = engine_of(rectified())
    feeds = feeds_of(engine, np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32))
    walking = project(engine, feeds, ProjectionRequest("t4", channels=(0, 1), positions=Positions.ALL))
    assert [torch.is_grad_enabled() for _ in walking].count(False) == 0
    engine.close()


class _Slow(ir.Tensor):
    """A weight whose array is another one each time, and waits for a second thread that wants it as well."""

    meeting = threading.Barrier(2)
    made = 0

    def numpy(self) -> npt.NDArray[np.float32]:
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(timeout=0.3)
        self.made += 1
        return super().numpy().copy()


def test_two_threads_that_make_sessions_share_one_copy_of_a_weight() -> None:
    sessions = Sessions(load(rectified()).runtime, resolve("cpu"), threads=1, limit=2)
    weight = _Slow(np.ones((64, 64), np.float32), name="w")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(sessions._weight("w", weight))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1]
    assert weight.made == 1


def test_a_capture_larger_than_the_budget_drives_no_other_out() -> None:
    store = CaptureStore(1000)
    geometry = Geometry(load(rectified()).graph, Extents({}, dict))
    small, large = (Capture(geometry, 1, values={"v": torch.zeros(n)}) for n in (100, 1000))
    store.put("small", small)
    store.put("large", large)
    assert list(store.digests()) == ["small"]
    grown = Capture(geometry, 1, values={"v": torch.zeros(100)})
    store.put("grown", grown)
    grown.values["w"] = torch.zeros(1000)
    store.put("grown", grown)
    assert "grown" not in store.digests(), "grown beyond the budget"


def test_questions_do_not_pile_up_in_an_engine() -> None:
    engine = engine_of(rectified((1, 3, "h", "w")), SETTINGS)
    for n in range(12, 112):
        engine.geometry(feeds_of(engine, np.zeros((1, 3, n, 12), np.float32)))
    assert len(engine._geometries) <= 64
    first = engine.route(["t4"], ["x"], Policy.GUIDED)
    assert engine.route(["t4"], ["x"], Policy.GUIDED) is first
    engine.close()
