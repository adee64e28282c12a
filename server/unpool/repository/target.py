"""Which input of a model takes pictures, and how it lays them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt

from unpool.graph.model import Array, Dim, Graph, Value

_DTYPES: Mapping[str, npt.DTypeLike] = {
    "float32": np.float32,
    "float16": np.float16,
    "float64": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "uint8": np.uint8,
}


@dataclass(frozen=True)
class PictureInput:
    """An input that takes pictures.

    Attributes:
        name: its name.
        dtype: NumPy dtype name.
        rank: number of axes.
        channel, row, column: positions of its axes; the others have extent 1 when one picture is fed.
        channels: 1 or 3.
        height, width: extents; ``None`` where the picture decides.
    """

    name: str
    dtype: str
    rank: int
    channel: int
    row: int
    column: int
    channels: int
    height: int | None
    width: int | None

    @property
    def integer(self) -> bool:
        """The input takes pixel values as they are."""
        return self.dtype == "uint8"

    def arrange(self, values: npt.NDArray[np.float32]) -> Array:
        """One example (C, H, W) in the input's own layout and dtype, its batch axis of extent 1."""
        order = sorted((position, source) for source, position in enumerate((self.channel, self.row, self.column)))
        array = values.transpose([source for _, source in order])
        taken = {position for position, _ in order}
        array = np.expand_dims(array, [i for i in range(self.rank) if i not in taken])
        if self.integer:
            array = np.clip(np.rint(array), 0, 255)
        return np.ascontiguousarray(array.astype(_DTYPES[self.dtype]))


def picture_input(graph: Graph, sizes: Mapping[str, tuple[int, ...]]) -> PictureInput | None:
    """The input that takes pictures, or ``None``: the only one, of one or three channels over a plane of two axes.

    Args:
        graph: the model.
        sizes: input name -> extents from elsewhere (Triton's configuration), batch axis included or not; -1 is free.
    """
    if len(graph.inputs) != 1:
        return None
    value = graph.values[graph.inputs[0]]
    if value.shape is None or value.dtype not in _DTYPES:
        return None
    shape = _completed(value.shape, sizes.get(value.name, ()))
    axes = _axes(value, shape)
    if axes is None:
        return None
    channel, row, column = axes
    channels = shape[channel]
    rest = [shape[i] for i in range(len(shape)) if i not in axes]
    # One axis more may be there, the batch; a fixed extent other than 1 cannot be fed one picture.
    if not isinstance(channels, int) or channels not in (1, 3) or len(rest) > 1:
        return None
    return PictureInput(
        name=value.name,
        dtype=value.dtype,
        rank=len(shape),
        channel=channel,
        row=row,
        column=column,
        channels=channels,
        height=_known(shape[row]),
        width=_known(shape[column]),
    )


def _known(extent: Dim) -> int | None:
    return extent if isinstance(extent, int) else None


def _completed(shape: tuple[Dim, ...], sizes: tuple[int, ...]) -> tuple[Dim, ...]:
    """What the file leaves open, filled in from the configuration where both have the same axes."""
    if len(sizes) not in (len(shape), len(shape) - 1):
        return shape
    wanted = (-1,) * (len(shape) - len(sizes)) + sizes
    return tuple(
        other if not isinstance(extent, int) and other > 0 else extent
        for extent, other in zip(shape, wanted, strict=True)
    )


def _axes(value: Value, shape: tuple[Dim, ...]) -> tuple[int, int, int] | None:
    spatial = value.spatial_axes
    if value.channel_axis is not None and len(spatial) == 2:
        first, second = spatial.values()
        return value.channel_axis, first, second
    # No labels, in a graph that flattens its input at once: the usual layouts are told by where the colours are.
    if not spatial and len(shape) == 4:
        if shape[1] in (1, 3) and shape[3] not in (1, 3):
            return 1, 2, 3
        if shape[3] in (1, 3) and shape[1] not in (1, 3):
            return 3, 1, 2
    return None
