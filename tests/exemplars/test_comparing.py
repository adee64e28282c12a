"""The same features of several models or versions, side by side."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from onnx import numpy_helper
from tests.exemplars.pictures import crops, folder
from tests.service.small import network, put, recipe
from typer.testing import CliRunner

from unpool.client import (
    AsyncClient,
    Client,
    ComparedFeature,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    Side,
    SideProgress,
    sheets,
)
from unpool.client.commands.compare import compare
from unpool.engine import EngineSettings
from unpool.exemplars import Roots, ScanRequest
from unpool.exemplars.comparing import most_alike
from unpool.exemplars.cropping import Cropped
from unpool.repository import Entry, Repository
from unpool.service.exemplar_questions import EvolutionQuestion, EvolutionStep, ScanQuestion
from unpool.service.exemplars import ExemplarHandlers
from unpool.service.questions import ModelQuestion
from unpool.service.scheduler import Scheduler
from unpool.service.series import SeriesHandlers

ORDER = np.random.default_rng(0).permutation(12)


def shuffled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with other names, and its second convolution's channels in another order."""
    found = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in found.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name in ("w2", "b2"):
            tensor.CopyFrom(numpy_helper.from_array(array[ORDER], tensor.name))
        elif tensor.name == "w3":
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:, ORDER]), tensor.name))
    for node in found.graph.node:
        node.input[:] = [name.replace("r2", "late") for name in node.input]
        node.output[:] = [name.replace("r2", "late") for name in node.output]
        node.name = node.name.replace("relu2", "last")
    return found


@pytest.fixture
def both(models: Path) -> Path:
    """Two versions of one network, and a second network."""
    described = recipe(size={"height": 32, "width": 32}, rescale_factor=1 / 127)
    (put(models, "other", shuffled(network(1))) / "preprocessor_config.json").write_text(described)
    return models


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder(tmp_path / "pictures", crops(24, 40))


@pytest.fixture
def client(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Client.embedded(both, device="cpu") as client:
        yield client


def test_two_versions_beside_each_other(client: Client, pictures: Path) -> None:
    stream = client.compare(
        [Side("small", 1), Side("small", 2)], pictures, layer="relu2", channels=[7, 0, 7], count=4, policy="guided"
    )
    header = stream.header
    assert [(s.model, s.version, s.layer, s.channels) for s in header.sides] == [
        ("small", 1, "r2", 12),
        ("small", 2, "r2", 12),
    ]
    assert header.sides[0].digest != header.sides[1].digest
    assert header.channels == (7, 0, 7)
    items = list(stream)
    assert {i.side for i in items if isinstance(i, SideProgress)} == {0, 1}
    found = [i for i in items if isinstance(i, ComparedFeature)]
    assert [(f.side, f.feature, f.channel) for f in found] == [
        (side, feature, channel) for side in (0, 1) for feature, channel in enumerate((7, 0, 7))
    ]
    kept = {
        (version, c.channel): c
        for version in (1, 2)
        for c in client.channels("small", layer="relu2", version=version, dataset=pictures)
    }
    assert any(kept[2, channel].exemplars for channel in (7, 0))
    for one in found:
        expected, first = kept[one.side + 1, one.channel or 0], kept[1, header.channels[one.feature]]
        assert tuple(p.exemplar for p in one.exemplars) == expected.exemplars[:4]
        # All that were kept count, not only those that are shown.
        assert one.shared == len({e.image for e in expected.exemplars} & {e.image for e in first.exemplars})
        assert (one.firing_rate, one.maximum) == (expected.firing_rate, expected.maximum)
        if not expected.exemplars:
            continue
        alone = client.project_exemplars(
            "small", layer="relu2", channels=one.channel or 0, version=one.side + 1, count=4, policy="guided"
        )
        for mine, its in zip(one.exemplars, sorted(alone, key=lambda p: p.exemplar.place), strict=True):
            assert np.array_equal(mine.projection.signal, its.projection.signal)
            assert mine.patch_png == its.patch_png
            assert mine.projection.header.provenance.version == one.side + 1
    again = client.compare([Side("small", 1), "small"], pictures, layer="relu2", channels=0, signals=False)
    assert again.header.sides[1].version == 2
    assert not [i for i in again if isinstance(i, SideProgress)]


def test_alike_features_of_two_models_are_found(client: Client, pictures: Path, tmp_path: Path) -> None:
    sides = [Side("small", 1), Side("other", layer="late")]
    items = list(client.compare(sides, pictures, layer="relu2", channels=range(12), match=True))
    found = {(i.side, i.feature): i for i in items if isinstance(i, ComparedFeature)}
    seen = [{e.image for e in c.exemplars} for c in client.channels("other", layer="late")]
    tried = 0
    for feature in range(12):
        first, second = found[0, feature], found[1, feature]
        assert first.channel == feature
        mine = {p.exemplar.image for p in first.exemplars}
        if not mine:
            assert (second.channel, second.exemplars, second.shared) == (None, (), 0)
            continue
        shares = [len(mine & its) for its in seen]
        assert (second.channel, second.shared) == (int(np.argmax(shares)), max(shares))
        if shares.count(max(shares)) == 1:
            tried += 1
            assert second.channel == int(np.flatnonzero(feature == ORDER)[0])
            assert second.shared == len(mine) == first.shared
            for one, its in zip(first.exemplars, second.exemplars, strict=True):
                assert one.exemplar.image == its.exemplar.image
                np.testing.assert_allclose(one.projection.signal, its.projection.signal, atol=1e-5)
    assert tried > 3
    figure = sheets.comparison(found.values(), title="small and other")
    figure.save(tmp_path / "comparison.png")
    assert figure.width > 2 * 6 * 72


def test_nothing_alike() -> None:
    assert most_alike({1, 2}, {0: {3}, 1: set()}) is None
    assert most_alike(set(), {0: {3}}) is None
    assert most_alike({1, 2, 3}, {5: {1, 2}, 2: {2, 3}, 9: {3}}) == 2


def test_what_is_wrong_is_told_before_anything_is_scanned(client: Client, pictures: Path) -> None:
    def ask(*sides: Side, channels: tuple[int, ...] = (0,), layer: str = "relu2") -> None:
        list(client.compare(sides, pictures, layer=layer, channels=channels))

    small = Side("small")
    with pytest.raises(InvalidArgumentError, match=r"sides.*2 to 8"):
        ask(small)
    with pytest.raises(NotFoundError, match="relu2"):
        ask(small, Side("other"))
    with pytest.raises(NotFoundError, match="nobody"):
        ask(small, Side("nobody"))
    with pytest.raises(OutOfRangeError, match=r"sides\[1\]\.channels\[0\]"):
        ask(small, Side("other", layer="late", channels=(12,)))
    with pytest.raises(InvalidArgumentError, match=r"sides\[1\]\.channels.*one for each"):
        ask(small, Side("other", layer="late", channels=(1, 2)))
    with pytest.raises(InvalidArgumentError, match=r"sides\[0\]\.channels"):
        ask(small, small, channels=())
    with pytest.raises(InvalidArgumentError, match=r"sides\[0\]\.layer"):
        ask(small, small, layer="")
    with pytest.raises(InvalidArgumentError, match=r"sides\[1\]\.model"):
        ask(small, Side(""))
    assert client.scan("small", pictures, layers="relu2").header.done == 0


async def test_the_asynchronous_client_asks_the_same(client: Client, pictures: Path) -> None:
    async with AsyncClient(client.target) as other:
        stream = other.compare(["small", Side("other", layer="late")], pictures, layer="relu2", channels=[3])
        found = [i async for i in stream if isinstance(i, ComparedFeature)]
    assert [(f.about.model, f.channel) for f in found] == [("small", 3), ("other", 3)]


def test_the_verb(both: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    app, runner = typer.Typer(), CliRunner()
    app.command()(compare)
    figure = tmp_path / "out" / "comparison.png"
    where = [f"{both / 'small'}@1", str(both / "other"), str(pictures), "-l", "relu2", "--other-layer", "late"]
    done = runner.invoke(app, [*where, "-c", "1", "-c", "2", "--match", "-n", "3", "-o", str(figure)])
    assert done.exit_code == 0, done.output
    assert "small@1" in done.output
    assert "other@1" in done.output
    assert figure.exists()
    wrong = runner.invoke(app, [str(both / "small"), "other", str(pictures), "-l", "relu2", "-c", "1"])
    assert isinstance(wrong.exception, InvalidArgumentError)


class Gated(Repository):
    """Loading the second version waits for a gate."""

    begun, gate = threading.Event(), threading.Event()

    @contextmanager
    def lend(self, name: str, version: int | None = None) -> Iterator[Entry]:
        if version == 2:
            self.begun.set()
            assert self.gate.wait(60)
        with super().lend(name, version) as entry:
            yield entry


async def test_others_go_on_while_an_evolution_loads_a_version(models: Path, pictures: Path, tmp_path: Path) -> None:
    repository = Gated(models, engine_settings=EngineSettings(device="cpu", threads=1))
    about = (repository, Roots(unrestricted=True), str(tmp_path / "index"), Cropped())
    scheduler = Scheduler()
    evolution = EvolutionQuestion("small", (), str(pictures), "relu2", (0, 1))
    async with scheduler.submit(lambda: SeriesHandlers(*about).evolution(evolution)) as answers:
        for _ in range(6000):
            if repository.begun.is_set():
                break
            await asyncio.sleep(0.01)
        other = ScanQuestion(ModelQuestion("small", 1), str(pictures), ScanRequest(("relu1",)))
        async with scheduler.submit(lambda: ExemplarHandlers(*about).scan(other)) as progress:
            assert [item async for item in progress]
        assert not repository.gate.is_set()
        repository.gate.set()
        steps = [item async for item in answers if isinstance(item, EvolutionStep)]
    assert [(s.version, s.channel) for s in steps] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    await scheduler.idle()
    assert scheduler.close()
    repository.close()
