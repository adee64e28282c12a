"""Figures in the manner of Zeiler and Fergus 2013, Figure 2: projections beside the patches that the units saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from unpool.client.inputs import ImageLike, upright
from unpool.client.listing import PolicyName
from unpool.client.results import CONTRAST, Projection
from unpool.client.tiles import field_extents, patch_tile, signal_tile

_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_GAP = 4
_TEXT = 12
_LINE = 16


def caption(projection: Projection) -> str:
    """Names a feature: its layer, its channel or class label, and its activation."""
    return f"{projection.name} · {projection.label or projection.channel}  {projection.activation:.4g}"


def beside(
    projections: Sequence[Projection],
    image: ImageLike | None,
    *,
    columns: int = 3,
    side: int = 160,
    contrast: float = CONTRAST,
    magnitude: float | None = None,
    title: str = "",
) -> Image.Image:
    """Each projection with, on its right, the patch of the picture that the unit saw, and its name below.

    Both tiles show the receptive field at one scale, padded grey where it reaches beyond the plane.

    Args:
        projections: of one picture, of one or several layers.
        image: the picture they are about; ``None`` draws the projections alone.
        columns: features in a row.
        side: of a tile, in pixels.
        contrast: gain of the signals before black and white.
        magnitude: one scale for all signals; ``None`` scales each by its own largest magnitude.
        title: a line above.

    Raises:
        ValueError: there is no projection, signals were left out, or it is another picture.
    """
    extents = field_extents(projections)
    picture = None if image is None else upright(image)
    cells = []
    for projection in projections:
        extent = extents.get(projection.layer)
        tiles = [signal_tile(projection, extent, side, contrast=contrast, magnitude=magnitude)]
        if picture is not None:
            tiles.append(patch_tile(projection, picture, extent, side))
        cells.append(_row(tiles))
    return grid(cells, [caption(projection) for projection in projections], columns=columns, title=title)


def blocks(
    features: Mapping[str, Sequence[tuple[Projection, ImageLike]]],
    *,
    columns: int = 2,
    across: int = 3,
    side: int = 96,
    contrast: float = CONTRAST,
    title: str = "",
) -> Image.Image:
    """For each feature a block of projections, each from another picture or place, beside a block of their patches.

    With nine projections a feature this is the layout of the paper's Figure 2.

    Args:
        features: caption -> projections of the feature, each with the picture that it is about.
        columns: features in a row.
        across: tiles in a row of a block.
        side: of a tile, in pixels.
        contrast: gain of the signals before black and white.
        title: a line above.

    Raises:
        ValueError: there is no feature or one without projections, or a picture is another one.
    """
    extents = field_extents(projection for found in features.values() for projection, _ in found)
    cells = []
    for found in features.values():
        signals = [signal_tile(p, extents.get(p.layer), side, contrast=contrast) for p, _ in found]
        patches = [patch_tile(p, upright(image), extents.get(p.layer), side) for p, image in found]
        cells.append(_row([grid(signals, columns=across), grid(patches, columns=across)]))
    return grid(cells, list(features), columns=columns, title=title)


def compare(
    by_policy: Mapping[PolicyName, Sequence[Projection]],
    image: ImageLike | None,
    *,
    side: int = 160,
    contrast: float = CONTRAST,
    title: str = "",
) -> Image.Image:
    """One row for each unit: the patch that it saw, then its projection under each policy.

    Args:
        by_policy: policy -> projections. Those of one channel and position are one row; a gap stays empty.
        image: the picture they are about; ``None`` leaves the patches out.
        side: of a tile, in pixels.
        contrast: gain of the signals before black and white.
        title: a line above.

    Raises:
        ValueError: there is no projection, signals were left out, or it is another picture.
    """
    everything = [projection for projections in by_policy.values() for projection in projections]
    extents = field_extents(everything)
    picture = None if image is None else upright(image)
    rows: dict[tuple[str, int, tuple[int, ...]], dict[PolicyName, Projection]] = {}
    for policy, projections in by_policy.items():
        for projection in projections:
            unit = (projection.layer, projection.channel, projection.position)
            rows.setdefault(unit, {})[policy] = projection
    headings = [*(["patch"] if picture is not None else []), *by_policy]
    cells, captions = [], []
    for found in rows.values():
        first = next(iter(found.values()))
        tiles = [patch_tile(first, picture, extents.get(first.layer), side)] if picture is not None else []
        for policy in by_policy:
            tiles.append(
                signal_tile(found[policy], extents.get(first.layer), side, contrast=contrast)
                if policy in found
                else Image.new("RGB", (side, side), _PAPER)
            )
        cells.append(_row(tiles))
        captions.append(caption(first))
    figure = grid(cells, captions, columns=1)
    top = _canvas(figure.width, _LINE)
    for number, heading in enumerate(headings):
        _write(top, heading, (_GAP + number * (side + _GAP), 0), side)
    return _titled(_stack([top, figure]), title)


def grid(
    pictures: Sequence[Image.Image], captions: Sequence[str] = (), *, columns: int = 3, title: str = ""
) -> Image.Image:
    """Pictures in rows and columns, each with its caption below.

    Args:
        pictures: of any sizes; a cell is as large as the largest.
        captions: as many as pictures, or none; what is too long is cut.
        columns: pictures in a row.
        title: a line above.

    Raises:
        ValueError: there is no picture, as many captions as pictures are wanted, or ``columns`` is below 1.
    """
    if not pictures or columns < 1:
        raise ValueError("a figure needs a picture and a column")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = min(columns, len(pictures))
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures) + (_LINE if captions else 0)
    rows = math.ceil(len(pictures) / columns)
    figure = _canvas(columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    for number, picture in enumerate(pictures):
        left = _GAP + number % columns * (width + _GAP)
        top = _GAP + number // columns * (height + _GAP)
        figure.paste(picture, (left, top))
        if captions:
            _write(figure, captions[number], (left, top + picture.height + 1), width)
    return _titled(figure, title)


def _canvas(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _PAPER)


def _row(tiles: Sequence[Image.Image]) -> Image.Image:
    row = _canvas(sum(tile.width + _GAP for tile in tiles) - _GAP, max(tile.height for tile in tiles))
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width + _GAP
    return row


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    whole = _canvas(max(part.width for part in parts), sum(part.height for part in parts))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _titled(figure: Image.Image, title: str) -> Image.Image:
    if not title:
        return figure
    line = _canvas(figure.width, _LINE + _GAP)
    _write(line, title, (_GAP, _GAP), figure.width - 2 * _GAP)
    return _stack([line, figure])


def _write(canvas: Image.Image, text: str, at: tuple[int, int], width: int) -> None:
    font = ImageFont.load_default(_TEXT)
    shown = text
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = f"{shown.rstrip('…')[:-1]}…"
    ImageDraw.Draw(canvas).text(at, shown, fill=_INK, font=font)
