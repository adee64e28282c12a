"""Parity of models that round inside: what falls the other way by a step is no fault, and a fault is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from unpool.engine import Engine, EngineSettings
from unpool.graph import load
from unpool.graph.model import Node
from unpool.ops import base
from unpool.repository.admission import rounding
from unpool.repository.admission.parity import compare
from unpool.repository.admission.rounding import Roundings
from unpool.repository.admission.verdict import OutputParity

SIDE = 24


def made(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Engine:
    graph = helper.make_graph(
        nodes,
        "rounding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return Engine(load(model.SerializeToString()), EngineSettings(device="cpu", threads=1))


def filters(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def pair(source: str, name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, "step", "middle"], [f"{name}_stored"], name=f"{name}_q"),
        helper.make_node("DequantizeLinear", [f"{name}_stored", "step", "middle"], [name]),
    ]


def in_pairs() -> Engine:
    nodes = [
        *pair("x", "xq"),
        helper.make_node("Conv", ["xq", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"], name="rectifier"),
        *pair("r", "rq"),
        helper.make_node("Conv", ["rq", "v"], ["b"]),
        *pair("b", "y"),
    ]
    weights = {"w": filters(8, 3, 3, 3) / 5, "v": filters(4, 8, 3, 3) / 9}
    return made(nodes, {**weights, "step": np.float32(0.031), "middle": np.uint8(128)})


def in_half() -> Engine:
    nodes = [
        helper.make_node("Cast", ["x"], ["xh"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["xh", "w"], ["a"], name="convolution"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT),
    ]
    return made(nodes, {"w": (filters(8, 3, 3, 3) / 5).astype(np.float16)})


def swap(monkeypatch: pytest.MonkeyPatch, op_type: str, change: Callable[[Tensor], Tensor]) -> None:
    """Makes an operator's forward in torch wrong."""
    known = base._REGISTRY["", op_type]

    def wrong(o: base.Operator) -> base.Operator:
        def forward(*inputs: Tensor, **attributes: object) -> Tensor:
            found = o.forward(*inputs, **base.keywords(o.forward, attributes, 1))  # type: ignore[arg-type]
            assert isinstance(found, Tensor)
            return change(found)

        return base.Operator("", op_type, o.since, forward, o.window)

    monkeypatch.setitem(base._REGISTRY, ("", op_type), {version: wrong(o) for version, o in known.items()})


def only(engine: Engine) -> OutputParity:
    found = compare(engine)
    assert not found.reason
    (output,) = found.outputs
    return output


def test_a_quantised_model_agrees_and_says_how_it_was_compared() -> None:
    found = only(in_pairs())
    assert found.holds
    assert found.tolerance == 1e-4
    assert found.inside == "quantised inside, compared within 1 step"


def test_single_roundings_that_fall_the_other_way_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few sums are moved by a hair over half a step; what the second convolution makes of it is not counted."""

    def nudged(x: Tensor) -> Tensor:
        x = x.clone()
        places = (x / 0.031).frac().sub(0.5).abs().flatten().argsort()[:5]
        flat = x.flatten()
        flat[places] += torch.where((flat[places] / 0.031).frac() < 0.5, 0.031 * 0.1, -0.031 * 0.1)
        return flat.reshape(x.shape)

    swap(monkeypatch, "Relu", nudged)
    assert only(in_pairs()).holds
    monkeypatch.setattr(rounding, "STEPS", 0)
    assert not only(in_pairs()).holds


def test_a_wrong_operator_in_a_quantised_model_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    swap(monkeypatch, "Relu", lambda x: x * 1.5)
    found = compare(in_pairs())
    assert not found.holds
    assert "QuantizeLinear node 'rq_q' differs by up to" in str(found)


def test_an_operator_that_is_wrong_by_less_than_a_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    swap(monkeypatch, "Relu", lambda x: x + 0.031 / 4)
    found = compare(in_pairs())
    assert not found.holds
    assert "is rounded another way at" in str(found)


def test_what_stands_behind_the_last_quantised_tensor_is_held_to_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    swap(monkeypatch, "DequantizeLinear", lambda x: x * 1.001)
    found = only(in_pairs())
    assert not found.holds
    assert found.difference > 5e-4


def test_half_precision_inside_sets_the_tolerance_and_is_computed_by_torch() -> None:
    parity = compare(in_half())
    (found,) = parity.outputs
    assert found.holds
    assert found.tolerance == 1e-2
    assert found.inside == "computed in float16 inside"
    assert "(tolerance 1e-02; computed in float16 inside)" in str(parity)
    assert parity.borrowed == ()


def test_a_wrong_operator_in_half_precision_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    swap(monkeypatch, "Relu", lambda x: x * 1.05)
    assert not only(in_half()).holds


def test_weights_alone_in_half_precision_change_nothing() -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "wide"], ["y"]),
    ]
    found = only(made(nodes, {"w": (filters(8, 3, 3, 3) / 5).astype(np.float16)}))
    assert found.holds
    assert (found.tolerance, found.inside) == (1e-4, "")


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_what_a_recurrence_makes_of_one_rounding_is_no_fault(direction: str) -> None:
    node = Node("l", "com.microsoft", "DynamicQuantizeLSTM", 1, ("x",), ("y",), {"direction": direction})
    theirs = np.random.default_rng(0).uniform(-1, 1, (6, 1 + (direction == "bidirectional"), 2, 5)).astype(np.float32)
    theirs[0, 0, 0, 0] = 1
    grown = np.array([5, 3, 0.8, 0, 0, 0]) / 255  # by the last direction, which goes from the end
    for factor, holds in ((1.0, True), (2.0, False)):
        ours = theirs.copy()
        ours[:, -1, 1, 3] += factor * grown
        roundings = Roundings({"y": theirs})
        (settled,) = roundings.settle(node, (torch.from_numpy(ours),))
        assert (not roundings.faults) == holds
        np.testing.assert_array_equal(settled.numpy(), theirs if holds else ours)


def test_noise_is_drawn_once_for_both() -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["sum"]),
        helper.make_node("Conv", ["sum", "w"], ["y"]),
    ]
    assert only(made(nodes, {"w": filters(4, 3, 3, 3)})).holds


def test_a_model_whose_output_torch_cannot_compute_says_by_which_node() -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["share"]), helper.make_node("Bernoulli", ["share"], ["y"], "coin")]
    assert compare(made(nodes, {})).reason == "torch has no forward of Bernoulli node 'coin'"
