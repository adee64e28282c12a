"""Rectifiers written out with Max and Min are crossed as the operators that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from unpool.engine import Engine, Feeds, Policy
from unpool.graph import load
from unpool.methods import Projection, ProjectionHeader, ProjectionRequest, project

_PLAIN = {
    "relu": [helper.make_node("Relu", ["c"], ["r"], "relu")],
    "relu6": [helper.make_node("Clip", ["c", "zero", "six"], ["r"], "clip")],
}
_WRITTEN: dict[str, tuple[str, list[NodeProto]]] = {
    "max": ("relu", [helper.make_node("Max", ["zero", "c"], ["r"], "max")]),
    "max of min": (
        "relu6",
        [helper.make_node("Min", ["c", "six"], ["m"], "min"), helper.make_node("Max", ["m", "zero"], ["r"], "max")],
    ),
    "min of max": (
        "relu6",
        [helper.make_node("Max", ["c", "zero"], ["m"], "max"), helper.make_node("Min", ["six", "m"], ["r"], "min")],
    ),
    "min of relu": (
        "relu6",
        [helper.make_node("Relu", ["c"], ["m"], "relu"), helper.make_node("Min", ["m", "six"], ["r"], "min")],
    ),
}


def _network(rectifier: list[NodeProto]) -> bytes:
    random = np.random.default_rng(3)
    weights = {
        "a": random.normal(size=(6, 3, 3, 3)),
        "b": random.normal(size=(4, 6, 3, 3)),
        "zero": np.zeros(()),
        "six": np.full((), 6.0),
    }
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], "first"),
        *rectifier,
        helper.make_node("Conv", ["r", "b"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("name", list(_WRITTEN))
def test_a_written_out_rectifier_is_crossed_as_the_operator(name: str, policy: Policy) -> None:
    plain, written = _WRITTEN[name]
    feeds = Feeds({"x": np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)}, "x")
    answers = []
    for nodes in (_PLAIN[plain], written):
        items = list(project(Engine(load(_network(nodes))), feeds, ProjectionRequest("y", top=4, policy=policy)))
        header = next(i for i in items if isinstance(i, ProjectionHeader))
        if policy is Policy.DECONVNET:
            assert not header.fallbacks
        answers.append({i.index: i.signal for i in items if isinstance(i, Projection)})
    assert answers[0].keys() == answers[1].keys()
    for index, signal in answers[0].items():
        assert np.abs(signal).max() > 0
        np.testing.assert_allclose(answers[1][index], signal, atol=1e-6 * np.abs(signal).max())
