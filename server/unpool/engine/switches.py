"""Where switches come from: the pool's input, or ONNX Runtime's max-pool Indices where they are cheaper and right.

Asked for Indices, ONNX Runtime pools six times as slowly (CPU), so those of small windows are derived from the pool's
input. Of large windows the Indices are taken, where they can be believed: providers have given wrong places, another
order at ties, or -1 for windows of equal values. So every pool configuration is tried once per device on a small plane
with many ties; where ``x[indices] == y`` and the order at ties do not hold, switches are derived all the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from torch import Tensor

from unpool.engine.devices import Device
from unpool.graph.model import Attribute, Graph, Node
from unpool.ops.switches import COMPARED, codes_from_indices, codes_from_input, pool_geometry

_FIRST_WITH_INDICES = 8


def taken(node: Node, dtype: str, device: Device) -> bool:
    """Whether a max-pool node's Indices are asked for: they are cheaper than comparing, and right."""
    kernel = node.attributes.get("kernel_shape", ())
    cheaper = isinstance(kernel, tuple) and math.prod(int(k) for k in kernel) > COMPARED
    return cheaper and believed(node, dtype, device)


def believed(node: Node, dtype: str, device: Device) -> bool:
    """Whether the Indices of a max-pool node can be taken as they come."""
    if node.version < _FIRST_WITH_INDICES or dtype not in ("float32", "float16", "float64"):
        return False
    attributes = tuple(sorted((k, v) for k, v in node.attributes.items() if not isinstance(v, np.ndarray)))
    return _probe(attributes, node.version, dtype, device)


@lru_cache(maxsize=512)
def _probe(attributes: tuple[tuple[str, Attribute], ...], version: int, dtype: str, device: Device) -> bool:
    settings: dict[str, Any] = dict(attributes)
    kernel = settings["kernel_shape"]
    node = Node("probe", "", "MaxPool", version, ("x",), ("y", "i"), settings)
    # Wide enough for several windows along every axis, whatever the padding.
    spans = pool_geometry(node, [1 << 10] * len(kernel))
    extents = [span + 2 * step + 1 for span, step in zip(spans.spans, spans.strides, strict=True)]
    # Few distinct values, half of them zero as behind a rectifier: many ties, many windows of equal values.
    x = np.maximum(np.random.default_rng(0).integers(-3, 4, (1, 2, *extents)), 0).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y", "i"], None, None, None, **settings)],
        "probe",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None), helper.make_tensor_value_info("i", TensorProto.INT64, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=onnx.IR_VERSION - 3)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=device.providers)
        y, indices = session.run(None, {"x": x})
    except Exception:  # a provider without the second output: ONNX Runtime raises a private type per status code
        return False
    if (indices < 0).any() or (indices >= x.size).any() or not np.array_equal(x.ravel()[indices], y):
        return False
    given = from_indices(torch.from_numpy(indices), node, extents)
    return bool(torch.equal(given, from_input(torch.from_numpy(x).float(), node)))


def from_indices(indices: Tensor, node: Node, extents: list[int]) -> Tensor:
    """Switch codes from ONNX Indices; ``extents`` are those of the pool's input plane."""
    order = node.attributes.get("storage_order", 0)
    assert isinstance(order, int)
    return codes_from_indices(indices, pool_geometry(node, extents), extents, storage_order=order)


def from_input(x: Tensor, node: Node) -> Tensor:
    """Switch codes from what the pool reads, (N, C, D1 ... Dn)."""
    return codes_from_input(x, pool_geometry(node, list(x.shape[2:])))


def crossed(graph: Graph, to: str) -> dict[str, int]:
    """Value name -> the max pools between it and ``to``, as bits, for every value that ``to`` reaches."""
    found = {to: 0}
    pools = 0
    for node in graph.nodes:
        pools += node.op_type == "MaxPool"
        before = [found[i] for i in node.inputs if i in found]
        if before:
            bits = 1 << pools if node.op_type == "MaxPool" else 0
            for each in before:
                bits |= each
            found.update((output, bits) for output in node.outputs if output)
    return found
