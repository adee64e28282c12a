"""NumPy arrays: integers of 8 bits are pictures, floating-point numbers are a model's inputs as they stand."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import fsspec
import numpy as np

from unpool.exemplars.dataset import Record
from unpool.exemplars.opening import File
from unpool.exemplars.roots import local_path
from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import Array

_IMAGES = ("images", "image", "x", "data")
_LABELS = ("labels", "label", "y", "target")


class ArrayFiles:
    """``.npy`` files, examples along their first axis, and ``.npz`` files with an array of images and one of labels.

    Raises:
        InvalidArgumentError: a file that is no array of numbers, or pickled, or one without examples along an axis.
    """

    def __init__(self, uri: str, fingerprint: str, system: fsspec.AbstractFileSystem, files: Sequence[File]) -> None:
        self.uri = uri
        self.fingerprint = fingerprint
        local = local_path(uri) is not None
        self._names = [file.name for file in files]
        self._arrays: list[tuple[Array, Array | None]] = [_load(system, file, local) for file in files]
        self._begins = [0, *accumulate(len(values) for values, _ in self._arrays)]

    def __len__(self) -> int:
        return self._begins[-1]

    def read(self, indices: Sequence[int]) -> Iterator[Record]:
        """Rows of the arrays, copied."""
        for index in indices:
            number = bisect_right(self._begins, index) - 1
            row = index - self._begins[number]
            values, labels = self._arrays[number]
            key, label = f"{self._names[number]}#{row}", "" if labels is None else str(labels[row])
            value = np.array(values[row])
            if value.dtype == np.uint8:
                yield Record(index, key, label, pixels=value)
            else:
                yield Record(index, key, label, tensor=value)


def _load(system: fsspec.AbstractFileSystem, file: File, local: bool) -> tuple[Array, Array | None]:
    try:
        if local and file.name.endswith(".npy"):
            # Mapped, so that a data set larger than the memory is read as it is used.
            found = np.load(file.path, mmap_mode="r", allow_pickle=False)
        else:
            found = np.load(io.BytesIO(system.cat_file(file.path)), allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            names = list(found)
            images = next((n for n in _IMAGES if n in names), names[0] if names else "")
            labels = next((n for n in _LABELS if n in names), None)
            values, named = found[images], None if labels is None else found[labels]
        else:
            values, named = found, None
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InvalidArgumentError("dataset", f"'{file.name}' is no NumPy array: {str(error)[:200]}") from error
    pictures = values.dtype == np.uint8 and values.ndim in (3, 4)
    if not pictures and not (values.dtype.kind == "f" and values.ndim >= 2):
        raise InvalidArgumentError(
            "dataset",
            f"'{file.name}' holds {values.dtype} {values.shape}; pictures are uint8 (N, H, W) or (N, H, W, 3), tensors "
            "floating-point numbers with the examples along the first axis",
        )
    if named is not None and len(named) != len(values):
        raise InvalidArgumentError("dataset", f"'{file.name}' has {len(named)} labels for {len(values)} images")
    return values, named
