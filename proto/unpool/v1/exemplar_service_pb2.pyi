from unpool.v1 import exemplar_pb2 as _exemplar_pb2
from unpool.v1 import input_pb2 as _input_pb2
from unpool.v1 import inspection_pb2 as _inspection_pb2
from unpool.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScanExemplarsRequest(_message.Message):
    __slots__ = ("model", "dataset", "layers", "k", "places")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    dataset: str
    layers: _containers.RepeatedScalarFieldContainer[str]
    k: int
    places: int
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., dataset: _Optional[str] = ..., layers: _Optional[_Iterable[str]] = ..., k: _Optional[int] = ..., places: _Optional[int] = ...) -> None: ...

class ScanExemplarsResponse(_message.Message):
    __slots__ = ("header", "progress", "summary")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    header: _exemplar_pb2.ScanHeader
    progress: _exemplar_pb2.ScanProgress
    summary: _exemplar_pb2.ScanSummary
    def __init__(self, header: _Optional[_Union[_exemplar_pb2.ScanHeader, _Mapping]] = ..., progress: _Optional[_Union[_exemplar_pb2.ScanProgress, _Mapping]] = ..., summary: _Optional[_Union[_exemplar_pb2.ScanSummary, _Mapping]] = ...) -> None: ...

class ListExemplarsRequest(_message.Message):
    __slots__ = ("model", "dataset", "layer", "channels", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    dataset: str
    layer: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., dataset: _Optional[str] = ..., layer: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExemplarsResponse(_message.Message):
    __slots__ = ("scan", "layer", "alias", "channels", "next_page_token")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    scan: _exemplar_pb2.ScanDescription
    layer: str
    alias: str
    channels: _containers.RepeatedCompositeFieldContainer[_exemplar_pb2.ChannelExemplars]
    next_page_token: str
    def __init__(self, scan: _Optional[_Union[_exemplar_pb2.ScanDescription, _Mapping]] = ..., layer: _Optional[str] = ..., alias: _Optional[str] = ..., channels: _Optional[_Iterable[_Union[_exemplar_pb2.ChannelExemplars, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPatchRequest(_message.Message):
    __slots__ = ("model", "dataset", "layer", "channel", "place")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    dataset: str
    layer: str
    channel: int
    place: int
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., dataset: _Optional[str] = ..., layer: _Optional[str] = ..., channel: _Optional[int] = ..., place: _Optional[int] = ...) -> None: ...

class GetPatchResponse(_message.Message):
    __slots__ = ("exemplar", "png")
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    exemplar: _exemplar_pb2.Exemplar
    png: bytes
    def __init__(self, exemplar: _Optional[_Union[_exemplar_pb2.Exemplar, _Mapping]] = ..., png: _Optional[bytes] = ...) -> None: ...

class ProjectExemplarsRequest(_message.Message):
    __slots__ = ("model", "dataset", "layer", "channels", "count", "policy", "render", "omit_signal", "omit_patch")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    OMIT_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OMIT_PATCH_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    dataset: str
    layer: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    count: int
    policy: _policy_pb2.Policy
    render: _inspection_pb2.RenderOptions
    omit_signal: bool
    omit_patch: bool
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., dataset: _Optional[str] = ..., layer: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., policy: _Optional[_Union[_policy_pb2.Policy, str]] = ..., render: _Optional[_Union[_inspection_pb2.RenderOptions, _Mapping]] = ..., omit_signal: bool = ..., omit_patch: bool = ...) -> None: ...

class ProjectExemplarsResponse(_message.Message):
    __slots__ = ("header", "exemplar")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    header: _inspection_pb2.ProjectHeader
    exemplar: _exemplar_pb2.ProjectedExemplar
    def __init__(self, header: _Optional[_Union[_inspection_pb2.ProjectHeader, _Mapping]] = ..., exemplar: _Optional[_Union[_exemplar_pb2.ProjectedExemplar, _Mapping]] = ...) -> None: ...

class TraceEvolutionRequest(_message.Message):
    __slots__ = ("model", "versions", "dataset", "layer", "channels", "policy", "omit_signal")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OMIT_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    model: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    dataset: str
    layer: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    policy: _policy_pb2.Policy
    omit_signal: bool
    def __init__(self, model: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ..., dataset: _Optional[str] = ..., layer: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ..., policy: _Optional[_Union[_policy_pb2.Policy, str]] = ..., omit_signal: bool = ...) -> None: ...

class TraceEvolutionResponse(_message.Message):
    __slots__ = ("header", "progress", "step", "settling")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    header: _exemplar_pb2.EvolutionHeader
    progress: _exemplar_pb2.EvolutionProgress
    step: _exemplar_pb2.EvolutionStep
    settling: _exemplar_pb2.LayerSettling
    def __init__(self, header: _Optional[_Union[_exemplar_pb2.EvolutionHeader, _Mapping]] = ..., progress: _Optional[_Union[_exemplar_pb2.EvolutionProgress, _Mapping]] = ..., step: _Optional[_Union[_exemplar_pb2.EvolutionStep, _Mapping]] = ..., settling: _Optional[_Union[_exemplar_pb2.LayerSettling, _Mapping]] = ...) -> None: ...

class ComparedSide(_message.Message):
    __slots__ = ("model", "layer", "channels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    layer: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., layer: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ...) -> None: ...

class CompareExemplarsRequest(_message.Message):
    __slots__ = ("sides", "dataset", "match", "count", "policy", "omit_signal")
    SIDES_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OMIT_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    sides: _containers.RepeatedCompositeFieldContainer[ComparedSide]
    dataset: str
    match: bool
    count: int
    policy: _policy_pb2.Policy
    omit_signal: bool
    def __init__(self, sides: _Optional[_Iterable[_Union[ComparedSide, _Mapping]]] = ..., dataset: _Optional[str] = ..., match: bool = ..., count: _Optional[int] = ..., policy: _Optional[_Union[_policy_pb2.Policy, str]] = ..., omit_signal: bool = ...) -> None: ...

class CompareExemplarsResponse(_message.Message):
    __slots__ = ("header", "progress", "feature", "exemplar")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    header: _exemplar_pb2.CompareHeader
    progress: _exemplar_pb2.CompareProgress
    feature: _exemplar_pb2.ComparedFeature
    exemplar: _exemplar_pb2.ComparedExemplar
    def __init__(self, header: _Optional[_Union[_exemplar_pb2.CompareHeader, _Mapping]] = ..., progress: _Optional[_Union[_exemplar_pb2.CompareProgress, _Mapping]] = ..., feature: _Optional[_Union[_exemplar_pb2.ComparedFeature, _Mapping]] = ..., exemplar: _Optional[_Union[_exemplar_pb2.ComparedExemplar, _Mapping]] = ...) -> None: ...
