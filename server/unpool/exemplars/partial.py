"""What is known of a part of a data set: each channel's strongest images, and statistics. Parts merge in any order.

``merge`` is associative and commutative, and ``empty`` is its unit, to the last bit: shards may be scanned by one
process or by many, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from unpool.exemplars.examples import Skipped
from unpool.exemplars.sketch import BINS, OCTAVES, PARTS, addends, bins

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NOBODY = np.iinfo(np.int64).max
"""Stands for no image, behind every real one."""


@dataclass(frozen=True, eq=False)
class Partial:
    """A summary of some images.

    Attributes:
        images: int64 (channels, k), strongest first; ties to the lower image; ``NOBODY`` where fewer fired.
        values: float32 (channels, k), each image's maximum of the channel; 0 where there is none.
        count: images seen.
        fired: int64 (channels,), images on which the channel's maximum is positive.
        largest: float32 (channels,), the largest maximum, which may be negative; -inf where no image was seen.
        counts: int64 (channels, BINS), images by the size of their maximum; see ``sketch``.
        sums: float64 (channels, OCTAVES), sums of the positive maxima, octave by octave.
        skipped: records that could not be used, by index.
    """

    images: Ints
    values: Floats
    count: int
    fired: Ints
    largest: Floats
    counts: npt.NDArray[np.uint32]
    sums: Doubles
    skipped: tuple[Skipped, ...] = ()

    @property
    def k(self) -> int:
        """The most images that are kept of a channel."""
        return int(self.images.shape[1])

    @property
    def mean(self) -> Doubles:
        """(channels,): the mean over all images of the channel's maximum, 0 where it did not fire."""
        total: Doubles = self.sums.sum(1)
        return total / max(self.count, 1)


def empty(channels: int, k: int) -> Partial:
    """The summary of no images."""
    return Partial(
        images=np.full((channels, k), NOBODY),
        values=np.zeros((channels, k), np.float32),
        count=0,
        fired=np.zeros(channels, np.int64),
        largest=np.full(channels, -np.inf, np.float32),
        counts=np.zeros((channels, BINS), np.uint32),
        sums=np.zeros((channels, OCTAVES)),
    )


def summarise(maxima: Floats, indices: Ints, k: int) -> Partial:
    """The summary of a block of images.

    Args:
        maxima: float32 (images, channels).
        indices: int64 (images,), their numbers in the data set.
        k: the most images that are kept of a channel.
    """
    count, channels = maxima.shape
    if not count:
        return empty(channels, k)
    fires = maxima > 0  # not a number fires nowhere
    at = min(k, count)
    least = np.partition(np.where(fires, maxima, 0), count - at, axis=0)[count - at]
    rows, columns = np.nonzero(fires & (maxima >= least))
    found = empty(channels, k)
    _fill(found, columns, maxima[rows, columns], indices[rows])
    rows, columns = np.nonzero(fires)
    values = maxima[rows, columns]
    places = bins(values)
    counts = np.bincount(columns * BINS + places, minlength=channels * BINS).reshape(channels, BINS)
    octaves = columns * OCTAVES + places // PARTS
    sums: Doubles = (
        np.bincount(octaves, addends(values), channels * OCTAVES).reshape(channels, OCTAVES).astype(np.float64)
    )
    return Partial(
        found.images,
        found.values,
        count,
        fires.sum(0).astype(np.int64),
        np.fmax.reduce(maxima, axis=0),
        counts.astype(np.uint32),
        sums,
    )


def merge(first: Partial, second: Partial) -> Partial:
    """The summary of both parts' images, which must be different ones."""
    k = first.k
    values, images = np.concatenate([first.values, second.values], 1), np.concatenate([first.images, second.images], 1)
    order = np.lexsort((images, -values), axis=1)[:, :k]
    return Partial(
        images=np.take_along_axis(images, order, 1),
        values=np.take_along_axis(values, order, 1),
        count=first.count + second.count,
        fired=first.fired + second.fired,
        largest=np.maximum(first.largest, second.largest),
        counts=first.counts + second.counts,
        sums=first.sums + second.sums,
        skipped=tuple(sorted((*first.skipped, *second.skipped), key=lambda s: s.index)),
    )


def merge_all(parts: Iterable[Partial], channels: int, k: int) -> Partial:
    """The summary of all parts."""
    return reduce(merge, parts, empty(channels, k))


def _fill(found: Partial, channels: Ints, values: Floats, images: Ints) -> None:
    """Writes each channel's strongest into an empty summary."""
    order = np.lexsort((images, -values, channels))
    channels, values, images = channels[order], values[order], images[order]
    begins = np.searchsorted(channels, channels)  # where each one's channel begins
    places = np.arange(len(channels)) - begins
    kept = places < found.k
    found.images[channels[kept], places[kept]] = images[kept]
    found.values[channels[kept], places[kept]] = values[kept]
