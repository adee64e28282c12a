"""Where boxes end: the graph cut in two at the place that costs least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from unpool.engine.boxable import Boxable, How, boxable, touched_inputs
from unpool.engine.dirt import Dirt
from unpool.engine.geometry import Geometry
from unpool.engine.patchwise import Cut
from unpool.engine.rates import BOXES, PLANES, whole_seconds, work
from unpool.graph.model import Node

_UNITS = 8
"""How many positions share a call, about."""
_GAIN = 1.02
"""How much cheaper boxes have to be than none."""


@dataclass(frozen=True, eq=False)
class Split:
    """A cut and what it costs.

    Attributes:
        cut: the cut.
        kept: values of the whole input that boxes read.
        weights: value name -> seconds for one place of its plane, of what is computed on boxes.
        boxed: share of the multiply-adds of a whole forward in front of the cut.
        saved: multiply-adds of a whole forward over those of a position, on average.
        behind: multiply-adds of one position behind the cut.
    """

    cut: Cut
    kept: frozenset[str]
    weights: Mapping[str, float]
    boxed: float
    saved: float
    behind: float


def split(
    geometry: Geometry, of: str, dirt: Dirt, wanted: Sequence[str], maps: Iterable[str], *, forced: bool
) -> Split:
    """Finds the cut.

    Args:
        geometry: shapes and windows.
        of: the input with the windows.
        dirt: what they touch.
        wanted: values that are wanted whole.
        maps: values of which only a sum over the plane is.
        forced: boxes as far as they go, whatever they cost.
    """
    graph = geometry.graph
    dirty = frozenset(dirt.intervals)
    summed = frozenset(maps)
    needed = graph.ancestors([*wanted, *summed])
    nodes = [n for n in graph.nodes if any(o in needed for o in n.outputs) and any(i in dirty for i in n.inputs)]
    ways = _ways(nodes, geometry, dirty, of)
    whole = {n: whole_seconds(n, geometry) for n in nodes}
    local = {n: BOXES.call / _UNITS + work(n, geometry).seconds(BOXES, _area(n, dirt)) for n in ways}
    best, cheapest = 0, sum(whole.values()) / _GAIN
    front, behind = 0.0, sum(whole.values())
    for i, node in enumerate(nodes):
        if node not in ways:
            continue
        front += local[node]
        behind -= whole[node]
        chosen = nodes[: i + 1]
        boundary = _reached(geometry, [n for n in chosen if n in ways], of, dirty, [*wanted, *summed]).changed
        planes = sum(float(np.prod(geometry.shapes[name])) * 8 / PLANES.bytes for name in boundary)
        cost = front + behind + planes
        if cost < cheapest:
            best, cheapest = i + 1, cost
    boxed = [n for n in (nodes if forced else nodes[:best]) if n in ways]
    return _made(geometry, of, dirt, nodes, {n: ways[n] for n in boxed}, wanted, summed)


def _ways(nodes: Sequence[Node], geometry: Geometry, dirty: Set[str], of: str) -> dict[Node, Boxable]:
    """The nodes that can be run on boxes, all the way from the input."""
    reached = {of}
    found: dict[Node, Boxable] = {}
    for node in nodes:
        if all(node.inputs[i] in reached for i in touched_inputs(node, geometry, dirty)):
            how = boxable(node, geometry, dirty)
            if how is not None:
                found[node] = how
                reached.update(o for o in node.outputs if o)
    return found


def _area(node: Node, dirt: Dirt) -> float:
    return float(dirt.areas(next(o for o in node.outputs if o)).mean())


@dataclass(frozen=True, eq=False)
class _Boundary:
    """What the graph behind a cut begins at: values at the cut, other values, extents; and its sinks."""

    changed: tuple[str, ...]
    fixed: tuple[str, ...]
    extents: tuple[str, ...]
    rest: tuple[str, ...]


def _reached(geometry: Geometry, boxed: Iterable[Node], of: str, dirty: Set[str], sinks: Iterable[str]) -> _Boundary:
    """From the sinks down to what boxes give."""
    graph = geometry.graph
    front = {of} | {o for n in boxed for o in n.outputs if o}
    rest = list(dict.fromkeys(s for s in sinks if s in dirty and s not in front))
    changed: list[str] = []
    fixed: list[str] = []
    extents: list[str] = []
    stack, seen = list(rest), set(rest)
    while stack:
        for name in graph.producers[stack.pop()].inputs:
            if name in seen or name not in graph.values:
                continue
            seen.add(name)
            if name in graph.measured:
                # Several images have other extents than the one whose numbers are kept.
                known = geometry.tells_extents(graph.producers[name])
                (extents if known else stack).append(name)
            elif name in front:
                changed.append(name)
            elif name not in dirty:
                fixed.append(name)
            else:
                stack.append(name)
    return _Boundary(tuple(sorted(changed)), tuple(sorted(fixed)), tuple(sorted(extents)), tuple(rest))


def _made(
    geometry: Geometry,
    of: str,
    dirt: Dirt,
    nodes: Sequence[Node],
    ways: Mapping[Node, Boxable],
    wanted: Sequence[str],
    summed: frozenset[str],
) -> Split:
    dirty = frozenset(dirt.intervals)
    found = _reached(geometry, ways, of, dirty, [*wanted, *sorted(summed)])
    front = {o for n in ways for o in n.outputs if o}
    given = [w for w in dict.fromkeys(wanted) if w in front]
    still = [w for w in dict.fromkeys([*wanted, *sorted(summed)]) if w not in dirty]
    # What boxes compute and nobody reads need not be computed.
    used = geometry.graph.ancestors([*found.changed, *given, *(s for s in summed if s in front)])
    steps = tuple((n, how) for n, how in ways.items() if any(o in used for o in n.outputs))
    cut = Cut(steps, found.changed, found.fixed, found.extents, tuple(given), found.rest, tuple(still))
    kept = {of, *found.changed, *found.fixed, *given, *still, *(s for s in summed if s in front)}
    for node, how in steps:
        kept |= _context(node, how, geometry, dirt)
    counted = {n: work(n, geometry) for n in nodes}
    total = sum(w.multiply_adds * w.places for w in counted.values())
    inside = sum(counted[n].multiply_adds * counted[n].places for n, _ in steps)
    local = sum(counted[n].multiply_adds * _area(n, dirt) for n, _ in steps)
    weights = {next(o for o in n.outputs if o): counted[n].seconds(BOXES, 1) for n, _ in steps}
    return Split(
        cut,
        frozenset(kept),
        weights,
        boxed=inside / total if total else 0.0,
        saved=total / max(local + total - inside, 1.0) if total else 1.0,
        behind=total - inside,
    )


def _context(node: Node, how: Boxable, geometry: Geometry, dirt: Dirt) -> set[str]:
    """What a step reads of the whole input."""
    values, measured = geometry.graph.values, geometry.graph.measured
    touched = [i for i in node.inputs if i in dirt.intervals and i not in measured]
    found = {i for i in node.inputs if i in values and (i not in dirt.intervals or i in measured)}
    if how.how is How.RESHAPE:
        return found
    if how.how is How.JOIN:
        return {node.outputs[0]}
    if how.how is not How.POINTWISE:
        return found | {node.inputs[0]}
    out = dirt.intervals[next(o for o in node.outputs if o)]
    for name in touched:
        own = dirt.intervals[name]
        same = all(
            np.array_equal(own[s].lower, out[s].lower) and np.array_equal(own[s].upper, out[s].upper) for s in out
        )
        if not same:
            found.add(name)
    return found
