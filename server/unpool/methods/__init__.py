"""What one can ASK: one file per method, each a generator that yields results as they are ready; none knows gRPC."""

from unpool.methods.capture import capture
from unpool.methods.classification import classify
from unpool.methods.occlusion import occlude
from unpool.methods.occlusion_requests import (
    Fill,
    FillKind,
    Mode,
    OcclusionHeader,
    OcclusionRequest,
    OcclusionTile,
    Scored,
    SummedMap,
    Target,
)
from unpool.methods.projection import project
from unpool.methods.requests import (
    Activation,
    Fallback,
    Positions,
    Projection,
    ProjectionHeader,
    ProjectionRequest,
    Score,
    Start,
)

__all__ = [
    "Activation",
    "Fallback",
    "Fill",
    "FillKind",
    "Mode",
    "OcclusionHeader",
    "OcclusionRequest",
    "OcclusionTile",
    "Positions",
    "Projection",
    "ProjectionHeader",
    "ProjectionRequest",
    "Score",
    "Scored",
    "Start",
    "SummedMap",
    "Target",
    "capture",
    "classify",
    "occlude",
    "project",
]
