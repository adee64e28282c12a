"""What would take too much memory is refused before it takes any."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.graph import load
from unpool.graph.errors import ExhaustedError
from unpool.methods import ProjectionRequest, project


def _free_size() -> bytes:
    weight = numpy_helper.from_array(np.ones((64, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64, "h", "w"])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return onnx.ModelProto.SerializeToString(model)


def test_an_input_that_is_too_large_inside_the_model_is_refused_and_a_smaller_one_is_not() -> None:
    engine = Engine(load(_free_size()), EngineSettings(request_bytes=32 << 20))
    large = Feeds({"x": np.zeros((1, 3, 1000, 1000), np.float32)}, "x")
    with pytest.raises(ExhaustedError, match="smaller picture") as caught:
        list(project(engine, large, ProjectionRequest("y", top=1)))
    assert caught.value.retry_seconds is None
    with pytest.raises(ExhaustedError):
        engine.run(large)
    small = Feeds({"x": np.ones((1, 3, 40, 40), np.float32)}, "x")
    assert len([p for p in project(engine, small, ProjectionRequest("y", top=1)) if p is not None]) == 2
