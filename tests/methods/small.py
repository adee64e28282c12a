"""Small networks with known answers, and what the methods' tests do with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tests.engine.networks import Net

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.graph import load
from unpool.methods import (
    OcclusionHeader,
    OcclusionRequest,
    OcclusionTile,
    Projection,
    ProjectionHeader,
    ProjectionRequest,
    occlude,
    project,
)

SETTINGS = EngineSettings(device="cpu", threads=1)


def engine_of(source: bytes, settings: EngineSettings = SETTINGS) -> Engine:
    return Engine(load(source), settings)


def feeds_of(engine: Engine, *arrays: npt.NDArray[np.generic]) -> Feeds:
    names = engine.model.graph.inputs
    return Feeds(dict(zip(names, arrays, strict=True)), names[0])


def asked(engine: Engine, feeds: Feeds, request: ProjectionRequest) -> tuple[ProjectionHeader, list[Projection]]:
    """Drains an answer: the header, and the projections in the order asked."""
    header: ProjectionHeader | None = None
    found: list[Projection] = []
    for item in project(engine, feeds, request):
        if isinstance(item, ProjectionHeader):
            assert header is None, "one header"
            assert not found, "the header comes first"
            header = item
        elif item is not None:
            found.append(item)
    assert header is not None
    assert len(found) == header.total
    assert sorted(p.index for p in found) == list(range(header.total))
    return header, sorted(found, key=lambda p: p.index)


def occluded(
    engine: Engine, feeds: Feeds, request: OcclusionRequest
) -> tuple[OcclusionHeader, npt.NDArray[np.float64], list[OcclusionTile]]:
    """Drains an occlusion: the header, the grid of every target (targets, *shape), and the tiles as they came."""
    header: OcclusionHeader | None = None
    tiles: list[OcclusionTile] = []
    for item in occlude(engine, feeds, request):
        if isinstance(item, OcclusionHeader):
            assert header is None
            header = item
        elif item is not None:
            tiles.append(item)
    assert header is not None
    scores = np.full((len(header.targets), math.prod(header.shape)), np.nan)
    for tile in tiles:
        assert np.isnan(scores[:, tile.numbers]).all(), "every position once"
        scores[:, tile.numbers] = tile.scores
    assert sum(len(t.numbers) for t in tiles) == header.total == tiles[-1].completed
    return header, scores.reshape(-1, *header.shape), tiles


def pictured(projection: Projection, header: ProjectionHeader) -> npt.NDArray[np.float32]:
    """A projection put back into the sink's plane: (C, *plane)."""
    full = np.zeros((header.sink_channels, *header.plane), np.float32)
    full[(slice(None), *map(slice, projection.lower, projection.upper))] = projection.signal
    return full


def rectified(size: Sequence[int | str] = (1, 3, 12, 12)) -> bytes:
    """conv 3x3 -> relu -> max 2x2 -> conv 3x3 -> relu, every weight random."""
    net = Net(np.random.default_rng(3), (3, 12, 12))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3), net.normal(4)], pads=[1] * 4)
    net.add("Relu", [net.current])
    net.add("MaxPool", [net.current], kernel_shape=[2, 2], strides=[2, 2])
    net.add("Conv", [net.current, net.normal(6, 4, 3, 3), net.normal(6)], pads=[1] * 4)
    net.add("Relu", [net.current])
    return net.model(size)


def copies(upper: float | None = None) -> bytes:
    """A network whose layer is its input: 1x1 identity, then Relu, or a Clip from 0 to ``upper``."""
    net = Net(np.random.default_rng(0), (3, 4, 5))
    net.add("Conv", ["x", net.weight(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))])
    if upper is None:
        net.add("Relu", [net.current])
    else:
        net.add("Clip", [net.current, net.weight(np.float32(0)), net.weight(np.float32(upper))])
    return net.model((1, 3, 4, 5))
