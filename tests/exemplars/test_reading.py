"""Remote data sets, records that cannot be used, several places of an image, and an index as it lies."""

import io
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exemplars.pictures import crops, folder, table

from unpool.exemplars import (
    Exemplar,
    Roots,
    ScanDone,
    ScanHeader,
    ScanIndex,
    ScanRequest,
    Store,
    open_dataset,
    scan,
)
from unpool.exemplars.examples import Example, examples
from unpool.graph.errors import InvalidArgumentError
from unpool.repository import Entry


@pytest.fixture
def remote() -> Iterator[str]:
    """A folder of fsspec's memory, which stands for any file system that is not local."""
    uri = f"memory://{uuid.uuid4().hex}"
    yield uri
    fsspec.filesystem("memory").rm(uri, recursive=True)


def scanned(
    entry: Entry, uri: str, index: Path, roots: Roots, request: ScanRequest | None = None
) -> tuple[ScanIndex, ScanDone]:
    store = Store(str(index))
    items = list(scan(entry, open_dataset(uri, roots), request or ScanRequest(("relu2",)), store))
    header = next(item for item in items if isinstance(item, ScanHeader))
    done = items[-1]
    assert isinstance(done, ScanDone)
    return ScanIndex(store, header.description), done


def ranked(exemplars: tuple[Exemplar, ...]) -> list[tuple[int, int, int, tuple[int, ...], float]]:
    return [(e.channel, e.place, e.image, e.position, e.rank_value) for e in exemplars]


def test_a_remote_data_set_gives_what_the_same_gives_locally(small: Entry, tmp_path: Path, remote: str) -> None:
    system, pictures = fsspec.filesystem("memory"), crops(10, 40)
    here = tmp_path / "data"
    folder(here / "pictures", pictures)
    table(here / "rows.parquet", pictures)
    np.save(here / "pixels.npy", np.stack(pictures))
    system.put(str(here), remote, recursive=True)
    roots = Roots.of([remote])
    for name in ("pictures", "rows.parquet", "pixels.npy"):
        local, done = scanned(small, str(here / name), tmp_path / "index", Roots(unrestricted=True))
        afar, done_afar = scanned(small, f"{remote}/{name}", tmp_path / "index", roots)
        assert local.folder != afar.folder
        assert local.exemplars("r2") == afar.exemplars("r2") != ()
        assert done == done_afar
        assert done.images == 10
    with pytest.raises(InvalidArgumentError, match="outside the data roots"):
        open_dataset("memory://elsewhere", roots)


def test_rows_and_files_that_are_no_pictures_are_counted_and_listed(small: Entry, tmp_path: Path) -> None:
    rows = []
    for pixels in crops(5, 40):
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        rows.append({"bytes": buffer.getvalue(), "path": "no picture"})
    pq.write_table(pa.table({"image": [*rows[:2], None, *rows[2:]]}), tmp_path / "broken.parquet")
    with pytest.raises(InvalidArgumentError, match=r"no record of .*broken\.parquet.* can be used"):
        scanned(small, str(tmp_path / "broken.parquet"), tmp_path / "index", Roots(unrestricted=True))
    good = table(tmp_path / "good.parquet", crops(5, 40))
    mixed = pa.concat_tables([pq.read_table(good).select(["image"]), pa.table({"image": [*rows[:2], None]})])
    pq.write_table(mixed, tmp_path / "mixed.parquet")
    index, done = scanned(small, str(tmp_path / "mixed.parquet"), tmp_path / "index", Roots(unrestricted=True))
    assert done.images == 5
    assert [record.index for record in done.skipped] == [5, 6, 7]
    assert all(record.key and record.reason for record in done.skipped)
    assert index.skipped() == done.skipped


def test_several_places_of_an_image_are_the_strongest_of_all(small: Entry, tmp_path: Path) -> None:
    uri = str(folder(tmp_path / "pictures", crops(8, 40)))
    request = ScanRequest(("relu2",), k=6, places=3)
    index, _ = scanned(small, uri, tmp_path / "index", Roots(unrestricted=True), request)
    dataset = open_dataset(uri, Roots(unrestricted=True))
    found: dict[int, list[tuple[float, int, tuple[int, ...]]]] = {channel: [] for channel in range(12)}
    for example in examples(small, dataset, range(len(dataset)), 1):
        if isinstance(example, Example):
            for channel, plane in enumerate(small.engine.run(example.feeds, ["r2"])["r2"][0]):
                places = sorted((-float(value), at) for at, value in np.ndenumerate(plane) if value > 0)
                found[channel] += [(value, example.index, at) for value, at in places[:3]]
    expected = [
        (channel, place, image, at, -value)
        for channel, some in found.items()
        for place, (value, image, at) in enumerate(sorted(some)[:6])
    ]
    assert ranked(index.exemplars("r2")) == expected
    assert any(a[2] == b[2] for a, b in pairwise(expected) if a[0] == b[0])


def test_pandas_reads_an_index_as_it_lies(small: Entry, tmp_path: Path) -> None:
    uri = str(folder(tmp_path / "pictures", crops(8, 40)))
    index, _ = scanned(small, uri, tmp_path / "index", Roots(unrestricted=True))
    where = tmp_path / "index" / index.folder
    frame = pd.read_parquet(where / "exemplars.parquet").sort_values(["channel", "place"])
    found = [(r.channel, r.place, r.image, tuple(r.position), r.rank_value) for r in frame.itertuples()]
    assert found == ranked(index.exemplars("r2"))
    channels = pd.read_parquet(where / "channels.parquet").set_index("channel")
    expected = {s.channel: (s.firing_rate, s.dead) for s in index.statistics("r2")}
    assert {c: (row.firing_rate, row.dead) for c, row in channels.iterrows()} == expected
    skipped = pd.read_parquet(where / "skipped.parquet")
    assert list(skipped["key"]) == [s.key for s in index.skipped()] != []


def test_duckdb_reads_an_index_as_it_lies(small: Entry, tmp_path: Path) -> None:
    uri = str(folder(tmp_path / "pictures", crops(8, 40)))
    index, _ = scanned(small, uri, tmp_path / "index", Roots(unrestricted=True))
    where = tmp_path / "index" / index.folder
    query = f"select channel, place, image, position, rank_value from '{where}/exemplars.parquet' order by all"
    found = [(c, p, i, tuple(at), value) for c, p, i, at, value in duckdb.sql(query).fetchall()]
    assert found == ranked(index.exemplars("r2"))
    query = f"select channel from '{where}/channels.parquet' where firing_rate < 0.5 and not dead order by channel"
    rare = [s.channel for s in index.statistics("r2") if s.firing_rate < 0.5 and not s.dead]
    assert [row[0] for row in duckdb.sql(query).fetchall()] == rare
    query = f"select index, key, reason from '{where}/skipped.parquet'"
    assert duckdb.sql(query).fetchall() == [(s.index, s.key, s.reason) for s in index.skipped()] != []
