"""Forward of older revisions against ONNX Runtime; the newest ones are the matrix's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.oracles.node_cases import node_of, run_numpy

from unpool.graph.model import Node

X = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
V = np.random.default_rng(1).normal(size=4).astype(np.float32)
I64 = np.int64


OldCase = tuple[str, onnx.NodeProto, int, tuple[np.ndarray, ...]]


def _old(op_type: str, version: int, *inputs: np.ndarray, outputs: int = 1, **attributes: object) -> OldCase:
    proto = helper.make_node(
        op_type, [f"x{i}" for i in range(len(inputs))], [f"y{i}" for i in range(outputs)], **attributes
    )
    return f"{op_type}-{version}", proto, version, inputs


def _resized(scales: list[float] | None = None, sizes: list[int] | None = None, **attributes: object) -> OldCase:
    amounts = [np.array(scales, np.float32)] if scales else [np.array([], np.float32), np.array(sizes, I64)]
    return _old("Resize", 11, X, np.array([], np.float32), *amounts, **attributes)


def _cropped(sizes: list[int], mode: str) -> OldCase:
    """To a region of the plane; an axis that keeps its extent is not cropped by ONNX Runtime."""
    region = np.array([0, 0, 0.2, 0.1, 1, 1, 0.7, 0.6], np.float32)
    amounts = [np.array([], np.float32), np.array(sizes, I64)]
    how = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
    return _old("Resize", 11, X, region, *amounts, **how)


ROIS = np.array([[0, 1.0, 0.5, 7.0, 9.0], [1, 0.0, 2.0, 4.0, 6.0]], np.float32)
SEQUENCE = np.random.default_rng(3).normal(size=(5, 2, 3)).astype(np.float32)
LENGTHS = np.array([5, 3], np.int32)


def _weights(gates: int, directions: int) -> list[np.ndarray]:
    """Of a recurrent layer of 4 states: by the input, by the state, biases."""
    shapes = [(directions, gates * 4, 3), (directions, gates * 4, 4), (directions, gates * 8)]
    return [np.random.default_rng(4).normal(size=s).astype(np.float32) for s in shapes]


OLD = [
    _old("Clip", 7, X, min=-0.5, max=0.25),
    _old("Clip", 10, X, min=0.0),
    _old("Softmax", 7, X, axis=2),
    _old("Softmax", 11, X),
    _old("LogSoftmax", 11, X, axis=-2),
    _old("Squeeze", 7, X[:, :1], axes=[1]),
    _old("Squeeze", 11, X[:1, :, :, :1]),
    _old("Unsqueeze", 11, X, axes=[0, 3]),
    _old("Split", 7, X, outputs=2, axis=1),
    _old("Split", 11, X, outputs=2, axis=2, split=[2, 4]),
    _old("Slice", 7, X, starts=[1, -4], ends=[100, -1], axes=[1, 3]),
    _old("Pad", 7, X, pads=[0, 0, 1, 2, 0, 0, 0, 3], value=1.5),
    _old("Pad", 10, X, pads=[0, 0, 1, 2, 0, 0, 0, 3], mode="reflect"),
    _old("ReduceMean", 7, X, axes=[2, 3], keepdims=0),
    _old("ReduceSum", 11, X, axes=[-1]),
    _old("ReduceMax", 13, X, axes=[1]),
    _old("BatchNormalization", 7, X, V, V, V, V * V + 1, epsilon=1e-3),
    _old("BatchNormalization", 9, X, V, V, V, V * V + 1),
    _old("Dropout", 7, X, ratio=0.3),
    _old("Dropout", 10, X),
    _old("Flatten", 7, X, axis=2),
    _old("Concat", 7, X, X, axis=1),
    _old("Gemm", 7, X[0, 0], X[0, 1], V[:1], alpha=0.5, transB=1),
    _old("Gemm", 9, X[0, 0], X[0, 1].T, X[0, 0, :, :1], beta=2.0),
    _old("PRelu", 7, X, V.reshape(4, 1, 1)),
    _old("Max", 8, X, V.reshape(4, 1, 1)),
    _old("Sum", 8, X, V.reshape(4, 1, 1), X),
    _old("Tile", 6, X, np.array([1, 2, 1, 1], I64)),
    _old("AveragePool", 7, X, kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1]),
    _old("AveragePool", 10, X, kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2], count_include_pad=1),
    _old("MaxPool", 8, X, outputs=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    _old("LRN", 7, X, size=3, alpha=0.1),
    _old(
        "Conv",
        7,
        X,
        np.random.default_rng(2).normal(size=(6, 2, 3, 3)).astype(np.float32),
        group=2,
        auto_pad="SAME_LOWER",
    ),
    _old("Gather", 7, X, np.array([[0, 2], [1, 1]], I64), axis=1),
    _old("Cast", 9, X, to=7),
    _old("DepthToSpace", 7, X, blocksize=2),
    _old("LeakyRelu", 7, X, alpha=0.2),
    _old("ArgMax", 11, X, axis=1, keepdims=0),
    _old("GlobalLpPool", 7, X, p=2),
    _old("MaxRoiPool", 7, X, ROIS, pooled_shape=[2, 3], spatial_scale=0.5),
    _old("RoiAlign", 10, X, ROIS[:, 1:], np.array([0, 1], I64), output_height=2, output_width=3, sampling_ratio=2),
    _old("Hardmax", 7, X),
    _old("Hardmax", 11, X, axis=2),
    _old("TopK", 10, X, np.array([2], I64), outputs=2, axis=1),
    _old("Scatter", 9, X, np.array([[[[1, 0]]]], I64), np.ones((1, 1, 1, 2), np.float32), axis=3),
    _old("RNN", 7, SEQUENCE, *_weights(1, 2), outputs=2, hidden_size=4, direction="bidirectional"),
    _old("GRU", 7, SEQUENCE, *_weights(3, 2), outputs=2, hidden_size=4, direction="bidirectional"),
    _old("GRU", 7, SEQUENCE, *_weights(3, 1), LENGTHS, outputs=2, hidden_size=4, linear_before_reset=1, clip=0.5),
    _old("LSTM", 7, SEQUENCE, *_weights(4, 2), LENGTHS, outputs=3, hidden_size=4, direction="bidirectional"),
    _old("LSTM", 7, SEQUENCE, *_weights(4, 1), outputs=3, hidden_size=4, direction="reverse", input_forget=1),
    _old("Upsample", 7, X, scales=[1.0, 1.0, 2.0, 3.0]),
    _old("Upsample", 9, X, np.array([1, 1, 2, 2.5], np.float32), mode="linear"),
    _old("Resize", 10, X, np.array([1, 1, 0.5, 2], np.float32)),
    _resized(scales=[1, 1, 1.7, 2], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
    _resized(scales=[1, 1, 0.6, 2], mode="linear", coordinate_transformation_mode="align_corners"),
    _resized(scales=[1, 1, 2, 2], mode="cubic"),
    _resized(sizes=[2, 4, 9, 3], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    _cropped([2, 4, 9, 5], "linear"),
    _cropped([2, 4, 6, 5], "nearest"),
    _cropped([2, 4, 4, 3], "cubic"),
]


def _by_runtime(proto: onnx.NodeProto, version: int, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray] | None:
    """ONNX Runtime's answer, or ``None`` where it refuses the revision."""
    import onnxruntime as ort

    graph = helper.make_graph(
        [proto],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in zip(proto.input, inputs, strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=7)
    model = onnx.shape_inference.infer_shapes(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers: list[np.ndarray] = session.run(None, dict(zip(proto.input, inputs, strict=True)))
    return answers


@pytest.mark.parametrize("case", OLD, ids=[f"{i}-{c[0]}" for i, c in enumerate(OLD)])
def test_older_revision_equals_the_runtime(case: OldCase) -> None:
    _, proto, version, inputs = case
    answers = _by_runtime(proto, version, inputs)
    assert answers is not None
    node: Node = node_of(proto, version)
    for found, expected in zip(run_numpy(node, list(inputs)), answers, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.shape == expected.shape


@pytest.mark.parametrize(("extent", "wanted"), [(54, 33), (24, 40), (12, 7), (19, 111)])
def test_a_scale_that_is_a_broken_ratio_gives_the_extent_that_the_runtime_gives(extent: int, wanted: int) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 3, extent)).astype(np.float32)
    scales = np.array([1, 1, 1, wanted / extent], np.float32)
    for attributes in ({"mode": "linear"}, {"mode": "nearest", "nearest_mode": "floor"}):
        _, proto, version, inputs = _old("Resize", 13, x, np.array([], np.float32), scales, **attributes)
        answers = _by_runtime(proto, version, inputs)
        assert answers is not None
        assert answers[0].shape[3] == wanted
        (found,) = run_numpy(node_of(proto, version), list(inputs))
        np.testing.assert_allclose(found, answers[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extent", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 3), (4, 3)])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_a_window_too_large_for_the_plane_by_less_than_a_step_gives_one_value(
    op_type: str, kernel: int, stride: int, extent: int
) -> None:
    """The standard rounds down, to none; ONNX Runtime, which counts here, towards 0."""
    proto = helper.make_node(op_type, ["x0"], ["y0"], kernel_shape=[kernel, 1], strides=[stride, 1])
    x = X[:, :, :extent]
    (expected,) = _by_runtime(proto, 22, (x,))
    if expected.size:
        (found,) = run_numpy(node_of(proto, 22), [x])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    else:
        assert extent + stride <= kernel


def test_response_normalisation_of_even_size_takes_the_longer_side_behind() -> None:
    """LRN-13: from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2)."""
    node = Node("n", "", "LRN", 13, ("x",), ("y",), {"size": 4, "alpha": 0.1, "bias": 2.0})
    expected = np.stack(
        [
            X[:, c] / (2 + 0.1 / 4 * np.square(X[:, max(0, c - 1) : c + 3].astype(np.float64)).sum(1)) ** 0.75
            for c in range(4)
        ],
        1,
    )
    np.testing.assert_allclose(run_numpy(node, [X])[0], expected, rtol=1e-5)


def test_an_unknown_attribute_is_told() -> None:
    with pytest.raises(TypeError, match="fancy"):
        run_numpy(Node("n", "", "Relu", 13, ("x",), ("y",), {"fancy": 1}), [X])


def test_an_unknown_operator_is_told_with_its_node() -> None:
    with pytest.raises(NotImplementedError, match=r"'n'.*NoSuch"):
        run_numpy(Node("n", "", "NoSuch", 13, ("x",), ("y",), {}), [X])
