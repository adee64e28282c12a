"""The asynchronous client: the same questions and answers as the blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
import grpc.aio
import numpy.typing as npt

from unpool.client import errors, exemplar_readers, exemplar_requests, occlusion_requests, parsing, requests
from unpool.client.async_streams import AsyncCall, AsyncSource, AsyncStream
from unpool.client.embedded import EmbeddedServer
from unpool.client.exemplar_readers import ComparisonReader, EvolutionReader, ExemplarReader, ScanReader
from unpool.client.exemplars import (
    Channel,
    ComparedFeature,
    ComparisonInfo,
    EvolutionInfo,
    EvolutionStep,
    Exemplar,
    ExemplarProjection,
    ScanInfo,
    ScanProgress,
    Settling,
    Side,
    SideProgress,
    VersionProgress,
)
from unpool.client.inputs import ImageLike, build_input
from unpool.client.listing import Layer, Model, ModelSummary, PolicyName
from unpool.client.occlusion import TargetLike
from unpool.client.occlusion_reader import OcclusionReader
from unpool.client.occlusion_requests import ExampleLike, FillLike, ModeName
from unpool.client.occlusion_streams import AsyncOcclusionStream
from unpool.client.readers import CaptureReader, ProjectionReader
from unpool.client.requests import PositionsLike, StartLike
from unpool.client.results import CONTRAST, Activation, CaptureHeader, Classification, Projection, ProjectionHeader
from unpool.client.transport import CHANNEL_OPTIONS, DEFAULT_TARGET, MetadataLike, metadata_of
from unpool.v1 import (
    exemplar_service_pb2,
    exemplar_service_pb2_grpc,
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    occlusion_pb2,
)

ResponseT = TypeVar("ResponseT")


class AsyncClient:
    """Asks a server what networks see, without blocking the event loop. Make it inside the loop that uses it.

    Arguments as for ``Client``; so are those of the methods, and what they raise.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataLike | None = None,
        timeout: float | None = None,
    ) -> None:
        self.target = target
        self.timeout = timeout
        self._metadata = metadata_of(metadata)
        self._server: EmbeddedServer | None = None
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        self._models: model_service_pb2_grpc.ModelServiceAsyncStub
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._inspection: inspection_service_pb2_grpc.InspectionServiceAsyncStub
        self._inspection = inspection_service_pb2_grpc.InspectionServiceStub(self._channel)
        self._exemplars: exemplar_service_pb2_grpc.ExemplarServiceAsyncStub
        self._exemplars = exemplar_service_pb2_grpc.ExemplarServiceStub(self._channel)

    @classmethod
    async def embedded(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        metadata: MetadataLike | None = None,
        timeout: float | None = None,
        startup_timeout: float = 120.0,
    ) -> AsyncClient:
        """A client with a server of its own; see ``Client.embedded``."""
        start = partial(EmbeddedServer.start, path, device=device, startup_timeout=startup_timeout)
        server = await asyncio.to_thread(start)
        client = cls(server.target, metadata=metadata, timeout=timeout)
        client._server = server
        return client

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every model of the repository; see ``Client.models``."""
        request = model_service_pb2.ListModelsRequest()
        return parsing.model_summaries(await self._unary(self._models.ListModels, request, timeout))

    async def model(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Model:
        """Describes one version of a model; see ``Client.model``."""
        request = requests.get_model(name, version)
        return parsing.model(await self._unary(self._models.GetModel, request, timeout))

    async def layers(
        self, model: str, *, version: int | None = None, of: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Layer]:
        """The layers of a model; see ``Client.layers``."""
        token = ""
        while True:
            request = requests.list_layers(model, version, of, token)
            page = await self._unary(self._models.ListLayers, request, timeout)
            for layer in page.layers:
                yield parsing.layer(layer)
            version, token = page.version, page.next_page_token
            if not token:
                return

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

        async def start() -> AsyncCall[inspection_service_pb2.CaptureResponse]:
            shown = await asyncio.to_thread(build_input, image, tensor, inputs, of)
            request = requests.capture(model, version, shown, layers)
            return self._inspection.Capture(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(start, CaptureReader(), self.target, owner=self))

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

        async def begin() -> AsyncCall[inspection_service_pb2.ProjectResponse]:
            request = requests.project(
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
            return self._inspection.Project(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(begin, ProjectionReader(), self.target, owner=self))

    def scan(
        self,
        model: str,
        dataset: str | PathLike[str],
        *,
        layers: str | Iterable[str] = (),
        k: int = 9,
        places: int = 1,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncStream[ScanInfo, ScanProgress]:
        """Scans a data set; see ``Client.scan``. Whatever goes wrong is raised on iteration."""
        request = exemplar_requests.scan(model, version, dataset, layers, k, places)

        async def begin() -> AsyncCall[exemplar_service_pb2.ScanExemplarsResponse]:
            return self._exemplars.ScanExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(begin, ScanReader(), self.target, owner=self))

    async def channels(
        self,
        model: str,
        *,
        layer: str,
        channels: int | Iterable[int] | None = None,
        dataset: str | PathLike[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Channel]:
        """The channels of a scanned layer; see ``Client.channels``."""
        token = ""
        while True:
            request = exemplar_requests.list_exemplars(model, version, dataset, layer, channels, token)
            page = await self._unary(self._exemplars.ListExemplars, request, timeout)
            for channel in exemplar_readers.channels(page):
                yield channel
            version, token = page.scan.version, page.next_page_token
            if not token:
                return

    async def exemplars(
        self,
        model: str,
        *,
        layer: str,
        channel: int,
        dataset: str | PathLike[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> tuple[Exemplar, ...]:
        """A channel's exemplars; see ``Client.exemplars``."""
        found = self.channels(model, layer=layer, channels=channel, dataset=dataset, version=version, timeout=timeout)
        return tuple([exemplar async for one in found for exemplar in one.exemplars])

    async def patch(
        self,
        model: str,
        *,
        layer: str,
        channel: int,
        place: int = 0,
        dataset: str | PathLike[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """What the unit of an exemplar saw; see ``Client.patch``."""
        request = exemplar_requests.patch(model, version, dataset, layer, channel, place)
        return (await self._unary(self._exemplars.GetPatch, request, timeout)).png

    def project_exemplars(
        self,
        model: str,
        *,
        layer: str,
        channels: int | Iterable[int],
        count: int = 0,
        policy: PolicyName = "deconvnet",
        dataset: str | PathLike[str] | None = None,
        signals: bool = True,
        patches: bool = True,
        png: bool = False,
        contrast: float = CONTRAST,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncStream[ProjectionHeader, ExemplarProjection]:
        """Projections of exemplars; see ``Client.project_exemplars``. Whatever goes wrong is raised on iteration."""
        request = exemplar_requests.project(
            model,
            version,
            dataset,
            layer,
            channels,
            count=count,
            policy=policy,
            signals=signals,
            patches=patches,
            png=png,
            contrast=contrast,
        )

        async def begin() -> AsyncCall[exemplar_service_pb2.ProjectExemplarsResponse]:
            return self._exemplars.ProjectExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(begin, ExemplarReader(), self.target, owner=self))

    def evolution(
        self,
        model: str,
        dataset: str | PathLike[str],
        *,
        layer: str,
        channels: int | Iterable[int],
        versions: Iterable[int] = (),
        policy: PolicyName = "deconvnet",
        signals: bool = True,
        timeout: float | None = None,
    ) -> AsyncStream[EvolutionInfo, EvolutionStep | VersionProgress | Settling]:
        """How features came to be; see ``Client.evolution``. Whatever goes wrong is raised on iteration."""
        request = exemplar_requests.evolution(
            model, dataset, layer, channels, versions=versions, policy=policy, signals=signals
        )

        async def begin() -> AsyncCall[exemplar_service_pb2.TraceEvolutionResponse]:
            return self._exemplars.TraceEvolution(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(begin, EvolutionReader(), self.target, owner=self))

    def compare(
        self,
        sides: Iterable[Side | str],
        dataset: str | PathLike[str],
        *,
        layer: str = "",
        channels: int | Iterable[int] = (),
        match: bool = False,
        count: int = 0,
        policy: PolicyName = "deconvnet",
        signals: bool = True,
        timeout: float | None = None,
    ) -> AsyncStream[ComparisonInfo, ComparedFeature | SideProgress]:
        """The same features side by side; see ``Client.compare``. Whatever goes wrong is raised on iteration."""
        request = exemplar_requests.compare(
            sides, dataset, layer, channels, match=match, count=count, policy=policy, signals=signals
        )

        async def begin() -> AsyncCall[exemplar_service_pb2.CompareExemplarsResponse]:
            return self._exemplars.CompareExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncStream(AsyncSource(begin, ComparisonReader(), self.target, owner=self))

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

        async def begin() -> AsyncCall[occlusion_pb2.OccludeResponse]:
            request = occlusion_requests.occlude(
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
            return self._inspection.Occlude(request, timeout=self._seconds(timeout), metadata=self._metadata)

        reader = OcclusionReader(asked)
        return AsyncOcclusionStream(AsyncSource(begin, reader, self.target, owner=self), reader)

    async def close(self) -> None:
        """Closes the connection, cancels what runs, and ends the embedded server where there is one."""
        await self._channel.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout

    async def _unary(
        self, method: Callable[..., Awaitable[ResponseT]], request: object, timeout: float | None
    ) -> ResponseT:
        try:
            return await method(request, timeout=self._seconds(timeout), metadata=self._metadata)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self.target) from None
