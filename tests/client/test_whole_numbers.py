"""Tokens and bytes over gRPC and from the command line: looked at through the tensor that embeds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from torch.nn import functional
from typer.testing import CliRunner

from unpool.client import Client, cli
from unpool.client.errors import InvalidArgumentError, PreconditionError

_RNG = np.random.default_rng(4)
_TABLE = _RNG.normal(size=(256, 6)).astype(np.float32)
_PLACES = _RNG.normal(size=(16, 6)).astype(np.float32)
_KERNEL = _RNG.normal(size=(5, 6, 3)).astype(np.float32)
_TOKENS = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
_SEGMENTS = np.array([[0, 0, 0, 7, 7, 7, 7, 0]])


def _write(path: Path, kind: int) -> Path:
    """Two inputs of whole numbers, each embedded; their sum goes through a convolution and a rectifier: (N, 5, L)."""
    indices = "tokens" if kind == onnx.TensorProto.INT64 else "numbers"
    nodes = [
        *([] if indices == "tokens" else [helper.make_node("Cast", ["tokens"], ["numbers"], to=7)]),
        helper.make_node("Gather", ["table", indices], ["embedded"], name="embed"),
        helper.make_node("Gather", ["places", "segments"], ["placed"], name="place"),
        helper.make_node("Add", ["embedded", "placed"], ["both"], name="both"),
        helper.make_node("Transpose", ["both"], ["turned"], perm=[0, 2, 1], name="turn"),
        helper.make_node("Conv", ["turned", "kernel"], ["convolved"], pads=[1, 1], name="conv"),
        helper.make_node("Relu", ["convolved"], ["rectified"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [
            helper.make_tensor_value_info("tokens", kind, ["n", "length"]),
            helper.make_tensor_value_info("segments", onnx.TensorProto.INT64, ["n", "length"]),
        ],
        [helper.make_tensor_value_info("rectified", onnx.TensorProto.FLOAT, ["n", 5, "length"])],
        [numpy_helper.from_array(a, n) for a, n in ((_TABLE, "table"), (_PLACES, "places"), (_KERNEL, "kernel"))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture(scope="module", params=["int64", "uint8"])
def fed(request: pytest.FixtureRequest) -> dict[str, npt.NDArray[np.integer]]:
    return {"tokens": _TOKENS.astype(request.param), "segments": _SEGMENTS.astype(np.int64)}


@pytest.fixture(scope="module")
def file(fed: dict[str, npt.NDArray[np.integer]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("text") / "text.onnx", helper.np_dtype_to_tensor_dtype(fed["tokens"].dtype))


@pytest.fixture(scope="module")
def client(file: Path) -> Iterator[Client]:
    with Client.embedded(file, device="cpu") as found:
        yield found


def _gradients(channel: int, place: int) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
    """A unit's value, and its gradient at either embedding (L, 6)."""
    at = {
        "embedded": torch.from_numpy(_TABLE[_TOKENS]).requires_grad_(),
        "placed": torch.from_numpy(_PLACES[_SEGMENTS]).requires_grad_(),
    }
    rows = (at["embedded"] + at["placed"]).mT
    unit = functional.relu(functional.conv1d(rows, torch.from_numpy(_KERNEL), padding=1))[0, channel, place]
    unit.backward()
    return unit.item(), {name: value.grad[0].numpy() for name, value in at.items() if value.grad is not None}


def test_units_are_projected_to_either_embedding(client: Client, fed: dict[str, npt.NDArray[np.integer]]) -> None:
    for of, to in (("tokens", "embedded"), ("segments", "placed")):
        stream = client.project(
            "text", inputs=fed, of=of, layer="rectified", top=3, policy="gradient", to=to, positions=[(0,), (4,)]
        )
        header, found = stream.header, list(stream)
        assert header.to == to
        assert len(found) == 6
        lit = 0
        for projection in found:
            value, gradients = _gradients(projection.channel, projection.position[0])
            assert projection.activation == pytest.approx(value, rel=1e-5, abs=1e-6)
            np.testing.assert_allclose(projection.full().squeeze(), gradients[to].T, atol=1e-6)
            lit += bool(gradients[to].any())
        assert lit >= 2, "a gradient of zeros tells nothing"


def test_without_an_end_the_refusal_names_the_tensor_that_embeds_them(
    client: Client, fed: dict[str, npt.NDArray[np.integer]]
) -> None:
    for of, to in (("tokens", "embedded"), ("segments", "placed")):
        with pytest.raises(PreconditionError, match=f"'to': '{to}'"):
            list(client.project("text", inputs=fed, of=of, layer="rectified", top=1))


def test_which_input_is_looked_at_has_to_be_one_of_them(
    client: Client, fed: dict[str, npt.NDArray[np.integer]]
) -> None:
    with pytest.raises(InvalidArgumentError, match="tokens"):
        list(client.project("text", inputs=fed, of="token", layer="rectified", top=1, to="embedded"))


def test_numbers_beyond_the_table_are_the_inputs_fault(client: Client, fed: dict[str, npt.NDArray[np.integer]]) -> None:
    beyond = fed | {"segments": np.full_like(fed["segments"], 16)}
    with pytest.raises(PreconditionError, match="place"):
        list(client.project("text", inputs=beyond, of="tokens", layer="rectified", top=1, to="embedded"))


def test_the_command_line_projects_tokens(file: Path, fed: dict[str, npt.NDArray[np.integer]], tmp_path: Path) -> None:
    for name, array in fed.items():
        np.save(tmp_path / f"{name}.npy", array)
    given = [part for name in fed for part in ("--input", f"{name}={tmp_path / name}.npy")]
    asked = ["project", str(file), *given, "--of", "tokens", "-l", "rectified", "-c", "2", "-p", "gradient"]
    result = CliRunner().invoke(cli.app, [*asked, "--to", "embedded", "-o", str(tmp_path / "out"), "--npz"])
    assert result.exit_code == 0, result.output
    (saved,) = (tmp_path / "out").glob("*.npz")
    with np.load(saved) as archive:
        ((name, signal),) = archive.items()
    place = int(name.split("_p")[1].split("_")[0])
    _, gradients = _gradients(2, place)
    # The unit's window of three tokens, as far as it lies in the text.
    window = gradients["embedded"][max(0, place - 1) : place + 2].T
    assert window.any()
    np.testing.assert_allclose(signal, window, atol=1e-6)
    drawn = list((tmp_path / "out").glob("*_gradient.png"))
    assert len(drawn) == 1
    assert np.ptp(np.asarray(Image.open(drawn[0]))) > 50
    refused = CliRunner().invoke(cli.app, asked)
    assert refused.exit_code != 0
    assert "embedded" in refused.stderr
