"""What is fed to a model: one array per input, of which one is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import Array, Graph, Value


@dataclass(frozen=True, eq=False)
class Feeds:
    """The inputs of one forward run.

    Attributes:
        arrays: input name -> array, batch axis included, in the model's own layout.
        of: the input that is looked at.
    """

    arrays: Mapping[str, Array]
    of: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and values."""
        found = hashlib.sha256()
        for name in sorted(self.arrays):
            array = np.asarray(self.arrays[name], order="C")
            found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            if array.size:
                found.update(array.reshape(-1).view(np.uint8).data)  # bytes, because a buffer of bfloat16 is refused
        return found.hexdigest()


def check(graph: Graph, feeds: Feeds) -> None:
    """Refuses inputs that a model cannot take.

    Raises:
        InvalidArgumentError: a missing or unknown name, a wrong dtype, rank or extent, NaN or infinity.
    """
    if feeds.of not in graph.inputs:
        raise InvalidArgumentError("of", f"'{feeds.of}' is not an input; the inputs are {', '.join(graph.inputs)}")
    if missing := [i for i in graph.inputs if i not in feeds.arrays]:
        raise InvalidArgumentError("inputs", f"'{missing[0]}' is missing; the inputs are {', '.join(graph.inputs)}")
    for name, array in feeds.arrays.items():
        if name not in graph.inputs:
            raise InvalidArgumentError("inputs", f"'{name}' is not an input; they are {', '.join(graph.inputs)}")
        _check_array(name, graph.values[name], array, looked_at=name == feeds.of)


def _check_array(name: str, value: Value, array: Array, *, looked_at: bool) -> None:
    if value.dtype and array.dtype.name != value.dtype:
        raise InvalidArgumentError("tensor", f"input '{name}' takes {value.dtype}, not {array.dtype.name}")
    declared = value.shape
    if declared is not None:
        wanted = "(" + ", ".join(str(d if d is not None else "?") for d in declared) + ")"
        fits = len(declared) == array.ndim and all(
            not isinstance(d, int) or d == n for d, n in zip(declared, array.shape, strict=True)
        )
        # Nothing is a state as good as any, as what a language model remembers in front of the first word.
        empty = 0 in array.shape and (looked_at or value.batch_axis in _empty(array))
        if not fits or empty:
            raise InvalidArgumentError("tensor", f"input '{name}' takes shape {wanted}, not {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidArgumentError("tensor", f"input '{name}' holds NaN or infinity")


def _empty(array: Array) -> list[int]:
    return [axis for axis, extent in enumerate(array.shape) if extent == 0]
