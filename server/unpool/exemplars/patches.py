"""What an exemplar's unit saw, as a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from unpool.exemplars.dataset import DataSet
from unpool.exemplars.examples import picture_of
from unpool.exemplars.results import Exemplar
from unpool.graph.errors import PreconditionError, UnpoolError
from unpool.graph.model import Array, Graph


def patch(dataset: DataSet, exemplar: Exemplar, graph: Graph) -> Image.Image | None:
    """The part of the upright picture behind the receptive field; of a tensor, the part inside it, drawn.

    Returns:
        The picture; ``None`` where a tensor has other than one or three channels over a plane of two axes.

    Raises:
        PreconditionError: the image cannot be read any more.
    """
    record = next(iter(dataset.read([exemplar.image])))
    if record.tensor is not None:
        return _drawn(record.tensor, exemplar, graph)
    if record.fault:
        raise PreconditionError(f"'{record.key}' cannot be read any more: {record.fault}")
    try:
        picture = picture_of(record)
    except UnpoolError as error:
        raise PreconditionError(f"'{record.key}' cannot be read any more: {error}") from error
    if exemplar.picture_box is None:
        return picture
    (top, left), (bottom, right) = exemplar.picture_box
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _drawn(tensor: Array, exemplar: Exemplar, graph: Graph) -> Image.Image | None:
    value = graph.values[graph.inputs[0]]
    if value.channel_axis is None or len(value.spatial_axes) != 2 or len(exemplar.box[0]) != 2:
        return None
    axis = value.channel_axis - (value.batch_axis is not None and value.batch_axis < value.channel_axis)
    planes = np.moveaxis(np.asarray(tensor, np.float32), axis, -1)
    if planes.shape[-1] not in (1, 3):
        return None
    low, high = float(planes.min()), float(planes.max())
    (top, left), (bottom, right) = exemplar.box
    levels = (planes[top:bottom, left:right] - low) / max(high - low, 1e-12) * 255
    pixels = np.rint(levels).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
