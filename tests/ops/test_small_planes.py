"""Transposed convolution by one matrix product, against the float64 definition place by place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unpool.ops import small_planes


@st.composite
def _cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...], tuple[int, ...]]:
    rank = draw(st.integers(1, 3))
    sizes = st.integers(1, 3)
    units, maps, channels = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    counts, kernel = ([draw(sizes) for _ in range(rank)] for _ in range(2))
    strides, dilations = (tuple(draw(sizes) for _ in range(rank)) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    s = torch.randn(units, maps, *counts, generator=generator)
    return s, torch.randn(maps, channels, *kernel, generator=generator), strides, dilations


@settings(deadline=None, max_examples=60)
@given(case=_cases(), limit=st.sampled_from([1, 64, 1 << 20]))
def test_it_is_the_transposed_convolution(
    case: tuple[torch.Tensor, torch.Tensor, tuple[int, ...], tuple[int, ...]], limit: int
) -> None:
    s, w, strides, dilations = case
    counts, kernel = s.shape[2:], w.shape[2:]
    natural = [(n - 1) * a + (k - 1) * d + 1 for n, a, k, d in zip(counts, strides, kernel, dilations, strict=True)]
    expected = np.zeros((len(s), w.shape[1], *natural))
    for at in itertools.product(*map(range, counts)):
        for place in itertools.product(*map(range, kernel)):
            target = tuple(i * a + p * d for i, a, p, d in zip(at, strides, place, dilations, strict=True))
            values, filters = s.double().numpy()[(..., *at)], w.double().numpy()[(..., *place)]
            expected[(..., *target)] += values @ filters
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_planes, "_PARTS_BYTES", limit)
        found = small_planes.transposed(s, w, strides, dilations)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
