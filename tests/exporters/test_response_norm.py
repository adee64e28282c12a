"""Local response normalisation as PyTorch's exporters write it: one LRN again, and labels that hold without it."""

from __future__ import annotations

import io
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from tests.graph.builders import Array, labels, text_model
from torch import nn

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load
from unpool.methods import Projection, ProjectionHeader, ProjectionRequest, project

SIZE, ALPHA, BETA, BIAS = 3, 0.6, 0.7, 1.5


class Network(nn.Module):
    """Two convolutions with a normalisation between them, over (N, 3, T) or (N, 3, H, W)."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        convolution = nn.Conv1d if rank == 3 else nn.Conv2d
        self.first, self.second = convolution(3, 8, 3, padding=1), convolution(8, 4, 3)
        self.norm = nn.LocalResponseNorm(size, ALPHA, BETA, BIAS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.norm(torch.relu(self.first(x)))))


def image(rank: int) -> torch.Tensor:
    return torch.randn((2, 3, 14, 12)[:rank], generator=torch.manual_seed(1))


def exported(network: Network, rank: int, exporter: str) -> bytes:
    """The network as a file, the batch free, and from TorchScript every side as well."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    x = image(rank)
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            free = {axis: f"d{axis}" for axis in range(rank) if axis != 1}
            torch.onnx.export(
                network, (x,), file, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
                dynamic_axes={"x": free},
            )  # fmt: skip
            return file.getvalue()
        program = torch.onnx.export(
            network, (x,), dynamo=True, verbose=False, input_names=["x"], output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim.AUTO},),
        )  # fmt: skip
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def twin(network: Network, rank: int) -> bytes:
    """The same network with ONNX's LRN, a sequence as a plane of width 1."""

    def weight(module: nn.Module) -> Array:
        found: Array = module.weight.detach().numpy()  # type: ignore[union-attr, operator]
        return found if rank == 4 else found[..., np.newaxis]

    side = (1, 0) if rank == 3 else (1, 1)
    return text_model(
        f"""g (float[N,3,H,W] x) => (float[N,4,h,w] y) {{
            a = Conv<pads=[{side[0]},{side[1]},{side[0]},{side[1]}]>(x, w1, b1)
            r = Relu(a)
            n = LRN<size={SIZE}, alpha={ALPHA}, beta={BETA}, bias={BIAS}>(r)
            c = Conv(n, w2, b2)
            y = Relu(c)
        }}""",
        {
            "w1": weight(network.first),
            "b1": network.first.bias.detach().numpy(),  # type: ignore[union-attr]
            "w2": weight(network.second),
            "b2": network.second.bias.detach().numpy(),  # type: ignore[union-attr]
        },
    )


def projections(data: bytes, x: Array, policy: Policy) -> dict[int, Array]:
    """The signals of the strongest channels' units, in order; a deconvnet falls back at no node."""
    engine = Engine(load(data), EngineSettings(device="cpu", threads=1))
    items = list(project(engine, Feeds({"x": x}, "x"), ProjectionRequest("y", top=4, policy=policy)))
    header = next(i for i in items if isinstance(i, ProjectionHeader))
    assert policy is not Policy.DECONVNET or not header.fallbacks
    engine.close()
    return {i.index: i.signal for i in items if isinstance(i, Projection)}


@pytest.mark.parametrize("policy", [Policy.DECONVNET, Policy.GRADIENT])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("rank", [3, 4])
def test_a_normalisation_in_pieces_is_crossed_as_one(rank: int, exporter: str, policy: Policy) -> None:
    torch.manual_seed(0)
    network = Network(rank, SIZE).eval()
    data = exported(network, rank, exporter)
    assert not [n for n in onnx.load_from_string(data).graph.node if n.op_type == "LRN"]
    (norm,) = [n for n in load(data).graph.nodes if n.op_type == "LRN"]
    assert norm.attributes["size"] == SIZE
    x = image(rank)[:1].numpy()
    found = projections(data, x, policy)
    expected = projections(twin(network, rank), x if rank == 4 else x[..., np.newaxis], policy)
    assert len(found) == len(expected) > 0
    for index, other in expected.items():
        signal = found[index]
        assert all(extent <= 5 for extent in signal.shape[1:])
        np.testing.assert_allclose(signal, other.reshape(signal.shape), atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("rank", [3, 4])
def test_a_normalisation_that_is_no_lrn_leaves_the_plane_its_labels(rank: int, exporter: str) -> None:
    """Of an even number of channels PyTorch takes one more in front, ONNX one more behind."""
    torch.manual_seed(0)
    network = Network(rank, 4).eval()
    model = load(exported(network, rank, exporter))
    assert "AveragePool" in {n.op_type for n in model.graph.nodes}
    plane = " s0 s1" if rank == 4 else " s0"
    for name in ("x", "y", *(n.outputs[0] for n in model.graph.nodes if n.op_type in ("Conv", "Div"))):
        assert labels(model, name) == "b c" + plane
    engine = Engine(model, EngineSettings(device="cpu", threads=1))
    x = image(rank)[:1].numpy()
    items = list(project(engine, Feeds({"x": x}, "x"), ProjectionRequest("y", top=1, policy=Policy.GRADIENT)))
    (found,) = [i for i in items if isinstance(i, Projection)]
    assert all(extent <= 5 for extent in found.signal.shape[1:])
    engine.close()


_POOLED = "u = Unsqueeze(q, one) p = AveragePool<kernel_shape=[3,1,1], pads=[1,0,0,1,0,0]{more}>(u) m = Squeeze(p, one)"


@pytest.mark.parametrize(
    ("text", "recognised"),
    [
        ("q = Mul(x, x) " + _POOLED.format(more=", count_include_pad=1"), True),
        ("q = Pow(x, two) " + _POOLED.format(more=", count_include_pad=1"), True),
        ("q = Mul(x, x) " + _POOLED.format(more=""), False),
        ("q = Mul(x, h) " + _POOLED.format(more=", count_include_pad=1"), False),
        ("q = Mul(x, x) m = AveragePool<kernel_shape=[3,1], pads=[1,0,1,0], count_include_pad=1>(q)", False),
    ],
)
def test_what_counts_as_a_normalisation_written_out(text: str, recognised: bool) -> None:
    data = text_model(
        f"""g (float[N,3,6,6] h) => (float[N,3,6,6] y) {{
            x = Relu(h) {text} a = Mul(m, alpha) k = Add(a, bias) d = Pow(k, beta) y = Div(x, d)
        }}""",
        {
            "one": np.array([1], np.int64),
            "two": np.array(2, np.float32),
            "alpha": np.array(0.5, np.float32),
            "bias": np.array(1.0, np.float32),
            "beta": np.array(0.75, np.float32),
        },
    )
    graph = load(data).graph
    assert ([n.op_type for n in graph.nodes] == ["Relu", "LRN"]) is recognised
