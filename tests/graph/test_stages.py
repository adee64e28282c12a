"""What nobody foresaw while a model is loaded is a sentence with stage and node; what is known passes as it is."""

import onnx
import onnx_ir as ir
import pytest
from tests.graph.builders import text_model

from unpool.graph import load
from unpool.graph.errors import ModelError, PreconditionError
from unpool.graph.stages import stage


def _stumble(node: object) -> None:
    raise KeyError("whatever a library says, as in Value(name='p')")


NODES = {
    "of the graph": (lambda: ir.Node("", "Relu", [ir.Value(name="x")], name="r1"), "r1"),
    "without a name": (
        lambda: ir.Node("", "Relu", [ir.Value(name="x")], outputs=[ir.Value(name="y")], name=None),
        "y",
    ),
    "of the file": (lambda: onnx.helper.make_node("Relu", ["x"], ["y"], name="r3"), "r3"),
    "of the frozen view": (
        lambda: load(text_model("g (float[1, 2] x) => (float[1, 2] z) { z = Relu(x) }")).graph.nodes[0],
        "Relu_0",
    ),
}


@pytest.mark.parametrize("kind", NODES)
def test_the_sentence_names_stage_and_node_and_no_library(kind: str) -> None:
    make, name = NODES[kind]
    with pytest.raises(ModelError) as caught, stage("looking at it"):
        _stumble(make())
    assert caught.value.node == name
    assert str(caught.value).startswith("looking at it fails at ")
    assert f"'{name}', for a reason that is not foreseen" in str(caught.value)
    assert "KeyError" not in str(caught.value)
    assert "Value(" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_node_is_that_of_the_innermost_error() -> None:
    inner = onnx.helper.make_node("Relu", ["x"], ["y"], name="inner")

    def work(node: onnx.NodeProto) -> None:
        try:
            _stumble(inner)
        except KeyError as error:
            raise RuntimeError("on the way") from error

    with pytest.raises(ModelError) as caught, stage("looking at it"):
        work(onnx.helper.make_node("Conv", ["x"], ["y"], name="outer"))
    assert caught.value.node == "inner"


def test_without_a_node_the_stage_stands_alone() -> None:
    with pytest.raises(ModelError, match=r"^looking at it fails, for a reason") as caught, stage("looking at it"):
        _stumble(3)
    assert caught.value.node is None


@pytest.mark.parametrize("error", [ModelError("known", node="n"), PreconditionError("known too"), MemoryError()])
def test_known_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, stage("looking at it"):
        raise error
    assert caught.value is error
