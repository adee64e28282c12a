"""PyTorch twins of the zoo's graphs, every rectifier an `nn.ReLU` of its own: oracles for Captum and autograd.

The light graphs are translated by onnx2pytorch, which shares no code with the product.
"""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper


@dataclass(frozen=True)
class Twin:
    """A PyTorch network with the weights of an ONNX file.

    Attributes:
        module: the network, in evaluation mode, of one input.
        layers: which submodule gives which tensor, by the tensor's name in the file.
    """

    module: torch.nn.Module
    layers: dict[str, torch.nn.Module]


class StraightLrn(torch.nn.Module):
    """A local response normalisation whose gradient passes the signal on unchanged, as Zeiler & Fergus' pictures do."""

    def __init__(self, lrn: torch.nn.Module) -> None:
        super().__init__()
        self.lrn = lrn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.lrn(x) - x).detach()


def translate(file: Path, *, straight_lrn: bool) -> Twin:
    """The ONNX graph of `file` as PyTorch modules.

    Args:
        file: a model of Conv, pooling, normalisation, shape and arithmetic operators.
        straight_lrn: let local response normalisation pass the gradient unchanged.
    """
    model = onnx.load(file)
    _fold_reshaped_weights(model.graph)
    _free_batch(model.graph)
    module = _onnx2pytorch().ConvertModel(model, experimental=False).eval()
    model.graph.ClearField("initializer")  # the modules hold the weights by now
    layers: dict[str, torch.nn.Module] = {}
    for tensor, attribute in module.mapping.items():
        layer = getattr(module, attribute)
        if straight_lrn and type(layer).__name__ == "LRN":
            layer = StraightLrn(layer)
            setattr(module, attribute, layer)
        if isinstance(layer, torch.nn.Module):
            layers[tensor] = layer
    return Twin(module.requires_grad_(False), layers)


def _fold_reshaped_weights(graph: onnx.GraphProto) -> None:
    # A classifier's matrix behind a Reshape: the translation wants to find it as an initialiser.
    tensors = {t.name: t for t in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Reshape" and all(i in tensors for i in n.input)]:
        weight, shape = (numpy_helper.to_array(tensors[i]) for i in node.input)
        graph.initializer.append(numpy_helper.from_array(weight.reshape(shape), node.output[0]))
        graph.node.remove(node)


def _free_batch(graph: onnx.GraphProto) -> None:
    # A Reshape to [1, ...] takes one picture alone; peers are asked at their best batch.
    shapes = {n.input[1] for n in graph.node if n.op_type == "Reshape" and len(n.input) > 1}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            extents = numpy_helper.to_array(tensor).copy()
            if len(extents) > 1 and extents[0] == 1 and (extents[1:] > 0).all():
                extents[0] = -1
                tensor.CopyFrom(numpy_helper.from_array(extents, tensor.name))


def _onnx2pytorch() -> types.ModuleType:
    if "onnx2pytorch" in sys.modules:
        return sys.modules["onnx2pytorch"]
    # It imports torchvision for two operators that no graph here has.
    stand_ins = {name: _Anything(name) for name in ("torchvision", "torchvision.ops", "torchvision.io")}
    missing = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        return importlib.import_module("onnx2pytorch")
    finally:
        for name in missing:
            del sys.modules[name]


class _Anything(types.ModuleType):
    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
