"""Streams of results: iterate as they come, look at the header, give up at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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


class Call(Protocol[ResponseOutT]):
    """What a stream needs of a blocking call."""

    def __next__(self) -> ResponseOutT: ...
    def cancel(self) -> object: ...


class Source(Generic[ResponseT, HeaderT, ResultT]):
    """A call and the reader of its messages; keeps ``owner``, whose connection it needs, from being collected."""

    def __init__(
        self, call: Call[ResponseT], reader: Reader[ResponseT, HeaderT, ResultT], target: str, owner: object
    ) -> None:
        self._owner = owner
        self._call = call
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

    def pull(self) -> list[ResultT] | None:
        """Waits for the next message; gives the results complete with it, ``None`` at the end.

        Raises:
            UnpoolError: the call failed, or the server broke the contract.
        """
        try:
            return self._reader.feed(next(self._call))
        except StopIteration:
            self._reader.finish()
            return None
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self._target) from None

    def cancel(self) -> None:
        """Ends the call and the server's work for it."""
        self._call.cancel()


class AnySource(Protocol[HeaderOutT, ResultT]):
    """A source of whatever messages."""

    @property
    def header(self) -> HeaderOutT | None: ...
    @property
    def total(self) -> int: ...
    def pull(self) -> list[ResultT] | None: ...
    def cancel(self) -> None: ...


class Stream(Iterator[ResultT], Generic[HeaderT, ResultT]):
    """Results of one call as they come.

    Iterate over it; ``close`` it, leave its ``with`` block or drop it to cancel the call, which ends the server's work.
    Iteration raises what the call fails with (a subclass of ``UnpoolError``).

    Attributes:
        completed: how many results have been handed out.
    """

    def __init__(self, source: AnySource[HeaderT, ResultT]) -> None:
        self._source = source
        self._ready: deque[ResultT] = deque()
        self._ended = False
        self.completed = 0

    @property
    def header(self) -> HeaderT:
        """What holds for all results; waits for it.

        Raises:
            UnpoolError: the call failed, or was closed before the header came.
        """
        while (header := self._source.header) is None:
            if self._ended:
                raise errors.CancelledError("the stream ended before its header came")
            self._pull()
        return header

    @property
    def total(self) -> int:
        """How many results there will be; waits for the header."""
        _ = self.header
        return self._source.total

    def __iter__(self) -> Stream[HeaderT, ResultT]:
        return self

    def __next__(self) -> ResultT:
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._pull()
        self.completed += 1
        return self._ready.popleft()

    def close(self) -> None:
        """Cancels the call and ends the iteration; does nothing when it has ended."""
        ended, self._ended = self._ended, True
        self._ready.clear()
        if not ended:
            self._source.cancel()

    def _pull(self) -> None:
        try:
            results = self._source.pull()
        except BaseException:
            self.close()
            raise
        if results is None:
            self._ended = True
        else:
            self._ready.extend(results)

    def __enter__(self) -> Stream[HeaderT, ResultT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self.close()
