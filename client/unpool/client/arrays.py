"""NumPy arrays to messages and back."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from unpool.client.errors import InvalidArgumentError, ServerError
from unpool.v1 import tensor_pb2

_NUMPY: dict[int, str] = {
    tensor_pb2.DATA_TYPE_FLOAT32: "<f4",
    tensor_pb2.DATA_TYPE_FLOAT64: "<f8",
    tensor_pb2.DATA_TYPE_FLOAT16: "<f2",
    tensor_pb2.DATA_TYPE_BFLOAT16: "<u2",
    tensor_pb2.DATA_TYPE_INT8: "|i1",
    tensor_pb2.DATA_TYPE_INT16: "<i2",
    tensor_pb2.DATA_TYPE_INT32: "<i4",
    tensor_pb2.DATA_TYPE_INT64: "<i8",
    tensor_pb2.DATA_TYPE_UINT8: "|u1",
    tensor_pb2.DATA_TYPE_UINT16: "<u2",
    tensor_pb2.DATA_TYPE_UINT32: "<u4",
    tensor_pb2.DATA_TYPE_UINT64: "<u8",
    tensor_pb2.DATA_TYPE_BOOL: "|b1",
}
_BY_NAME = {
    tensor_pb2.DataType.Name(number).removeprefix("DATA_TYPE_").lower(): tensor_pb2.DataType.Name(number)
    for number in _NUMPY
}


def dtype_name(dtype: int) -> str:
    """Name of an element type in NumPy's words, such as ``float32`` or ``bfloat16``."""
    return tensor_pb2.DataType.Name(dtype).removeprefix("DATA_TYPE_").lower()


def item_size(dtype: int) -> int:
    """Bytes of one element.

    Raises:
        ServerError: no tensor of this type travels.
    """
    if dtype not in _NUMPY:
        raise ServerError(f"the server sent a tensor of the unknown element type {dtype}")
    return np.dtype(_NUMPY[dtype]).itemsize


def to_message(array: npt.ArrayLike, field: str) -> tensor_pb2.Tensor:
    """Packs an array, of any byte order and memory layout, with its dtype as it is.

    Raises:
        InvalidArgumentError: its element type cannot travel; ``field`` is named.
    """
    values = np.asarray(array)
    dtype = _BY_NAME.get(values.dtype.name)
    if dtype is None:
        raise InvalidArgumentError(
            f"arrays of {values.dtype.name} cannot be sent; one of {', '.join(_BY_NAME)} can", field=field
        )
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return tensor_pb2.Tensor(dtype=dtype, shape=values.shape, data=little.tobytes())


def from_bytes(dtype: int, shape: tuple[int, ...], data: bytes | bytearray) -> npt.NDArray[np.generic]:
    """Unpacks an array in native byte order; bfloat16, which NumPy lacks, becomes float32 without loss.

    Raises:
        ServerError: type, shape and length do not agree.
    """
    if len(data) != math.prod(shape) * item_size(dtype):
        raise ServerError(f"the server sent {len(data)} bytes for {dtype_name(dtype)} {list(shape)}")
    values: npt.NDArray[np.generic] = np.frombuffer(data, dtype=_NUMPY[dtype]).reshape(shape)
    if dtype == tensor_pb2.DATA_TYPE_BFLOAT16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def from_message(tensor: tensor_pb2.Tensor) -> npt.NDArray[np.generic]:
    """Unpacks an array; read-only.

    Raises:
        ServerError: type, shape and length do not agree.
    """
    return from_bytes(tensor.dtype, tuple(tensor.shape), tensor.data)
