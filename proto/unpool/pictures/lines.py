"""Signals along one axis as lines: a strip per channel, zero in the middle of the strip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

_STRIP_HEIGHT = 48
_MAX_STRIPS = 16
_MAX_WIDTH = 2048
_PAPER, _AXIS, _INK = 255, 200, 40


def draw_lines(unit: npt.NDArray[np.float64]) -> Image.Image:
    """Draws each channel as a line over its axis.

    Args:
        unit: float64 (C, n) in -1 to 1. Beyond 16 channels the strongest 16 are drawn, in their own order; beyond 2048
            elements each column of pixels spans the least and the largest value of its share.

    Returns:
        A grey picture, (48 * strips, min(n, 2048)), never narrower than 64 pixels.
    """
    if len(unit) > _MAX_STRIPS:
        strongest = np.argsort(-np.abs(unit).max(axis=1), kind="stable")[:_MAX_STRIPS]
        unit = unit[np.sort(strongest)]
    strips = np.concatenate([_strip(channel) for channel in unit])
    if strips.shape[1] < 64:
        strips = np.repeat(strips, -(-64 // strips.shape[1]), axis=1)
    return Image.fromarray(strips)


def _strip(channel: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    width = min(len(channel), _MAX_WIDTH)
    starts = np.arange(width) * len(channel) // width
    low = np.minimum.reduceat(channel, starts)
    high = np.maximum.reduceat(channel, starts)
    # A column also reaches to its neighbour's values, or a steep line would fall apart into dots.
    low[1:], high[1:] = np.minimum(low[1:], high[:-1]), np.maximum(high[1:], low[:-1])
    middle = (_STRIP_HEIGHT - 1) / 2
    top = np.rint(middle - high * (middle - 1))
    bottom = np.rint(middle - low * (middle - 1))
    rows = np.arange(_STRIP_HEIGHT)[:, np.newaxis]
    strip = np.full((_STRIP_HEIGHT, width), _PAPER, dtype=np.uint8)
    strip[_STRIP_HEIGHT // 2] = _AXIS
    strip[(rows >= top) & (rows <= bottom)] = _INK
    return strip
