"""What a verb shows to a model: a picture, or arrays from files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from unpool.client.errors import InvalidArgumentError
from unpool.client.occlusion_requests import ExampleLike

ImageArgument = Annotated[
    Path | None, typer.Argument(metavar="IMAGE", help="A picture file.", exists=True, dir_okay=False)
]
ImagesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="IMAGE...", help="Picture files.", exists=True, dir_okay=False)
]
TensorOption = Annotated[
    Path | None,
    typer.Option("--tensor", metavar="FILE.npy", exists=True, dir_okay=False, help="The input itself, instead."),
]
TensorsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--tensor",
        metavar="FILE.npy|FILE.npz",
        exists=True,
        dir_okay=False,
        help="The input itself, instead, or all inputs by their names (.npz); may be repeated.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=FILE.npy", help="One of several inputs, instead; may be repeated."),
]
OfOption = Annotated[
    str | None, typer.Option("--of", metavar="NAME", help="With --input: the input that is looked at.")
]


@dataclass(frozen=True)
class Question:
    """Exactly one of a picture, a tensor, and several inputs, as ``Client`` takes them."""

    image: Path | None
    tensor: npt.NDArray[np.generic] | None
    inputs: dict[str, npt.NDArray[np.generic]] | None
    of: str | None


def read(image: Path | None, tensor: Path | None, inputs: list[str] | None, of: str | None) -> Question:
    """Reads the files that the options name.

    Raises:
        InvalidArgumentError: none or several were given, or a file is no array.
    """
    if sum(given is not None for given in (image, tensor, inputs or None)) != 1:
        raise InvalidArgumentError("give a picture, or --tensor FILE.npy, or --input NAME=FILE.npy", field="IMAGE")
    named = None
    if inputs:
        named = {}
        for item in inputs:
            name, equals, file = item.rpartition("=")
            if not equals or not name:
                raise InvalidArgumentError(f"{item!r} is not NAME=FILE.npy", field="--input")
            named[name] = _load(Path(file), "--input")
    return Question(image, _load(tensor, "--tensor") if tensor else None, named, of)


def examples(paths: Sequence[Path]) -> list[ExampleLike]:
    """Reads examples: a ``.npy`` file holds the only input, a ``.npz`` file all of them by name.

    Raises:
        InvalidArgumentError: a file is neither.
    """
    return [_named(path) if path.suffix == ".npz" else _load(path, "--tensor") for path in paths]


def _named(path: Path) -> dict[str, npt.ArrayLike]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(f"{path} is no .npz file of numbers", field="--tensor") from error


def _load(path: Path, field: str) -> npt.NDArray[np.generic]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidArgumentError(f"{path} is no .npy file of numbers", field=field) from error
    if not isinstance(array, np.ndarray):
        raise InvalidArgumentError(f"{path} holds several arrays; save one as .npy", field=field)
    return array
