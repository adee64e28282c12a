"""If with a condition known at load, against ONNX Runtime on the file as it is."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.graph.builders import labels, run, text_model

from unpool.graph import decide, load, undecided

RNG = np.random.default_rng(0)
WEIGHTS = {"w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32), "v": RNG.normal(size=(4, 3, 1, 1)).astype(np.float32)}
X = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)

# The value that both branches call `y` is also one of the main graph's, and `c` stands in both.
BRANCHES = """
    z, p = If <
        then_branch = a () => (float[n,4,8,8] y, float[n,4,8,8] c) {
            k = Constant <value = float {2.0}> ()
            c = Conv <pads = [1, 1, 1, 1]> (x, w)
            y = Mul (c, k)
        },
        else_branch = b () => (float[n,4,8,8] c, float[n,4,8,8] r) {
            c = Conv (x, v)
            r = Relu (c)
        }
    > (cond)
    y = Relu (z)
"""


@pytest.mark.parametrize("taken", [True, False])
def test_a_condition_in_the_file_leaves_the_branch_it_takes(taken: bool) -> None:
    source = text_model(
        f"agraph (float[n,3,8,8] x) => (float[n,4,8,8] y, float[n,4,8,8] p) {{ {BRANCHES} }}",
        {**WEIGHTS, "cond": np.array(taken)},
    )
    model = load(source)
    assert "If" not in {node.op_type for node in model.graph.nodes}
    assert list(model.graph.outputs) == ["y", "p"]
    assert [layer.name for layer in model.layers if layer.op_type == "Conv"]
    for expected, found in zip(run(source, {"x": X}), run(model, {"x": X}), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_condition_on_known_extents_is_known() -> None:
    source = text_model(
        f"""agraph (float[n,3,8,8] x) => (float[n,4,8,8] y, float[n,4,8,8] p) {{
            extents = Shape (x)
            one = Constant <value = int64 {{2}}> ()
            height = Gather (extents, one)
            least = Constant <value = int64 {{5}}> ()
            cond = Greater (height, least)
            {BRANCHES}
        }}""",
        WEIGHTS,
    )
    model = load(source)
    assert "If" not in {node.op_type for node in model.graph.nodes}
    for expected, found in zip(run(source, {"x": X}), run(model, {"x": X}), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_if_within_an_if() -> None:
    source = text_model(
        """agraph (float[n,3,8,8] x) => (float[n,3,8,8] y) {
            y = If <
                then_branch = a () => (float[n,3,8,8] t) {
                    t = If <
                        then_branch = aa () => (float[n,3,8,8] u) { u = Relu (x) },
                        else_branch = ab () => (float[n,3,8,8] u) { u = Neg (x) }
                    > (inner)
                },
                else_branch = b () => (float[n,3,8,8] t) { t = Abs (x) }
            > (outer)
        }""",
        {"outer": np.array(True), "inner": np.array(False)},
    )
    model = load(source)
    assert "If" not in {node.op_type for node in model.graph.nodes}
    (found,) = run(model, {"x": X})
    np.testing.assert_array_equal(found, -X)


def test_a_condition_on_the_input_stays_a_branch() -> None:
    source = text_model(
        f"""agraph (float[n,3,8,8] x) => (float[n,4,8,8] y, float[n,4,8,8] p) {{
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value = float {{0.0}}> ()
            cond = Greater (total, zero)
            {BRANCHES}
        }}""",
        WEIGHTS,
    )
    model = load(source)
    assert "If" in {node.op_type for node in model.graph.nodes}
    for sign in (1, -1):
        for expected, found in zip(run(source, {"x": sign * X}), run(model, {"x": sign * X}), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_of_a_branch_come_along_under_a_free_name() -> None:
    def branch(name: str, factor: float) -> onnx.GraphProto:
        node = helper.make_node("Mul", ["x", "k"], [name], name="scale")
        out = helper.make_tensor_value_info(name, 1, ["n", 3, 8, 8])
        return helper.make_graph([node], name, [], [out], [numpy_helper.from_array(np.float32(factor), "k")])

    nodes = [
        helper.make_node("If", ["cond"], ["first"], "one", then_branch=branch("p", 2), else_branch=branch("q", 3)),
        helper.make_node("If", ["cond"], ["second"], "two", then_branch=branch("p", 5), else_branch=branch("q", 7)),
    ]
    shape = ["n", 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(name, 1, shape) for name in ("first", "second")],
        [numpy_helper.from_array(np.array(True), "cond")],
    )
    model = load(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    first, second = run(model, {"x": X})
    np.testing.assert_allclose(first, 2 * X)
    np.testing.assert_allclose(second, 5 * X)


def test_what_an_input_decides_is_copied_not_changed() -> None:
    source = text_model(
        f"agraph (float[n,3,8,8] x, bool cond) => (float[n,4,8,8] y, float[n,4,8,8] p) {{ {BRANCHES} }}", WEIGHTS
    )
    model = load(source)
    before = [node.op_type for node in model.graph.nodes]
    assert undecided(model) == ("cond",)
    for taken, kept in ((True, "k"), (False, "r")):
        decided = decide(model, {"cond": taken})
        assert undecided(decided) == ()
        assert kept in decided.graph.values or kept in decided.graph.constants
        assert (decided.graph.inputs, list(decided.graph.outputs)) == (model.graph.inputs, ["y", "p"])
        feeds = {"x": X, "cond": np.array(taken)}
        for expected, found in zip(run(source, feeds), run(decided, feeds), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert [node.op_type for node in model.graph.nodes] == before
    assert undecided(model) == ("cond",)


def test_names_within_a_branch_survive_where_nothing_else_has_them() -> None:
    source = text_model(
        f"agraph (float[n,3,8,8] x, bool cond) => (float[n,4,8,8] y, float[n,4,8,8] p) {{ {BRANCHES} }}", WEIGHTS
    )
    decided = decide(load(source), {"cond": False})
    # Only the branch's own `y` would have met another tensor's; `c` stands in the branch that is gone as well.
    assert {"c", "r"} <= set(decided.graph.values)


def test_axes_that_only_branches_read_are_labelled_as_all_of_them_say() -> None:
    source = text_model(
        f"agraph (float[n,3,8,8] x, bool cond) => (float[n,4,8,8] y, float[n,4,8,8] p) {{ {BRANCHES} }}", WEIGHTS
    )
    assert labels(load(source), "x") == "b c s0 s1"
    assert labels(load(source), "y") == "b c s0 s1"
    apart = text_model(
        """agraph (float[1,8,8,8] x, bool cond) => (float[1,8,8,8] y) {
            y = If <
                then_branch = a () => (float[1,8,8,8] t) { t = Conv (x, k) },
                else_branch = b () => (float[1,8,8,8] t) {
                    turned = Transpose <perm = [0, 3, 1, 2]> (x)
                    c = Conv (turned, k)
                    t = Transpose <perm = [0, 2, 3, 1]> (c)
                }
            > (cond)
        }""",
        {"k": RNG.normal(size=(8, 8, 1, 1)).astype(np.float32)},
    )
    assert labels(load(apart), "x") == "b o o o"
