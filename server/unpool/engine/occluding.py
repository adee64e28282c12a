"""Occluding: the patchwise forward of windows over an input, prepared in stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from unpool.engine.captures import Capture
from unpool.engine.cutting import Split, split
from unpool.engine.dirt import spread
from unpool.engine.feeds import Feeds
from unpool.engine.forward import Forward
from unpool.engine.geometry import Geometry
from unpool.engine.occluders import Occluders
from unpool.engine.parties import classes
from unpool.engine.patchwise import Occlusion
from unpool.engine.plan import Plan
from unpool.engine.rates import party_seconds, work
from unpool.engine.settings import EngineSettings
from unpool.engine.weights import Weights
from unpool.graph.model import Array

_BATCH, _FEWEST = 64, 4
"""The most and, small enough, the fewest images of a batch of forward runs."""
_BATCH_BYTES = 128 << 20
"""How much the largest value of such a batch may take."""


@dataclass(frozen=True)
class Asked:
    """Windows over an input, and what is wanted of each.

    Attributes:
        feeds: one image.
        occluders: the windows over ``feeds.of``.
        names: values that are wanted.
        maps: layer -> channel of which the sum over the plane is wanted.
        forced: boxes as far as they go, whatever they cost.
        batched: several images may be fed at once.
    """

    feeds: Feeds
    occluders: Occluders
    names: Sequence[str]
    maps: Mapping[str, int]
    forced: bool
    batched: bool


def forward_batch(geometry: Geometry, settings: EngineSettings) -> int:
    """How many images a batch of whole forward runs may have: about a piece's multiply-adds, or a few at least."""
    counted = [work(n, geometry) for n in geometry.graph.nodes if any(o in geometry.decided for o in n.outputs)]
    return _batch(geometry, settings, geometry.decided, sum(w.multiply_adds * w.places for w in counted))


def _batch(geometry: Geometry, settings: EngineSettings, names: Iterable[str], operations: float) -> int:
    largest = max((math.prod(geometry.shapes[n]) * 4 for n in names if n in geometry.shapes), default=1)
    fits = min(_BATCH, max(_FEWEST, int(settings.piece_operations / max(operations, 1.0))))
    return max(1, min(fits, _BATCH_BYTES // largest))


def stages(
    asked: Asked,
    geometry: Geometry,
    weights: Weights,
    forward: Forward,
    capture: Callable[[Iterable[str]], Capture],
    settings: EngineSettings,
) -> Iterator[Occlusion | None]:
    """Prepares the patchwise forward.

    Args:
        asked: what is wanted.
        geometry: shapes and windows for these inputs.
        weights: the model's constants.
        forward: runs the graph behind the cut.
        capture: gives values of the input without a window.
        settings: limits.

    Yields:
        ``None`` between stages; at the end what runs positions, unless whole runs cost less.
    """
    of = asked.feeds.of
    dirt = spread(geometry, of, asked.occluders.origins, asked.occluders.window)
    found = split(geometry, of, dirt, asked.names, asked.maps, forced=asked.forced)
    if not found.cut.steps:
        return
    yield None
    kept = capture(found.kept)
    yield None
    tail = yield from _tail(found, geometry, asked.feeds, kept, forward)
    behind = geometry.graph.ancestors(found.cut.rest) - geometry.graph.ancestors(found.cut.changed)
    yield Occlusion(
        cut=found.cut,
        geometry=geometry,
        dirt=dirt,
        occluders=asked.occluders,
        kept={name: kept.values[name] for name in found.kept},
        weights=weights,
        maps=asked.maps,
        classes=classes(dirt, found.weights, sum(party_seconds(n, geometry) for n, _ in found.cut.steps)),
        tail=tail,
        batch=_batch(geometry, settings, [*found.cut.changed, *found.cut.given, *behind], found.behind),
        batched=asked.batched,
        piece_bytes=settings.piece_bytes,
        boxed=found.boxed,
        saved=found.saved,
    )


def _tail(
    found: Split, geometry: Geometry, feeds: Feeds, kept: Capture, forward: Forward
) -> Generator[None, None, Callable[[Mapping[str, Array]], dict[str, Tensor]] | None]:
    """What runs the graph behind a cut; its session is made in stages."""
    cut = found.cut
    if not cut.rest:
        return None
    plan = Plan(frozenset(cut.rest), sources=frozenset([*cut.changed, *cut.fixed, *cut.extents]))
    first = {n: kept.values[n].contiguous().numpy(force=True) for n in [*cut.changed, *cut.fixed]}
    yield from forward.opening(plan, Feeds(first | cut.counted(geometry, 1), feeds.of))

    def tail(values: Mapping[str, Array]) -> dict[str, Tensor]:
        return forward.run(plan, Feeds(values, feeds.of))

    return tail
