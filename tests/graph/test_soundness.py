"""What no reader could make sense of is refused by node or tensor, in words of our own; what is sound is taken."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from tests.graph.builders import text_model

from unpool.graph import load
from unpool.graph.errors import ModelError

Change = Callable[[onnx.ModelProto], object]


def sound() -> onnx.ModelProto:
    """A convolution, a rectifier, a constant and a branch that reads what is made around it."""
    return onnx.load_from_string(
        text_model(
            """g (float[1, 2, 6, 6] x, bool c) => (float[1, 2, 6, 6] y) {
                a = Conv<pads = [1, 1, 1, 1]>(x, w)
                b = Relu(a)
                two = Constant<value = float {2}>()
                m = Mul(b, two)
                y = If (c) <
                    then_branch = yes () => (float[1, 2, 6, 6] p) { p = Add(m, b) },
                    else_branch = no () => (float[1, 2, 6, 6] q) { q = Identity(m) }
                >
            }""",
            {"w": np.ones((2, 2, 3, 3), np.float32)},
        )
    )


def _branch(model: onnx.ModelProto, name: str = "then_branch") -> onnx.GraphProto:
    return next(a.g for a in model.graph.node[4].attribute if a.name == name)


def _output(index: int, name: str) -> Change:
    return lambda m: m.graph.node[index].output.__setitem__(0, name)


def _untyped(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].type = AttributeProto.UNDEFINED


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _deep(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("deep", TensorProto.FLOAT, [1] * 65, [1.0]))


def _function(*nodes: onnx.NodeProto) -> Change:
    made = helper.make_function("own", "F", ["i"], ["o"], list(nodes), [helper.make_opsetid("", 17)])
    return lambda m: m.functions.append(made)


REFUSED: dict[str, tuple[Change, str]] = {
    "a value made twice": (_output(1, "a"), "Relu node 'a' makes 'a', which is there already, from Conv node 'a'"),
    "a value made over an input": (_output(1, "x"), "Relu node 'x' makes 'x', which is there already, as an input"),
    "a value made over a weight": (_output(1, "w"), "makes 'w', which is there already, as a tensor of the file"),
    "an attribute without a type": (_untyped, "Conv node 'a': the attribute 'pads' has no type"),
    "a sparse tensor": (_sparse, "tensor 's' is sparse"),
    "more axes than an array has": (_deep, "tensor 'deep' has 65 axes; 64 are the most"),
    "an unknown element type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77),
        "value 'x' has the element type 77",
    ),
    "a constant without a value": (
        lambda m: m.graph.node[2].attribute.__delitem__(0),
        "Constant node 'two' has one attribute of value, value_float",
    ),
    "a constant of two values": (
        lambda m: m.graph.node[2].attribute.append(helper.make_attribute("value_float", 1.0)),
        "this has 'value', 'value_float'",
    ),
    "a constant of another type": (
        lambda m: setattr(m.graph.node[2].attribute[0], "type", AttributeProto.INTS),
        "Constant node 'two': 'value' is of type TENSOR, not INTS",
    ),
    "a branch that reads what is nowhere": (
        lambda m: _branch(m).node[0].input.__setitem__(1, "nowhere"),
        "Add node 'p' reads 'nowhere', which nothing in the model makes",
    ),
    "a branch that reads what another branch makes": (
        lambda m: _branch(m, "else_branch").node[0].input.__setitem__(0, "p"),
        "Identity node 'q' reads 'p', which nothing in the model makes",
    ),
    "a branch whose output nothing makes": (
        lambda m: _branch(m).node[0].output.__setitem__(0, "other"),
        "output 'p' of the graph 'yes' is made by no node of the model",
    ),
    "a function that makes a value twice": (
        _function(helper.make_node("Relu", ["i"], ["o"]), helper.make_node("Sqrt", ["i"], ["o"])),
        "Sqrt node 'o' makes 'o', which is there already, from Relu node 'o'",
    ),
    "a function that makes its own input": (
        _function(helper.make_node("Relu", ["i"], ["i"]), helper.make_node("Relu", ["i"], ["o"])),
        "the model's function own.F makes 'i', which is an input of it as well",
    ),
    "a function that reads what is nowhere": (
        _function(helper.make_node("Add", ["i", "j"], ["o"])),
        "the model's function own.F reads or gives 'j', which nothing in it makes",
    ),
    "a function that does not give its output": (
        _function(helper.make_node("Relu", ["i"], ["other"])),
        "the model's function own.F reads or gives 'o', which nothing in it makes",
    ),
}


def test_the_sound_model_is_taken() -> None:
    assert {n.op_type for n in load(sound().SerializeToString()).graph.nodes} >= {"Conv", "Relu", "Mul", "If"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_unsound_is_refused_by_name(case: str) -> None:
    change, words = REFUSED[case]
    model = sound()
    change(model)
    with pytest.raises(ModelError) as caught:
        load(model.SerializeToString())
    assert words in str(caught.value)


def test_a_name_that_is_no_text_is_refused() -> None:
    data = sound().SerializeToString()
    assert data.count(b"pads") == 1
    with pytest.raises(ModelError, match=r"of an attribute is no text in UTF-8"):
        load(data.replace(b"pads", b"pa\xff\xfe"))


def test_a_function_for_another_opset_is_refused_with_both() -> None:
    model = sound()
    function = helper.make_function(
        "own", "F", ["i"], ["o"], [helper.make_node("Relu", ["i"], ["o"])], [helper.make_opsetid("", 13)]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "F", "own"
    with pytest.raises(ModelError, match=r"own\.F is written for opset 13 of ai\.onnx, the model for 17"):
        load(model.SerializeToString())


@pytest.mark.parametrize("length", [1, 3])
def test_functions_that_call_in_a_circle_are_refused(length: int) -> None:
    model = sound()
    names = [f"F{i}" for i in range(length)]
    for name, called in zip(names, [*names[1:], names[0]], strict=True):
        node = helper.make_node(called, ["i"], ["o"], domain="own")
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", name, ["i"], ["o"], [node], imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "F0", "own"
    with pytest.raises(ModelError, match=r"the model's function own\.F\d calls itself"):
        load(model.SerializeToString())
