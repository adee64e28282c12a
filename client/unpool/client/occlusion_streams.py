"""Streams of tiles that also give their grid."""

from __future__ import annotations

from unpool.client.async_streams import AnyAsyncSource, AsyncStream
from unpool.client.occlusion import GridBuilder, OcclusionGrid, OcclusionHeader, OcclusionTile
from unpool.client.occlusion_reader import OcclusionReader
from unpool.client.streams import AnySource, Stream


class OcclusionStream(Stream[OcclusionHeader, OcclusionTile]):
    """Tiles of one call as they come, coarse first; see ``Stream``."""

    def __init__(self, source: AnySource[OcclusionHeader, OcclusionTile], reader: OcclusionReader) -> None:
        super().__init__(source)
        self._reader = reader
        self._builder = GridBuilder()

    def __next__(self) -> OcclusionTile:
        tile = super().__next__()
        self._builder.add(tile)
        return tile

    def so_far(self) -> OcclusionGrid:
        """The grid of the tiles that were handed out; waits for the header alone."""
        return self._builder.grid(self.header, self._reader.projection)

    def grid(self) -> OcclusionGrid:
        """The grid; drains what is left.

        Raises:
            UnpoolError: the call failed.
        """
        for _ in self:
            pass
        return self.so_far()


class AsyncOcclusionStream(AsyncStream[OcclusionHeader, OcclusionTile]):
    """The same for ``async for``; see ``AsyncStream``."""

    def __init__(self, source: AnyAsyncSource[OcclusionHeader, OcclusionTile], reader: OcclusionReader) -> None:
        super().__init__(source)
        self._reader = reader
        self._builder = GridBuilder()

    async def __anext__(self) -> OcclusionTile:
        tile = await super().__anext__()
        self._builder.add(tile)
        return tile

    async def so_far(self) -> OcclusionGrid:
        """The grid of the tiles that were handed out; waits for the header alone."""
        return self._builder.grid(await self.header(), self._reader.projection)

    async def grid(self) -> OcclusionGrid:
        """The grid; drains what is left.

        Raises:
            UnpoolError: the call failed.
        """
        async for _ in self:
            pass
        return await self.so_far()
