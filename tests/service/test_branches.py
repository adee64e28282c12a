"""A model with an If that each input decides, over a real connection: one server, branches by turns."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.client.serving import serving
from tests.graph.builders import text_model
from tests.service.small import put
from tests.service.test_check import check

from unpool.client import Client, NotFoundError

RNG = np.random.default_rng(11)
W, V = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 3, 3, 3), (4, 3, 1, 1)))
X = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
X *= np.sign(X.sum())


def network() -> bytes:
    return text_model(
        """agraph (float[1,3,8,8] x) => (float[1,4] y) {
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value = float {0.0}> ()
            positive = Greater (total, zero)
            z = If <
                then_branch = a () => (float[1,4,8,8] t) {
                    wide = Conv <pads = [1, 1, 1, 1]> (x, w)
                    t = Relu (wide)
                },
                else_branch = b () => (float[1,4,8,8] t) {
                    flat = Conv (x, v)
                    t = Tanh (flat)
                }
            > (positive)
            mean = GlobalAveragePool (z)
            y = Flatten (mean)
        }""",
        {"w": W, "v": V},
    )


def torch_scores(x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:
        return torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(W), padding=1)).mean((0, 2, 3))
    return torch.tanh(torch.nn.functional.conv2d(x, torch.from_numpy(V))).mean((0, 2, 3))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("models")
    put(root, "forked", network())
    with serving(root) as address, Client(address) as found:
        yield found


def test_inputs_take_their_branches_by_turns(client: Client) -> None:
    for x in (X, -X, X, -X):
        leaf = torch.from_numpy(x).requires_grad_()
        expected = torch_scores(leaf)
        scores = {c.index: c.score for c in client.classify("forked", tensor=x, top=4).classes}
        np.testing.assert_allclose([scores[i] for i in range(4)], expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        expected[2].backward()
        assert leaf.grad is not None
        (found,) = client.project("forked", tensor=x, layer="y", channels=[2], policy="gradient")
        np.testing.assert_allclose(found.full(), leaf.grad[0].numpy(), rtol=1e-4, atol=1e-6)


def test_layers_of_the_branches_are_listed_and_asked_for(client: Client) -> None:
    names = [layer.name for layer in client.layers("forked")]
    assert names[:3] == ["z", "mean", "y"]
    assert {"wide", "flat"} <= set(names)
    assert len(set(names)) == len(names)
    (found,) = client.project("forked", tensor=X, layer="wide", top=1)
    assert found.box[2] - found.box[0] <= 3
    assert found.signal.any()
    with pytest.raises(NotFoundError, match="no layer 'wide'"):
        list(client.project("forked", tensor=-X, layer="wide", top=1))
    assert [c.name for c in client.capture("forked", tensor=-X, layers=["flat"])] == ["flat"]


def test_an_occlusion_of_such_a_model_equals_whole_runs(client: Client) -> None:
    for x in (X, -X):
        grid = client.occlude("forked", tensor=x, window=4, stride=4, targets=[1], fill=0).grid()
        for i, j in np.ndindex(2, 2):
            hidden = x.copy()
            hidden[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = 0
            expected = torch_scores(torch.from_numpy(hidden))[1]
            assert grid.scores[1][i, j] == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_check_tells_of_each_branch(tmp_path: Path) -> None:
    file = put(tmp_path, "forked", network()) / "1" / "model.onnx"
    done = check(str(file))
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "  where 'positive' is true: 5 layers, 5 nodes\n",
        "  where 'positive' is false: 5 layers, 5 nodes\n",
        "parity: torch agrees with ONNX Runtime",
    ):
        assert words in done.stdout, done.stdout
    assert "stopped" not in done.stdout
    found = json.loads(check(str(file), "--json").stdout)
    assert found["policies"] == []
    assert [branch["conditions"] for branch in found["branches"]] == [{"positive": True}, {"positive": False}]
    assert all(policy["stops"] == [] for branch in found["branches"] for policy in branch["policies"])
