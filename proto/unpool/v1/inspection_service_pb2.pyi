from unpool.v1 import input_pb2 as _input_pb2
from unpool.v1 import inspection_pb2 as _inspection_pb2
from unpool.v1 import occlusion_pb2 as _occlusion_pb2
from unpool.v1 import policy_pb2 as _policy_pb2
from unpool.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "input", "top_k", "output", "probability")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    input: _input_pb2.Input
    top_k: int
    output: str
    probability: bool
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., top_k: _Optional[int] = ..., output: _Optional[str] = ..., probability: bool = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("provenance", "geometry", "output", "classes", "probability", "warnings")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    provenance: _input_pb2.Provenance
    geometry: _input_pb2.InputGeometry
    output: str
    classes: _containers.RepeatedCompositeFieldContainer[_inspection_pb2.ClassScore]
    probability: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provenance: _Optional[_Union[_input_pb2.Provenance, _Mapping]] = ..., geometry: _Optional[_Union[_input_pb2.InputGeometry, _Mapping]] = ..., output: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[_inspection_pb2.ClassScore, _Mapping]]] = ..., probability: bool = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class CaptureRequest(_message.Message):
    __slots__ = ("model", "input", "layers", "chunk_bytes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    input: _input_pb2.Input
    layers: _containers.RepeatedScalarFieldContainer[str]
    chunk_bytes: int
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., layers: _Optional[_Iterable[str]] = ..., chunk_bytes: _Optional[int] = ...) -> None: ...

class CaptureResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: _inspection_pb2.CaptureHeader
    chunk: _inspection_pb2.CaptureChunk
    def __init__(self, header: _Optional[_Union[_inspection_pb2.CaptureHeader, _Mapping]] = ..., chunk: _Optional[_Union[_inspection_pb2.CaptureChunk, _Mapping]] = ...) -> None: ...

class ProjectRequest(_message.Message):
    __slots__ = ("model", "input", "layer", "channels", "top", "position_mode", "positions", "policy", "start", "start_value", "to", "render", "omit_signal", "top_against")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    POSITION_MODE_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    START_VALUE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    OMIT_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TOP_AGAINST_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    input: _input_pb2.Input
    layer: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    top: int
    position_mode: _inspection_pb2.PositionMode
    positions: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Position]
    policy: _policy_pb2.Policy
    start: _inspection_pb2.Start
    start_value: float
    to: str
    render: _inspection_pb2.RenderOptions
    omit_signal: bool
    top_against: str
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., layer: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ..., top: _Optional[int] = ..., position_mode: _Optional[_Union[_inspection_pb2.PositionMode, str]] = ..., positions: _Optional[_Iterable[_Union[_tensor_pb2.Position, _Mapping]]] = ..., policy: _Optional[_Union[_policy_pb2.Policy, str]] = ..., start: _Optional[_Union[_inspection_pb2.Start, str]] = ..., start_value: _Optional[float] = ..., to: _Optional[str] = ..., render: _Optional[_Union[_inspection_pb2.RenderOptions, _Mapping]] = ..., omit_signal: bool = ..., top_against: _Optional[str] = ...) -> None: ...

class ProjectResponse(_message.Message):
    __slots__ = ("header", "batch")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    header: _inspection_pb2.ProjectHeader
    batch: _inspection_pb2.ProjectionBatch
    def __init__(self, header: _Optional[_Union[_inspection_pb2.ProjectHeader, _Mapping]] = ..., batch: _Optional[_Union[_inspection_pb2.ProjectionBatch, _Mapping]] = ...) -> None: ...
