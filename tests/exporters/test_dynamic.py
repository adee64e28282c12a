"""Models whose batch, height, width or length is free: one file at several sizes, over a real connection.

The oracles are the exported module in float64, and for a published network another translation to PyTorch.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from tests import zoo
from tests.client.serving import serving
from tests.engine.support import FORWARD, arrived, close, seed, units_at
from tests.exporters.networks import NETWORKS, module
from tests.oracles.converted import convert, gradients
from tests.service.small import put

from unpool.client import Client, InvalidArgumentError
from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load

SIZES = {
    "residual": [(1, 3, 32, 24), (1, 3, 57, 41), (1, 3, 24, 80)],
    "hourglass": [(1, 1, 16, 24), (1, 1, 32, 20), (1, 1, 8, 44)],
    "audio": [(1, 1, 256), (1, 1, 400), (1, 1, 97)],
    "transformer": [(1, 9), (1, 4), (1, 12)],
}
CASES = [
    pytest.param(exporter, name, id=f"{exporter}-{name}") for name in SIZES for exporter in ("torchscript", "dynamo")
]


def example(name: str, shape: tuple[int, ...], number: int = 0) -> torch.Tensor:
    """An input of a network at a size."""
    generator = torch.manual_seed(number)
    return (
        torch.randint(0, 50, shape, generator=generator)
        if NETWORKS[name].to
        else torch.randn(shape, generator=generator)
    )


def exported(exporter: str, name: str) -> bytes:
    """A network as a file with a free batch and every axis free that the network allows."""
    axes = (0, *NETWORKS[name].free)
    x = example(name, (2, *SIZES[name][0][1:]))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            torch.onnx.export(
                module(name), (x,), file, dynamo=False, opset_version=17, input_names=["input"],
                output_names=["output"], dynamic_axes={"input": {axis: f"d{axis}" for axis in axes}, "output": [0]},
            )  # fmt: skip
            return file.getvalue()
        program = torch.onnx.export(
            module(name), (x,), dynamo=True, verbose=False, input_names=["input"], output_names=["output"],
            dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.AUTO),),
        )  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in SIZES:
        for exporter in ("torchscript", "dynamo"):
            put(root, f"{exporter}-{name}", exported(exporter, name))
    for name in ("ppocr_det", "ppocr_cls"):
        put(root, name, zoo.path(name).read_bytes())
    return root


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with serving(repository) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address, timeout=120) as found:
        yield found


def opened(repository: Path, name: str) -> Engine:
    return Engine(load(repository / name / "1" / "model.onnx"), EngineSettings(device="cpu", threads=1))


def embedding(repository: Path, exporter: str, name: str) -> str | None:
    """Where signals end in a network of whole numbers: the first tensor of real numbers behind them."""
    if not NETWORKS[name].to:
        return None
    engine = opened(repository, f"{exporter}-{name}")
    graph = engine.model.graph
    below = graph.descendants(["input"])
    found = next(o for n in graph.nodes for o in n.outputs if o in below and graph.values[o].dtype == "float32")
    engine.close()
    return found


def derivative(name: str, x: torch.Tensor, unit: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Of one element of the output by the input or its embedding, channels first, by autograd in float64."""
    twin = module(name).double()
    if not NETWORKS[name].to:
        leaf = x.double().requires_grad_()
        return torch.autograd.grad(twin(leaf)[(0, *unit)], leaf)[0][0].numpy()
    kept: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    next(m for m in twin.modules() if isinstance(m, torch.nn.Embedding)).register_forward_hook(keep)
    return torch.autograd.grad(twin(x)[(0, *unit)], kept[0])[0][0].numpy().T


@pytest.mark.parametrize(("exporter", "name"), CASES)
def test_one_file_is_projected_at_every_size(repository: Path, client: Client, exporter: str, name: str) -> None:
    to = embedding(repository, exporter, name)
    for shape in SIZES[name]:
        x = example(name, shape)
        request = {"tensor": x.numpy(), "layer": "output", "top": 2, "policy": "gradient", "to": to}
        found = list(client.project(f"{exporter}-{name}", **request))
        assert len(found) == 2
        for one in found:
            expected = derivative(name, x, (one.channel, *one.position))
            assert np.abs(expected).max() > 0
            close(one.full()[None], expected[None], FORWARD)


@pytest.mark.parametrize(("exporter", "name"), CASES)
def test_two_inputs_give_what_each_gives_alone_at_another_size(repository: Path, exporter: str, name: str) -> None:
    engine = opened(repository, f"{exporter}-{name}")
    to = embedding(repository, exporter, name) or "input"
    inputs = [example(name, SIZES[name][1], number).numpy() for number in (1, 2)]
    both = Feeds({"input": np.concatenate(inputs)}, "input")
    joint = engine.run(both, ["output"])["output"]
    route = engine.route(["output"], [to], Policy.GRADIENT)
    capture = engine.captured_for(both, route, ["output"])
    for image, x in enumerate(inputs):
        alone = Feeds({"input": x}, "input")
        values = engine.run(alone, ["output"])["output"]
        close(joint[image : image + 1], values, FORWARD)
        units = units_at(values)
        starts = [1.0] * len(units)
        ours = arrived(
            engine, route, capture, {"output": seed(engine, both, "output", units, starts)}, [image] * len(units)
        )
        own = engine.captured_for(alone, route, ["output"])
        close(ours, arrived(engine, route, own, {"output": seed(engine, alone, "output", units, starts)}), FORWARD)
        assert np.abs(ours).max() > 0
    engine.close()


def test_a_question_is_about_one_input(client: Client) -> None:
    x = example("residual", (2, 3, 32, 24)).numpy()
    with pytest.raises(InvalidArgumentError) as refused:
        list(client.project("dynamo-residual", tensor=x, layer="output"))
    assert "tensor" in refused.value.field
    assert "2 examples along its batch axis 0; show one at a time" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("ppocr_det", (64, 96)), ("ppocr_det", (96, 64)), ("ppocr_cls", (48, 192)), ("ppocr_cls", (48, 128))],
)
def test_a_published_network_is_projected_at_other_sizes(client: Client, name: str, shape: tuple[int, int]) -> None:
    # Noise keeps the rectifiers' inputs away from zero: on the bare crop of 48 by 128 one lies at 3e-7 of 5, on the
    # other side in float64.
    picture = zoo.tensor(name)[:, :, : shape[0], : shape[1]]
    x = picture + 0.1 * np.random.default_rng(1).standard_normal(picture.shape).astype(np.float32)
    layers = [layer for layer in client.layers(name) if layer.op == "Conv"]
    layer = layers[len(layers) // 2].name
    (one,) = client.project(name, tensor=x, layer=layer, top=1, policy="gradient")
    oracle = convert(onnx.load(zoo.path(name)), [layer])
    source = onnx.load(zoo.path(name), load_external_data=False).graph.input[0].name
    expected, values = gradients(oracle, {source: x}, source, (0, one.channel, *one.position), 1.0)
    assert one.activation == pytest.approx(float(values[(0, one.channel, *one.position)]), rel=1e-4)
    assert np.abs(expected).max() > 0
    close(one.full()[None], expected, FORWARD)


def test_a_response_normalisation_of_free_sides_asks_for_its_rank_and_is_crossed() -> None:
    """TorchScript writes an If around the normalisation's padding, which the rank decides while the file is loaded."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.LocalResponseNorm(3),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 6, 3),
    ).eval()
    x = torch.randn(1, 3, 40, 33)
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        free = {"input": {0: "n", 2: "height", 3: "width"}}
        torch.onnx.export(network, (x,), file, dynamo=False, opset_version=17, input_names=["input"], dynamic_axes=free)
        proto = onnx.load_from_string(file.getvalue())
    for dim in proto.graph.input[0].type.tensor_type.shape.dim:  # as files are that do not name their axes either
        dim.ClearField("dim_param")
    assert any(node.op_type == "If" for node in proto.graph.node)
    engine = Engine(load(proto.SerializeToString()), EngineSettings(device="cpu", threads=1))
    feeds, (layer,) = Feeds({"input": x.numpy()}, "input"), engine.model.graph.outputs
    leaf = x.double().requires_grad_()
    y = network.double()(leaf)
    close(engine.run(feeds)[layer], y.numpy(force=True), FORWARD)
    unit = tuple(int(i) for i in np.unravel_index(int(y[0].argmax()), y.shape[1:]))
    (expected,) = torch.autograd.grad(y[(0, *unit)], leaf)
    for policy in Policy:
        route = engine.route([layer], ["input"], policy)
        capture = engine.captured_for(feeds, route, [layer])
        found = arrived(engine, route, capture, {layer: seed(engine, feeds, layer, [unit], [1.0])})
        assert np.isfinite(found).all()
        if policy is Policy.GRADIENT:
            close(found, expected.numpy(), 1e-4)
