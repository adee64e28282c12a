"""What a file becomes, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from tests.graph.builders import LIGHT, light, run, text_model

from unpool.graph import load
from unpool.graph.errors import ModelError

W = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)


def test_digest_is_that_of_the_bytes() -> None:
    path = light("squeezenet")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(path).digest == digest
    assert load(path.read_bytes()).digest == digest


@pytest.mark.parametrize("name", LIGHT)
def test_tensor_names_of_the_file_survive(name: str) -> None:
    proto = onnx.load(light(name))
    model = load(light(name))
    made = {o.name for node in model.runtime.graph for o in node.outputs}
    held = set(model.runtime.graph.initializers)
    assert {o for node in proto.graph.node for o in node.output if o} <= made | held
    assert model.graph.outputs == tuple(o.name for o in proto.graph.output)


def test_constant_weights_are_lazy_constants_of_the_frozen_view() -> None:
    model = load(light("densenet121"))
    conv = model.graph.nodes[0]
    weight = model.graph.constants[conv.inputs[1]]
    assert (weight.shape, weight.dtype) == ((64, 3, 7, 7), "float32")
    assert weight.numpy().shape == (64, 3, 7, 7)
    assert not weight.numpy().flags.writeable
    scale = next(n for n in model.graph.nodes if n.op_type == "Mul").inputs[1]
    assert model.graph.constants[scale].shape == (64, 1, 1)
    assert not {n.op_type for n in model.graph.nodes} & {"ConstantOfShape", "Unsqueeze"}
    assert "ConstantOfShape" in {n.op_type for n in model.runtime.graph}


def test_computed_pad_amounts_become_constant() -> None:
    data = text_model(
        """g (float[1,2,7,7] x) => (float[a,b,c,d] y) {
            s = Shape(x) h = Gather(s, two) q = Div(h, three) r = Mul(q, three) d = Sub(h, r) u = Unsqueeze(d, zeros)
            o = ConstantOfShape<value=int64[1] {0}>(six) p = Concat<axis=0>(o, u, u)
            e = Pad(x, p)
            y = Conv(e, w)
        }""",
        {
            "two": np.array(2, np.int64),
            "three": np.array(3, np.int64),
            "zeros": np.array([0], np.int64),
            "six": np.array([6], np.int64),
            "w": W,
        },
    )
    model = load(data)
    assert [n.op_type for n in model.graph.nodes] == ["Pad", "Conv"]
    assert tuple(model.graph.constants[model.graph.nodes[0].inputs[1]].numpy()) == (0, 0, 0, 0, 0, 0, 1, 1)
    x = np.random.default_rng(1).standard_normal((2, 2, 7, 7)).astype(np.float32)
    expected = [onnx.reference.ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": i[None]})[0] for i in x]
    np.testing.assert_allclose(run(model, {"x": x})[0], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_folded_numbers_keep_their_rank() -> None:
    """Of a number without axes NumPy makes one with an axis, or none at all, if it is let."""
    data = text_model(
        """g (float[1,2,7,7] x) => (float[1,2,7,7] y, float f) {
            s = Shape(x) h = Gather(s, two) r = Mod(h, three) b = Range(r, h, three) t = Cast<to=1>(b)
            f = ReduceSum<keepdims=0>(t) c = Cast<to=1>(h) y = Mul(x, c)
        }""",
        {"two": np.array(2, np.int64), "three": np.array(3, np.int64)},
    )
    model = load(data)
    x = np.random.default_rng(1).standard_normal((1, 2, 7, 7)).astype(np.float32)
    y, f = run(model, {"x": x})
    np.testing.assert_array_equal(y, x * 7)
    assert float(f) == 1 + 4
    assert model.graph.constants["c"].shape == ()


def test_batch_normalisation_of_weights_is_no_training() -> None:
    """Weight standardisation, as torch exports it: the statistics are those of the filters, not of the images."""
    data = text_model(
        """g (float[1,2,6,6] x) => (float[1,2,4,4] y) {
            t = Reshape(w, flat) n, m, q = BatchNormalization<training_mode=1>(t, k, z, z, k) v = Reshape(n, whole)
            y = Conv(x, v)
        }""",
        {
            "w": W,
            "flat": np.array([1, 2, -1], np.int64),
            "whole": np.array(W.shape, np.int64),
            "k": np.ones(2, np.float32),
            "z": np.zeros(2, np.float32),
        },
    )
    model = load(data)
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 6)).astype(np.float32)
    flat = W.reshape(2, -1).astype(np.float64)
    standard = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    patches = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), (1, 2))
    expected = np.einsum("chwij,ocij->ohw", patches, standard.reshape(W.shape))
    np.testing.assert_allclose(run(model, {"x": x})[0][0], expected, rtol=1e-4, atol=1e-5)


def test_reshape_to_a_computed_batch_becomes_constant() -> None:
    data = text_model(
        """g (float[N,2,4,4] x) => (float[N,k] y) {
            c = Conv(x, w) s = Shape(c) n = Slice(s, zero, one) p = Concat<axis=0>(n, rest) y = Reshape(c, p)
        }""",
        {"zero": np.array([0], np.int64), "one": np.array([1], np.int64), "rest": np.array([-1], np.int64), "w": W},
    )
    model = load(data)
    assert [n.op_type for n in model.graph.nodes] == ["Conv", "Reshape"]
    assert tuple(model.graph.constants[model.graph.nodes[1].inputs[1]].numpy()) == (0, -1)


def test_functions_of_the_model_are_inlined() -> None:
    data = text_model(
        "g (float[1,2,7,7] x) => (float[1,2,5,5] y) { c = Conv(x, w) y = own.twice(c) }",
        {"w": W},
        more=', "own" : 1',
        functions='<domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }',
    )
    assert [n.op_type for n in load(data).graph.nodes] == ["Conv", "Add"]


def test_control_flow_is_left_opaque_and_its_captures_are_inputs() -> None:
    data = text_model(
        """g (float[1,2,7,7] x, bool flag) => (float[1,2,5,5] y) {
            c = Conv(x, w)
            y = If (flag) <
                then_branch = t () => (float[1,2,5,5] a) { a = Relu(c) },
                else_branch = e () => (float[1,2,5,5] b) { b = Neg(c) }
            >
        }""",
        {"w": W},
    )
    model = load(data)
    branch = model.graph.nodes[-1]
    assert branch.op_type == "If"
    assert branch.inputs == ("flag", "c")
    assert not branch.attributes
    x = np.ones((1, 2, 7, 7), np.float32)
    feeds = {"x": x, "flag": np.array(False)}
    np.testing.assert_array_equal(run(model, feeds)[0], run(data, feeds)[0])


REFUSED = {
    "an operator of another domain": (
        text_model("g (float[1,2] x) => (float[1,2] y) { y = acme.Magic(x) }", more=', "acme" : 1'),
        "acme.Magic",
    ),
    "an old opset": (text_model("g (float[1,2] x) => (float[1,2] y) { y = Relu(x) }", opset=6), "opset 6"),
    "an operator that does not exist": (
        text_model("g (float[1,2] x) => (float[1,2] y) { y = Relux(x) }"),
        "no such operator",
    ),
    "no input": (text_model("g () => (float[2] y) { y = Relu(k) }", {"k": np.ones(2, np.float32)}), "no inputs"),
    "no output": (text_model("g (float[1,2] x) => () { y = Relu(x) }"), "no outputs"),
    "a missing tensor": (text_model("g (float[1,2] x) => (float[1,2] y) { y = Add(x, ghost) }"), "ghost"),
    "a sequence to be fed": (
        text_model("g (seq(float[a,2]) s) => (float[] y) { y = ConcatFromSequence<axis=0>(s) }"),
        "input 's' is no tensor but Sequence",
    ),
    "nothing but a sequence given": (
        text_model("g (float[4,2] x) => (seq(float[a,2]) s) { s = SplitToSequence(x) }"),
        "no output is a tensor of numbers",
    ),
    "a sequence given as if it were something else": (
        text_model("g (float[4,2] x) => (s) { s = SplitToSequence(x) }"),
        "output 's' is no tensor but Sequence",
    ),
    "training mode": (
        text_model(
            "g (float[1,2,3] x) => (float[1,2,3] y) { y, m, v = BatchNormalization<training_mode=1>(x, k, k, k, k) }",
            {"k": np.ones(2, np.float32)},
        ),
        "training mode",
    ),
    "bytes of something else": (b"\x89PNG\r\n\x1a\n" + bytes(range(64)), "not an ONNX model"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_served_is_refused_with_the_reason(what: str) -> None:
    data, reason = REFUSED[what]
    with pytest.raises(ModelError, match=reason):
        load(data)


def test_truncated_file_is_refused() -> None:
    data = light("resnet50").read_bytes()
    with pytest.raises(ModelError):
        load(data[: len(data) // 2])


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "model.onnx")


def external(folder: Path, location: str, *, write: Path | None = None) -> Path:
    """A model whose weight lies in a file beside it (or says that it does)."""
    proto = onnx.load_from_string(text_model("g (float[1,2,7,7] x) => (float[1,2,5,5] y) { y = Conv(x, w) }"))
    tensor = numpy_helper.from_array(W, "w")
    (write or folder / location).write_bytes(tensor.raw_data)
    external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    proto.graph.initializer.append(tensor)
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_beside_the_model_is_read_and_part_of_the_digest(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    model = load(path)
    np.testing.assert_array_equal(model.graph.constants["w"].numpy(), W)
    (tmp_path / "weights.bin").write_bytes((W + 1).tobytes())
    assert load(path).digest != model.digest


@pytest.mark.parametrize("location", ["../secret.bin", "link.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if location == "link.bin":
        (folder / location).symlink_to(tmp_path / "secret.bin")
    path = external(folder, location, write=tmp_path / "secret.bin")
    with pytest.raises(ModelError, match="outside the model's own folder"):
        load(path)


def test_external_data_of_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="given as bytes"):
        load(external(tmp_path, "weights.bin").read_bytes())


def test_overridable_initialiser_is_a_constant_not_an_input() -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 7, 7]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, list(W.shape)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(W, "w")],
    )
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)]).SerializeToString())
    assert model.graph.inputs == ("x",)
    np.testing.assert_array_equal(model.graph.constants["w"].numpy(), W)
