"""Norms and softmax written out in pieces are one node of the frozen view; near-patterns stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from tests.graph.builders import text_model

from unpool.graph import Graph, load
from unpool.graph.model import BATCH, CHANNEL, Node, spatial

_RNG = np.random.default_rng(4)
WEIGHTS = {
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
    "two": np.array(2, np.float32),
    "three": np.array(3, np.float32),
    "half": np.array(0.5, np.float32),
    "eps": np.array(1e-5, np.float32),
    "limit": np.array(1e12, np.float32),
    "w": _RNG.standard_normal((8, 3, 1, 1)).astype(np.float32),
    "gain": _RNG.standard_normal((8, 1, 1)).astype(np.float32),
    "bias": _RNG.standard_normal((8, 1, 1)).astype(np.float32),
    "row": _RNG.standard_normal(5).astype(np.float32),
    "wide": _RNG.standard_normal((2, 8, 1, 1)).astype(np.float32),
    "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32),
    "uneven": np.array([1, 1, 1, 2], np.float32),
    "grouped": np.array([0, 4, -1], np.int64),
    "mixed": np.array([4, -1, 10], np.int64),
    "turned": np.array([-1, 8, 5, 6], np.int64),
    "back": np.array([-1, 8, 6, 5], np.int64),
    "in_groups": np.array([0, 4, 2, 6, 5], np.int64),
}

CENTRED = "m = ReduceMean<axes=[{0}], keepdims=1>(h) d = Sub(h, m)"
SPREAD = "q = Pow(d, two) v = ReduceMean<axes=[{0}], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e)"
CHANNELS = f"{CENTRED.format(1)} {SPREAD.format(1)} n = Div(d, r)"
ROOT = "q = Mul(h, h) v = ReduceMean<axes=[-1], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e)"
MOMENTS = """m = ReduceMean<axes=[1], keepdims=1>(h) q = Mul(h, h) t = ReduceMean<axes=[1], keepdims=1>(q)
    p = Mul(m, m) v = Sub(t, p)"""
DRAWN_IN = f"{MOMENTS} e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r) k = Mul(i, gain)"
FOLDED = "f = Reshape(h, grouped) i = InstanceNormalization<epsilon=1e-5>(f, {0}, zeros)"
ALL = "e = Exp(h) t = ReduceSum<keepdims=1>(e, axis)"

WRITTEN_OUT = {
    "over channels": (f"{CHANNELS} g = Mul(gain, n) y = Add(g, bias)", "unpool.LayerNormalization", "h gain bias"),
    "over channels, bias in front": (
        f"{CHANNELS} g = Mul(n, gain) y = Add(bias, g)",
        "unpool.LayerNormalization",
        "h gain bias",
    ),
    "over channels without weights": (f"{CHANNELS} y = Identity(n)", "unpool.LayerNormalization", "h"),
    "by a gain that stretches the signal": (f"{CHANNELS} y = Mul(n, wide)", "unpool.LayerNormalization", "h"),
    "over the last axis": (
        f"{CENTRED.format(-1)} {SPREAD.format(-1)} n = Div(d, r) g = Mul(n, row) y = Add(g, row)",
        "LayerNormalization",
        "h row row",
    ),
    "by moments": (
        f"{MOMENTS} o = Max(v, zero) e = Add(o, eps) r = Sqrt(e) d = Sub(h, m) y = Div(d, r)",
        "unpool.LayerNormalization",
        "h",
    ),
    "by casts that change nothing": (
        f"{MOMENTS} c = Cast<to=1>(v) e = Add(c, eps) b = Cast<to=1>(e) r = Sqrt(b) d = Sub(h, m) y = Div(d, r)",
        "unpool.LayerNormalization",
        "h",
    ),
    "gain and bias drawn in": (
        f"{DRAWN_IN} a = Mul(h, k) b = Mul(m, k) c = Sub(bias, b) y = Add(a, c)",
        "unpool.LayerNormalization",
        "h gain bias",
    ),
    "gain and bias drawn in, the mean turned over": (
        f"{DRAWN_IN} a = Mul(h, k) o = Neg(m) b = Mul(o, k) c = Add(b, bias) y = Add(c, a)",
        "unpool.LayerNormalization",
        "h gain bias",
    ),
    "gain drawn in": (
        f"{DRAWN_IN} a = Mul(h, k) b = Mul(m, k) y = Sub(a, b)",
        "unpool.LayerNormalization",
        "h gain",
    ),
    "root mean square": (f"{ROOT} n = Div(h, r) y = Mul(n, row)", "RMSNormalization", "h row"),
    "root mean square by one over it": (
        f"{ROOT} i = Div(one, r) n = Mul(i, h) y = Mul(row, n)",
        "RMSNormalization",
        "h row",
    ),
    "root mean square, the gain drawn in": (
        f"{ROOT} i = Reciprocal(r) k = Mul(i, row) y = Mul(h, k)",
        "RMSNormalization",
        "h row",
    ),
    "root mean square without a gain": (f"{ROOT} y = Div(h, r)", "unpool.RMSNormalization", "h"),
    "root mean square of a difference that another axis centres": (
        f"{CENTRED.format(1)} {SPREAD.format(2)} y = Div(d, r)",
        "unpool.RMSNormalization",
        "d",
    ),
    "groups": (
        f"{FOLDED.format('ones')} b = Reshape(i, back) g = Mul(b, gain) y = Add(g, bias)",
        "GroupNormalization",
        "h y:scale y:bias",
    ),
    "groups, the shape measured": (
        f"{FOLDED.format('ones')} s = Shape(h) b = Reshape(i, s) y = Mul(b, gain)",
        "GroupNormalization",
        "h y:scale y:bias",
    ),
    "groups by moments": (
        """f = Reshape(h, in_groups) m = ReduceMean<axes=[2,3,4], keepdims=1>(f) d = Sub(f, m) q = Mul(d, d)
        v = ReduceMean<axes=[2,3,4], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e) n = Div(d, r) y = Reshape(n, back)""",
        "GroupNormalization",
        "h y:scale y:bias",
    ),
    "length": ("l = ReduceL2<axes=[1], keepdims=1>(h) c = Max(l, eps) y = Div(h, c)", "unpool.L2Normalization", "h"),
    "length, as Keras writes it": (
        """q = Mul(h, h) t = ReduceSum<keepdims=1>(q, axis) r = Sqrt(t) i = Div(one, r) c = Min(i, limit)
        y = Mul(h, c)""",
        "unpool.L2Normalization",
        "h",
    ),
    "length, as TensorFlow writes it": (
        """q = Mul(h, h) t = ReduceSum<keepdims=1>(q, axis) c = Max(t, eps) r = Sqrt(c) i = Reciprocal(r)
        y = Mul(h, i)""",
        "unpool.L2Normalization",
        "h",
    ),
    "softmax": (f"{ALL} y = Div(e, t)", "Softmax", "h"),
    "softmax less the maximum": (
        """x1 = ReduceMax<axes=[1], keepdims=1>(h) s = Sub(h, x1) e = Exp(s) t = ReduceSum<keepdims=1>(e, axis)
        y = Div(e, t)""",
        "Softmax",
        "h",
    ),
    "softmax less the maximum along another axis": (
        """x1 = ReduceMax<axes=[2], keepdims=1>(h) s = Sub(h, x1) e = Exp(s) t = ReduceSum<keepdims=1>(e, axis)
        y = Div(e, t)""",
        "Softmax",
        "s",
    ),
    "logarithm of softmax": (f"{ALL} l = Log(t) y = Sub(h, l)", "LogSoftmax", "h"),
    "softsign": ("a = Abs(h) p = Add(one, a) y = Div(h, p)", "Softsign", "h"),
    "elu": ("c = Greater(h, zero) e = Exp(h) l = Sub(e, one) y = Where(c, h, l)", "Elu", "h"),
    "elu of half the size": (
        "c = Less(h, zero) e = Exp(h) l = Sub(e, one) s = Mul(l, half) y = Where(c, s, h)",
        "Elu",
        "h",
    ),
}  # fmt: skip

NEAR = {
    "variance with another exponent": f"{CENTRED.format(1)} q = Pow(d, three)"
    " v = ReduceMean<axes=[1], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e) y = Div(d, r)",
    "epsilon outside the root": f"{CENTRED.format(1)} q = Pow(d, two)"
    " v = ReduceMean<axes=[1], keepdims=1>(q) r = Sqrt(v) e = Add(r, eps) y = Div(d, e)",
    "a computed epsilon": f"{CENTRED.format(1)} q = Pow(d, two) v = ReduceMean<axes=[1], keepdims=1>(q)"
    " o = ReduceMax<axes=[1], keepdims=1>(x) e = Add(v, o) r = Sqrt(e) y = Div(d, r)",
    "the deviation of something else": f"{CENTRED.format(1)} o = Conv(x, w) q = Mul(o, o)"
    " v = ReduceMean<axes=[1], keepdims=1>(q) e = Add(v, eps) r = Sqrt(e) y = Div(d, r)",
    "the quotient upside down": f"{CENTRED.format(1)} {SPREAD.format(1)} y = Div(r, d)",
    "a product with the deviation": f"{CENTRED.format(1)} {SPREAD.format(1)} y = Mul(d, r)",
    "moments the wrong way round": """m = ReduceMean<axes=[1], keepdims=1>(h) q = Mul(h, h)
        t = ReduceMean<axes=[1], keepdims=1>(q) p = Mul(m, m) v = Sub(p, t) e = Add(v, eps) r = Sqrt(e) d = Sub(h, m)
        y = Div(d, r)""",
    "a mean that is added": f"{DRAWN_IN} a = Mul(h, k) b = Mul(m, k) c = Add(b, bias) y = Add(a, c)",
    "root mean square of the channels by another's": ROOT.replace("h, h", "x, x").replace("[-1]", "[1]")
    + " y = Div(h, r)",
    "groups with gains of their own": f"{FOLDED.format('uneven')} y = Reshape(i, back)",
    "groups across images": "f = Reshape(h, mixed) i = InstanceNormalization(f, ones, zeros) y = Reshape(i, back)",
    "groups put back turned": f"{FOLDED.format('ones')} b = Reshape(i, turned) y = Transpose<perm=[0,1,3,2]>(b)",
    "softmax along two axes": "e = Exp(h) t = ReduceSum<keepdims=1>(e, axes) y = Div(e, t)",
    "softmax of another": "o = Conv(x, w) p = Exp(o) e = Exp(h) t = ReduceSum<keepdims=1>(p, axis) y = Div(e, t)",
    "elu that jumps": "c = Greater(h, zero) e = Exp(h) l = Sub(e, half) y = Where(c, h, l)",
    "length of another": "o = Conv(x, w) l = ReduceL2<axes=[1], keepdims=1>(o) y = Div(h, l)",
}
NORMS = {
    "unpool.LayerNormalization",
    "unpool.RMSNormalization",
    "unpool.L2Normalization",
    "LayerNormalization",
    "RMSNormalization",
    "GroupNormalization",
    "Softmax",
    "LogSoftmax",
    "Softsign",
    "Elu",
}


LEFT = {
    "root mean square of a difference that another axis centres": {"ReduceMean", "Sub"},
    "by a gain that stretches the signal": {"Mul"},
    "softmax less the maximum along another axis": {"ReduceMax", "Sub"},
}
"""What else stays."""


def graph_of(body: str, outputs: str = "float[A,B,C,D] y") -> Graph:
    weights = {**WEIGHTS, "axis": np.array([1], np.int64), "axes": np.array([1, 2], np.int64)}
    return load(text_model(f"g (float[N,3,6,5] x) => ({outputs}) {{ h = Conv(x, w) {body} }}", weights)).graph


def kinds(graph: Graph) -> dict[str, Node]:
    return {f"{node.domain}.{node.op_type}".lstrip("."): node for node in graph.nodes}


@pytest.mark.parametrize("what", WRITTEN_OUT)
def test_written_out_norm_is_one_node(what: str) -> None:
    body, op_type, inputs = WRITTEN_OUT[what]
    found = kinds(graph_of(body))
    assert found.keys() - {"Conv", "Identity"} == {op_type} | LEFT.get(what, set())
    assert " ".join(found[op_type].inputs) == inputs


@pytest.mark.parametrize("what", NEAR)
def test_near_pattern_stays_in_pieces(what: str) -> None:
    assert not kinds(graph_of(NEAR[what])).keys() & NORMS


READ = {
    "the difference": ("d", "z = Relu(d)"),
    "the mean": ("m", "z = Relu(m)"),
    "the variance": ("v", "z = Relu(v)"),
    "the deviation": ("r", "z = Relu(r)"),
}


@pytest.mark.parametrize("also", [True, False])
@pytest.mark.parametrize("what", READ)
def test_pieces_that_somebody_else_reads_or_that_are_outputs_stay(what: str, also: bool) -> None:
    name, more = READ[what]
    body = f"{CHANNELS} g = Mul(n, gain) y = Add(g, bias)"
    if also:
        graph = graph_of(f"{body} {more}", "float[A,B,C,D] y, float[E,F,G,H] z")
    else:
        graph = graph_of(body, f"float[A,B,C,D] y, float[E,F,G,H] {name}")
    assert not kinds(graph).keys() & (NORMS - {"unpool.RMSNormalization"})
    assert name in graph.values


def test_a_quotient_that_somebody_else_reads_is_a_norm_and_what_follows_stays() -> None:
    graph = graph_of(f"{CHANNELS} g = Mul(n, gain) y = Add(g, bias)", "float[A,B,C,D] y, float[E,F,G,H] n")
    assert list(kinds(graph)) == ["Conv", "unpool.LayerNormalization", "Mul", "Add"]


def test_constants_and_labels() -> None:
    """Axes, epsilon, version, gains by channel, and the labels of what the last piece made."""
    graph = graph_of(f"{FOLDED.format('ones')} b = Reshape(i, back) y = Mul(b, half)", "float[N,8,6,5] y")
    node = kinds(graph)["GroupNormalization"]
    assert (node.version, node.name) == (21, graph.producers["y"].name)
    assert dict(node.attributes) == {"num_groups": 4, "epsilon": pytest.approx(1e-5)}
    assert graph.constants["y:scale"].numpy().tolist() == [0.5] * 8
    assert graph.constants["y:bias"].numpy().tolist() == [0.0] * 8
    assert graph.values["y"].axes == graph.values["h"].axes == (BATCH, CHANNEL, spatial(0), spatial(1))
    assert kinds(graph_of(f"{CHANNELS} y = Mul(n, gain)"))["unpool.LayerNormalization"].attributes == {
        "axes": (1,),
        "epsilon": pytest.approx(1e-5),
    }
