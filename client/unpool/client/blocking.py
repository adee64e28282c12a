"""The blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
import numpy.typing as npt

from unpool.client import errors, exemplar_readers, exemplar_requests, occlusion_requests, parsing, requests
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
from unpool.client.occlusion_streams import OcclusionStream
from unpool.client.readers import CaptureReader, ProjectionReader
from unpool.client.requests import PositionsLike, StartLike
from unpool.client.results import CONTRAST, Activation, CaptureHeader, Classification, Projection, ProjectionHeader
from unpool.client.streams import Source, Stream
from unpool.client.transport import CHANNEL_OPTIONS, DEFAULT_TARGET, MetadataLike, metadata_of
from unpool.v1 import exemplar_service_pb2_grpc, inspection_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

ResponseT = TypeVar("ResponseT")


class Client:
    """Asks a server what networks see.

    One client holds one connection, made when it is first needed; it may be used from several threads.

    Args:
        target: the server, ``host:port`` or ``unix:/path``.
        credentials: for TLS; ``None`` speaks in the clear, for loopback and private networks.
        metadata: headers for every call.
        timeout: seconds that a call may take unless told otherwise; ``None`` leaves it to the server.
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
            self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._inspection = inspection_service_pb2_grpc.InspectionServiceStub(self._channel)
        self._exemplars = exemplar_service_pb2_grpc.ExemplarServiceStub(self._channel)

    @classmethod
    def embedded(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        metadata: MetadataLike | None = None,
        timeout: float | None = None,
        startup_timeout: float = 120.0,
    ) -> Client:
        """A client with a server of its own: a child process on a private Unix socket that ends with this one.

        Args:
            path: an ``.onnx`` file, whose model is named after it, or a model repository.
            device: where the server computes, ``auto``, ``cpu`` or ``cuda:N``; ``None`` is the server's default.
            metadata: headers for every call.
            timeout: seconds that a call may take unless told otherwise.
            startup_timeout: seconds that the server may take until it answers.

        Raises:
            EmbeddedError: the server extra is not installed, or the server did not start; the end of its log is in
                the message.
            FileNotFoundError: there is no ``path``.
        """
        server = EmbeddedServer.start(path, device=device, startup_timeout=startup_timeout)
        client = cls(server.target, metadata=metadata, timeout=timeout)
        client._server = server
        return client

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every model of the repository, by name, with those that cannot be served and why.

        Raises:
            UnpoolError: the call failed.
        """
        request = model_service_pb2.ListModelsRequest()
        return parsing.model_summaries(self._unary(self._models.ListModels, request, timeout))

    def model(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Model:
        """Describes one version of a model; loads it where it has not been.

        Raises:
            UnpoolError: the call failed; ``NotFoundError`` has the nearest names.
        """
        request = requests.get_model(name, version)
        return parsing.model(self._unary(self._models.GetModel, request, timeout))

    def layers(
        self, model: str, *, version: int | None = None, of: str | None = None, timeout: float | None = None
    ) -> Iterator[Layer]:
        """The layers of a model, each behind those it is computed from.

        Args:
            model: its name.
            version: which version; ``None`` is the highest that can be served.
            of: the input that receptive fields are counted from; ``None`` is the picture input, or the first.
            timeout: seconds for each page.

        Raises:
            UnpoolError: a call failed, on iteration.
        """
        token = ""
        while True:
            request = requests.list_layers(model, version, of, token)
            page = self._unary(self._models.ListLayers, request, timeout)
            yield from map(parsing.layer, page.layers)
            # Later pages come from the version that gave the first one, even if a higher one has appeared since.
            version, token = page.version, page.next_page_token
            if not token:
                return

    def classify(
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
        """The strongest classes of an output.

        Args:
            model: its name.
            image: a path, the bytes of a picture file, a Pillow picture, or uint8 (H, W, C).
            tensor: the value of the model's single input instead, taken as it is.
            inputs: the values of several inputs instead, by name; ``of`` is the one that is looked at.
            of: see ``inputs``.
            top: how many classes.
            output: which output; ``None`` is the first with classes.
            probability: apply softmax to logits.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the call may take.

        Raises:
            UnpoolError: the call failed.
            OSError: a path that cannot be read.
        """
        shown = build_input(image, tensor, inputs, of)
        request = requests.classify(model, version, shown, top=top, output=output, probability=probability)
        return parsing.classification(self._unary(self._inspection.Classify, request, timeout))

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
    ) -> Stream[CaptureHeader, Activation]:
        """The activations of chosen layers, one tensor after another.

        Args:
            model: its name.
            image: as for ``classify``, and so are ``tensor``, ``inputs`` and ``of``.
            layers: tensor names, node names or aliases.
            tensor: see ``classify``.
            inputs: see ``classify``.
            of: see ``classify``.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the whole stream may take.

        Raises:
            UnpoolError: the question cannot be asked; on iteration, the call failed.
            OSError: a path that cannot be read.
        """
        request = requests.capture(model, version, build_input(image, tensor, inputs, of), layers)
        call = self._inspection.Capture(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, CaptureReader(), self.target, owner=self))

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
    ) -> Stream[ProjectionHeader, Projection]:
        """What units of a layer see, down to the pixels: one projection after another, as they are ready.

        Args:
            model: its name.
            image: as for ``classify``, and so are ``tensor``, ``inputs`` and ``of``.
            layer: tensor name, node name or alias; an output's channels are its classes.
            channels: which channels, in this order.
            top: instead, how many: those strongest on this input. Without either, the strongest nine.
            against: rank them by how they stand among the images of this scanned data set (``""`` is the only one that
                was), not by size; see ``Projection.standing``.
            positions: ``"max"`` (the strongest of each channel), ``"all"``, ``"map"`` (the whole map at once), or
                explicit ones, one index per spatial axis of the layer.
            policy: how the signal is carried down.
            start: what the signal starts as: ``"activation"``, ``"one"`` or a value; ``None`` is the policy's own
                (the activation for deconvnet, 1 for guided and gradient).
            to: tensor where the signal ends; ``None`` is the looked-at input.
            tensor: see ``classify``.
            inputs: see ``classify``.
            of: see ``classify``.
            signals: ``False`` leaves the signals out, for pictures and boxes only.
            png: have the server draw each projection as well.
            contrast: gain of those drawings.
            version: which version; ``None`` is the highest that can be served.
            timeout: seconds that the whole stream may take.

        Returns:
            An iterator with ``.header``, ``.total`` and ``.close()``.

        Raises:
            UnpoolError: the question cannot be asked; on iteration, the call failed.
            OSError: a path that cannot be read.
        """
        request = requests.project(
            model,
            version,
            build_input(image, tensor, inputs, of),
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
        call = self._inspection.Project(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, ProjectionReader(), self.target, owner=self))

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
        call = self._exemplars.ScanExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, ScanReader(), self.target, owner=self))

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
        call = self._exemplars.ProjectExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, ExemplarReader(), self.target, owner=self))

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
        call = self._exemplars.TraceEvolution(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, EvolutionReader(), self.target, owner=self))

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
        call = self._exemplars.CompareExemplars(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Stream(Source(call, ComparisonReader(), self.target, owner=self))

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
        call = self._inspection.Occlude(request, timeout=self._seconds(timeout), metadata=self._metadata)
        reader = OcclusionReader(asked)
        return OcclusionStream(Source(call, reader, self.target, owner=self), reader)

    def close(self) -> None:
        """Closes the connection, cancels what runs, and ends the embedded server where there is one."""
        self._channel.close()
        if self._server is not None:
            self._server.stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout

    def _unary(self, method: Callable[..., ResponseT], request: object, timeout: float | None) -> ResponseT:
        try:
            return method(request, timeout=self._seconds(timeout), metadata=self._metadata)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self.target) from None
