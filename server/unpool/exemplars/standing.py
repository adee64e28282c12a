"""Where a value stands among a channel's maxima over a data set: what makes channels of unlike scales comparable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unpool.exemplars.results import ChannelStatistics
from unpool.exemplars.sketch import Doubles, Floats, bins, edges


def standing(statistics: Sequence[ChannelStatistics], values: Floats) -> Doubles:
    """How each channel's value stands among its maxima on the images of a data set.

    Args:
        statistics: of every channel.
        values: float32 (C,), each channel's maximum on one image, before a bounded rectifier's clip.

    Returns:
        float64 (C,): the share of images whose maximum is lower, 0 to 1, known to the width of a bin; above every
        maximum that was seen, 1 and as many times more as the value is larger (infinity where the channel never
        fired); 0 where the channel does not fire.
    """
    found = np.zeros(len(values))
    at = edges()
    for i, (one, value) in enumerate(zip(statistics, values, strict=True)):
        if not value > 0 or not one.images:
            continue
        if value > one.maximum:
            found[i] = value / one.maximum if one.maximum > 0 else np.inf
            continue
        place = int(bins(values[i : i + 1])[0])
        within = np.clip((value - at[place]) / (at[place + 1] - at[place]), 0.0, 1.0)
        below = one.images - one.fired + int(one.counts[:place].sum()) + within * int(one.counts[place])
        found[i] = below / one.images
    return found
