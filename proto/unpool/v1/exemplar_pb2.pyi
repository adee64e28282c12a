from unpool.v1 import input_pb2 as _input_pb2
from unpool.v1 import inspection_pb2 as _inspection_pb2
from unpool.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScanPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCAN_PHASE_UNSPECIFIED: _ClassVar[ScanPhase]
    SCAN_PHASE_IMAGES: _ClassVar[ScanPhase]
    SCAN_PHASE_POSITIONS: _ClassVar[ScanPhase]
SCAN_PHASE_UNSPECIFIED: ScanPhase
SCAN_PHASE_IMAGES: ScanPhase
SCAN_PHASE_POSITIONS: ScanPhase

class ScanDescription(_message.Message):
    __slots__ = ("model", "version", "digest", "dataset", "fingerprint", "records", "layers", "k", "places", "preprocessing")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    digest: str
    dataset: str
    fingerprint: str
    records: int
    layers: _containers.RepeatedScalarFieldContainer[str]
    k: int
    places: int
    preprocessing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., dataset: _Optional[str] = ..., fingerprint: _Optional[str] = ..., records: _Optional[int] = ..., layers: _Optional[_Iterable[str]] = ..., k: _Optional[int] = ..., places: _Optional[int] = ..., preprocessing: _Optional[_Iterable[str]] = ...) -> None: ...

class ScanHeader(_message.Message):
    __slots__ = ("scan", "done", "complete")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    scan: ScanDescription
    done: int
    complete: bool
    def __init__(self, scan: _Optional[_Union[ScanDescription, _Mapping]] = ..., done: _Optional[int] = ..., complete: bool = ...) -> None: ...

class ScanProgress(_message.Message):
    __slots__ = ("phase", "done", "total", "skipped", "rate", "remaining_seconds")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    phase: ScanPhase
    done: int
    total: int
    skipped: int
    rate: float
    remaining_seconds: float
    def __init__(self, phase: _Optional[_Union[ScanPhase, str]] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., skipped: _Optional[int] = ..., rate: _Optional[float] = ..., remaining_seconds: _Optional[float] = ...) -> None: ...

class SkippedRecord(_message.Message):
    __slots__ = ("index", "key", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    key: str
    reason: str
    def __init__(self, index: _Optional[int] = ..., key: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ScanSummary(_message.Message):
    __slots__ = ("images", "skipped_count", "skipped", "dead", "channels")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    images: int
    skipped_count: int
    skipped: _containers.RepeatedCompositeFieldContainer[SkippedRecord]
    dead: int
    channels: int
    def __init__(self, images: _Optional[int] = ..., skipped_count: _Optional[int] = ..., skipped: _Optional[_Iterable[_Union[SkippedRecord, _Mapping]]] = ..., dead: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class Exemplar(_message.Message):
    __slots__ = ("layer", "channel", "place", "image", "key", "label", "position", "rank_value", "activation", "box", "plane", "cut", "picture_box")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RANK_VALUE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    PLANE_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_BOX_FIELD_NUMBER: _ClassVar[int]
    layer: str
    channel: int
    place: int
    image: int
    key: str
    label: str
    position: _tensor_pb2.Position
    rank_value: float
    activation: float
    box: _tensor_pb2.Box
    plane: _containers.RepeatedScalarFieldContainer[int]
    cut: bool
    picture_box: _tensor_pb2.Box
    def __init__(self, layer: _Optional[str] = ..., channel: _Optional[int] = ..., place: _Optional[int] = ..., image: _Optional[int] = ..., key: _Optional[str] = ..., label: _Optional[str] = ..., position: _Optional[_Union[_tensor_pb2.Position, _Mapping]] = ..., rank_value: _Optional[float] = ..., activation: _Optional[float] = ..., box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ..., plane: _Optional[_Iterable[int]] = ..., cut: bool = ..., picture_box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ...) -> None: ...

class ChannelStatistics(_message.Message):
    __slots__ = ("images", "fired", "mean", "maximum", "quantiles")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    FIRED_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    images: int
    fired: int
    mean: float
    maximum: float
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, images: _Optional[int] = ..., fired: _Optional[int] = ..., mean: _Optional[float] = ..., maximum: _Optional[float] = ..., quantiles: _Optional[_Iterable[float]] = ...) -> None: ...

class ChannelExemplars(_message.Message):
    __slots__ = ("channel", "statistics", "exemplars")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    channel: int
    statistics: ChannelStatistics
    exemplars: _containers.RepeatedCompositeFieldContainer[Exemplar]
    def __init__(self, channel: _Optional[int] = ..., statistics: _Optional[_Union[ChannelStatistics, _Mapping]] = ..., exemplars: _Optional[_Iterable[_Union[Exemplar, _Mapping]]] = ...) -> None: ...

class ProjectedExemplar(_message.Message):
    __slots__ = ("exemplar", "geometry", "projection", "patch")
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    exemplar: Exemplar
    geometry: _input_pb2.InputGeometry
    projection: _inspection_pb2.Projection
    patch: bytes
    def __init__(self, exemplar: _Optional[_Union[Exemplar, _Mapping]] = ..., geometry: _Optional[_Union[_input_pb2.InputGeometry, _Mapping]] = ..., projection: _Optional[_Union[_inspection_pb2.Projection, _Mapping]] = ..., patch: _Optional[bytes] = ...) -> None: ...

class EvolutionHeader(_message.Message):
    __slots__ = ("model", "versions", "layer", "alias", "channels", "dataset")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    model: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    layer: str
    alias: str
    channels: _containers.RepeatedScalarFieldContainer[int]
    dataset: str
    def __init__(self, model: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ..., layer: _Optional[str] = ..., alias: _Optional[str] = ..., channels: _Optional[_Iterable[int]] = ..., dataset: _Optional[str] = ...) -> None: ...

class EvolutionProgress(_message.Message):
    __slots__ = ("version", "progress")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    version: int
    progress: ScanProgress
    def __init__(self, version: _Optional[int] = ..., progress: _Optional[_Union[ScanProgress, _Mapping]] = ...) -> None: ...

class EvolutionStep(_message.Message):
    __slots__ = ("version", "channel", "strongest", "header", "changed")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    STRONGEST_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    version: int
    channel: int
    strongest: ProjectedExemplar
    header: _inspection_pb2.ProjectHeader
    changed: bool
    def __init__(self, version: _Optional[int] = ..., channel: _Optional[int] = ..., strongest: _Optional[_Union[ProjectedExemplar, _Mapping]] = ..., header: _Optional[_Union[_inspection_pb2.ProjectHeader, _Mapping]] = ..., changed: bool = ...) -> None: ...

class LayerSettling(_message.Message):
    __slots__ = ("layer", "from_version", "to_version", "changed", "channels")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    layer: str
    from_version: int
    to_version: int
    changed: int
    channels: int
    def __init__(self, layer: _Optional[str] = ..., from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., changed: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class SideDescription(_message.Message):
    __slots__ = ("model", "version", "digest", "layer", "alias", "channels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    digest: str
    layer: str
    alias: str
    channels: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., layer: _Optional[str] = ..., alias: _Optional[str] = ..., channels: _Optional[int] = ...) -> None: ...

class CompareHeader(_message.Message):
    __slots__ = ("sides", "channels", "dataset")
    SIDES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    sides: _containers.RepeatedCompositeFieldContainer[SideDescription]
    channels: _containers.RepeatedScalarFieldContainer[int]
    dataset: str
    def __init__(self, sides: _Optional[_Iterable[_Union[SideDescription, _Mapping]]] = ..., channels: _Optional[_Iterable[int]] = ..., dataset: _Optional[str] = ...) -> None: ...

class CompareProgress(_message.Message):
    __slots__ = ("side", "progress")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    side: int
    progress: ScanProgress
    def __init__(self, side: _Optional[int] = ..., progress: _Optional[_Union[ScanProgress, _Mapping]] = ...) -> None: ...

class ComparedFeature(_message.Message):
    __slots__ = ("side", "feature", "channel", "statistics", "exemplars", "shared")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    side: int
    feature: int
    channel: int
    statistics: ChannelStatistics
    exemplars: int
    shared: int
    def __init__(self, side: _Optional[int] = ..., feature: _Optional[int] = ..., channel: _Optional[int] = ..., statistics: _Optional[_Union[ChannelStatistics, _Mapping]] = ..., exemplars: _Optional[int] = ..., shared: _Optional[int] = ...) -> None: ...

class ComparedExemplar(_message.Message):
    __slots__ = ("side", "feature", "exemplar", "header")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    side: int
    feature: int
    exemplar: ProjectedExemplar
    header: _inspection_pb2.ProjectHeader
    def __init__(self, side: _Optional[int] = ..., feature: _Optional[int] = ..., exemplar: _Optional[_Union[ProjectedExemplar, _Mapping]] = ..., header: _Optional[_Union[_inspection_pb2.ProjectHeader, _Mapping]] = ...) -> None: ...
