"""The question of an occlusion as a message."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.client import arrays
from unpool.client.errors import InvalidArgumentError
from unpool.client.inputs import ImageLike, build_input
from unpool.client.occlusion import Region, TargetLike
from unpool.client.requests import integers, model_spec
from unpool.v1 import input_pb2, occlusion_pb2, tensor_pb2

FillLike: TypeAlias = str | float | Sequence[float] | npt.NDArray[np.generic] | None
"""``"mean"`` (or ``None``), ``"black"``, ``"white"``, ``"grey"``, ``"blur"`` or ``"blur:RADIUS"``, ``"noise"`` or
``"noise:SEED"``, a value, one for each channel (0 to 255, RGB, with a picture), or an array as the model is fed."""

ExampleLike: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""An example as arrays: that of the model's only input, or one for each input by its name."""

ModeName: TypeAlias = Literal["auto", "boxes", "brute force"]

_COLOURS = {"black": 0.0, "white": 255.0, "grey": 127.5, "gray": 127.5}
_BLUR = 8.0
_MODES = {
    "auto": occlusion_pb2.OCCLUSION_MODE_UNSPECIFIED,
    "boxes": occlusion_pb2.OCCLUSION_MODE_BOXES,
    "brute force": occlusion_pb2.OCCLUSION_MODE_BRUTE_FORCE,
}


def occlude(
    name: str,
    version: int | None,
    shown: Sequence[input_pb2.Input],
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    positions: Sequence[int | Sequence[int]] | None,
    fill: FillLike,
    targets: TargetLike | Iterable[TargetLike],
    top: int | None,
    output: str | None,
    probability: bool,
    layer: str | None,
    projection: bool,
    mode: ModeName,
    only: Iterable[int] | None,
) -> occlusion_pb2.OccludeRequest:
    """Asks what hiding each place costs.

    Raises:
        InvalidArgumentError: an unknown mode or fill, an empty list of positions, or stride and positions together.
    """
    if mode not in _MODES:
        raise InvalidArgumentError(f"no mode {mode!r}; one of {', '.join(_MODES)}", field="mode")
    if positions is not None and stride is not None:
        raise InvalidArgumentError("stride and positions go not together", field="stride")
    places = [] if positions is None else [tensor_pb2.Position(index=integers(p, "positions")) for p in positions]
    if positions is not None and not places:
        raise InvalidArgumentError("the list of positions is empty", field="positions")
    wanted = [] if only is None else integers(only, "only")
    if only is not None and not wanted:
        raise InvalidArgumentError("the list of wanted positions is empty", field="only")
    if top is not None and top < 0:
        raise InvalidArgumentError(f"{top} classes cannot be scored", field="top_k")
    return occlusion_pb2.OccludeRequest(
        model=model_spec(name, version),
        input=shown[0] if len(shown) == 1 else None,
        inputs=shown if len(shown) > 1 else None,
        window=integers(window, "window"),
        stride=[] if stride is None else _strides(stride),
        positions=places,
        fill=_fill(fill),
        targets=[_target(target) for target in listed(targets)],
        top_k=top or 0,
        output=output or "",
        probability=probability,
        layer=layer or "",
        projection=projection,
        mode=_MODES[mode],
        only=wanted,
    )


def examples(
    image: ImageLike | None,
    images: Iterable[ImageLike] | None,
    tensor: npt.ArrayLike | None,
    tensors: Iterable[ExampleLike] | None,
    inputs: Mapping[str, npt.ArrayLike] | None,
    of: str | None,
) -> list[input_pb2.Input]:
    """What is shown: one example, or several, as pictures or as arrays.

    Raises:
        InvalidArgumentError: ``images`` or ``tensors`` beside anything else, or empty; and as ``build_input`` does.
        OSError: a path that cannot be read.
    """
    if images is None and tensors is None:
        return [build_input(image, tensor, inputs, of)]
    field = "images" if images is not None else "tensors"
    if sum(given is not None for given in (image, images, tensor, tensors, inputs)) > 1:
        raise InvalidArgumentError("goes with no other of image, images, tensor, tensors and inputs", field=field)
    if images is not None:
        if isinstance(images, str | Path | bytes | Image.Image):
            raise InvalidArgumentError("is one picture; give a list of them, or image=", field=field)
        found = [build_input(each, None, None, of) for each in images]
    elif isinstance(tensors, np.ndarray | Mapping):
        raise InvalidArgumentError("is one example; give a list of them, or tensor= or inputs=", field=field)
    else:
        found = [_array_example(i, each, of) for i, each in enumerate(tensors or ())]
    if not found:
        raise InvalidArgumentError(f"is empty; give at least one {field[:-1]}", field=field)
    return found


def _array_example(number: int, example: ExampleLike, of: str | None) -> input_pb2.Input:
    """One of several examples: the array itself, or by the names of the model's inputs."""
    try:
        if isinstance(example, Mapping):
            return build_input(None, None, example, of)
        return build_input(None, example, None, of)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.message, field=f"tensors[{number}].{error.field}") from error


def listed(targets: TargetLike | Iterable[TargetLike]) -> list[TargetLike]:
    """One target or several, as a list."""
    return [targets] if isinstance(targets, int | np.integer | str | Region) else list(targets)


def _strides(stride: int | Sequence[int]) -> list[int]:
    found = integers(stride, "stride")
    if not found:
        raise InvalidArgumentError("is empty; give one, or one per axis", field="stride")
    return found


def _target(target: TargetLike) -> occlusion_pb2.OcclusionTarget:
    if isinstance(target, Region):
        box = tensor_pb2.Box(lower=target.lower, upper=target.upper)
        return occlusion_pb2.OcclusionTarget(box=box, output=target.output)
    if isinstance(target, str):
        return occlusion_pb2.OcclusionTarget(label=target)
    return occlusion_pb2.OcclusionTarget(index=integers(target, "targets")[0])


def _fill(fill: FillLike) -> occlusion_pb2.Fill | None:
    if fill is None:
        return None
    if isinstance(fill, str):
        return _named(fill)
    if isinstance(fill, np.ndarray) and fill.ndim > 1:
        return occlusion_pb2.Fill(tensor=arrays.to_message(fill, "fill.tensor"))
    values = [float(v) for v in np.atleast_1d(np.asarray(fill, np.float64))]
    if not values or not all(map(math.isfinite, values)):
        raise InvalidArgumentError("needs a finite value, or one for each channel", field="fill")
    return occlusion_pb2.Fill(colour=occlusion_pb2.Colour(values=values))


def _named(fill: str) -> occlusion_pb2.Fill:
    word, _, rest = fill.partition(":")
    try:
        if word == "mean" and not rest:
            return occlusion_pb2.Fill(mean=True)
        if word in _COLOURS and not rest:
            return occlusion_pb2.Fill(colour=occlusion_pb2.Colour(values=[_COLOURS[word]]))
        if word == "blur":
            return occlusion_pb2.Fill(blur=float(rest or _BLUR))
        if word == "noise":
            return occlusion_pb2.Fill(noise=int(rest or 0))
    except ValueError:
        pass
    known = ", ".join(("mean", *_COLOURS, "blur[:RADIUS]", "noise[:SEED]"))
    raise InvalidArgumentError(f"no fill {fill!r}; one of {known}, or a colour", field="fill")
