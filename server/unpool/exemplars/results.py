"""What a scan found, as values: exemplars, and statistics of channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.exemplars.sketch import quantile

Box = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Exemplar:
    """An image and a position that excite a channel most.

    Attributes:
        layer: tensor name.
        channel: the channel.
        place: 0 for the strongest.
        image: the image's number in the data set; ``key`` and ``label`` are its name and its class.
        position: one index per axis of the layer that is neither batch nor channel.
        rank_value: what images are ranked by: the value before a bounded rectifier's clip.
        activation: the layer's own value.
        box: the receptive field in the input, clipped to its plane; ``plane`` is the input's extent.
        cut: the receptive field reaches beyond the plane, so that the patch is smaller than others.
        picture_box: the same in the upright picture, in pixels; ``None`` where the data set holds tensors.
    """

    layer: str
    channel: int
    place: int
    image: int
    key: str
    label: str
    position: tuple[int, ...]
    rank_value: float
    activation: float
    box: Box
    plane: tuple[int, ...]
    cut: bool
    picture_box: Box | None


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """A channel over the data set. It counts images, not positions.

    Each image stands for the one maximum that the channel has over its positions there (before a bounded rectifier's
    clip), however many of them fire.

    Attributes:
        layer, channel: which.
        images: how many were seen, without those that were skipped.
        fired: on how many its maximum is positive.
        mean: of the maxima over all images, those where it did not fire counting as 0.
        maximum: the largest one; where it never fired 0 behind a rectifier, 0 or less where ranked values are not
            rectified.
        counts: int64 (BINS,), images by the size of the maximum; see ``sketch``.
    """

    layer: str
    channel: int
    images: int
    fired: int
    mean: float
    maximum: float
    counts: npt.NDArray[np.int64]

    @property
    def dead(self) -> bool:
        """It fired on no image."""
        return self.fired == 0

    @property
    def firing_rate(self) -> float:
        """The share of images on which it fired."""
        return self.fired / max(self.images, 1)

    def quantile(self, q: float) -> float:
        """The value below which a share ``q`` of the maxima lies, 0 where it did not fire; to one part in 16."""
        return quantile(self.counts, self.images - self.fired, q)
