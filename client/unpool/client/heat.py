"""Grids of values as colours: dark blue is low, yellow is high; and classes as colours that differ."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image

_STOPS = np.array(
    [(24, 18, 68), (58, 52, 142), (33, 113, 181), (42, 168, 150), (139, 205, 88), (250, 229, 60)], np.float64
)
_UNKNOWN = (205, 205, 205)
_GOLDEN = 0.61803398875


def coloured(
    values: npt.NDArray[np.floating], low: float | None = None, high: float | None = None
) -> npt.NDArray[np.uint8]:
    """Values (rows, columns) as colours, uint8 (rows, columns, 3); light grey where a value is not known.

    Args:
        values: any finite numbers, NaN where unknown.
        low: what becomes the darkest; ``None`` is the lowest.
        high: what becomes the brightest; ``None`` is the highest.
    """
    known = np.isfinite(values)
    bottom = low if low is not None else float(values[known].min()) if known.any() else 0.0
    top = high if high is not None else float(values[known].max()) if known.any() else 1.0
    share = np.clip((np.where(known, values, bottom) - bottom) / (top - bottom if top > bottom else 1.0), 0, 1)
    at = share * (len(_STOPS) - 1)
    left = np.minimum(at.astype(np.int64), len(_STOPS) - 2)
    mixed = _STOPS[left] + (_STOPS[left + 1] - _STOPS[left]) * (at - left)[..., None]
    mixed[~known] = _UNKNOWN
    colours: npt.NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return colours


def class_colour(rank: int) -> tuple[int, int, int]:
    """A colour for the class that is the ``rank``-th most frequent."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + rank * _GOLDEN) % 1.0, 0.55, 0.9)
    return int(red * 255), int(green * 255), int(blue * 255)


def spread(small: npt.NDArray[np.uint8], height: int, width: int) -> Image.Image:
    """A grid of colours as a picture of blocks."""
    return Image.fromarray(small, "RGB").resize((width, height), Image.Resampling.NEAREST)
