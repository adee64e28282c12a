"""The messages of a stream, one after another, to its header and results: shared by both kinds of client."""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unpool.client import arrays, parsing
from unpool.client.errors import ServerError
from unpool.client.results import Activation, CaptureHeader, Projection, ProjectionHeader
from unpool.v1 import inspection_pb2, inspection_service_pb2, tensor_pb2

ResponseT = TypeVar("ResponseT", contravariant=True)
HeaderT = TypeVar("HeaderT", covariant=True)
ResultT = TypeVar("ResultT")


class Reader(Protocol, Generic[ResponseT, HeaderT, ResultT]):
    """Takes the messages of one stream in order."""

    @property
    def header(self) -> HeaderT | None:
        """The header, once it has come."""

    @property
    def total(self) -> int:
        """How many results the header promised; 0 before it."""

    def feed(self, response: ResponseT) -> list[ResultT]:
        """Takes one message and gives the results that are complete with it.

        Raises:
            ServerError: the message is not what the contract allows here.
        """

    def finish(self) -> None:
        """Checks that the stream ended where it should.

        Raises:
            ServerError: results are missing.
        """


class ProjectionReader:
    """Reads a stream of projections."""

    def __init__(self) -> None:
        self.header: ProjectionHeader | None = None
        self._seen = 0

    @property
    def total(self) -> int:
        return self.header.total if self.header else 0

    def feed(self, response: inspection_service_pb2.ProjectResponse) -> list[Projection]:
        if response.WhichOneof("message") == "header":
            if self.header:
                raise ServerError("the server sent a second header")
            self.header = parsing.projection_header(response.header)
            return []
        if not self.header:
            raise ServerError("the server sent a projection before the header")
        self._seen += len(response.batch.projections)
        return [read_projection(p, self.header) for p in response.batch.projections]

    def finish(self) -> None:
        if not self.header or self._seen != self.header.total:
            raise ServerError(f"the stream ended after {self._seen} of {self.total} projections")


class CaptureReader:
    """Reads a capture: puts the pieces of each tensor together."""

    def __init__(self) -> None:
        self.header: CaptureHeader | None = None
        self._layers: list[inspection_pb2.CapturedLayer] = []
        self._data = bytearray()
        self._done = 0

    @property
    def total(self) -> int:
        return len(self._layers)

    def feed(self, response: inspection_service_pb2.CaptureResponse) -> list[Activation]:
        if response.WhichOneof("message") == "header":
            if self.header:
                raise ServerError("the server sent a second header")
            self.header = parsing.capture_header(response.header)
            self._layers = list(response.header.layers)
            for captured in self._layers:
                if math.prod(captured.shape) * arrays.item_size(captured.dtype) != captured.byte_size:
                    raise ServerError(f"the server's size of {captured.name} does not fit its shape")
            return self._empty_ones()
        if not self.header:
            raise ServerError("the server sent a piece before the header")
        chunk = response.chunk
        if self._done == len(self._layers) or (chunk.layer, chunk.byte_offset) != (self._done, len(self._data)):
            raise ServerError("the server sent the pieces of the activations out of order")
        captured = self._layers[self._done]
        if len(self._data) + len(chunk.data) > captured.byte_size:
            raise ServerError(f"the server sent more than the {captured.byte_size} bytes of {captured.name}")
        self._data += chunk.data
        return [self._complete(), *self._empty_ones()] if chunk.last else []

    def finish(self) -> None:
        if not self.header or self._done != len(self._layers):
            raise ServerError(f"the stream ended after {self._done} of {len(self._layers)} activations")

    def _empty_ones(self) -> list[Activation]:
        found = []
        while self._done < len(self._layers) and self._layers[self._done].byte_size == 0:
            found.append(self._complete())
        return found

    def _complete(self) -> Activation:
        captured = self._layers[self._done]
        values = arrays.from_bytes(captured.dtype, tuple(captured.shape), self._data)
        self._data = bytearray()
        self._done += 1
        return Activation(captured.name, captured.alias, parsing.axis_roles(captured.roles), values)


def read_projection(message: inspection_pb2.Projection, header: ProjectionHeader) -> Projection:
    """One projection.

    Raises:
        ServerError: its signal does not lie in its box.
    """
    return Projection(
        header=header,
        index=message.index,
        layer=message.layer,
        channel=message.channel,
        label=message.channel_label,
        position=tuple(message.position.index),
        activation=message.activation,
        rank_value=message.rank_value,
        start_value=message.start_value,
        start_not_positive=message.start_not_positive,
        all_zero=message.all_zero,
        box=_box(message.box),
        picture_box=_box(message.picture_box) if message.HasField("picture_box") else None,
        signal=_signal(message, header),
        png=message.png,
        png_magnitude=message.png_magnitude,
        completed=message.completed,
        standing=message.standing if message.HasField("standing") else None,
    )


def _box(box: tensor_pb2.Box) -> tuple[int, ...]:
    return (*box.lower, *box.upper)


def _signal(message: inspection_pb2.Projection, header: ProjectionHeader) -> npt.NDArray[np.float32]:
    if not message.HasField("signal"):
        return np.zeros(0, dtype=np.float32)
    values = arrays.from_message(message.signal)
    box, rank = message.box, len(header.to_plane)
    inside = len(box.lower) == len(box.upper) == rank and all(
        0 <= lower <= upper <= extent
        for lower, upper, extent in zip(box.lower, box.upper, header.to_plane, strict=True)
    )
    extents = tuple(upper - lower for lower, upper in zip(box.lower, box.upper, strict=False))
    if not inside or (rank and values.shape[1:] != extents) or message.signal.dtype != tensor_pb2.DATA_TYPE_FLOAT32:
        raise ServerError(f"the server's signal {list(values.shape)} does not lie in its box {_box(box)}")
    return values.astype(np.float32, copy=False)
