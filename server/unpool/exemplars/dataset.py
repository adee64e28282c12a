"""What a data set is: records in a fixed order, each a picture file, an array of pixels, or a tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from unpool.graph.model import Array

SHARD = 512
"""Records of a shard: what a scan commits at once, and so what is done twice at most where it is cut off."""


@dataclass(frozen=True, eq=False)
class Record:
    """One example of a data set. Exactly one of ``encoded``, ``pixels`` and ``tensor`` is given.

    Attributes:
        index: its number in the data set, from 0; ties between images are broken by it.
        key: what people know it by: a path below the data set, or a file and a row.
        label: the name of its class; empty where there is none.
        encoded: a picture file.
        pixels: uint8 (H, W) or (H, W, C) in RGB order.
        tensor: a model's input without its batch axis, taken as it is.
        fault: why it cannot be read; empty where it can.
    """

    index: int
    key: str
    label: str = ""
    encoded: bytes | None = None
    pixels: npt.NDArray[np.uint8] | None = None
    tensor: Array | None = None
    fault: str = ""


class DataSet(Protocol):
    """A data set that is open for reading; may be shared by threads."""

    @property
    def uri(self) -> str:
        """Where it is."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over the names, sizes and times of its files, in order: changes when the data does."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Iterator[Record]:
        """The records of ascending indices, in this order. One that cannot be read comes with its fault."""
        ...


@dataclass(frozen=True)
class Shard:
    """A run of records: ``begin`` up to, not including, ``end``."""

    number: int
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


def shards(count: int, size: int = SHARD) -> tuple[Shard, ...]:
    """The shards of a data set of ``count`` records: always the same ones."""
    return tuple(Shard(i, begin, min(begin + size, count)) for i, begin in enumerate(range(0, count, size)))
