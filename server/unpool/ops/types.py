"""ONNX element types in torch."""

from __future__ import annotations

import torch

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
}


def torch_type(code: int) -> torch.dtype:
    """The torch type of an ONNX element type.

    Raises:
        NotImplementedError: torch has none, or it is not known here.
    """
    if code not in _TYPES:
        raise NotImplementedError(f"element type {code} is not known here")
    return _TYPES[code]


def is_floating(code: int) -> bool:
    """Whether an ONNX element type holds real numbers."""
    return code in _TYPES and _TYPES[code].is_floating_point
