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

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_UNAVAILABLE: _ClassVar[ModelState]
    MODEL_STATE_AVAILABLE: _ClassVar[ModelState]
    MODEL_STATE_LOADED: _ClassVar[ModelState]

class BatchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_MODE_UNSPECIFIED: _ClassVar[BatchMode]
    BATCH_MODE_SYMBOLIC: _ClassVar[BatchMode]
    BATCH_MODE_ONE: _ClassVar[BatchMode]

class ParityState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARITY_STATE_UNSPECIFIED: _ClassVar[ParityState]
    PARITY_STATE_PENDING: _ClassVar[ParityState]
    PARITY_STATE_HOLDS: _ClassVar[ParityState]
    PARITY_STATE_DIFFERS: _ClassVar[ParityState]
    PARITY_STATE_UNKNOWN: _ClassVar[ParityState]
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_UNAVAILABLE: ModelState
MODEL_STATE_AVAILABLE: ModelState
MODEL_STATE_LOADED: ModelState
BATCH_MODE_UNSPECIFIED: BatchMode
BATCH_MODE_SYMBOLIC: BatchMode
BATCH_MODE_ONE: BatchMode
PARITY_STATE_UNSPECIFIED: ParityState
PARITY_STATE_PENDING: ParityState
PARITY_STATE_HOLDS: ParityState
PARITY_STATE_DIFFERS: ParityState
PARITY_STATE_UNKNOWN: ParityState

class ModelVersion(_message.Message):
    __slots__ = ("version", "state", "reason")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: ModelState
    reason: str
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[ModelState, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "versions", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    reason: str
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., reason: _Optional[str] = ...) -> None: ...

class OperatorSet(_message.Message):
    __slots__ = ("domain", "version")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    domain: str
    version: int
    def __init__(self, domain: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class OperatorCount(_message.Message):
    __slots__ = ("domain", "type", "count")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    domain: str
    type: str
    count: int
    def __init__(self, domain: _Optional[str] = ..., type: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Parity(_message.Message):
    __slots__ = ("state", "output", "difference", "tolerance", "borrowed_nodes", "reason", "inside")
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    BORROWED_NODES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    INSIDE_FIELD_NUMBER: _ClassVar[int]
    state: ParityState
    output: str
    difference: float
    tolerance: float
    borrowed_nodes: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    inside: str
    def __init__(self, state: _Optional[_Union[ParityState, str]] = ..., output: _Optional[str] = ..., difference: _Optional[float] = ..., tolerance: _Optional[float] = ..., borrowed_nodes: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., inside: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "digest", "inputs", "outputs", "picture_input", "operator_sets", "operators", "batch", "providers", "device", "preprocessing", "label_count", "policies", "layer_count", "parameter_count", "producer", "warnings", "parity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PICTURE_INPUT_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_SETS_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorInfo]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorInfo]
    picture_input: str
    operator_sets: _containers.RepeatedCompositeFieldContainer[OperatorSet]
    operators: _containers.RepeatedCompositeFieldContainer[OperatorCount]
    batch: BatchMode
    providers: _containers.RepeatedScalarFieldContainer[str]
    device: str
    preprocessing: _input_pb2.Preprocessing
    label_count: int
    policies: _containers.RepeatedScalarFieldContainer[_policy_pb2.Policy]
    layer_count: int
    parameter_count: int
    producer: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    parity: Parity
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorInfo, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorInfo, _Mapping]]] = ..., picture_input: _Optional[str] = ..., operator_sets: _Optional[_Iterable[_Union[OperatorSet, _Mapping]]] = ..., operators: _Optional[_Iterable[_Union[OperatorCount, _Mapping]]] = ..., batch: _Optional[_Union[BatchMode, str]] = ..., providers: _Optional[_Iterable[str]] = ..., device: _Optional[str] = ..., preprocessing: _Optional[_Union[_input_pb2.Preprocessing, _Mapping]] = ..., label_count: _Optional[int] = ..., policies: _Optional[_Iterable[_Union[_policy_pb2.Policy, str]]] = ..., layer_count: _Optional[int] = ..., parameter_count: _Optional[int] = ..., producer: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., parity: _Optional[_Union[Parity, _Mapping]] = ...) -> None: ...

class AxisField(_message.Message):
    __slots__ = ("size", "stride", "offset", "whole")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    size: int
    stride: float
    offset: float
    whole: bool
    def __init__(self, size: _Optional[int] = ..., stride: _Optional[float] = ..., offset: _Optional[float] = ..., whole: bool = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "alias", "more_aliases", "node", "op_type", "dtype", "axes", "channels", "receptive_field", "is_output", "switches")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    MORE_ALIASES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    OP_TYPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    RECEPTIVE_FIELD_FIELD_NUMBER: _ClassVar[int]
    IS_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    SWITCHES_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    more_aliases: _containers.RepeatedScalarFieldContainer[str]
    node: str
    op_type: str
    dtype: _tensor_pb2.DataType
    axes: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Axis]
    channels: int
    receptive_field: _containers.RepeatedCompositeFieldContainer[AxisField]
    is_output: bool
    switches: int
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., more_aliases: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., op_type: _Optional[str] = ..., dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., axes: _Optional[_Iterable[_Union[_tensor_pb2.Axis, _Mapping]]] = ..., channels: _Optional[int] = ..., receptive_field: _Optional[_Iterable[_Union[AxisField, _Mapping]]] = ..., is_output: bool = ..., switches: _Optional[int] = ...) -> None: ...
