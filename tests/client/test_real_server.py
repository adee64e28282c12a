"""The same question in process, over TCP, over a private socket and asynchronously: the same bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.client.serving import serving
from tests.service.small import SIZE, network, put, recipe
from typer.testing import CliRunner

from unpool.client import AsyncClient, Client, InvalidArgumentError, NotFoundError, OutOfRangeError, Projection, cli
from unpool.client.listing import POLICIES, PolicyName
from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load
from unpool.methods import project
from unpool.methods.requests import Projection as Walked
from unpool.methods.requests import ProjectionRequest

TENSOR = np.random.default_rng(3).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
PIXELS = np.random.default_rng(4).integers(0, 256, (60, 44, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    folder = put(root, "small", network())
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\nemu\n")
    (folder / "preprocessor_config.json").write_text(
        recipe(size={"shortest_edge": 36}, crop_size=32, rescale_factor=1 / 127, channel_order="BGR")
    )
    return root


@pytest.fixture(scope="module")
def embedded(repository: Path) -> Iterator[Client]:
    with Client.embedded(repository, device="cpu", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with serving(repository) as found:
        yield found


def received(found: list[Projection]) -> dict[int, tuple[object, ...]]:
    return {
        p.index: (p.channel, p.position, p.activation, p.rank_value, p.box, p.signal.shape, p.signal.tobytes())
        for p in found
    }


def walked(found: list[Walked]) -> dict[int, tuple[object, ...]]:
    def wire(value: float) -> float:
        return float(np.float32(value))

    return {
        p.index: (
            p.channel, p.position, wire(p.activation), wire(p.rank_value), (*p.lower, *p.upper), p.signal.shape,
            p.signal.tobytes(),
        )
        for p in found
    }  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layer", ["r1", "r2", "scores"])
async def test_engine_server_embedded_and_asynchronous_paths_give_identical_bytes(
    repository: Path, address: str, embedded: Client, layer: str, policy: PolicyName
) -> None:
    engine = Engine(load(repository / "small" / "1" / "model.onnx"), EngineSettings(device="cpu"))
    request = ProjectionRequest(layer, top=5, policy=Policy(policy))
    items = project(engine, Feeds({"image": TENSOR}, "image"), request)
    expected = walked([item for item in items if isinstance(item, Walked)])
    engine.close()
    assert len(expected) == 5
    with Client(address, timeout=60) as client:
        assert received(list(client.project("small", tensor=TENSOR, layer=layer, top=5, policy=policy))) == expected
    assert received(list(embedded.project("small", tensor=TENSOR, layer=layer, top=5, policy=policy))) == expected
    async with AsyncClient(address, timeout=60) as asynchronous:
        stream = asynchronous.project("small", tensor=TENSOR, layer=layer, top=5, policy=policy)
        assert received([item async for item in stream]) == expected


def test_every_kind_of_picture_gives_the_same_projections(embedded: Client, tmp_path: Path) -> None:
    picture = Image.fromarray(PIXELS)
    buffer = io.BytesIO()
    picture.save(buffer, "BMP")
    picture.save(tmp_path / "picture.png")
    kinds = [PIXELS, picture, buffer.getvalue(), tmp_path / "picture.png", str(tmp_path / "picture.png")]
    found = [received(list(embedded.project("small", kind, layer="r2", top=3))) for kind in kinds]
    assert found[1:] == found[:1] * 4


def test_boxes_in_the_picture_hold_the_boxes_in_the_input(embedded: Client) -> None:
    stream = embedded.project("small", PIXELS, layer="r2", channels=range(12))
    geometry = stream.header.geometry
    assert geometry.picture == (60, 44)
    assert geometry.channel_order == "rgb"
    for projection in stream:
        assert projection.picture_box is not None
        for axis in range(2):
            for corner in (axis, axis + 2):
                edge = geometry.scale[axis] * projection.box[corner] + geometry.offset[axis]
                assert abs(projection.picture_box[corner] - edge) <= 1


def test_captured_activations_are_those_of_the_engine(repository: Path, embedded: Client) -> None:
    engine = Engine(load(repository / "small" / "1" / "model.onnx"), EngineSettings(device="cpu"))
    expected = engine.run(Feeds({"image": TENSOR}, "image"), ["r1", "p1"])
    engine.close()
    found = {item.name: item for item in embedded.capture("small", tensor=TENSOR, layers=["r1", "p1"])}
    assert found["r1"].roles == ("batch", "channel", "spatial", "spatial")
    for name, values in expected.items():
        assert found[name].values.shape == values.shape
        np.testing.assert_allclose(found[name].values, values, rtol=1e-5, atol=1e-6)


def test_classes_carry_labels_and_probabilities(embedded: Client) -> None:
    found = embedded.classify("small", PIXELS, top=5, probability=True)
    assert {score.label for score in found.classes} == {"ant", "bee", "cat", "dog", "emu"}
    assert sum(score.score for score in found.classes) == pytest.approx(1.0, abs=1e-5)
    assert [score.score for score in found.classes] == sorted((s.score for s in found.classes), reverse=True)


def test_listing_tells_receptive_fields_and_switches(embedded: Client) -> None:
    assert embedded.model("small").label_count == 5
    layers = {layer.name: layer for layer in embedded.layers("small")}
    assert [field.size for field in layers["r1"].receptive_field] == [3, 3]
    assert [(field.size, field.stride) for field in layers["r2"].receptive_field] == [(8, 2.0)] * 2
    assert (layers["r1"].switches, layers["r2"].switches) == (0, 1)
    assert layers["scores"].is_output


def test_a_model_file_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(network(1).SerializeToString())
    with Client.embedded(tmp_path / "mine.onnx", device="cpu") as client:
        assert [model.name for model in client.models()] == ["mine"]


async def test_the_asynchronous_client_can_have_a_server_of_its_own(repository: Path) -> None:
    client = await AsyncClient.embedded(repository, device="cpu", timeout=60)
    async with client:
        assert [model.name for model in await client.models()] == ["small"]
        stream = client.project("small", PIXELS, layer="r2", top=2)
        assert [item.channel async for item in stream]
        process_id = client._server.process_id if client._server else 0
    assert not psutil.pid_exists(process_id)


def test_the_server_s_refusals_come_with_what_would_be_right(embedded: Client) -> None:
    with pytest.raises(NotFoundError) as unknown:
        embedded.model("smal")
    assert unknown.value.nearest == ("small",)
    with pytest.raises(NotFoundError) as layer:
        list(embedded.project("small", PIXELS, layer="relu22"))
    assert layer.value.nearest
    with pytest.raises(OutOfRangeError, match="11"):
        list(embedded.project("small", PIXELS, layer="r2", channels=[12]))
    with pytest.raises(InvalidArgumentError) as shape:
        list(embedded.project("small", tensor=TENSOR[:, :2], layer="r2"))
    assert "tensor" in shape.value.field
    with pytest.raises(InvalidArgumentError):
        embedded.classify("small", tensor=np.full_like(TENSOR, np.nan))


def test_the_server_draws_what_the_client_draws(embedded: Client) -> None:
    for projection in embedded.project("small", PIXELS, layer="r1", top=2, png=True):
        drawn = np.asarray(Image.open(io.BytesIO(projection.png)))
        assert np.array_equal(drawn, np.asarray(projection.image()))
        assert projection.png_magnitude == np.abs(projection.signal).max()


def test_the_command_line_projects_through_an_embedded_server(repository: Path, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    arguments = ["project", repository / "small", tmp_path / "picture.png", "-l", "r2", "-k", 2, "-p", "guided"]
    result = CliRunner().invoke(cli.app, [*map(str, arguments), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    sidecar = json.loads((tmp_path / "out" / "projections.json").read_text())
    assert len(sidecar["projections"]) == 2
    assert len(sidecar["headers"]["guided"]["provenance"]["digest"]) == 64
    assert (tmp_path / "out" / "figure.png").exists()
