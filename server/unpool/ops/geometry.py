"""Geometry of window operators: paddings with ``auto_pad`` and ``ceil_mode`` worked out; boxes cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from unpool.graph.intervals import AxisWindow, Sliding
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand


@dataclass(frozen=True)
class Geometry:
    """A window operator over D axes of known extents; every field has one entry per axis.

    Attributes:
        kernel: places of the window.
        strides: steps between windows.
        begins: padding before the first input.
        ends: padding behind the last input, such that the last window just fits (``ceil_mode`` adds to it).
        dilations: steps between places.
        declared: padding behind the last input as the node declares it.
        outputs: output extents.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    dilations: tuple[int, ...]
    declared: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """Inputs from the first to the last place of a window: (K - 1) * D + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def window(self, axis: int) -> Sliding:
        """The sliding window along one axis."""
        return Sliding(self.kernel[axis], self.strides[axis], self.begins[axis], self.dilations[axis])


def geometry(
    extents: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Geometry:
    """Works out paddings and output extents (ONNX operator specification, Conv and MaxPool).

    Args:
        extents: spatial extents of the input.
        kernel: kernel extents.
        strides: 1 where not given.
        pads: all begins, then all ends; 0 where not given.
        dilations: 1 where not given.
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
        ceil_mode: round output extents up; a window that would begin in the padding behind the input is dropped.
    """
    n = len(kernel)
    steps = tuple(strides) or (1,) * n
    gaps = tuple(dilations) or (1,) * n
    given = tuple(pads) or (0,) * (2 * n)
    begins, ends, declared, outputs = [], [], [], []
    for i, extent in enumerate(extents):
        span = (kernel[i] - 1) * gaps[i] + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-extent // steps[i])
            total = max((out - 1) * steps[i] + span - extent, 0)
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            end = total - begin
        else:
            begin, end = (0, 0) if auto_pad == "VALID" else (given[i], given[n + i])
            room = extent + begin + end - span
            # Rounded towards 0, as ONNX Runtime does: a pool's window that is too large for the plane, by less than a
            # step, gives one value.
            out = max((room // steps[i] if room >= 0 else -(-room // steps[i])) + 1, 0)
            if ceil_mode and room > 0 and room % steps[i] and out * steps[i] < extent + begin:
                out += 1
        begins.append(begin)
        declared.append(end)
        ends.append(max((out - 1) * steps[i] + span - begin - extent, 0))
        outputs.append(out)
    return Geometry(tuple(kernel), steps, tuple(begins), tuple(ends), gaps, tuple(declared), tuple(outputs))


def ints(node: Node, name: str) -> tuple[int, ...]:
    """A list attribute of integers, empty where the node has none."""
    value = node.attributes.get(name, ())
    if not isinstance(value, tuple):
        raise TypeError(f"{node}: attribute {name} is not a list")
    return tuple(int(v) for v in value)


def integer(node: Node, name: str, default: int = 0) -> int:
    """An integer attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise TypeError(f"{node}: attribute {name} is not an integer")
    return value


def string(node: Node, name: str, default: str) -> str:
    """A string attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, str):
        raise TypeError(f"{node}: attribute {name} is not a string")
    return value


def node_geometry(node: Node, extents: Sequence[int], kernel: Sequence[int] | None = None) -> Geometry:
    """The geometry that a Conv or pooling node's attributes declare on an input of these spatial extents."""
    return geometry(
        extents,
        kernel if kernel is not None else ints(node, "kernel_shape"),
        strides=ints(node, "strides"),
        pads=ints(node, "pads"),
        dilations=ints(node, "dilations"),
        auto_pad=string(node, "auto_pad", "NOTSET"),
        ceil_mode=integer(node, "ceil_mode"),
    )


def paired(source: Operand, result: Operand, axis: int) -> int | None:
    """The spatial index that an axis has at input and output alike, or ``None`` where it has none."""
    a, b = source.axes[axis], result.axes[axis]
    return a.index if a.kind is AxisKind.SPATIAL and a == b else None


def sliding_windows(geometry: Geometry, source: Operand, result: Operand) -> AxisWindows:
    """Sliding windows along the axes behind batch and channel."""
    found: dict[int, AxisWindow] = {}
    for i in range(len(geometry.kernel)):
        index = paired(source, result, i + 2)
        if index is not None:
            found[index] = geometry.window(i)
    return found


def excess(at: Crossing, geometry: Geometry) -> tuple[tuple[int, int], ...]:
    """What to leave out of the natural box, per axis: what nobody needs, or what sticks out of the plane.

    A negative amount asks for zeros instead: inputs behind the last window, which no output reads.
    """
    source, result = at.input_operand(0), at.output_operand(0)
    found = []
    for i, span in enumerate(geometry.spans):
        index = paired(source, result, i + 2)
        if index is not None:
            found.append(at.trim(index))
        else:
            natural = (geometry.outputs[i] - 1) * geometry.strides[i] + span
            found.append((geometry.begins[i], natural - geometry.begins[i] - source.shape[i + 2]))
    return tuple(found)


def cut(x: Tensor, amounts: Sequence[tuple[int, int]]) -> Tensor:
    """Leaves out (low, high) places of the last axes; negative amounts append zeros."""
    first = x.ndim - len(amounts)
    # Zeros first: more may be left out at one end than there is before they are appended at the other.
    x = pad(x, tuple(max(-low, 0) for low, _ in amounts), tuple(max(-high, 0) for _, high in amounts))
    for i, (low, high) in enumerate(amounts):
        if low > 0 or high > 0:
            begin, end = max(low, 0), x.shape[first + i] - max(high, 0)
            x = x.narrow(first + i, begin, end - begin)
    return x


def pad(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0) -> Tensor:
    """Pads the last axes with a constant."""
    if not any(begins) and not any(ends):
        return x
    amounts = [n for pair in zip(reversed(begins), reversed(ends), strict=True) for n in pair]
    return functional.pad(x, amounts, value=value)
