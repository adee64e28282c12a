"""Small ONNX models for tests of the graph room, written in ONNX's text form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper, parser

from unpool.graph import Model

Array = npt.NDArray[np.generic]


def text_model(
    graph: str, weights: Mapping[str, Array] | None = None, *, opset: int = 17, more: str = "", functions: str = ""
) -> bytes:
    """The bytes of a model in ONNX's text form, `weights` added as initialisers."""
    imports = f'"" : {opset}{more}'
    proto = parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]>\n{graph}\n{functions}")
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return proto.SerializeToString()


def run(model: Model | bytes, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs of a plain ONNX Runtime session."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else ir.to_proto(model.runtime).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds))


def labels(model: Model, name: str) -> str:
    """The axis labels of a tensor, in short: `b c s0 s1 o`."""
    short = {"batch": "b", "channel": "c", "other": "o"}
    return " ".join(short.get(str(a), str(a).replace("spatial", "s")) for a in model.graph.values[name].axes)


def light(name: str) -> Path:
    """A light graph of the onnx package, weights constant."""
    return Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"


LIGHT: Sequence[str] = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


def with_random_weights(path: Path, seed: int) -> bytes:
    """A light graph with its constant weights replaced by random ones of a spread that survives the depth."""
    proto = onnx.load(path)
    rng = np.random.default_rng(seed)
    shapes = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(d) for d in shapes[node.input[0]])
        spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        array = rng.standard_normal(shape, dtype=np.float32) * np.float32(spread) + np.float32(len(shape) == 1)
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    proto.ir_version = 4
    return proto.SerializeToString()
