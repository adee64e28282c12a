"""Extents of pools with ceil_mode are those that a runtime gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from unpool.graph import load

_PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    op_type=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    kernel=_PAIR,
    strides=_PAIR,
    padded=st.booleans(),
    opset=st.sampled_from([12, 17, 22]),
)
def test_ceil_mode_counts_the_windows_that_a_runtime_counts(
    op_type: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padded: bool,
    opset: int,
) -> None:
    pads = [k // 2 for k in kernel] * 2 if padded else [0] * 4
    nodes = [
        helper.make_node(op_type, ["x"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=1),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *size])],
        [helper.make_empty_tensor_value_info("z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    source = onnx.shape_inference.infer_shapes(model).SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (given_,) = session.run(None, {"x": np.zeros((1, 2, *size), np.float32)})
    shape = load(source).graph.values["z"].shape
    assert shape is not None
    assert shape[1:] == given_.shape[1:]
