"""Max-pool switches as codes: the place of each maximum inside its window, row-major over the kernel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.geometry import Geometry, integer, node_geometry, pad

COMPARED = 16
"""Up to how many places a window's maximum is found by comparing each with it.

Several times sooner than by torch's places, and than by ONNX Runtime's Indices.
"""
_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def pool_geometry(node: Node, extents: Sequence[int]) -> Geometry:
    """Kernel, strides, begin pads and dilations of a pooling node on an input of these spatial extents.

    Works out ``auto_pad`` and ``ceil_mode``.
    """
    return node_geometry(node, extents)


def code_dtype(kernel: Sequence[int]) -> torch.dtype:
    """The integer type that switch codes of this kernel are kept in: uint8 up to 255 places, else int32."""
    return torch.uint8 if math.prod(kernel) <= 255 else torch.int32


def lowest(dtype: torch.dtype) -> float:
    """What padding holds, so that it never is the maximum."""
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def pool_with_places(x: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Max pooling that also tells where: values, and flat places in the padded plane (int64)."""
    if len(geometry.kernel) not in _POOL:
        raise NotImplementedError(f"max pooling over {len(geometry.kernel)} axes is not known here; at most 3 are")
    padded = pad(x, geometry.begins, geometry.ends, lowest(x.dtype))
    values, places = _POOL[len(geometry.kernel)](
        padded, geometry.kernel, geometry.strides, 0, geometry.dilations, return_indices=True
    )
    return values, places


def codes_from_input(x: Tensor, geometry: Geometry) -> Tensor:
    """Switch codes derived from a pool's input; ties go to the first place in row-major order, padding is never chosen.

    Args:
        x: what the pool reads, (N, C, D1 ... Dn), floating point.
        geometry: of the pool on this input.

    Returns:
        Codes (N, C, out1 ... outn), uint8, or int32 for kernels of more than 255 places.
    """
    if 0 in geometry.outputs:  # a window larger than the plane; torch would not have it
        return x.new_zeros((*x.shape[:2], *geometry.outputs), dtype=torch.uint8)
    if not x.is_floating_point():
        x = x.double()  # torch pools no bytes
    if math.prod(geometry.kernel) <= COMPARED:
        return _by_comparing(x, geometry)
    _, places = pool_with_places(x, geometry)
    padded = [e + b + a for e, b, a in zip(x.shape[2:], geometry.begins, geometry.ends, strict=True)]
    return _codes(places, geometry, padded, (0,) * len(padded), tuple(range(len(padded))))


def _by_comparing(x: Tensor, geometry: Geometry) -> Tensor:
    """Codes by comparing every place of the windows with their maxima, channels innermost in memory."""
    n = len(geometry.kernel)
    if n not in _POOL:
        raise NotImplementedError(f"max pooling over {n} axes is not known here; at most 3 are")
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}.get(n, torch.contiguous_format)
    padded = pad(x.contiguous(memory_format=layout), geometry.begins, geometry.ends, lowest(x.dtype))
    maxima = _POOL[n](padded, geometry.kernel, geometry.strides, 0, geometry.dilations)
    codes = torch.zeros_like(maxima, dtype=torch.uint8)
    other = torch.empty_like(maxima, dtype=torch.bool)
    # From the last place but one to the first: a place that holds the maximum starts the count anew.
    for place in list(itertools.product(*map(range, geometry.kernel)))[-2::-1]:
        rows = tuple(
            slice(p * gap, p * gap + (count - 1) * step + 1, step)
            for p, gap, count, step in zip(place, geometry.dilations, geometry.outputs, geometry.strides, strict=True)
        )
        torch.ne(padded[(slice(None), slice(None), *rows)], maxima, out=other)
        codes.add_(1).mul_(other.view(torch.uint8))
    return codes


def codes_from_indices(
    indices: Tensor, geometry: Geometry, extents: Sequence[int], *, storage_order: int = 0
) -> Tensor:
    """Switch codes from the second output of an ONNX MaxPool.

    Args:
        indices: (N, C, out1 ... outn), int64; flat over N * C * D1 * ... * Dn of the pool's input, padding not counted.
        geometry: of the pool on this input.
        extents: D1 ... Dn.
        storage_order: the node's attribute; 1 means that the indices count the first spatial axis fastest.

    Returns:
        Codes of the same shape, uint8, or int32 for kernels of more than 255 places; channels last for two axes.
    """
    n = len(extents)
    order = tuple(range(n)) if storage_order == 0 else tuple(range(n - 1, -1, -1))
    batch, channels = indices.shape[:2]
    planes = torch.arange(batch * channels, device=indices.device).view(batch, channels, *(1,) * n)
    return _codes(indices - planes * math.prod(extents), geometry, extents, geometry.begins, order)


def _codes(
    places: Tensor, geometry: Geometry, extents: Sequence[int], begins: Sequence[int], order: Sequence[int]
) -> Tensor:
    """Codes from flat places in one plane, whose axes count in this order, the last one fastest."""
    if any(geometry.spans[i] > extents[i] for i in order[1:]):
        # A window wider than the plane: distances from its origin do not tell its places apart.
        return _by_coordinates(places, geometry, extents, begins, order)
    n = len(extents)
    steps, step = [0] * n, 1
    for i in reversed(order):
        steps[i], step = step, step * extents[i]
    origins = torch.zeros((1,) * n, dtype=torch.int64, device=places.device)
    for i in range(n):
        along = torch.arange(geometry.outputs[i], device=places.device) * geometry.strides[i] - begins[i]
        origins = origins + along.view(*(-1 if j == i else 1 for j in range(n))) * steps[i]
    # Distances from the window's origin are divided into coordinates by comparing: a kernel has few places along an
    # axis, and torch compares several times sooner than it divides or looks up.
    rest = (places - origins).to(torch.int32)
    low, high = torch.aminmax(rest)
    if low < 0 or high > sum((span - 1) * by for span, by in zip(geometry.spans, steps, strict=True)):
        raise IndexError("a max pool's Indices point outside its windows")
    codes, reached = torch.zeros_like(rest), torch.empty_like(rest)
    for i in order:
        weight, apart = math.prod(geometry.kernel[i + 1 :]), geometry.dilations[i] * steps[i]
        if apart == 1 and i == order[-1]:
            codes.add_(rest, alpha=weight)
            continue
        distance = rest.clone() if i != order[-1] else rest
        for place in range(1, geometry.kernel[i]):
            torch.ge(distance, place * apart, out=reached)
            codes.add_(reached, alpha=weight)
            if i != order[-1]:
                rest.sub_(reached, alpha=apart)
    return _laid_out(codes.to(code_dtype(geometry.kernel)))


def _by_coordinates(
    places: Tensor, geometry: Geometry, extents: Sequence[int], begins: Sequence[int], order: Sequence[int]
) -> Tensor:
    """Codes from flat places in one plane, by dividing them into coordinates."""
    n = len(extents)
    codes = torch.zeros_like(places, dtype=torch.int32)
    weights = [math.prod(geometry.kernel[i + 1 :]) for i in range(n)]
    rest = places.to(torch.int32) if math.prod(extents) < 2**31 else places
    for i in reversed(order):
        coordinate = rest % extents[i]
        rest = rest // extents[i]
        along = torch.arange(geometry.outputs[i], device=places.device, dtype=torch.int32) * geometry.strides[i]
        begin = (along - begins[i]).view(*(-1 if j == i else 1 for j in range(n)))
        codes += ((coordinate - begin) // geometry.dilations[i] * weights[i]).to(torch.int32)
    return _laid_out(codes.to(code_dtype(geometry.kernel)))


def _laid_out(codes: Tensor) -> Tensor:
    return codes.contiguous(memory_format=torch.channels_last) if codes.ndim == 4 else codes


def storage_order(node: Node) -> int:
    """The attribute of MaxPool that says which spatial axis its indices count fastest."""
    return integer(node, "storage_order")
