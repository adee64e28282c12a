"""A connection to a server, blocking: what every question goes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from unpool.client import errors
from unpool.client.embedded import EmbeddedServer
from unpool.client.readers import Reader
from unpool.client.streams import Call, Source, Stream
from unpool.client.transport import CHANNEL_OPTIONS, DEFAULT_TARGET, MetadataLike, metadata_of
from unpool.v1 import exemplar_service_pb2_grpc, inspection_service_pb2_grpc, model_service_pb2_grpc

ResponseT = TypeVar("ResponseT")
HeaderT = TypeVar("HeaderT")
ResultT = TypeVar("ResultT")


class Connection:
    """One connection, made when it is first needed; it may be used from several threads.

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
    ) -> Self:
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

    def close(self) -> None:
        """Closes the connection, cancels what runs, and ends the embedded server where there is one."""
        self._channel.close()
        if self._server is not None:
            self._server.stop()

    def __enter__(self) -> Self:
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

    def _source(
        self,
        method: Callable[..., Call[ResponseT]],
        request: object,
        timeout: float | None,
        reader: Reader[ResponseT, HeaderT, ResultT],
    ) -> Source[ResponseT, HeaderT, ResultT]:
        call = method(request, timeout=self._seconds(timeout), metadata=self._metadata)
        return Source(call, reader, self.target, owner=self)

    def _stream(
        self,
        method: Callable[..., Call[ResponseT]],
        request: object,
        timeout: float | None,
        reader: Reader[ResponseT, HeaderT, ResultT],
    ) -> Stream[HeaderT, ResultT]:
        return Stream(self._source(method, request, timeout, reader))
