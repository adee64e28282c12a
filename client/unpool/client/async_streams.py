"""Streams of results for ``async for``: as they come, with a header, to be given up at any time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import grpc

from unpool.client import errors
from unpool.client.readers import Reader

HeaderT = TypeVar("HeaderT")
ResultT = TypeVar("ResultT")
ResponseT = TypeVar("ResponseT")
ResponseOutT = TypeVar("ResponseOutT", covariant=True)
HeaderOutT = TypeVar("HeaderOutT", covariant=True)


class AsyncCall(Protocol[ResponseOutT]):
    """What a stream needs of an asynchronous call."""

    def __aiter__(self) -> AsyncIterator[ResponseOutT]: ...
    def cancel(self) -> object: ...


class AsyncSource(Generic[ResponseT, HeaderT, ResultT]):
    """A call, not started yet, and the reader of its messages; keeps ``owner``, whose connection it needs."""

    def __init__(
        self,
        start: Callable[[], Awaitable[AsyncCall[ResponseT]]],
        reader: Reader[ResponseT, HeaderT, ResultT],
        target: str,
        owner: object,
    ) -> None:
        self._owner = owner
        self._start = start
        self._call: AsyncCall[ResponseT] | None = None
        self._messages: AsyncIterator[ResponseT] | None = None
        self._reader = reader
        self._target = target

    @property
    def header(self) -> HeaderT | None:
        """The header, once it has come."""
        return self._reader.header

    @property
    def total(self) -> int:
        """How many results the header promised."""
        return self._reader.total

    async def pull(self) -> list[ResultT] | None:
        """Starts the call where it has not been; waits for the next message; gives the results complete with it.

        Returns:
            The results, or ``None`` at the end.

        Raises:
            UnpoolError: the question cannot be asked, the call failed, or the server broke the contract.
        """
        try:
            if self._messages is None:
                self._call = await self._start()
                self._messages = aiter(self._call)
            return self._reader.feed(await anext(self._messages))
        except StopAsyncIteration:
            self._reader.finish()
            return None
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self._target) from None

    def cancel(self) -> None:
        """Ends the call and the server's work for it."""
        if self._call is not None:
            self._call.cancel()


class AnyAsyncSource(Protocol[HeaderOutT, ResultT]):
    """A source of whatever messages."""

    @property
    def header(self) -> HeaderOutT | None: ...
    @property
    def total(self) -> int: ...
    async def pull(self) -> list[ResultT] | None: ...
    def cancel(self) -> None: ...


class AsyncStream(AsyncIterator[ResultT], Generic[HeaderT, ResultT]):
    """Results of one call as they come. The call starts when the first result, or the header, is asked for.

    ``close`` it, leave its ``async with`` block or drop it to cancel the call, which ends the server's work. Iteration
    raises what the call fails with (a subclass of ``UnpoolError``).

    Attributes:
        completed: how many results have been handed out.
    """

    def __init__(self, source: AnyAsyncSource[HeaderT, ResultT]) -> None:
        self._source = source
        self._ready: deque[ResultT] = deque()
        self._ended = False
        self.completed = 0

    async def header(self) -> HeaderT:
        """What holds for all results; waits for it.

        Raises:
            UnpoolError: the call failed, or was closed before the header came.
        """
        while (header := self._source.header) is None:
            if self._ended:
                raise errors.CancelledError("the stream ended before its header came")
            await self._pull()
        return header

    async def total(self) -> int:
        """How many results there will be; waits for the header."""
        await self.header()
        return self._source.total

    def __aiter__(self) -> AsyncStream[HeaderT, ResultT]:
        return self

    async def __anext__(self) -> ResultT:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            await self._pull()
        self.completed += 1
        return self._ready.popleft()

    async def close(self) -> None:
        """Cancels the call and ends the iteration; does nothing when it has ended."""
        self._close()

    def _close(self) -> None:
        ended, self._ended = self._ended, True
        self._ready.clear()
        if not ended:
            self._source.cancel()

    async def _pull(self) -> None:
        try:
            results = await self._source.pull()
        except asyncio.CancelledError:
            # gRPC raises this also where the call, not the task that reads it, was cancelled: by `close` elsewhere.
            task = asyncio.current_task()
            if self._ended and task is not None and not task.cancelling():
                return
            self._close()
            raise
        except BaseException:
            self._close()
            raise
        if results is None:
            self._ended = True
        elif not self._ended:
            self._ready.extend(results)

    async def __aenter__(self) -> AsyncStream[HeaderT, ResultT]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self._close()
