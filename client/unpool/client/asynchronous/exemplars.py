"""Questions about a model over a data set: scans, exemplars, evolution, comparison."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from os import PathLike

from unpool.client import exemplar_readers, exemplar_requests
from unpool.client.async_streams import AsyncStream
from unpool.client.asynchronous.connection import AsyncConnection
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
from unpool.client.listing import PolicyName
from unpool.client.results import CONTRAST, ProjectionHeader
from unpool.v1 import (
    exemplar_service_pb2,
)


class AsyncExemplars(AsyncConnection):
    """Questions about a model over a data set: scans, exemplars, evolution, comparison."""

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

        async def request() -> exemplar_service_pb2.ScanExemplarsRequest:
            return exemplar_requests.scan(model, version, dataset, layers, k, places)

        return self._stream(self._exemplars.ScanExemplars, request, timeout, ScanReader())

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

        async def request() -> exemplar_service_pb2.ProjectExemplarsRequest:
            return exemplar_requests.project(
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

        return self._stream(self._exemplars.ProjectExemplars, request, timeout, ExemplarReader())

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

        async def request() -> exemplar_service_pb2.TraceEvolutionRequest:
            return exemplar_requests.evolution(
                model, dataset, layer, channels, versions=versions, policy=policy, signals=signals
            )

        return self._stream(self._exemplars.TraceEvolution, request, timeout, EvolutionReader())

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

        async def request() -> exemplar_service_pb2.CompareExemplarsRequest:
            return exemplar_requests.compare(
                sides, dataset, layer, channels, match=match, count=count, policy=policy, signals=signals
            )

        return self._stream(self._exemplars.CompareExemplars, request, timeout, ComparisonReader())
