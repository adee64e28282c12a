"""What changes the plane (transposed convolution, resizing, borders, slices, blocks) keeps a unit on its box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
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


def _bordered(net: Net, mode: str, before: int, behind: int) -> None:
    n = net.shape[1] + before + behind
    amounts = net.weight(np.array([0, 0, before, before, 0, 0, behind, behind], np.int64))
    net.add("Pad", [net.current, amounts], (net.shape[0], n, n), mode=mode)


def _sliced(net: Net, start: int, end: int, step: int) -> None:
    n = len(range(net.shape[1])[start : None if end < -net.shape[1] else end : step])
    lists = [[start] * 2, [end] * 2, [2, 3], [step] * 2]
    net.add("Slice", [net.current, *(net.weight(np.array(v, np.int64)) for v in lists)], (net.shape[0], n, n))


def _focused(net: Net) -> None:
    """Every second place of every second row, four times: a plane of half the size and four times the channels."""
    start, (channels, n, _) = net.current, net.shape
    parts = []
    for place in ((0, 0), (1, 0), (0, 1), (1, 1)):
        lists = [place, (n, n), (2, 3), (2, 2)]
        inputs = [start, *(net.weight(np.array(v, np.int64)) for v in lists)]
        parts.append(net.add("Slice", inputs, (channels, n // 2, n // 2)))
    net.add("Concat", parts, (4 * channels, n // 2, n // 2), axis=1)


CHANGED: dict[str, Callable[[Net], None]] = {
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
    "reflected border": lambda net: _bordered(net, "reflect", 1, 2),
    "wide reflected border": lambda net: _bordered(net, "reflect", 5, 3),
    "border of the edge": lambda net: _bordered(net, "edge", 2, 1),
    "border from the other end": lambda net: _bordered(net, "wrap", 2, 1),
    "cropped": lambda net: _sliced(net, 1, -1, 1),
    "every second": lambda net: _sliced(net, 1, 99, 2),
    "backwards": lambda net: _sliced(net, -1, -99, -1),
    "focus": _focused,
}


def _network(kinds: Sequence[str]) -> tuple[bytes, str, int]:
    net = Net(np.random.default_rng(3), (3, PLANE, PLANE), opset=19)
    for kind in kinds:
        net.add("Conv", [net.current, net.normal(8, net.shape[0], 3, 3)], (8, *net.shape[1:]), pads=[1] * 4)
        net.add("Relu", [net.current])
        CHANGED[kind](net)
    net.add("Conv", [net.current, net.normal(2, net.shape[0], 3, 3)], (2, *net.shape[1:]), pads=[1] * 4)
    return net.model((1, 3, PLANE, PLANE)), net.current, net.shape[1]


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize(
    "kinds",
    [*([kind] for kind in CHANGED), list(CHANGED)[:2], ["linear", "stride 2"], ["reflected border"] * 3],
    ids=", ".join,
)
def test_units_behind_a_changed_plane_walk_on_boxes(kinds: Sequence[str], policy: Policy) -> None:
    data, name, extent = _network(kinds)
    engine = Engine(load(data), EngineSettings(device="cpu", threads=1, verify=False))
    x = np.random.default_rng(1).standard_normal((1, 3, PLANE, PLANE)).astype(np.float32)
    feeds = Feeds({"x": x}, "x")
    half = extent // 2
    # Every place of a step, inside, and every corner and border.
    places = [half + k for k in range(6)]
    units = [(0, p, q) for p, q in zip(places, reversed(places), strict=True)]
    units = [(c, min(p, extent - 1), min(q, extent - 1)) for c, p, q in units]
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


@pytest.mark.parametrize("rank", [1, 3])
def test_transposed_convolutions_over_one_and_three_axes(rank: int) -> None:
    rng = np.random.default_rng(rank)
    plane, k = [(60,), (), (11, 12, 13)][rank - 1], [3] * rank
    shapes = {"a": (4, 2, *k), "t": (4, 4, *[4] * rank), "b": (3, 4, *k)}
    weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    ones = [1] * (2 * rank)
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], pads=ones),
        helper.make_node("ConvTranspose", ["c", "t"], ["d"], strides=[2] * rank, pads=ones),
        helper.make_node("Conv", ["d", "b"], ["y"], pads=ones),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *plane])]
    values.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, *(2 * n for n in plane)]))
    model = helper.make_model(
        helper.make_graph(nodes, "line", values[:1], values[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    engine = Engine(load(model.SerializeToString()), EngineSettings(device="cpu", threads=1, verify=False))
    feeds = Feeds({"x": rng.standard_normal((1, 2, *plane)).astype(np.float32)}, "x")
    units = [(0, *(n for n in plane)), (1, *(n + 1 for n in plane)), (2, *(0 for _ in plane))]
    units.append((1, *(2 * n - 1 for n in plane)))
    route = engine.route(["y"], ["x"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route)
    local = arrived(engine, route, capture, {"y": seed(engine, feeds, "y", units, [1.0] * 4)})
    signal = one_hot((1, 3, *(2 * n for n in plane)), units, [1.0] * 4)
    close(local, arrived(engine, route, capture, {"y": whole(engine, feeds, "y", signal)}))
    inside = {"y": seed(engine, feeds, "y", units[:2], [1.0] * 2)}
    pieces = [p for p in engine.walk(route, capture, inside, np.zeros(2, np.int64)) if p is not None]
    assert all(n < 8 for piece in pieces for n in piece.signals["x"].boxes.sizes.values())
    engine.close()
