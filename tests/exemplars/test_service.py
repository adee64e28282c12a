"""Data sets through a real server and the thin client."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.exemplars.pictures import crops, folder, table
from tests.service.small import network, put

from unpool.client import (
    AsyncClient,
    BusyError,
    Client,
    EvolutionStep,
    InvalidArgumentError,
    OutOfRangeError,
    PreconditionError,
    Settling,
)
from unpool.v1 import exemplar_service_pb2, exemplar_service_pb2_grpc, input_pb2


class Server:
    """`unpool serve` as a process, on a Unix socket, with data roots and an index of its own."""

    def __init__(self, models: Path, home: Path, *roots: Path) -> None:
        socket = home / "s"
        command = [sys.executable, "-m", "unpool.service", "--models", str(models), "--uds", str(socket)]
        command += ["--device", "cpu", "--threads", "1", "--index", str(home / "index")]
        for root in roots:
            command += ["--data", str(root)]
        self.log = (home / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.target = f"unix:{socket}"
        for _ in range(600):
            try:
                with Client(self.target) as client:
                    client.models(timeout=1)
                return
            except Exception:
                assert self.process.poll() is None, (home / "log").read_text()
                time.sleep(0.1)
        raise AssertionError("the server did not answer")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    folder(tmp_path / "data" / "pictures", crops(24, 40))
    table(tmp_path / "data" / "rows.parquet", crops(24, 40))
    np.save(tmp_path / "data" / "pixels.npy", np.stack(crops(24, 40)))
    return tmp_path / "data"


@pytest.fixture
def target(models: Path, tmp_path: Path, data: Path) -> Iterator[str]:
    server = Server(models, tmp_path, data)
    yield server.target
    server.kill()


def test_channels_rank_by_how_they_stand_among_the_images_of_a_data_set(target: str, data: Path) -> None:
    pictures = sorted(p for p in (data / "pictures").rglob("*.*") if "broken" not in p.name)
    shown = pictures[3]
    with Client(target) as client:
        with pytest.raises(PreconditionError, match="scan"):
            list(client.project("small", shown, layer="relu2", top=3, against=""))
        with pytest.raises(InvalidArgumentError, match="channels"):
            client.project("small", shown, layer="relu2", channels=1, against="")
        list(client.scan("small", data / "pictures"))
        captures = [next(iter(client.capture("small", picture, layers="relu2"))) for picture in pictures]
        maxima = np.array([capture.values.max((0, 2, 3)) for capture in captures])
        mine = maxima[3]
        share = (maxima < mine).mean(0)
        stream = client.project("small", shown, layer="relu2", top=12, against=data / "pictures")
        found = sorted(stream, key=lambda projection: projection.index)
        assert [p.standing for p in found] == sorted((p.standing or 0.0 for p in found), reverse=True)
        assert [p.channel for p in found] != np.argsort(-mine, kind="stable").tolist()
        for one in found:
            # As many images as lie within a bin of its value may be counted either way.
            near = (np.abs(maxima[:, one.channel] / max(mine[one.channel], 1e-9) - 1) < 1 / 8).mean()
            assert one.standing == pytest.approx(share[one.channel], abs=near + 1e-6)
        assert next(client.project("small", shown, layer="relu2", top=1)).standing is None


def test_a_scan_its_exemplars_patches_and_projections(target: str, data: Path, tmp_path: Path) -> None:
    with Client(target) as client:
        stream = client.scan("small", data / "pictures", k=3)
        assert not stream.header.complete
        assert len(stream.header.layers) == 2
        last = list(stream)[-1]
        assert (last.phase, last.done, last.skipped_count, last.channels) == ("done", 24, 1, 20)
        assert last.skipped[0].key == "a/broken.jpg"
        again = client.scan("small", data / "pictures", k=3)
        assert again.header.complete
        assert list(again)[-1] == last
        channels = list(client.channels("small", layer="relu2", dataset=data / "pictures"))
        others = list(client.channels("small", layer="relu1"))
        assert [c.channel for c in channels] == list(range(12))
        alive = next(c for c in channels if len(c.exemplars) == 3)
        assert alive.exemplars == client.exemplars("small", layer="relu2", channel=alive.channel)
        assert [e.rank_value for e in alive.exemplars] == sorted((e.rank_value for e in alive.exemplars), reverse=True)
        assert alive.exemplars[0].label in ("a", "b")
        found = list(client.project_exemplars("small", layer="relu2", channels=[alive.channel]))
        assert sorted(p.exemplar.place for p in found) == [0, 1, 2]
        for one in found:
            # The same unit asked for on its own picture, whole.
            picture = data / "pictures" / one.exemplar.key
            alone = next(
                client.project(
                    "small", picture, layer="relu2", channels=alive.channel, positions=[one.exemplar.position]
                )
            )
            assert alone.activation == pytest.approx(one.exemplar.activation, rel=1e-4)
            assert (alone.box, alone.picture_box) == (one.exemplar.box, one.exemplar.picture_box)
            np.testing.assert_allclose(one.projection.full(), alone.full(), atol=1e-5 * np.abs(alone.signal).max())
            top, left, bottom, right = one.exemplar.picture_box or ()
            expected = np.asarray(Image.open(picture).crop((left, top, right, bottom)))
            assert np.array_equal(np.asarray(one.patch), expected)
            png = client.patch("small", layer="relu2", channel=alive.channel, place=one.exemplar.place)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
    written = next((tmp_path / "index").glob("*/*/*/exemplars.parquet"))
    assert pq.read_table(written).num_rows == sum(len(c.exemplars) for c in [*channels, *others])
    assert json.loads((written.parent / "scan.json").read_text())["complete"]


def test_a_pixel_outside_the_patch_changes_nothing(target: str, data: Path) -> None:
    with Client(target) as client:
        list(client.scan("small", data / "pictures", layers="relu1", k=2))
        for channel in client.channels("small", layer="relu1"):
            for exemplar in channel.exemplars:
                pixels = np.array(Image.open(data / "pictures" / exemplar.key).resize((32, 32)))
                other = np.full_like(pixels, 255 * (pixels[0, 0, 0] < 128))
                top, left, bottom, right = exemplar.box
                other[top:bottom, left:right] = pixels[top:bottom, left:right]
                seen = [
                    next(
                        client.project(
                            "small",
                            shown,
                            layer="relu1",
                            channels=exemplar.channel,
                            positions=[exemplar.position],
                        )
                    ).activation
                    for shown in (pixels, other)
                ]
                assert seen[0] == pytest.approx(seen[1], rel=1e-5)


def test_every_kind_of_data_set_gives_the_same(target: str, data: Path) -> None:
    with Client(target) as client:
        answers = []
        for name in ("rows.parquet", "pixels.npy"):
            list(client.scan("small", data / name, layers="relu2"))
            found = list(client.channels("small", layer="relu2", dataset=data / name))
            answers.append([[(e.image, e.position, e.rank_value) for e in c.exemplars] for c in found])
        assert answers[0] == answers[1]
        assert client.exemplars("small", layer="relu2", channel=_alive(answers[0]), dataset=data / "rows.parquet")[
            0
        ].label in ("ant", "bee")


def _alive(found: list[list[tuple[int, tuple[int, ...], float]]]) -> int:
    return next(i for i, one in enumerate(found) if one)


def test_refusals_say_what_is_wrong(target: str, data: Path, tmp_path: Path) -> None:
    (data / "empty").mkdir()
    (data / "out").symlink_to(tmp_path / "models")
    (data / "hidden.png").symlink_to("/etc/hostname")
    with Client(target) as client:
        for uri in ("/etc", tmp_path, data / "..", "http://localhost/x", "file:///etc", "memory://x", data / "out"):
            with pytest.raises(InvalidArgumentError, match="outside the data roots"):
                list(client.scan("small", uri))
        with pytest.raises(InvalidArgumentError, match="not a plain URI"):
            list(client.scan("small", "simplecache::file:///etc"))
        for uri in (data / "empty", data / "nowhere"):
            with pytest.raises(InvalidArgumentError, match=r"nothing|cannot be read"):
                list(client.scan("small", uri))
        with pytest.raises(Exception, match="no layer 'conv9'"):
            list(client.scan("small", data / "pixels.npy", layers="conv9"))
        with pytest.raises(PreconditionError, match="has not been scanned"):
            client.exemplars("small", layer="relu2", channel=0)
        list(client.scan("small", data / "pixels.npy", layers="relu2", version=1))
        with pytest.raises(PreconditionError, match="made by version 1"):
            client.exemplars("small", layer="relu2", channel=0, version=2, dataset=data / "pixels.npy")
        with pytest.raises(OutOfRangeError):
            client.exemplars("small", layer="relu2", channel=99, version=1)
        np.save(data / "pixels.npy", np.stack(crops(25, 40)))
        time.sleep(10.5)  # how long an opened data set is taken for what it was
        with pytest.raises(PreconditionError, match="has changed"):
            client.exemplars("small", layer="relu2", channel=0, version=1)


def test_without_roots_nothing_is_read(models: Path, tmp_path: Path, data: Path) -> None:
    server = Server(models, tmp_path)
    try:
        with Client(server.target) as client, pytest.raises(InvalidArgumentError, match="no data roots"):
            list(client.scan("small", data / "pixels.npy"))
    finally:
        server.kill()


def test_a_killed_scan_goes_on_and_gives_the_same(models: Path, tmp_path: Path, data: Path) -> None:
    np.save(data / "many.npy", np.random.default_rng(0).integers(0, 256, (6000, 32, 32, 3), np.uint8))
    other = tmp_path / "other"
    other.mkdir()
    server = Server(models, other, data)
    with Client(server.target) as client:
        list(client.scan("small", data / "many.npy"))
        expected = list(client.channels("small", layer="relu2"))
    server.kill()
    server = Server(models, tmp_path, data)
    with Client(server.target) as client:
        done = 0
        for progress in client.scan("small", data / "many.npy"):
            done = progress.done
            if done >= 1024:
                break
        server.kill()
    committed = list((tmp_path / "index").glob("*/*/*/shards/*.parquet"))
    assert 2 <= len(committed) < 12
    assert os.path.exists(committed[0].parent.parent / "scan.json")  # noqa: PTH110
    server = Server(models, tmp_path, data)
    try:
        with Client(server.target) as client:
            stream = client.scan("small", data / "many.npy")
            assert stream.header.done == 512 * len(committed)
            list(stream)
            assert list(client.channels("small", layer="relu2")) == expected
    finally:
        server.kill()


def test_two_scans_of_one_index_at_once(target: str, data: Path) -> None:
    np.save(data / "many.npy", np.random.default_rng(0).integers(0, 256, (4000, 32, 32, 3), np.uint8))
    with Client(target) as client:
        first = client.scan("small", data / "many.npy")
        assert first.header.done == 0
        with pytest.raises(BusyError, match="another scan"):
            list(client.scan("small", data / "many.npy"))
        seen = next(first).done
        first.close()
        time.sleep(1)
        again = client.scan("small", data / "many.npy")
        # Leaving loses nothing of what was committed.
        assert again.header.done >= seen >= 512
        assert list(again)[-1].done == 4000


def test_channels_come_in_pages(target: str, data: Path) -> None:
    with Client(target) as client, grpc.insecure_channel(target) as channel:
        list(client.scan("small", data / "pixels.npy", layers="relu2"))
        ask = exemplar_service_pb2_grpc.ExemplarServiceStub(channel).ListExemplars
        request = exemplar_service_pb2.ListExemplarsRequest(
            model=input_pb2.ModelSpec(name="small"), layer="relu2", page_size=5
        )
        sizes, channels = [], []
        while True:
            page = ask(request)
            sizes.append(len(page.channels))
            channels += [(c.channel, len(c.exemplars)) for c in page.channels]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert sizes == [5, 5, 2]
        assert channels == [(c.channel, len(c.exemplars)) for c in client.channels("small", layer="relu2")]
        request.page_token = "nonsense"
        with pytest.raises(grpc.RpcError, match="page_token"):
            ask(request)


def test_an_evolution_over_versions(target: str, data: Path) -> None:
    with Client(target) as client:
        stream = client.evolution("small", data / "pixels.npy", layer="relu2", channels=range(12))
        assert stream.header.versions == (1, 2)
        items = list(stream)
        steps = [item for item in items if isinstance(item, EvolutionStep)]
        settled = [item for item in items if isinstance(item, Settling)]
        assert len(steps) == 24
        strongest = {}
        for version in (1, 2):
            for channel in client.channels("small", layer="relu2", version=version, dataset=data / "pixels.npy"):
                strongest[version, channel.channel] = next((e.image for e in channel.exemplars), None)
        for step in steps:
            mine = None if step.strongest is None else step.strongest.exemplar.image
            assert mine == strongest[step.version, step.channel]
        changed = sum(strongest[1, c] != strongest[2, c] for c in range(12))
        assert [(s.earlier, s.later, s.changed, s.channels) for s in settled] == [(1, 2, changed, 12)]


async def test_the_asynchronous_client_asks_the_same(target: str, data: Path) -> None:
    async with AsyncClient(target) as client:
        progress = [p async for p in client.scan("small", data / "pixels.npy", layers="relu2")]
        assert progress[-1].phase == "done"
        channels = [c async for c in client.channels("small", layer="relu2")]
        alive = next(c.channel for c in channels if c.exemplars)
        exemplars = await client.exemplars("small", layer="relu2", channel=alive)
        assert exemplars == channels[alive].exemplars
        assert await client.patch("small", layer="relu2", channel=alive)
        found = [p async for p in client.project_exemplars("small", layer="relu2", channels=alive, count=2)]
        assert len(found) == min(2, len(exemplars))
        steps = [s async for s in client.evolution("small", data / "pixels.npy", layer="relu2", channels=[alive])]
        assert steps
    await asyncio.sleep(0)


def test_a_third_version_is_only_scanned_itself(models: Path, target: str, data: Path) -> None:
    with Client(target) as client:
        list(client.evolution("small", data / "pixels.npy", layer="relu2", channels=[0]))
        put(models, "small", network(7), 3)
        items = list(client.evolution("small", data / "pixels.npy", layer="relu2", channels=[0]))
        assert {item.version for item in items if not isinstance(item, EvolutionStep | Settling)} == {3}
