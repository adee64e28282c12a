"""What one can ASK: one file per method, each a generator that yields results as they are ready; none knows gRPC."""

from unpool.methods.capture import capture
from unpool.methods.classification import classify
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
    "Positions",
    "Projection",
    "ProjectionHeader",
    "ProjectionRequest",
    "Score",
    "Start",
    "capture",
    "classify",
    "project",
]
