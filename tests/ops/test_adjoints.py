"""Every linear operator: <A x, y> = <x, A' y> in float64, for signals on boxes, also over the border, and on planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.oracles.crossing import BoxCrossing, carry, channels_first, constant_operand, operand
from torch import Tensor

from unpool.graph.model import BATCH, CHANNEL, OTHER, Attribute, Axis, AxisKind, Node, spatial
from unpool.ops import backward, run
from unpool.ops.switches import codes_from_input, pool_geometry

UNITS = 2
TRIES = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def boxes(y: Tensor, axes: Sequence[Axis], data: st.DataObject) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Boxes of one size for every unit: whole planes, or anywhere, also over the border."""
    whole = data.draw(st.booleans(), label="whole")
    origins, sizes = {}, {}
    for axis, extent in zip(axes, y.shape, strict=True):
        if axis.kind is AxisKind.SPATIAL:
            if whole:
                origins[axis.index], sizes[axis.index] = [0] * UNITS, extent
                continue
            sizes[axis.index] = data.draw(st.integers(1, extent), label="size")
            # A box that sticks out still holds at least one row of the plane.
            origins[axis.index] = [
                data.draw(st.integers(1 - sizes[axis.index], extent - 1), label="origin") for _ in range(UNITS)
            ]
    return origins, sizes


def restricted(y: Tensor, axes: Sequence[Axis], origins: Mapping[int, list[int]], sizes: Mapping[int, int]) -> Tensor:
    """A random signal for every unit that is zero outside its box."""
    shape = [UNITS if a == BATCH else n for a, n in zip(axes, y.shape, strict=True)]
    signal = torch.randn(shape, dtype=torch.float64)
    for u in range(UNITS):
        for i, (axis, extent) in enumerate(zip(axes, shape, strict=True)):
            if axis.kind is AxisKind.SPATIAL:
                rows = torch.arange(extent)
                inside = (rows >= origins[axis.index][u]) & (rows < origins[axis.index][u] + sizes[axis.index])
                view = [1] * len(shape)
                view[i] = extent
                signal.select(list(axes).index(BATCH), u).unsqueeze(list(axes).index(BATCH)).mul_(inside.view(view))
    return signal


def check(
    node: Node,
    inputs: Sequence[Tensor | None],
    signal_inputs: Sequence[int],
    data: st.DataObject,
    *,
    axes_in: Mapping[int, Sequence[Axis]] | None = None,
    axes_out: Sequence[Axis] | None = None,
    layout: torch.memory_format = torch.contiguous_format,
) -> None:
    """Holds the rule of a node to its forward: linear in the inputs that carry signals, the others constant."""
    constants = {i: x for i, x in enumerate(inputs) if x is not None and i not in signal_inputs}
    zeros = [torch.zeros_like(x) if x is not None and i in signal_inputs else x for i, x in enumerate(inputs)]
    results, offsets = run(node, inputs), run(node, zeros)
    operands = [
        None if x is None else operand(x, (axes_in or {}).get(i)) if i in signal_inputs else constant_operand(x)
        for i, x in enumerate(inputs)
    ]
    outputs = [operand(y, axes_out) for y in results]
    out_axes = outputs[0].axes
    origins, sizes = boxes(results[0], out_axes, data)
    codes = None
    if node.op_type == "MaxPool":
        assert inputs[0] is not None
        codes = codes_from_input(inputs[0], pool_geometry(node, inputs[0].shape[2:]))
    at = BoxCrossing(
        node,
        operands,
        list(outputs),
        constants,
        origins,
        sizes,
        codes=codes,
        trimming=data.draw(st.booleans()),
        units=UNITS,
    )
    rule = backward(node, tuple(x is None or i in constants for i, x in enumerate(inputs)))
    assert rule is not None
    assert rule.exact
    assert rule.inputs == ()
    signals = [restricted(y, out_axes, origins, sizes) for y in results]
    if layout is torch.channels_last:
        signals = [s.to(memory_format=layout) if s.ndim == 4 else s for s in signals]
    back = carry(at, signals)
    batch = out_axes.index(BATCH)
    for u in range(UNITS):
        forward = sum(
            float(((y - y0) * s.narrow(batch, u, 1)).sum()) for y, y0, s in zip(results, offsets, signals, strict=True)
        )
        reverse = 0.0
        for i in signal_inputs:
            b, x, known = back[i], inputs[i], operands[i]
            assert b is not None
            assert x is not None
            assert known is not None
            reverse += float((x * b.narrow(known.axes.index(BATCH), u, 1)).sum())
        scale = max(1.0, abs(forward), float(sum((y * y).sum() for y in results)) ** 0.5)
        assert abs(forward - reverse) < 1e-9 * scale


def node(op_type: str, version: int, count: int, outputs: int = 1, **attributes: Attribute) -> Node:
    return Node(
        "n",
        "",
        op_type,
        version,
        tuple(f"x{i}" for i in range(count)),
        tuple(f"y{i}" for i in range(outputs)),
        attributes,
    )


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@st.composite
def window_attributes(draw: st.DrawFn, rank: int, *, pooling: bool = False) -> dict[str, Attribute]:
    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel = per_axis(1, 3)
    found: dict[str, Attribute] = {"kernel_shape": kernel, "strides": per_axis(1, 3)}
    mode = draw(st.sampled_from(["NOTSET", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "pads":
        # A pool's window must hold at least one input.
        most = [k - 1 if pooling else 2 for k in kernel]
        found["pads"] = tuple(draw(st.integers(0, m)) for m in most * 2)
    elif mode != "NOTSET":
        found["auto_pad"] = mode
    if mode in ("NOTSET", "pads", "VALID"):
        found["dilations"] = per_axis(1, 2)
        if pooling and found["dilations"] != (1,) * rank:
            found.pop("pads", None)
    return found


def fits(attributes: Mapping[str, Attribute], extents: Sequence[int]) -> bool:
    kernel, dilations = attributes["kernel_shape"], attributes.get("dilations", (1, 1, 1))
    assert isinstance(kernel, tuple)
    assert isinstance(dilations, tuple)
    return all((int(k) - 1) * int(d) + 1 <= e for k, d, e in zip(kernel, dilations, extents, strict=False))


@TRIES
@given(st.data(), st.integers(1, 3), st.sampled_from([1, 2]))
def test_convolution_is_adjoint_on_every_box(data: st.DataObject, rank: int, group: int) -> None:
    attributes = data.draw(window_attributes(rank))
    extents = [data.draw(st.integers(1, 9 if rank < 3 else 6)) for _ in range(rank)]
    assume(fits(attributes, extents))
    kernel = attributes["kernel_shape"]
    assert isinstance(kernel, tuple)
    # More maps than channels takes the way down to a few channels.
    maps = data.draw(st.sampled_from([2, 6]))
    w = randn(maps * group, 2, *(int(k) for k in kernel))
    x = randn(1, 2 * group, *extents)
    bias = randn(maps * group) if data.draw(st.booleans()) else None
    call = node("Conv", data.draw(st.sampled_from([7, 11, 22])), 3, group=group, **attributes)
    if bias is None:
        call = node("Conv", 11, 2, group=group, **attributes)
    check(call, [x, w, bias][: len(call.inputs)], [0], data, layout=torch.channels_last)


@TRIES
@given(st.data(), st.integers(1, 3), st.sampled_from([1, 2]))
def test_transposed_convolution_is_adjoint(data: st.DataObject, rank: int, group: int) -> None:
    attributes = data.draw(window_attributes(rank))
    strides = attributes["strides"]
    assert isinstance(strides, tuple)
    if data.draw(st.booleans()):
        attributes["output_padding"] = tuple(data.draw(st.integers(0, int(s) - 1)) for s in strides)
    extents = [data.draw(st.integers(1, 6)) for _ in range(rank)]
    kernel = attributes["kernel_shape"]
    assert isinstance(kernel, tuple)
    x, w = randn(1, 2 * group, *extents), randn(2 * group, 2, *(int(k) for k in kernel))
    call = node("ConvTranspose", 11, 2, group=group, **attributes)
    try:
        run(call, [x, w])
    except RuntimeError:
        assume(False)  # crops away everything
    assume(all(n > 0 for n in run(call, [x, w])[0].shape))
    check(call, [x, w], [0], data)


@TRIES
@given(st.data(), st.integers(1, 3))
def test_max_pooling_is_adjoint_with_its_switches_held(data: st.DataObject, rank: int) -> None:
    attributes = data.draw(window_attributes(rank, pooling=True))
    if "auto_pad" not in attributes:
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    extents = [data.draw(st.integers(1, 9 if rank < 3 else 6)) for _ in range(rank)]
    assume(fits(attributes, extents))
    call = node("MaxPool", 12, 1, **attributes)
    # Where the switches are held, max pooling is linear: <pool(x), y> = <x, unpool(y)>.
    check(call, [randn(1, 2, *extents)], [0], data, layout=torch.channels_last)


@TRIES
@given(st.data(), st.integers(1, 3))
def test_average_pooling_is_adjoint_on_every_box(data: st.DataObject, rank: int) -> None:
    attributes = data.draw(window_attributes(rank, pooling=True))
    if "auto_pad" not in attributes:
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    extents = [data.draw(st.integers(1, 9 if rank < 3 else 6)) for _ in range(rank)]
    assume(fits(attributes, extents))
    check(node("AveragePool", 19, 1, **attributes), [randn(1, 2, *extents)], [0], data, layout=torch.channels_last)


NHWC = (BATCH, spatial(0), spatial(1), CHANNEL)
VECTOR = (BATCH, CHANNEL)


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


X = (1, 4, 6, 5)
CASES: dict[str, tuple[Node, list[Tensor | None], list[int], Mapping[int, Sequence[Axis]], Sequence[Axis] | None]] = {
    "global average": (node("GlobalAveragePool", 1, 1), [randn(*X)], [0], {}, None),
    "gemm": (
        node("Gemm", 11, 3, alpha=0.5, beta=2.0, transB=1),
        [randn(1, 6), randn(3, 6), randn(3)],
        [0],
        {},
        VECTOR,
    ),
    "gemm by the right side": (
        node("Gemm", 11, 2, transA=1, transB=1),
        [randn(6, 3), randn(1, 6)],
        [1],
        {1: VECTOR},
        (CHANNEL, BATCH),
    ),
    "matmul": (node("MatMul", 9, 2), [randn(1, 6), randn(6, 3)], [0], {}, VECTOR),
    "matmul over channels last": (node("MatMul", 9, 2), [randn(1, 6, 5, 4), randn(4, 3)], [0], {0: NHWC}, NHWC),
    "matmul from the left": (
        node("MatMul", 13, 2),
        [randn(3, 4), randn(1, 4, 5)],
        [1],
        {1: (BATCH, CHANNEL, spatial(0))},
        (BATCH, CHANNEL, spatial(0)),
    ),
    "matmul with a vector": (node("MatMul", 13, 2), [randn(1, 5, 4), randn(4)], [0], {}, VECTOR),
    "batch norm": (
        node("BatchNormalization", 15, 5, epsilon=1e-3),
        [randn(*X), randn(4), randn(4), randn(4), randn(4).abs()],
        [0],
        {},
        None,
    ),
    "add with broadcast": (node("Add", 7, 2), [randn(*X), randn(1, 4, 1, 5)], [0, 1], {}, None),
    "sub": (node("Sub", 7, 2), [randn(1, 1, 6, 1), randn(*X)], [0, 1], {}, None),
    "sum": (node("Sum", 8, 3), [randn(*X), randn(1, 4, 1, 1), randn(*X)], [0, 1, 2], {}, None),
    "mean": (node("Mean", 8, 2), [randn(*X), randn(*X)], [0, 1], {}, None),
    "mul by channels": (node("Mul", 7, 2), [randn(*X), randn(4, 1, 1)], [0], {}, None),
    "mul by a picture": (node("Mul", 7, 2), [randn(6, 5), randn(*X)], [1], {}, None),
    "div by a row": (node("Div", 7, 2), [randn(*X), randn(5).abs() + 1], [0], {}, None),
    "neg": (node("Neg", 6, 1), [randn(*X)], [0], {}, None),
    "concat of channels": (
        node("Concat", 4, 3, axis=1),
        [randn(*X), randn(1, 2, 6, 5), randn(1, 3, 6, 5)],
        [0, 2],
        {},
        None,
    ),
    "concat of rows": (
        node("Concat", 11, 3, axis=-2),
        [randn(*X), randn(1, 4, 2, 5), randn(1, 4, 3, 5)],
        [0, 2],
        {},
        None,
    ),
    "split of channels": (node("Split", 11, 1, outputs=2, axis=1, split=(1, 3)), [randn(*X)], [0], {}, None),
    "split by input": (node("Split", 13, 2, outputs=2, axis=1), [randn(*X), ints(3, 1)], [0], {}, None),
    "slice by attributes": (node("Slice", 7, 1, starts=(1, -4), ends=(9, -1), axes=(2, 3)), [randn(*X)], [0], {}, None),
    "slice in steps": (
        node("Slice", 13, 5),
        [randn(*X), ints(1, 1, 0), ints(4, 6, 100), ints(1, 2, 3), ints(1, 2, 1)],
        [0],
        {},
        None,
    ),
    "slice backwards": (
        node("Slice", 13, 5),
        [randn(*X), ints(-1, -1), ints(-100, 0), ints(2, 1), ints(-2, -1)],
        [0],
        {},
        None,
    ),
    "pad by attribute": (node("Pad", 7, 1, pads=(0, 0, 1, 2, 0, 1, 3, 0)), [randn(*X)], [0], {}, None),
    "pad by input": (node("Pad", 18, 4), [randn(*X), ints(2, -1, 0, 1), None, ints(3, 2)], [0], {}, None),
    "reshape to groups": (
        node("Reshape", 13, 2),
        [randn(*X), ints(0, 2, 2, 6, 5)],
        [0],
        {},
        (BATCH, OTHER, CHANNEL, spatial(0), spatial(1)),
    ),
    "flatten": (node("Flatten", 9, 1), [randn(*X)], [0], {}, VECTOR),
    "transpose": (node("Transpose", 1, 1, perm=(0, 2, 3, 1)), [randn(*X)], [0], {}, NHWC),
    "squeeze": (
        node("Squeeze", 11, 1, axes=(3,)),
        [randn(1, 4, 6, 1)],
        [0],
        {},
        (BATCH, CHANNEL, spatial(0)),
    ),
    "unsqueeze": (
        node("Unsqueeze", 13, 2),
        [randn(1, 4, 6), ints(3)],
        [0],
        {},
        (BATCH, CHANNEL, spatial(0), OTHER),
    ),
    "identity": (node("Identity", 14, 1), [randn(*X)], [0], {}, None),
    "cast": (node("Cast", 13, 1, to=11), [randn(*X)], [0], {}, None),
    "dropout": (node("Dropout", 7, 1), [randn(*X)], [0], {}, None),
    "expand": (node("Expand", 13, 2), [randn(1, 4, 1, 5), ints(1, 4, 6, 5)], [0], {}, None),
    "tile": (node("Tile", 13, 2), [randn(*X), ints(1, 2, 1, 3)], [0], {}, None),
    "gather": (node("Gather", 13, 2, axis=1), [randn(*X), ints(3, 0, -1, 3)], [0], {}, None),
    "gather of rows": (node("Gather", 13, 2, axis=2), [randn(*X), ints(3, 0, 5, 1, 2, 4)], [0], {}, None),
    "space to depth": (node("SpaceToDepth", 13, 1, blocksize=2), [randn(1, 3, 6, 4)], [0], {}, None),
    "depth to space": (node("DepthToSpace", 13, 1, blocksize=2, mode="CRD"), [randn(1, 8, 3, 2)], [0], {}, None),
    "reduce mean": (node("ReduceMean", 13, 1, axes=(2, 3), keepdims=0), [randn(*X)], [0], {}, VECTOR),
    "reduce mean of rows": (
        node("ReduceMean", 18, 2, keepdims=0),
        [randn(*X), ints(-2)],
        [0],
        {},
        (BATCH, CHANNEL, spatial(1)),
    ),
    "upsample": (node("Upsample", 7, 1, scales=(1.0, 1.0, 2.0, 3.0)), [randn(*X)], [0], {}, None),
    "resize rows": (
        node("Resize", 19, 3, mode="linear"),
        [randn(*X), None, torch.tensor([1.0, 1.0, 2.0, 1.0])],
        [0],
        {},
        None,
    ),
    "reduce sum": (node("ReduceSum", 13, 2), [randn(*X), ints(1, 3)], [0], {}, (BATCH, CHANNEL, spatial(0), OTHER)),
}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_linear_operator_is_adjoint_on_every_box(case: str, data: st.DataObject) -> None:
    call, inputs, signal_inputs, axes_in, axes_out = CASES[case]
    names = tuple(n if inputs[i] is not None else "" for i, n in enumerate(call.inputs))
    call = Node(call.name, "", call.op_type, call.version, names, call.outputs, call.attributes)
    check(call, inputs, signal_inputs, data, axes_in=axes_in, axes_out=axes_out)


def test_labels_of_channels_first_are_what_the_cases_assume() -> None:
    assert channels_first(4) == (BATCH, CHANNEL, spatial(0), spatial(1))
