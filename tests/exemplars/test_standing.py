"""Where a value stands among a channel's maxima, against counting them."""

import numpy as np
import pytest

from unpool.exemplars import ChannelStatistics, standing
from unpool.exemplars.sketch import BINS, bins


def statistics(maxima: np.ndarray, channel: int) -> ChannelStatistics:
    fired = maxima[maxima > 0].astype(np.float32)
    counts = np.bincount(bins(fired), minlength=BINS).astype(np.int64)
    maximum = float(fired.max(initial=0.0))
    return ChannelStatistics("r", channel, len(maxima), len(fired), float(maxima.clip(0).mean()), maximum, counts)


def test_it_is_the_share_of_images_that_fired_less() -> None:
    rng = np.random.default_rng(0)
    maxima = (rng.normal(0.5, 1, (5000, 6)) * [1, 10, 0.01, 100, 3, 1]).astype(np.float32)
    values = np.quantile(maxima, 0.9, axis=0).astype(np.float32)
    found = standing([statistics(maxima[:, c], c) for c in range(6)], values)
    # Interpolated within a bin an eighth of an octave wide, of a density that changes little there.
    np.testing.assert_allclose(found, (maxima < values).mean(0), atol=0.01)


def test_beyond_what_was_seen_it_goes_on_growing() -> None:
    seen = statistics(np.array([0.0, 1.0, 2.0]), 0)
    dead = statistics(np.zeros(3), 1)
    found = standing([seen, seen, seen, dead, dead], np.array([3.0, 2.0, 0.0, 0.5, 0.0], np.float32))
    assert found.tolist() == [1.5, pytest.approx(2 / 3, abs=1e-6), 0.0, np.inf, 0.0]
