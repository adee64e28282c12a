"""A second route to every derivative: a third party's translation of the file to PyTorch, and autograd.

onnx2pytorch imports torchvision for one operator that none of the models has; a stand-in takes its place meanwhile.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn


def convert(model: onnx.ModelProto, names: Sequence[str]) -> nn.Module:
    """The model in PyTorch, float64, giving ``names`` as a tuple; rectifiers are `nn.ReLU` modules.

    Raises:
        Exception: whatever onnx2pytorch raises on a model that it does not convert.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    _cut(tapped.graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _converter()(tapped).eval().double()


def gradients(
    module: nn.Module, feeds: Mapping[str, npt.NDArray[np.floating]], of: str, unit: tuple[int, ...], start: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The gradient of one element of the module's first output, and that output.

    Args:
        module: from `convert`.
        feeds: input name -> array.
        of: the input that the gradient is for.
        unit: index of the element.
        start: what the signal begins with there.
    """
    inputs = {name: torch.from_numpy(array).double() for name, array in feeds.items()}
    inputs[of].requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = module(**inputs)
    output = found[0] if isinstance(found, tuple | list) else found
    seed = torch.zeros_like(output)
    seed[unit] = start
    (gradient,) = torch.autograd.grad(output, inputs[of], seed)
    return gradient.numpy(), output.detach().numpy()


def replace_rectifiers(module: nn.Module, policy: str) -> int:
    """Puts a policy's rectifier in the place of every `nn.ReLU`; gives their number."""
    count = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, _Rectifier(policy))
                count += 1
    return count


class _Rectifier(nn.ReLU):
    def __init__(self, policy: str) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Replaced.apply(x, self.policy)
        return found


class _Replaced(torch.autograd.Function):
    """Forward of a ReLU; backward of Zeiler & Fergus 2013 or of Springenberg et al. 2014."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, policy: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.policy = policy  # type: ignore[attr-defined]
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, signal: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        signal = signal.clamp(min=0)
        return (signal * (x > 0) if ctx.policy == "guided" else signal), None  # type: ignore[attr-defined]


def _cut(graph: onnx.GraphProto) -> None:
    """Leaves away what no output needs; constants become initialisers, which onnx2pytorch asks weights to be."""
    needed = {o.name for o in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.intersection(node.output):
            continue
        needed.update(node.input)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weight = graph.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def _converter() -> type[nn.Module]:
    if "onnx2pytorch" not in sys.modules:
        stand_ins = {name: MagicMock() for name in ("torchvision", "torchvision.ops", "torchvision.io")}
        known = {name: sys.modules.get(name) for name in stand_ins}
        sys.modules.update(stand_ins)
        try:
            import onnx2pytorch
        finally:
            for name, module in known.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
    import onnx2pytorch

    found: type[nn.Module] = onnx2pytorch.ConvertModel
    return found
