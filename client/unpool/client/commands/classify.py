"""``unpool classify``: what a model takes a picture for."""

from __future__ import annotations

from typing import Annotated

import typer

from unpool.client.commands import question
from unpool.client.commands.connection import (
    JsonOption,
    ModelArgument,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connect,
)
from unpool.client.commands.output import print_json, print_table, warn


def classify(
    model: ModelArgument,
    image: question.ImageArgument = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, metavar="K", help="How many classes.")] = 5,
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME", help="Output to read. Default: the first with classes.")
    ] = None,
    probability: Annotated[bool, typer.Option("--probability", "-p", help="Apply softmax to logits.")] = False,
    tensor: question.TensorOption = None,
    inputs: question.InputOption = None,
    of: question.OfOption = None,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the strongest classes of a picture."""
    shown = question.read(image, tensor, inputs, of)
    with connect(model, server, timeout) as (client, name):
        found = client.classify(
            name,
            shown.image,
            tensor=shown.tensor,
            inputs=shown.inputs,
            of=shown.of,
            top=top,
            output=output,
            probability=probability,
            version=version,
        )
    if as_json:
        print_json(found)
        return
    warn(found.warnings)
    rows = [(score.index, score.label, f"{score.score:.4g}") for score in found.classes]
    print_table(("CLASS", "LABEL", "PROBABILITY" if found.probability else "SCORE"), rows, right=(0, 2))
