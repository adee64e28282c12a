"""Tokens and bytes over a real connection and from the command line: looked at through the tensor that embeds them.

The oracle is the same network in PyTorch, differentiated by autograd.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.client.serving import serving
from tests.graph.builders import text_model
from tests.service.small import put
from typer.testing import CliRunner

from unpool.client import Client, InvalidArgumentError, PreconditionError, cli

RNG = np.random.default_rng(0)
TABLE, STYLES = (RNG.normal(size=(rows, 6)).astype(np.float32) for rows in (32, 3))
FIRST, SECOND = (RNG.normal(size=(channels, 6, 3)).astype(np.float32) for channels in (5, 4))
INPUTS = {"tokens": RNG.integers(0, 32, (1, 9)), "kinds": RNG.integers(0, 3, (1, 9)).astype(np.uint8)}

# Two inputs of whole numbers of different width, and two outputs, of which only one sees both.
SOURCE = text_model(
    """g (int64[n,s] tokens, uint8[n,s] kinds) => (float[n,5,s] both, float[n,4,s] alone) {
        words = Gather (table, tokens)
        wide = Cast <to = 7> (kinds)
        marks = Gather (styles, wide)
        mixed = Add (words, marks)
        m = Transpose <perm = [0, 2, 1]> (mixed)
        w = Transpose <perm = [0, 2, 1]> (words)
        c = Conv <pads = [1, 1]> (m, first)
        d = Conv <pads = [1, 1]> (w, second)
        both = Relu (c)
        alone = Relu (d)
    }""",
    {"table": TABLE, "styles": STYLES, "first": FIRST, "second": SECOND},
)
BYTES = text_model(
    """g (uint8[n,s] bytes) => (float[n,4,s] found) {
        wide = Cast <to = 7> (bytes)
        words = Gather (table, wide)
        w = Transpose <perm = [0, 2, 1]> (words)
        d = Conv <pads = [1, 1]> (w, second)
        found = Relu (d)
    }""",
    {"table": TABLE, "second": SECOND},
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    put(root, "pair", SOURCE)
    put(root, "bytes", BYTES)
    return root


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with serving(repository) as found:
        yield found


def gradient(of: str, layer: str, channel: int, position: int, tokens: npt.NDArray[np.generic]) -> np.ndarray:
    """The derivative of one unit by the embedding of ``of``, (6, S), by autograd in float64."""
    words, marks = (
        torch.from_numpy(table[indices.astype(np.int64)]).double().requires_grad_()
        for table, indices in ((TABLE, tokens), (STYLES, INPUTS["kinds"]))
    )
    signal, weight = (words + marks, FIRST) if layer == "both" else (words, SECOND)
    maps = torch.nn.functional.conv1d(signal.transpose(1, 2), torch.from_numpy(weight).double(), padding=1)
    torch.relu(maps)[0, channel, position].backward()
    leaf = words if of == "tokens" else marks
    assert leaf.grad is not None
    return leaf.grad[0].T.numpy()


@pytest.mark.parametrize(
    ("of", "to", "layer"), [("tokens", "words", "both"), ("tokens", "words", "alone"), ("kinds", "marks", "both")]
)
def test_the_request_says_which_whole_numbers_are_looked_at(address: str, of: str, to: str, layer: str) -> None:
    with Client(address, timeout=60) as client:
        stream = client.project("pair", inputs=INPUTS, of=of, layer=layer, top=3, policy="gradient", to=to)
        header = stream.header
        assert (header.geometry.input, header.to, header.to_channels, tuple(header.to_plane)) == (of, to, 6, (9,))
        found = list(stream)
    assert len(found) == 3
    for one in found:
        expected = gradient(of, layer, one.channel, one.position[0], INPUTS["tokens"])
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(one.full(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("of", "to", "message"),
    [
        ("tokens", None, "no signal ends at 'tokens', which holds int64; .* with 'to': 'words'"),
        ("kinds", "kinds", "no signal ends at 'kinds', which holds uint8; .* with 'to': 'marks'"),
    ],
)
def test_whole_numbers_themselves_take_no_signal(address: str, of: str, to: str | None, message: str) -> None:
    with Client(address, timeout=60) as client, pytest.raises(PreconditionError, match=message):
        list(client.project("pair", inputs=INPUTS, of=of, layer="both", to=to))


@pytest.mark.parametrize(("of", "message"), [(None, "is needed: one of tokens, kinds"), ("word", "'word' is not an")])
def test_which_of_several_inputs_has_to_be_said(address: str, of: str | None, message: str) -> None:
    with Client(address, timeout=60) as client, pytest.raises(InvalidArgumentError, match=message) as refused:
        list(client.project("pair", inputs=INPUTS, of=of, layer="both", to="words"))
    assert "of" in refused.value.field


def test_an_output_that_the_looked_at_input_does_not_reach_is_refused(address: str) -> None:
    with Client(address, timeout=60) as client, pytest.raises(PreconditionError, match="'alone' is not computed from"):
        list(client.project("pair", inputs=INPUTS, of="kinds", layer="alone", to="marks"))


def asked(model: str | Path, folder: Path, *arguments: str) -> tuple[dict[str, object], np.ndarray]:
    """``unpool project`` for one unit: the sidecar's header, and the signal over the whole of ``to``."""
    command = ["project", str(model), "-c", "2", "-p", "gradient", "-o", str(folder), "--npz", *arguments]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    sidecar = json.loads((folder / "projections.json").read_text())
    (one,) = sidecar["projections"]
    (file,) = folder.glob("*.npz")
    with np.load(file) as saved:
        (signal,) = (saved[name] for name in saved.files if saved[name].ndim == 2)
    first, last = one["box"]
    whole = np.zeros((6, 9), np.float32)
    whole[:, first:last] = signal
    return {**sidecar["headers"]["gradient"], "position": one["position"]}, whole


@pytest.mark.parametrize("embedded", [True, False])
def test_bytes_are_projected_from_the_command_line(
    repository: Path, address: str, tmp_path: Path, embedded: bool
) -> None:
    text = np.frombuffer(b"\x01\x05\x09\x1f\x00\x11\x07\x07\x02", np.uint8)[None]
    np.save(tmp_path / "bytes.npy", text)
    where = [] if embedded else ["--server", address]
    model = repository / "bytes" if embedded else "bytes"
    arguments = ["--tensor", str(tmp_path / "bytes.npy"), "-l", "found", "--to", "words", *where]
    header, found = asked(model, tmp_path / "out", *arguments)
    assert header["to"] == "words"
    (position,) = header["position"]
    np.testing.assert_allclose(found, gradient("tokens", "alone", 2, position, text), rtol=1e-5, atol=1e-6)
    assert np.abs(found).max() > 0


def test_one_of_several_inputs_is_named_on_the_command_line(address: str, tmp_path: Path) -> None:
    files = []
    for name, array in INPUTS.items():
        np.save(tmp_path / f"{name}.npy", array)
        files += ["--input", f"{name}={tmp_path / name}.npy"]
    arguments = [*files, "--of", "kinds", "-l", "both", "--to", "marks", "--server", address]
    header, found = asked("pair", tmp_path / "out", *arguments)
    assert (header["to"], header["geometry"]["input"]) == ("marks", "kinds")
    (position,) = header["position"]
    np.testing.assert_allclose(found, gradient("kinds", "both", 2, position, INPUTS["tokens"]), rtol=1e-5, atol=1e-6)
    assert np.abs(found).max() > 0


def test_the_command_line_says_where_whole_numbers_can_be_looked_at(address: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bytes.npy", np.zeros((1, 9), np.uint8))
    command = ["project", "bytes", "--tensor", str(tmp_path / "bytes.npy"), "-l", "found", "--server", address]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code != 0
    assert "name a tensor of real numbers on the way with 'to': 'words'" in " ".join(result.stderr.split())
