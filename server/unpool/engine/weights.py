"""The model's constants as torch tensors, made when first asked for and then kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unpool.engine.captures import dense
from unpool.graph.model import Graph


class Weights:
    """Constants of one model on one device.

    Floats of any width become float32 on the device; everything else (amounts, shapes, indices) stays on the CPU as it
    is. Never made under ``inference_mode``: autograd could not save them for backward.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self._graph = graph
        self._device = device
        self._kept: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._graph.constants

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._kept:
            with torch.inference_mode(False):
                array = self._graph.constants[name].numpy()
                if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
                    array = array.astype(np.float32, copy=False)
                    if not array.flags.writeable:  # a view of the file's bytes: torch only warns about it
                        array = array.view()
                    tensor = dense(_tensor(array).to(self._device))
                else:
                    tensor = _tensor(array)
                self._kept[name] = tensor
        return self._kept[name]


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "not writable": nothing here writes
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
