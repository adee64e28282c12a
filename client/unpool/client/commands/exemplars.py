"""``unpool exemplars``: scan a data set, and show what excites features over it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from unpool.client import sheets
from unpool.client.commands.connection import (
    JsonOption,
    ModelArgument,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connect,
)
from unpool.client.commands.output import print_json, print_table, progress, say, warn
from unpool.client.commands.project import PolicyChoice
from unpool.client.errors import InvalidArgumentError
from unpool.client.exemplars import Channel, ExemplarProjection
from unpool.client.results import CONTRAST

DatasetArgument = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="Pictures, Parquet or arrays: path or URI, as the server sees it."),
]

exemplars = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@exemplars.callback()
def about() -> None:
    """Scan a data set for what excites every feature most, and show it."""


@exemplars.command("scan")
def scan(
    model: ModelArgument,
    dataset: DatasetArgument,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="A layer; may be repeated. Default: every rectifier.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Images kept of each channel.")] = 9,
    places: Annotated[int, typer.Option(min=1, help="Positions of one image among them, at most.")] = 1,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go once over a data set and keep every channel's strongest images; goes on where an earlier scan stopped."""
    with connect(model, server, timeout) as (client, name):
        stream = client.scan(name, dataset, layers=layer or (), k=k, places=places, version=version)
        header = stream.header
        if as_json:
            print_json({"header": header})
        if header.done and not header.complete:
            say(f"goes on: {header.done} of {header.records} records were done before")
        with stream, progress() as bar:
            tasks = {"images": bar.add_task("images", total=header.records, completed=header.done)}
            for found in stream:
                if as_json:
                    print_json({"progress": found})
                if found.phase not in tasks and found.phase != "done":
                    tasks[found.phase] = bar.add_task(found.phase, total=found.total)
                if found.phase in tasks:
                    bar.update(tasks[found.phase], completed=found.done)
        if found.skipped_count:
            warn(f"skipped {record.key}: {record.reason}" for record in found.skipped)
        if not as_json:
            rows = [(found.done, found.skipped_count, found.channels, found.dead, "complete before" * header.complete)]
            print_table(("IMAGES", "SKIPPED", "CHANNELS", "DEAD", ""), rows, right=(0, 1, 2, 3))


@exemplars.command("show")
def show(
    model: ModelArgument,
    layer: Annotated[str, typer.Option("--layer", "-l", help="The layer, as it was scanned.", show_default=False)],
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="As it was scanned. Default: the only one that was.")
    ] = None,
    channel: Annotated[
        list[int] | None, typer.Option("--channel", "-c", min=0, metavar="C", help="A channel; may be repeated.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="Exemplars of each; 0 is all.")] = 0,
    policy: Annotated[PolicyChoice, typer.Option("--policy", "-p", help="How the signal is carried down.")] = (
        PolicyChoice.deconvnet
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Save pictures there.")
    ] = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="With -o: a contact sheet of the layer (HTML).")] = False,
    contrast: Annotated[float, typer.Option(min=0.01, metavar="GAIN", help="Gain of the pictures.")] = CONTRAST,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a layer's exemplars: a table, and with -o projections beside patches."""
    if output is None and sheet:
        raise InvalidArgumentError("needs a folder to save to: -o DIR", field="--sheet")
    if output is not None and not (channel or sheet):
        raise InvalidArgumentError("name channels to draw, or ask for the --sheet of the layer", field="--channel")
    with connect(model, server, timeout) as (client, name):
        found = list(client.channels(name, layer=layer, channels=channel, dataset=dataset, version=version))
        drawn: list[ExemplarProjection] = []
        alive = [one.channel for one in found if one.exemplars]
        if output is not None and alive:
            output.mkdir(parents=True, exist_ok=True)
            stream = client.project_exemplars(
                name,
                layer=layer,
                channels=alive,
                count=count,
                policy=policy.word,
                dataset=dataset,
                version=version,
            )
            warn(stream.header.warnings)
            with stream, progress() as bar:
                task = bar.add_task("exemplars", total=stream.total)
                for one in stream:
                    drawn.append(one)
                    bar.advance(task)
    if output is not None:
        for path in _save(output, found, drawn, sheet=sheet, contrast=contrast):
            say(str(path))
    if as_json:
        print_json({"model": name, "channels": found})
    else:
        _print(found, count)


def _save(
    folder: Path, channels: list[Channel], drawn: list[ExemplarProjection], *, sheet: bool, contrast: float
) -> list[Path]:
    if not channels:
        return []
    stem = re.sub(r"[^\w.-]+", "-", channels[0].name).strip("-.") or "layer"
    written = []
    if sheet:
        page = sheets.sheet(channels, drawn, title=f"{channels[0].name}: exemplars", contrast=contrast)
        written.append(folder / f"{stem}.html")
        written[-1].write_text(page, encoding="utf-8")
    else:
        for channel in channels:
            mine = [one for one in drawn if one.exemplar.channel == channel.channel]
            if mine:
                written.append(folder / f"{stem}_c{channel.channel:04d}.png")
                sheets.features(mine, contrast=contrast).save(written[-1])
    return written


def _print(channels: list[Channel], count: int) -> None:
    rows: list[tuple[object, ...]] = []
    for channel in channels:
        if channel.dead:
            rows.append((channel.name, channel.channel, "", "", "", "", "", "dead"))
        for one in channel.exemplars[: count or None]:
            where = ", ".join(map(str, one.position))
            note = "cut" if one.cut else ""
            value = f"{one.rank_value:.4g}"
            rows.append((channel.name, channel.channel, one.place + 1, value, one.key, one.label, where, note))
    headings = ("LAYER", "CHANNEL", "PLACE", "VALUE", "IMAGE", "CLASS", "POSITION", "NOTE")
    print_table(headings, rows, right=(1, 2, 3))
