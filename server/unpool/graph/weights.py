"""Constants of the frozen view: weights that are made when first asked for."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx_ir as ir

from unpool.graph.evaluation import UnevaluableError, evaluate
from unpool.graph.model import Array, Attribute, Constant


class Stored:
    """An initialiser of the file."""

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        self._tensor = tensor

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._tensor.shape.numpy())

    @cached_property
    def dtype(self) -> str:
        return "str" if self._tensor.dtype is ir.DataType.STRING else self._tensor.dtype.numpy().name

    def numpy(self) -> Array:
        return _read_only(self._tensor.numpy())


class Computed:
    """A value computed from constants only: made on demand, kept from then on."""

    __slots__ = ("_array", "_attributes", "_inputs", "_lock", "_op_type", "_output", "dtype", "shape")

    def __init__(
        self,
        op_type: str,
        attributes: Mapping[str, Attribute],
        inputs: Sequence[Constant | None],
        output: int,
        shape: tuple[int, ...],
        dtype: str,
    ) -> None:
        self._op_type = op_type
        self._attributes = attributes
        self._inputs = tuple(inputs)
        self._output = output
        self._array: Array | None = None
        self._lock = threading.Lock()
        self.shape = shape
        self.dtype = dtype

    def numpy(self) -> Array:
        with self._lock:
            if self._array is None:
                self._array = _read_only(self._make())
            return self._array

    def _make(self) -> Array:
        found = evaluate(self._op_type, self._attributes, [None if c is None else c.numpy() for c in self._inputs])
        result = found[self._output]
        if result.shape != self.shape:
            raise UnevaluableError(f"{self._op_type} gave shape {result.shape} where {self.shape} was inferred")
        return result

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def _read_only(array: Array) -> Array:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
