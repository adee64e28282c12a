"""What hiding each place of an input costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import numpy.typing as npt

from unpool.client import occlusion_requests
from unpool.client.asynchronous.connection import AsyncConnection
from unpool.client.inputs import ImageLike
from unpool.client.occlusion import TargetLike
from unpool.client.occlusion_reader import OcclusionReader
from unpool.client.occlusion_requests import ExampleLike, FillLike, ModeName
from unpool.client.occlusion_streams import AsyncOcclusionStream
from unpool.v1 import (
    occlusion_pb2,
)


class AsyncOcclusion(AsyncConnection):
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
    ) -> AsyncOcclusionStream:
        """What hiding each place of an input costs; see ``Client.occlude``. What goes wrong is raised on iteration."""
        asked = occlusion_requests.listed(targets)

        async def request() -> occlusion_pb2.OccludeRequest:
            return occlusion_requests.occlude(
                model,
                version,
                await asyncio.to_thread(occlusion_requests.examples, image, images, tensor, tensors, inputs, of),
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
        return AsyncOcclusionStream(self._source(self._inspection.Occlude, request, timeout, reader), reader)
