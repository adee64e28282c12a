"""The reverse pass written out plainly: float64 NumPy from the ONNX file, whole planes, one node after another.

Rectifiers, with s the signal from above and x the forward input: gradient s [x > 0]; deconvnet max(s, 0) (Zeiler &
Fergus 2013); guided s [s > 0] [x > 0] (Springenberg et al. 2014). Everything else is the transposed linear operator;
local response normalisation passes the deconvnet's signal on. No torch, and nothing of the product.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from tests.oracles.recording import Recording

Floats = npt.NDArray[np.float64]
Rule = Callable[["_Node", Floats], dict[int, Floats]]

POLICIES = ("deconvnet", "guided", "gradient")


def reverse(recording: Recording, seed: str, signal: Floats, policy: str, to: str | None = None) -> Floats:
    """Carries a signal from one tensor down to another.

    Args:
        recording: the forward run that masks, switches and values come from.
        seed: the tensor where the signal begins.
        signal: (U, ...): the seed's shape with units in place of the batch.
        policy: one of ``POLICIES``.
        to: the tensor where it ends; the input by default.

    Returns:
        The signal there, (U, ...).
    """
    to = to or recording.input
    pending = {seed: np.asarray(signal, np.float64)}
    active = _computed_from(recording.model, to)
    for proto in reversed(recording.model.graph.node):
        if to == proto.output[0]:
            break
        if proto.output[0] not in pending:
            continue
        node = _Node(proto, recording, policy, active)
        for index, value in _RULES[proto.op_type](node, pending.pop(proto.output[0])).items():
            name = proto.input[index]
            if name in active:
                pending[name] = pending[name] + value if name in pending else value
    return pending.get(to, np.zeros((len(signal), *recording.values[to].shape[1:])))


def _computed_from(model: onnx.ModelProto, name: str) -> set[str]:
    found = {name}
    for node in model.graph.node:
        if node.op_type != "Shape" and any(i in found for i in node.input):
            found.update(node.output)
    return found


class _Node:
    """A node with its attributes and the values around it."""

    def __init__(self, proto: onnx.NodeProto, recording: Recording, policy: str, active: set[str]) -> None:
        self.proto, self.recording, self.policy, self.active = proto, recording, policy, active
        self.attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        self.opset = max(o.version for o in recording.model.opset_import if o.domain in ("", "ai.onnx"))

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def input(self, index: int) -> Floats:
        return self.recording.values[self.proto.input[index]].astype(np.float64)

    def shape(self, index: int) -> tuple[int, ...]:
        return self.recording.values[self.proto.input[index]].shape

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """A list that older opsets keep in an attribute and newer ones in an input."""
        if attribute in self.attributes:
            return list(self.attributes[attribute])
        if index < len(self.proto.input) and self.proto.input[index]:
            return [int(v) for v in self.recording.values[self.proto.input[index]]]
        return None

    @property
    def output(self) -> Floats:
        return self.recording.values[self.proto.output[0]].astype(np.float64)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Where the rectifier's derivative is 1."""
        name = self.proto.output[0]
        if name in self.recording.masks:
            return self.recording.masks[name]
        x = self.recording.values[self.proto.input[0]]
        low, high = self.bounds()
        return (x > low) & (x < high)

    def bounds(self) -> tuple[float, float]:
        if self.proto.op_type == "Relu":
            return 0.0, np.inf
        given = list(self.proto.input[1:])
        low = float(self.recording.values[given[0]]) if given and given[0] else self.get("min", -np.inf)
        high = float(self.recording.values[given[1]]) if len(given) > 1 and given[1] else self.get("max", np.inf)
        return low, high

    def window(self, rank: int) -> tuple[list[int], list[int], list[tuple[int, int]], list[int]]:
        """Kernel, strides, pads (before, after) and dilations, one per spatial axis."""
        assert self.get("auto_pad", b"NOTSET") == b"NOTSET"
        kernel = list(self.get("kernel_shape", []))
        pads = list(self.get("pads", [0] * 2 * rank))
        return (
            kernel,
            list(self.get("strides", [1] * rank)),
            list(zip(pads[:rank], pads[rank:], strict=True)),
            list(self.get("dilations", [1] * rank)),
        )


def _rectifier(node: _Node, s: Floats) -> dict[int, Floats]:
    if node.policy == "deconvnet" and node.bounds()[0] == 0:
        return {0: np.maximum(s, 0)}
    if node.policy == "guided" and node.bounds()[0] == 0:
        s = np.maximum(s, 0)
    return {0: s * node.mask}


def _places(
    kernel: list[int], strides: list[int], dilations: list[int], outputs: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """For every tap of a window: the tap, and which padded inputs it reads, one slice per axis."""
    for tap in itertools.product(*(range(k) for k in kernel)):
        yield (
            tap,
            tuple(
                slice(t * d, t * d + (n - 1) * step + 1, step)
                for t, d, n, step in zip(tap, dilations, outputs, strides, strict=True)
            ),
        )


def _padded(s: Floats, channels: int, extents: list[int]) -> Floats:
    return np.zeros((len(s), channels, *extents))


def _extents(shape: tuple[int, ...], kernel: list[int], strides: list[int], pads: list[tuple[int, int]],
             dilations: list[int], outputs: tuple[int, ...]) -> list[int]:  # fmt: skip
    """The padded plane; ceil_mode lets the last window stick out even of that."""
    return [
        max(n + a + b, (o - 1) * step + (k - 1) * d + 1)
        for n, k, step, (a, b), d, o in zip(shape, kernel, strides, pads, dilations, outputs, strict=True)
    ]


def _unpadded(padded: Floats, shape: tuple[int, ...], pads: list[tuple[int, int]]) -> Floats:
    return padded[(slice(None), slice(None), *(slice(a, a + n) for n, (a, _) in zip(shape, pads, strict=True)))]


def _convolution(node: _Node, s: Floats) -> dict[int, Floats]:
    w = node.input(1)
    _, strides, pads, dilations = node.window(w.ndim - 2)
    shape, outputs, kernel = node.shape(0), s.shape[2:], list(w.shape[2:])
    groups = node.get("group", 1)
    padded = _padded(s, shape[1], _extents(shape[2:], kernel, strides, pads, dilations, outputs))
    above = s.reshape(len(s), groups, s.shape[1] // groups, -1)
    filters = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for tap, places in _places(kernel, strides, dilations, outputs):
        transposed = np.ascontiguousarray(filters[(slice(None), slice(None), slice(None), *tap)].swapaxes(1, 2))
        padded[(slice(None), slice(None), *places)] += (transposed @ above).reshape(len(s), shape[1], *outputs)
    return {0: _unpadded(padded, shape[2:], pads)}


def _max_pool(node: _Node, s: Floats) -> dict[int, Floats]:
    shape = node.shape(0)
    places = node.recording.indices[node.proto.output[0]].ravel()
    size = int(np.prod(shape))
    planes = [np.bincount(places, weights=unit.ravel(), minlength=size) for unit in s]
    return {0: np.stack(planes).reshape(len(s), *shape[1:])}


def _average_pool(node: _Node, s: Floats) -> dict[int, Floats]:
    shape, outputs = node.shape(0), s.shape[2:]
    kernel, strides, pads, dilations = node.window(len(outputs))
    extents = _extents(shape[2:], kernel, strides, pads, dilations, outputs)
    counted = np.zeros(extents)
    inner = tuple(
        slice(0, a + n + b) if node.get("count_include_pad", 0) else slice(a, a + n)
        for n, (a, b) in zip(shape[2:], pads, strict=True)
    )
    counted[inner] = 1
    count = sum(counted[places] for _, places in _places(kernel, strides, dilations, outputs))
    padded = _padded(s, shape[1], extents)
    for _, places in _places(kernel, strides, dilations, outputs):
        padded[(slice(None), slice(None), *places)] += s / count
    return {0: _unpadded(padded, shape[2:], pads)}


def _mean(node: _Node, s: Floats) -> dict[int, Floats]:
    shape = node.shape(0)
    axes = list(range(2, len(shape))) if node.proto.op_type == "GlobalAveragePool" else node.integers(1, "axes")
    assert axes
    axes = [a % len(shape) for a in axes]
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    spread = np.broadcast_to(s.reshape(len(s), *kept[1:]), (len(s), *shape[1:]))
    return {0: spread / np.prod([shape[a] for a in axes])}


def _concat(node: _Node, s: Floats) -> dict[int, Floats]:
    axis = node.attributes["axis"] % s.ndim
    ends = np.cumsum([node.shape(i)[axis] for i in range(len(node.proto.input))])
    return dict(enumerate(np.split(s, ends[:-1], axis)))


def _every_branch(node: _Node, s: Floats) -> dict[int, Floats]:
    for name in node.proto.input:
        assert name not in node.active or node.recording.values[name].shape[1:] == s.shape[1:], "no broadcast signals"
    return dict.fromkeys(range(len(node.proto.input)), s)


def _product(node: _Node, s: Floats) -> dict[int, Floats]:
    return {i: s * node.input(1 - i) for i in (0, 1) if node.proto.input[i] in node.active}


def _batch_norm(node: _Node, s: Floats) -> dict[int, Floats]:
    gain = node.input(1) / np.sqrt(node.input(4) + node.get("epsilon", 1e-5))
    return {0: s * gain.reshape(-1, *[1] * (s.ndim - 2))}


def _lrn(node: _Node, s: Floats) -> dict[int, Floats]:
    if node.policy == "deconvnet":
        return {0: s}
    size, alpha, beta = node.attributes["size"], node.get("alpha", 1e-4), node.get("beta", 0.75)
    x = node.input(0)
    before, after = (size - 1) // 2, size // 2
    count = x.shape[1]
    squares = np.stack([(x[:, max(0, c - before) : c + after + 1] ** 2).sum(1) for c in range(count)], 1)
    denominator = node.get("bias", 1.0) + alpha / size * squares
    shared = s * x * denominator ** (-beta - 1)
    # Channel j stands in the windows of the channels j - after to j + before.
    sums = np.stack([shared[:, max(0, j - after) : j + before + 1].sum(1) for j in range(count)], 1)
    return {0: s * denominator**-beta - 2 * beta * alpha / size * x * sums}


def _gemm(node: _Node, s: Floats) -> dict[int, Floats]:
    assert not node.get("transA", 0)
    b = node.input(1)
    return {0: node.get("alpha", 1.0) * (s @ (b if node.get("transB", 0) else b.T)), 2: s}


def _matmul(node: _Node, s: Floats) -> dict[int, Floats]:
    assert node.proto.input[1] not in node.active
    return {0: s @ node.input(1).swapaxes(-1, -2)}


def _softmax(node: _Node, s: Floats) -> dict[int, Floats]:
    y = node.output
    axis = node.get("axis", 1 if node.opset < 13 else -1) % y.ndim
    axes = tuple(range(axis, y.ndim)) if node.opset < 13 else (axis,)
    return {0: y * (s - (s * y).sum(axes, keepdims=True))}


def _reshaped(node: _Node, s: Floats) -> dict[int, Floats]:
    return {0: s.reshape(len(s), *node.shape(0)[1:])}


def _transposed(node: _Node, s: Floats) -> dict[int, Floats]:
    return {0: s.transpose(np.argsort(node.get("perm", range(s.ndim)[::-1])))}


def _pad(node: _Node, s: Floats) -> dict[int, Floats]:
    pads = node.integers(1, "pads")
    assert pads is not None
    if node.get("mode", b"constant") != b"constant":
        return _along_the_plane(node, s)
    shape = node.shape(0)
    return {0: s[tuple(slice(None) if not i else slice(a, a + n) for i, (a, n) in enumerate(zip(pads, shape)))]}  # noqa: B905


def _along_the_plane(node: _Node, s: Floats) -> dict[int, Floats]:
    """Through the matrix that ONNX Runtime gives for one plane, a column for each place of it."""
    shape = node.shape(0)
    places = int(np.prod(shape[2:]))
    constants = {
        name: node.recording.values[name] for name in node.proto.input[1:] if name and node.recording.values[name].size
    }
    inputs = [helper.make_tensor_value_info(node.proto.input[0], onnx.TensorProto.FLOAT, [places, 1, *shape[2:]])]
    graph = helper.make_graph(
        [node.proto],
        "one",
        inputs,
        [helper.make_empty_tensor_value_info(node.proto.output[0])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=node.recording.model.opset_import, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    basis = np.eye(places, dtype=np.float32).reshape(places, 1, *shape[2:])
    (columns,) = session.run(None, {node.proto.input[0]: basis})
    matrix = np.asarray(columns, np.float64).reshape(places, -1)
    return {0: (s.reshape(*s.shape[:2], -1) @ matrix.T).reshape(*s.shape[:2], *shape[2:])}


def _widening(node: _Node, s: Floats) -> dict[int, Floats]:
    """A transposed convolution's transpose: every input reads the outputs that it was put into."""
    w = node.input(1)
    _, strides, pads, dilations = node.window(w.ndim - 2)
    shape, kernel = node.shape(0), list(w.shape[2:])
    groups = node.get("group", 1)
    reach = [
        (n - 1) * step + (k - 1) * d + 1 for n, step, k, d in zip(shape[2:], strides, kernel, dilations, strict=True)
    ]
    room = [max(r, m + a) for r, m, (a, _) in zip(reach, s.shape[2:], pads, strict=True)]
    natural = np.zeros((*s.shape[:2], *room))
    natural[(slice(None), slice(None), *(slice(a, a + m) for m, (a, _) in zip(s.shape[2:], pads, strict=True)))] = s
    filters = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    total = np.zeros((len(s), groups, w.shape[0] // groups, int(np.prod(shape[2:]))))
    for tap, places in _places(kernel, strides, dilations, shape[2:]):
        read = natural[(slice(None), slice(None), *places)].reshape(len(s), groups, w.shape[1], -1)
        total += filters[(slice(None), slice(None), slice(None), *tap)] @ read
    return {0: total.reshape(len(s), *shape[1:])}


def _to_space(node: _Node, s: Floats) -> dict[int, Floats]:
    n, (_, c, h, w), b = len(s), node.shape(0), node.get("blocksize", 1)
    blocks = s.reshape(n, c // b**2, h, b, w, b)
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", b"DCR") == b"DCR" else (0, 1, 3, 5, 2, 4)
    return {0: blocks.transpose(order).reshape(n, c, h, w)}


def _from_depth(node: _Node, s: Floats) -> dict[int, Floats]:
    n, (_, c, h, w), b = len(s), node.shape(0), node.get("blocksize", 1)
    blocks = s.reshape(n, b, b, c, h // b, w // b)
    return {0: blocks.transpose(0, 3, 4, 1, 5, 2).reshape(n, c, h, w)}


def _same(node: _Node, s: Floats) -> dict[int, Floats]:
    return {0: s}


_RULES: dict[str, Rule] = {
    "Relu": _rectifier, "Clip": _rectifier, "Conv": _convolution, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _mean, "ReduceMean": _mean, "Concat": _concat, "Add": _every_branch, "Sum": _every_branch,
    "Mul": _product, "BatchNormalization": _batch_norm, "LRN": _lrn, "Gemm": _gemm, "MatMul": _matmul,
    "Softmax": _softmax, "Reshape": _reshaped, "Flatten": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped,
    "Transpose": _transposed, "Pad": _pad, "Resize": _along_the_plane, "Slice": _along_the_plane, "Identity": _same,
    "Dropout": _same, "Cast": _same, "ConvTranspose": _widening, "DepthToSpace": _to_space, "SpaceToDepth": _from_depth,
}  # fmt: skip
