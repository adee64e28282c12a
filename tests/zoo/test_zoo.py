"""The models of the zoo are real: they load, run, and their activations are worth testing on."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tests import zoo
from tests.zoo import light

from unpool.converters.recipes import efficientnet_lite0


def _session(model: bytes | str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", [*zoo.names(), *zoo.extra_names()])
def test_model_loads_and_gives_finite_outputs_that_vary(name: str) -> None:
    session = _session(str(zoo.path(name)))
    for output in session.run(None, {session.get_inputs()[0].name: zoo.tensor(name)}):
        assert np.isfinite(output).all()
        assert output.std() > 0


@pytest.mark.parametrize("name", zoo.light_names())
def test_light_graph_keeps_its_nodes_and_its_activations_live(name: str) -> None:
    original, model = onnx.load(light.source(name)), onnx.load(zoo.path(name))
    expected = [n.SerializeToString() for n in original.graph.node if n.op_type != "ConstantOfShape"]
    assert [n.SerializeToString() for n in model.graph.node] == expected

    planes = [n.output[0] for n in model.graph.node if n.op_type == "Relu"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(p) for p in planes)
    session = _session(model.SerializeToString())
    values = session.run(None, {session.get_inputs()[0].name: zoo.tensor(name, "astronaut")})
    for plane, value in zip(planes, values, strict=True):
        assert 0.2 < (value > 0).mean() < 0.8, plane
        assert 0.1 < value.std() < 100, plane
        dead = (value.reshape(value.shape[1], -1) == 0).all(axis=1).mean()
        assert value[0, 0].size == 1 or dead < 0.4, plane


@pytest.mark.parametrize(
    ("picture", "label", "probability"), [("cat", "tiger cat", 0.39), ("coffee", "espresso", 0.95)]
)
def test_efficientnet_names_the_photograph(picture: str, label: str, probability: float) -> None:
    session = _session(str(zoo.path("efficientnet_lite0")))
    (logits,) = session.run(None, {"input": zoo.tensor("efficientnet_lite0", picture)})
    scores = torch.from_numpy(logits[0]).softmax(0)
    assert efficientnet_lite0.labels()[int(scores.argmax())] == label
    assert float(scores.max()) == pytest.approx(probability, abs=0.02)


def test_vgg16_trunk_equals_its_twin_and_the_third_partys_file() -> None:
    x = zoo.vgg16_tensor("cat", 240)
    with torch.no_grad():
        twin = zoo.vgg16_twin()(torch.from_numpy(x)).numpy()
    (trunk,) = _session(str(zoo.vgg16_trunk(240))).run(None, {"input": x})
    model = onnx.load(zoo.path("imagenet_vgg16"))
    last_pool = [n.output[0] for n in model.graph.node if n.op_type == "MaxPool"][-1]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last_pool))
    (third,) = _session(model.SerializeToString()).run([last_pool], {"input": x.transpose(0, 2, 3, 1)})
    scale = np.abs(third).max()
    assert np.abs(trunk - third).max() < 1e-4 * scale
    assert np.abs(twin - third).max() < 1e-4 * scale


@pytest.mark.parametrize("name", [*zoo.light_names(), "imagenet_vgg16"])
def test_twin_equals_the_file_and_has_a_module_for_every_rectifier(name: str) -> None:
    twin, x = zoo.twin(name), zoo.tensor(name, "coffee")
    session = _session(str(zoo.path(name)))
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        result = twin.module(torch.from_numpy(x)).numpy()
    assert np.abs(result - expected).max() < 1e-4 * np.abs(expected).max()
    rectifiers = [twin.layers[n.output[0]] for n in onnx.load(zoo.path(name)).graph.node if n.op_type == "Relu"]
    assert all(isinstance(m, torch.nn.ReLU) and not m.inplace for m in rectifiers)
    assert len(set(map(id, rectifiers))) == len(rectifiers)


def test_straight_lrn_keeps_values_and_passes_the_gradient_unchanged() -> None:
    straight, plain = zoo.twin("alexnet", straight_lrn=True), zoo.twin("alexnet")
    tensor = next(n.output[0] for n in onnx.load(zoo.path("alexnet")).graph.node if n.op_type == "LRN")
    x = torch.randn(1, 96, 5, 5, generator=torch.manual_seed(0), requires_grad=True)
    y = straight.layers[tensor](x)
    assert torch.allclose(y, plain.layers[tensor](x), atol=1e-6)
    seed = torch.randn(y.shape, generator=torch.manual_seed(1))
    (gradient,) = torch.autograd.grad(y, x, seed)
    assert torch.equal(gradient, seed)


def test_unknown_model_is_refused_with_the_names() -> None:
    with pytest.raises(KeyError, match="resnet50"):
        zoo.path("nothing")
