"""Occlusion over the wire: the client's grids beside runs of ONNX Runtime, its refusals, and the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from tests.service.conftest import Serve
from tests.service.small import SIZE, encoded, network, photograph, put, two_inputs, without_channels
from typer.testing import CliRunner

from unpool.client import AsyncClient, Client, OcclusionGrid, Region, errors
from unpool.client.cli import expecting
from unpool.client.commands.occlude import nearest, occlude, sketch
from unpool.service.settings import ServiceSettings

Floats = npt.NDArray[np.float32]


def brute(
    x: Floats, fill: Floats, window: int, stride: int, names: tuple[str, ...] = ("scores",)
) -> list[npt.NDArray[np.float64]]:
    """Each occluded input through ONNX Runtime by itself, row by row."""
    import onnx

    model = network()
    kept = [o.name for o in model.graph.output]
    for name in names:
        if name not in kept:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[list[npt.NDArray[np.float64]]] = [[] for _ in names]
    for top in range(0, SIZE - window + 1, stride):
        for left in range(0, SIZE - window + 1, stride):
            hidden = x.copy()
            area = (..., slice(top, top + window), slice(left, left + window))
            hidden[area] = fill[area]
            for i, value in enumerate(session.run(list(names), {"image": hidden})):
                found[i].append(value.astype(np.float64)[0])
    return [np.stack(rows) for rows in found]


@pytest.fixture
def x() -> Floats:
    return np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)


async def test_a_grid_over_the_wire_equals_runs_of_onnx_runtime(serve: Serve, x: Floats) -> None:
    fill = np.full_like(x, 0.5)
    scores, maps = brute(x, fill, 8, 5, ("scores", "r2"))

    def ask(target: str) -> OcclusionGrid:
        with Client(target) as client:
            stream = client.occlude(
                "small", tensor=x, window=8, stride=5, targets=[2, "emu", Region((1,), (3,))], fill=0.5, layer="r2",
                projection=True,
            )  # fmt: skip
            sizes = [len(tile.numbers) for tile in stream if tile.coarse]
            assert 0 < sum(sizes) <= 25 // 10
            return stream.grid()

    async with serve() as (server, _):
        grid = await asyncio.to_thread(ask, server.address)
    assert grid.header.shape == (5, 5)
    assert [b.tolist() for b in grid.header.begins] == [[0, 5, 10, 15, 20]] * 2
    np.testing.assert_allclose(grid.scores[2].ravel(), scores[:, 2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grid.scores["emu"].ravel(), scores[:, 4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grid.scores[Region((1,), (3,))].ravel(), scores[:, 1:3].sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(grid.labels.ravel(), scores.argmax(1))
    np.testing.assert_allclose(
        grid.layer_activation.ravel(), maps[:, grid.header.channel].sum((1, 2)), rtol=1e-5, atol=1e-6
    )
    baseline = grid.target(2).baseline
    np.testing.assert_allclose(grid.drop(2), np.float32(baseline) - grid.scores[2])
    assert grid.projection is not None
    assert grid.projection.channel == grid.header.channel
    assert not len(grid.missing)


async def test_missing_tiles_alone_can_be_asked_for(serve: Serve, x: Floats) -> None:
    async with serve() as (server, _), AsyncClient(server.address) as client:
        whole = await client.occlude("small", tensor=x, window=8, stride=8, targets=1).grid()
        stream = client.occlude("small", tensor=x, window=8, stride=8, targets=1, only=[0, 3, 7])
        part = await stream.grid()
        rest = await client.occlude("small", tensor=x, window=8, stride=8, targets=1, only=part.missing).grid()
    assert sorted(set(range(16)) - set(part.missing.tolist())) == [0, 3, 7]
    np.testing.assert_allclose(part.merged(rest).scores[1], whole.scores[1], rtol=1e-5)


async def test_a_picture_is_hidden_with_the_mean_colour_in_its_own_order(serve: Serve) -> None:
    picture = photograph(SIZE, SIZE)
    x = np.asarray(picture, np.float32).transpose(2, 0, 1)[None, ::-1] / 127
    x = np.ascontiguousarray(x)
    fill = np.empty_like(x)
    fill[:] = np.array([30, 20, 10], np.float32).reshape(1, 3, 1, 1) / 127  # fed BGR, asked for as RGB
    scores = brute(x, fill, 10, 11)[0]

    def ask(target: str, image: bytes) -> OcclusionGrid:
        with Client(target) as client:
            return client.occlude("small", image, window=10, stride=11, targets=0, fill=(10, 20, 30)).grid()

    async with serve() as (server, _):
        # 36 by 36, of which the preprocessing cuts the middle: the picture lies there as it is.
        padded = photograph(36, 36)
        padded.paste(picture, (2, 2))
        grid = await asyncio.to_thread(ask, server.address, encoded(padded))
        np.testing.assert_allclose(grid.scores[0].ravel(), scores[:, 0], rtol=1e-4, atol=1e-5)
        overlay, panel = grid.overlay(padded), grid.figure(padded)
        assert overlay.size == padded.size
        assert panel.width > 400
        assert np.asarray(overlay)[0, 0].tolist() == list(padded.getpixel((0, 0)))  # beyond the crop nothing is laid


REFUSED = [
    ({"window": 33}, "window"),
    ({"window": [3, 4, 5]}, "window"),
    ({"stride": 0}, "stride"),
    ({"positions": [(0, 30)]}, "positions[0]"),
    ({"positions": [(0,)]}, "positions[0]"),
    ({"targets": [5]}, "targets[0]"),
    ({"targets": ["eagle"]}, "targets[0].label"),
    ({"targets": [Region((0, 0), (1, 1))]}, "targets[0]"),
    ({"targets": [1, Region((0,), (1,), "score")]}, "targets[1].output"),
    ({"positions": []}, "positions"),
    ({"positions": [(0, 0)], "stride": 2}, "stride"),
    ({"fill": np.zeros((2, 3), np.float32)}, "fill"),
    ({"fill": (1.0, 2.0)}, "fill"),
    ({"only": [99]}, "only[0]"),
    ({"layer": "scores", "projection": True, "window": 40}, "window"),
]


async def test_what_cannot_be_is_refused_by_field(serve: Serve, x: Floats) -> None:
    async with serve() as (server, _), AsyncClient(server.address) as client:
        for extra, field in REFUSED:
            with pytest.raises(errors.InvalidArgumentError) as caught:
                await client.occlude("small", tensor=x, **({"window": 8} | extra)).grid()
            assert caught.value.field.startswith(field), (extra, caught.value)
        with pytest.raises(errors.InvalidArgumentError, match="emu"):
            await client.occlude("small", tensor=x, window=8, targets="emus").grid()
        with pytest.raises(errors.NotFoundError, match="r2"):
            await client.occlude("small", tensor=x, window=8, layer="r22").grid()
        with pytest.raises(errors.InvalidArgumentError, match="did you mean scores"):
            await client.occlude("small", tensor=x, window=8, targets=Region((0,), (1,), "score")).grid()
        with pytest.raises(errors.InvalidArgumentError, match="0 to 4"):
            await client.occlude("small", tensor=x, window=8, targets=5).grid()


async def test_a_layer_without_channels_has_no_strongest_map(serve: Serve, models: Path) -> None:
    put(models, "flat", without_channels())
    x = np.ones((1, 3, 8, 8), np.float32)
    async with serve() as (server, _), AsyncClient(server.address) as client:
        with pytest.raises(errors.InvalidArgumentError, match="'out' has no channel axis") as caught:
            await client.occlude("flat", tensor=x, window=2, layer="out").grid()
        assert caught.value.field == "layer"
        # The output itself can be scored, and so can the layer in front, which has channels.
        target = Region((0, 0), (8, 8), "out")
        grid = await client.occlude("flat", tensor=x, window=2, targets=target, layer="c").grid()
    assert grid.scores[target].shape == grid.layer_activation.shape == (7, 7)


async def test_a_grid_beyond_the_budget_tells_the_stride_that_fits(serve: Serve, x: Floats) -> None:
    async with serve(ServiceSettings(port=0, positions=30)) as (server, _), AsyncClient(server.address) as client:
        with pytest.raises(errors.BusyError, match="stride of 5 by 5 fits"):
            await client.occlude("small", tensor=x, window=8, stride=2).grid()
        grid = await client.occlude("small", tensor=x, window=8, stride=5).grid()
    assert grid.scores[grid.header.targets[0].key].shape == (5, 5)


async def test_of_several_inputs_one_is_hidden(serve: Serve) -> None:
    rng = np.random.default_rng(1)
    inputs = {name: rng.normal(size=(1, 3, 8, 8)).astype(np.float32) for name in ("left", "right")}
    async with serve() as (server, _), AsyncClient(server.address) as client:
        target = Region((0, 0, 0), (4, 8, 8), "out")
        grid = await client.occlude("pair", inputs=inputs, of="right", window=3, stride=5, targets=target).grid()
    session = ort.InferenceSession(two_inputs().SerializeToString(), providers=["CPUExecutionProvider"])
    whole = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            hidden = {name: array.copy() for name, array in inputs.items()}
            hidden["right"][..., 5 * i : 5 * i + 3, 5 * j : 5 * j + 3] = 0
            whole[i, j] = session.run(["out"], hidden)[0].sum(dtype=np.float64)
    assert len(np.unique(whole)) == 4
    np.testing.assert_allclose(grid.scores[target], whole, rtol=1e-5)


async def test_each_of_several_pictures_has_the_grid_that_it_has_alone(serve: Serve) -> None:
    pictures = [encoded(photograph(50, 40, seed=i)) for i in range(3)]
    options: dict[str, Any] = {"window": 8, "stride": 5, "targets": [2, "emu"], "layer": "r2", "projection": True}

    def ask(target: str) -> None:
        with Client(target) as client:
            stream = client.occlude("small", images=pictures, **options)
            assert stream.total == 75
            order = []
            for tile in stream:
                assert np.isnan(stream.so_far(tile.header.example).scores[2]).sum() == 25 - tile.completed
                order.append((tile.header.example, tile.completed))
                if tile.header.example == 1:
                    break  # the first is whole, and is given all the same
            grids = list(stream.grids())
            assert order == sorted(order)
            assert [grid.header.example for grid in grids] == [0, 1, 2]
            for picture, grid in zip(pictures, grids, strict=True):
                alone = client.occlude("small", picture, **options).grid()
                assert grid.header.provenance.input_digest == alone.header.provenance.input_digest
                assert grid.header.channel == alone.header.channel
                assert not len(grid.missing)
                for key, wanted in alone.scores.items():
                    np.testing.assert_array_equal(grid.scores[key], wanted)
                np.testing.assert_array_equal(grid.layer_activation, alone.layer_activation)
                assert grid.projection is not None
                assert alone.projection is not None
                np.testing.assert_array_equal(grid.projection.signal, alone.projection.signal)
            assert len({grid.header.provenance.input_digest for grid in grids}) == 3
            with pytest.raises(ValueError, match="3 grids"):
                stream.grid()

    async with serve() as (server, _):
        await asyncio.to_thread(ask, server.address)
        async with AsyncClient(server.address) as client:
            found = [grid async for grid in client.occlude("small", images=pictures[:2], window=8, stride=8).grids()]
            assert [grid.labels.shape for grid in found] == [(4, 4)] * 2


async def test_several_examples_of_arrays_have_the_grids_that_they_have_alone(serve: Serve, tmp_path: Path) -> None:
    import typer

    rng = np.random.default_rng(5)
    single = [rng.normal(size=(1, 3, 32, 32)).astype(np.float32) for _ in range(2)]
    both = [{name: rng.normal(size=(1, 3, 8, 8)).astype(np.float32) for name in ("left", "right")} for _ in range(3)]
    target = Region((0, 0, 0), (4, 8, 8), "out")
    options: dict[str, Any] = {"window": 3, "stride": 5, "targets": target}

    def ask(address: str) -> list[np.ndarray]:
        with Client(address) as client:
            grids = list(client.occlude("pair", tensors=both, of="right", **options).grids())
            alone = [client.occlude("pair", inputs=each, of="right", **options).grid() for each in both]
            for grid, wanted in zip(grids, alone, strict=True):
                np.testing.assert_array_equal(grid.scores[target], wanted.scores[target])
            other = list(client.occlude("pair", tensors=both, of="left", **options).grids())
            assert not np.array_equal(other[0].scores[target], grids[0].scores[target])
            found = list(client.occlude("small", tensors=single, window=8, stride=8, targets=1).grids())
            for grid, x in zip(found, single, strict=True):
                wanted = client.occlude("small", tensor=x, window=8, stride=8, targets=1).grid()
                np.testing.assert_array_equal(grid.scores[1], wanted.scores[1])
            return [grid.scores[1] for grid in found]

    for i, x in enumerate(single):
        np.save(tmp_path / f"x{i}.npy", x)
    np.savez(tmp_path / "named.npz", **{"image": single[0]})
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    app = typer.Typer()
    app.command()(expecting(occlude))
    async with serve() as (server, _):
        scores = await asyncio.to_thread(ask, server.address)
        async with AsyncClient(server.address) as client:
            found = [g async for g in client.occlude("pair", tensors=both[:2], of="right", **options).grids()]
            assert len(found) == 2
            for wrong, field in (([], "tensors"), (single[0], "tensors"), ([{"left": "text"}], "tensors[0]")):
                with pytest.raises(errors.InvalidArgumentError) as caught:
                    await anext(client.occlude("pair", tensors=wrong, **options))
                assert caught.value.field.startswith(field)
            with pytest.raises(errors.InvalidArgumentError) as caught:
                await anext(client.occlude("pair", tensors=both, inputs=both[0], **options))
            assert caught.value.field == "tensors"
        wanted = ["small", "--server", server.address, "-w", "8", "--stride", "8", "-t", "1", "--json"]
        names = ["x0.npy", "x1.npy", "named.npz"]
        several = [*wanted, *(part for name in names for part in ("--tensor", str(tmp_path / name)))]
        result = await asyncio.to_thread(CliRunner().invoke, app, several)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [Path(line["tensor"]).name for line in lines] == names
        for line, values in zip(lines, [*scores, scores[0]], strict=True):
            np.testing.assert_allclose(line["targets"][0]["scores"], values, rtol=1e-6)
        bad = await asyncio.to_thread(CliRunner().invoke, app, [*wanted, "--tensor", str(tmp_path / "broken.npz")])
        assert bad.exit_code == 2


async def test_what_is_wrong_with_one_of_several_pictures_names_it(serve: Serve, x: Floats) -> None:
    picture = photograph(40, 40)
    async with serve(ServiceSettings(port=0, positions=30)) as (server, _), AsyncClient(server.address) as client:
        for extra in ({"images": []}, {"images": [picture], "tensor": x}, {"images": encoded(picture)}):
            with pytest.raises(errors.InvalidArgumentError) as caught:
                await anext(client.occlude("small", window=8, **extra))
            assert caught.value.field == "images"
        with pytest.raises(errors.InvalidArgumentError) as caught:
            await anext(client.occlude("small", images=[picture, encoded(picture)[:-99]], window=8))
        assert caught.value.field == "inputs[1].picture.encoded"
        with pytest.raises(errors.BusyError, match=r"each of 3 examples.*10 are allowed.*stride of 9 by 9 fits"):
            await anext(client.occlude("small", images=[picture] * 3, window=8, stride=5))
        with pytest.raises(errors.BusyError, match="31 examples"):
            await anext(client.occlude("small", images=[picture] * 31, window=8, stride=5))
        found = [g async for g in client.occlude("small", images=[picture] * 3, window=8, stride=9).grids()]
        assert len(found) == 3


async def test_the_verb_saves_grid_panel_and_overlay(serve: Serve, tmp_path: Path) -> None:
    import typer

    picture = tmp_path / "picture.png"
    photograph(50, 40).save(picture)
    app = typer.Typer()
    app.command()(expecting(occlude))
    out = tmp_path / "out"
    async with serve() as (server, _):
        wanted = ["small", str(picture), "--server", server.address, "-w", "8", "-t", "cat", "-l", "r2", "-p"]
        result = await asyncio.to_thread(CliRunner().invoke, app, [*wanted, "-o", str(out)])
        assert result.exit_code == 0, result.output
        assert "cat" in result.stdout
        bad = await asyncio.to_thread(CliRunner().invoke, app, [*wanted, "--stride", "x"])
        assert bad.exit_code == 2
    assert sorted(p.name for p in out.iterdir()) == ["figure.png", "grid.npz", "occlusion.json", "overlay_0_2.png"]
    several = tmp_path / "several"
    async with serve() as (server, _):
        wanted = ["small", str(picture), str(picture), "--server", server.address, "-w", "8", "-t", "cat", "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, app, [*wanted, "-o", str(several)])
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["picture"] for line in lines] == [str(picture)] * 2
        table = await asyncio.to_thread(CliRunner().invoke, app, wanted[:-1])
        assert table.stdout.count("picture.png") == 2
    assert sorted(p.name for p in several.iterdir()) == ["0_picture", "1_picture"]
    assert (several / "1_picture" / "grid.npz").exists()
    with np.load(out / "grid.npz") as saved:
        assert saved["scores"].shape == (1, 7, 7)
        assert np.isfinite(saved["scores"]).all()
        assert ((saved["scores"] > 0) & (saved["scores"] < 1)).all()
        assert saved["begins_1"].tolist() == [0, 4, 8, 12, 16, 20, 24]


def test_a_preview_fills_gaps_from_the_coarse_grid() -> None:
    values = np.full((4, 4), np.nan)
    values[0, 0], values[0, 2], values[2, 0], values[2, 2] = 1, 2, 3, 4
    assert nearest(values).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert callable(sketch)
