"""Records made into what the network is fed: decoded and preprocessed side by side, ahead of who takes them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from unpool.engine import Feeds
from unpool.exemplars.dataset import DataSet, Record
from unpool.graph.errors import InvalidArgumentError, PreconditionError, UnpoolError
from unpool.repository import Entry, Placement, decode

_CHUNK = 4
"""Records that a worker reads and prepares in one go."""
_AHEAD = 64
"""Records that stand ready or in work while the network runs."""


@dataclass(frozen=True, eq=False)
class Example:
    """A record ready to run.

    Attributes:
        index, key, label: as the record's.
        feeds: the model's input, batch axis of extent 1.
        placement: where the input lies in the picture; ``None`` for tensors.
        read, decoded, prepared: seconds that its steps took, on its worker.
    """

    index: int
    key: str
    label: str
    feeds: Feeds
    placement: Placement | None
    read: float = 0.0
    decoded: float = 0.0
    prepared: float = 0.0


@dataclass(frozen=True)
class Skipped:
    """A record that cannot be used, and why."""

    index: int
    key: str
    reason: str


def picture_of(record: Record) -> Image.Image:
    """The upright picture of a record.

    Raises:
        InvalidArgumentError: it holds none, or one that cannot be decoded.
    """
    if record.encoded is not None:
        return decode(record.encoded, field="picture")
    if record.pixels is None:
        raise InvalidArgumentError("picture", "is a tensor")
    pixels = record.pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise InvalidArgumentError(
            "picture", f"is an array {pixels.shape}; pictures are (H, W), (H, W, 1) or (H, W, 3)"
        )
    return Image.fromarray(pixels)


def prepare(entry: Entry, record: Record, read: float = 0.0) -> Example | Skipped:
    """Makes an example of a record.

    Raises:
        PreconditionError: the model takes no pictures, or its preprocessing makes another size than it takes: no record
            would do.
    """
    if record.fault:
        return Skipped(record.index, record.key, record.fault)
    graph = entry.engine.model.graph
    begin = time.perf_counter()
    try:
        if record.tensor is not None:
            if len(graph.inputs) != 1:
                raise PreconditionError(f"a data set feeds one input; the model has {', '.join(graph.inputs)}")
            value = graph.values[graph.inputs[0]]
            array = record.tensor.astype(value.dtype or "float32", copy=False)
            if value.batch_axis is not None:
                array = np.expand_dims(array, value.batch_axis)
            feeds = Feeds({value.name: np.ascontiguousarray(array)}, value.name)
            entry.engine.check(feeds)
            return Example(record.index, record.key, record.label, feeds, None, read)
        if entry.preprocessing is None:
            raise PreconditionError(
                f"model '{entry.name}' takes no pictures: that needs one input of one or three channels over a plane "
                "of two axes; scan an array of tensors"
            )
        picture = picture_of(record)
        between = time.perf_counter()
        prepared = entry.preprocessing.apply(picture)
        name = entry.preprocessing.target.name
        feeds = Feeds({name: prepared.array}, name)
        return Example(
            record.index,
            record.key,
            record.label,
            feeds,
            prepared.placement,
            read,
            between - begin,
            time.perf_counter() - between,
        )
    except PreconditionError:
        raise
    except UnpoolError as error:
        reason = error.description if isinstance(error, InvalidArgumentError) else str(error)
        return Skipped(record.index, record.key, reason[:300])


def examples(entry: Entry, dataset: DataSet, indices: Sequence[int], workers: int) -> Iterator[Example | Skipped]:
    """The examples of ascending indices, in this order, made ahead by ``workers`` threads."""
    with ThreadPoolExecutor(workers, thread_name_prefix="unpool-decode") as pool:
        waiting: deque[Future[list[Example | Skipped]]] = deque()
        chunks = iter([indices[i : i + _CHUNK] for i in range(0, len(indices), _CHUNK)])

        def work(chunk: Sequence[int]) -> list[Example | Skipped]:
            made: list[Example | Skipped] = []
            records = dataset.read(chunk)
            while True:
                begin = time.perf_counter()
                record = next(records, None)
                if record is None:
                    return made
                made.append(prepare(entry, record, time.perf_counter() - begin))

        try:
            while True:
                while len(waiting) < max(workers + 1, _AHEAD // _CHUNK):
                    if (chunk := next(chunks, None)) is None:
                        break
                    waiting.append(pool.submit(work, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
