"""Operators of ai.onnx.ml that stand in front of a network: what scikit-learn's pipelines put there."""

from __future__ import annotations

from torch import Tensor

from unpool.ops.base import operator, whole
from unpool.ops.linearity import linear

DOMAIN = "ai.onnx.ml"


def _scaler(x: Tensor, *, offset: tuple[float, ...] = (), scale: tuple[float, ...] = ()) -> Tensor:
    """(x - offset) * scale, for each feature or for all alike: x (N, F) -> (N, F), float32."""
    y = x.float()
    if offset:
        y = y - y.new_tensor(offset)
    return y * y.new_tensor(scale) if scale else y


operator("Scaler", 1, domain=DOMAIN, window=whole, adjoint=linear(_scaler))(_scaler)
