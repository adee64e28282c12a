"""The contract's enumerations and arrays, and what stands for them in Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import ml_dtypes
import numpy as np

from unpool.engine.policies import Policy
from unpool.graph.errors import InvalidArgumentError, PreconditionError
from unpool.graph.model import Array, Axis, AxisKind, Dim
from unpool.methods.requests import Positions, Start
from unpool.repository import ChannelOrder, State
from unpool.v1 import input_pb2, inspection_pb2, model_pb2, policy_pb2, tensor_pb2

_MOST_AXES = 32

DTYPES: Mapping[tensor_pb2.DataType, np.dtype[np.generic]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    tensor_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    tensor_pb2.DATA_TYPE_INT8: np.dtype("i1"),
    tensor_pb2.DATA_TYPE_INT16: np.dtype("<i2"),
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_UINT16: np.dtype("<u2"),
    tensor_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
    tensor_pb2.DATA_TYPE_UINT64: np.dtype("<u8"),
    tensor_pb2.DATA_TYPE_BOOL: np.dtype("?"),
}
_NAMES = {dtype.name: number for number, dtype in DTYPES.items()} | {"str": tensor_pb2.DATA_TYPE_STRING}

POLICIES: Mapping[policy_pb2.Policy, Policy] = {
    policy_pb2.POLICY_DECONVNET: Policy.DECONVNET,
    policy_pb2.POLICY_GUIDED: Policy.GUIDED,
    policy_pb2.POLICY_GRADIENT: Policy.GRADIENT,
}
POLICY_NUMBERS = {policy: number for number, policy in POLICIES.items()}

STARTS: Mapping[inspection_pb2.Start, Start] = {
    inspection_pb2.START_UNSPECIFIED: Start.DEFAULT,
    inspection_pb2.START_ACTIVATION: Start.ACTIVATION,
    inspection_pb2.START_ONE: Start.ONE,
    inspection_pb2.START_VALUE: Start.VALUE,
}
START_NUMBERS = {start: number for number, start in STARTS.items()}

POSITION_MODES: Mapping[inspection_pb2.PositionMode, Positions] = {
    inspection_pb2.POSITION_MODE_MAX: Positions.MAX,
    inspection_pb2.POSITION_MODE_ALL: Positions.ALL,
    inspection_pb2.POSITION_MODE_MAP: Positions.MAP,
}
POSITION_MODE_NUMBERS = {mode: number for number, mode in POSITION_MODES.items()}

CHANNEL_ORDERS: Mapping[ChannelOrder | None, input_pb2.ChannelOrder] = {
    None: input_pb2.CHANNEL_ORDER_UNSPECIFIED,
    ChannelOrder.RGB: input_pb2.CHANNEL_ORDER_RGB,
    ChannelOrder.BGR: input_pb2.CHANNEL_ORDER_BGR,
    ChannelOrder.GRAY: input_pb2.CHANNEL_ORDER_GRAY,
}
STATES: Mapping[State, model_pb2.ModelState] = {
    State.UNAVAILABLE: model_pb2.MODEL_STATE_UNAVAILABLE,
    State.AVAILABLE: model_pb2.MODEL_STATE_AVAILABLE,
    State.LOADED: model_pb2.MODEL_STATE_LOADED,
}
ROLES: Mapping[AxisKind, tensor_pb2.AxisRole] = {
    AxisKind.BATCH: tensor_pb2.AXIS_ROLE_BATCH,
    AxisKind.CHANNEL: tensor_pb2.AXIS_ROLE_CHANNEL,
    AxisKind.SPATIAL: tensor_pb2.AXIS_ROLE_SPATIAL,
    AxisKind.OTHER: tensor_pb2.AXIS_ROLE_OTHER,
}


def dtype_number(name: str) -> tensor_pb2.DataType:
    """The contract's number of a NumPy dtype name; unspecified for one that it does not have."""
    return _NAMES.get(name, tensor_pb2.DATA_TYPE_UNSPECIFIED)


def read_tensor(tensor: tensor_pb2.Tensor, field: str) -> Array:
    """The array in a tensor message, read only.

    Raises:
        InvalidArgumentError: no or an unknown dtype, a negative extent, or data of another length than they say.
    """
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        known = ", ".join(tensor_pb2.DataType.Name(number) for number in DTYPES)
        raise InvalidArgumentError(f"{field}.dtype", f"is {_enum_text(tensor.dtype)}; tensors travel as one of {known}")
    shape = tuple(tensor.shape)
    if len(shape) > _MOST_AXES or any(extent < 0 for extent in shape):
        raise InvalidArgumentError(
            f"{field}.shape", f"is {shape[:_MOST_AXES]}; extents are 0 or more, of at most {_MOST_AXES} axes"
        )
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(tensor.data):
        raise InvalidArgumentError(
            f"{field}.data", f"holds {len(tensor.data)} bytes; shape {shape} of {dtype.name} takes {wanted}"
        )
    array = np.frombuffer(tensor.data, dtype).reshape(shape)
    # The engine's own check knows NumPy's floats only.
    if dtype.kind not in "fiub" and not np.isfinite(array.astype(np.float32)).all():
        raise InvalidArgumentError(field, "holds NaN or infinity")
    return array.astype(dtype.newbyteorder("="), copy=False)


def fill_tensor(message: tensor_pb2.Tensor, array: Array) -> None:
    """An array as a tensor message that stands in another already, which saves a copy of the values.

    Raises:
        PreconditionError: a dtype that does not travel.
    """
    number = dtype_number(array.dtype.name)
    if number not in DTYPES:
        raise PreconditionError(f"values of dtype {array.dtype.name} cannot be sent")
    little = np.asarray(array, DTYPES[number], order="C")
    message.dtype = number
    message.shape.extend(array.shape)
    message.data = little.tobytes()


def write_axes(shape: tuple[Dim, ...] | None, axes: Iterable[Axis]) -> list[tensor_pb2.Axis]:
    """Labelled extents; none where the rank is unknown."""
    found = []
    for extent, axis in zip(shape or (), axes, strict=False):
        message = tensor_pb2.Axis(
            role=ROLES[axis.kind], spatial_index=axis.index if axis.kind is AxisKind.SPATIAL else 0
        )
        if isinstance(extent, int):
            message.size = extent
        else:
            message.symbol = extent or ""
        found.append(message)
    return found


def _enum_text(number: int) -> str:
    try:
        return tensor_pb2.DataType.Name(number)
    except ValueError:
        return f"the unknown number {number}"
