"""``unpool project``: what units of a layer see in a picture."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

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
from unpool.client.commands.output import print_json, print_table, progress, say, warn
from unpool.client.commands.saving import save
from unpool.client.errors import InvalidArgumentError
from unpool.client.listing import PolicyName
from unpool.client.requests import PositionsLike, StartLike
from unpool.client.results import CONTRAST, Projection, ProjectionHeader
from unpool.client.streams import Stream


class PolicyChoice(enum.Enum):
    """``PolicyName`` as typer can offer it several times."""

    deconvnet = "deconvnet"
    guided = "guided"
    gradient = "gradient"

    @property
    def word(self) -> PolicyName:
        """The name that the client takes."""
        return self.value


def project(
    model: ModelArgument,
    image: question.ImageArgument = None,
    *,
    layer: Annotated[
        str, typer.Option("--layer", "-l", metavar="L", help="Short name or tensor name; see 'unpool layers'.")
    ],
    channel: Annotated[
        list[int] | None, typer.Option("--channel", "-c", min=0, metavar="C", help="A channel; may be repeated.")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", "-k", min=1, metavar="K", help="Instead: the K strongest. Default: 9.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DATASET", help="Rank them among the images of this scanned data set."),
    ] = None,
    policy: Annotated[
        list[PolicyChoice] | None,
        typer.Option("--policy", "-p", help="How the signal is carried down; repeat to compare. Default: deconvnet."),
    ] = None,
    positions: Annotated[
        str, typer.Option("--positions", metavar="max|all|map|Y,X", help="Which places; 'Y,X Y,X' for several.")
    ] = "max",
    start: Annotated[
        str | None, typer.Option("--start", metavar="activation|one|VALUE", help="Default: that of the policy.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TENSOR", help="Where to end. Default: the input.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Save pictures there.")
    ] = None,
    npz: Annotated[bool, typer.Option("--npz", help="With -o: save the signals as well.")] = False,
    contrast: Annotated[float, typer.Option(min=0.01, metavar="GAIN", help="Gain of the pictures.")] = CONTRAST,
    zoom: Annotated[int, typer.Option(min=1, max=16, help="Pixels for each element, on a side.")] = 1,
    tensor: question.TensorOption = None,
    inputs: question.InputOption = None,
    of: question.OfOption = None,
    server: ServerOption = None,
    version: VersionOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Project units of a layer down to the pixels: what each one sees in a picture."""
    if npz and output is None:
        raise InvalidArgumentError("needs a folder to save to: -o DIR", field="--npz")
    shown = question.read(image, tensor, inputs, of)
    places, begin = read_positions(positions), read_start(start)
    found: dict[PolicyName, list[Projection]] = {}
    headers: dict[PolicyName, ProjectionHeader] = {}
    with connect(model, server, timeout) as (client, name):
        for each in dict.fromkeys(choice.word for choice in policy or [PolicyChoice.deconvnet]):
            stream = client.project(
                name,
                shown.image,
                tensor=shown.tensor,
                inputs=shown.inputs,
                of=shown.of,
                layer=layer,
                channels=channel or None,
                top=top,
                against=against,
                positions=places,
                policy=each,
                start=begin,
                to=to,
                signals=output is not None,
                version=version,
            )
            headers[each] = stream.header
            if output is not None:
                # A folder that cannot be made is told before the work, not behind it.
                output.mkdir(parents=True, exist_ok=True)
            found[each] = sorted(_follow(stream, each, as_json), key=lambda projection: projection.index)
    if output is not None:
        files = save(output, found, headers, image, contrast=contrast, zoom=zoom, npz=npz)
        say(f"{len(files)} files in {output}")
    if not as_json:
        _print(found)


def read_positions(text: str) -> PositionsLike:
    """The positions that an option names: a mode, or one index per axis with commas, places apart by spaces.

    Raises:
        InvalidArgumentError: it is neither.
    """
    if text in ("max", "all", "map"):
        return cast(Literal["max", "all", "map"], text)
    try:
        return [tuple(int(index) for index in place.split(",")) for place in text.replace(";", " ").split()]
    except ValueError:
        raise InvalidArgumentError(
            f"{text!r} is not max, all, map, or places such as '3,11'", field="positions"
        ) from None


def read_start(text: str | None) -> StartLike:
    """The start that an option names: a word, or a number.

    Raises:
        InvalidArgumentError: it is neither.
    """
    if text is None or text in ("activation", "one"):
        return cast(Literal["activation", "one"] | None, text)
    try:
        return float(text)
    except ValueError:
        raise InvalidArgumentError(f"{text!r} is not activation, one, or a number", field="start") from None


def _follow(stream: Stream[ProjectionHeader, Projection], policy: PolicyName, as_json: bool) -> Iterator[Projection]:
    warn(f"{policy}: {text}" for text in stream.header.warnings)
    if as_json:
        print_json({"header": stream.header})
    with stream, progress() as bar:
        task = bar.add_task(policy, total=stream.total)
        for projection in stream:
            if as_json:
                print_json({"projection": projection})
            bar.advance(task)
            yield projection


def _note(projection: Projection) -> str:
    if projection.all_zero:
        return "zero"
    if projection.start_not_positive:
        return "start not positive"
    return "" if projection.standing is None else f"above {min(projection.standing, 1):.1%} of images"


def _print(found: Mapping[PolicyName, Sequence[Projection]]) -> None:
    rows = [
        (
            policy,
            projection.name,
            projection.channel,
            projection.label,
            ", ".join(map(str, projection.position)),
            f"{projection.activation:.4g}",
            ", ".join(map(str, projection.picture_box or projection.box)),
            _note(projection),
        )
        for policy, projections in found.items()
        for projection in projections
    ]
    headings = ("POLICY", "LAYER", "CHANNEL", "LABEL", "POSITION", "ACTIVATION", "BOX", "NOTE")
    print_table(headings, rows, right=(2, 5))
