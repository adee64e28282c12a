"""Statistics of a channel's maxima that merge in any order to the same bits: a histogram over powers of two, and sums.

A value falls into one of eight bins of equal width within its octave, so that a quantile is known to one part in 16.
Sums are kept octave by octave: within one, doubles add floats exactly (up to 2**28 of them), so that no order can show.
The lowest one holds all that is smaller too, which is rounded to steps of 2**-41 for that. What the highest one holds
beyond itself adds exactly as long as it lies within 2**29 of each other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIRST, OCTAVES, PARTS = -16, 32, 8
"""Octaves from 2**-16 up to 2**16; what lies beyond counts in the outermost bin."""
BINS = OCTAVES * PARTS
_STEP = 41


def bins(values: Floats) -> Ints:
    """The bin of each positive value."""
    mantissa, exponent = np.frexp(values)  # value = mantissa * 2**exponent, mantissa in [0.5, 1)
    part = ((mantissa - 0.5) * (2 * PARTS)).astype(np.int64)
    found: Ints = np.clip((exponent.astype(np.int64) - 1 - FIRST) * PARTS + part, 0, BINS - 1)
    return found


def addends(values: Floats) -> Doubles:
    """Positive values as they are summed."""
    found = values.astype(np.float64)
    small = found < 2.0**FIRST
    found[small] = np.ldexp(np.rint(np.ldexp(found[small], _STEP)), -_STEP)
    return found


def edges() -> Doubles:
    """The bins' edges, ascending; one more than there are bins."""
    octave, part = np.divmod(np.arange(BINS + 1), PARTS)
    found: Doubles = np.ldexp(1 + part / PARTS, octave + FIRST)
    return found


def quantile(counts: Ints, silent: int, q: float) -> float:
    """The value below which a share ``q`` of all images lies, to one part in 16.

    Args:
        counts: images in each bin (BINS,).
        silent: images on which the channel did not fire, which count as 0.
        q: 0 to 1.
    """
    total = silent + int(counts.sum())
    rank = q * total
    if not total or rank <= silent:
        return 0.0
    below = silent + np.cumsum(counts)
    found = int(np.searchsorted(below, rank))
    at = edges()
    return float((at[found] + at[found + 1]) / 2)
