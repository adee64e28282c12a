"""Random small networks, written with onnx.helper: every window and pool, joins, norms, both layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

BLOCKS = (
    "conv", "conv", "conv", "relu", "relu", "clip", "max", "max", "average",
    "bn", "lrn", "residual", "concat", "upsample", "scale", "pad",
    "widen", "widen", "resize", "resize", "shuffle", "border", "border", "slice", "slice", "fold",
)  # fmt: skip


@dataclass
class Net:
    """A network as it grows: the current tensor, its channels and plane."""

    rng: np.random.Generator
    shape: tuple[int, int, int]
    current: str = "x"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    tensors: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    """Tensors with a plane that a unit can be chosen from, and their (C, H, W)."""
    dropped: bool = False
    """A pool's last window begins behind its input: ONNX Runtime's kernels drop it, its shape inference does not."""

    opset: int = 17

    def weight(self, array: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        return self.weight((self.rng.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32))

    def add(
        self, op_type: str, inputs: Sequence[str], shape: tuple[int, int, int] | None = None, **attributes: object
    ) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        self.current, self.shape = name, shape or self.shape
        self.tensors.append((name, self.shape))
        return name

    def model(self, size: Sequence[int | str], outputs: Sequence[str] = ()) -> bytes:
        """The ONNX file; ``size`` is the input's shape."""
        names = list(outputs) or [self.current]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(size))],
            [helper.make_empty_tensor_value_info(n) for n in names],
            self.weights,
        )
        found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(found).SerializeToString()


def _out(n: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1, ceil: bool = False) -> int:
    span = n + before + after - ((kernel - 1) * dilation + 1)
    if span < 0:
        return 0
    count = -(-span // stride) + 1 if ceil else span // stride + 1
    return count - 1 if _drops(count, n, stride, before, ceil) else count


def _drops(count: int, n: int, stride: int, before: int, ceil: bool) -> bool:
    """Whether the last window begins behind the input, so that it is dropped."""
    return ceil and (count - 1) * stride >= n + before


@st.composite
def networks(draw: st.DrawFn) -> tuple[bytes, npt.NDArray[np.float32], list[tuple[str, tuple[int, ...]]]]:
    """(file, input, tensors with a plane and their (C, H, W)); NCHW inside, sometimes NHWC at the input."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(9, 23)), draw(st.integers(9, 23))
    net = Net(rng, (3, height, width))
    channels_last = draw(st.booleans())
    if channels_last:
        net.add("Transpose", ["x"], perm=[0, 3, 1, 2])
        net.tensors.clear()
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=9)):
        _grow(draw, net, block)
    if not net.tensors:
        _grow(draw, net, "conv")
    tensors = [(name, tuple(shape)) for name, shape in net.tensors]
    # A matrix behind a dropped window has to have the size that is inferred, and then does not fit what is computed.
    if draw(st.booleans()) and not net.dropped:
        flat = int(np.prod(net.shape))
        net.nodes.append(helper.make_node("Flatten", [net.current], ["flat"]))
        net.nodes.append(helper.make_node("Gemm", ["flat", net.normal(5, flat), net.normal(5)], ["scores"], transB=1))
        net.current = "scores"
        tensors.append(("scores", (5,)))
    size = (1, height, width, 3) if channels_last else (1, 3, height, width)
    x = rng.standard_normal(size).astype(np.float32)
    return net.model(size), x, tensors


def _grow(draw: st.DrawFn, net: Net, block: str) -> None:
    channels, *plane = net.shape
    if block in ("conv", "max", "average"):
        _window(draw, net, block, channels, plane)
    elif block == "relu":
        net.add("Relu", [net.current])
    elif block == "clip":
        bounds = [net.weight(np.float32(v)) for v in (0, 1)]
        net.add("Clip", [net.current, *bounds])
    elif block == "bn":
        gains = [net.rng.uniform(0.5, 1.5, channels), net.rng.normal(size=channels), net.rng.normal(size=channels) / 4]
        names = [net.weight(np.asarray(g, np.float32)) for g in [*gains, net.rng.uniform(0.5, 2, channels)]]
        net.add("BatchNormalization", [net.current, *names])
    elif block == "lrn":
        net.add("LRN", [net.current], size=draw(st.sampled_from([3, 5])), alpha=0.5, beta=0.75, bias=1.0)
    elif block == "residual":
        start = net.current
        net.add("Conv", [start, net.normal(channels, channels, 3, 3)], pads=[1] * 4)
        net.add("Relu", [net.current])
        net.add("Add", [net.current, start])
    elif block == "concat":
        start = net.current
        one = net.add("Conv", [start, net.normal(2, channels, 1, 1)], (2, *plane))
        net.shape = (channels, *plane)
        three = net.add("Conv", [start, net.normal(2, channels, 3, 3)], (2, *plane), pads=[1] * 4)
        pool = net.add("MaxPool", [start], (channels, *plane), kernel_shape=[3, 3], pads=[1] * 4)
        net.add("Concat", [one, three, pool], (4 + channels, *plane), axis=1)
    elif block == "upsample" and max(plane) < 30:
        scales = net.weight(np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        net.add("Resize", [net.current, "", scales], (channels, plane[0] * 2, plane[1] * 2), **modes)
    elif block == "widen" and max(plane) < 24:
        _widen(draw, net, channels, plane)
    elif block == "resize" and max(plane) < 30:
        _resize(draw, net, channels, plane)
    elif block == "shuffle" and max(plane) < 30:
        net.add("Conv", [net.current, net.normal(8, channels, 1, 1)], (8, *plane))
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        net.add("DepthToSpace", [net.current], (2, plane[0] * 2, plane[1] * 2), blocksize=2, mode=mode)
    elif block == "border":
        _border(draw, net, channels, plane)
    elif block == "slice" and min(plane) > 12:  # one place alone may cancel down to its rounding
        _slice(draw, net, channels, plane)
    elif block == "fold" and not (plane[0] % 2 or plane[1] % 2):
        net.add("SpaceToDepth", [net.current], (channels * 4, plane[0] // 2, plane[1] // 2), blocksize=2)
    elif block == "scale":
        net.add("Mul", [net.current, net.weight(net.rng.normal(size=(channels, 1, 1)).astype(np.float32))])
    elif block == "pad":
        amounts = [
            0,
            0,
            *(draw(st.integers(0, 2)) for _ in range(2)),
            0,
            0,
            *(draw(st.integers(0, 2)) for _ in range(2)),
        ]
        shape = (channels, plane[0] + amounts[2] + amounts[6], plane[1] + amounts[3] + amounts[7])
        net.add("Pad", [net.current, net.weight(np.array(amounts, np.int64))], shape)


def _window(draw: st.DrawFn, net: Net, block: str, channels: int, plane: Sequence[int]) -> None:
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    strides = [draw(st.integers(1, 3)) for _ in range(2)]
    pads = [draw(st.integers(0, k // 2)) for k in (*kernel, *kernel)]
    dilations = [1, 1] if block == "average" else [draw(st.integers(1, 2)) for _ in range(2)]
    ceil = block != "conv" and draw(st.booleans())
    shape = [
        _out(n, k, s, a, b, d, ceil)
        for n, k, s, a, b, d in zip(plane, kernel, strides, pads[:2], pads[2:], dilations, strict=True)
    ]
    if min(shape) < 1:
        return
    net.dropped |= any(
        _drops(m + 1, n, s, a, ceil) and (n + a + b - (k - 1) * d - 1) % s != 0
        for m, n, k, s, a, b, d in zip(shape, plane, kernel, strides, pads[:2], pads[2:], dilations, strict=True)
    )
    common: dict[str, object] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if block == "conv":
        groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
        made = groups * draw(st.integers(1, 3))
        inputs = [net.current, net.normal(made, channels // groups, *kernel), net.normal(made)]
        net.add("Conv", inputs, (made, *shape), group=groups, dilations=dilations, **common)
    elif block == "max":
        net.add("MaxPool", [net.current], (channels, *shape), dilations=dilations, ceil_mode=int(ceil), **common)
    else:
        # The file's standard and ONNX Runtime disagree on how a window that sticks out of the padding is counted.
        include = 0 if ceil else int(draw(st.booleans()))
        net.add(
            "AveragePool", [net.current], (channels, *shape), count_include_pad=include, ceil_mode=int(ceil), **common
        )


def _widen(draw: st.DrawFn, net: Net, channels: int, plane: Sequence[int]) -> None:
    """A transposed convolution: strides beyond its kernel, crops, dilations, groups and output padding among them."""
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    strides = [draw(st.integers(1, 3)) for _ in range(2)]
    dilations = [draw(st.integers(1, 2)) for _ in range(2)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    extra = [draw(st.integers(0, s - 1)) for s in strides]
    shape = [
        (n - 1) * s + (k - 1) * d + 1 + e - a - b
        for n, k, s, d, e, a, b in zip(plane, kernel, strides, dilations, extra, pads[:2], pads[2:], strict=True)
    ]
    if min(shape) < 1:
        return
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    each = draw(st.integers(1, 2))
    inputs = [net.current, net.normal(channels, each, *kernel), net.normal(groups * each)]
    net.add(
        "ConvTranspose", inputs, (groups * each, *shape), group=groups, kernel_shape=kernel, strides=strides,
        dilations=dilations, pads=pads, output_padding=extra,
    )  # fmt: skip


def _resize(draw: st.DrawFn, net: Net, channels: int, plane: Sequence[int]) -> None:
    """Larger or smaller by broken scales, in every mode."""
    scales = [draw(st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0])) for _ in range(2)]
    shape = [int(n * s) for n, s in zip(plane, scales, strict=True)]
    if min(shape) < 1:
        return
    modes: dict[str, object] = {
        "mode": draw(st.sampled_from(["nearest", "linear", "cubic"])),
        "coordinate_transformation_mode": draw(st.sampled_from(["half_pixel", "align_corners", "asymmetric"])),
    }
    if modes["mode"] == "nearest":
        modes["nearest_mode"] = draw(st.sampled_from(["floor", "ceil", "round_prefer_floor"]))
    net.add("Resize", [net.current, "", net.weight(np.array([1, 1, *scales], np.float32))], (channels, *shape), **modes)


def _border(draw: st.DrawFn, net: Net, channels: int, plane: Sequence[int]) -> None:
    """Padding with what is there, up to as far as the plane reaches."""
    mode = draw(st.sampled_from(["reflect", "edge"]))
    before, behind = ([draw(st.integers(0, min(n - 1, 7))) for n in plane] for _ in range(2))
    amounts = net.weight(np.array([0, 0, *before, 0, 0, *behind], np.int64))
    shape = [n + a + b for n, a, b in zip(plane, before, behind, strict=True)]
    net.add("Pad", [net.current, amounts], (channels, *shape), mode=mode)


def _slice(draw: st.DrawFn, net: Net, channels: int, plane: Sequence[int]) -> None:
    """A part of the plane, in steps, or backwards."""
    spans = []
    for n in plane:
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        low, high = draw(st.integers(0, n // 3)), draw(st.integers(n - n // 3, n))
        # Backwards to the first place: an end of -1 would be the last.
        spans.append((low, high, step) if step > 0 else (high - 1, low - 1 if low else -n - 1, step))
    shape = [len(range(n)[slice(a, None if b < -n else b, s)]) for n, (a, b, s) in zip(plane, spans, strict=True)]
    starts, ends, steps = zip(*spans, strict=True)
    inputs = [net.weight(np.array(values, np.int64)) for values in (starts, ends, (2, 3), steps)]
    net.add("Slice", [net.current, *inputs], (channels, *shape))
