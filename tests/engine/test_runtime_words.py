"""What ONNX Runtime says comes out without codes, source files and signatures, and with the node that is at fault."""

import re

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.graph.builders import text_model

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.engine.runtime_words import runtime_words
from unpool.graph import load
from unpool.graph.errors import ModelError, PreconditionError

CPU = EngineSettings(device="cpu", threads=1)
FOREIGN = re.compile(r"ONNXRuntimeError|[A-Z]\w*Error\b|\.(?:cc|cpp|h):\d+|::|In Node|status code")


def _changed(change: str) -> bytes:
    model = onnx.load_from_string(
        text_model("g (float[1, 2, 6, 6] x) => (float[1, 2, 6, 6] z) { y = Relu(x)  z = Sigmoid(y) }")
    )
    node = model.graph.node[1]
    if change == "inputs":
        node.input.append("x")
    elif change == "few":
        node.op_type = "Concat"
        del node.input[:]
        node.attribute.append(helper.make_attribute("axis", 1))
    elif change == "attribute":
        node.attribute.append(helper.make_attribute("body", 3))
    elif change == "required":
        node.op_type = "Concat"
    elif change == "shapes":
        model = onnx.load_from_string(
            text_model(
                "g (float[1, 2, 6, 6] x) => (float[1, 2, 6, 6] z) { z = Add(x, w) }",
                {"w": np.zeros((5, 5), np.float32)},
            )
        )
    elif change == "types":
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("inputs", "Sigmoid node 'z': the number of its inputs is 2, and has to be 1"),
        ("few", "Concat node 'z': the number of its inputs is 0, and has to be at least 1"),
        ("attribute", "Sigmoid node 'z': Unrecognized attribute: body for operator Sigmoid"),
        ("required", "Concat node 'z': Required attribute 'axis' is missing"),
        ("shapes", "Add node 'z': Incompatible dimensions"),
        ("types", "(z)"),
    ],
)
def test_a_model_that_is_not_taken_is_refused_by_node(change: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        Engine(load(_changed(change)), CPU).prepare()
    assert str(caught.value).startswith("ONNX Runtime does not take the model: ")
    assert words in str(caught.value)
    assert not FOREIGN.search(str(caught.value)), str(caught.value)


def test_a_failing_run_is_told_by_node() -> None:
    engine = Engine(load(text_model("g (float[1, N] x, int64[1] i) => (float[1, 1] y) { y = Gather<axis = 1>(x, i) }")))
    with pytest.raises(PreconditionError) as caught:
        engine.run(Feeds({"x": np.zeros((1, 4), np.float32), "i": np.array([9], np.int64)}, "x"))
    assert "Gather node" in str(caught.value)
    assert "'y'" in str(caught.value)
    assert "indices element out of data bounds" in str(caught.value)
    assert not FOREIGN.search(str(caught.value)), str(caught.value)


def test_signatures_and_sources_go() -> None:
    # As a release of ONNX Runtime builds it.
    said = (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: "
        "/onnxruntime_src/onnxruntime/core/providers/cpu/nn/conv.h:31 "
        "onnxruntime::Conv<T>::Conv(const onnxruntime::OpKernelInfo&) [with T = float] "
        "status.IsOK() was false. no pads\nbehind it"
    )
    assert runtime_words(RuntimeError(said)) == "status.IsOK() was false. no pads"


def test_a_call_operator_is_a_signature_too() -> None:
    said = (
        "/onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.cc:2279 "
        "void onnxruntime::CallModImpl<T>::operator()(bool, onnxruntime::OpKernelContext*) const [with T = float] "
        "fmod was false. fmod attribute must be true for floating point types"
    )
    assert runtime_words(RuntimeError(said)) == "fmod was false. fmod attribute must be true for floating point types"


def test_a_source_without_its_folder_goes() -> None:
    said = "upsamplebase.h:603 ParseScalesData Number of elements in scales should be equal to rank of the data"
    assert runtime_words(RuntimeError(said)) == "Number of elements in scales should be equal to rank of the data"


def test_what_says_nothing_is_still_a_sentence() -> None:
    assert runtime_words(RuntimeError("")) == "it does not say why"


def test_a_long_hostile_message_is_read_in_time() -> None:
    said = 'In Node, ("' + "(" * 50_000 + "/a.cc:1 " * 50_000
    assert len(runtime_words(RuntimeError(said))) <= 4000
