"""Inputs that are no pictures: sound of one axis and a volume of three, served, projected, drawn and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from tests import zoo
from typer.testing import CliRunner

from unpool.client import Client, cli


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A network of three spatial axes with a max pool, as a file."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 1, 3, 3, 3)), "v": rng.normal(size=(5, 4, 3, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c1"], pads=[1] * 6),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2] * 3, strides=[2] * 3),
        helper.make_node("Conv", ["p1", "v"], ["c2"], pads=[1] * 6),
        helper.make_node("Relu", ["c2"], ["r2"]),
    ]
    graph = helper.make_graph(
        nodes,
        "volume",
        [helper.make_tensor_value_info("x", 1, ["n", 1, 12, 16, 20])],
        [helper.make_tensor_value_info("r2", 1, ["n", 5, 6, 8, 10])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "volume.onnx")
    return tmp_path / "volume.onnx"


def _projected(file: Path, tensor: np.ndarray, layer: str, folder: Path) -> list[Path]:
    """Asks from the command line; the pictures saved."""
    np.save(folder / "input.npy", tensor)
    arguments = ["project", file, "--tensor", folder / "input.npy", "-l", layer, "-k", 2, "-o", folder / "out"]
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return sorted(path for path in (folder / "out").glob("*_deconvnet.png"))


def test_a_volume_is_projected_into_a_box_and_drawn_as_three_slices(volume: Path, tmp_path: Path) -> None:
    tensor = np.random.default_rng(1).normal(size=(1, 1, 12, 16, 20)).astype(np.float32)
    with Client.embedded(volume, device="cpu") as client:
        found = next(client.project("volume", tensor=tensor, layer="r2", top=1, positions=[(3, 4, 5)]))
    assert len(found.box) == 6
    extents = tuple(found.box[axis + 3] - found.box[axis] for axis in range(3))
    # Two convolutions of 3 around a pool of 2: (3 - 1) * 2 + 2 + 2.
    assert extents == (8, 8, 8)
    assert found.signal.shape == (1, *extents)
    assert found.image().size == (8 * 3 + 2 * 2, 8)
    assert found._repr_png_()
    assert found.full().shape == (1, 12, 16, 20)
    pictures = _projected(volume, tensor, "r2", tmp_path)
    assert len(pictures) == 2
    assert all(np.ptp(np.asarray(Image.open(path))) > 100 for path in pictures)
    assert (tmp_path / "out" / "figure.png").exists()


def test_sound_is_projected_and_drawn_as_a_line(tmp_path: Path) -> None:
    tensor = zoo.tensor("crepe_tiny")
    with Client.embedded(zoo.path("crepe_tiny"), device="cpu") as client:
        layers = [layer for layer in client.layers("crepe_tiny") if layer.op == "Relu"]
        layer = layers[1].alias or layers[1].name
        found = next(client.project("crepe_tiny", tensor=tensor, layer=layer, top=1))
    assert found.signal.any()
    pictures = _projected(zoo.path("crepe_tiny"), tensor, layer, tmp_path)
    assert len(pictures) == 2
    place = "-".join(f"{index:02d}" for index in found.position)
    drawn = next(path for path in pictures if f"c{found.channel:04d}_p{place}" in path.name)
    # One strip of 48 pixels, a column for each element of the receptive field.
    assert Image.open(drawn).size == (found.signal.shape[-1], 48)
    assert np.ptp(np.asarray(Image.open(drawn))) > 100


def test_a_tensor_of_the_wrong_shape_is_refused_with_the_right_one(volume: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((1, 12, 16, 20), np.float32))
    arguments = ["project", str(volume), "--tensor", str(tmp_path / "flat.npy"), "-l", "r2"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code != 0
    assert "takes shape (batch, 1, 12, 16, 20), not (1, 12, 16, 20)" in result.stderr
