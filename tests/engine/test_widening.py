"""Windows that widen the plane (transposed convolution, resizing, blocks into the plane) keep a unit on its box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tests.engine.networks import Net
from tests.engine.support import arrived, close, one_hot, seed, whole

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load

PLANE = 24


def _transposed(net: Net, kernel: int, stride: int, pad: int, extra: int = 0) -> None:
    n = (net.shape[1] - 1) * stride + kernel - 2 * pad + extra
    weights = [net.current, net.normal(net.shape[0], 4, kernel, kernel)]
    pads = [pad] * 4
    net.add("ConvTranspose", weights, (4, n, n), strides=[stride] * 2, pads=pads, output_padding=[extra] * 2)


def _resized(net: Net, scale: float, **modes: object) -> None:
    n = int(net.shape[1] * scale)
    scales = net.weight(np.array([1, 1, scale, scale], np.float32))
    net.add("Resize", [net.current, "", scales], (net.shape[0], n, n), **modes)


def _shuffled(net: Net, mode: str) -> None:
    n = net.shape[1] * 2
    net.add("DepthToSpace", [net.current], (net.shape[0] // 4, n, n), blocksize=2, mode=mode)


WIDENED: dict[str, Callable[[Net], None]] = {
    "stride 2": lambda net: _transposed(net, 4, 2, 1),
    "gaps between windows": lambda net: _transposed(net, 2, 3, 0),
    "padded at the end": lambda net: _transposed(net, 3, 2, 1, 1),
    "nearest": lambda net: _resized(net, 2.0, mode="nearest", nearest_mode="floor"),
    "linear": lambda net: _resized(net, 2.0, mode="linear"),
    "linear by a broken scale": lambda net: _resized(net, 1.7, mode="linear"),
    "linear, smaller": lambda net: _resized(net, 0.6, mode="linear"),
    "cubic, corners aligned": lambda net: _resized(
        net, 1.5, mode="cubic", coordinate_transformation_mode="align_corners"
    ),
    "depth to space": lambda net: _shuffled(net, "DCR"),
    "columns to space": lambda net: _shuffled(net, "CRD"),
}


def _network(kinds: Sequence[str]) -> tuple[bytes, str, int]:
    net = Net(np.random.default_rng(3), (3, PLANE, PLANE))
    for kind in kinds:
        net.add("Conv", [net.current, net.normal(8, net.shape[0], 3, 3)], (8, *net.shape[1:]), pads=[1] * 4)
        net.add("Relu", [net.current])
        WIDENED[kind](net)
    net.add("Conv", [net.current, net.normal(2, net.shape[0], 3, 3)], (2, *net.shape[1:]), pads=[1] * 4)
    return net.model((1, 3, PLANE, PLANE)), net.current, net.shape[1]


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize(
    "kinds", [*([kind] for kind in WIDENED), list(WIDENED)[:2], ["linear", "stride 2"]], ids=", ".join
)
def test_units_behind_a_widening_window_walk_on_boxes(kinds: Sequence[str], policy: Policy) -> None:
    data, name, extent = _network(kinds)
    engine = Engine(load(data), EngineSettings(device="cpu", threads=1, verify=False))
    x = np.random.default_rng(1).standard_normal((1, 3, PLANE, PLANE)).astype(np.float32)
    feeds = Feeds({"x": x}, "x")
    half = extent // 2
    # Every place of a step, inside, and every corner and border.
    places = [half + k for k in range(6)]
    units = [(0, p, q) for p, q in zip(places, reversed(places), strict=True)]
    units += [(1, p, q) for p in (0, half, extent - 1) for q in (0, half, extent - 1)]
    starts = [1.0] * len(units)
    route = engine.route([name], ["x"], policy)
    capture = engine.captured_for(feeds, route, also=(name,))
    local = arrived(engine, route, capture, {name: seed(engine, feeds, name, units, starts)})
    signal = one_hot((1, 2, extent, extent), units, starts)
    close(local, arrived(engine, route, capture, {name: whole(engine, feeds, name, signal)}))
    sizes = [
        size
        for piece in engine.walk(
            route, capture, {name: seed(engine, feeds, name, units[:6], starts[:6])}, np.zeros(6, np.int64)
        )
        if piece is not None
        for size in piece.signals["x"].boxes.sizes.values()
    ]
    assert max(sizes) < PLANE * 0.7
    engine.close()
