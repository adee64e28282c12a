"""Lists of tensors as torch's exporters write them, by sequences: they are crossed as the tensors that they hold."""

from __future__ import annotations

import functools
import io
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from tests.engine.support import FORWARD, arrived, close, seed, units_at, whole
from tests.exporters.support import Exported
from tests.methods.small import asked, pictured
from torch import Tensor, nn

from unpool.engine import Policy
from unpool.graph.errors import PreconditionError
from unpool.methods import ProjectionRequest


class _Pictures(nn.Module):
    """A convolution in front of a list, another behind it; (N, 3, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(channels, 4, 3)


class SplitRows(_Pictures):
    """Four rows, four more, and what is left, each treated in its own way."""

    def __init__(self) -> None:
        super().__init__(6)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.enter(x).split(4, 2)
        return self.leave(torch.cat([torch.relu(parts[2]), parts[0], torch.sigmoid(parts[1])], 2))


class SplitChannels(_Pictures):
    """Channels in three pieces of different sizes, in another order."""

    def __init__(self) -> None:
        super().__init__(6)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = torch.relu(self.enter(x)).split([1, 3, 2], 1)
        return self.leave(torch.cat([three, torch.tanh(one), two], 1))


class ChunkChannels(_Pictures):
    """A gated linear unit."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.enter(x).chunk(2, 1)
        return self.leave(one * torch.sigmoid(other))


class UnbindRows(_Pictures):
    """The first row and the last of a plane of any height, stacked between its columns."""

    def __init__(self) -> None:
        super().__init__(6)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.enter(x).unbind(2)
        first, second, last = rows[0], rows[1], rows[-1]
        return self.leave(torch.stack([first * last, torch.relu(last), second], 2))


class Appended(_Pictures):
    """Maps that are appended one by one, if there are several channels, and joined."""

    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        h = self.enter(x)
        found.append(torch.relu(h))
        if x.shape[1] > 1:
            found.append(torch.tanh(h))
        return self.leave(torch.cat(found, 1))


class Looped(_Pictures):
    """As many maps as there are, in a loop."""

    def __init__(self) -> None:
        super().__init__(6)

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for one in self.enter(x).unbind(1):
            found.append(torch.relu(one))
        return self.leave(torch.stack(found, 1))


NETWORKS = {c.__name__: c for c in (SplitRows, SplitChannels, ChunkChannels, UnbindRows, Appended)}
EXPORTERS = ("scripted", "dynamo")
IN_SEQUENCES = {
    ("scripted", "SplitRows"),
    ("scripted", "UnbindRows"),
    ("scripted", "Appended"),
    ("dynamo", "SplitRows"),
    ("dynamo", "UnbindRows"),
}
"""What the exporters write sequences for; other lists are tensors in the file already."""


def picture() -> Tensor:
    return torch.randn((1, 3, 11, 9), generator=torch.manual_seed(7))


def built(network: type[nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return network().eval()


@functools.cache
def exported(exporter: str, network: type[nn.Module]) -> Exported:
    """The network as a file with open sides."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        if exporter == "scripted":
            torch.onnx.export(
                torch.jit.script(built(network)), (picture(),), file, dynamo=False, opset_version=17,
                input_names=["input"], output_names=["output"],
                dynamic_axes={"input": {0: "N", 2: "H", 3: "W"}, "output": {0: "N"}},
            )  # fmt: skip
            data = file.getvalue()
        else:
            sides = dict.fromkeys((2, 3), torch.export.Dim.AUTO)
            program = torch.onnx.export(
                built(network), (picture(),), dynamo=True, verbose=False, dynamic_shapes=(sides,),
                input_names=["input"], output_names=["output"],
            )  # fmt: skip
            assert program is not None
            data = program.model_proto.SerializeToString()
    return Exported(network.__name__, data, {"input": picture().numpy()})


@pytest.fixture(scope="module", params=[pytest.param((e, n), id=f"{e}-{n}") for n in NETWORKS for e in EXPORTERS])
def example(request: pytest.FixtureRequest) -> Exported:
    exporter, name = request.param
    found = exported(exporter, NETWORKS[name])
    nodes = onnx.load_model_from_string(found.data).graph.node
    assert any("Sequence" in n.op_type for n in nodes) == ((exporter, name) in IN_SEQUENCES)
    return found


def test_forward_equals_onnx_runtime(example: Exported) -> None:
    assert not any("Sequence" in n.op_type for n in example.engine.model.graph.nodes)
    example.check_forward()


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_every_layer_is_projected(example: Exported, policy: Policy) -> None:
    example.check_projections(policy)


def test_gradient_equals_autograd_of_the_source_and_boxes_the_whole_planes(example: Exported) -> None:
    """The module that was exported, in float64, is the oracle."""
    engine, feeds = example.engine, example.feeds
    (top,) = engine.model.graph.outputs
    route = engine.route([top], ["input"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, [top])
    values = capture.values[top].numpy()
    units = units_at(values)
    local = arrived(engine, route, capture, {top: seed(engine, feeds, top, units, [1.0] * len(units))})
    planes = np.zeros((len(units), *values.shape[1:]), np.float32)
    for i, unit in enumerate(units):
        planes[(i, *unit)] = 1
    close(local, arrived(engine, route, capture, {top: whole(engine, feeds, top, planes)}))
    leaf = picture().double().requires_grad_()
    output = built(NETWORKS[example.name]).double()(leaf)
    theirs = [torch.autograd.grad(output[(0, *unit)], leaf, retain_graph=True)[0].numpy() for unit in units]
    close(local, np.concatenate(theirs), FORWARD)


@pytest.mark.parametrize("name", ["SplitChannels", "ChunkChannels", "Appended"])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_unit_sees_no_more_for_the_list(exporter: str, name: str) -> None:
    """Two convolutions of three."""
    found = exported(exporter, NETWORKS[name])
    (top,) = found.engine.model.graph.outputs
    _, (projection,) = asked(found.engine, found.feeds, ProjectionRequest(top, top=1, policy=Policy.GRADIENT))
    assert all(n <= 5 for n in projection.signal.shape[1:])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_pieces_of_a_plane_keep_boxes(exporter: str) -> None:
    found = exported(exporter, SplitRows)
    (top,) = found.engine.model.graph.outputs
    request = ProjectionRequest(top, channels=(1,), positions=((4, 3),), policy=Policy.GRADIENT)
    header, (projection,) = asked(found.engine, found.feeds, request)
    assert projection.signal.shape[2] <= 5
    leaf = picture().double().requires_grad_()
    built(SplitRows).double()(leaf)[0, 1, 4, 3].backward()
    assert leaf.grad is not None
    close(pictured(projection, header), leaf.grad[0].numpy(), FORWARD)


def test_what_lies_behind_a_list_of_a_loop_is_refused_by_name_and_all_else_works() -> None:
    found = exported("scripted", Looped)
    engine, feeds = found.engine, found.feeds
    (top,) = engine.model.graph.outputs
    close(engine.run(feeds)[top], found.expected[top], FORWARD)
    (node,) = (n for n in engine.model.graph.nodes if n.op_type == "ConcatFromSequence")
    with pytest.raises(PreconditionError, match=r"cannot cross ConcatFromSequence node .* holds is decided") as refused:
        asked(engine, feeds, ProjectionRequest(top, top=1))
    assert refused.value.node == node.name
    below = next(n for n in engine.model.graph.nodes if n.op_type == "Conv").outputs[0]
    header, (projection,) = asked(engine, feeds, ProjectionRequest(below, top=1, policy=Policy.GRADIENT))
    leaf = picture().requires_grad_()
    enter = built(Looped).enter
    enter(leaf)[0, projection.channel].max().backward()
    assert leaf.grad is not None
    close(pictured(projection, header), leaf.grad[0].numpy(), FORWARD)
