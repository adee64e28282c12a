"""Norms that files write out over axes that no operator of the standard normalises, in a domain of the house's own."""

from __future__ import annotations

import torch
from torch import Tensor

from unpool.graph.model import HOUSE, Node
from unpool.ops.base import operator
from unpool.ops.normalization import window_without
from unpool.ops.standardising import Average, over, standardising


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    value = node.attributes.get("axes")
    return tuple(int(a) for a in value) if isinstance(value, tuple) else ()


_OFF_ITS_AXES = window_without(_axes)


def _means(node: Node, rank: int) -> Average:
    return over(_axes(node, rank))


def _as_it_is(node: Node, scale: Tensor, rank: int) -> Tensor:
    return scale


@operator("LayerNormalization", 1, domain=HOUSE, window=_OFF_ITS_AXES, adjoint=standardising(_means, _as_it_is))
def layer_normalization(
    x: Tensor, scale: Tensor | None = None, b: Tensor | None = None, *, axes: tuple[int, ...], epsilon: float
) -> Tensor:
    """The given axes to mean 0 and variance 1, then scaled and shifted by what stretches to the shape of x."""
    centred = x - x.mean(axes, keepdim=True)
    y = _scaled(centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon), scale)
    return y if b is None else y + b


@operator(
    "RMSNormalization", 1, domain=HOUSE, window=_OFF_ITS_AXES, adjoint=standardising(_means, _as_it_is, centred=False)
)
def rms_normalization(x: Tensor, scale: Tensor | None = None, *, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """The given axes to root mean square 1, then scaled by what stretches to the shape of x."""
    return _scaled(x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon), scale)


@operator("L2Normalization", 1, domain=HOUSE, window=_OFF_ITS_AXES)
def l2_normalization(x: Tensor, *, axes: tuple[int, ...], epsilon: float, offset: float) -> Tensor:
    """The given axes over ``offset`` and their 2-norm, or ``epsilon`` where that is larger."""
    norm: Tensor = torch.linalg.vector_norm(x, 2, axes, keepdim=True)
    return x / (norm.clamp_min(epsilon) + offset)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale
