"""The node cases that the onnx package carries: one small model each, with inputs and expected outputs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.backend.test.case.node import collect_testcases

from unpool.graph.model import Attribute, Node
from unpool.ops import run

Arrays = list[npt.NDArray[np.generic] | None]


@dataclass(frozen=True)
class NodeCase:
    """One call of one operator, what goes in and what has to come out."""

    name: str
    node: Node
    inputs: Arrays
    outputs: Arrays
    rtol: float
    atol: float


def attribute(proto: onnx.AttributeProto) -> Attribute:
    """An attribute as the graph room hands it to operators."""
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return tuple(v.decode() if isinstance(v, bytes) else v for v in value)
    return value


def node_of(proto: onnx.NodeProto, version: int, name: str = "node") -> Node:
    """The frozen view of a node."""
    return Node(
        name,
        proto.domain,
        proto.op_type,
        version,
        tuple(proto.input),
        tuple(proto.output),
        {a.name: attribute(a) for a in proto.attribute},
    )


@lru_cache(maxsize=1)
def _collected() -> tuple[object, ...]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def _array(value: object) -> object:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def node_cases(op_types: frozenset[str]) -> list[NodeCase]:
    """Every case of one node, of one of these operators, whose values are tensors."""
    found = []
    for case in _collected():
        model = case.model
        if model is None or len(model.graph.node) != 1 or model.graph.node[0].op_type not in op_types:
            continue
        proto = model.graph.node[0]
        if proto.domain not in ("", "ai.onnx"):
            continue
        version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        inputs, outputs = ([_array(v) for v in values] for values in case.data_sets[0])
        fed = dict(zip((i.name for i in model.graph.input), inputs, strict=True))
        if not all(isinstance(v, np.ndarray | np.generic) for v in [*inputs, *outputs]):
            continue
        found.append(
            NodeCase(
                case.name,
                node_of(proto, version, case.name),
                [np.asarray(fed[n]) if n else None for n in proto.input],
                [np.asarray(o) for o in outputs],
                case.rtol,
                case.atol,
            )
        )
    return found


def run_numpy(node: Node, inputs: Arrays) -> list[npt.NDArray[np.generic]]:
    """Runs a node through the operator under test, from and to NumPy."""
    fed = [torch.from_numpy(np.array(x)) if x is not None else None for x in inputs]
    return [y.detach().numpy() for y in run(node, fed)]
