"""Parting units into parties: nobody lost, no more parties than units, and less to compute than in one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unpool.engine import Boxes
from unpool.engine.boxes import Ints
from unpool.engine.parting import part


def _boxes(origins: list[tuple[int, int]], size: int) -> Boxes:
    along = np.array(origins, np.int64).reshape(-1, 2)
    return Boxes({0: along[:, 0], 1: along[:, 1]}, {0: size, 1: size}, len(along))


def _area(boxes: Boxes, plane: int, units: Ints) -> int:
    """Places that a party computes: its boxes less what all of them stick out, unit by unit and row by row."""
    left = 1
    for s in boxes.sizes:
        rows = boxes.origins[s][units, None] + np.arange(boxes.sizes[s])
        left *= int(((rows >= 0) & (rows < plane)).any(0).sum())
    return len(units) * left


@given(
    origins=st.lists(st.tuples(st.integers(-8, 15), st.integers(-8, 15)), min_size=1, max_size=40),
    size=st.integers(1, 9),
    parts=st.integers(1, 45),
)
def test_every_unit_is_in_one_party_and_parting_never_costs(
    origins: list[tuple[int, int]], size: int, parts: int
) -> None:
    boxes = _boxes(origins, size)
    parties = part(boxes, {0: 16, 1: 16}, parts)
    assert sorted(np.concatenate(parties).tolist()) == list(range(len(origins)))
    assert len(parties) == min(parts, len(origins))
    assert all(len(p) for p in parties)
    assert sum(_area(boxes, 16, p) for p in parties) <= _area(boxes, 16, np.arange(len(origins)))


def test_units_at_opposite_borders_part() -> None:
    boxes = _boxes([(-6, 4), (12, 4)] * 8, 8)
    low, high = part(boxes, {0: 16, 1: 16}, 2)
    assert {len(set(boxes.origins[0][p].tolist())) for p in (low, high)} == {1}


def test_planes_without_an_axis_part_too() -> None:
    assert [len(p) for p in part(Boxes({}, {}, 5), {}, 2)] == [2, 3]
