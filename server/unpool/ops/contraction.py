"""Sums of products over named axes, and determinants."""

from __future__ import annotations

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import operator, whole
from unpool.ops.linearity import linear


def _one_moves(node: Node, constant: tuple[bool, ...]) -> bool:
    return sum(not c for c in constant) == 1


def _einsum(*data: Tensor, equation: str) -> Tensor:
    """Einstein's summation: axes that the result does not name are summed."""
    found: Tensor = torch.einsum(_spelt(equation), *data)
    return found


def _spelt(equation: str) -> str:
    """Without spaces, which torch does not read everywhere."""
    return equation.replace(" ", "")


operator("Einsum", 12, window=whole, adjoint=linear(_einsum, _one_moves))(_einsum)


@operator("Det", 11, 22, window=whole)
def det(x: Tensor) -> Tensor:
    """Determinants of the last two axes."""
    found: Tensor = torch.linalg.det(x)
    return found
