"""Norms as PyTorch's exporters write them: one node again, which gives and carries what its pieces do."""

from __future__ import annotations

import functools
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.engine.support import RELATIVE, arrived, close, one_hot, seed, units_at, whole
from tests.exporters.support import Exported
from tests.methods.small import occluded
from torch import Tensor, nn
from torch.nn import functional

from unpool.engine import Policy
from unpool.graph import Graph, normalising
from unpool.methods import Mode, OcclusionRequest, Target

SAME = 1e-6


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W), as ConvNeXt writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class MovedNorm(nn.LayerNorm):
    """The same by torch's layer norm between two transpositions."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class RootMeanSquare(nn.Module):
    """Of the last axis, as language models of Hugging Face write it: in float32, whatever the rest is in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class ChannelRoot(nn.Module):
    """Root mean square over the channels of (N, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6) * self.weight[:, None, None]


class Moments(nn.Module):
    """Layer norm as TensorFlow and Keras compute it, gain and bias drawn into one factor and one summand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x * x).mean(-1, keepdim=True) - mean * mean
        factor = torch.rsqrt(variance + 1e-3) * self.weight
        return x * factor + (self.bias - mean * factor)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class Case:
    """A norm between two layers.

    Attributes:
        build: makes the norm.
        op_type: what it is once it is recognised, with its domain.
        tokens: it lies between products over (N, T, C) and not between convolutions over (N, C, H, W).
        local: it mixes no places, so that units are walked on boxes.
        exporters: those that write it.
    """

    build: Callable[[], nn.Module]
    op_type: str
    tokens: bool = False
    local: bool = False
    exporters: tuple[str, ...] = ("torchscript", "dynamo")


CASES = {
    "group": Case(lambda: nn.GroupNorm(4, 8), "GroupNormalization"),
    "group without weights": Case(lambda: nn.GroupNorm(2, 8, affine=False), "GroupNormalization"),
    "one group": Case(lambda: nn.GroupNorm(1, 8), "GroupNormalization"),
    "channels": Case(ChannelNorm, "unpool.LayerNormalization", local=True),
    "channels moved": Case(lambda: MovedNorm(8), "LayerNormalization", local=True),
    "root mean square": Case(
        lambda: nn.RMSNorm(8, 1e-6), "RMSNormalization", tokens=True, exporters=("dynamo",)
    ),
    "root mean square by hand": Case(RootMeanSquare, "RMSNormalization", tokens=True),
    "root mean square of channels": Case(ChannelRoot, "unpool.RMSNormalization", local=True),
    "layer by moments": Case(Moments, "LayerNormalization", tokens=True),
    "layer": Case(lambda: nn.LayerNorm(8), "LayerNormalization", tokens=True),
    "layer without weights": Case(
        lambda: Function(
            lambda x: (x - x.mean(-1, True)) * torch.rsqrt((x - x.mean(-1, True)).square().mean(-1, True) + 1e-5)
        ),
        "unpool.LayerNormalization",
        tokens=True,
    ),
    "length": Case(
        lambda: Function(lambda x: functional.normalize(x, dim=1)), "unpool.L2Normalization", local=True
    ),
    "length and a little": Case(
        lambda: Function(lambda x: x / (x.pow(2).sum(1, True).sqrt() + 1e-3)), "unpool.L2Normalization", local=True
    ),
    "softmax": Case(
        lambda: Function(lambda x: torch.exp(x - x.amax(1, True)) / torch.exp(x - x.amax(1, True)).sum(1, True)),
        "Softmax",
        local=True,
    ),
    "logarithm of softmax": Case(lambda: Function(lambda x: x - x.logsumexp(1, True)), "LogSoftmax", local=True),
    "softsign": Case(nn.Softsign, "Softsign", local=True),
    "softplus": Case(nn.Softplus, "Softplus", local=True),
    "elu by choice": Case(
        lambda: Function(lambda x: torch.where(x > 0, x, 0.7 * (torch.exp(x) - 1))), "Elu", local=True
    ),
}  # fmt: skip
EXPORTED = [
    pytest.param(name, exporter, opset, id=f"{exporter}-{opset}-{name}")
    for name, case in CASES.items()
    for exporter, opset in (("torchscript", 13), ("torchscript", 17), ("dynamo", 18))
    if exporter in case.exporters
]


class Network(nn.Module):
    """A layer, the norm, a rectifier, another layer."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        if case.tokens:
            self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 4)
        else:
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.norm = case.build()
        for parameter in self.norm.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


def network(name: str) -> Network:
    torch.manual_seed(sorted(CASES).index(name))
    return Network(CASES[name]).eval()


def example(name: str) -> Tensor:
    shape = (2, 7, 5) if CASES[name].tokens else (2, 3, 16, 14)
    return torch.randn(shape, generator=torch.manual_seed(3))


@functools.cache
def exported(name: str, exporter: str, opset: int) -> bytes:
    """The file, its batch free."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = {"input_names": ["x"], "output_names": ["y"], "opset_version": opset}
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            axes = {"x": {0: "N"}}
            torch.onnx.export(network(name), (example(name),), file, dynamo=False, dynamic_axes=axes, **names)
            return file.getvalue()
        shapes = ({0: torch.export.Dim.AUTO},)
        program = torch.onnx.export(
            network(name), (example(name),), dynamo=True, verbose=False, dynamic_shapes=shapes, **names
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def subject(name: str, exporter: str, opset: int) -> Exported:
    return Exported(name, exported(name, exporter, opset), {"x": example(name)[:1].numpy()})


def kinds(graph: Graph) -> list[str]:
    return [f"{n.domain}.{n.op_type}".lstrip(".") for n in graph.nodes if n.op_type not in ("Cast", "Transpose")]


@pytest.mark.parametrize(("name", "exporter", "opset"), EXPORTED)
def test_a_norm_in_pieces_is_one_node_between_its_neighbours(name: str, exporter: str, opset: int) -> None:
    graph = subject(name, exporter, opset).engine.model.graph
    layers = {"MatMul", "Add"} if CASES[name].tokens else {"Conv"}
    assert [kind for kind in kinds(graph) if kind not in layers] == [CASES[name].op_type, "Relu"]
    value = graph.values[next(n for n in graph.nodes if n.op_type == "Relu").inputs[0]]
    assert value.batch_axis == 0
    assert value.channel_axis == (2 if CASES[name].tokens else 1)
    assert len(value.spatial_axes) == (0 if CASES[name].tokens else 2)


def test_a_group_norm_in_pieces_bears_the_name_of_its_module() -> None:
    layers = subject("group", "torchscript", 17).engine.model.layers
    assert layers.find("norm").op_type == "Relu"
    assert layers.find("norm:pre").op_type == "GroupNormalization"


@pytest.mark.parametrize(("name", "exporter", "opset"), EXPORTED)
def test_forward_and_gradient_are_those_of_the_source(name: str, exporter: str, opset: int) -> None:
    found = subject(name, exporter, opset)
    engine, feeds = found.engine, found.feeds
    expected = found.expected["y"]
    close(engine.run(feeds)["y"], expected, SAME)
    with torch.no_grad():
        close(engine.executor([], ["y"])({"x": example(name)[:1]})["y"].numpy(), expected, SAME)
    double, x = network(name).double(), example(name)[:1].double().requires_grad_()
    output = double(x)
    units = units_at(expected)
    theirs = [torch.autograd.grad(output[(0, *u)], x, retain_graph=True)[0].numpy() for u in units]
    close(walked(found, Policy.GRADIENT, units), np.concatenate(theirs), RELATIVE)


def walked(
    found: Exported, policy: Policy, units: list[tuple[int, ...]], *, planes: bool = False
) -> npt.NDArray[np.float32]:
    """What arrives of units of the output, each on its own box or on whole planes."""
    engine, feeds = found.engine, found.feeds
    route = engine.route(["y"], ["x"], policy)
    capture = engine.captured_for(feeds, route, ["y"])
    starts = [1.0] * len(units)
    signal = one_hot(capture.geometry.shapes["y"], units, starts)
    begin = whole(engine, feeds, "y", signal) if planes else seed(engine, feeds, "y", units, starts)
    return arrived(engine, route, capture, {"y": begin})


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize(("name", "exporter", "opset"), EXPORTED)
def test_a_signal_crosses_as_it_crosses_the_pieces_on_boxes_and_on_planes(
    name: str, exporter: str, opset: int, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = subject(name, exporter, opset)
    units = units_at(found.expected["y"])
    local = walked(found, policy, units)
    close(local, walked(found, policy, units, planes=True), RELATIVE)
    monkeypatch.setattr(normalising, "recognise_activations", lambda graph: graph)
    pieces = subject(name, exporter, opset)
    assert len(pieces.engine.model.graph.nodes) >= len(found.engine.model.graph.nodes)
    close(local, walked(pieces, policy, units), RELATIVE)


@pytest.mark.parametrize(("name", "exporter", "opset"), [p for p in EXPORTED if CASES[p.values[0]].local])
def test_what_mixes_no_places_is_crossed_on_boxes(name: str, exporter: str, opset: int) -> None:
    found = subject(name, exporter, opset)
    engine, feeds = found.engine, found.feeds
    route = engine.route(["y"], ["x"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, ["y"])
    start = seed(engine, feeds, "y", [(0, 8, 7)], [1.0])
    (piece,) = [p for p in engine.walk(route, capture, {"y": start}, np.zeros(1, np.int64)) if p is not None]
    assert piece.signals["x"].value.shape[2:] == (5, 5)


@pytest.mark.parametrize("name", ["channels", "root mean square of channels", "length", "softmax"])
def test_an_occlusion_stays_on_boxes_and_equals_brute_force(name: str) -> None:
    found = subject(name, "torchscript", 17)
    targets = (Target((0, 0, 0), (4, 16, 14), "y"), Target.element(1, 7, 9, output="y"))
    scores = {}
    for mode in (Mode.BOXES, Mode.BRUTE_FORCE):
        request = OcclusionRequest((3,), (4,), targets=targets, mode=mode)
        header, scores[mode], _ = occluded(found.engine, found.feeds, request)
        assert (header.boxed > 0) == (mode is Mode.BOXES)
    np.testing.assert_allclose(scores[Mode.BOXES], scores[Mode.BRUTE_FORCE], rtol=1e-5, atol=1e-4)


def test_half_precision_between_casts_is_the_standards_own_norm() -> None:
    """The standard computes in float32 and rounds before the gain, as the written out does."""
    model = RootMeanSquare().half()
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example("root mean square by hand")[..., :1].repeat(1, 1, 8).half(),), file, dynamo=False,
            input_names=["x"], output_names=["y"], opset_version=17,
        )  # fmt: skip
        data = file.getvalue()
    graph = Exported("half", data, {}).engine.model.graph
    (node,) = graph.nodes
    assert (node.op_type, node.inputs[0]) == ("RMSNormalization", "x")
    assert graph.values["y"].dtype == "float16"
