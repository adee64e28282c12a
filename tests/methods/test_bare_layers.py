"""Layers without a batch axis, inputs of whole numbers: one unit at a time, or a refusal that says why."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.engine.networks import Net
from tests.methods.small import asked, engine_of, feeds_of, pictured

from unpool.engine import Policy
from unpool.graph.errors import PreconditionError
from unpool.methods import Positions, ProjectionRequest
from unpool.ops.base import _REGISTRY


@pytest.mark.parametrize("mode", [Positions.ALL, Positions.MAP])
def test_units_of_a_layer_without_a_batch_axis_are_kept_apart(mode: Positions) -> None:
    net = Net(np.random.default_rng(2), (3, 4, 5))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3)], pads=[1] * 4)
    net.add("Squeeze", [net.current, net.weight(np.array([0]))])
    engine = engine_of(net.model((1, 3, 4, 5)))
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    assert engine.model.graph.values[net.current].batch_axis is None
    feeds = feeds_of(engine, x)
    request = ProjectionRequest(net.current, channels=(0, 1, 2, 3), positions=mode, policy=Policy.GRADIENT)
    header, found = asked(engine, feeds, request)
    leaf = torch.from_numpy(x).requires_grad_()
    y = engine.executor((), [net.current])({"x": leaf})[net.current]
    for projection in found:
        value = y[(projection.channel, *projection.position)].sum()
        (expected,) = torch.autograd.grad(value, leaf, retain_graph=True)
        np.testing.assert_allclose(pictured(projection, header), expected[0].numpy(), atol=1e-5)
    engine.close()


def _embedded() -> bytes:
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("table", (10, 6)), ("w", (6, 4)))
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["y"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, (1, 5))
    graph = helper.make_graph(nodes, "text", [ids], [helper.make_empty_tensor_value_info("y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_a_signal_cannot_end_at_whole_numbers_and_the_refusal_names_another_end() -> None:
    engine = engine_of(_embedded())
    feeds = feeds_of(engine, np.array([[1, 2, 3, 4, 5]]))
    with pytest.raises(PreconditionError, match=re.escape("no signal ends at 'ids', which holds int64")):
        asked(engine, feeds, ProjectionRequest("y", top=1))
    _, found = asked(engine, feeds, ProjectionRequest("y", top=1, to="embedding"))
    assert np.abs(found[0].signal).max() > 0
    engine.close()


def test_a_layer_reached_through_whole_numbers_only_is_refused() -> None:
    net = Net(np.random.default_rng(2), (3, 4, 5))
    net.add("Conv", ["x", net.normal(4, 3, 1, 1)])
    net.add("Cast", [net.current], to=TensorProto.INT32)
    net.add("Cast", [net.current], to=TensorProto.FLOAT)
    net.add("Relu", [net.current])
    engine = engine_of(net.model((1, 3, 4, 5)))
    feeds = feeds_of(engine, np.full((1, 3, 4, 5), 9, np.float32))
    with pytest.raises(PreconditionError, match=r"only whole numbers lead there; .* with 'to': 't2'"):
        asked(engine, feeds, ProjectionRequest(net.current, top=1))
    _, found = asked(engine, feeds, ProjectionRequest(net.current, top=1, to="t2"))
    assert found[0].signal.any()
    with pytest.raises(PreconditionError, match="'t1', which holds int32: whole numbers have no derivative"):
        engine.route(["t1"], ["x"], Policy.GRADIENT)
    engine.close()


def test_a_mode_that_no_forward_knows_is_refused_with_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*inputs: object, alpha: float = 1.0) -> NoReturn:
        raise NotImplementedError("this mode is not known here")

    for version, known in _REGISTRY["", "Elu"].items():
        monkeypatch.setitem(_REGISTRY["", "Elu"], version, replace(known, forward=refusing, window=refusing))
    net = Net(np.random.default_rng(2), (3, 4, 5))
    net.add("Conv", ["x", net.normal(4, 3, 1, 1)])
    net.add("Elu", [net.current], (4, 4, 5))
    engine = engine_of(net.model((1, 3, 4, 5)))
    feeds = feeds_of(engine, np.ones((1, 3, 4, 5), np.float32))
    assert engine.receptive_field("t0")[0].size == 1, "the rest of the model has its fields"
    with pytest.raises(PreconditionError, match=r"Elu node 'n1'.*this mode"):
        asked(engine, feeds, ProjectionRequest("t1", top=1))
    engine.close()
