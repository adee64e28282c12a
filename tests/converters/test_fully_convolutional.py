"""Heads as convolutions, against the same network as it was: at its own size, and on crops of a larger picture."""

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from tests import zoo
from tests.converters.test_command import _run

from unpool.converters import ConversionError, fully_convolutional
from unpool.converters.fully_convolutional import check

_LIGHT = ("alexnet", "zfnet512", "squeezenet", "inception_v1", "densenet121", "efficientnet_lite0")


def _outputs(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def _small(pool: torch.nn.Module, features: int) -> onnx.ModelProto:
    """Without padding, so that each place of a map sees a crop and nothing else."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 8, 3), torch.nn.ReLU()),
        *(pool, torch.nn.Flatten(), torch.nn.Linear(features, 10), torch.nn.ReLU(), torch.nn.Dropout()),
        *(torch.nn.Linear(10, 4), torch.nn.Softmax(-1)),
    ).eval()
    file = io.BytesIO()
    torch.onnx.export(network, (torch.zeros(1, 3, 16, 16),), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("name", _LIGHT)
def test_at_its_own_size_a_real_network_is_the_same(name: str) -> None:
    model = onnx.load(zoo.path(name))
    new = fully_convolutional(model)
    onnx.checker.check_model(new)
    x = zoo.tensor(name)
    for expected, found in zip(_outputs(model, x), _outputs(new, x), strict=True):
        assert found.shape == (*expected.shape[:2], 1, 1)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    larger = np.random.default_rng(0).normal(size=(1, 3, 300, 340)).astype(np.float32)
    (maps,) = _outputs(new, larger)
    assert maps.shape[:2] == expected.shape[:2]
    assert min(maps.shape[2:]) > 1
    assert {n.name for n in model.graph.node if n.op_type == "Conv"} <= {n.name for n in new.graph.node}


@pytest.mark.parametrize(("pool", "features"), [(torch.nn.Identity(), 200), (torch.nn.AdaptiveAvgPool2d(1), 8)])
def test_each_place_of_a_map_is_the_network_on_that_crop(pool: torch.nn.Module, features: int) -> None:
    model = _small(pool, features)
    new = fully_convolutional(model)
    check(model, new)
    larger = np.random.default_rng(1).normal(size=(1, 3, 24, 30)).astype(np.float32)
    (maps,) = _outputs(new, larger)
    assert maps.shape == (1, 4, 5, 8)
    for row in range(5):
        for column in range(8):
            crop = np.ascontiguousarray(larger[:, :, 2 * row : 2 * row + 16, 2 * column : 2 * column + 16])
            np.testing.assert_allclose(maps[:, :, row, column], _outputs(model, crop)[0], rtol=1e-4, atol=1e-6)


def test_what_holds_on_to_its_size_is_told() -> None:
    model = onnx.load(zoo.path("shufflenet"))
    with pytest.raises(ConversionError, match=r"takes no larger picture.*Reshape"):
        check(model, fully_convolutional(model))


def test_a_node_that_mixes_places_is_named() -> None:
    model = _small(torch.nn.Identity(), 200)
    flatten = next(i for i, n in enumerate(model.graph.node) if n.op_type in ("Flatten", "Reshape"))
    flat = model.graph.node[flatten].output[0]
    model.graph.node.insert(flatten + 1, helper.make_node("CumSum", [flat, "axis"], ["mixed"], name="mixer"))
    model.graph.node[flatten + 2].input[0] = "mixed"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(1), "axis"))
    with pytest.raises(ConversionError, match="CumSum 'mixer'"):
        fully_convolutional(model)
    trunk = onnx.load(zoo.path("hed_vgg16"))
    with pytest.raises(ConversionError, match="no fully connected head"):
        fully_convolutional(trunk)


def test_from_the_command_line(tmp_path: Path) -> None:
    onnx.save(_small(torch.nn.Identity(), 200), tmp_path / "small.onnx")
    code, out, errors = _run(str(tmp_path / "small.onnx"), "-o", str(tmp_path / "models"), "--fully-convolutional")
    assert code == 0, errors
    assert "small version 1" in out
    assert "differs from the source by" in out
    assert "taken as it is" not in out
    new = onnx.load(tmp_path / "models" / "small" / "1" / "model.onnx")
    assert [n.op_type for n in new.graph.node].count("Conv") == 4
    assert not {"Gemm", "MatMul", "Flatten"} & {n.op_type for n in new.graph.node}
    code, _, errors = _run("recipe:hed_vgg16", "--fully-convolutional")
    assert code == 1
    assert "FILE.onnx" in errors


def test_a_place_of_a_class_map_is_projected() -> None:
    from unpool.engine import Engine, EngineSettings, Feeds, Policy
    from unpool.graph import load
    from unpool.methods import Projection, ProjectionRequest, project

    new = fully_convolutional(_small(torch.nn.Identity(), 200))
    engine = Engine(load(new.SerializeToString()), EngineSettings(device="cpu", threads=1))
    source, output = engine.model.graph.inputs[0], engine.model.graph.outputs[0]
    x = np.random.default_rng(1).normal(size=(1, 3, 24, 30)).astype(np.float32)
    request = ProjectionRequest(output, (2,), positions=((3, 5),), policy=Policy.GRADIENT)
    (found,) = (p for p in project(engine, Feeds({source: x}, source), request) if isinstance(p, Projection))
    assert found.activation == pytest.approx(_outputs(new, x)[0][0, 2, 3, 5], rel=1e-4)
    # Its receptive field is the crop that the network was made for.
    assert (found.lower, found.upper) == ((6, 10), (22, 26))
