"""Where the plane of an input lies in the picture that it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """The affine map from an input's plane to the upright picture, axis by axis: rows, then columns.

    Attributes:
        picture: (height, width) of the picture in pixels.
        plane: (height, width) of the input in elements.
        scale, offset: the edge x of a box in the input lies at scale * x + offset in the picture.
    """

    picture: tuple[int, int]
    plane: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def picture_box(self, lower: tuple[int, ...], upper: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
        """A half-open box (rows, columns) of the input in pixels of the picture, rounded outward and clipped to it."""
        found = []
        for axis in (0, 1):
            # Rounding noise of the map must not widen a box by a pixel.
            low = math.floor(self.scale[axis] * lower[axis] + self.offset[axis] + 1e-6)
            high = math.ceil(self.scale[axis] * upper[axis] + self.offset[axis] - 1e-6)
            extent = self.picture[axis]
            low = min(max(low, 0), extent)
            found.append((low, min(max(high, low), extent)))
        return (found[0][0], found[1][0]), (found[0][1], found[1][1])
