"""Models of words over the wire: windows hide words, projections end at a word's embedding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import numpy_helper
from tests.client.serving import serving
from tests.graph.builders import run, text_model
from tests.service.small import put
from typer.testing import CliRunner

from unpool.client import Client
from unpool.client.cli import expecting
from unpool.client.commands.occlude import occlude

LENGTH, WORDS = 7, 11


def network() -> bytes:
    """Embedding, one head of attention beside what it reads, a dense layer, the mean over words, three classes."""
    rng = np.random.default_rng(0)
    sizes = {"table": (WORDS, 6), "wq": (6, 5), "wk": (6, 5), "wv": (6, 6), "wh": (6, 8), "wo": (8, 3)}
    return text_model(
        """g (int64[N,T] words) => (float[N,3] scores) {
            e = Gather(table, words)
            q = MatMul(e, wq)
            k = MatMul(e, wk)
            v = MatMul(e, wv)
            t = Transpose<perm=[0,2,1]>(k)
            s = MatMul(q, t)
            m = Softmax<axis=-1>(s)
            a = MatMul(m, v)
            r = Add(e, a)
            h = MatMul(r, wh)
            f = Relu(h)
            p = ReduceMean<axes=[1], keepdims=0>(f)
            scores = MatMul(p, wo)
        }""",
        {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()},
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("models")
    put(root, "words", network())
    with serving(root) as found:
        yield found


@pytest.fixture
def words() -> np.ndarray:
    return np.random.default_rng(1).integers(0, WORDS, (1, LENGTH))


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 2)])
def test_a_window_hides_words(address: str, words: np.ndarray, window: int, stride: int) -> None:
    begins = range(0, LENGTH - window + 1, stride)
    expected = []
    for begin in begins:
        hidden = words.copy()
        hidden[:, begin : begin + window] = 4
        expected.append(run(network(), {"words": hidden})[0][0])
    with Client(address) as client:
        grid = client.occlude("words", tensor=words, window=window, stride=stride, fill=4, targets=[0, 2]).grid()
    assert grid.header.shape == (len(begins),)
    for target in (0, 2):
        np.testing.assert_allclose(grid.scores[target], np.stack(expected)[:, target], rtol=1e-5, atol=1e-6)


def gradients(words: np.ndarray, channel: int, position: int) -> np.ndarray:
    """PyTorch's derivatives of one unit of ``f`` by the embedding, (6, T)."""
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(network()).graph.initializer}
    table, wq, wk, wv, wh = (torch.tensor(weights[n]).double() for n in ("table", "wq", "wk", "wv", "wh"))
    e = table[torch.from_numpy(words)].requires_grad_()
    read = torch.softmax((e @ wq) @ (e @ wk).transpose(1, 2), -1) @ (e @ wv)
    torch.relu((e + read) @ wh)[0, position, channel].backward()
    assert e.grad is not None
    found: np.ndarray = e.grad[0].T.numpy()
    return found


def test_a_layer_over_words_has_channels_and_positions(address: str, words: np.ndarray) -> None:
    with Client(address) as client:
        layer = next(layer for layer in client.layers("words") if layer.name == "f")
        assert layer.channels == 8
        (captured,) = client.capture("words", layers=["f"], tensor=words)
        values = captured.values
        found = list(client.project("words", tensor=words, layer="f", top=2, policy="gradient", to="e"))
    assert len(found) == 2
    for projection in found:
        (position,) = projection.position
        assert position == values[0, :, projection.channel].argmax()
        assert projection.activation == pytest.approx(values[0, position, projection.channel], rel=1e-5)
        expected = gradients(words, projection.channel, position)
        np.testing.assert_allclose(projection.full(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_command_line_hides_words(address: str, words: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "words.npy", words)
    app = typer.Typer()
    app.command()(expecting(occlude))
    options = ["--tensor", str(tmp_path / "words.npy"), "-w", "1", "--stride", "1", "--fill", "4", "-t", "1"]
    result = CliRunner().invoke(
        app, ["words", *options, "--server", address, "--no-preview", "-o", str(tmp_path / "o")]
    )
    assert result.exit_code == 0, result.output
    saved = [np.load(path) for path in (tmp_path / "o").rglob("*.npy")]
    hidden = np.repeat(words, LENGTH, 0)
    np.fill_diagonal(hidden, 4)
    expected = run(network(), {"words": hidden})[0][:, 1]
    archives = [np.load(path) for path in (tmp_path / "o").rglob("*.npz")]
    arrays = [*saved, *(archive[key] for archive in archives for key in archive.files)]
    assert any(a.size == LENGTH and np.allclose(a.ravel(), expected, rtol=1e-5, atol=1e-6) for a in arrays)
