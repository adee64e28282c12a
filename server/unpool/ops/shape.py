"""Operators that only give values another shape, order or type."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unpool.graph.intervals import AxisWindow, Sliding, Transposed
from unpool.graph.model import Array, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, whole
from unpool.ops.broadcasting import elementwise, reduce_to
from unpool.ops.geometry import integer, ints, paired, string
from unpool.ops.types import converted, is_floating, to_eight_bits


def _first(at: Crossing, s: Tensor | None) -> Signals:
    return (s, *(None for _ in at.node.inputs[1:]))


def _back_to_shape(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    return _first(at, s.reshape(at.input_shape(0)) if s is not None else None)


def _as_it_is(at: Crossing, signals: Signals) -> Signals:
    return _first(at, signals[0])


_RESHAPED = Rule(_back_to_shape)
_UNCHANGED = Rule(_as_it_is)


def _listed(values: Tensor) -> list[int]:
    return [int(v) for v in values.flatten().tolist()]


@operator("Identity", 1, 13, 14, 16, 19, 21, 23, 24, 25, adjoint=_UNCHANGED)
def identity(x: Tensor) -> Tensor:
    """The input."""
    return x


@operator("Reshape", 5, 13, adjoint=_RESHAPED)
def reshape_5(x: Tensor, shape: Tensor) -> Tensor:
    """Another shape; 0 keeps an extent, -1 takes what is left."""
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(_listed(shape))])


@operator("Reshape", 14, 19, 21, 23, 24, 25, adjoint=_RESHAPED)
def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """Another shape; 0 keeps an extent unless ``allowzero``, -1 takes what is left."""
    return x.reshape(_listed(shape)) if allowzero else reshape_5(x, shape)


@operator("Flatten", 1, 9, 11, 13, 21, 23, 24, 25, adjoint=_RESHAPED)
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Two axes: those before ``axis``, and the others."""
    front = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:front]), math.prod(x.shape[front:]))


def _transpose_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,)
    order = ints(at.node, "perm") or tuple(reversed(range(s.ndim)))
    back = [0] * s.ndim
    for i, axis in enumerate(order):
        back[axis] = i
    return (s.permute(back),)


@operator("Transpose", 1, 13, 21, 23, 24, 25, adjoint=Rule(_transpose_adjoint))
def transpose(x: Tensor, *, perm: tuple[int, ...] = ()) -> Tensor:
    """Axes in another order; reversed by default."""
    return x.permute(perm or tuple(reversed(range(x.ndim))))


@operator("Squeeze", 1, 11, adjoint=_RESHAPED)
def squeeze_1(x: Tensor, *, axes: tuple[int, ...] = ()) -> Tensor:
    """Without the named axes of extent 1, all of them by default; axes as attribute, up to opset 12."""
    return x.squeeze(axes or tuple(i for i, n in enumerate(x.shape) if n == 1))


@operator("Squeeze", 13, 21, 23, 24, 25, adjoint=_RESHAPED)
def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without the named axes of extent 1, all of them by default."""
    return squeeze_1(x, axes=tuple(_listed(axes)) if axes is not None else ())


@operator("Unsqueeze", 1, 11, adjoint=_RESHAPED)
def unsqueeze_1(x: Tensor, *, axes: tuple[int, ...]) -> Tensor:
    """With new axes of extent 1 at these places of the result; axes as attribute, up to opset 12."""
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", 13, 21, 23, 24, 25, adjoint=_RESHAPED)
def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    """With new axes of extent 1 at these places of the result."""
    return unsqueeze_1(x, axes=tuple(_listed(axes)))


@operator("Expand", 8, 13, window=elementwise, adjoint=Rule(lambda at, s: _first(at, _summed(at, s[0]))))
def expand(x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast together with ``shape``."""
    return x.expand(_together(x.shape, _listed(shape)))


def _together(a: Sequence[int], b: Sequence[int]) -> list[int]:
    rank = max(len(a), len(b))
    wide = [(1,) * (rank - len(s)) + tuple(s) for s in (a, b)]
    return [n if m == 1 else m for m, n in zip(*wide, strict=True)]


def _summed(at: Crossing, s: Tensor | None) -> Tensor | None:
    return reduce_to(s, at.input_shape(0)) if s is not None else None


def _tile_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return _first(at, None)
    for i, n in enumerate(at.input_shape(0)):
        if s.shape[i] != n:
            s = s.reshape(*s.shape[:i], -1, n, *s.shape[i + 1 :]).sum(i)
    return _first(at, s)


@operator("Tile", 6, 13, adjoint=Rule(_tile_adjoint))
def tile(x: Tensor, repeats: Tensor) -> Tensor:
    """Repeated along every axis."""
    return x.repeat(_listed(repeats))


def _casts_between_floats(node: Node, constant: tuple[bool, ...]) -> bool:
    return is_floating(integer(node, "to"))


@operator("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28, adjoint=Rule(_as_it_is, holds=_casts_between_floats))
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Another type."""
    return converted(x, to, saturate=bool(saturate))


@operator("CastLike", 15, 19, 21, 23, 24, 25, adjoint=_UNCHANGED)  # a signal only comes where real numbers leave
def cast_like(x: Tensor, target: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """The type of another tensor."""
    kind = target.dtype
    if kind.is_floating_point and kind.itemsize == 1:
        return to_eight_bits(x, kind, saturate=bool(saturate))
    return x.to(kind)


def _dropped(x: Tensor, outputs: int) -> Tensor | tuple[Tensor, Tensor]:
    return x if outputs == 1 else (x, torch.ones(x.shape, dtype=torch.bool, device=x.device))


@operator("Dropout", 7, 10, adjoint=_UNCHANGED)
def dropout_7(x: Tensor, *, ratio: float = 0.5, outputs: int = 1) -> Tensor | tuple[Tensor, Tensor]:
    """Nothing, in inference."""
    return _dropped(x, outputs)


@operator("Dropout", 12, 13, 22, adjoint=_UNCHANGED)
def dropout(
    x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: int = 0, outputs: int = 1
) -> Tensor | tuple[Tensor, Tensor]:
    """Nothing, in inference."""
    if training is not None and bool(training) and (ratio is None or float(ratio) > 0):
        raise NotImplementedError("dropout in training mode is not known here; export the model for inference")
    return _dropped(x, outputs)


def _blocks(wide: Tensor, block: int) -> Tensor:
    """(N, C, H b, W b) -> (N, C, H, b, W, b)."""
    n, c, h, w = wide.shape
    return wide.reshape(n, c, h // block, block, w // block, block)


def _to_depth(x: Tensor, block: int, mode: str) -> Tensor:
    n, _, h, w = x.shape
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return _blocks(x, block).permute(order).reshape(n, -1, h // block, w // block)


def _to_space(x: Tensor, block: int, mode: str) -> Tensor:
    n, c, h, w = x.shape
    inner = c // (block * block)
    if mode == "DCR":
        apart = x.reshape(n, block, block, inner, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        apart = x.reshape(n, inner, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return apart.reshape(n, inner, h * block, w * block)


def _block_windows(window: AxisWindow, source: Operand | None, result: Operand | None) -> Sequence[AxisWindows]:
    if source is None or result is None:
        return [{}]
    indices = (paired(source, result, i) for i in (2, 3))
    return [{i: window for i in indices if i is not None}]


def _space_to_depth_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    block, mode = integer(at.node, "blocksize"), string(at.node, "mode", "DCR")
    return (_to_space(s, block, mode) if s is not None else None,)


def _depth_to_space_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    block, mode = integer(at.node, "blocksize"), string(at.node, "mode", "DCR")
    return (_to_depth(s, block, mode) if s is not None else None,)


@operator(
    "SpaceToDepth",
    1,
    13,
    28,
    window=lambda node, i, o: _block_windows(
        Sliding(integer(node, "blocksize"), integer(node, "blocksize")), i[0], o[0]
    ),
    adjoint=Rule(_space_to_depth_adjoint),
)
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks of the plane into channels: (N, C, H b, W b) -> (N, C b b, H, W)."""
    return _to_depth(x, blocksize, mode)


@operator(
    "DepthToSpace",
    1,
    11,
    13,
    28,
    window=lambda node, i, o: _block_windows(
        Transposed(Sliding(integer(node, "blocksize"), integer(node, "blocksize"))), i[0], o[0]
    ),
    adjoint=Rule(_depth_to_space_adjoint),
)
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels into blocks of the plane: (N, C b b, H, W) -> (N, C, H b, W b)."""
    return _to_space(x, blocksize, mode)


@operator("Shape", 1, 13, 15, 19, 21, 23, 24, 25, window=whole)
def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Extents from axis ``start`` to axis ``end``: int64, on the CPU."""
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@operator("Size", 1, 13, 19, 21, 23, 24, 25, window=whole)
def size(x: Tensor) -> Tensor:
    """Number of elements: int64 scalar, on the CPU."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape", 9, 20, 21, 23, 24, 25, window=whole)
def constant_of_shape(shape: Tensor, *, value: Array | None = None) -> Tensor:
    """One value everywhere, float 0 by default."""
    filled = torch.zeros(1) if value is None else torch.from_numpy(value.copy())
    return filled.reshape(()).expand(_listed(shape)).clone()


@operator("Range", 11, 27, window=whole)
def range_(start: Tensor, limit: Tensor, delta: Tensor, *, stash_type: int = 1) -> Tensor:
    """From ``start`` up to, but without, ``limit`` in steps of ``delta``."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)
