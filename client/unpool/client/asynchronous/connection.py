"""A connection to a server, without blocking: what every question goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from unpool.client import errors
from unpool.client.async_streams import AsyncCall, AsyncSource, AsyncStream
from unpool.client.embedded import EmbeddedServer
from unpool.client.readers import Reader
from unpool.client.transport import CHANNEL_OPTIONS, DEFAULT_TARGET, MetadataLike, metadata_of
from unpool.v1 import exemplar_service_pb2_grpc, inspection_service_pb2_grpc, model_service_pb2_grpc

ResponseT = TypeVar("ResponseT")
HeaderT = TypeVar("HeaderT")
ResultT = TypeVar("ResultT")


class AsyncConnection:
    """One connection. Make it inside the loop that uses it. Arguments as for ``Connection``."""

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
    ) -> Self:
        """A client with a server of its own; see ``Client.embedded``."""
        start = partial(EmbeddedServer.start, path, device=device, startup_timeout=startup_timeout)
        server = await asyncio.to_thread(start)
        client = cls(server.target, metadata=metadata, timeout=timeout)
        client._server = server
        return client

    async def close(self) -> None:
        """Closes the connection, cancels what runs, and ends the embedded server where there is one."""
        await self._channel.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def __aenter__(self) -> Self:
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

    def _source(
        self,
        method: Callable[..., AsyncCall[ResponseT]],
        request: Callable[[], Awaitable[object]],
        timeout: float | None,
        reader: Reader[ResponseT, HeaderT, ResultT],
    ) -> AsyncSource[ResponseT, HeaderT, ResultT]:
        """A call whose request is made when it starts, so that whatever is wrong with it is raised on iteration."""

        async def start() -> AsyncCall[ResponseT]:
            return method(await request(), timeout=self._seconds(timeout), metadata=self._metadata)

        return AsyncSource(start, reader, self.target, owner=self)

    def _stream(
        self,
        method: Callable[..., AsyncCall[ResponseT]],
        request: Callable[[], Awaitable[object]],
        timeout: float | None,
        reader: Reader[ResponseT, HeaderT, ResultT],
    ) -> AsyncStream[HeaderT, ResultT]:
        return AsyncStream(self._source(method, request, timeout, reader))
