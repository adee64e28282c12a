"""The evaluator of shape computations against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx.reference
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from unpool.graph.evaluation import EVALUABLE, UnevaluableError, Unknown, evaluate
from unpool.graph.regrouping import regrouped

Array = npt.NDArray[np.generic]
A = np.arange(-6, 6, dtype=np.int64).reshape(3, 4)
B = np.array([[3], [-2], [5]], np.int64)
F = np.linspace(0.5, 3, 12, dtype=np.float32).reshape(3, 4)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


CASES: list[tuple[str, list[Array], dict[str, object]]] = [
    *((op, [A, B], {}) for op in ("Add", "Sub", "Mul", "Max", "Min", "Equal", "Less", "Greater", "Mod", "Sum")),
    *((op, [F, F + 1], {}) for op in ("Add", "Sub", "Mul", "Div", "Pow", "LessOrEqual", "GreaterOrEqual")),
    *((op, [F], {}) for op in ("Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal", "Neg", "Abs", "Identity")),
    *((op, [A > 0, B > 0], {}) for op in ("And", "Or")),
    *((op, [x], {}) for op in ("Relu", "Clip") for x in (A - 2, F - 2)),
    *(
        ("Clip", [x - 2, *bounds], {})
        for x in (A, F)
        for bounds in ([x.dtype.type(0)], [x.dtype.type(-1), x.dtype.type(1)])
    ),
    *(
        (op, [A, ints(1)], {"keepdims": k})
        for op in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")
        for k in (0, 1)
    ),
    ("ReduceSum", [A], {}),
    ("Not", [A > 0], {}),
    ("Div", [np.abs(A), np.abs(B)], {}),
    ("Where", [A > 0, A, B], {}),
    ("Cast", [A], {"to": 1}),
    ("Concat", [A, A], {"axis": 1}),
    ("Gather", [A, ints(2, 0)], {"axis": 0}),
    ("Gather", [A, np.array(-1)], {"axis": 1}),
    ("Slice", [A, ints(0), ints(2), ints(1)], {}),
    ("Slice", [A, ints(-1), ints(-100), ints(0), ints(-1)], {}),
    ("Slice", [A, ints(1, 0), ints(100, -1), ints(0, 1), ints(1, 2)], {}),
    ("Reshape", [A, ints(0, 2, -1)], {}),
    ("Flatten", [A], {"axis": 0}),
    ("Transpose", [A], {}),
    ("Transpose", [A[None]], {"perm": [2, 0, 1]}),
    ("Squeeze", [A[None], ints(0)], {}),
    ("Unsqueeze", [A, ints(0, -1)], {}),
    ("Expand", [B, ints(2, 3, 4)], {}),
    ("Range", [np.array(1), np.array(9), np.array(3)], {}),
    ("ConstantOfShape", [ints(2, 3)], {}),
    ("Split", [A, ints(1, 3)], {"axis": 1}),
    ("DequantizeLinear", [A.astype(np.int8), np.float32(0.5).reshape(()), np.int8(3).reshape(())], {}),
    ("DequantizeLinear", [A.astype(np.uint8), F[0], np.arange(4).astype(np.uint8)], {"axis": 1}),
    ("DequantizeLinear", [A.astype(np.int8), F[:, :2]], {"axis": 1, "block_size": 2}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{len(c[1])}-{c[2]}")
def test_evaluator_equals_the_reference(case: tuple[str, list[Array], dict[str, object]]) -> None:
    op_type, inputs, attributes = case
    outputs = ["y", "z"] if op_type == "Split" else ["y"]
    names = [f"i{k}" for k in range(len(inputs))]
    node = helper.make_node(op_type, names, outputs, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info(o, 1, None) for o in outputs],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21 if op_type == "DequantizeLinear" else 18)]
    )
    expected = onnx.reference.ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    given_ = {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()}
    found = evaluate(op_type, given_, inputs)  # type: ignore[arg-type]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_every_operator_of_the_evaluator_is_compared() -> None:
    assert {case[0] for case in CASES} == EVALUABLE


def test_integer_division_truncates_towards_zero_as_the_runtime_does() -> None:
    (found,) = evaluate("Div", {}, [ints(-7, 7, -7), ints(2, -2, -2)])
    assert found.tolist() == [-3, -3, 3]


def test_unknown_extents_pass_through_selections_and_neutral_arithmetic() -> None:
    extents = np.array([Unknown("N"), 3, 4], dtype=object)
    (one,) = evaluate("Gather", {"axis": 0}, [extents, ints(0)])
    (same,) = evaluate("Mul", {}, [one, ints(1)])
    assert same[0] == Unknown("N")
    (other,) = evaluate("Add", {}, [one, ints(1)])
    assert other[0] != Unknown("N")
    (is_minus_one,) = evaluate("Equal", {}, [one, ints(-1)])
    assert is_minus_one.tolist() == [False]
    with pytest.raises(UnevaluableError):
        evaluate("Equal", {}, [one, ints(1)])


@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=6), st.data())
def test_regrouped_axes_multiply_to_the_same_number_and_cover_both_shapes(
    before: list[int], data: st.DataObject
) -> None:
    after: list[int] = []
    for extent in before:
        divisor = data.draw(st.sampled_from([d for d in (1, 2, 3) if extent % d == 0]))
        merge = bool(after) and data.draw(st.booleans())
        after = [*after[:-1], after[-1] * extent] if merge else [*after, divisor, extent // divisor]
    groups = regrouped(before, after)
    assert [i for ins, _ in groups for i in ins] == list(range(len(before)))
    assert [o for _, outs in groups for o in outs] == list(range(len(after)))
    for ins, outs in groups:
        assert np.prod([before[i] for i in ins]) == np.prod([after[o] for o in outs])
