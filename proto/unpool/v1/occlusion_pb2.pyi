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

class OcclusionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OCCLUSION_MODE_UNSPECIFIED: _ClassVar[OcclusionMode]
    OCCLUSION_MODE_BOXES: _ClassVar[OcclusionMode]
    OCCLUSION_MODE_BRUTE_FORCE: _ClassVar[OcclusionMode]
OCCLUSION_MODE_UNSPECIFIED: OcclusionMode
OCCLUSION_MODE_BOXES: OcclusionMode
OCCLUSION_MODE_BRUTE_FORCE: OcclusionMode

class OccludeRequest(_message.Message):
    __slots__ = ("model", "input", "window", "stride", "positions", "fill", "targets", "top_k", "output", "probability", "layer", "projection", "mode", "only", "inputs")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    model: _input_pb2.ModelSpec
    input: _input_pb2.Input
    window: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    positions: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Position]
    fill: Fill
    targets: _containers.RepeatedCompositeFieldContainer[OcclusionTarget]
    top_k: int
    output: str
    probability: bool
    layer: str
    projection: bool
    mode: OcclusionMode
    only: _containers.RepeatedScalarFieldContainer[int]
    inputs: _containers.RepeatedCompositeFieldContainer[_input_pb2.Input]
    def __init__(self, model: _Optional[_Union[_input_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., window: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., positions: _Optional[_Iterable[_Union[_tensor_pb2.Position, _Mapping]]] = ..., fill: _Optional[_Union[Fill, _Mapping]] = ..., targets: _Optional[_Iterable[_Union[OcclusionTarget, _Mapping]]] = ..., top_k: _Optional[int] = ..., output: _Optional[str] = ..., probability: bool = ..., layer: _Optional[str] = ..., projection: bool = ..., mode: _Optional[_Union[OcclusionMode, str]] = ..., only: _Optional[_Iterable[int]] = ..., inputs: _Optional[_Iterable[_Union[_input_pb2.Input, _Mapping]]] = ...) -> None: ...

class OccludeResponse(_message.Message):
    __slots__ = ("header", "projection", "tile")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    TILE_FIELD_NUMBER: _ClassVar[int]
    header: OcclusionHeader
    projection: OcclusionProjection
    tile: OcclusionTile
    def __init__(self, header: _Optional[_Union[OcclusionHeader, _Mapping]] = ..., projection: _Optional[_Union[OcclusionProjection, _Mapping]] = ..., tile: _Optional[_Union[OcclusionTile, _Mapping]] = ...) -> None: ...

class Fill(_message.Message):
    __slots__ = ("colour", "blur", "noise", "tensor", "mean")
    COLOUR_FIELD_NUMBER: _ClassVar[int]
    BLUR_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    colour: Colour
    blur: float
    noise: int
    tensor: _tensor_pb2.Tensor
    mean: bool
    def __init__(self, colour: _Optional[_Union[Colour, _Mapping]] = ..., blur: _Optional[float] = ..., noise: _Optional[int] = ..., tensor: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., mean: bool = ...) -> None: ...

class Colour(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class OcclusionTarget(_message.Message):
    __slots__ = ("index", "label", "box", "output")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    box: _tensor_pb2.Box
    output: str
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ..., output: _Optional[str] = ...) -> None: ...

class OcclusionHeader(_message.Message):
    __slots__ = ("provenance", "geometry", "window", "stride", "shape", "begins", "targets", "label_output", "label", "layer", "alias", "channel", "map_sum", "total", "boxed", "saved", "probability", "fill", "warnings", "example", "overall")
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BEGINS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    LABEL_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MAP_SUM_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BOXED_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    provenance: _input_pb2.Provenance
    geometry: _input_pb2.InputGeometry
    window: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    begins: _containers.RepeatedScalarFieldContainer[int]
    targets: _containers.RepeatedCompositeFieldContainer[ScoredTarget]
    label_output: str
    label: _inspection_pb2.ClassScore
    layer: str
    alias: str
    channel: int
    map_sum: float
    total: int
    boxed: float
    saved: float
    probability: bool
    fill: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    example: int
    overall: int
    def __init__(self, provenance: _Optional[_Union[_input_pb2.Provenance, _Mapping]] = ..., geometry: _Optional[_Union[_input_pb2.InputGeometry, _Mapping]] = ..., window: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., shape: _Optional[_Iterable[int]] = ..., begins: _Optional[_Iterable[int]] = ..., targets: _Optional[_Iterable[_Union[ScoredTarget, _Mapping]]] = ..., label_output: _Optional[str] = ..., label: _Optional[_Union[_inspection_pb2.ClassScore, _Mapping]] = ..., layer: _Optional[str] = ..., alias: _Optional[str] = ..., channel: _Optional[int] = ..., map_sum: _Optional[float] = ..., total: _Optional[int] = ..., boxed: _Optional[float] = ..., saved: _Optional[float] = ..., probability: bool = ..., fill: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., example: _Optional[int] = ..., overall: _Optional[int] = ...) -> None: ...

class ScoredTarget(_message.Message):
    __slots__ = ("output", "box", "index", "label", "baseline")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    output: str
    box: _tensor_pb2.Box
    index: int
    label: str
    baseline: float
    def __init__(self, output: _Optional[str] = ..., box: _Optional[_Union[_tensor_pb2.Box, _Mapping]] = ..., index: _Optional[int] = ..., label: _Optional[str] = ..., baseline: _Optional[float] = ...) -> None: ...

class OcclusionProjection(_message.Message):
    __slots__ = ("header", "projection")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    header: _inspection_pb2.ProjectHeader
    projection: _inspection_pb2.Projection
    def __init__(self, header: _Optional[_Union[_inspection_pb2.ProjectHeader, _Mapping]] = ..., projection: _Optional[_Union[_inspection_pb2.Projection, _Mapping]] = ...) -> None: ...

class OcclusionTile(_message.Message):
    __slots__ = ("numbers", "scores", "labels", "map_sums", "completed", "coarse")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MAP_SUMS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    COARSE_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.RepeatedScalarFieldContainer[int]
    map_sums: _containers.RepeatedScalarFieldContainer[float]
    completed: int
    coarse: bool
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., labels: _Optional[_Iterable[int]] = ..., map_sums: _Optional[_Iterable[float]] = ..., completed: _Optional[int] = ..., coarse: bool = ...) -> None: ...
