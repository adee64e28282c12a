"""``unpool evolution``: how features came to be over the versions of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unpool.client import sheets
from unpool.client.commands.connection import JsonOption, ModelArgument, ServerOption, TimeoutOption, connect
from unpool.client.commands.exemplars import DatasetArgument
from unpool.client.commands.output import print_json, print_table, progress, say
from unpool.client.commands.project import PolicyChoice
from unpool.client.exemplars import EvolutionStep, Settling, VersionProgress
from unpool.client.results import CONTRAST


def evolution(
    model: ModelArgument,
    dataset: DatasetArgument,
    layer: Annotated[str, typer.Option("--layer", "-l", help="A layer of every version.", show_default=False)],
    channel: Annotated[
        list[int], typer.Option("--channel", "-c", min=0, metavar="C", help="A channel; repeat.", show_default=False)
    ],
    version: Annotated[
        list[int] | None, typer.Option("--version", min=1, metavar="N", help="A version; repeat. Default: all.")
    ] = None,
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
    """Show how features came to be: each version's strongest image, and how many features changed theirs."""
    steps: list[EvolutionStep] = []
    settled: list[Settling] = []
    with connect(model, server, timeout) as (client, name):
        stream = client.evolution(
            name,
            dataset,
            layer=layer,
            channels=channel,
            versions=version or (),
            policy=policy.word,
            signals=output is not None,
        )
        with stream, progress() as bar:
            task = bar.add_task("features", total=stream.total)
            for item in stream:
                if as_json:
                    print_json({type(item).__name__: item})
                match item:
                    case EvolutionStep():
                        steps.append(item)
                        bar.advance(task)
                    case Settling():
                        settled.append(item)
                    case VersionProgress():
                        bar.update(task, description=f"version {item.version}: {item.progress.phase}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        sheets.evolution(steps, contrast=contrast, title=f"{name}: {layer}").save(output)
        say(str(output))
    if not as_json:
        _print(steps, settled)


def _print(steps: list[EvolutionStep], settled: list[Settling]) -> None:
    rows = []
    for step in sorted(steps, key=lambda s: (s.channel, s.version)):
        found = step.strongest.exemplar if step.strongest is not None else None
        value = "" if found is None else f"{found.rank_value:.4g}"
        note = "dead" if found is None else "changed" if step.changed else ""
        rows.append((step.channel, step.version, value, "" if found is None else found.key, note))
    print_table(("CHANNEL", "VERSION", "VALUE", "IMAGE", "NOTE"), rows, right=(0, 1, 2))
    print_table(
        ("FROM", "TO", "CHANGED", "CHANNELS", "SHARE"),
        [(s.earlier, s.later, s.changed, s.channels, f"{s.share:.0%}") for s in settled],
        right=(0, 1, 2, 3, 4),
    )
