"""``unpool compare``: the same features of two models or versions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unpool.client import sheets
from unpool.client.commands.connection import JsonOption, ServerOption, TimeoutOption, beside, connect
from unpool.client.commands.exemplars import DatasetArgument
from unpool.client.commands.output import print_json, print_table, progress, say
from unpool.client.commands.project import PolicyChoice
from unpool.client.exemplars import ComparedFeature, Side
from unpool.client.results import CONTRAST


def compare(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]",
            help="Name of a model on the server; or, with no server named, the path of its folder in a repository.",
            show_default=False,
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            metavar="OTHER[@VERSION]", help="What it is compared with, in the same repository.", show_default=False
        ),
    ],
    dataset: DatasetArgument,
    layer: Annotated[str, typer.Option("--layer", "-l", help="A layer of the first.", show_default=False)],
    channel: Annotated[
        list[int], typer.Option("--channel", "-c", min=0, metavar="C", help="Its channel; repeat.", show_default=False)
    ],
    other_layer: Annotated[
        str | None, typer.Option("--other-layer", help="The layer of the other. Default: of the same name.")
    ] = None,
    other_channel: Annotated[
        list[int] | None,
        typer.Option("--other-channel", min=0, metavar="C", help="One for each channel. Default: the same numbers."),
    ] = None,
    match: Annotated[
        bool, typer.Option("--match", help="Look for the other's channels that share most images with the first's.")
    ] = False,
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="Exemplars of each; 0 is all.")] = 0,
    policy: Annotated[PolicyChoice, typer.Option("--policy", "-p", help="How the signal is carried down.")] = (
        PolicyChoice.deconvnet
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.png", dir_okay=False, help="Save a figure there.")
    ] = None,
    contrast: Annotated[float, typer.Option(min=0.01, metavar="GAIN", help="Gain of the pictures.")] = CONTRAST,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the same features of two models or versions side by side, by what excites them most over a data set."""
    (first, version), (second, other_version) = _parted(model), _parted(other)
    found: list[ComparedFeature] = []
    with connect(first, server, timeout) as (client, name):
        stream = client.compare(
            [
                Side(name, version),
                Side(
                    beside(first, name, second, server),
                    other_version,
                    other_layer,
                    tuple(other_channel) if other_channel else None,
                ),
            ],
            dataset,
            layer=layer,
            channels=channel,
            match=match,
            count=count,
            policy=policy.word,
            signals=output is not None,
        )
        names = [side.name for side in stream.header.sides]
        with stream, progress() as bar:
            task = bar.add_task("features", total=stream.total)
            for item in stream:
                if as_json:
                    print_json({type(item).__name__: item})
                if isinstance(item, ComparedFeature):
                    found.append(item)
                    bar.advance(task)
                else:
                    bar.update(task, description=f"{names[item.side]}: {item.progress.phase}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        sheets.comparison(found, contrast=contrast, title=f"{names[0]} and {names[1]}").save(output)
        say(str(output))
    if not as_json:
        _print(found)


def _parted(word: str) -> tuple[str, int | None]:
    """A name or path, and the version behind its ``@``."""
    name, _, version = word.rpartition("@")
    return (name, int(version)) if name and version.isdecimal() else (word, None)


def _print(found: list[ComparedFeature]) -> None:
    rows = []
    for one in sorted(found, key=lambda f: (f.feature, f.side)):
        keys = ", ".join(p.exemplar.key for p in one.exemplars[:3])
        note = "none alike" if one.channel is None else "dead" if not one.firing_rate else ""
        channel = "" if one.channel is None else str(one.channel)
        rate = "" if one.channel is None else f"{one.firing_rate:.0%}"
        largest = "" if one.channel is None or not one.firing_rate else f"{one.maximum:.4g}"
        rows.append((one.feature, one.about.name, channel, rate, largest, one.shared, keys, note))
    headings = ("FEATURE", "SIDE", "CHANNEL", "FIRES ON", "LARGEST", "SHARED", "IMAGES", "NOTE")
    print_table(headings, rows, right=(0, 2, 3, 4, 5))
