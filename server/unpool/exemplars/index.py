"""The index on disk: what each shard gave, committed one by one, and the compacted answer.

Below the index's URI lies one folder for each scan, ``<model digest>/<fingerprint of the data set>/<settings>/``
(16, 16 and 12 hexadecimal digits), with

- ``scan.json``: what was scanned, by which model and version, with which settings; ``complete`` when all is
  there;
- ``shards/NNNNNN.parquet``: a row for each channel of all layers, in order (``images``, ``values``, ``fired``,
  ``largest``, ``bins``, ``counts``, ``octaves``, ``sums``), removed when the answer is there;
- ``exemplars.parquet``: a row for each exemplar: ``layer`` (tensor name), ``channel``, ``place`` (0 the strongest),
  ``image`` (its number in the data set), ``key`` and ``label`` (its name and class), ``position`` (one index per axis
  of the layer that is neither batch nor channel), ``rank_value`` (before a bounded rectifier's clip), ``activation``
  (the layer's own value there), ``lower`` and ``upper`` (the receptive field in the input, half open, clipped to its
  ``plane``), ``cut`` (it reached beyond), ``picture_lower`` and ``picture_upper`` (the same in the upright picture's
  pixels; null for tensors);
- ``channels.parquet``: a row for each channel. All of it counts images, not positions; an image stands for the one
  maximum of the channel over its positions (before a bounded rectifier's clip). ``layer``, ``channel``, ``images``
  (how many were seen), ``fired`` (on how many the maximum is positive), ``firing_rate`` (``fired / images``), ``dead``
  (``fired`` is 0), ``mean`` (of the maxima over all images, 0 where it did not fire), ``maximum`` (the largest; 0 or
  less when dead), ``bins`` and ``counts`` (how many images have a positive maximum in each bin that has any; bin
  ``b`` is octave ``b // 8`` from 2**-16 on, part ``b % 8`` of it, see ``sketch``);
- ``skipped.parquet``: a row for each record that could not be used (``index``, ``key``, ``reason``).

pandas and DuckDB read the Parquet files as they stand.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unpool.exemplars.examples import Skipped
from unpool.exemplars.partial import NOBODY, Partial, empty
from unpool.exemplars.results import Box, ChannelStatistics, Exemplar
from unpool.exemplars.sketch import BINS
from unpool.exemplars.store import Store
from unpool.graph.errors import ModelError

_FORMAT = 1


@dataclass(frozen=True)
class Description:
    """What a scan is of.

    Attributes:
        model, version, digest: the model.
        dataset, fingerprint: the data set's URI and what it holds.
        records: how many records it has.
        layers: tensor names; ``widths`` their channels.
        k: images kept of a channel; ``places`` the most positions of one image among them.
        shard: records of a shard.
        preprocessing: the steps, in words; empty for tensors.
    """

    model: str
    version: int
    digest: str
    dataset: str
    fingerprint: str
    records: int
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    k: int
    places: int
    shard: int
    preprocessing: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where its scan lies in the index: by the model's digest, the data's fingerprint, and the settings."""
        settings = [_FORMAT, self.layers, self.k, self.places, self.shard, self.preprocessing]
        word = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        return f"{self.digest[:16]}/{self.fingerprint[:16]}/{word[:12]}"


class ScanIndex:
    """The folder of one scan."""

    def __init__(self, store: Store, description: Description) -> None:
        self._store = store
        self.description = description
        self.folder = description.folder

    @property
    def complete(self) -> bool:
        """The whole answer is there."""
        about = _about(self._store, self.folder)
        return about is not None and bool(about.get("complete"))

    def begin(self) -> None:
        """Says what will be scanned."""
        if _about(self._store, self.folder) is None:
            self._describe(complete=False)

    def committed(self) -> frozenset[int]:
        """The numbers of the shards that are done."""
        names = self._store.names(f"{self.folder}/shards")
        return frozenset(int(n.split(".")[0]) for n in names if n.endswith(".parquet"))

    def commit(self, number: int, part: Partial) -> None:
        """Keeps what a shard gave."""
        self._store.write(f"{self.folder}/shards/{number:06d}.parquet", _parquet(_shard_table(part)))

    def shard(self, number: int) -> Partial:
        """What a shard gave.

        Raises:
            ModelError: the file is not what was written.
        """
        name = f"{self.folder}/shards/{number:06d}.parquet"
        try:
            return _shard(pq.read_table(io.BytesIO(self._store.read(name))), self.description.k)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise ModelError(f"{name} in the index {self._store.uri} is broken: {error}; remove it") from error

    def finish(self, part: Partial, exemplars: Sequence[Exemplar]) -> None:
        """Writes the answer, then says that it is complete, then removes the shards."""
        self._store.write(f"{self.folder}/exemplars.parquet", _parquet(_exemplar_table(exemplars)))
        self._store.write(f"{self.folder}/channels.parquet", _parquet(self._channel_table(part)))
        skipped = pa.Table.from_pylist([asdict(s) for s in part.skipped], _SKIPPED)
        self._store.write(f"{self.folder}/skipped.parquet", _parquet(skipped))
        dead = int((part.fired == 0).sum())
        self._describe(complete=True, images=part.count, dead=dead, channels=len(part.fired))
        self._store.remove(f"{self.folder}/shards")

    def exemplars(self, layer: str, channels: Sequence[int] = ()) -> tuple[Exemplar, ...]:
        """A layer's exemplars, channel by channel, the strongest first; of all channels where none are named."""
        chosen = pc.field("layer") == layer
        if channels:
            chosen &= pc.field("channel").isin(list(channels))
        data = self._store.read(f"{self.folder}/exemplars.parquet")
        rows = pq.read_table(io.BytesIO(data), filters=chosen).to_pylist()
        return tuple(_exemplar(row) for row in rows)

    def statistics(self, layer: str, channels: Sequence[int] = ()) -> tuple[ChannelStatistics, ...]:
        """A layer's channels over the data set; all of them where none are named."""
        chosen = pc.field("layer") == layer
        if channels:
            chosen &= pc.field("channel").isin(list(channels))
        data = self._store.read(f"{self.folder}/channels.parquet")
        found = []
        for row in pq.read_table(io.BytesIO(data), filters=chosen).to_pylist():
            counts = np.zeros(BINS, np.int64)
            counts[row["bins"]] = row["counts"]
            names = ("layer", "channel", "images", "fired", "mean", "maximum")
            found.append(ChannelStatistics(**{name: row[name] for name in names}, counts=counts))
        return tuple(found)

    def skipped(self) -> tuple[Skipped, ...]:
        """The records that could not be used."""
        rows = pq.read_table(io.BytesIO(self._store.read(f"{self.folder}/skipped.parquet"))).to_pylist()
        return tuple(Skipped(**row) for row in rows)

    def totals(self) -> tuple[int, int, int]:
        """Images seen, channels that fired on none, and channels, of a complete scan."""
        about = _about(self._store, self.folder) or {}
        return about["images"], about["dead"], about["channels"]

    def _describe(self, *, complete: bool, **totals: int) -> None:
        about = {"format": _FORMAT, "complete": complete, **asdict(self.description), **totals}
        self._store.write(f"{self.folder}/scan.json", json.dumps(about, indent=1).encode())

    def _channel_table(self, part: Partial) -> pa.Table:
        about = self.description
        layers = [name for name, width in zip(about.layers, about.widths, strict=True) for _ in range(width)]
        channels = [channel for width in about.widths for channel in range(width)]
        seen = max(part.count, 1)
        rows, columns = np.nonzero(part.counts)
        return pa.table(
            {
                "layer": pa.array(layers, pa.string()),
                "channel": pa.array(channels, pa.int32()),
                "images": pa.array(np.full(len(layers), part.count), pa.int64()),
                "fired": pa.array(part.fired, pa.int64()),
                "firing_rate": pa.array(part.fired / seen, pa.float64()),
                "dead": pa.array(part.fired == 0),
                "mean": pa.array(part.mean, pa.float64()),
                "maximum": pa.array(part.largest.astype(np.float64), pa.float64()),
                "bins": _lists(rows, columns.astype(np.int16), len(layers)),
                "counts": _lists(rows, part.counts[rows, columns].astype(np.int64), len(layers)),
            }
        )


def scans(store: Store, digest: str = "") -> Iterator[tuple[Description, bool]]:
    """Every scan in an index, of one model's digest or of all, with whether it is complete."""
    for model in [digest[:16]] if digest else store.names():
        for data in store.names(model):
            for settings in store.names(f"{model}/{data}"):
                about = _about(store, f"{model}/{data}/{settings}")
                if about is not None and about.get("format") == _FORMAT:
                    yield _description(about), bool(about["complete"])


def _about(store: Store, folder: str) -> dict[str, Any] | None:
    try:
        found = json.loads(store.read(f"{folder}/scan.json"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _description(about: dict[str, Any]) -> Description:
    found: dict[str, Any] = {name: about[name] for name in Description.__dataclass_fields__}
    # JSON has no tuples.
    return Description(**found | {name: tuple(value) for name, value in found.items() if isinstance(value, list)})


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _lists(rows: npt.NDArray[np.int64], values: npt.NDArray[np.generic], count: int) -> pa.ListArray:
    """A list for each row; ``rows`` ascend."""
    offsets = np.searchsorted(rows, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _shard_table(part: Partial) -> pa.Table:
    count = len(part.fired)
    kept, bins, octaves = np.nonzero(part.images != NOBODY), np.nonzero(part.counts), np.nonzero(part.sums)
    table = pa.table(
        {
            "images": _lists(kept[0], part.images[kept], count),
            "values": _lists(kept[0], part.values[kept], count),
            "fired": pa.array(part.fired),
            "largest": pa.array(part.largest),
            "bins": _lists(bins[0], bins[1].astype(np.int16), count),
            "counts": _lists(bins[0], part.counts[bins], count),
            "octaves": _lists(octaves[0], octaves[1].astype(np.int16), count),
            "sums": _lists(octaves[0], part.sums[octaves], count),
        }
    )
    about = {"count": part.count, "skipped": [asdict(s) for s in part.skipped]}
    return table.replace_schema_metadata({"unpool": json.dumps(about)})


def _shard(table: pa.Table, k: int) -> Partial:
    about = json.loads(table.schema.metadata[b"unpool"])
    found = empty(table.num_rows, k)

    def spread(name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.generic]]:
        lists = table[name].combine_chunks()
        offsets = lists.offsets.to_numpy()
        return np.repeat(np.arange(len(lists)), np.diff(offsets)), lists.flatten().to_numpy()

    rows, images = spread("images")
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    found.images[rows, places] = images
    found.values[rows, places] = spread("values")[1]
    rows, bins = spread("bins")
    found.counts[rows, bins] = spread("counts")[1]
    rows, octaves = spread("octaves")
    found.sums[rows, octaves] = spread("sums")[1]
    return Partial(
        found.images,
        found.values,
        about["count"],
        table["fired"].to_numpy(),
        table["largest"].to_numpy(),
        found.counts,
        found.sums,
        tuple(Skipped(**s) for s in about["skipped"]),
    )


_INTS = pa.list_(pa.int32())
_EXEMPLARS = pa.schema(
    [
        ("layer", pa.string()),
        ("channel", pa.int32()),
        ("place", pa.int32()),
        ("image", pa.int64()),
        ("key", pa.string()),
        ("label", pa.string()),
        ("position", _INTS),
        ("rank_value", pa.float32()),
        ("activation", pa.float32()),
        ("lower", _INTS),
        ("upper", _INTS),
        ("plane", _INTS),
        ("cut", pa.bool_()),
        ("picture_lower", _INTS),
        ("picture_upper", _INTS),
    ]
)
_SKIPPED = pa.schema([("index", pa.int64()), ("key", pa.string()), ("reason", pa.string())])


def _exemplar_table(exemplars: Iterable[Exemplar]) -> pa.Table:
    rows = []
    for found in exemplars:
        row = {name: getattr(found, name) for name in _EXEMPLARS.names if hasattr(found, name)}
        row["lower"], row["upper"] = found.box
        row["picture_lower"], row["picture_upper"] = found.picture_box or (None, None)
        rows.append(row)
    return pa.Table.from_pylist(rows, _EXEMPLARS)


def _exemplar(row: dict[str, Any]) -> Exemplar:
    def box(name: str) -> Box | None:
        lower, upper = row[f"{name}lower"], row[f"{name}upper"]
        return None if lower is None else (tuple(lower), tuple(upper))

    names = ("layer", "channel", "place", "image", "key", "label", "rank_value", "activation", "cut")
    return Exemplar(
        **{name: row[name] for name in names},
        position=tuple(row["position"]),
        plane=tuple(row["plane"]),
        box=box("") or ((), ()),
        picture_box=box("picture_"),
    )
