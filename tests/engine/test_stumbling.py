"""What torch stumbles over on the way back is told without its words; want of memory is told as that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.engine.networks import Net
from tests.engine.support import seed
from tests.graph.builders import text_model
from tests.methods.small import engine_of, feeds_of

from unpool.engine import Policy
from unpool.graph.errors import PreconditionError
from unpool.ops import Crossing, Signals


def _breaking(error: Exception) -> object:
    def apply(at: Crossing, signals: Signals) -> Signals:
        raise error

    return apply


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            RuntimeError("size of tensor a must match"),
            PreconditionError,
            "cross Relu node 'n0': torch fails there",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError, "wants more memory than there is"),
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryError, "wants more memory than there is"),
    ],
)
def test_a_crossing_that_fails(
    error: Exception, kind: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    net = Net(np.random.default_rng(0), (3, 6, 6))
    net.add("Relu", ["x"])
    engine = engine_of(net.model((1, 3, 6, 6)))
    feeds = feeds_of(engine, np.ones((1, 3, 6, 6), np.float32))
    route = engine.route(["t0"], ["x"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route)
    (step,) = route.steps
    broken = replace(route, steps=(replace(step, rule=replace(step.rule, apply=_breaking(error))),))
    signal = seed(engine, feeds, "t0", [(0, 2, 2)], [1.0])
    with pytest.raises(kind, match=words) as caught:
        list(engine.walk(broken, capture, {"t0": signal}, np.zeros(1, np.int64)))
    assert str(error) not in str(caught.value)
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error] * (
        kind is PreconditionError
    )


def test_switches_that_torch_cannot_find() -> None:
    """ONNX Runtime takes a stride that torch does not count to."""
    net = text_model(
        """agraph (float[1,2,4,4] x) => (float[1,2,1,2] y) {
            y = MaxPool <kernel_shape = [2, 2], strides = [2147483648, 2]> (x)
        }"""
    )
    engine = engine_of(net)
    feeds = feeds_of(engine, np.ones((1, 2, 4, 4), np.float32))
    with pytest.raises(PreconditionError, match=r"the switches of MaxPool node '\w+' cannot be found: torch fails"):
        engine.captured_for(feeds, engine.route(["y"], ["x"], Policy.GRADIENT))
