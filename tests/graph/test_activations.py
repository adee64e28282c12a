"""Activations written out in pieces are one node of the frozen view; look-alikes are not."""

from __future__ import annotations

import math

import numpy as np
import onnx.reference
import pytest
from onnx import helper
from tests.graph.builders import run, text_model

from unpool.graph import Graph, load

HALF, SQRT2, CUBE, ROOT = 0.5, math.sqrt(2), 0.044715, math.sqrt(2 / math.pi)
CONSTANTS = {
    name: np.array(value, np.float32)
    for name, value in {
        "zero": 0,
        "one": 1,
        "two": 2,
        "three": 3,
        "six": 6,
        "sixth": 1 / 6,
        "half": HALF,
        "sqrt2": SQRT2,
        "cube": CUBE,
        "root": ROOT,
        "five": 5,
    }.items()
}

WRITTEN_OUT = {
    "hard-swish, divided last": ("a = Add(h, three) b = Clip(a, zero, six) c = Mul(h, b) y = Div(c, six)", "HardSwish"),
    "hard-swish, gate scaled": (
        "a = Add(three, h) b = Clip(a, zero, six) c = Mul(b, sixth) y = Mul(c, h)",
        "HardSwish",
    ),
    "hard-swish, signal scaled": (
        "a = Add(h, three) b = Clip(a, zero, six) c = Div(h, six) y = Mul(b, c)",
        "HardSwish",
    ),
    "hard-swish by Min and Max": (
        "a = Add(h, three) m = Max(a, zero) b = Min(m, six) c = Mul(h, b) y = Div(c, six)",
        "HardSwish",
    ),
    "hard-swish by HardSigmoid": ("b = HardSigmoid<alpha=0.16666667, beta=0.5>(h) y = Mul(h, b)", "HardSwish"),
    "silu": ("s = Sigmoid(h) y = Mul(s, h)", "Swish"),
    "silu by Exp": ("n = Neg(h) e = Exp(n) p = Add(e, one) y = Div(h, p)", "Swish"),
    "sigmoid by Exp": ("n = Neg(h) e = Exp(n) p = Add(one, e) y = Div(one, p)", "Sigmoid"),
    "mish": ("p = Softplus(h) t = Tanh(p) y = Mul(h, t)", "Mish"),
    "softplus": ("e = Exp(h) p = Add(e, one) y = Log(p)", "Softplus"),
    "hard-sigmoid": ("a = Add(h, three) b = Clip(a, zero, six) y = Div(b, six)", "HardSigmoid"),
    "gelu by Erf": ("a = Div(h, sqrt2) e = Erf(a) p = Add(e, one) m = Mul(h, p) y = Mul(m, half)", "Gelu"),
    "gelu by Erf, halved first": (
        "m = Mul(h, half) a = Div(h, sqrt2) e = Erf(a) p = Add(one, e) y = Mul(m, p)",
        "Gelu",
    ),
    "gelu by Tanh": (
        "q = Mul(h, h) k = Mul(q, h) s = Mul(cube, k) a = Add(h, s) b = Mul(root, a) t = Tanh(b) p = Add(t, one)"
        " m = Mul(half, h) y = Mul(m, p)",
        "Gelu",
    ),
}

LOOK_ALIKES = {
    "wrong offset": "a = Add(h, two) b = Clip(a, zero, six) c = Mul(h, b) y = Div(c, six)",
    "wrong divisor": "a = Add(h, three) b = Clip(a, zero, six) c = Mul(h, b) y = Div(c, five)",
    "gate of another signal": "r = Conv(x, w) a = Add(r, three) b = Clip(a, zero, six) c = Mul(h, b) y = Div(c, six)",
    "sigmoid of another signal": "r = Conv(x, w) s = Sigmoid(r) y = Mul(s, h)",
    "gelu with another constant": "a = Div(h, two) e = Erf(a) p = Add(e, one) m = Mul(h, p) y = Mul(m, half)",
    "one minus erf": "a = Div(h, sqrt2) e = Erf(a) p = Sub(one, e) m = Mul(h, p) y = Mul(m, half)",
}


def build(body: str) -> bytes:
    weights = {**CONSTANTS, "w": np.random.default_rng(0).standard_normal((2, 2, 1, 1)).astype(np.float32) * 4}
    return text_model(f"g (float[1,2,5,5] x) => (float[1,2,5,5] y) {{ h = Conv(x, w) {body} }}", weights)


def types(graph: Graph) -> list[str]:
    return [n.op_type for n in graph.nodes]


@pytest.mark.parametrize("what", WRITTEN_OUT)
def test_written_out_activation_is_one_node_that_computes_the_same(what: str) -> None:
    body, op_type = WRITTEN_OUT[what]
    data = build(body)
    model = load(data)
    assert types(model.graph) == ["Conv", op_type]
    node = model.graph.nodes[1]
    assert node.inputs == ("h",)
    assert node.outputs == ("y",)
    assert [n.op_type for n in model.runtime.graph if n.op_type == op_type] in ([], [op_type])
    # The recognised operator, run by the reference evaluator, is what the pieces compute.
    x = np.random.default_rng(1).standard_normal((1, 2, 5, 5)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(op_type, ["h"], ["y"], **dict(node.attributes))],
        "one",
        [helper.make_tensor_value_info("h", 1, None)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    single = helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(node.version, 18))])
    (h,) = run(text_model("g (float[1,2,5,5] x) => (float[1,2,5,5] h) { h = Conv(x, w) }", {"w": weight()}), {"x": x})
    (expected,) = onnx.reference.ReferenceEvaluator(single).run(None, {"h": h})
    np.testing.assert_allclose(run(data, {"x": x})[0], expected, rtol=1e-4, atol=1e-5)


def weight() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((2, 2, 1, 1)).astype(np.float32) * 4


@pytest.mark.parametrize("what", LOOK_ALIKES)
def test_look_alike_stays_in_pieces(what: str) -> None:
    model = load(build(LOOK_ALIKES[what]))
    assert not set(types(model.graph)) & {"HardSwish", "Swish", "Gelu"}


def test_pieces_that_somebody_else_reads_stay() -> None:
    data = text_model(
        "g (float[1,2,5,5] x) => (float[1,2,5,5] y, float[1,2,5,5] s) { h = Conv(x, w) s = Sigmoid(h) y = Mul(s, h) }",
        {"w": weight()},
    )
    assert types(load(data).graph) == ["Conv", "Sigmoid", "Mul"]


@pytest.mark.parametrize("shared", [True, False])
def test_layer_norm_is_one_node(shared: bool) -> None:
    second = "d" if shared else "d2"
    body = f"""m = ReduceMean<axes=[-1], keepdims=1>(x) d = Sub(x, m) {"" if shared else "d2 = Sub(x, m)"}
        q = Pow({second}, two) v = ReduceMean<axes=[-1], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e) n = Div(d, r)
        g1 = Mul(n, gain) y = Add(g1, bias)"""
    rng = np.random.default_rng(2)
    weights = {
        **CONSTANTS,
        "eps": np.array(1e-5, np.float32),
        "gain": rng.standard_normal(6).astype(np.float32),
        "bias": rng.standard_normal(6).astype(np.float32),
    }
    model = load(text_model(f"g (float[1,3,6] x) => (float[1,3,6] y) {{ {body} }}", weights))
    (node,) = model.graph.nodes
    assert (node.op_type, node.inputs) == ("LayerNormalization", ("x", "gain", "bias"))
    assert node.attributes["axis"] == -1
    assert node.attributes["epsilon"] == pytest.approx(1e-5)


GATES = {
    "clip gates the signal beside it": ("g1 = Conv(x, w) a = Clip(g1, zero, six) y = Mul(h, a)", {"a"}),
    "scaled clip gates": ("g1 = Conv(x, w) a = Clip(g1, zero, six) s = Div(a, six) y = Mul(s, h)", {"a"}),
    "relu gates a linear branch": ("g1 = Conv(x, w) a = Relu(g1) y = Mul(h, a)", {"a"}),
    "relu is gated by what is computed from it": (
        "a = Relu(h) p = GlobalAveragePool(a) s = Sigmoid(p) y = Mul(a, s)",
        set(),
    ),
    "relu is gated by a sigmoid beside it": ("a = Relu(h) p = Conv(x, w) s = Sigmoid(p) y = Mul(a, s)", set()),
    "clip made of a rectified signal gates it": (
        "a = Relu(h) p = Conv(a, w) b = Clip(p, zero, six) s = Div(b, six) y = Mul(a, s)",
        {"b"},
    ),
    "relu that also goes on is a rectifier": (
        "a = Relu(h) p = Conv(x, w) m = Mul(a, p) q = Conv(a, w) y = Add(m, q)",
        set(),
    ),
    "relu times a number is a rectifier": ("a = Relu(h) y = Mul(a, six)", set()),
    "relu6 is a rectifier": ("a = Clip(h, zero, six) y = Conv(a, w)", set()),
}


@pytest.mark.parametrize("what", GATES)
def test_gates_are_told_from_rectifiers(what: str) -> None:
    body, gates = GATES[what]
    graph = load(build(body)).graph
    assert {n.outputs[0] for n in graph.nodes if n.gate} == gates
