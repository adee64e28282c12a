"""Figures of occlusion: the panel of Zeiler and Fergus 2013, Figure 7, and what hiding costs laid over the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.client.figures import grid as laid_out
from unpool.client.heat import class_colour, coloured, spread
from unpool.client.inputs import ImageLike, upright
from unpool.client.occlusion import OcclusionGrid, TargetLike

_NAMED = 3
"""Classes of panel (e) that its caption names."""


def overlay(
    found: OcclusionGrid, image: ImageLike, key: TargetLike | None = None, *, strength: float = 0.6
) -> Image.Image:
    """The picture with what hiding each place costs laid over it.

    Each pixel shows the mean cost of the windows that hide it; pixels that no window hides keep their colour.

    Raises:
        ValueError: no picture was asked about, another picture, or a grid without rows and columns.
    """
    picture = upright(image)
    geometry = found.header.geometry
    if (picture.height, picture.width) != geometry.picture:
        raise ValueError("the grid is not about this picture")
    cost = found.drop(key)
    plane = _plane(found, cost)
    height, width = plane.shape
    known = np.isfinite(plane)
    heat = Image.fromarray(coloured(plane, low=0.0), "RGB")
    mask = Image.fromarray(np.where(known, np.uint8(round(255 * strength)), np.uint8(0)), "L")
    top, left = geometry.offset
    box = (
        round(left),
        round(top),
        round(left + geometry.scale[1] * width),
        round(top + geometry.scale[0] * height),
    )
    size = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
    result = picture.copy()
    result.paste(heat.resize(size, Image.Resampling.BILINEAR), box[:2], mask.resize(size, Image.Resampling.BILINEAR))
    return result


def panel(found: OcclusionGrid, image: ImageLike | None = None, *, side: int = 200) -> Image.Image:
    """The paper's panel: picture, (b) feature map, (c) its projection, (d) a map for each target, (e) classes.

    Raises:
        ValueError: a grid without rows and columns.
    """
    header = found.header
    _need_plane(found)
    tiles: list[Image.Image] = []
    captions: list[str] = []
    if image is not None:
        tiles.append(_shown(found, upright(image), side))
        captions.append(f"(a) window {' by '.join(map(str, header.window))}")
    if header.layer:
        tiles.append(spread(coloured(found.layer_activation), side, side))
        captions.append(f"(b) {header.alias or header.layer} · {header.channel}, sum {header.map_sum:.4g} whole")
    if found.projection is not None:
        drawn = found.projection.image(whole=len(found.projection.header.to_plane) == 2).convert("RGB")
        tiles.append(drawn.resize((side, side), Image.Resampling.BICUBIC))
        captions.append(f"(c) projection of channel {found.projection.channel}")
    for target in header.targets:
        tiles.append(spread(coloured(found.scores[target.key]), side, side))
        word = "probability" if header.probability and target.index >= 0 else "score"
        captions.append(f"(d) {word} of {target.name}, {target.baseline:.3g} whole")
    if header.label_output:
        tiles.append(_classes(found, side))
        captions.append(f"(e) {_names(found)}")
    return laid_out(tiles, captions, columns=min(4, len(tiles)))


def _shown(found: OcclusionGrid, picture: Image.Image, side: int) -> Image.Image:
    """The part of the picture that the input shows."""
    geometry = found.header.geometry
    if (picture.height, picture.width) == geometry.picture:
        top, left = geometry.offset
        high, wide = (s * n for s, n in zip(geometry.scale, geometry.plane, strict=True))
        picture = picture.crop((round(left), round(top), round(left + wide), round(top + high)))
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def _classes(found: OcclusionGrid, side: int) -> Image.Image:
    colours = np.full((*found.labels.shape, 3), 205, np.uint8)
    for rank, index in enumerate(found.label_names()):
        colours[found.labels == index] = class_colour(rank)
    return spread(colours, side, side)


def _names(found: OcclusionGrid) -> str:
    known = {target.index: target.label for target in found.header.targets if target.label}
    known[found.header.label_index] = found.header.label
    named = [known.get(index) or str(index) for index in list(found.label_names())[:_NAMED]]
    return "most probable: " + ", ".join(named)


def _plane(found: OcclusionGrid, cost: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The mean cost of the windows over each element of the input's plane; NaN where none is."""
    header = found.header
    _need_plane(found)
    height, width = header.geometry.plane
    # Sums over rectangles by differences at their corners.
    total, count = np.zeros((height + 1, width + 1)), np.zeros((height + 1, width + 1))
    known = np.isfinite(cost)
    rows, columns = np.meshgrid(*header.begins, indexing="ij")
    tops, lefts, values = rows[known], columns[known], cost[known].astype(np.float64)
    bottoms, rights = tops + header.window[0], lefts + header.window[1]
    for down, across, sign in ((tops, lefts, 1), (tops, rights, -1), (bottoms, lefts, -1), (bottoms, rights, 1)):
        np.add.at(total, (down, across), sign * values)
        np.add.at(count, (down, across), sign)
    total, count = total.cumsum(0).cumsum(1)[:-1, :-1], count.cumsum(0).cumsum(1)[:-1, :-1]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _need_plane(found: OcclusionGrid) -> None:
    if len(found.header.shape) != 2 or len(found.header.geometry.plane) != 2 or not found.header.stride:
        raise ValueError("only a grid of rows and columns can be drawn")
