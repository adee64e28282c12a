"""Summaries merge in any order to the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unpool.exemplars.partial import NOBODY, Partial, empty, merge_all, summarise
from unpool.exemplars.sketch import bins, edges, quantile

_VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3e-7, 3.9e-21, 1e9]) | st.floats(-5, 50, width=32)


def same(first: Partial, second: Partial) -> bool:
    fields = ("images", "values", "count", "fired", "largest", "counts", "sums")
    return all(np.array_equal(getattr(first, f), getattr(second, f)) for f in fields)


@given(arrays(np.float32, (11, 3), elements=_VALUES), st.permutations(range(11)), st.integers(1, 6))
def test_any_split_and_order_gives_the_slow_answer(maxima: np.ndarray, order: list[int], k: int) -> None:
    whole = summarise(maxima, np.arange(11), k)
    ones = [summarise(maxima[i : i + 1], np.array([i]), k) for i in order]
    assert same(merge_all(ones, 3, k), whole)
    assert same(merge_all([merge_all(ones[4:], 3, k), merge_all(ones[:4], 3, k), empty(3, k)], 3, k), whole)
    for channel in range(3):
        column = maxima[:, channel].tolist()
        expected = sorted((i for i in range(11) if column[i] > 0), key=lambda i: (-column[i], i))[:k]
        assert [i for i in whole.images[channel].tolist() if i != NOBODY] == expected
        assert whole.fired[channel] == sum(v > 0 for v in column)
        assert whole.largest[channel] == max(column)
        assert whole.mean[channel] == pytest.approx(sum(max(v, 0) for v in column) / 11, rel=1e-6, abs=2**-41)


@given(arrays(np.float32, 50, elements=st.floats(2**-15, 2**15, width=32)), st.floats(0.01, 0.99))
def test_quantiles_are_near(values: np.ndarray, q: float) -> None:
    counts = np.bincount(bins(values), minlength=len(edges()) - 1)
    assert quantile(counts, 0, q) == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=1 / 14)


def test_not_a_number_fires_nowhere() -> None:
    found = summarise(np.array([[np.nan], [2.0]], np.float32), np.array([0, 1]), 2)
    assert found.images.tolist() == [[1, NOBODY]]
    assert found.fired.tolist() == [1]
