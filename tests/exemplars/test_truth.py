"""A scan against a slow NumPy scan over plain ONNX Runtime activations, on real pictures."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.utils
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest
from tests.exemplars.apart import summary
from tests.exemplars.conftest import Open
from tests.exemplars.pictures import crops, folder

from unpool.exemplars import (
    Roots,
    ScanDone,
    ScanHeader,
    ScanIndex,
    Scanner,
    ScanRequest,
    Store,
    open_dataset,
    scan,
    shards,
)
from unpool.exemplars.examples import Example, examples
from unpool.exemplars.partial import NOBODY, merge_all
from unpool.exemplars.reduction import chosen_layers
from unpool.repository import Entry

ANY = Roots(unrestricted=True)
Activations = dict[str, npt.NDArray[np.float32]]


def scanned(entry: Entry, uri: Path, store: Path, request: ScanRequest) -> tuple[ScanIndex, ScanDone]:
    index, done = None, None
    for item in scan(entry, open_dataset(str(uri), ANY), request, Store(str(store))):
        if isinstance(item, ScanHeader):
            index = ScanIndex(Store(str(store)), item.description)
        elif isinstance(item, ScanDone):
            done = item
    assert index is not None
    assert done is not None
    return index, done


def activations(entry: Entry, uri: Path, names: list[str]) -> Iterator[tuple[Example, Activations]]:
    """Every example with some tensors of the normalised model, by a plain session without any fusion."""
    import onnx_ir as ir

    model = ir.to_proto(entry.engine.model.runtime)
    known = {v.name for v in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    dataset = open_dataset(str(uri), ANY)
    for example in examples(entry, dataset, range(len(dataset)), 1):
        if isinstance(example, Example):
            yield example, dict(zip(names, session.run(names, dict(example.feeds.arrays)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "imagenet_vgg16", "squeezenet"])
def test_a_scan_equals_brute_force(opened: Open, tmp_path: Path, name: str) -> None:
    entry = opened(name)
    pictures = folder(tmp_path / "pictures", crops(14))
    layers = chosen_layers(entry.engine, ())
    asked = [layers[1], layers[len(layers) // 2], layers[-1]]
    request = ScanRequest(tuple(x.name for x in asked), k=4, shard=5)
    index, done = scanned(entry, pictures, tmp_path / "index", request)
    assert (done.images, len(done.skipped)) == (14, 1)
    maxima: dict[str, list[npt.NDArray[np.float32]]] = {x.name: [] for x in asked}
    planes: dict[str, list[npt.NDArray[np.float32]]] = {x.name: [] for x in asked}
    numbers = []
    tensors = list(dict.fromkeys([*(x.name for x in asked), *(x.rank_name for x in asked)]))
    for example, values in activations(entry, pictures, tensors):
        numbers.append(example.index)
        for layer in asked:
            value = entry.engine.model.graph.values[layer.name]
            assert value.channel_axis is not None
            plane = np.moveaxis(values[layer.rank_name], value.channel_axis, 1)[0]
            planes[layer.name].append(plane)
            maxima[layer.name].append(plane.reshape(len(plane), -1).max(1))
    for layer in asked:
        expected = np.stack(maxima[layer.name])
        found = index.exemplars(layer.name)
        scale = float(expected.max())
        for channel in range(expected.shape[1]):
            mine = [e for e in found if e.channel == channel]
            column = expected[:, channel]
            order = [i for i in np.argsort(-column, kind="stable") if column[i] > 0][:4]
            np.testing.assert_allclose([e.rank_value for e in mine], column[order], atol=1e-5 * scale)
            for exemplar, i in zip(mine, order, strict=True):
                # Values that floats cannot tell apart may change places.
                if np.abs(np.delete(column, i) - column[i]).min() > 1e-4 * scale:
                    assert exemplar.image == numbers[i]
                    there = planes[layer.name][i][(channel, *exemplar.position)]
                    assert there == pytest.approx(column[i], abs=1e-5 * scale)
        statistics = index.statistics(layer.name)
        fires = expected > 1e-5 * scale
        assert all(s.fired >= fires[:, s.channel].sum() for s in statistics)
        np.testing.assert_allclose([s.mean for s in statistics], np.maximum(expected, 0).mean(0), atol=1e-5 * scale)
        np.testing.assert_allclose([s.maximum for s in statistics], expected.max(0), atol=1e-5 * scale)
        for s in statistics:
            median = float(np.quantile(np.maximum(expected[:, s.channel], 0), 0.5, method="inverted_cdf"))
            assert s.quantile(0.5) == pytest.approx(median, rel=1 / 14, abs=2**-16)


@pytest.mark.slow
def test_many_processes_give_what_one_gives(opened: Open, tmp_path: Path) -> None:
    entry = opened("squeezenet")
    pictures = folder(tmp_path / "pictures", crops(20))
    dataset = open_dataset(str(pictures), ANY)
    layers = chosen_layers(entry.engine, ())[:3]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(summary, repeat("squeezenet"), repeat(str(pictures)), shards(len(dataset), 4)))
    assert len(parts) == 6
    channels = sum(layer.channels or 0 for layer in layers)
    first, second = merge_all(parts, channels, 5), merge_all(reversed(parts), channels, 5)
    whole = [p for p in Scanner(entry, dataset, layers, 5).scan_shard(shards(len(dataset), 100)[0]) if p is not None]
    for other in (second, whole[0]):
        for field in ("images", "values", "fired", "largest", "counts", "sums"):
            assert np.array_equal(getattr(first, field), getattr(other, field)), field
        assert first.skipped == other.skipped
        assert first.count == other.count
    assert (first.images != NOBODY).any()


def test_firing_rates_count_images_and_not_positions(small: Entry, tmp_path: Path) -> None:
    dataset = open_dataset(str(folder(tmp_path / "pictures", crops(12, 40))), ANY)
    index, done = scanned(small, tmp_path / "pictures", tmp_path / "index", ScanRequest(("relu2",)))
    planes = [
        small.engine.run(example.feeds, ["r2"])["r2"][0]
        for example in examples(small, dataset, range(len(dataset)), 1)
        if isinstance(example, Example)
    ]
    maxima = np.array([plane.max((1, 2)) for plane in planes])
    table = pq.read_table(tmp_path / "index" / index.folder / "channels.parquet").to_pydict()
    assert table["images"] == [done.images] * 12 == [12] * 12
    assert table["fired"] == (maxima > 0).sum(0).tolist()
    assert table["firing_rate"] == ((maxima > 0).sum(0) / 12).tolist()
    assert table["dead"] == (maxima <= 0).all(0).tolist()
    positions = np.array([(plane > 0).mean((1, 2)) for plane in planes]).mean(0)
    assert not np.allclose(table["firing_rate"], positions)
    for bins, counts, column in zip(table["bins"], table["counts"], maxima.T, strict=True):
        expected = Counter(
            int(np.floor(np.log2(v)) + 16) * 8 + int(8 * (v / 2 ** np.floor(np.log2(v)) - 1)) for v in column if v > 0
        )
        assert dict(zip(bins, counts, strict=True)) == expected
