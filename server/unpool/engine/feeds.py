"""What is fed to a model: one array per input, of which one is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unpool.graph.model import Array


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
            array = np.ascontiguousarray(self.arrays[name])
            found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            if array.size:
                found.update(array.reshape(-1).view(np.uint8).data)  # bytes, because a buffer of bfloat16 is refused
        return found.hexdigest()
