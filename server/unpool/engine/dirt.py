"""Which part of every value a window over the input touches: forward interval arithmetic, axis by axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unpool.engine.boxes import Ints
from unpool.engine.geometry import Geometry
from unpool.graph.intervals import POINTWISE, Intervals
from unpool.graph.model import Node


@dataclass(frozen=True, eq=False)
class Dirt:
    """The touched intervals of every value that the input reaches.

    Along one axis they depend on where the window begins along that axis alone, so they are kept for each such place.

    Attributes:
        places: spatial index -> the different places where windows begin, int64 (places,).
        rows: spatial index -> for every position the index of its place, int64 (positions,).
        intervals: value name -> spatial index -> touched interval for every place, inside the plane.
    """

    places: Mapping[int, Ints]
    rows: Mapping[int, Ints]
    intervals: Mapping[str, Mapping[int, Intervals]]

    def areas(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """How many places of the plane each position touches, float64 (positions,)."""
        found = np.ones(len(next(iter(self.rows.values()))))
        for s, along in self.intervals[name].items():
            if s in self.rows:
                found *= (along.upper - along.lower)[self.rows[s]]
            else:
                found *= along.size
        return found


def spread(geometry: Geometry, of: str, origins: Ints, window: tuple[int, ...]) -> Dirt:
    """Follows windows over one input through the graph.

    Args:
        geometry: shapes and windows.
        of: the input.
        origins: where the windows begin, int64 (positions, axes).
        window: their extents.
    """
    places: dict[int, Ints] = {}
    rows: dict[int, Ints] = {}
    first: dict[int, Intervals] = {}
    for i, s in enumerate(geometry.plane(of)):
        places[s], rows[s] = np.unique(origins[:, i], return_inverse=True)
        first[s] = Intervals(places[s], places[s] + window[i])
    found: dict[str, dict[int, Intervals]] = {of: first}
    for node in geometry.graph.nodes:
        if any(i in found for i in node.inputs):
            for output in node.outputs:
                if output in geometry.shapes:
                    found[output] = _behind(geometry, node, output, found, {s: len(p) for s, p in places.items()})
    return Dirt(places, rows, found)


def _behind(
    geometry: Geometry,
    node: Node,
    output: str,
    found: Mapping[str, Mapping[int, Intervals]],
    counts: Mapping[int, int],
) -> dict[int, Intervals]:
    """What a node's output is touched in, from what its inputs are."""
    plane = geometry.plane(output)
    result: dict[int, Intervals] = {}
    for s, extent in plane.items():
        count = counts.get(s, 1)
        joined: Intervals | None = None
        for name, windows in zip(node.inputs, geometry.windows(node), strict=True):
            if name not in found:
                continue
            window = windows.get(s)
            if window is None or s not in found[name]:
                along = Intervals(np.zeros(count, np.int64), np.full(count, extent, np.int64))
            elif window == POINTWISE and geometry.plane(name)[s] == extent:
                along = found[name][s]
            else:
                along = window.outputs_of(found[name][s]).clip(extent)
                along = Intervals(along.lower, np.maximum(along.lower, along.upper))
            joined = along if joined is None or joined is along else joined.union(along)
        assert joined is not None
        result[s] = joined
    return result
