"""Interval arithmetic against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unpool.graph.intervals import AxisWindow, Intervals, Sliding, Transposed

windows = st.builds(Sliding, st.integers(1, 5), st.integers(1, 4), st.integers(-3, 4), st.integers(1, 3))
starts = st.integers(-20, 20)
lengths = st.integers(1, 12)


def one(lower: int, upper: int) -> Intervals:
    return Intervals(np.array([lower]), np.array([upper]))


def bounds(found: Intervals) -> tuple[int, int]:
    return int(found.lower[0]), int(found.upper[0])


def reads(window: Sliding, output: int) -> set[int]:
    """The inputs that one output reads, by the definition of a convolution."""
    return {output * window.stride - window.pad + k * window.dilation for k in range(window.kernel)}


@given(windows, starts, lengths)
def test_inputs_of_is_the_hull_of_what_is_read(window: Sliding, start: int, length: int) -> None:
    read = set().union(*(reads(window, o) for o in range(start, start + length)))
    assert bounds(window.inputs_of(one(start, start + length))) == (min(read), max(read) + 1)


@given(windows, starts, lengths)
def test_outputs_of_holds_every_reader_and_no_end_is_loose(window: Sliding, start: int, length: int) -> None:
    touched = set(range(start, start + length))
    lower, upper = bounds(window.outputs_of(one(start, start + length)))
    # The hull of a dilated window counts as read: an output whose window spans the interval without a tap in it may
    # be included.
    spans = {o for o in range(-120, 121) if touched & set(range(min(reads(window, o)), max(reads(window, o)) + 1))}
    assert spans == set(range(lower, upper))


@given(windows, starts, lengths, starts, lengths)
def test_inputs_of_and_outputs_of_are_adjoint_relations(
    window: Sliding, a: int, length: int, b: int, other: int
) -> None:
    low, high = bounds(window.inputs_of(one(a, a + length)))
    out_low, out_high = bounds(window.outputs_of(one(b, b + other)))
    meets_inputs = any(
        bounds(window.inputs_of(one(o, o + 1)))[0] < b + other and bounds(window.inputs_of(one(o, o + 1)))[1] > b
        for o in range(a, a + length)
    )
    assert meets_inputs == (max(a, out_low) < min(a + length, out_high))
    assert low < high


@given(windows, windows, starts, lengths)
def test_two_windows_compose(first: Sliding, second: Sliding, start: int, length: int) -> None:
    through = second.inputs_of(one(start, start + length))
    lower, upper = bounds(first.inputs_of(through))
    hull = range(*bounds(through))
    read = set().union(*(reads(first, o) for o in hull))
    assert (lower, upper) == (min(read), max(read) + 1)


@given(windows, starts, lengths)
def test_transposed_runs_the_other_way(window: Sliding, start: int, length: int) -> None:
    turned: AxisWindow = Transposed(window)
    interval = one(start, start + length)
    assert bounds(turned.inputs_of(interval)) == bounds(window.outputs_of(interval))
    assert bounds(turned.outputs_of(interval)) == bounds(window.inputs_of(interval))
