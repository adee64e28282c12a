"""Quantised operators and models: signals go straight through what is rounded, with dequantised weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from tests.graph.builders import text_model
from tests.methods.small import asked, engine_of, pictured
from tests.oracles.crossing import BoxCrossing
from torch import Tensor
from torch.nn import functional

from unpool.engine import Boxes, Engine, Feeds, Policy, Signal
from unpool.graph import OTHER, load
from unpool.graph.model import Attribute, Node
from unpool.methods import ProjectionRequest, Start
from unpool.ops import Operand, backward, run

RNG = np.random.default_rng(0)


def u8(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.integers(0, 256, shape).astype(np.uint8))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float32)


def zero(value: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def carried(
    op_type: str, inputs: list[Tensor | None], moving: list[int], domain: str = "", **attributes: Attribute
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Signals at the inputs, the signal at the output, and the output."""
    names = tuple("" if x is None else f"x{i}" for i, x in enumerate(inputs))
    version = 21 if not domain else 1
    outputs = ("y", "scale", "zero") if op_type == "DynamicQuantizeLinear" else ("y",)
    node = Node("n", domain, op_type, version, names, outputs, attributes)
    results = run(node, inputs)
    constants = {i: x for i, x in enumerate(inputs) if x is not None and i not in moving}
    rule = backward(node, tuple(x is None or i in constants for i, x in enumerate(inputs)))
    assert rule is not None
    at = BoxCrossing(
        node,
        [None if x is None else Operand(tuple(x.shape), (OTHER,) * x.ndim) for x in inputs],
        [Operand(tuple(y.shape), (OTHER,) * y.ndim) for y in results],
        constants,
        {},
        {},
        values={i: x for i, x in enumerate(inputs) if x is not None},
        results=dict(enumerate(results)),
    )
    s = torch.from_numpy(RNG.normal(size=tuple(results[0].shape)).astype(np.float32))
    return list(rule.apply(at, (s, *[None] * (len(outputs) - 1)))), s, results[0]


def test_quantising_divides_and_dequantising_multiplies() -> None:
    x = torch.from_numpy(RNG.normal(size=(2, 3)).astype(np.float32))
    back, s, _ = carried("QuantizeLinear", [x, number(0.05), zero(120)], [0])
    torch.testing.assert_close(back[0], s / 0.05)
    scales = torch.tensor([0.1, 0.2, 0.4])
    back, s, _ = carried("DequantizeLinear", [u8(2, 3), scales, torch.zeros(3, dtype=torch.uint8)], [0], axis=1)
    torch.testing.assert_close(back[0], s * scales)


def test_the_lowest_number_gets_no_signal_where_it_stands_for_zero() -> None:
    x = torch.tensor([-1.0, -0.01, 0.3, 20.0])
    back, s, y = carried("QuantizeLinear", [x, number(0.05), zero(0)], [0])
    assert y.tolist() == [0, 0, 6, 255]
    torch.testing.assert_close(back[0], s / 0.05 * torch.tensor([0.0, 0.0, 1.0, 1.0]))
    back, s, _ = carried("QuantizeLinear", [x, number(0.05), zero(-128, torch.int8)], [0])
    torch.testing.assert_close(back[0], s / 0.05 * torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_quantising_by_its_own_range_divides_by_the_scale_found() -> None:
    x = torch.from_numpy(RNG.normal(size=(2, 3)).astype(np.float32))
    back, s, _ = carried("DynamicQuantizeLinear", [x], [0])
    torch.testing.assert_close(back[0], s * 255 / (x.amax().clamp(min=0) - x.amin().clamp(max=0)))


def by_autograd(real: Tensor, x: Tensor, s: Tensor) -> Tensor:
    return torch.autograd.grad(real, x, s.to(real.dtype))[0].float()


def test_convolution_is_crossed_with_dequantised_weights() -> None:
    x, w = u8(1, 4, 6, 5), torch.from_numpy(RNG.integers(-127, 128, (6, 2, 3, 3)).astype(np.int8))
    scales = torch.linspace(0.01, 0.05, 6)
    given: list[Tensor | None] = [x, number(0.1), zero(100), w, scales, torch.zeros(6, dtype=torch.int8)]
    for y_zero in (0, 120):
        back, s, y = carried("QLinearConv", [*given, number(0.2), zero(y_zero)], [0], group=2, pads=(1, 1, 1, 1))
        real_x = x.double().requires_grad_()
        weight = w.double() * scales.double().view(-1, 1, 1, 1)
        real = functional.conv2d((real_x - 100) * 0.1, weight, None, padding=1, groups=2) / 0.2
        kept = s * (y > 0) if y_zero == 0 else s
        torch.testing.assert_close(back[0], by_autograd(real, real_x, kept), rtol=1e-4, atol=1e-4)
    back, s, _ = carried("ConvInteger", [x, w, zero(100)], [0], group=2, strides=(2, 2))
    real_x = x.double().requires_grad_()
    real = functional.conv2d(real_x - 100, w.double(), None, stride=2, groups=2)
    torch.testing.assert_close(back[0], by_autograd(real, real_x, s), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("side", [0, 1])
def test_products_are_crossed_with_dequantised_factors(side: int) -> None:
    a, b = u8(3, 4), u8(4, 5)
    place = 3 * side
    inputs: list[Tensor | None] = [a, number(0.1), zero(100), b, number(0.02), zero(7), number(0.3), zero(128)]
    back, s, _ = carried("QLinearMatMul", inputs, [place])
    wide = [a.double().requires_grad_(), b.double().requires_grad_()]
    real = ((wide[0] - 100) * 0.1) @ ((wide[1] - 7) * 0.02) / 0.3
    torch.testing.assert_close(back[place], by_autograd(real, wide[side], s), rtol=1e-4, atol=1e-5)
    back, s, _ = carried("MatMulInteger", [a, b, zero(100), zero(7)], [side])
    torch.testing.assert_close(
        back[side], by_autograd((wide[0] - 100) @ (wide[1] - 7), wide[side], s), rtol=1e-5, atol=1e-3
    )


PAIR: list[Tensor | None] = [u8(2, 3, 4), number(0.05), zero(120), u8(3, 1), number(0.02), zero(7)]
REAL = {
    "QLinearAdd": lambda a, b: a + b,
    "QLinearMul": lambda a, b: a * b,
}


@pytest.mark.parametrize("op_type", REAL)
def test_pairs_are_crossed_in_real_numbers(op_type: str) -> None:
    back, s, _ = carried(op_type, [*PAIR, number(0.1), zero(128)], [0, 3], "com.microsoft")
    assert PAIR[0] is not None
    assert PAIR[3] is not None
    a, b = PAIR[0].double().requires_grad_(), PAIR[3].double().requires_grad_()
    real = REAL[op_type]((a - 120) * 0.05, (b - 7) * 0.02) / 0.1
    for i, x in ((0, a), (3, b)):
        expected = torch.autograd.grad(real, x, s.double(), retain_graph=True)[0].float()
        torch.testing.assert_close(back[i], expected, rtol=1e-4, atol=1e-4)


def test_a_mean_and_a_joint_are_crossed_in_real_numbers() -> None:
    x = u8(1, 3, 4, 4)
    one: list[Tensor | None] = [x, number(0.1), zero(10), number(0.2), zero(128)]
    back, s, _ = carried("QLinearGlobalAveragePool", one, [0], "com.microsoft")
    torch.testing.assert_close(back[0], (s * 0.1 / 0.2 / 16).expand(x.shape))
    parts: list[Tensor | None] = [number(0.2), zero(128), x, number(0.1), zero(10), x, number(0.4), zero(0)]
    back, s, _ = carried("QLinearConcat", parts, [2, 5], "com.microsoft", axis=1)
    torch.testing.assert_close(back[2], s[:, :3] * 0.1 / 0.2)
    torch.testing.assert_close(back[5], s[:, 3:] * 0.4 / 0.2)


class Pictures(CalibrationDataReader):
    """Random pictures to calibrate with, the one that is asked about among them."""

    def __init__(self, picture: np.ndarray) -> None:
        some = [RNG.normal(size=picture.shape).astype(np.float32) for _ in range(8)]
        self.rest: Iterator[np.ndarray] = iter([*some, picture])

    def get_next(self) -> dict[str, np.ndarray] | None:
        found = next(self.rest, None)
        return None if found is None else {"x": found}


def small_network() -> onnx.ModelProto:
    """Convolutions, a pool, a sum of two branches, a mean and a dense layer."""
    draw = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((draw.normal(size=shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "wa", "ba"], ["a"], "a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ra"], "ra"),
        helper.make_node("MaxPool", ["ra"], ["p"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "wb", "bb"], ["b"], "b", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["rb"], "rb"),
        helper.make_node("Add", ["rb", "p"], ["j"], "j"),
        helper.make_node("Conv", ["j", "wc", "bc"], ["c"], "c", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["rc"], "rc"),
        helper.make_node("GlobalAveragePool", ["rc"], ["g"], "g"),
        helper.make_node("Flatten", ["g"], ["f"], "f"),
        helper.make_node("Gemm", ["f", "wd", "bd"], ["y"], "y"),
    ]
    weights = [
        weight("wa", 8, 3, 3, 3),
        weight("ba", 8),
        weight("wb", 8, 8, 3, 3),
        weight("bb", 8),
        weight("wc", 16, 8, 3, 3),
        weight("bc", 16),
        weight("wd", 16, 10),
        weight("bd", 10),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 24, 24])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PICTURE = np.random.default_rng(5).normal(size=(1, 3, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """One network as ONNX Runtime's quantiser writes it, in every format."""
    logging.disable(logging.WARNING)
    folder = tmp_path_factory.mktemp("quantised")
    source = folder / "float.onnx"
    onnx.save(small_network(), source)
    found = {"float": source}
    formats = {
        "operators": {"quant_format": QuantFormat.QOperator},
        "operators, a scale for every channel": {"quant_format": QuantFormat.QOperator, "per_channel": True},
        "pairs": {"quant_format": QuantFormat.QDQ},
        "pairs, a scale for every channel": {"quant_format": QuantFormat.QDQ, "per_channel": True},
        "unsigned weights": {
            "quant_format": QuantFormat.QOperator,
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QUInt8,
        },
    }
    for name, options in formats.items():
        found[name] = folder / f"{len(found)}.onnx"
        quantize_static(source, found[name], Pictures(PICTURE), **options)
    found["as it comes"] = folder / "dynamic.onnx"
    quantize_dynamic(source, found["as it comes"], weight_type=QuantType.QUInt8)
    logging.disable(logging.NOTSET)
    return found


def gradient(source: Path, unit: int = 3) -> tuple[np.ndarray, tuple[str, ...]]:
    """The gradient of one output at the picture, by the walk; and the nodes that were crossed by their derivative."""
    with_model = load(source)
    engine = Engine(with_model)
    feeds = Feeds({"x": PICTURE}, "x")
    route = engine.route(["y"], ["x"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, also=["y"])
    seed = torch.zeros(1, 10)
    seed[0, unit] = 1
    signal = Signal(seed, Boxes.whole({}, 1))
    pieces = [p for p in engine.walk(route, capture, {"y": signal}, np.zeros(1, np.int64)) if p is not None]
    fallbacks = tuple(s.node.op_type for s in route.steps if not s.rule.exact)
    engine.close()
    return pieces[0].signals["x"].value.numpy(), fallbacks


class _Straight(torch.autograd.Function):
    """Quantised and back; signals pass, but for what fell to a lowest number that stands for 0."""

    @staticmethod
    def forward(context: object, x: Tensor, scale: Tensor, point: Tensor) -> Tensor:
        info = torch.iinfo(point.dtype)
        stored = ((x / scale).round() + point).clamp(info.min, info.max)
        context.kept = stored > info.min if int(point) == info.min else torch.ones_like(stored, dtype=torch.bool)  # type: ignore[attr-defined]
        return (stored - point) * scale

    @staticmethod
    def backward(context: object, s: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return s * context.kept, None, None  # type: ignore[attr-defined]


def by_pairs(source: Path, unit: int = 3) -> np.ndarray:
    """The gradient of a model of QuantizeLinear and DequantizeLinear pairs, by autograd, node by node."""
    model = onnx.load(source)
    known = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    x = known["x"] = torch.from_numpy(PICTURE.copy()).requires_grad_()
    for node in model.graph.node:
        given = [known[i] for i in node.input]
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "QuantizeLinear":
            result = _Straight.apply(*given)
        elif node.op_type == "DequantizeLinear":
            if given[0].is_floating_point():  # quantised and dequantised above
                result = given[0]
            else:
                axis = [-1 if i == options.get("axis", 1) else 1 for i in range(given[0].ndim)]
                scale, point = (g.reshape(axis) if g.ndim and g.numel() > 1 else g.reshape(()) for g in given[1:])
                result = (given[0].float() - point.float()) * scale
        elif node.op_type == "Conv":
            pads = options.get("pads", [0])[0]
            result = functional.conv2d(*given, stride=tuple(options.get("strides", [1, 1])), padding=pads)
        elif node.op_type == "MaxPool":
            result = functional.max_pool2d(given[0], 2)
        elif node.op_type == "Add":
            result = given[0] + given[1]
        elif node.op_type == "Relu":
            result = torch.relu(given[0])
        elif node.op_type == "GlobalAveragePool":
            result = given[0].mean((2, 3), keepdim=True)
        elif node.op_type == "Flatten":
            result = given[0].flatten(1)
        else:
            assert node.op_type == "Gemm"
            weight = given[1].mT if options.get("transB") else given[1]
            result = given[0] @ weight + given[2]
        known[node.output[0]] = result
    return torch.autograd.grad(known["y"][0, unit], x)[0].numpy()


@pytest.mark.parametrize("name", ["pairs", "pairs, a scale for every channel"])
def test_gradient_of_pairs_is_autograds_straight_through(name: str, models: Mapping[str, Path]) -> None:
    found, fallbacks = gradient(models[name])
    assert not fallbacks
    np.testing.assert_allclose(found, by_pairs(models[name]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "other"),
    [("operators", "pairs"), ("operators, a scale for every channel", "pairs, a scale for every channel")],
)
def test_gradient_of_whole_number_operators_is_that_of_pairs(name: str, other: str, models: Mapping[str, Path]) -> None:
    found, fallbacks = gradient(models[name])
    assert not fallbacks
    expected = by_pairs(models[other])
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", ["unsigned weights", "as it comes"])
def test_gradient_of_a_quantised_model_is_near_the_real_ones(name: str, models: Mapping[str, Path]) -> None:
    found, _ = gradient(models[name])
    expected, _ = gradient(models["float"])
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", ["operators", "pairs", "as it comes"])
def test_forward_of_a_quantised_model_is_the_runtimes(name: str, models: Mapping[str, Path]) -> None:
    engine = Engine(load(models[name]))
    found = engine.executor([], ["y"])({"x": torch.from_numpy(PICTURE)})["y"].detach().numpy()
    engine.close()
    session = ort.InferenceSession(models[name], providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": PICTURE})[0]
    # A sum that falls between two numbers may be rounded either way, and is not more than two steps of the last scale.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_signal_comes_back_through_every_part_of_a_quantised_tensor() -> None:
    """As the cross stage blocks of detectors take their channels apart."""
    data = text_model(
        """g (float[1, 6, 4, 4] x) => (float[1, 3, 4, 4] y) {
            c = Conv (x, same)
            q = QuantizeLinear (c, scale, zero)
            first, second, last = Split <axis = 1> (q, lengths)
            y = DequantizeLinear (second, scale, zero)
        }""",
        {
            "scale": np.array(0.02, np.float32),
            "zero": np.array(128, np.uint8),
            "lengths": np.array([1, 3, 2]),
            "same": np.eye(6, dtype=np.float32)[..., None, None],
        },
        opset=13,
    )
    picture = RNG.uniform(-1, 1, (1, 6, 4, 4)).astype(np.float32)
    for policy in Policy:
        request = ProjectionRequest("y", channels=(2,), policy=policy, start=Start.ONE)
        header, (found,) = asked(engine_of(data), Feeds({"x": picture}, "x"), request)
        expected = np.zeros_like(picture[0])
        expected[(3, *found.position)] = 1
        np.testing.assert_allclose(pictured(found, header), expected, rtol=1e-6)


def test_a_rectifier_is_folded_into_the_range_of_sixteen_bits_too() -> None:
    x = torch.tensor([-1.0, 0.5, 2.0])
    (found, *_), signal, y = carried("QuantizeLinear", [x, number(0.001), zero(0, torch.uint16)], [0])
    assert y.dtype is torch.uint16
    assert found is not None
    torch.testing.assert_close(found, signal / 0.001 * torch.tensor([0.0, 1.0, 1.0]))
