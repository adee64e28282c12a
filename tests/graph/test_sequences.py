"""Sequences and optional values: what the file tells becomes tensors, under its names; the rest runs as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.builders import Array, labels, run, text_model

from unpool.graph import Model, load

FIXED, OPEN = "float[1,7,6]", "float[N,C,T]"
X = np.random.default_rng(0).standard_normal((1, 7, 6)).astype(np.float32)


def network(body: str, *, x: str = FIXED, opset: int = 17, **constants: Array | int | list[int]) -> bytes:
    """`body` makes `y` of `x`; whole numbers are scalars, lists vectors."""
    weights = {name: np.asarray(value, np.int64) for name, value in constants.items()}
    return text_model(f"g ({x} x) => (float[] y) {{ {body} }}", weights, opset=opset)


def sequences(model: Model) -> set[str]:
    """The operators on sequences that are left in the model that runs."""
    return {n.op_type for n in model.runtime.graph if "Sequence" in n.op_type}


def same(file: bytes, x: Array = X) -> Model:
    """The model, whose outputs are those of the file in ONNX Runtime to the bit."""
    model = load(file)
    for found, expected in zip(run(model, {"x": x}), run(file, {"x": x}), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
    return model


KNOWN = {
    "a piece": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", k=2, p=1),
    "the last, smaller piece": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", k=3, p=2),
    "the last from the back": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", k=3, p=-1),
    "an axis from the back": network("s = SplitToSequence<axis=-2>(x, k) y = SequenceAt(s, p)", k=3, p=-3),
    "pieces of given lengths": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", k=[1, 4, 2], p=-2),
    "a row without its axis": network("s = SplitToSequence<axis=1, keepdims=0>(x) y = SequenceAt(s, p)", p=-2),
    "a row with its axis": network("s = SplitToSequence<axis=1, keepdims=1>(x) y = SequenceAt(s, p)", p=3),
    # As torch writes unbind: the standard lets the axis stay, ONNX Runtime does not.
    "a row by a length of 1": network("s = SplitToSequence<axis=1, keepdims=0>(x, k) y = SequenceAt(s, p)", k=1, p=4),
    "rows by lengths of 1": network(
        "s = SplitToSequence<axis=1, keepdims=0>(x, k) y = SequenceAt(s, p)", k=[1] * 7, p=4
    ),
    "before opset 13": network(
        "s = SplitToSequence<axis=2, keepdims=0>(x) a = SequenceAt(s, p) t = SequenceConstruct(a, a)"
        " y = ConcatFromSequence<axis=1, new_axis=1>(t)",
        opset=11,
        p=2,
    ),
    "opset 24": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", opset=24, k=3, p=-1),
    "what was put together": network("a = Relu(x) s = SequenceConstruct(a, x) y = SequenceAt(s, p)", p=-1),
    "joined": network("a = Relu(x) s = SequenceConstruct(a, x) y = ConcatFromSequence<axis=-1>(s)"),
    "stacked": network("a = Relu(x) s = SequenceConstruct(a, x) y = ConcatFromSequence<axis=-1, new_axis=1>(s)"),
    "of one": network("s = SequenceConstruct(x) y = ConcatFromSequence<axis=0, new_axis=1>(s)"),
    "split and joined": network("s = SplitToSequence<axis=1>(x, k) y = ConcatFromSequence<axis=-2>(s)", k=3),
    "split and joined elsewhere": network(
        "s = SplitToSequence<axis=2>(x, k) y = ConcatFromSequence<axis=1>(s)", k=[3, 3]
    ),
    "split and stacked": network(
        "s = SplitToSequence<axis=2, keepdims=0>(x) y = ConcatFromSequence<axis=0, new_axis=1>(s)"
    ),
    "split and stacked with the axis": network(
        "s = SplitToSequence<axis=2>(x) y = ConcatFromSequence<axis=0, new_axis=1>(s)"
    ),
    "their number": network(
        "s = SplitToSequence<axis=1>(x, k) n = SequenceLength(s) c = Cast<to=1>(n) y = Mul(x, c)", k=3
    ),
    "one put in": network(
        "e = SequenceEmpty() a = Relu(x) b = Neg(x) s = SequenceInsert(e, a) t = SequenceInsert(s, b, p)"
        " u = SequenceInsert(t, x, q) y = ConcatFromSequence<axis=1>(u)",
        p=0,
        q=-1,
    ),
    "one taken out": network(
        "s = SplitToSequence<axis=1>(x, k) t = SequenceErase(s, p) u = SequenceErase(t)"
        " y = ConcatFromSequence<axis=1>(u)",
        k=2,
        p=-3,
    ),
    "handed on": network("s = SplitToSequence<axis=1>(x, k) t = Identity(s) y = SequenceAt(t, p)", k=2, p=1),
    "by a branch that is fixed": network(
        """c = Constant<value = bool {1}>() s = If (c) <
            then_branch = t () => (seq(float[a,b,c]) v) { v = SplitToSequence<axis=1>(x, k) },
            else_branch = e () => (seq(float[a,b,c]) w) { w = SequenceConstruct(x) }
        > y = SequenceAt(s, p)""",
        k=3,
        p=-1,
    ),
}


@pytest.mark.parametrize("what", KNOWN)
def test_what_the_file_tells_becomes_tensors(what: str) -> None:
    model = same(KNOWN[what])
    assert not sequences(model)
    assert {n.op_type for n in model.graph.nodes} <= {n.op_type for n in model.runtime.graph}


OPTIONAL = {
    "a tensor": network("o = Optional(x) y = OptionalGetElement(o)"),
    "handed on": network("o = Optional(x) p = Identity(o) y = OptionalGetElement(p)"),
    "what is there anyway": network("y = OptionalGetElement(x)", opset=18),
    "a sequence": network(
        "s = SplitToSequence<axis=1>(x, k) o = Optional(s) t = OptionalGetElement(o) y = SequenceAt(t, p)", k=3, p=-1
    ),
    "whether there is one": network(
        """o = Optional(x) h = OptionalHasElement(o) y = If (h) <
            then_branch = t () => (float[1,7,6] v) { e = OptionalGetElement(o) v = Tanh(e) },
            else_branch = e () => (float[1,7,6] w) { w = Neg(x) }
        >"""
    ),
    "that there is none": network(
        """h = OptionalHasElement() y = If (h) <
            then_branch = t () => (float[1,7,6] v) { v = Tanh(x) },
            else_branch = e () => (float[1,7,6] w) { w = Neg(x) }
        >""",
        opset=18,
    ),
}


@pytest.mark.parametrize("what", OPTIONAL)
def test_optional_values_that_the_file_tells_are_the_values(what: str) -> None:
    model = same(OPTIONAL[what])
    assert not any("Optional" in n.op_type or n.op_type == "If" for n in model.graph.nodes)
    assert not sequences(model)


OPEN_EXTENTS = {
    "from the front": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", x=OPEN, k=3, p=1),
    "the last, smaller piece": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", x=OPEN, k=3, p=2),
    "a row from the back": network("s = SplitToSequence<axis=1, keepdims=0>(x) y = SequenceAt(s, p)", x=OPEN, p=-1),
    "a row, second from the back": network("s = SplitToSequence<axis=1>(x) y = SequenceAt(s, p)", x=OPEN, p=-2),
    "given lengths": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", x=OPEN, k=[5, 2], p=-1),
    "split and joined": network("s = SplitToSequence<axis=1>(x, k) y = ConcatFromSequence<axis=1>(s)", x=OPEN, k=3),
    "split and stacked": network(
        "s = SplitToSequence<axis=1, keepdims=0>(x) y = ConcatFromSequence<axis=-1, new_axis=1>(s)", x=OPEN
    ),
    "half of what there is": network(
        "l = Shape<start=1, end=2>(x) h = Div(l, two) k = Squeeze(h) s = SplitToSequence<axis=1>(x, k)"
        " y = SequenceAt(s, p)",
        x=OPEN,
        two=2,
        p=1,
    ),
    "lengths of what there is": network(
        "l = Shape<start=1, end=2>(x) h = Div(l, two) r = Sub(l, h) k = Concat<axis=0>(h, r)"
        " s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)",
        x=OPEN,
        two=2,
        p=-1,
    ),
}


@pytest.mark.parametrize("what", OPEN_EXTENTS)
def test_open_extents_do_not_hinder_it(what: str) -> None:
    model = same(OPEN_EXTENTS[what])
    assert not sequences(model)
    same(OPEN_EXTENTS[what], np.repeat(X, 2, 2))


UNKNOWN = {
    "where the last piece begins": network("s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, p)", x=OPEN, k=3, p=-1),
    "which piece": network(
        "s = SplitToSequence<axis=1>(x, k) l = Size(x) q = Mod(l, m) y = SequenceAt(s, q)", x=OPEN, k=3, m=3
    ),
    "how many are stacked": network("s = SplitToSequence<axis=1>(x) y = ConcatFromSequence<axis=2>(s)", x=OPEN),
    "what a loop puts in": network(
        """e = SequenceEmpty() go = Constant<value = bool {1}>() s = Loop (trips, go, e) <
            body = b (int64 i, bool g, seq(float[1,7,6]) q) => (bool h, seq(float[1,7,6]) r) {
                h = Identity(g) t = Tanh(x) r = SequenceInsert(q, t)
            }
        > y = ConcatFromSequence<axis=0>(s)""",
        trips=3,
    ),
    "what an optional value holds": network(
        """l = Size(x) c = Equal(l, seven) o = If (c) <
            then_branch = t () => (optional(float[1,7,6]) v) { r = Relu(x) v = Optional(r) },
            else_branch = e () => (optional(float[1,7,6]) w) { w = Optional(x) }
        > y = OptionalGetElement(o)""",
        x=OPEN,
        seven=7,
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_only_a_run_tells_stays_and_no_value_of_the_frozen_view_is_a_sequence(what: str) -> None:
    model = same(UNKNOWN[what])
    (node,) = [n for n in model.graph.nodes if "y" in n.outputs]
    assert node.op_type in ("SequenceAt", "ConcatFromSequence", "OptionalGetElement")
    assert "x" in node.inputs, "it reads what the sequence was made from"
    assert not {"s", "o"} & set(model.graph.values)
    assert {i for n in model.graph.nodes for i in n.inputs if i} <= {*model.graph.values, *model.graph.constants}


def test_planes_and_channels_keep_their_labels() -> None:
    file = text_model(
        """g (float[N,3,H,W] x) => (float[] y) {
            c = Conv<pads=[1,1,1,1]>(x, w) s = SplitToSequence<axis=2>(c, k) a = SequenceAt(s, p) b = SequenceAt(s, q)
            t = SequenceConstruct(b, a) y = ConcatFromSequence<axis=1>(t)
        }""",
        {
            "w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
            **{name: np.array(value) for name, value in {"k": 4, "p": 0, "q": 1}.items()},
        },
    )
    model = same(file, np.random.default_rng(1).standard_normal((2, 3, 8, 5)).astype(np.float32))
    assert {labels(model, name) for name in ("a", "b", "y")} == {"b c s0 s1"}
    assert model.layers.find("a").op_type == "Slice"


def test_a_sequence_that_a_subgraph_reads_stays_for_it() -> None:
    file = text_model(
        """g (float[1,7,6] x, bool flag) => (float[] y, float[] z) {
            s = SplitToSequence<axis=1>(x, k) z = SequenceAt(s, p)
            y = If (flag) <
                then_branch = t () => (float[a,b,c] v) { v = SequenceAt(s, p) },
                else_branch = e () => (float[a,b,c] w) { w = Neg(x) }
            >
        }""",
        {"k": np.array(3), "p": np.array(-1)},
    )
    model = load(file)
    (branch,) = [n for n in model.graph.nodes if n.op_type == "If"]
    assert set(branch.inputs) >= {"flag", "x"}
    for flag in (True, False):
        feeds = {"x": X, "flag": np.array(flag)}
        for found, expected in zip(run(model, feeds), run(file, feeds), strict=True):
            np.testing.assert_array_equal(found, expected)
    for way in model.ways:
        assert way.model is not None
        assert not any("Sequence" in n.op_type for n in way.model.graph.nodes)


def test_an_output_that_is_a_sequence_is_left_out() -> None:
    file = text_model("g (float[1,7,6] x) => (float[] y, seq(float[a,b,c]) s) { s = SplitToSequence(x) y = Relu(x) }")
    model = load(file)
    assert model.left_out == ("s",)
    assert model.graph.outputs == ("y",)
    assert not sequences(model)


@st.composite
def readings(draw: st.DrawFn) -> tuple[bytes, Array]:
    """A tensor that is split in some way, of which some elements are read, edited and joined, extents known or not."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    extent = shape[axis]
    constants: dict[str, Array | int | list[int]] = {}
    keeps, how = draw(st.booleans()), draw(st.sampled_from(["rows", "evenly", "unevenly"]))
    if how == "rows":
        split, count = f"s = SplitToSequence<axis={axis}, keepdims={int(keeps)}>(x)", extent
    elif how == "evenly":
        step = draw(st.integers(1, extent + 1)) if keeps else 1
        split, count = f"s = SplitToSequence<axis={axis}, keepdims={int(keeps)}>(x, k)", -(-extent // step)
        constants["k"] = step
    else:
        cuts = sorted(draw(st.lists(st.integers(0, extent), max_size=3)))
        lengths = np.diff([0, *cuts, extent]).tolist()
        split, count = f"s = SplitToSequence<axis={axis}, keepdims={int(keeps)}>(x, k)", len(lengths)
        constants["k"] = lengths
    same_rank = len(shape) - (how != "unevenly" and not keeps)
    lines, number = [split], 0
    for number in range(draw(st.integers(1, 3))):
        constants[f"p{number}"] = draw(st.integers(-count, count - 1))
        lines.append(f"e{number} = SequenceAt(s, p{number})")
    lines.append("t = SequenceConstruct(" + ", ".join(f"e{i}" for i in range(number + 1)) + ")")
    if draw(st.booleans()):
        constants["q"] = draw(st.integers(-number - 1, number + 1))
        lines += ["r = Neg(e0)", "u = SequenceInsert(t, r, q)"]
    else:
        lines.append("u = Identity(t)")
    # Elements of several lengths can be joined along their own axis alone.
    equal = how == "rows" or (how == "evenly" and constants["k"] == 1)
    stacks = equal and draw(st.booleans())
    if equal and same_rank:
        along = draw(st.integers(-same_rank - stacks, same_rank + stacks - 1))
    else:
        along = 0 if stacks else axis
    if not (same_rank or stacks):
        along, stacks = 0, True
    lines.append(f"y = ConcatFromSequence<axis={along}, new_axis={int(stacks)}>(u)")
    declared = [draw(st.sampled_from([str(n), f"d{i}"])) for i, n in enumerate(shape)]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1
    return network(" ".join(lines), x=f"float[{','.join(declared)}]", **constants), x


@settings(max_examples=150, deadline=None)
@given(readings())
def test_any_reading_of_a_split_tensor_is_what_onnx_runtime_makes_of_the_file(reading: tuple[bytes, Array]) -> None:
    file, x = reading
    model = load(file)
    (found,), (expected,) = run(model, {"x": x}), run(file, {"x": x})
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
