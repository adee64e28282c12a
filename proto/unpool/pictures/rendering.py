"""Signals to pictures: zero is mid grey, one scale for all colours, contrast raised on request."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.pictures.lines import draw_lines

GREY = 128
"""The level of zero, of the padding of tiles, and of a signal that is zero everywhere."""

_HALF_RANGE = 127.0
_MAX_ZOOM = 16
_GAP = 2


@dataclass(frozen=True)
class Rendered:
    """A picture of a signal with the scale it was drawn to.

    Attributes:
        image: 8 bits a channel, mode ``L`` or ``RGB``.
        magnitude: the magnitude that becomes black or white at gain 1, in the signal's units. 0 when the signal is 0
            everywhere and no magnitude was given.
    """

    image: Image.Image
    magnitude: float


def render_signal(
    signal: npt.NDArray[np.floating], *, gain: float = 1.0, magnitude: float | None = None, zoom: int = 1
) -> Rendered:
    """Draws a signal so that zero is mid grey (128), the largest magnitude 1 or 255, and both signs mirror each other.

    One scale holds for all channels of the signal, so that colours keep their proportions. Level of a value v:
    ``128 + round(127 * clip(gain * v / magnitude, -1, 1))``. Values that are not finite are drawn as 0.

    Args:
        signal: float (C, *plane). What is drawn depends on the plane and the channels:

            - (3, h, w): colours in RGB order, whatever order the model wants;
            - (1, h, w): grey;
            - (C, h, w) with other C: grey, brighter with the root of the mean square over the channels (zero stays mid
              grey; there is no dark side);
            - (C, d, h, w), a volume or a video: the three slices through the place of largest magnitude, each as above
              and two elements apart: (h, w), then (d, w), then (d, h); of still more axes the first ones are taken
              together by largest magnitude;
            - (C, n): the channels as lines over the axis, one strip of 48 pixels each, at most 16 strips;
            - (n,), such as an embedding: one line.
        gain: contrast; the signal is multiplied by this before it is cut off at black and white. The figure of Zeiler
            and Fergus 2013 has its contrast raised: 2 to 3 comes near.
        magnitude: magnitude that becomes black or white at gain 1, in the signal's units: give the same one to several
            signals to compare them. ``None`` (or 0) is the largest magnitude of this signal.
        zoom: side of the square of pixels that one element becomes, 1 to 16.

    Returns:
        The picture, (h * zoom, w * zoom) for signals over a plane, and the magnitude used.

    Raises:
        ValueError: ``signal`` has no axis or no element, ``gain`` or ``magnitude`` is negative or not finite, ``gain``
            is 0, or ``zoom`` is out of range.
    """
    if signal.ndim == 0 or signal.size == 0:
        raise ValueError(f"a signal needs an axis and an element to be drawn; this one has the shape {signal.shape}")
    if not (np.isfinite(gain) and gain > 0):
        raise ValueError(f"gain must be a positive number, not {gain}")
    if magnitude is not None and not (np.isfinite(magnitude) and magnitude >= 0):
        raise ValueError(f"magnitude must be 0 or a positive number, not {magnitude}")
    if not 1 <= zoom <= _MAX_ZOOM:
        raise ValueError(f"zoom must be from 1 to {_MAX_ZOOM}, not {zoom}")
    values = np.nan_to_num(np.asarray(signal, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    values = _drawable(values)
    scale = float(magnitude) if magnitude else float(np.abs(values).max())
    unit = np.clip(values / scale * gain, -1.0, 1.0) if scale > 0.0 else np.zeros_like(values)
    image = draw_lines(unit) if unit.ndim == 2 else _draw_plane(unit)
    if zoom > 1:
        image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    return Rendered(image, scale)


def pad_tile(image: Image.Image, size: tuple[int, int], offset: tuple[int, int]) -> Image.Image:
    """Lays a picture on a mid-grey tile, as where a receptive field reaches beyond the border of the plane.

    Args:
        image: the picture.
        size: (height, width) of the tile in pixels.
        offset: (top, left) of the picture in the tile; what falls outside is cut off.

    Returns:
        The tile, of the picture's mode.
    """
    tile = Image.new(image.mode, (size[1], size[0]), GREY if image.mode == "L" else (GREY,) * len(image.getbands()))
    tile.paste(image, (offset[1], offset[0]))
    return tile


def png_bytes(image: Image.Image) -> bytes:
    """Encodes a picture as PNG without loss; the same pixels always give the same bytes on one version of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _drawable(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if values.ndim == 1:
        return values[np.newaxis]
    while values.ndim > 4:
        strongest = np.abs(values).argmax(axis=1, keepdims=True)
        values = np.take_along_axis(values, strongest, axis=1)[:, 0]
    if values.ndim == 4:
        return _slices(values)
    if values.ndim == 3 and values.shape[0] not in (1, 3):
        return np.asarray(np.sqrt(np.square(values).mean(axis=0, keepdims=True)))
    return values


def _slices(volume: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The slices of a volume (C, d, h, w) through its strongest place, side by side, zeros between and below them."""
    _, z, y, x = np.unravel_index(np.abs(volume).argmax(), volume.shape)
    slices = [_drawable(part) for part in (volume[:, z], volume[:, :, y], volume[:, :, :, x])]
    height = max(part.shape[1] for part in slices)
    columns = []
    for part in slices:
        columns += [np.pad(part, ((0, 0), (0, height - part.shape[1]), (0, 0))), np.zeros((len(part), height, _GAP))]
    return np.concatenate(columns[:-1], axis=2)


def _draw_plane(unit: npt.NDArray[np.float64]) -> Image.Image:
    levels = (GREY + np.rint(unit * _HALF_RANGE)).astype(np.uint8)
    return Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(np.moveaxis(levels, 0, -1)))
