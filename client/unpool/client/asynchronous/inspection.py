"""Questions about one input: classes, activations, projections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from os import PathLike

import numpy.typing as npt

from unpool.client import parsing, requests
from unpool.client.async_streams import AsyncStream
from unpool.client.asynchronous.connection import AsyncConnection
from unpool.client.inputs import ImageLike, build_input
from unpool.client.listing import PolicyName
from unpool.client.readers import CaptureReader, ProjectionReader
from unpool.client.requests import PositionsLike, StartLike
from unpool.client.results import CONTRAST, Activation, CaptureHeader, Classification, Projection, ProjectionHeader
from unpool.v1 import (
    inspection_service_pb2,
)


class AsyncInspection(AsyncConnection):
    """Questions about one input: classes, activations, projections."""

    async def classify(
        self,
        model: str,
        image: ImageLike | None = None,
        *,
        tensor: npt.ArrayLike | None = None,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        of: str | None = None,
        top: int = 5,
        output: str | None = None,
        probability: bool = False,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Classification:
        """The strongest classes of an output; see ``Client.classify``."""
        shown = await asyncio.to_thread(build_input, image, tensor, inputs, of)
        request = requests.classify(model, version, shown, top=top, output=output, probability=probability)
        return parsing.classification(await self._unary(self._inspection.Classify, request, timeout))

    def capture(
        self,
        model: str,
        image: ImageLike | None = None,
        *,
        layers: str | Iterable[str],
        tensor: npt.ArrayLike | None = None,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        of: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncStream[CaptureHeader, Activation]:
        """The activations of chosen layers; see ``Client.capture``. Whatever goes wrong is raised on iteration."""

        async def request() -> inspection_service_pb2.CaptureRequest:
            shown = await asyncio.to_thread(build_input, image, tensor, inputs, of)
            return requests.capture(model, version, shown, layers)

        return self._stream(self._inspection.Capture, request, timeout, CaptureReader())

    def project(
        self,
        model: str,
        image: ImageLike | None = None,
        *,
        layer: str,
        channels: int | Iterable[int] | None = None,
        top: int | None = None,
        against: str | PathLike[str] | None = None,
        positions: PositionsLike = "max",
        policy: PolicyName = "deconvnet",
        start: StartLike = None,
        to: str | None = None,
        tensor: npt.ArrayLike | None = None,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        of: str | None = None,
        signals: bool = True,
        png: bool = False,
        contrast: float = CONTRAST,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncStream[ProjectionHeader, Projection]:
        """What units of a layer see; see ``Client.project``. Whatever goes wrong is raised on iteration."""

        async def request() -> inspection_service_pb2.ProjectRequest:
            return requests.project(
                model,
                version,
                await asyncio.to_thread(build_input, image, tensor, inputs, of),
                layer=layer,
                channels=channels,
                top=top,
                positions=positions,
                policy=policy,
                start=start,
                to=to,
                signals=signals,
                png=png,
                contrast=contrast,
                against=against,
            )

        return self._stream(self._inspection.Project, request, timeout, ProjectionReader())
