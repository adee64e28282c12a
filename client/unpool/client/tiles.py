"""Tiles: a projection, or the patch that its unit saw, on a tile of the receptive field's size, grey at borders."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from unpool.client.results import CONTRAST, Projection
from unpool.pictures import GREY, pad_tile

_BLOCKY_FROM = 6.0
"""From this enlargement on, elements are shown as the squares they are: smoothing would invent detail."""


def field_extents(projections: Iterable[Projection]) -> dict[str, tuple[int, int]]:
    """The tile of each layer: the largest box among its projections, (height, width) in elements.

    Boxes are clipped at borders, so that a unit inside shows the receptive field and one at a border less of it.
    """
    extents: dict[str, tuple[int, int]] = {}
    for projection in projections:
        if has_plane(projection):
            height, width = size(projection)
            known = extents.get(projection.layer, (1, 1))
            extents[projection.layer] = (max(height, known[0]), max(width, known[1]))
    return extents


def has_plane(projection: Projection) -> bool:
    """Whether the projection lies in a plane of rows and columns."""
    return len(projection.box) == 4


def size(projection: Projection) -> tuple[int, int]:
    """(height, width) of the box, in elements."""
    top, left, bottom, right = projection.box
    return bottom - top, right - left


def signal_tile(
    projection: Projection,
    extent: tuple[int, int] | None,
    side: int,
    *,
    contrast: float = CONTRAST,
    magnitude: float | None = None,
) -> Image.Image:
    """The projection, on a square tile of ``side`` pixels.

    Args:
        projection: what to draw.
        extent: (height, width) in elements that the tile shows, no smaller than the box; ``None`` is the box.
        side: of the tile, in pixels.
        contrast: see ``Projection.image``.
        magnitude: see ``Projection.image``.

    Returns:
        A picture of mode ``RGB``.
    """
    drawn = projection.image(contrast=contrast, magnitude=magnitude).convert("RGB")
    if not has_plane(projection):
        fitted = min(side / drawn.width, side / drawn.height)
        shape = (max(1, round(drawn.width * fitted)), max(1, round(drawn.height * fitted)))
        return _centred(drawn.resize(shape, Image.Resampling.BICUBIC), side)
    top, left, bottom, right = place(projection, extent or size(projection), side)
    zoom = (bottom - top) / drawn.height
    resample = Image.Resampling.NEAREST if zoom >= _BLOCKY_FROM else Image.Resampling.BICUBIC
    return pad_tile(drawn.resize((right - left, bottom - top), resample), (side, side), (top, left))


def patch_tile(
    projection: Projection, picture: Image.Image | None, extent: tuple[int, int] | None, side: int
) -> Image.Image:
    """What the unit saw: the part of the picture behind the projection's box, at the place and scale of its tile.

    Args:
        projection: whose unit.
        picture: the upright picture that was asked about (mode ``RGB``), or, where the request gave tensors, one that
            shows the whole input. ``None`` gives a grey tile, and so does a projection that does not end at the input.
        extent: as for ``signal_tile``.
        side: of the tile, in pixels.

    Returns:
        A picture of mode ``RGB``.

    Raises:
        ValueError: the picture is not of the size that the server saw.
    """
    grey = Image.new("RGB", (side, side), (GREY, GREY, GREY))
    geometry = projection.header.geometry
    if picture is None or not has_plane(projection) or (geometry.picture and projection.picture_box is None):
        return grey
    if geometry.picture and (picture.height, picture.width) != geometry.picture:
        raise ValueError(
            f"this picture is {picture.height} x {picture.width}, the server saw one of "
            f"{' x '.join(map(str, geometry.picture))}: not the same picture"
        )
    scale = geometry.scale or (
        picture.height / projection.header.to_plane[0],
        picture.width / projection.header.to_plane[1],
    )
    offset = geometry.offset or (0.0, 0.0)
    box = projection.box
    edges = [scale[edge % 2] * box[edge] + offset[edge % 2] for edge in range(4)]
    inside = [
        min(max(edges[edge], 0.0), float(geometry_size))
        for edge, geometry_size in zip(range(4), (picture.height, picture.width) * 2, strict=True)
    ]
    placed = place(projection, extent or size(projection), side)
    # Where a border was added around the picture, the box reaches beyond it: the patch then fills a part of its place.
    target = [
        round(
            placed[edge]
            + (inside[edge] - edges[edge])
            / (scale[edge % 2] * max(size(projection)[edge % 2], 1))
            * (placed[edge % 2 + 2] - placed[edge % 2])
        )
        for edge in range(4)
    ]
    if inside[2] <= inside[0] or inside[3] <= inside[1] or target[2] <= target[0] or target[3] <= target[1]:
        return grey
    cut = picture.resize(
        (target[3] - target[1], target[2] - target[0]),
        Image.Resampling.BICUBIC,
        box=(inside[1], inside[0], inside[3], inside[2]),
    )
    grey.paste(cut, (target[1], target[0]))
    return grey


def place(projection: Projection, extent: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Pixels (top, left, bottom, right) of the tile that the box fills."""
    pixels = side / max(extent)
    starts, ends = [], []
    for axis in range(2):
        lower, upper = projection.box[axis], projection.box[axis + 2]
        spare = max(0, extent[axis] - (upper - lower))
        cut_before, cut_behind = lower == 0, upper == projection.header.to_plane[axis]
        # The missing part lies on the side where the plane ends; where both do, or neither, it cannot be told.
        before = spare / 2 if cut_before == cut_behind else float(spare) if cut_before else 0.0
        margin = (side - extent[axis] * pixels) / 2
        starts.append(round(margin + before * pixels))
        ends.append(max(starts[-1] + 1, round(margin + (before + upper - lower) * pixels)))
    return starts[0], starts[1], ends[0], ends[1]


def _centred(image: Image.Image, side: int) -> Image.Image:
    return pad_tile(image, (side, side), ((side - image.height) // 2, (side - image.width) // 2))
