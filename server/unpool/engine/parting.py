"""Parting units that walk together into parties whose boxes stick out of the plane alike.

What all of a party stick out need not be computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from unpool.engine.boxes import Boxes, Ints, Planes

_LEAST = 0.25
"""The smaller side of a cut has at least this share of the units: parties of one or two idle a convolution's lanes."""


def part(boxes: Boxes, plane: Planes, parts: int) -> list[Ints]:
    """Parts units into so many parties of similar size.

    Units are cut in two where that lets most rows be left out, and the sides again.

    Args:
        boxes: where the units are.
        plane: extents.
        parts: how many parties; at most one per unit.

    Returns:
        The units of every party, each at least one.
    """
    hangs = {s: _overhangs(boxes, s, extent) for s, extent in plane.items()}
    return list(_parted(np.arange(boxes.count), min(parts, boxes.count), boxes.sizes, hangs))


def _overhangs(boxes: Boxes, index: int, extent: int) -> tuple[Ints, Ints]:
    origins, size = boxes.origins[index], boxes.sizes[index]
    return np.clip(-origins, 0, size), np.clip(origins + size - extent, 0, size)


def _parted(
    units: Ints, parts: int, sizes: Mapping[int, int], hangs: Mapping[int, tuple[Ints, Ints]]
) -> Iterator[Ints]:
    if parts <= 1:
        yield units
        return
    order, place = _cut(units, sizes, hangs)
    if parts == len(units):
        place = len(units) // 2
    first = min(max(round(parts * place / len(units)), 1), parts - 1)
    # No side gets more parties than it has units.
    first = min(max(first, parts - (len(units) - place)), place)
    yield from _parted(order[:place], first, sizes, hangs)
    yield from _parted(order[place:], parts - first, sizes, hangs)


def _cut(units: Ints, sizes: Mapping[int, int], hangs: Mapping[int, tuple[Ints, Ints]]) -> tuple[Ints, int]:
    """The units in some order, and where in it to cut so that the least is left to compute."""
    count = len(units)
    low, high = max(math.ceil(count * _LEAST), 1), min(math.floor(count * (1 - _LEAST)), count - 1)
    low, high = min(low, count // 2), max(high, count // 2)
    half = (units, count // 2)
    best, found = _area(units, sizes, hangs) * count * (1 - 1e-9), half
    for pair in hangs.values():
        for hang in pair:
            keys = hang[units]
            if keys.min() == keys.max():
                continue
            order = units[np.argsort(keys, kind="stable")]
            ahead, behind = _areas(order, sizes, hangs), _areas(order[::-1], sizes, hangs)[::-1]
            places = np.arange(low, high + 1)
            costs = places * ahead[places - 1] + (count - places) * behind[places]
            i = int(costs.argmin())
            if costs[i] < best:
                best, found = float(costs[i]), (order, int(places[i]))
    return found


def _areas(order: Ints, sizes: Mapping[int, int], hangs: Mapping[int, tuple[Ints, Ints]]) -> np.ndarray:
    """For every prefix of an order, how much of a unit's box is left when what all stick out is left away."""
    area = np.ones(len(order))
    for s, (lower, upper) in hangs.items():
        area *= sizes[s] - np.minimum.accumulate(lower[order]) - np.minimum.accumulate(upper[order])
    return area


def _area(units: Ints, sizes: Mapping[int, int], hangs: Mapping[int, tuple[Ints, Ints]]) -> float:
    return float(_areas(units, sizes, hangs)[-1])
