"""Questions about a model over a data set: scans, exemplars, evolution, comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike

from unpool.client import exemplar_readers, exemplar_requests
from unpool.client.blocking.connection import Connection
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
from unpool.client.streams import Stream


class Exemplars(Connection):
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
    ) -> Stream[ScanInfo, ScanProgress]:
        """Goes once over a data set and keeps every channel's strongest images on the server.

        A scan that was cut off goes on where it stopped; one that is complete is answered at once. Leaving the stream
        does not lose what was done.

        Args:
            model: its name.
            dataset: path or URI, as the server sees it: a folder of pictures, Parquet with image bytes, NumPy arrays.
            layers: tensor names, node names or aliases; none are the outputs of all rectifiers.
            k: images kept of each channel.
            places: the most positions of one image among a channel's exemplars.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the whole scan may take.

        Raises:
            UnpoolError: on iteration, the call failed; ``BusyError`` where another scan of the same is running.
        """
        request = exemplar_requests.scan(model, version, dataset, layers, k, places)
        return self._stream(self._exemplars.ScanExemplars, request, timeout, ScanReader())

    def channels(
        self,
        model: str,
        *,
        layer: str,
        channels: int | Iterable[int] | None = None,
        dataset: str | PathLike[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Channel]:
        """The channels of a scanned layer: statistics over the data set, and exemplars.

        Args:
            model: its name.
            layer: tensor name, node name or alias.
            channels: which; ``None`` is all.
            dataset: as it was scanned; ``None`` is the only one that was.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds for each page.

        Raises:
            UnpoolError: a call failed, on iteration; ``PreconditionError`` where there is no such scan.
        """
        token = ""
        while True:
            request = exemplar_requests.list_exemplars(model, version, dataset, layer, channels, token)
            page = self._unary(self._exemplars.ListExemplars, request, timeout)
            yield from exemplar_readers.channels(page)
            version, token = page.scan.version, page.next_page_token
            if not token:
                return

    def exemplars(
        self,
        model: str,
        *,
        layer: str,
        channel: int,
        dataset: str | PathLike[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> tuple[Exemplar, ...]:
        """A channel's exemplars, the strongest first; arguments as for ``channels``."""
        found = self.channels(model, layer=layer, channels=channel, dataset=dataset, version=version, timeout=timeout)
        return tuple(exemplar for one in found for exemplar in one.exemplars)

    def patch(
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
        """What the unit of an exemplar saw, as PNG; arguments as for ``channels``, ``place`` 0 is the strongest."""
        request = exemplar_requests.patch(model, version, dataset, layer, channel, place)
        return self._unary(self._exemplars.GetPatch, request, timeout).png

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
    ) -> Stream[ProjectionHeader, ExemplarProjection]:
        """What the units of exemplars see: patch and projection of each, as they are ready.

        Args:
            model: its name.
            layer: tensor name, node name or alias.
            channels: which.
            count: exemplars of each channel; 0 is all that were kept.
            policy: how the signal is carried down.
            dataset: as it was scanned; ``None`` is the only one that was.
            signals: ``False`` leaves the signals out.
            patches: ``False`` leaves the patches out.
            png: have the server draw each projection as well.
            contrast: gain of those drawings.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the whole stream may take.

        Raises:
            UnpoolError: on iteration, the call failed.
        """
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
    ) -> Stream[EvolutionInfo, EvolutionStep | VersionProgress | Settling]:
        """How features came to be over the versions of a model; scans those that have not been.

        Args:
            model: its name.
            dataset: path or URI, as the server sees it.
            layer: tensor name, node name or alias, the same in every version.
            channels: which.
            versions: which versions; none are all that can be served.
            policy: how the signal is carried down.
            signals: ``False`` leaves the signals out.
            timeout: seconds that the whole stream may take.

        Raises:
            UnpoolError: on iteration, the call failed.
        """
        request = exemplar_requests.evolution(
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
    ) -> Stream[ComparisonInfo, ComparedFeature | SideProgress]:
        """The same features of several models or versions side by side; scans those that have not been.

        Args:
            sides: two to eight models, by name or as ``Side``, which may name a version, a layer and channels.
            dataset: path or URI, as the server sees it.
            layer: tensor name, node name or alias, at every side that names none.
            channels: which of the first side where that names none; others have the same numbers where they name none.
            match: look instead, at sides without channels, for the channel that shares most images with the first
                side's; in networks trained apart the same number means nothing.
            count: exemplars of each feature and side; 0 is all that were kept.
            policy: how the signal is carried down.
            signals: ``False`` leaves the signals out.
            timeout: seconds that the whole stream may take.

        Raises:
            UnpoolError: on iteration, the call failed.
        """
        request = exemplar_requests.compare(
            sides, dataset, layer, channels, match=match, count=count, policy=policy, signals=signals
        )
        return self._stream(self._exemplars.CompareExemplars, request, timeout, ComparisonReader())
