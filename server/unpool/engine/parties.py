"""Parties: positions whose boxes are nearly of one size, so that one tensor holds them all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from unpool.engine.boxes import Ints
from unpool.engine.dirt import Dirt

_MOST = 12
"""Classes along an axis that are tried."""
_PASSES = 3
"""From coarse to fine, about as many passes meet each party."""


def classes(dirt: Dirt, weights: Mapping[str, float], party: float) -> dict[int, Ints]:
    """Sorts the places of each axis into classes, so that positions of one class along every axis make a party.

    A party's boxes are as large as its largest: many classes waste nothing on positions near a border, few classes
    waste nothing on calls. The number that costs least is taken.

    Args:
        dirt: what windows touch.
        weights: value name -> seconds for one place of its plane.
        party: seconds that a party takes at each pass, however many positions it has.

    Returns:
        Spatial index -> class of every place, int64 (places,).
    """
    axes = list(dirt.places)
    names = [n for n, w in weights.items() if w > 0 and all(s in dirt.intervals[n] for s in axes)]
    if not names:
        return {s: np.zeros(len(p), np.int64) for s, p in dirt.places.items()}
    sizes = {
        s: np.stack([np.maximum(dirt.intervals[n][s].upper - dirt.intervals[n][s].lower, 1) for n in names])
        for s in axes
    }
    # What a place of one axis costs at the mean size along the others.
    cost = {}
    for s in axes:
        others = np.ones(len(names))
        for other in axes:
            if other != s:
                others *= sizes[other].mean(1)
        cost[s] = np.array([weights[n] for n in names]) * others
    positions = len(next(iter(dirt.rows.values())))
    best: tuple[float, dict[int, Ints]] | None = None
    for number in range(1, _MOST + 1):
        chosen = {s: _split(sizes[s], cost[s], number) for s in axes}
        waste = 1.0
        for s in axes:
            ideal = float(cost[s] @ sizes[s].sum(1))
            largest = [
                (chosen[s] == c).sum() * float(cost[s] @ sizes[s][:, chosen[s] == c].max(1))
                for c in range(chosen[s].max() + 1)
            ]
            waste *= sum(largest) / ideal
        work = float(np.mean(cost[axes[0]] @ sizes[axes[0]])) * positions
        parties = math.prod(int(c.max()) + 1 for c in chosen.values())
        total = work * waste + party * min(parties * _PASSES, positions)
        if best is None or total < best[0]:
            best = total, chosen
    assert best is not None
    return best[1]


def _split(sizes: np.ndarray[tuple[int, int], np.dtype[np.int64]], cost: npt.NDArray[np.float64], number: int) -> Ints:
    """Classes of about equally many places, in the order of what they cost; equal places share one."""
    key = cost @ sizes
    order = np.argsort(key, kind="stable")
    found = np.zeros(len(key), np.int64)
    for i, part in enumerate(np.array_split(order, min(number, len(order)))):
        found[part] = i
    # Places that cost the same belong together, wherever the split fell.
    for value in np.unique(key):
        same = key == value
        found[same] = found[same].min()
    return np.unique(found, return_inverse=True)[1]


def parties(dirt: Dirt, found: Mapping[int, Ints], numbers: Ints) -> list[Ints]:
    """Positions by party.

    Args:
        dirt: what windows touch.
        found: the classes.
        numbers: which positions, int64 (count,).

    Returns:
        Their numbers, party by party, in the order in which a party's first position stands.
    """
    keys = np.stack([found[s][dirt.rows[s][numbers]] for s in found], 1)
    _, first, party = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    party = party.reshape(-1)
    return [numbers[party == p] for p in np.argsort(first, kind="stable")]
