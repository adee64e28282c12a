"""The model's constants as torch tensors, made when first asked for and then kept."""

from __future__ import annotations

import warnings

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

    def clear(self) -> None:
        """Lets go of them all; what is asked for again is made again."""
        self._kept.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._graph.constants

    def __getitem__(self, name: str) -> Tensor:
        found = self._kept.get(name)
        if found is None:
            with torch.inference_mode(False):
                array = self._graph.constants[name].numpy()
                if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
                    array = array.astype(np.float32, copy=False)
                    tensor = dense(_tensor(array).to(self._device))
                else:
                    tensor = _tensor(array)
                # Of two threads that come at once, both take what the first one made.
                found = self._kept.setdefault(name, tensor)
        return found


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "not writable": nothing here writes
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
