"""``unpool layers``: what there is to project."""

from __future__ import annotations

from typing import Annotated

import typer

from unpool.client.commands.connection import (
    JsonOption,
    ModelArgument,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connect,
)
from unpool.client.commands.output import print_json, print_table, say
from unpool.client.listing import Field, Layer


def layers(
    model: ModelArgument,
    of: Annotated[
        str | None, typer.Option("--of", metavar="NAME", help="The input that receptive fields are counted from.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Also the layers without a short name.")] = False,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the layers of a model: short name, operator, channels, shape, receptive field, switches crossed."""
    with connect(model, server, timeout) as (client, name):
        found = list(client.layers(name, version=version, of=of))
    if as_json:
        print_json({"model": name, "layers": [{**_shape(layer), **_fields(layer)} for layer in found]})
        return
    # Files whose nodes have no names give no short ones: then the tensors' own names are all there is to ask by.
    every = every or not any(layer.alias for layer in found)
    shown = [layer for layer in found if every or layer.alias or layer.is_output]
    rows = [
        (
            layer.alias or layer.name,
            layer.op,
            layer.channels or "?",
            " x ".join(str(extent or "?") for extent in layer.shape),
            " x ".join(_field(field) for field in layer.receptive_field) or "-",
            layer.switches,
            layer.name,
        )
        for layer in shown
    ]
    headings = ("LAYER", "OPERATOR", "CHANNELS", "SHAPE", "RECEPTIVE FIELD", "SWITCHES", "TENSOR")
    print_table(headings, rows, right=(2, 5))
    if len(shown) < len(found):
        say(f"{len(found) - len(shown)} more have no short name: --all lists them")


def _field(field: Field) -> str:
    return "all" if field.whole else f"{field.size}/{field.stride:g}"


def _shape(layer: Layer) -> dict[str, object]:
    return {"shape": layer.shape, "roles": [axis.role for axis in layer.axes]}


def _fields(layer: Layer) -> dict[str, object]:
    names = ("name", "alias", "more_aliases", "node", "op", "dtype", "channels", "receptive_field", "is_output")
    return {**{name: getattr(layer, name) for name in names}, "switches": layer.switches}
