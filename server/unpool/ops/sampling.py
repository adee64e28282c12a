"""Reading between the places of a plane: grids, regions, deformed windows; and columns back into planes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.base import operator, whole
from unpool.ops.linearity import linear

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


def _grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """X (N, C, D1 ... Dr) read at the places of a grid (N, O1 ... Or, r), which runs from -1 to 1, last axis first."""
    rank = x.ndim - 2
    if mode not in _MODES:
        raise NotImplementedError(f"sampling with mode '{mode}' is not known here")
    grid = grid.to(x.device, x.dtype)
    if rank == 1:  # a row of a plane of one row
        wide = torch.stack((grid[..., 0], torch.zeros_like(grid[..., 0])), -1).unsqueeze(1)
        return _sampled(x.unsqueeze(2), wide, mode, padding_mode, align_corners).squeeze(2)
    if rank > 3 or (rank == 3 and _MODES[mode] == "bicubic"):
        raise NotImplementedError(f"sampling with mode '{mode}' over {rank} axes is not known here")
    return _sampled(x, grid, mode, padding_mode, align_corners)


def _sampled(x: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: int) -> Tensor:
    return functional.grid_sample(x, grid, _MODES[mode], padding_mode, bool(align_corners))


operator("GridSample", 16, 20, 22, window=whole, adjoint=linear(_grid_sample))(_grid_sample)


@operator("AffineGrid", 20, window=whole)
def affine_grid(theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    """The grid that an affine map makes: theta (N, r, r + 1) -> (N, D1 ... Dr, r)."""
    return functional.affine_grid(theta, size.tolist(), bool(align_corners))


def _between(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Planes (K, C, H, W) read bilinearly at (K, ...), zero one place and more outside: (K, C, ...)."""
    height, width = plane.shape[2:]
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    flat = plane.flatten(2)
    total = None
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = (top + dy).clamp(max=height - 1), (left + dx).clamp(max=width - 1)
            places = (row * width + column).to(torch.int64).flatten(1).unsqueeze(1).expand(-1, plane.shape[1], -1)
            share = (1 - (y - top - dy).abs()) * (1 - (x - left - dx).abs())
            value = torch.gather(flat, 2, places).reshape(*plane.shape[:2], *y.shape[1:]) * share.unsqueeze(1)
            total = value if total is None else total + value
    assert total is not None
    return torch.where(outside.unsqueeze(1), torch.zeros((), dtype=plane.dtype, device=plane.device), total)


def _roi_align(
    x: Tensor, rois: Tensor, batch: Tensor, mode: str, shape: Sequence[int], ratio: int, scale: float, half: bool
) -> Tensor:
    found = []
    height, width = shape
    for roi, image in zip(rois, batch.tolist(), strict=True):
        # Tensors to the end, so that a signal reaches the box by which a sample moves.
        left, top, right, bottom = roi.to(x.dtype) * scale - (0.5 if half else 0.0)
        tall, wide = bottom - top, right - left
        if not half:
            tall, wide = tall.clamp(min=1.0), wide.clamp(min=1.0)
        bins = (tall / height, wide / width)
        counts = [ratio if ratio > 0 else max(math.ceil(b.item()), 1) for b in bins]
        rows, columns = (
            begin + (torch.arange(n * c, dtype=x.dtype, device=x.device) + 0.5) * (b / c)
            for begin, n, c, b in ((top, height, counts[0], bins[0]), (left, width, counts[1], bins[1]))
        )
        y, across = torch.meshgrid(rows, columns, indexing="ij")
        if mode == "max":
            values = _corner_maximum(x[image : image + 1], y.unsqueeze(0), across.unsqueeze(0))
        else:
            values = _between(x[image : image + 1], y.unsqueeze(0), across.unsqueeze(0))
        values = values.reshape(x.shape[1], height, counts[0], width, counts[1])
        found.append(values.amax((2, 4)) if mode == "max" else values.mean((2, 4)))
    return torch.stack(found) if found else x.new_zeros(0, x.shape[1], height, width)


def _corner_maximum(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """As ``_between``, but the largest of the four shares instead of their sum."""
    height, width = plane.shape[2:]
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    flat = plane.flatten(2)
    shares = []
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = (top + dy).clamp(max=height - 1), (left + dx).clamp(max=width - 1)
            places = (row * width + column).to(torch.int64).flatten(1).unsqueeze(1).expand(-1, plane.shape[1], -1)
            share = (1 - (y - top - dy).abs()) * (1 - (x - left - dx).abs())
            shares.append(torch.gather(flat, 2, places).reshape(*plane.shape[:2], *y.shape[1:]) * share.unsqueeze(1))
    return torch.stack(shares).amax(0)


@operator("RoiAlign", 10, window=whole)
def roi_align_10(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Regions (K, 4) of x (N, C, H, W) read on a grid, without the shift by half a place, up to opset 15."""
    shape = (output_height, output_width)
    return _roi_align(x, rois, batch_indices, mode, shape, sampling_ratio, spatial_scale, False)


@operator("RoiAlign", 16, 22, window=whole)
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Regions (K, 4), left, top, right, bottom, of x (N, C, H, W) read on a grid (He et al. 2017)."""
    half = coordinate_transformation_mode == "half_pixel"
    shape = (output_height, output_width)
    return _roi_align(x, rois, batch_indices, mode, shape, sampling_ratio, spatial_scale, half)


@operator("MaxRoiPool", 1, 22, window=whole)
def max_roi_pool(x: Tensor, rois: Tensor, *, pooled_shape: tuple[int, int], spatial_scale: float = 1.0) -> Tensor:
    """The maximum of every bin of regions (K, 5), image, left, top, right, bottom (Girshick 2015)."""
    found = []
    for image, *edges in rois.tolist():
        left, top, right, bottom = (math.floor(e * spatial_scale + 0.5) for e in edges)
        plane, extents = x[int(image)], ((top, bottom, x.shape[2]), (left, right, x.shape[3]))
        spans = []
        for n, (begin, end, most) in zip(pooled_shape, extents, strict=True):
            size = max(end - begin + 1, 1) / n
            ends = [(begin + math.floor(i * size), begin + math.ceil((i + 1) * size)) for i in range(n)]
            spans.append([(min(max(a, 0), most), min(max(b, 0), most)) for a, b in ends])
        rows = [
            torch.stack(
                [plane[:, a:b, c:d].amax((1, 2)) if b > a and d > c else x.new_zeros(x.shape[1]) for c, d in spans[1]],
                -1,
            )
            for a, b in spans[0]
        ]
        found.append(torch.stack(rows, 1))
    return torch.stack(found) if found else x.new_zeros(0, x.shape[1], *pooled_shape)


@operator("DeformConv", 19, 22, window=whole)
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: tuple[int, ...] = (1, 1),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    offset_group: int = 1,
    pads: tuple[int, ...] = (0, 0, 0, 0),
    strides: tuple[int, ...] = (1, 1),
) -> Tensor:
    """Convolution whose places are moved by offsets and weighed by a mask (Dai et al. 2017; Zhu et al. 2019)."""
    if x.ndim != 4:
        raise NotImplementedError(f"deformed convolution over {x.ndim - 2} axes is not known here; over 2 it is")
    n, channels = x.shape[:2]
    places = w.shape[2] * w.shape[3]
    out = offset.shape[2:]
    moved = offset.reshape(n, offset_group, places, 2, *out)
    lines = []
    for i in (0, 1):
        window = torch.arange(w.shape[2 + i], dtype=x.dtype, device=x.device) * dilations[i]
        along = torch.arange(out[i], dtype=x.dtype, device=x.device) * strides[i] - pads[i]
        kernel = window.unsqueeze(1).expand(w.shape[2:]) if i == 0 else window.expand(w.shape[2:])
        view = [1, 1, 1, 1]
        view[2 + i] = -1
        lines.append(kernel.reshape(1, places, 1, 1) + along.reshape(view))
    columns = []
    each = channels // offset_group
    for g in range(offset_group):
        y, across = (lines[i] + moved[:, g, :, i] for i in (0, 1))
        value = _zero_padded(x[:, g * each : (g + 1) * each], y, across)
        if mask is not None:
            value = value * mask.reshape(n, offset_group, places, *out)[:, g].unsqueeze(1)
        columns.append(value)
    taken = torch.cat(columns, 1).reshape(n, group, channels // group * places, -1)
    kernels = w.reshape(group, w.shape[0] // group, -1)
    y = (kernels @ taken).reshape(n, w.shape[0], *out)
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def _zero_padded(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Planes read bilinearly, with zeros around them."""
    padded = functional.pad(plane, (1, 1, 1, 1))
    return _between(padded, (y + 1).clamp(0, padded.shape[2] - 1), (x + 1).clamp(0, padded.shape[3] - 1))


def _col2im(
    x: Tensor,
    image_shape: Tensor,
    block_shape: Tensor,
    *,
    dilations: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Columns (N, C * places, windows) added up in the plane that they come from."""
    extents, kernel = image_shape.tolist(), block_shape.tolist()
    rank = len(extents)
    steps, gaps = strides or (1,) * rank, dilations or (1,) * rank
    around = pads or (0,) * (2 * rank)
    wide = [n + around[i] + around[rank + i] for i, n in enumerate(extents)]
    counts = [(wide[i] - gaps[i] * (kernel[i] - 1) - 1) // steps[i] + 1 for i in range(rank)]
    flat = torch.zeros([1] * (2 * rank), dtype=torch.int64, device=x.device)
    for i in range(rank):
        view = [1] * (2 * rank)
        view[i] = -1
        inside = (torch.arange(kernel[i], device=x.device) * gaps[i]).reshape(view)
        view[i], view[rank + i] = 1, -1
        begins = (torch.arange(counts[i], device=x.device) * steps[i]).reshape(view)
        flat = flat * wide[i] + inside + begins
    values = x.reshape(x.shape[0], -1, flat.numel())
    plane = x.new_zeros(*values.shape[:2], math.prod(wide)).index_add(2, flat.flatten(), values)
    found = plane.reshape(*values.shape[:2], *wide)
    for i, extent in enumerate(extents):
        found = found.narrow(2 + i, around[i], extent)
    return found


operator("Col2Im", 18, window=whole, adjoint=linear(_col2im))(_col2im)


def _center_crop_pad(x: Tensor, shape: Tensor, *, axes: tuple[int, ...] = ()) -> Tensor:
    """Cut or padded with zeros, about the centre, to the given extents."""
    for axis, extent in zip(axes or range(x.ndim), shape.tolist(), strict=True):
        axis %= x.ndim
        more = extent - x.shape[axis]
        if more > 0:
            amounts = [0] * (2 * x.ndim)
            amounts[2 * (x.ndim - 1 - axis)] = more // 2
            amounts[2 * (x.ndim - 1 - axis) + 1] = more - more // 2
            x = functional.pad(x, amounts)
        elif more < 0:
            x = x.narrow(axis, -more // 2, extent)
    return x


operator("CenterCropPad", 18, window=whole, adjoint=linear(_center_crop_pad))(_center_crop_pad)


def _indices_are_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return all(constant[1:])


def _max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Tensor | None = None,
    *,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Every value back at the place that the pool's indices name, zeros elsewhere (Zeiler & Fergus 2013)."""
    rank = x.ndim - 2
    steps, around = strides or (1,) * rank, pads or (0,) * (2 * rank)
    inferred = [(x.shape[2 + i] - 1) * steps[i] + kernel_shape[i] - around[i] - around[rank + i] for i in range(rank)]
    shape = [*x.shape[:2], *inferred]
    flat = x.new_zeros(math.prod(shape)).scatter(0, indices.to(x.device).flatten(), x.flatten()).reshape(shape)
    if output_shape is None or output_shape.tolist() == shape:
        return flat
    wanted = output_shape.tolist()
    # Indices are of the plane without the output's shape; what it adds stands behind (ONNX, MaxUnpool-11).
    return functional.pad(flat, [n for i in reversed(range(2, x.ndim)) for n in (0, wanted[i] - shape[i])])


operator("MaxUnpool", 9, 11, 22, window=whole, adjoint=linear(_max_unpool, _indices_are_constant))(_max_unpool)
