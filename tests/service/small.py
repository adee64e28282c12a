"""A small real network as an ONNX file, and repositories made of it."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CLASSES = 5
SIZE = 32


def network(seed: int = 0, *, size: int | str = SIZE, channels: int = 3, nhwc: bool = False) -> onnx.ModelProto:
    """Two convolutions with rectifiers, a max pool between them, a linear layer of five classes on their mean."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name)

    shape: list[int | str] = ["batch", size, size, channels] if nhwc else ["batch", channels, size, size]
    first = [helper.make_node("Transpose", ["image"], ["turned"], name="turn", perm=[0, 3, 1, 2])] if nhwc else []
    nodes = [
        *first,
        helper.make_node("Conv", ["turned" if nhwc else "image", "w1", "b1"], ["c1"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], name="conv2", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"], name="fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            weight("w1", 8, channels, 3, 3),
            weight("b1", 8),
            weight("w2", 12, 8, 3, 3),
            weight("b2", 12),
            weight("w3", CLASSES, 12),
            weight("b3", CLASSES),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="by hand")


def two_inputs() -> onnx.ModelProto:
    """The sum of two pictures through one convolution."""
    weight = numpy_helper.from_array(np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Add", ["left", "right"], ["both"], name="add"),
        helper.make_node("Conv", ["both", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["out"], name="relu"),
    ]
    shape = ["batch", 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("left", "right")],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def without_channels() -> onnx.ModelProto:
    """A convolution whose channels are averaged: what comes out has a plane and no channel axis."""
    weight = numpy_helper.from_array(np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("ReduceMean", ["c", "axes"], ["m"], name="mean", keepdims=0),
        helper.make_node("Relu", ["m"], ["out"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 8, 8])],
        [weight, axes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def put(root: Path, name: str, model: onnx.ModelProto | bytes, version: int = 1) -> Path:
    """Writes a model into a repository; returns its folder."""
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    return folder.parent


def recipe(**keys: object) -> str:
    """A preprocessor_config.json."""
    return json.dumps(keys)


def photograph(height: int = 40, width: int = 60, seed: int = 3) -> Image.Image:
    """A smooth coloured picture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """A picture file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
