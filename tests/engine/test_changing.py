"""What changes a plane (transposed convolution, resizing, borders, slices, blocks) is occluded on boxes as whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.engine.test_patchwise import close, patchwise, windows
from tests.oracles.occlusion import BruteForce

from unpool.engine import Engine, EngineSettings, Feeds, Occluders
from unpool.graph import load

_RUN = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
_SETTINGS = EngineSettings(device="cpu", threads=1)


@dataclass(frozen=True)
class _Changing:
    """A node between two convolutions, and its weights."""

    kind: str
    attributes: dict[str, Any]
    constants: list[tuple[str, np.ndarray[Any, Any]]]
    plane: tuple[int, ...]


@st.composite
def _transposed(draw: st.DrawFn) -> _Changing:
    rank = draw(st.integers(1, 3))
    plane = tuple(draw(st.integers(4, 9 if rank < 3 else 5)) for _ in range(rank))
    each = st.tuples(*[st.integers(1, 3)] * rank)
    kernel, strides, dilations = draw(st.tuples(*[st.integers(1, 4)] * rank)), draw(each), draw(each)
    group = draw(st.sampled_from([1, 2]))
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    match draw(st.sampled_from(["pads", "output_padding", "SAME_UPPER", "SAME_LOWER"])):
        case "pads":
            spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
            attributes["pads"] = [draw(st.integers(0, s - 1)) for s in spans * 2]
        case "output_padding":
            attributes["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
        case how:
            attributes["auto_pad"] = how
            attributes["dilations"] = (1,) * rank
            assume(all(k >= s for k, s in zip(kernel, strides, strict=True)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    constants = [("tw", rng.normal(0, 0.5, (4, 4 // group, *kernel)).astype(np.float32))]
    if draw(st.booleans()):
        constants.append(("tb", rng.normal(0, 0.5, 4).astype(np.float32)))
    return _Changing("ConvTranspose", attributes, constants, plane)


@st.composite
def _resized(draw: st.DrawFn) -> _Changing:
    rank = 2
    plane = tuple(draw(st.integers(5, 10)) for _ in range(rank))
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    places = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(places))}
    if mode == "nearest":
        attributes["nearest_mode"] = draw(st.sampled_from(["floor", "ceil", "round_prefer_floor"]))
    empty = np.zeros(0, np.float32)
    if draw(st.booleans()):
        scales = [draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])) for _ in plane]
        constants = [("roi", empty), ("scales", np.array([1, 1, *scales], np.float32))]
    else:
        sizes = [draw(st.integers(2, 2 * n)) for n in plane]
        constants = [("roi", empty), ("none", empty), ("sizes", np.array([1, 4, *sizes], np.int64))]
    return _Changing("Resize", attributes, constants, plane)


@st.composite
def _bordered(draw: st.DrawFn) -> _Changing:
    rank = draw(st.integers(1, 3))
    plane = tuple(draw(st.integers(3, 9)) for _ in range(rank))
    before, behind = ([draw(st.integers(0, n - 1)) for n in plane] for _ in range(2))
    mode = draw(st.sampled_from(["reflect", "edge", "wrap", "constant"]))
    return _Changing("Pad", {"mode": mode}, [("pads", np.array([0, 0, *before, 0, 0, *behind], np.int64))], plane)


@st.composite
def _sliced(draw: st.DrawFn) -> _Changing:
    rank = draw(st.integers(1, 2))
    plane = tuple(draw(st.integers(6, 11)) for _ in range(rank))
    axes = [*range(2, 2 + rank), *draw(st.sampled_from([[], [1]]))]
    steps = [draw(st.sampled_from([1, 2, 3, -1, -2])) for _ in axes]
    spans = [(draw(st.integers(0, 2)), draw(st.sampled_from([99, -1]))) for _ in axes]
    # Channels are turned round at most: the filters behind take all of them.
    spans = [(0, 99) if axis == 1 else span for axis, span in zip(axes, spans, strict=True)]
    steps = [int(np.sign(step)) if axis == 1 else step for axis, step in zip(axes, steps, strict=True)]
    starts = [low if step > 0 else -1 - low for (low, _), step in zip(spans, steps, strict=True)]
    ends = [high if step > 0 else -99 for (_, high), step in zip(spans, steps, strict=True)]
    lists = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    return _Changing("Slice", {}, [(name, np.array(values, np.int64)) for name, values in lists.items()], plane)


@st.composite
def _blocks(draw: st.DrawFn) -> _Changing:
    plane = tuple(2 * draw(st.integers(2, 5)) for _ in range(2))
    attributes: dict[str, Any] = {"blocksize": 2}
    kind = draw(st.sampled_from(["DepthToSpace", "SpaceToDepth"]))
    if kind == "DepthToSpace":
        attributes["mode"] = draw(st.sampled_from(["DCR", "CRD"]))
    return _Changing(kind, attributes, [], plane)


@st.composite
def _rolled(draw: st.DrawFn) -> _Changing:
    plane = tuple(draw(st.integers(4, 10)) for _ in range(draw(st.integers(1, 2))))
    axis = draw(st.integers(0, len(plane) - 1))
    return _Changing("Concat", {"axis": axis + 2}, [("at", np.array([draw(st.integers(1, plane[axis] - 1))]))], plane)


_CHANNELS = {"DepthToSpace": 1, "SpaceToDepth": 16}
"""Behind four of them."""


def _network(node: _Changing) -> bytes:
    """A convolution, the node, and a convolution with a rectifier, over planes of any size behind the node."""
    rank = len(node.plane)
    rng = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name)
        for name, shape in (("a", (4, 2, *[3] * rank)), ("b", (3, _CHANNELS.get(node.kind, 4), *[3] * rank)))
    ]
    weights += [numpy_helper.from_array(array, name) for name, array in node.constants if name != "none"]
    inputs = ["" if name == "none" else name for name, _ in node.constants]
    pads = [1] * (2 * rank)
    nodes = [helper.make_node("Conv", ["x", "a"], ["c"], pads=pads)]
    if node.kind == "Concat":  # the plane, turned round by as much
        weights += [numpy_helper.from_array(np.array([n]), f"n{n}") for n in (0, 99)]
        weights.append(numpy_helper.from_array(np.array([node.attributes["axis"]]), "axis"))
        nodes.append(helper.make_node("Slice", ["c", "n0", "at", "axis"], ["first"]))
        nodes.append(helper.make_node("Slice", ["c", "at", "n99", "axis"], ["second"]))
    joined = ["second", "first"] if node.kind == "Concat" else ["c", *inputs]
    nodes += [
        helper.make_node(node.kind, joined, ["e"], name="changing", **node.attributes),
        helper.make_node("Conv", ["e", "b"], ["d"], pads=pads),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "changing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *node.plane])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, *[None] * rank])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


@_RUN
@given(node=st.one_of(_transposed(), _resized(), _bordered(), _sliced(), _blocks(), _rolled()), data=st.data())
def test_boxes_cross_it_and_equal_onnx_runtime(node: _Changing, data: st.DataObject) -> None:
    source = _network(node)
    x = np.random.default_rng(3).standard_normal((1, 2, *node.plane)).astype(np.float32)
    axes = tuple(range(2, 2 + len(node.plane)))
    window, origins = data.draw(windows(node.plane))
    fill = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    wanted = BruteForce(source, ["y", "e"]).occluded({"x": x}, "x", axes, origins, window, fill)
    engine = Engine(load(source), _SETTINGS)
    channel = 0 if node.kind == "DepthToSpace" else 2
    occluders = Occluders("x", np.array(origins, np.int64), window, fill)
    found, sums, runs = patchwise(engine, Feeds({"x": x}, "x"), occluders, ["y"], {"e": channel}, range(len(origins)))
    assert runs is not None
    assert "changing" in [n.name for n, _ in runs.cut.steps]
    close(found["y"], wanted["y"])
    chosen = wanted["e"][:, :, channel].reshape(len(origins), -1)
    scale = np.abs(chosen).sum(1).max()
    np.testing.assert_allclose(sums["e"], chosen.sum(1), rtol=1e-5, atol=1e-5 * max(scale, 1e-30))
