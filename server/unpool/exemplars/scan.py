"""A scan: once over a data set, shard by shard, for every channel's strongest images; in pieces, and resumable.

What a shard gives depends on the model, the data set and the shard alone (``scan_shard``), and summaries merge in any
order to the same answer, so that a cluster may run the same scan: it scans the shards anywhere and merges at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from unpool.engine import Feeds
from unpool.engine.settings import available_cores
from unpool.exemplars.dataset import SHARD, DataSet, Shard, shards
from unpool.exemplars.examples import Example, Skipped, examples
from unpool.exemplars.index import Description, ScanIndex
from unpool.exemplars.locating import Located, locate
from unpool.exemplars.partial import Partial, empty, merge, merge_all, summarise
from unpool.exemplars.reduction import Floats, Reduction, batch_size, chosen_layers, open_reduction
from unpool.exemplars.store import Store
from unpool.graph import BatchSupport, Layer
from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import Array
from unpool.repository import Entry

_FOLD_BYTES = 64 << 20
"""How many bytes of maxima stand in memory before they are summarised."""
MOST_EXEMPLARS = 100


@dataclass(frozen=True)
class ScanRequest:
    """What to scan for.

    Attributes:
        layers: tensor names, node names or aliases; empty for the outputs of all rectifiers.
        k: images kept of each channel.
        places: the most positions of one image among a channel's exemplars.
        shard: records of a shard.
    """

    layers: tuple[str, ...] = ()
    k: int = 9
    places: int = 1
    shard: int = SHARD


@dataclass(frozen=True)
class ScanHeader:
    """What a scan is of, and how much of it was done before."""

    description: Description
    done: int
    complete: bool


@dataclass(frozen=True)
class ScanProgress:
    """Where a scan stands.

    Attributes:
        locating: positions are being found; before that, the strongest images.
        done, total: records (or, while locating, images).
        skipped: records that could not be used, so far.
        rate: images a second.
        remaining: seconds that this part of the work will take at that rate.
    """

    locating: bool
    done: int
    total: int
    skipped: int
    rate: float
    remaining: float


@dataclass(frozen=True)
class ScanDone:
    """A scan that is complete: images seen, records skipped, channels that fired on no image."""

    images: int
    skipped: tuple[Skipped, ...]
    dead: int
    channels: int


@dataclass
class Times:
    """Seconds that the steps took: reading, decoding and preprocessing summed over their threads, and the network."""

    read: float = 0.0
    decode: float = 0.0
    prepare: float = 0.0
    network: float = 0.0


@dataclass(frozen=True, eq=False)
class Scanner:
    """Scans shards of one data set with one model."""

    entry: Entry
    dataset: DataSet
    layers: tuple[Layer, ...]
    k: int
    workers: int = field(default_factory=available_cores)
    times: Times = field(default_factory=Times)
    _reduction: list[Reduction] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """Channels of all layers together."""
        return sum(layer.channels or 0 for layer in self.layers)

    def scan_shard(self, shard: Shard) -> Iterator[Partial | None]:
        """The summary of a shard, with the last of its pieces; ``None`` after each of the others."""
        found = empty(self.channels, self.k)
        skipped: list[Skipped] = []
        maxima: list[Floats] = []
        indices: list[int] = []
        fold = max(1, _FOLD_BYTES // (4 * max(self.channels, 1)))
        for batch in self._batches(shard, skipped):
            maxima.append(self._run(batch))
            indices += [example.index for example in batch]
            if len(indices) >= fold:
                found = merge(found, summarise(np.concatenate(maxima), np.array(indices), self.k))
                maxima, indices = [], []
            yield None
        if maxima:
            found = merge(found, summarise(np.concatenate(maxima), np.array(indices), self.k))
        yield merge(found, _only_skipped(skipped, self.channels, self.k))

    def _batches(self, shard: Shard, skipped: list[Skipped]) -> Iterator[list[Example]]:
        """Examples of one shape each, as many as are fed at once."""
        waiting: dict[tuple[tuple[int, ...], ...], list[Example]] = {}
        for example in examples(self.entry, self.dataset, range(shard.begin, shard.end), self.workers):
            if isinstance(example, Skipped):
                skipped.append(example)
                continue
            self.times.read += example.read
            self.times.decode += example.decoded
            self.times.prepare += example.prepared
            shape = tuple(array.shape for array in example.feeds.arrays.values())
            group = waiting.setdefault(shape, [])
            group.append(example)
            if len(group) >= self._most(example.feeds):
                yield waiting.pop(shape)
        yield from waiting.values()

    def _most(self, feeds: Feeds) -> int:
        engine = self.entry.engine
        if engine.model.graph.batch is not BatchSupport.SYMBOLIC or not engine.proven_batch(feeds):
            return 1
        return batch_size(engine.geometry(feeds), self.layers, engine.settings.piece_operations)

    def _run(self, batch: Sequence[Example]) -> Floats:
        engine = self.entry.engine
        values = engine.model.graph.values
        if not self._reduction:
            self._reduction.append(open_reduction(engine, self.layers, dict(batch[0].feeds.arrays)))
        arrays: dict[str, Array] = {}
        for name, first in batch[0].feeds.arrays.items():
            axis = values[name].batch_axis
            arrays[name] = (
                first if axis is None else np.concatenate([example.feeds.arrays[name] for example in batch], axis)
            )
        begin = time.perf_counter()
        found = self._reduction[0].run(arrays, len(batch))
        self.times.network += time.perf_counter() - begin
        return found


def scan(
    entry: Entry, dataset: DataSet, request: ScanRequest, store: Store
) -> Iterator[ScanHeader | ScanProgress | ScanDone | None]:
    """Scans a data set into an index, or goes on where an earlier scan of the same stopped.

    Args:
        entry: the model.
        dataset: the data set.
        request: what to scan for.
        store: where indices lie.

    Yields:
        The header, progress after each piece, and at the end what is done.

    Raises:
        InvalidArgumentError: an empty data set, or one of which no record can be used.
        ExhaustedError: another scan writes the same index.
        PreconditionError: the index cannot be written; what was committed stays.
    """
    index = ScanIndex(store, describe(entry, dataset, request))
    about = index.description
    with store.held(about.folder):
        if index.complete:
            yield ScanHeader(about, len(dataset), complete=True)
            yield _done(index)
            return
        index.begin()
        todo = shards(len(dataset), request.shard)
        committed = index.committed()
        done = sum(len(shard) for shard in todo if shard.number in committed)
        yield ScanHeader(about, done, complete=False)
        layers = chosen_layers(entry.engine, about.layers)
        scanner = Scanner(entry, dataset, layers, request.k)
        skipped = sum(len(index.shard(number).skipped) for number in sorted(committed))
        clock = _Clock(len(dataset), done)
        for shard in todo:
            if shard.number in committed:
                continue
            for piece in scanner.scan_shard(shard):
                if piece is not None:
                    index.commit(shard.number, piece)
                    skipped += len(piece.skipped)
                    done += len(shard)
                    yield clock.progress(done, skipped)
                else:
                    yield None
        part = merge_all((index.shard(s.number) for s in todo), scanner.channels, request.k)
        if not part.count:
            raise InvalidArgumentError(
                "dataset",
                f"no record of '{dataset.uri}' can be used; '{part.skipped[0].key}' {part.skipped[0].reason}",
            )
        clock = _Clock(0, 0)
        for item in locate(entry, dataset, layers, part, request.places, scanner.workers):
            assert isinstance(item, Located)
            yield clock.progress(item.done, len(part.skipped), total=item.total, locating=True)
            if item.done == item.total:
                index.finish(part, item.exemplars)
        yield _done(index)


def describe(entry: Entry, dataset: DataSet, request: ScanRequest) -> Description:
    """What a scan is of.

    Raises:
        InvalidArgumentError: no layer with channels, numbers out of range, or an empty data set.
        NotFoundError: an unknown layer.
    """
    if not 1 <= request.k <= MOST_EXEMPLARS:
        raise InvalidArgumentError("k", f"is {request.k}; give 1 to {MOST_EXEMPLARS}")
    if not 1 <= request.places <= request.k:
        raise InvalidArgumentError("places", f"is {request.places}; give 1 to k, {request.k}")
    layers = chosen_layers(entry.engine, request.layers)
    if not len(dataset):
        raise InvalidArgumentError("dataset", f"'{dataset.uri}' is empty")
    return Description(
        model=entry.name,
        version=entry.version,
        digest=entry.engine.model.digest,
        dataset=dataset.uri,
        fingerprint=dataset.fingerprint,
        records=len(dataset),
        layers=tuple(layer.name for layer in layers),
        widths=tuple(layer.channels or 0 for layer in layers),
        k=request.k,
        places=request.places,
        shard=request.shard,
        preprocessing=entry.preprocessing.steps if entry.preprocessing is not None else (),
    )


def _only_skipped(skipped: list[Skipped], channels: int, k: int) -> Partial:
    nothing = empty(channels, k)
    return Partial(
        nothing.images,
        nothing.values,
        0,
        nothing.fired,
        nothing.largest,
        nothing.counts,
        nothing.sums,
        tuple(skipped),
    )


def _done(index: ScanIndex) -> ScanDone:
    images, dead, channels = index.totals()
    return ScanDone(images, index.skipped(), dead, channels)


class _Clock:
    """Tells the rate since it was made."""

    def __init__(self, total: int, done: int) -> None:
        self._begin = time.monotonic()
        self._total = total
        self._before = done

    def progress(self, done: int, skipped: int, *, total: int | None = None, locating: bool = False) -> ScanProgress:
        whole = self._total if total is None else total
        rate = (done - self._before) / max(time.monotonic() - self._begin, 1e-9)
        return ScanProgress(locating, done, whole, skipped, rate, (whole - done) / max(rate, 1e-9))
