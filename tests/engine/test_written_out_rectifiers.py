"""Rectifiers written out with Max and Min are crossed as the operators that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper, parser

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


def _nodes(text: str) -> list[NodeProto]:
    """Nodes in ONNX's text form; each named after what it makes."""
    nodes = list(parser.parse_graph(f"g (float[1] c) => (float[1] r) {{ {text} }}").node)
    for node in nodes:
        node.name = node.output[0]
    return nodes


_PLAIN |= {
    "leaky": _nodes("r = LeakyRelu <alpha = 0.2> (c)"),
    "prelu": _nodes("r = PRelu (c, slopes)"),
}
_WRITTEN |= {
    name: (plain, _nodes(text))
    for name, plain, text in (
        ("where", "relu", "p = Greater (c, zero) r = Where (p, c, zero)"),
        ("where of less", "relu", "p = LessOrEqual (c, zero) r = Where (p, zero, c)"),
        ("leaky by max", "leaky", "m = Mul (fifth, c) r = Max (c, m)"),
        ("leaky by max, divided", "leaky", "m = Div (c, five) r = Max (m, c)"),
        ("leaky by where", "leaky", "p = Greater (c, zero) m = Mul (c, fifth) r = Where (p, c, m)"),
        ("leaky by parts", "leaky", "p = Relu (c) n = Neg (c) q = Relu (n) m = Mul (q, fifth) r = Sub (p, m)"),
        ("leaky by negated parts", "leaky", "n = Neg (c) q = Relu (n) m = Mul (q, less) p = Relu (c) r = Add (m, p)"),
        ("leaky by min", "leaky", "p = Max (c, zero) q = Min (c, zero) m = Mul (fifth, q) r = Add (p, m)"),
        ("prelu by max", "prelu", "m = Mul (slopes, c) r = Max (m, c)"),
        ("prelu by parts", "prelu", "p = Relu (c) n = Neg (c) q = Relu (n) m = Mul (slopes, q) r = Sub (p, m)"),
        (
            "prelu by negated slopes",
            "prelu",
            "p = Relu (c) n = Neg (c) q = Relu (n) m = Mul (q, slants) r = Add (p, m)",
        ),
        ("prelu by min", "prelu", "p = Relu (c) q = Min (c, zero) m = Mul (q, slopes) r = Add (m, p)"),
        (
            "prelu by the absolute value",
            "prelu",
            "p = Relu (c) v = Abs (c) q = Sub (c, v) k = Mul (slopes, q) m = Mul (k, half) r = Add (p, m)",
        ),
    )
}


def _network(rectifier: list[NodeProto]) -> bytes:
    random = np.random.default_rng(3)
    weights = {
        "a": random.normal(size=(6, 3, 3, 3)),
        "b": random.normal(size=(4, 6, 3, 3)),
        "zero": np.zeros(()),
        "six": np.full((), 6.0),
        "half": np.full((), 0.5),
        "five": np.full((), 5.0),
        "fifth": np.full((), 0.2),
        "less": np.full((), -0.2),
        "slopes": np.linspace(0.1, 0.9, 6).reshape(6, 1, 1),
        "slants": -np.linspace(0.1, 0.9, 6).reshape(6, 1, 1),
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


@pytest.mark.parametrize(
    "text",
    [
        # max(x, 5 x) bends the other way, min(x, a x) lies below, and a second signal is no slope of the first.
        "m = Mul (five, c) r = Max (c, m)",
        "m = Mul (fifth, c) r = Min (c, m)",
        "o = Sigmoid (c) m = Mul (fifth, o) r = Max (c, m)",
        "m = Mul (fifth, c) s = Add (m, five) r = Max (c, s)",
        # The absolute value, the identity, and parts with a sign that is not theirs.
        "p = Relu (c) n = Neg (c) q = Relu (n) r = Add (p, q)",
        "p = Relu (c) n = Neg (c) q = Relu (n) r = Sub (p, q)",
        "p = Relu (c) n = Neg (c) q = Relu (n) m = Mul (q, fifth) r = Add (p, m)",
        "p = Relu (c) q = Min (c, six) m = Mul (q, fifth) r = Add (p, m)",
        "p = Greater (c, five) m = Mul (c, fifth) r = Where (p, c, m)",
        "p = Less (c, zero) m = Mul (c, fifth) r = Where (p, c, m)",
        "p = Greater (c, zero) r = Where (p, c, six)",
    ],
)
def test_a_look_alike_of_a_rectifier_stays_in_pieces(text: str) -> None:
    nodes = _nodes(text)
    found = [node.op_type for node in load(_network(nodes)).graph.nodes]
    assert found == ["Conv", *(node.op_type for node in nodes), "Conv"]


def test_a_written_out_rectifier_whose_piece_is_read_elsewhere_stays() -> None:
    nodes = _nodes("m = Mul (fifth, c) t = Max (c, m) r = Add (t, m)")
    assert "LeakyRelu" not in {node.op_type for node in load(_network(nodes)).graph.nodes}
