"""Where planes part and meet, and where one value is read twice: against autograd through the torch executor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import helper
from tests.engine.networks import Net
from tests.engine.support import arrived, close, seed

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load

PLANE = (20, 8)
# Most units lie inside one part and few stick out of it, so that borders are zeroed one by one.
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 19)


def _net() -> Net:
    return Net(np.random.default_rng(5), (3, *PLANE))


def _conv(net: Net, source: str, channels: int = 3, pad: int = 1) -> str:
    return net.add("Conv", [source, net.normal(2, channels, 3, 3)], pads=[pad] * 4)


def _gradients(source: bytes, name: str, rows: Sequence[int]) -> tuple[npt.NDArray[np.float32], ...]:
    """(walked, by autograd): gradients of units of channel 0 in column 3, all in one walk."""
    engine = Engine(load(source), EngineSettings(device="cpu", threads=1, verify=False))
    x = np.random.default_rng(1).standard_normal((1, 3, *PLANE)).astype(np.float32)
    feeds = Feeds({"x": x}, "x")
    units = [(0, row, 3) for row in rows]
    route = engine.route([name], ["x"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, also=(name,))
    signal = seed(engine, feeds, name, units, [1.0] * len(units))
    walked = arrived(engine, route, capture, {name: signal})
    leaf = torch.from_numpy(x).requires_grad_()
    y = engine.executor((), [name])({"x": leaf})[name]
    grads = [torch.autograd.grad(y[(0, *unit)], leaf, retain_graph=True)[0] for unit in units]
    engine.close()
    return walked, torch.cat(grads).numpy()


def test_a_pad_beside_another_branch_leaves_that_branch_its_border() -> None:
    net = _net()
    wide = _conv(net, "x", pad=2)
    narrow = _conv(net, "x")
    padded = net.add("Pad", [narrow, net.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1]))])
    net.add("Add", [wide, padded])
    name = _conv(net, net.current, 2)
    close(*_gradients(net.model((1, 3, *PLANE)), name, (*ROWS, 0, 21)))


def test_maps_joined_along_the_plane_keep_their_own_parts() -> None:
    net = _net()
    parts = [_conv(net, "x"), _conv(net, "x")]
    net.add("Concat", parts, axis=2)
    name = _conv(net, net.current, 2)
    close(*_gradients(net.model((1, 3, *PLANE)), name, (*ROWS, 20)))


def test_a_map_joined_to_itself_along_the_plane_is_read_twice() -> None:
    net = _net()
    once = _conv(net, "x")
    net.add("Concat", [once, once], axis=2)
    name = _conv(net, net.current, 2)
    close(*_gradients(net.model((1, 3, *PLANE)), name, (0, 5, 19, 20, 39)))


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_unequal_parts_of_a_plane_go_back_where_they_came_from(used: tuple[int, ...]) -> None:
    net = _net()
    source = _conv(net, "x")
    sizes = net.weight(np.array([7, 13]))
    net.nodes.append(helper.make_node("Split", [source, sizes], ["upper", "lower"], "split", axis=2))
    cut = net.weight(np.array([0])), net.weight(np.array([7])), net.weight(np.array([2]))
    ends = []
    for i in used:
        part = ("upper", "lower")[i]
        ends.append(_conv(net, net.add("Slice", [part, *cut]) if i else part, 2))
    name = net.add("Add", ends) if len(ends) == 2 else ends[0]
    close(*_gradients(net.model((1, 3, *PLANE)), name, (0, 3, 6)))
