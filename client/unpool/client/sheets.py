"""Pictures of exemplars: Figure 2 of Zeiler and Fergus 2013 for features, Figure 4 for their evolution, and a sheet.

The sheet is one HTML file with everything in it: no script, font or picture is fetched.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from unpool.client import figures
from unpool.client.exemplars import Channel, ComparedFeature, EvolutionStep, ExemplarProjection
from unpool.client.results import CONTRAST
from unpool.client.tiles import field_extents, place, signal_tile
from unpool.pictures import GREY, pad_tile

_CUT = "cut by the border"
_STYLE = (
    "body{font:13px sans-serif;margin:1em;background:#fff;color:#222}input{font:inherit;padding:.3em;width:24em}"
    "section{display:inline-block;vertical-align:top;margin:.4em;padding:.4em;border:1px solid #ddd}"
    "img{display:block;margin-top:.3em}small{color:#777}"
)
_SEARCH = (
    "const box=document.querySelector('input');box.oninput=()=>{const words=box.value.toLowerCase().split(/\\s+/);"
    "for(const s of document.querySelectorAll('section'))"
    "s.hidden=!words.every(w=>s.dataset.text.includes(w))};"
)


def patch_tile(found: ExemplarProjection, extent: tuple[int, int] | None, side: int) -> Image.Image:
    """What the unit saw, at the place and scale of its projection's tile; grey where the border cut it.

    Args:
        found: with its patch.
        extent: as for ``tiles.signal_tile``.
        side: of the tile, in pixels.
    """
    patch = found.patch
    if patch is None or len(found.projection.box) != 4:
        return Image.new("RGB", (side, side), (GREY, GREY, GREY))
    box = found.projection.box
    top, left, bottom, right = place(found.projection, extent or (box[2] - box[0], box[3] - box[1]), side)
    drawn = patch.convert("RGB").resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    return pad_tile(drawn, (side, side), (top, left))


def features(
    found: Iterable[ExemplarProjection], *, across: int = 3, side: int = 96, contrast: float = CONTRAST, title: str = ""
) -> Image.Image:
    """For each channel a block of projections beside a block of their patches, as in the paper's Figure 2.

    Args:
        found: projections of exemplars, in any order.
        across: tiles in a row of a block.
        side: of a tile, in pixels.
        contrast: gain of the signals.
        title: a line above.

    Raises:
        ValueError: there is none, or signals were left out.
    """
    grouped: dict[tuple[str, int], list[ExemplarProjection]] = {}
    for one in sorted(found, key=lambda p: (p.exemplar.channel, p.exemplar.place)):
        grouped.setdefault((one.projection.name, one.exemplar.channel), []).append(one)
    extents = field_extents(one.projection for some in grouped.values() for one in some)
    cells, captions = [], []
    for (name, channel), some in grouped.items():
        cells.append(_block(some, extents, across, side, contrast))
        captions.append(f"{name} · {channel}  {_cut_note(some)}".rstrip())
    return figures.grid(cells, captions, columns=2, title=title)


def evolution(
    steps: Iterable[EvolutionStep], *, side: int = 72, contrast: float = CONTRAST, title: str = ""
) -> Image.Image:
    """A row for each channel, a column for each version: the strongest image's projection above its patch (Figure 4).

    Args:
        steps: of an evolution, in any order.
        side: of a tile, in pixels.
        contrast: gain of the signals.
        title: a line above.

    Raises:
        ValueError: there is none, or signals were left out.
    """
    known = {(step.channel, step.version): step for step in steps}
    channels, versions = (list(dict.fromkeys(sorted(axis))) for axis in zip(*known, strict=True)) if known else ([], [])
    shown = [step.strongest for step in known.values() if step.strongest is not None]
    extents = field_extents(one.projection for one in shown)
    cells, captions = [], []
    for channel in channels:
        for version in versions:
            step = known.get((channel, version))
            one = step.strongest if step is not None else None
            tiles = [Image.new("RGB", (side, side), (GREY, GREY, GREY))] * 2
            if one is not None:
                extent = extents.get(one.projection.layer)
                tiles = [signal_tile(one.projection, extent, side, contrast=contrast), patch_tile(one, extent, side)]
            cells.append(figures.grid(tiles, columns=1))
            dead = "" if one is not None else " dead"
            cut = " (cut)" if one is not None and one.exemplar.cut else ""
            captions.append(f"{channel} @{version}{dead}{cut}")
    return figures.grid(cells, captions, columns=max(1, len(versions)), title=title)


def comparison(
    found: Iterable[ComparedFeature], *, across: int = 3, side: int = 72, contrast: float = CONTRAST, title: str = ""
) -> Image.Image:
    """A row for each feature, a column for each side: a block of projections beside a block of their patches.

    Args:
        found: features of a comparison, in any order.
        across: tiles in a row of a block.
        side: of a tile, in pixels.
        contrast: gain of the signals.
        title: a line above.

    Raises:
        ValueError: there is none, or signals were left out.
    """
    known = {(one.feature, one.side): one for one in found}
    sides = sorted({number for _, number in known})
    # Layers of one name may see fields of different size in different networks.
    extents = {
        number: field_extents(p.projection for (_, at), one in known.items() if at == number for p in one.exemplars)
        for number in sides
    }
    cells, captions = [], []
    for feature in sorted({feature for feature, _ in known}):
        tallest = max(len(one.exemplars) for (at, _), one in known.items() if at == feature)
        rows = max(1, -(-tallest // across))
        for number in sides:
            one = known.get((feature, number))
            blank = Image.new("RGB", (side, side), (GREY, GREY, GREY))
            if one is not None and one.exemplars:
                cells.append(_block(one.exemplars, extents[number], across, side, contrast))
            else:
                empty = figures.grid([blank] * (across * rows), columns=across)
                cells.append(figures.grid([empty, empty], columns=2))
            captions.append(_compared_caption(one) if one is not None else "")
    return figures.grid(cells, captions, columns=max(1, len(sides)), title=title)


def _compared_caption(one: ComparedFeature) -> str:
    if one.channel is None:
        return f"{one.about.name} · none alike"
    state = "dead" if not one.firing_rate else f"fires on {one.firing_rate:.0%}"
    shared = f"  shares {one.shared}" if one.side else ""
    return f"{one.about.name} · {one.channel}  {state}{shared}  {_cut_note(one.exemplars)}".rstrip()


def sheet(
    channels: Sequence[Channel],
    found: Iterable[ExemplarProjection],
    *,
    title: str,
    side: int = 48,
    contrast: float = CONTRAST,
) -> str:
    """A contact sheet of a layer as one HTML page, which can be scrolled and searched by channel, image and class.

    Args:
        channels: what to show, in this order.
        found: projections of their exemplars; with none of a channel its images are only named.
        title: of the page.
        side: of a tile, in pixels.
        contrast: gain of the signals.

    Returns:
        The page; a script and pictures are in it, nothing is fetched.
    """
    grouped: dict[int, list[ExemplarProjection]] = {}
    for one in sorted(found, key=lambda p: p.exemplar.place):
        grouped.setdefault(one.exemplar.channel, []).append(one)
    extents = field_extents(one.projection for some in grouped.values() for one in some)
    sections = [_section(channel, grouped.get(channel.channel, []), extents, side, contrast) for channel in channels]
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head>"
        f'<body><h1>{name}</h1><p><input placeholder="search: channel, image, class, dead, cut" autofocus></p>'
        f"{''.join(sections)}<script>{_SEARCH}</script></body></html>\n"
    )


def _section(
    channel: Channel,
    some: Sequence[ExemplarProjection],
    extents: Mapping[str, tuple[int, int]],
    side: int,
    contrast: float,
) -> str:
    keys = " ".join(f"{e.key} {e.label}" for e in channel.exemplars)
    note = _cut_note(some)
    state = "dead" if channel.dead else f"fires on {channel.firing_rate:.0%}, largest {channel.maximum:.4g}"
    words = html.escape(f"{channel.name} {channel.channel} {keys} {state} {note}".lower(), quote=True)
    picture = ""
    if some:
        block = _block(some, extents, 3, side, contrast)
        buffer = io.BytesIO()
        # A layer has hundreds of channels: small pictures make a page that a browser opens at once.
        block.save(buffer, "WEBP", quality=80)
        data = base64.b64encode(buffer.getvalue()).decode()
        names = html.escape(", ".join(e.key for e in channel.exemplars), quote=True)
        size = f'width="{block.width}" height="{block.height}"'
        picture = f'<img {size} title="{names}" alt="{names}" src="data:image/webp;base64,{data}">'
    label = html.escape(f"{channel.name} · {channel.channel}")
    return (
        f'<section data-text="{words}"><b>{label}</b> <small>{html.escape(state)}'
        f"{f'; {note}' if note else ''}</small>{picture}</section>"
    )


def _block(
    some: Sequence[ExemplarProjection], extents: Mapping[str, tuple[int, int]], across: int, side: int, contrast: float
) -> Image.Image:
    signals = [signal_tile(p.projection, extents.get(p.projection.layer), side, contrast=contrast) for p in some]
    patches = [patch_tile(p, extents.get(p.projection.layer), side) for p in some]
    return figures.grid([figures.grid(signals, columns=across), figures.grid(patches, columns=across)], columns=2)


def _cut_note(some: Sequence[ExemplarProjection]) -> str:
    cut = [str(one.exemplar.place + 1) for one in some if one.exemplar.cut]
    return f"{_CUT}: {', '.join(cut)}" if cut else ""
