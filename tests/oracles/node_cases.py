"""The node cases that the onnx package carries: one small model each, with inputs and expected outputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.backend.test.case.node import collect_testcases
from torch import Tensor

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


@dataclass(frozen=True)
class ModelCase:
    """A model, what goes in and what has to come out, as the onnx package gives it; values may be no tensors."""

    name: str
    model: onnx.ModelProto
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    rtol: float
    atol: float

    @property
    def operator(self) -> tuple[str, str]:
        """Domain and type of the only node, or of what the nodes are the expansion of."""
        first = self.model.graph.node[0]
        return ("" if first.domain == "ai.onnx" else first.domain, first.op_type)

    @property
    def single(self) -> bool:
        """Whether the model is one node."""
        return len(self.model.graph.node) == 1 and not self.model.functions


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
        "" if proto.domain == "ai.onnx" else proto.domain,
        proto.op_type,
        version,
        tuple(proto.input),
        tuple(proto.output),
        {a.name: attribute(a) for a in proto.attribute},
    )


@lru_cache(maxsize=1)
def model_cases() -> tuple[ModelCase, ...]:
    """Every case that comes with its model."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return tuple(
        ModelCase(
            c.name,
            c.model,
            [_array(v) for v in c.data_sets[0][0]],
            [_array(v) for v in c.data_sets[0][1]],
            c.rtol,
            c.atol,
        )
        for c in found
        if c.model is not None
    )


def _array(value: object) -> object:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def node_case(case: ModelCase) -> NodeCase | None:
    """A case of one node whose values are tensors, or ``None``."""
    if not case.single or not all(isinstance(v, np.ndarray | np.generic) for v in [*case.inputs, *case.outputs]):
        return None
    proto = case.model.graph.node[0]
    version = next(
        o.version for o in case.model.opset_import if o.domain in (proto.domain, "ai.onnx" if not proto.domain else "")
    )
    fed = dict(zip((i.name for i in case.model.graph.input), case.inputs, strict=True))
    given = dict(zip((o.name for o in case.model.graph.output), case.outputs, strict=True))
    return NodeCase(
        case.name,
        node_of(proto, version, case.name),
        [np.asarray(fed[n]) if n else None for n in proto.input],
        [np.asarray(given[n]) if n in given else None for n in proto.output],
        case.rtol,
        case.atol,
    )


def node_cases(op_types: frozenset[str]) -> list[NodeCase]:
    """Every case of one node, of one of these operators, whose values are tensors."""
    chosen = (node_case(c) for c in model_cases() if c.operator[0] == "" and c.operator[1] in op_types)
    return [c for c in chosen if c is not None]


_BITS = {
    "bfloat16": (np.int16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e4m3fnuz": (np.uint8, torch.float8_e4m3fnuz),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
    "float8_e5m2fnuz": (np.uint8, torch.float8_e5m2fnuz),
    "float8_e8m0fnu": (np.uint8, torch.float8_e8m0fnu),
}


def tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """An array as torch has it; integers below a byte become bytes.

    Raises:
        NotImplementedError: torch has no such element type.
    """
    array = np.array(array)
    if array.dtype.name in _BITS:
        bits, kind = _BITS[array.dtype.name]
        return torch.from_numpy(array.view(bits)).view(kind)
    if array.dtype.name in ("int4", "int2"):
        return torch.from_numpy(array.astype(np.int8))
    if array.dtype.name in ("uint4", "uint2"):
        return torch.from_numpy(array.astype(np.uint8))
    if array.dtype.kind in "OUST" or array.dtype.name == "float4_e2m1fn":
        raise NotImplementedError(f"element type {array.dtype.name} is not known here")
    return torch.from_numpy(array)


def array(value: Tensor) -> npt.NDArray[np.generic]:
    """A tensor as NumPy has it."""
    value = value.detach()
    for name, (bits, kind) in _BITS.items():
        if value.dtype == kind:
            found: npt.NDArray[np.generic] = (
                value.contiguous()
                .view(torch.from_numpy(np.zeros(1, bits)).dtype)
                .numpy()
                .view(getattr(ml_dtypes, name))
            )
            return found
    return value.numpy()


def run_numpy(node: Node, inputs: Arrays) -> list[npt.NDArray[np.generic]]:
    """Runs a node through the operator under test, from and to NumPy."""
    fed = [tensor(x) if x is not None else None for x in inputs]
    return [array(y) for y in run(node, fed)]
