"""Boxes cut out of kept activations, with what an occluder changed laid over them: no loop over positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unpool.engine.boxes import Ints
from unpool.graph.model import Value


@dataclass(frozen=True, eq=False)
class Patch:
    """What some windows changed of one value, each on a box of its own.

    Attributes:
        value: units along the batch axis, boxes of one size along spatial ones.
        origins: spatial index -> where each box begins, int64 (units,); inside the plane.
    """

    value: Tensor
    origins: dict[int, Ints]


class Context:
    """One kept activation, padded, as a table of rows: a row is what stands at one place of the plane.

    Args:
        kept: the whole value for one image.
        value: its axes.
        axes: positions of the axes that boxes are cut along.
        before, behind: padding along each of them; a negative one cuts.
        outside: what stands in the padding.
    """

    def __init__(
        self,
        kept: Tensor,
        value: Value,
        axes: Sequence[int],
        before: Sequence[int],
        behind: Sequence[int],
        outside: float,
    ) -> None:
        assert value.batch_axis is not None
        self._axes = tuple(axes)
        self._before = tuple(before)
        rest = [i for i in range(kept.ndim) if i not in self._axes and i != value.batch_axis]
        self._order = [value.batch_axis, *self._axes, *rest]
        self._back = np.argsort(self._order).tolist()
        moved = kept.permute(self._order).select(0, 0)
        if any(before) or any(behind):
            amounts = [0, 0] * len(rest)
            for low, high in zip(reversed(self._before), reversed(tuple(behind)), strict=True):
                amounts += [low, high]
            moved = torch.nn.functional.pad(moved, amounts, value=outside)
        self._extents = tuple(moved.shape[: len(self._axes)])
        self._kept_shape = tuple(moved.shape[len(self._axes) :])
        self._table = moved.reshape(math.prod(self._extents), -1)

    def cut(self, origins: Sequence[Ints], sizes: Sequence[int]) -> Tensor:
        """The boxes of the kept activation: (units, *sizes, rest) in rows; see ``shaped``."""
        numbers = np.zeros((len(origins[0]),) + (1,) * len(sizes), np.int64)
        for i, (origin, size) in enumerate(zip(origins, sizes, strict=True)):
            shape = [len(origin)] + [1] * len(sizes)
            shape[1 + i] = size
            along = origin[:, None] + self._before[i] + np.arange(size)
            numbers = numbers * self._extents[i] + along.reshape(shape)
        rows = torch.from_numpy(numbers.reshape(-1)).to(self._table.device)
        return self._table.index_select(0, rows)

    def fill(self, origins: Sequence[Ints], sizes: Sequence[int], patch: Tensor, at: Sequence[Ints]) -> Tensor:
        """The kept activation in some boxes, with patches laid over it.

        Args:
            origins: where the boxes begin, one int64 (units,) per axis.
            sizes: the boxes' extents.
            patch: in the value's own layout, units along the batch axis.
            at: where the patches begin.

        Returns:
            The boxes, in the value's own layout.
        """
        return self.filled(origins, sizes, [(patch, at)])

    def filled(
        self, origins: Sequence[Ints], sizes: Sequence[int], patches: Sequence[tuple[Tensor, Sequence[Ints]]]
    ) -> Tensor:
        """The same with several patches, each with the places where it begins."""
        if len(patches) == 1 and self._covers(origins, sizes, *patches[0]):
            return patches[0][0]
        rows = self.cut(origins, sizes)
        for patch, at in patches:
            self._lay(rows, origins, sizes, patch, at)
        return self.shaped(rows, len(origins[0]), sizes)

    def _covers(self, origins: Sequence[Ints], sizes: Sequence[int], patch: Tensor, at: Sequence[Ints]) -> bool:
        """Whether patches are the boxes."""
        extents = tuple(patch.shape[axis] for axis in self._axes)
        return extents == tuple(sizes) and all(np.array_equal(a, o) for a, o in zip(at, origins, strict=True))

    def _lay(
        self, rows: Tensor, origins: Sequence[Ints], sizes: Sequence[int], patch: Tensor, at: Sequence[Ints]
    ) -> None:
        """Lays patches over rows."""
        units = len(origins[0])
        over = patch.permute(self._order)
        extents = over.shape[1 : 1 + len(sizes)]
        offsets = [a - o for a, o in zip(at, origins, strict=True)]
        uniform = all((d == d[0]).all() for d in offsets)
        if uniform and all(d[0] >= 0 and d[0] + n <= size for d, n, size in zip(offsets, extents, sizes, strict=True)):
            boxes = rows.view(units, *sizes, *self._kept_shape)
            inside = tuple(slice(int(d[0]), int(d[0]) + n) for d, n in zip(offsets, extents, strict=True))
            boxes[(slice(None), *inside)].copy_(over)
            return
        self._scatter(rows, over, offsets, extents, sizes)

    def shaped(self, rows: Tensor, units: int, sizes: Sequence[int]) -> Tensor:
        """Rows as boxes in the value's own layout."""
        return rows.view(units, *sizes, *self._kept_shape).permute(self._back)

    def _scatter(
        self, rows: Tensor, over: Tensor, offsets: Sequence[Ints], extents: Sequence[int], sizes: Sequence[int]
    ) -> None:
        """Patches that lie differently in their boxes, or stick out of them: row by row, in one piece of work."""
        units = len(offsets[0])
        numbers = np.arange(units).reshape((units,) + (1,) * len(sizes))
        valid = np.ones((units,) + (1,) * len(sizes), bool)
        for i, (offset, extent, size) in enumerate(zip(offsets, extents, sizes, strict=True)):
            shape = [units] + [1] * len(sizes)
            shape[1 + i] = extent
            along = offset[:, None] + np.arange(extent)
            numbers = numbers * size + along.reshape(shape)
            valid = valid & ((along >= 0) & (along < size)).reshape(shape)
        flat = numbers.reshape(-1)
        source = over.reshape(len(flat), -1)
        if not valid.all():
            chosen = np.flatnonzero(np.broadcast_to(valid, numbers.shape).reshape(-1))
            source = source.index_select(0, torch.from_numpy(chosen).to(source.device))
            flat = flat[chosen]
        rows.index_copy_(0, torch.from_numpy(flat).to(rows.device), source)
