"""Pooling over windows and over whole planes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, whole
from unpool.ops.geometry import Geometry, cut, excess, geometry, integer, pad, paired, sliding_windows
from unpool.ops.switches import codes_from_input, lowest, pool_geometry

_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def pool_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """One sliding window per spatial axis."""
    x, y = inputs[0], outputs[0]
    if x is None or y is None:
        return [{} for _ in inputs]
    return [sliding_windows(pool_geometry(node, x.shape[2:]), x, y)]


def _places(geometry: Geometry, counts: Sequence[int]) -> list[tuple[slice, ...]]:
    """For every place of the kernel in row-major order, where in the natural box the windows of a box have it."""
    return [
        tuple(
            slice(p * d, p * d + (n - 1) * s + 1, s)
            for p, d, s, n in zip(place, geometry.dilations, geometry.strides, counts, strict=True)
        )
        for place in itertools.product(*map(range, geometry.kernel))
    ]


def _natural(geometry: Geometry, counts: Sequence[int]) -> list[int]:
    return [(n - 1) * s + span for n, s, span in zip(counts, geometry.strides, geometry.spans, strict=True)]


def unpool(s: Tensor, codes: Tensor, geometry: Geometry) -> Tensor:
    """Puts each value at the place of its maximum, zeros elsewhere (Zeiler & Fergus 2013, section 2.1); overlaps add.

    Args:
        s: signal, (units, C, n1 ... nd).
        codes: switch codes of the same shape.
        geometry: of the pool.

    Returns:
        The signal on the natural box, (units, C, (n1 - 1) * S + K', ...), in the memory layout of the signal.
    """
    counts = s.shape[2:]
    # Channels are innermost in memory, so every pass is written to run over contiguous channels.
    last = s.ndim == 4
    value = s.permute(0, 2, 3, 1) if last else s
    code = codes.permute(0, 2, 3, 1) if last else codes
    first = 1 if last else 2
    shape = list(s.shape)
    shape[2:] = _natural(geometry, counts)
    if last:
        shape = [shape[0], shape[2], shape[3], shape[1]]
    # Comparing in floating point lets every pass run in the signal's own type: three times as fast as through a mask.
    code = code.to(s.dtype)
    tiles = all(k == n for k, n in zip(geometry.spans, geometry.strides, strict=True))
    result = (
        s.new_empty(shape) if tiles and math.prod(geometry.kernel) == math.prod(geometry.spans) else s.new_zeros(shape)
    )
    chosen: Tensor | None = None
    for number, place in enumerate(_places(geometry, counts)):
        target = result[(slice(None),) * first + place]
        # The first visit of a phase of the stride finds nothing there yet, and writes.
        if all(p.start < n for p, n in zip(place, geometry.strides, strict=True)):
            torch.eq(code, number, out=target).mul_(value)
        else:
            chosen = torch.empty_like(code) if chosen is None else chosen
            target.addcmul_(value, torch.eq(code, number, out=chosen))
    return result.permute(0, 3, 1, 2) if last else result


def _max_pool_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,)
    known = pool_geometry(at.node, at.input_operand(0).shape[2:])
    return (cut(unpool(s, at.switches(), known), excess(at, known)),)


@operator("MaxPool", 1, 8, 10, 11, 12, 22, window=pool_window, adjoint=Rule(_max_pool_adjoint, switches=True))
def max_pool(
    x: Tensor,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    storage_order: int = 0,
    strides: tuple[int, ...] = (),
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """Max pooling of x (N, C, D1 ... Dn); the second output is flat over the whole input, padding not counted."""
    known = geometry(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        pads=pads,
        dilations=dilations,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    exact = x if x.is_floating_point() else x.to(torch.float64)
    padded = pad(exact, known.begins, known.ends, lowest(exact.dtype))
    values: Tensor = _MAX[x.ndim - 2](padded, known.kernel, known.strides, 0, known.dilations).to(x.dtype)
    if outputs < 2:
        return values
    return values, _indices(codes_from_input(exact.detach(), known), known, x.shape, storage_order)


_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def _indices(codes: Tensor, known: Geometry, shape: Sequence[int], storage_order: int) -> Tensor:
    """ONNX's flat indices from switch codes."""
    n = len(known.kernel)
    step, rest = 1, codes.to(torch.int64)
    coordinates = []
    for i in reversed(range(n)):
        along = torch.arange(known.outputs[i], device=codes.device) * known.strides[i] - known.begins[i]
        place = rest % known.kernel[i]
        rest = rest // known.kernel[i]
        coordinates.append((i, place * known.dilations[i] + along.view(*(-1 if j == i else 1 for j in range(n)))))
    flat = torch.zeros_like(rest)
    for i, coordinate in sorted(coordinates, key=lambda c: c[0], reverse=storage_order == 0):
        flat = flat + coordinate * step
        step *= shape[2 + i]
    planes = torch.arange(shape[0] * shape[1], device=codes.device).view(shape[0], shape[1], *(1,) * n)
    return (flat + planes * step).contiguous()


def _counts(known: Geometry, i: int, extent: int, include_pad: bool, origins: Tensor, n: int) -> Tensor:
    """How many places of each window along one axis are averaged over, for boxes of ``n`` outputs: (units, n).

    Padding counts where asked for, but never what ``ceil_mode`` adds behind it.
    """
    outputs = origins.view(-1, 1) + torch.arange(n, device=origins.device)
    starts = outputs * known.strides[i] - known.begins[i]
    places = starts.unsqueeze(-1) + torch.arange(known.kernel[i], device=origins.device) * known.dilations[i]
    low, high = (-known.begins[i], extent + known.declared[i]) if include_pad else (0, extent)
    return ((places >= low) & (places < high)).sum(-1).clamp_(min=1)


def _divide(s: Tensor, known: Geometry, extents: Sequence[int], include_pad: bool, origins: Sequence[Tensor]) -> Tensor:
    for i, extent in enumerate(extents):
        counts = _counts(known, i, extent, include_pad, origins[i], s.shape[2 + i]).to(s.device)
        shape = [counts.shape[0], 1, *(1 for _ in extents)]
        shape[2 + i] = counts.shape[1]
        s = s / counts.view(shape).to(s.dtype)
    return s


def _average_pool_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,)
    source = at.input_operand(0)
    known = pool_geometry(at.node, source.shape[2:])
    origins = []
    for i in range(len(known.kernel)):
        index = paired(source, at.output_operand(0), i + 2)
        origins.append(at.output_origins(index) if index is not None else torch.zeros(1, dtype=torch.int64))
    include = bool(integer(at.node, "count_include_pad"))
    share = _divide(s, known, source.shape[2:], include, origins)
    channels = s.shape[1]
    ones = s.new_ones(channels, 1, *known.kernel)
    spread = _SPREAD[len(known.kernel)](share, ones, stride=known.strides, dilation=known.dilations, groups=channels)
    return (cut(spread, excess(at, known)),)


_SPREAD = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_SUM = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@operator("AveragePool", 1, 7, 10, 11, 19, 22, window=pool_window, adjoint=Rule(_average_pool_adjoint))
def average_pool(
    x: Tensor,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Average pooling of x (N, C, D1 ... Dn)."""
    known = geometry(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        pads=pads,
        dilations=dilations,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    padded = pad(x, known.begins, known.ends)
    if all(d == 1 for d in known.dilations):
        summed = _AVERAGE[x.ndim - 2](padded, known.kernel, known.strides) * math.prod(known.kernel)
    else:
        ones = x.new_ones(x.shape[1], 1, *known.kernel)
        summed = _SUM[x.ndim - 2](padded, ones, None, known.strides, 0, known.dilations, x.shape[1])
    zero = [torch.zeros(1, dtype=torch.int64, device=x.device)] * len(known.kernel)
    return _divide(summed, known, x.shape[2:], bool(count_include_pad), zero)


def _plane(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _global_average_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,)
    shape = at.input_shape(0)
    return ((s / math.prod(shape[2:])).expand(shape),)


@operator("GlobalAveragePool", 1, 22, window=whole, adjoint=Rule(_global_average_adjoint))
def global_average_pool(x: Tensor) -> Tensor:
    """Mean over the plane: (N, C, D1 ... Dn) -> (N, C, 1 ... 1)."""
    return x.mean(_plane(x), keepdim=True)


@operator("GlobalMaxPool", 1, 22, window=whole)
def global_max_pool(x: Tensor) -> Tensor:
    """Maximum over the plane: (N, C, D1 ... Dn) -> (N, C, 1 ... 1); its derivative goes to the first maximum."""
    flat = x.flatten(2)
    return flat.max(-1, keepdim=True).values.reshape(*x.shape[:2], *(1 for _ in _plane(x)))


@operator("GlobalLpPool", 1, 2, 22, window=whole)
def global_lp_pool(x: Tensor, *, p: int | float = 2) -> Tensor:
    """p-norm over the plane."""
    norm: Tensor = torch.linalg.vector_norm(x, float(p), _plane(x), keepdim=True)
    return norm


@operator("LpPool", 1, 2, 11, 18, 22, window=pool_window)
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: tuple[int, ...] = (),
    p: int | float = 2,
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """p-norm over windows of x (N, C, D1 ... Dn); padding counts as zero."""
    known = geometry(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        pads=pads,
        dilations=dilations,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    powers = pad(x.abs() ** p, known.begins, known.ends)
    ones = x.new_ones(x.shape[1], 1, *known.kernel)
    summed = _SUM[x.ndim - 2](powers, ones, None, known.strides, 0, known.dilations, x.shape[1])
    return summed ** (1 / p)
