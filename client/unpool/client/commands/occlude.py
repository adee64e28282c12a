"""``unpool occlude``: what hiding each place of a picture costs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from unpool.client.commands import question
from unpool.client.commands.connection import (
    JsonOption,
    ModelArgument,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connect,
)
from unpool.client.commands.output import plain, print_json, print_table, progress, say, warn
from unpool.client.errors import InvalidArgumentError
from unpool.client.heat import coloured
from unpool.client.occlusion import OcclusionGrid, TargetLike
from unpool.client.occlusion_requests import FillLike, ModeName
from unpool.client.occlusion_streams import OcclusionStream

_REFRESH_SECONDS = 0.2
_WIDEST = 64


def occlude(
    model: ModelArgument,
    images: question.ImagesArgument = None,
    *,
    window: Annotated[str, typer.Option("--window", "-w", metavar="N|H,W", help="Extent of the window.")] = "16",
    stride: Annotated[
        str | None, typer.Option("--stride", metavar="N|H,W", help="Steps between windows. Default: half a window.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="CLASS", help="A class, by index or name; may be repeated."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", "-k", min=0, metavar="K", help="Also the K strongest classes. Default: 1.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", metavar="L", help="Sum this layer's strongest feature map, too.")
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            "--fill", metavar="FILL", help="mean, black, white, grey, blur[:RADIUS], noise[:SEED], or R,G,B (0 to 255)."
        ),
    ] = "mean",
    probability: Annotated[bool, typer.Option("--probability", "-p", help="Softmax over the scores.")] = False,
    output_name: Annotated[
        str | None, typer.Option("--of-output", metavar="NAME", help="Which output gives the classes.")
    ] = None,
    mode: Annotated[str, typer.Option("--mode", metavar="auto|boxes|brute", help="How it is run.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Save grid and figures there.")
    ] = None,
    preview: Annotated[bool, typer.Option(help="Show the grid in the terminal as it comes.")] = True,
    tensor: question.TensorsOption = None,
    inputs: question.InputOption = None,
    of: question.OfOption = None,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Slide a window over pictures, sound, words or a table's row: what hiding each place costs, and a layer's map."""
    pictures = images or []
    tensors = tensor or []
    files = pictures or tensors
    several = len(files) > 1
    shown = question.read(files[0] if files else None, None, inputs, of)
    targets = read_targets(target or [])
    with connect(model, server, timeout) as (client, name):
        stream = client.occlude(
            name,
            images=images or None,
            tensors=question.examples(tensors) if tensors else None,
            inputs=shown.inputs,
            of=shown.of,
            window=read_extents(window, "--window"),
            stride=None if stride is None else read_extents(stride, "--stride"),
            targets=targets,
            top=(0 if targets or layer else 1) if top is None else top,
            layer=layer,
            projection=layer is not None,
            fill=read_fill(fill),
            output=output_name,
            probability=probability,
            mode=read_mode(mode),
            version=version,
        )
        warn(stream.header.warnings)
        if output is not None:
            # A folder that cannot be made is told before the work, not behind it.
            output.mkdir(parents=True, exist_ok=True)
        grids = _follow(stream, preview and not as_json)
    if output is not None:
        written = 0
        for number, grid in enumerate(grids):
            folder = output / f"{number}_{files[number].stem}" if several else output
            written += len(save(folder, grid, pictures[number] if pictures else None))
        say(f"{written} files in {output}")
    for number, grid in enumerate(grids):
        if as_json:
            print_json(({"picture" if pictures else "tensor": str(files[number])} if several else {}) | _values(grid))
    if not as_json:
        _print(grids, files if several else [])


def read_extents(text: str, field: str) -> list[int]:
    """One extent, or one per axis with commas.

    Raises:
        InvalidArgumentError: it is neither.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"{text!r} is not a number, or one per axis such as '16,32'", field=field) from None


def read_targets(texts: Sequence[str]) -> list[TargetLike]:
    """Classes, by index where a text is a number, else by name."""
    return [int(text) if text.lstrip("-").isdecimal() else text for text in texts]


def read_fill(text: str) -> FillLike:
    """A fill's name, or a colour as numbers with commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return text


def read_mode(text: str) -> ModeName:
    """The mode that an option names; the client refuses what is none."""
    return cast(ModeName, "brute force" if text == "brute" else text)


def save(folder: Path, grid: OcclusionGrid, image: Path | None) -> list[Path]:
    """Saves ``grid.npz``, ``occlusion.json``, the paper's panel and, with a picture, an overlay for each target.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [grid.save(folder / "grid.npz")]
    if len(grid.header.shape) == 2 and grid.header.stride:
        path = folder / "figure.png"
        grid.figure(image).save(path)
        written.append(path)
        for number, target in enumerate(grid.header.targets if image is not None else ()):
            assert image is not None
            path = folder / f"overlay_{number}_{target.index if target.index >= 0 else 'region'}.png"
            grid.overlay(image, target.key).save(path)
            written.append(path)
    path = folder / "occlusion.json"
    path.write_text(json.dumps(_values(grid), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return [*written, path]


def _follow(stream: OcclusionStream, preview: bool) -> list[OcclusionGrid]:
    """Drains the stream with a bar and, where the terminal can show it, the grids as they fill."""
    console = Console(stderr=True)
    header = stream.header
    drawn = preview and console.is_terminal and len(header.shape) == 2 and bool(header.targets or header.layer)
    if not drawn:
        with stream, progress() as bar:
            task = bar.add_task("occlude", total=stream.total)
            for tile in stream:
                bar.advance(task, len(tile.numbers))
        return list(stream.grids())
    shown = 0.0
    with stream, Live(console=console, transient=True, auto_refresh=False) as live:
        for tile in stream:
            if time.monotonic() - shown > _REFRESH_SECONDS or tile.completed == tile.header.total:
                shown = time.monotonic()
                live.update(sketch(stream.so_far(tile.header.example), tile.completed), refresh=True)
    return list(stream.grids())


def sketch(grid: OcclusionGrid, completed: int) -> Text:
    """The grid in half blocks, two rows in a line; what has not come yet takes the nearest coarse value."""
    values = grid.scores[grid.header.targets[0].key] if grid.header.targets else grid.layer_activation
    filled = nearest(np.asarray(values, np.float64))
    step = max(1, -(-filled.shape[1] // _WIDEST))
    colours = coloured(filled[::step, ::step])
    name = grid.header.targets[0].name if grid.header.targets else grid.header.alias or grid.header.layer
    text = Text(f"{name}: {completed} of {grid.header.total} positions\n")
    for top in range(0, len(colours), 2):
        for column in range(colours.shape[1]):
            upper = colours[top, column]
            lower = colours[top + 1, column] if top + 1 < len(colours) else None
            style = f"rgb({upper[0]},{upper[1]},{upper[2]})"
            if lower is not None:
                style += f" on rgb({lower[0]},{lower[1]},{lower[2]})"
            text.append("▀", style)
        text.append("\n")
    return text


def nearest(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Values (rows, columns) with every gap filled from the known value before it in the coarse grid."""
    found = values
    for axis in (1, 0):
        known = np.isfinite(found)
        shape = [1, 1]
        shape[axis] = -1
        index = np.where(known, np.arange(found.shape[axis]).reshape(shape), 0)
        found = np.take_along_axis(found, np.maximum.accumulate(index, axis), axis)
    return found


def _values(grid: OcclusionGrid) -> dict[str, object]:
    found: dict[str, object] = {"header": plain(grid.header), "targets": []}
    rows = []
    for target in grid.header.targets:
        drop = grid.drop(target.key)
        rows.append({"target": plain(target), "scores": plain(grid.scores[target.key].tolist()), "most": _most(drop)})
    found["targets"] = rows
    found["labels"] = grid.labels.tolist()
    if grid.header.layer:
        found["layer_activation"] = plain(grid.layer_activation.tolist())
    return found


def _most(drop: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, object]:
    """Where hiding costs most."""
    place = np.unravel_index(int(np.nanargmax(drop)), drop.shape)
    return {"place": [int(i) for i in place], "drop": float(drop[place])}


def _print(grids: Sequence[OcclusionGrid], files: Sequence[Path]) -> None:
    rows = []
    for number, grid, target in ((i, g, t) for i, g in enumerate(grids) for t in g.header.targets):
        drop = grid.drop(target.key)
        place = np.unravel_index(int(np.nanargmax(drop)), drop.shape)
        begin = [int(b[i]) for b, i in zip(grid.header.begins, place, strict=False)]
        rows.append(
            (
                *([files[number].name] if files else []),
                target.name,
                f"{target.baseline:.4g}",
                f"{float(np.nanmin(grid.scores[target.key])):.4g}",
                f"{float(drop[place]):.4g}",
                ", ".join(map(str, begin)),
            )
        )
    headings = ("TARGET", "WHOLE", "LOWEST", "LARGEST DROP", "HIDDEN FROM")
    if files:
        print_table(("FILE", *headings), rows, right=(2, 3, 4))
    else:
        print_table(headings, rows, right=(1, 2, 3))
