"""What a model IS: read from ONNX, normalised (one pass per file), axes labelled, layers named, intervals computed."""

from unpool.graph.deciding import decide, undecided
from unpool.graph.layers import Layer, Layers
from unpool.graph.loading import load
from unpool.graph.model import (
    BATCH,
    CHANNEL,
    OTHER,
    Axis,
    AxisKind,
    BatchSupport,
    Constant,
    Graph,
    Node,
    Value,
    spatial,
)
from unpool.graph.normalising import Model, Way

__all__ = [
    "load",
    "decide",
    "undecided",
    "Way",
    "Model",
    "Layer",
    "Layers",
    "Graph",
    "Node",
    "Value",
    "Constant",
    "BatchSupport",
    "Axis",
    "AxisKind",
    "BATCH",
    "CHANNEL",
    "OTHER",
    "spatial",
]
