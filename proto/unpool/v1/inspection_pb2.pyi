from unpool.v1 import input_pb2 as _input_pb2
from unpool.v1 import policy_pb2 as _policy_pb2
from unpool.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PositionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSITION_MODE_UNSPECIFIED: _ClassVar[PositionMode]
    POSITION_MODE_MAX: _ClassVar[PositionMode]
    POSITION_MODE_ALL: _ClassVar[PositionMode]
    POSITION_MODE_EXPLICIT: _ClassVar[PositionMode]
    POSITION_MODE_MAP: _ClassVar[PositionMode]

class Start(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    START_UNSPECIFIED: _ClassVar[Start]
    START_ACTIVATION: _ClassVar[Start]
    START_ONE: _ClassVar[Start]
    START_VALUE: _ClassVar[Start]
POSITION_MODE_UNSPECIFIED: PositionMode
POSITION_MODE_MAX: PositionMode
POSITION_MODE_ALL: PositionMode
POSITION_MODE_EXPLICIT: PositionMode
POSITION_MODE_MAP: PositionMode
START_UNSPECIFIED: Start
START_ACTIVATION: Start
START_ONE: Start
START_VALUE: Start

class ClassScore(_message.Message):
    __slots__ = ("index", "label", "score")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    score: float
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class CaptureHeader(_message.Message):
    __slots__ = ("provenance", "geometry", "layers", "warnings")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    provenance: _input_pb2.Provenance
    geometry: _input_pb2.InputGeometry
    layers: _containers.RepeatedCompositeFieldContainer[CapturedLayer]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provenance: _Optional[_Union[_input_pb2.Provenance, _Mapping]] = ..., geometry: _Optional[_Union[_input_pb2.InputGeometry, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[CapturedLayer, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class CapturedLayer(_message.Message):
    __slots__ = ("name", "alias", "dtype", "shape", "roles", "byte_size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    BYTE_SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    dtype: _tensor_pb2.DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    roles: _containers.RepeatedScalarFieldContainer[_tensor_pb2.AxisRole]
    byte_size: int
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., roles: _Optional[_Iterable[_Union[_tensor_pb2.AxisRole, str]]] = ..., byte_size: _Optional[int] = ...) -> None: ...

class CaptureChunk(_message.Message):
    __slots__ = ("layer", "index", "byte_offset", "data", "last")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BYTE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    byte_offset: int
    data: bytes
    last: bool
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ..., byte_offset: _Optional[int] = ..., data: _Optional[bytes] = ..., last: bool = ...) -> None: ...

class RenderOptions(_message.Message):
    __slots__ = ("gain", "magnitude", "zoom")
    GAIN_FIELD_NUMBER: _ClassVar[int]
    MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    ZOOM_FIELD_NUMBER: _ClassVar[int]
    gain: float
    magnitude: float
    zoom: int
    def __init__(self, gain: _Optional[float] = ..., magnitude: _Optional[float] = ..., zoom: _Optional[int] = ...) -> None: ...

class FallbackNode(_message.Message):
    __slots__ = ("node", "op_type")
    NODE_FIELD_NUMBER: _ClassVar[int]
    OP_TYPE_FIELD_NUMBER: _ClassVar[int]
    node: str
    op_type: str
    def __init__(self, node: _Optional[str] = ..., op_type: _Optional[str] = ...) -> None: ...

class ProjectHeader(_message.Message):
    __slots__ = ("provenance", "geometry", "layer", "alias", "shape", "roles", "policy", "start", "start_value", "position_mode", "to", "to_plane", "to_channels", "total", "fallbacks", "switches", "warnings")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    START_VALUE_FIELD_NUMBER: _ClassVar[int]
    POSITION_MODE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    TO_PLANE_FIELD_NUMBER: _ClassVar[int]
    TO_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    SWITCHES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    provenance: _input_pb2.Provenance
    geometry: _input_pb2.InputGeometry
    layer: str
    alias: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    roles: _containers.RepeatedScalarFieldContainer[_tensor_pb2.AxisRole]
    policy: _policy_pb2.Policy
    start: Start
    start_value: float
    position_mode: PositionMode
    to: str
    to_plane: _containers.RepeatedScalarFieldContainer[int]
    to_channels: int
    total: int
    fallbacks: _containers.RepeatedCompositeFieldContainer[FallbackNode]
    switches: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provenance: _Optional[_Union[_input_pb2.Provenance, _Mapping]] = ..., geometry: _Optional[_Union[_input_pb2.InputGeometry, _Mapping]] = ..., layer: _Optional[str] = ..., alias: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., roles: _Optional[_Iterable[_Union[_tensor_pb2.AxisRole, str]]] = ..., policy: _Optional[_Union[_policy_pb2.Policy, str]] = ..., start: _Optional[_Union[Start, str]] = ..., start_value: _Optional[float] = ..., position_mode: _Optional[_Union[PositionMode, str]] = ..., to: _Optional[str] = ..., to_plane: _Optional[_Iterable[int]] = ..., to_channels: _Optional[int] = ..., total: _Optional[int] = ..., fallbacks: _Optional[_Iterable[_Union[FallbackNode, _Mapping]]] = ..., switches: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Projection(_message.Message):
    __slots__ = ("index", "layer", "channel", "channel_label", "position", "activation", "rank_value", "start_value", "start_not_positive", "all_zero", "box", "picture_box", "signal", "png", "png_magnitude", "completed", "standing")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_LABEL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    RANK_VALUE_FIELD_NUMBER: _ClassVar[int]
    START_VALUE_FIELD_NUMBER: _ClassVar[int]
    START_NOT_POSITIVE_FIELD_NUMBER: _ClassVar[int]
    ALL_ZERO_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    PICTURE_BOX_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    PNG_MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    index: int
    layer: str
    channel: int
    channel_label: str
    position: _tensor_pb2.Position
    activation: float
    rank_value: float
    start_value: float
    start_not_positive: bool
    all_zero: bool
    box: _tensor_pb2.Box
    picture_box: _tensor_pb2.Box
    signal: _tensor_pb2.Tensor
    png: bytes
    png_magnitude: float
    completed: int
    standing: float
    def __init__(self, index: _Optional[int] = ..., layer: _Optional[str] = ..., channel: _Optional[int] = ..., channel_label: _Optional[str] = ..., position: _Optional[_Union[_tensor_pb2.Position, _Mapping]] = ..., activation: _Optional[float] = ..., rank_value: _Optional[float] = ..., start_value: _Optional[float] = ..., start_not_positive: bool = ..., all_zero: bool = ..., box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ..., picture_box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ..., signal: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., png: _Optional[bytes] = ..., png_magnitude: _Optional[float] = ..., completed: _Optional[int] = ..., standing: _Optional[float] = ...) -> None: ...

class ProjectionBatch(_message.Message):
    __slots__ = ("projections",)
    PROJECTIONS_FIELD_NUMBER: _ClassVar[int]
    projections: _containers.RepeatedCompositeFieldContainer[Projection]
    def __init__(self, projections: _Optional[_Iterable[_Union[Projection, _Mapping]]] = ...) -> None: ...
