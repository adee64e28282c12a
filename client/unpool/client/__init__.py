"""The thin client: asks a server what networks see, and turns the answers into values, pictures and figures.

It needs neither torch nor ONNX Runtime. ``Client`` and ``AsyncClient`` ask; ``figures`` lays out what came back; the
command line is in ``cli`` and ``commands``.
"""

from unpool.client import figures, sheets
from unpool.client.async_streams import AsyncStream
from unpool.client.asynchronous import AsyncClient
from unpool.client.blocking import Client
from unpool.client.errors import (
    BusyError,
    CancelledError,
    DeadlineError,
    EmbeddedError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    ServerError,
    UnavailableError,
    UnpoolError,
)
from unpool.client.exemplars import (
    Channel,
    ComparedFeature,
    ComparisonInfo,
    EvolutionInfo,
    EvolutionStep,
    Exemplar,
    ExemplarProjection,
    ScanInfo,
    ScanProgress,
    Settling,
    Side,
    SideInfo,
    SideProgress,
    VersionProgress,
)
from unpool.client.inputs import ImageLike
from unpool.client.listing import (
    Axis,
    Field,
    Layer,
    Model,
    ModelSummary,
    ModelVersion,
    Parity,
    PolicyName,
    Preprocessing,
)
from unpool.client.occlusion import OcclusionGrid, OcclusionHeader, OcclusionTile, Region
from unpool.client.occlusion_streams import AsyncOcclusionStream, OcclusionStream
from unpool.client.results import (
    Activation,
    CaptureHeader,
    Classification,
    ClassScore,
    Geometry,
    Projection,
    ProjectionHeader,
    Provenance,
)
from unpool.client.streams import Stream

__all__ = [
    "Client",
    "AsyncClient",
    "Stream",
    "AsyncStream",
    "figures",
    "sheets",
    "ImageLike",
    "PolicyName",
    "Projection",
    "ProjectionHeader",
    "OcclusionStream",
    "AsyncOcclusionStream",
    "OcclusionGrid",
    "OcclusionHeader",
    "OcclusionTile",
    "Region",
    "Activation",
    "CaptureHeader",
    "Classification",
    "ClassScore",
    "Geometry",
    "Provenance",
    "ScanInfo",
    "ScanProgress",
    "Channel",
    "Exemplar",
    "ExemplarProjection",
    "EvolutionInfo",
    "EvolutionStep",
    "VersionProgress",
    "Settling",
    "Side",
    "SideInfo",
    "SideProgress",
    "ComparedFeature",
    "ComparisonInfo",
    "Preprocessing",
    "ModelSummary",
    "ModelVersion",
    "Parity",
    "Model",
    "Layer",
    "Field",
    "Axis",
    "UnpoolError",
    "InvalidArgumentError",
    "OutOfRangeError",
    "NotFoundError",
    "PreconditionError",
    "BusyError",
    "UnavailableError",
    "DeadlineError",
    "CancelledError",
    "ServerError",
    "EmbeddedError",
]
