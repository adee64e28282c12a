"""Extents that shape computations hand on keep their names, and with them the batch and the words."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.graph.builders import Array, labels, run, text_model

from unpool.graph import BatchSupport, Model, load
from unpool.graph.passes.foreign_shapes import as_standard
from unpool.graph.regrouping import regrouped

RNG = np.random.default_rng(5)


def small(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def takes_several(data: bytes, model: Model, feeds: dict[str, Array]) -> None:
    """The batch is free, and two images give what each gives alone."""
    assert model.graph.batch is BatchSupport.SYMBOLIC
    both = run(model, feeds)[0]
    apart = [run(data, {name: array[i : i + 1] for name, array in feeds.items()})[0] for i in range(2)]
    np.testing.assert_allclose(both, np.concatenate(apart), rtol=1e-4, atol=1e-5)


def test_what_is_remembered_and_repeated_for_each_head_keeps_words_and_batch() -> None:
    """As exporters write grouped heads: joined to a past of any length, stretched, and put together again."""
    data = text_model(
        """g (float[N,2,P,4] past, int64[N,T] words) => (float[N,T,8] y) {
            x = Gather(table, words)
            asked = MatMul(x, query)
            apart = Reshape(asked, four_heads)
            q = Transpose<perm=[0,2,1,3]>(apart)
            split = Reshape(x, heads)
            new = Transpose<perm=[0,2,1,3]>(split)
            all = Concat<axis=2>(past, new)
            extents = Shape(all)
            n = Gather(extents, first)
            s = Gather(extents, third)
            one = Unsqueeze(all, third)
            wide = Concat<axis=0>(n, two, two, s, four)
            left = Equal(wide, keep)
            extended = Where(left, ones, wide)
            stretched = Expand(one, extended)
            narrow = Concat<axis=0>(n, four, s, four)
            many = Reshape(stretched, narrow)
            k = Transpose<perm=[0,1,3,2]>(many)
            scores = MatMul(q, k)
            mixed = MatMul(scores, many)
            turned = Transpose<perm=[0,2,1,3]>(mixed)
            own = Shape(x)
            rows = Gather(own, two_first)
            flat_rows = Concat<axis=0>(rows, rest)
            flat = Reshape(turned, flat_rows)
            out = MatMul(flat, d)
            y = Add(x, out)
        }""",
        {
            "table": small(9, 8),
            "heads": whole(0, 0, 2, 4),
            "first": whole(0),
            "third": whole(2),
            "two": whole(2),
            "four": whole(4),
            "keep": whole(-1, -1, -1, -1, -1),
            "ones": whole(1, 1, 1, 1, 1),
            "four_heads": whole(0, 0, 4, 4),
            "query": small(8, 16),
            "two_first": whole(0, 1),
            "rest": whole(-1),
            "d": small(16, 8),
        },
    )
    model = load(data)
    assert (labels(model, "words"), labels(model, "y")) == ("b s0", "b s0 c")
    takes_several(data, model, {"past": small(2, 2, 3, 4), "words": RNG.integers(0, 9, (2, 5))})


def test_a_row_repeated_for_each_image_names_no_image() -> None:
    data = text_model(
        """g (int64[N,T] words) => (float[N,T,4] y) {
            x = Gather(table, words)
            s = Shape(words)
            t = Gather(s, second)
            length = Squeeze(t, first)
            places = Range(zero, length, one)
            row = Unsqueeze(places, first)
            n = Gather(s, first)
            times = Concat<axis=0>(n, ones)
            tiled = Tile(row, times)
            where = Gather(positions, tiled)
            y = Add(x, where)
        }""",
        {
            "table": small(9, 4),
            "positions": small(20, 4),
            "first": whole(0),
            "second": whole(1),
            "zero": np.array(0, np.int64),
            "one": np.array(1, np.int64),
            "ones": whole(1),
        },
    )
    model = load(data)
    assert labels(model, "y") == "b s0 c"
    takes_several(data, model, {"words": RNG.integers(0, 9, (2, 5))})


@pytest.mark.parametrize("written_out", [False, True])
def test_words_are_words_in_rows_and_beside_a_row_of_all_numbers(written_out: bool) -> None:
    lookup = "c = Reshape(words, column)  q = Equal(c, numbers)  f = Cast<to=1>(q)  x = MatMul(f, table)"
    rows = "s = Shape(words)  t = Gather(s, second)  to = Concat<axis=0>(rest, t)  r = Reshape(words, to)"
    data = text_model(
        f"""g (int64[N,T] words) => (float[N,T,4] y) {{
            {lookup if written_out else rows + "  x = Gather(table, r)"}
            y = Relu(x)
        }}""",
        {
            "table": small(9, 4),
            "numbers": np.arange(9).reshape(1, 1, 9),
            "column": whole(0, 0, 1),
            "second": whole(1),
            "rest": whole(-1),
        },
    )
    model = load(data)
    assert (labels(model, "words"), labels(model, "y")) == ("b s0", "b s0 c")
    takes_several(data, model, {"words": RNG.integers(0, 9, (2, 5))})


def test_an_output_named_as_the_words_counts_them_though_inference_lost_the_name() -> None:
    model = load(
        text_model(
            """g (int64[images,T] words, float[M,U,4] other) => (float[images,T,4] y) {
                x = Gather(table, words)
                z = Add(x, other)
                s = Shape(words)
                t = Gather(s, second)
                to = Concat<axis=0>(rest, t, four)
                y = Reshape(z, to)
            }""",
            {"table": small(9, 4), "second": whole(1), "rest": whole(-1), "four": whole(4)},
        )
    )
    assert labels(model, "y").startswith("b s0")


def test_axes_of_extent_one_do_not_hide_what_a_reshape_keeps() -> None:
    """As converters put one colour from the end to the front without a Transpose."""
    assert regrouped((1, "N", "H", "W", 1), (None, 1, "H", "W")) == [([1], [0]), ([2], [2]), ([3], [3]), ([0, 4], [1])]
    model = load(
        text_model(
            """g (float[N,H,W,1] x) => (float[A,5,B,C] y) {
                u = Unsqueeze(x, first)
                r = Reshape(u, front)
                y = Conv<pads=[1,1,1,1]>(r, w)
            }""",
            {"first": whole(0), "front": whole(-1, 1, 0, 0), "w": small(5, 1, 3, 3)},
        )
    )
    assert labels(model, "x") == "b s0 s1 c"


@pytest.mark.parametrize("opset", [9, 17, None])
def test_trees_give_a_row_of_scores_for_every_image(opset: int | None) -> None:
    """Two leaves under one node; a file without an operator of ai.onnx need not name its version."""
    tree = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [1, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "class_treeids": [0, 0],
        "class_nodeids": [1, 2],
        "class_ids": [0, 2],
        "class_weights": [1.0, 1.0],
        "classlabels_int64s": [7, 8, 9],
        "post_transform": "NONE",
    }
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", **tree)
    graph = helper.make_graph(
        [node],
        "tree",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("label", onnx.TensorProto.INT64, None),
            helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, None),
        ],
    )
    imports = [helper.make_opsetid("ai.onnx.ml", 1), *([helper.make_opsetid("", opset)] if opset else [])]
    data = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    model = load(data)
    assert (labels(model, "x"), labels(model, "label"), labels(model, "scores")) == ("b c", "b", "b c")
    assert model.graph.values["scores"].shape == ("batch", 3)
    assert model.graph.batch is BatchSupport.SYMBOLIC
    assert run(model, {"x": small(2, 4)})[1].shape == (2, 3)
    assert len(as_standard(helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml"))) > 1


def test_atoms_of_several_molecules_are_no_images_though_one_input_alone_counts_molecules() -> None:
    """Atoms and edges are named and stand more than once; as many molecules as one input tells come out."""
    model = load(
        text_model(
            """g (float[atoms,4] kinds, int64[atoms] owner, int64[2,edges] ends, float[edges,3] bonds,
                float[molecules] slots)
                => (float[molecules,4] y) {
                weighed = MatMul(bonds, w)
                far = Gather(ends, second)
                along = Gather(kinds, far)
                told = Mul(along, weighed)
                near = Gather(ends, first)
                spread = Unsqueeze(near, last)
                column = Expand(spread, four)
                gathered = ScatterElements<axis=0, reduction="add">(kinds, column, told)
                rows = Unsqueeze(owner, last)
                places = Expand(rows, four)
                empty = Unsqueeze(slots, last)
                wide = Expand(empty, four)
                y = ScatterElements<axis=0, reduction="add">(wide, places, gathered)
            }""",
            {
                "w": small(3, 4),
                "first": np.array(0, np.int64),
                "second": np.array(1, np.int64),
                "last": whole(1),
                "four": whole(1, 4),
            },
        )
    )
    for name in ("kinds", "owner", "ends", "bonds"):
        assert "b" not in labels(model, name)
        assert model.graph.values[name].shape != model.graph.values["slots"].shape
    assert (labels(model, "slots"), labels(model, "y").split()[0]) == ("b", "b")
