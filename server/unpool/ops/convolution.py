"""Convolution and transposed convolution, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from unpool.graph.intervals import AxisWindow, Sliding, Transposed
from unpool.graph.model import Node
from unpool.ops import few_channels, small_planes
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator
from unpool.ops.geometry import (
    Geometry,
    cut,
    excess,
    geometry,
    integer,
    ints,
    node_geometry,
    pad,
    paired,
    sliding_windows,
    string,
)

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def _weight_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return constant[1] and not constant[0]


def _kernel(node: Node, weight: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(weight[2:]) if weight is not None else ints(node, "kernel_shape")


def conv_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """One sliding window per spatial axis of the image; filter and bias have none."""
    x, w, y = inputs[0], inputs[1], outputs[0]
    if x is None or y is None:
        return [{} for _ in inputs]
    found = sliding_windows(node_geometry(node, x.shape[2:], _kernel(node, w.shape if w else None)), x, y)
    return [found, *({} for _ in inputs[1:])]


def _conv_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, w = signals[0], at.constant(1)
    nothing = (None,) * len(at.node.inputs)
    if s is None or w is None:
        return nothing
    known = node_geometry(at.node, at.input_operand(0).shape[2:], tuple(w.shape[2:]))
    amounts = excess(at, known)
    group = integer(at.node, "group", 1)
    if few_channels.applies(s, w, group):
        return (cut(few_channels.transposed(s, w, known.strides, known.dilations), amounts), *nothing[1:])
    if small_planes.applies(s, w, group):
        return (cut(small_planes.transposed(s, w, known.strides, known.dilations), amounts), *nothing[1:])
    # What both ends can spare need not be computed; more than K' - 1 is beyond what the kernels of a backend accept.
    common = tuple(min(max(min(a), 0), span - 1) for a, span in zip(amounts, known.spans, strict=True))
    back = _TRANSPOSED[len(known.kernel)](
        s,
        w,
        stride=known.strides,
        padding=common,
        groups=group,
        dilation=known.dilations,
    )
    rest = [(low - c, high - c) for (low, high), c in zip(amounts, common, strict=True)]
    return (cut(back, rest), *nothing[1:])


@operator("Conv", 1, 11, 22, window=conv_window, adjoint=Rule(_conv_adjoint, holds=_weight_is_constant))
def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] = (),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Convolution: x (N, C, D1 ... Dn), w (M, C / group, K1 ... Kn), b (M,) -> (N, M, ...)."""
    known = geometry(x.shape[2:], w.shape[2:], strides=strides, pads=pads, dilations=dilations, auto_pad=auto_pad)
    if known.begins == known.declared:
        return _CONV[x.ndim - 2](x, w, b, known.strides, known.begins, known.dilations, group)
    return _CONV[x.ndim - 2](pad(x, known.begins, known.declared), w, b, known.strides, 0, known.dilations, group)


def _transposed_geometry(
    extents: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    output_padding: Sequence[int],
    output_shape: Sequence[int],
    auto_pad: str,
) -> Geometry:
    """Geometry of the convolution that this is the transpose of: begins and ends crop the natural result."""
    n = len(kernel)
    steps, gaps = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    extra = tuple(output_padding) or (0,) * n
    given = tuple(pads) or (0,) * (2 * n)
    begins, ends, outputs = [], [], []
    for i, extent in enumerate(extents):
        natural = (extent - 1) * steps[i] + (kernel[i] - 1) * gaps[i] + 1 + extra[i]
        if output_shape or auto_pad.startswith("SAME"):
            target = output_shape[i - n] if output_shape else extent * steps[i]
            # A target beyond the natural size is met by zeros behind it, which a negative crop stands for.
            total = natural - target
            cropped = max(total, 0)
            begin = cropped // 2 if auto_pad == "SAME_UPPER" else cropped - cropped // 2
            end = total - begin
        elif auto_pad == "VALID":
            begin, end = 0, 0
        else:
            begin, end = given[i], given[n + i]
        begins.append(begin)
        ends.append(end - extra[i])
        outputs.append(natural - begin - end)
    return Geometry(tuple(kernel), steps, tuple(begins), tuple(ends), gaps, tuple(ends), tuple(outputs))


def transposed_geometry(node: Node, extents: Sequence[int], kernel: Sequence[int]) -> Geometry:
    """Geometry of the convolution that a node is the transpose of, for an input of these extents."""
    return _transposed_geometry(
        extents,
        kernel,
        strides=ints(node, "strides"),
        pads=ints(node, "pads"),
        dilations=ints(node, "dilations"),
        output_padding=ints(node, "output_padding"),
        output_shape=ints(node, "output_shape"),
        auto_pad=string(node, "auto_pad", "NOTSET"),
    )


def conv_transpose_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """The window of the convolution, run the other way."""
    x, w, y = inputs[0], inputs[1], outputs[0]
    if x is None or y is None:
        return [{} for _ in inputs]
    known = transposed_geometry(node, x.shape[2:], _kernel(node, w.shape if w else None))
    found: dict[int, AxisWindow] = {}
    for i, (kernel, stride, begin, dilation) in enumerate(
        zip(known.kernel, known.strides, known.begins, known.dilations, strict=True)
    ):
        index = paired(x, y, i + 2)
        if index is not None:
            found[index] = Transposed(Sliding(kernel, stride, begin, dilation))
    return [found, *({} for _ in inputs[1:])]


def _surplus(at: Crossing, known: Geometry, axis: int) -> tuple[int, int]:
    """What of the signal lies before the first input's window and behind the last's; where it is short, negative."""
    index = paired(at.input_operand(0), at.output_operand(0), axis + 2)
    window = known.window(axis)
    # All boxes begin at the same place of a step: the first speaks for the others.
    begin = int(at.output_origins(index)[0]) if index is not None else 0
    first = int(at.input_origins(0, index)[0]) if index is not None else 0
    low = first * window.stride - window.pad - begin
    places, inputs = at.output_shape()[axis + 2], at.input_shape(0)[axis + 2]
    return low, places - low - (inputs - 1) * window.stride - window.extent


def _conv_transpose_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, w = signals[0], at.constant(1)
    nothing = (None,) * len(at.node.inputs)
    if s is None or w is None:
        return nothing
    known = transposed_geometry(at.node, at.input_operand(0).shape[2:], tuple(w.shape[2:]))
    padded = cut(s, [_surplus(at, known, axis) for axis in range(len(known.kernel))])
    back = _CONV[len(known.kernel)](padded, w, None, known.strides, 0, known.dilations, integer(at.node, "group", 1))
    return (back, *nothing[1:])


@operator(
    "ConvTranspose",
    1,
    11,
    22,
    window=conv_transpose_window,
    adjoint=Rule(_conv_transpose_adjoint, holds=_weight_is_constant),
)
def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] = (),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    output_padding: tuple[int, ...] = (),
    output_shape: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Transposed convolution: x (N, C, D1 ... Dn), w (C, M / group, K1 ... Kn), b (M,) -> (N, M, ...)."""
    known = _transposed_geometry(
        x.shape[2:],
        w.shape[2:],
        strides=strides,
        pads=pads,
        dilations=dilations,
        output_padding=output_padding,
        output_shape=output_shape,
        auto_pad=auto_pad,
    )
    natural: Tensor = _TRANSPOSED[x.ndim - 2](x, w, None, known.strides, 0, 0, group, known.dilations)
    result = cut(natural, list(zip(known.begins, known.ends, strict=True)))
    if b is None:
        return result
    return result + b.reshape(1, -1, *(1 for _ in known.kernel)).to(result.dtype)


__all__ = ["conv", "conv_transpose"]
