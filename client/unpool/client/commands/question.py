"""What a verb shows to a model: a picture, or arrays from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from unpool.client.errors import InvalidArgumentError

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


def _load(path: Path, field: str) -> npt.NDArray[np.generic]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidArgumentError(f"{path} is no .npy file of numbers", field=field) from error
    if not isinstance(array, np.ndarray):
        raise InvalidArgumentError(f"{path} holds several arrays; save one as .npy", field=field)
    return array
