"""Transposed convolution and resizing on boxes: which inputs a box of outputs needs, and what they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unpool.engine.boxes import Ints
from unpool.graph.intervals import Intervals
from unpool.ops.geometry import Geometry as Windows
from unpool.ops.resize import Floats

_TRANSPOSED = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}


def transposed_padding(known: Windows, extents: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How far in front of the plane and behind it ``transposed_inputs`` may reach; zeros stand there."""
    before, behind = [], []
    for i, extent in enumerate(extents):
        step, span, begin = known.strides[i], known.spans[i], known.begins[i]
        before.append(max(0, -_first(np.array([begin]), step, span).item()))
        behind.append(max(0, (known.outputs[i] + begin + max(span, step)) // step + 3 - extent))
    return tuple(before), tuple(behind)


def transposed_inputs(
    known: Windows, starts: Sequence[Ints], counts: Sequence[int]
) -> tuple[list[Ints], list[int], list[Ints]]:
    """What boxes of outputs are computed from.

    Args:
        known: the convolution that is run the other way.
        starts: where the boxes begin, one int64 (units,) per axis.
        counts: their extents.

    Returns:
        Where the boxes of inputs begin, their extents, and where the outputs begin in what they give uncropped.
    """
    begins, extents, offsets = [], [], []
    for i, (start, count) in enumerate(zip(starts, counts, strict=True)):
        step, span, at = known.strides[i], known.spans[i], start + known.begins[i]
        first = _first(at, step, span)
        offset = at - first * step
        # All that take part, and as many as make the result long enough where nothing does.
        taking = (offset + count - 1) // step + 1
        filling = 1 - (span - offset - count) // step
        begins.append(first)
        extents.append(max(1, int(np.maximum(taking, filling).max())))
        offsets.append(offset)
    return begins, extents, offsets


def _first(at: Ints, step: int, span: int) -> Ints:
    """The first input that takes part in an output, or one in front of it."""
    return np.minimum(-((span - 1 - at) // step), at // step)


def transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    known: Windows,
    group: int,
    offsets: Sequence[Ints],
    counts: Sequence[int],
) -> Tensor:
    """Transposed convolution of boxes (units, C, ...), cropped to the boxes of outputs."""
    natural: Tensor = _TRANSPOSED[x.ndim - 2](x, weight, None, known.strides, 0, 0, group, known.dilations)
    for axis, (offset, count) in enumerate(zip(offsets, counts, strict=True), 2):
        natural = cropped(natural, axis, offset, count)
    if bias is None:
        return natural
    return natural + bias.reshape(1, -1, *(1 for _ in counts))


def cropped(x: Tensor, axis: int, offset: Ints, count: int) -> Tensor:
    """A part of every box along one axis, from ``offset`` (units,) on; units along axis 0."""
    if (offset == offset[0]).all():
        return x.narrow(axis, int(offset[0]), count)
    shape, wide = [1] * x.ndim, list(x.shape)
    shape[0], shape[axis], wide[axis] = len(offset), count, count
    chosen = torch.from_numpy(offset[:, None] + np.arange(count)).to(x.device)
    return x.gather(axis, chosen.reshape(shape).expand(wide))


def seen_inputs(known: Intervals, extent: int) -> tuple[Ints, int]:
    """Where boxes of inputs begin along an axis, and their extent, from the intervals that outputs see."""
    size = max(1, int((known.upper - known.lower).max()))
    return np.minimum(known.lower, extent - size), size


def resized(
    x: Tensor,
    batch: int,
    matrices: Mapping[int, Floats],
    outputs: Mapping[int, tuple[Ints, int]],
    begins: Mapping[int, Ints],
) -> Tensor:
    """Resizes boxes.

    Args:
        x: boxes of inputs, units along axis ``batch``.
        batch: that axis.
        matrices: axis -> weights of the whole plane (out, in).
        outputs: axis -> where the boxes of outputs begin, int64 (units,), and their extent.
        begins: axis -> where the boxes of inputs begin, int64 (units,).
    """
    for axis, matrix in matrices.items():
        starts, count = outputs[axis]
        rows = (starts[:, None] + np.arange(count))[:, :, None]
        columns = (begins[axis][:, None] + np.arange(x.shape[axis]))[:, None, :]
        weights = torch.from_numpy(matrix[rows, columns]).to(x.device, x.dtype)
        moved = x.movedim((batch, axis), (0, -1))
        mixed = moved.reshape(len(moved), -1, moved.shape[-1]) @ weights.mT
        x = mixed.reshape(*moved.shape[:-1], count).movedim((0, -1), (batch, axis))
    return x
