"""What hiding each place of an input costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy.typing as npt

from unpool.client import occlusion_requests
from unpool.client.blocking.connection import Connection
from unpool.client.inputs import ImageLike
from unpool.client.occlusion import TargetLike
from unpool.client.occlusion_reader import OcclusionReader
from unpool.client.occlusion_requests import ExampleLike, FillLike, ModeName
from unpool.client.occlusion_streams import OcclusionStream


class Occlusion(Connection):
    """What hiding each place of an input costs."""

    def occlude(
        self,
        model: str,
        image: ImageLike | None = None,
        *,
        window: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        positions: Sequence[int | Sequence[int]] | None = None,
        fill: FillLike = None,
        targets: TargetLike | Iterable[TargetLike] = (),
        top: int | None = None,
        output: str | None = None,
        probability: bool = False,
        layer: str | None = None,
        projection: bool = False,
        mode: ModeName = "auto",
        only: Iterable[int] | None = None,
        images: Iterable[ImageLike] | None = None,
        tensor: npt.ArrayLike | None = None,
        tensors: Iterable[ExampleLike] | None = None,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        of: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> OcclusionStream:
        """What hiding each place of an input costs: tiles of a grid, coarse first, then ever finer.

        Args:
            model: its name.
            image: as for ``classify``, and so are ``tensor``, ``inputs`` and ``of``; of several inputs the looked-at
                one is hidden in part.
            window: extent of the window, one number or one per spatial axis, in elements of the input.
            stride: steps between windows, which begin at ``range(0, size - window + 1, stride)``; ``None`` is half a
                window.
            positions: instead, where windows begin, one index per spatial axis each.
            fill: what stands in the window; ``None`` is the mean that the preprocessing subtracts.
            targets: what is scored: classes by index or label, or a ``Region`` of an output.
            top: how many of the strongest classes are scored beside; without targets and layer, one.
            output: the output that gives classes; ``None`` is the first with classes.
            probability: apply softmax to logits.
            layer: sum up the strongest feature map of this layer, too.
            projection: give that map's projection from the whole input as well.
            mode: ``"auto"``, ``"boxes"`` or ``"brute force"``; all give the same up to rounding.
            only: numbers of positions, such as ``OcclusionGrid.missing``; ``None`` is all.
            images: instead of one image, several: each gets a grid of its own, one after the other, and all else holds
                for each; ``.grids()`` gives them.
            tensor: see ``classify``.
            tensors: as ``images``, but arrays: each is what ``tensor`` takes, or, of a model with several inputs, what
                ``inputs`` takes, of which ``of`` is hidden in part and the others stay.
            inputs: see ``classify``.
            of: see ``classify``.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the whole stream may take.

        Returns:
            An iterator of tiles with ``.header``, ``.grid()``, ``.grids()``, ``.so_far()`` and ``.close()``.

        Raises:
            UnpoolError: the question cannot be asked; on iteration, the call failed.
            OSError: a path that cannot be read.
        """
        asked = occlusion_requests.listed(targets)
        request = occlusion_requests.occlude(
            model,
            version,
            occlusion_requests.examples(image, images, tensor, tensors, inputs, of),
            window=window,
            stride=stride,
            positions=positions,
            fill=fill,
            targets=asked,
            top=top,
            output=output,
            probability=probability,
            layer=layer,
            projection=projection,
            mode=mode,
            only=only,
        )
        reader = OcclusionReader(asked)
        return OcclusionStream(self._source(self._inspection.Occlude, request, timeout, reader), reader)
