"""Questions about one input: classes, activations, projections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike

import numpy.typing as npt

from unpool.client import parsing, requests
from unpool.client.blocking.connection import Connection
from unpool.client.inputs import ImageLike, build_input
from unpool.client.listing import PolicyName
from unpool.client.readers import CaptureReader, ProjectionReader
from unpool.client.requests import PositionsLike, StartLike
from unpool.client.results import CONTRAST, Activation, CaptureHeader, Classification, Projection, ProjectionHeader
from unpool.client.streams import Stream


class Inspection(Connection):
    """Questions about one input: classes, activations, projections."""

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
        return self._stream(self._inspection.Project, request, timeout, ProjectionReader())
