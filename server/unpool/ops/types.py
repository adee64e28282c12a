"""ONNX element types in torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

# onnx.TensorProto.DataType, onnx.proto section "TensorProto"
_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
}

# Integers below a byte are kept in bytes: lowest and highest value.
_SMALL = {21: (0, 15), 22: (-8, 7), 25: (0, 3), 26: (-2, 1)}

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types in which torch hardly calculates."""

P = ParamSpec("P")
R = TypeVar("R")


def torch_type(code: int) -> torch.dtype:
    """The torch type of an ONNX element type; integers below a byte are kept in bytes.

    Raises:
        NotImplementedError: torch has none, or it is not known here.
    """
    if code in _SMALL:
        return torch.int8 if _SMALL[code][0] else torch.uint8
    if code not in _TYPES:
        raise NotImplementedError(f"element type {code} is not known here")
    return _TYPES[code]


def is_floating(code: int) -> bool:
    """Whether an ONNX element type holds real numbers."""
    return code in _TYPES and _TYPES[code].is_floating_point


def limits(code: int) -> tuple[int, int]:
    """Lowest and highest value of an integer element type."""
    if code in _SMALL:
        return _SMALL[code]
    known = torch.iinfo(torch_type(code))
    return int(known.min), int(known.max)


def converted(x: Tensor, code: int, *, saturate: bool = True) -> Tensor:
    """A tensor in another ONNX element type.

    Integers below a byte wrap around; with ``saturate``, what is too large for an 8-bit float becomes its largest.
    """
    kind = torch_type(code)
    if code in _SMALL:
        low, high = _SMALL[code]
        return ((x.to(torch.int64) - low) % (high - low + 1) + low).to(kind)
    if kind.is_floating_point and kind.itemsize == 1:
        return to_eight_bits(x, kind, saturate=saturate)
    return x.to(kind)


def to_eight_bits(x: Tensor, kind: torch.dtype, *, saturate: bool = True) -> Tensor:
    """Real numbers as 8-bit floats: beyond the largest, that one with ``saturate``, else what the type has for it."""
    wide = x.float()
    most = torch.finfo(kind).max
    if saturate:
        return wide.clamp(-most, most).to(kind)
    # Halfway to what would be the next value is where rounding leaves the range.
    step = most - float(torch.tensor(most).to(kind).view(torch.uint8).sub(1).view(kind).float())
    beyond = wide.abs() >= most + step / 2
    lost = torch.full_like(wide, float("inf") if kind == torch.float8_e5m2 else float("nan")).copysign(wide)
    return torch.where(beyond, lost, wide.clamp(-most, most)).to(kind)


def widened(forward: Callable[P, R]) -> Callable[P, R]:
    """A forward that counts in int64 where torch does not calculate in the type, and answers in the type."""

    @functools.wraps(forward)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return forward(*args, **kwargs)
        except NotImplementedError:
            narrow = next((x.dtype for x in args if isinstance(x, Tensor) and x.dtype in UNSIGNED), None)
            if narrow is None:
                raise
            wide = (x.to(torch.int64) if isinstance(x, Tensor) and x.dtype in UNSIGNED else x for x in args)
            result = forward(*wide, **kwargs)  # type: ignore[arg-type]
            if isinstance(result, Tensor) and result.dtype == torch.int64:
                return result.to(narrow)  # type: ignore[return-value]
            return result

    return run
