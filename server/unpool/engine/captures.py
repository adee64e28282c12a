"""What a forward run left behind for one input: values, signs and switches, kept under a byte budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unpool.engine.geometry import Geometry

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(eq=False)
class Capture:
    """Captured tensors of one input.

    Attributes:
        geometry: the model's shapes for this input.
        images: how many images were fed at once.
        values: value name -> the whole tensor, floats as float32.
        masks: value name -> uint8, 1 where it is above zero: torch turns bytes into factors many times sooner than
            booleans.
        switches: max-pool node name -> places of the maxima inside their windows.
    """

    geometry: Geometry
    images: int
    values: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    switches: dict[str, Tensor] = field(default_factory=dict)

    def _tensors(self) -> Iterator[Tensor]:
        for group in (self.values, self.masks, self.switches):
            # A copy: another thread's walk may add a mask meanwhile.
            yield from list(group.values())

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(t.numel() * t.element_size() for t in self._tensors())

    def mask(self, name: str) -> Tensor:
        """Where a value is above zero, from its sign or from itself."""
        if name not in self.masks:
            self.masks[name] = sign(self.values[name])
        return self.masks[name]


def sign(tensor: Tensor) -> Tensor:
    """1 where a tensor is above zero, else 0; uint8, in the memory layout of the walk."""
    if tensor.device.type == "cpu" and tensor.dtype is torch.float32:
        # NumPy compares several times sooner than torch does.
        return dense(torch.from_numpy(np.greater(tensor.numpy(), 0)).view(torch.uint8))
    return dense(torch.gt(tensor, 0).view(torch.uint8))


def dense(tensor: Tensor) -> Tensor:
    """A tensor in the memory layout of the walk: channels last, so that a box's rows are runs of whole channels."""
    return tensor.contiguous(memory_format=_LAYOUTS.get(tensor.ndim, torch.contiguous_format))


class CaptureStore:
    """Captures by input digest; the least recently used go when the budget is spent."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[str, Capture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> Capture | None:
        """The capture of an input, if any is left."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def put(self, digest: str, capture: Capture) -> None:
        """Keeps a capture, or notes that it has grown; one that is larger than the whole budget is not kept."""
        with self._lock:
            if capture.nbytes > self._budget:
                self._kept.pop(digest, None)  # the others stay
                return
            self._kept[digest] = capture
            self._kept.move_to_end(digest)
            while sum(c.nbytes for c in self._kept.values()) > self._budget:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        with self._lock:
            return sum(c.nbytes for c in self._kept.values())

    def digests(self) -> Mapping[str, int]:
        """Input digest -> bytes held, oldest first."""
        with self._lock:
            return {digest: c.nbytes for digest, c in self._kept.items()}
