"""Streams of tiles that also give their grids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from unpool.client.async_streams import AnyAsyncSource, AsyncStream
from unpool.client.occlusion import GridBuilder, OcclusionGrid, OcclusionHeader, OcclusionTile
from unpool.client.occlusion_reader import OcclusionReader
from unpool.client.streams import AnySource, Stream


class _Grids:
    """The grids of a stream, one for each picture, as far as tiles were handed out.

    Attributes:
        whole: how many are whole; pictures come one after the other.
    """

    def __init__(self, reader: OcclusionReader) -> None:
        self._reader = reader
        self._builders = [GridBuilder()]
        self.whole = 0

    def add(self, tile: OcclusionTile) -> None:
        while len(self._builders) <= tile.header.example:
            self._builders.append(GridBuilder())
        self._builders[tile.header.example].add(tile)
        self.whole += tile.completed == tile.header.total

    def grid(self, example: int) -> OcclusionGrid:
        if not 0 <= example < len(self._builders):
            raise IndexError(f"of picture {example} no tile has come yet")
        return self._builders[example].grid(self._reader.headers[example], self._reader.projections.get(example))

    def only(self) -> OcclusionGrid:
        if len(self._builders) > 1:
            raise ValueError(f"there are {len(self._builders)} grids, one for each picture; use grids()")
        return self.grid(0)


class OcclusionStream(Stream[OcclusionHeader, OcclusionTile]):
    """Tiles of one call as they come, coarse first; those of several pictures one after the other. See ``Stream``."""

    def __init__(self, source: AnySource[OcclusionHeader, OcclusionTile], reader: OcclusionReader) -> None:
        super().__init__(source)
        self._grids = _Grids(reader)

    def __next__(self) -> OcclusionTile:
        tile = super().__next__()
        self._grids.add(tile)
        return tile

    def so_far(self, example: int = 0) -> OcclusionGrid:
        """The grid of the tiles that were handed out; waits for the header alone.

        Args:
            example: of which of several pictures, from 0.

        Raises:
            UnpoolError: the call failed.
            IndexError: no tile of that picture was handed out.
        """
        _ = self.header
        return self._grids.grid(example)

    def grid(self) -> OcclusionGrid:
        """The grid; drains what is left.

        Raises:
            UnpoolError: the call failed.
            ValueError: several pictures were asked about.
        """
        for _ in self:
            pass
        _ = self.header
        return self._grids.only()

    def grids(self) -> Iterator[OcclusionGrid]:
        """The grid of each picture, in their order, each as soon as it is whole.

        Raises:
            UnpoolError: the call failed.
        """
        given = 0
        while True:
            while given < self._grids.whole:
                yield self._grids.grid(given)
                given += 1
            if next(self, None) is None:
                return


class AsyncOcclusionStream(AsyncStream[OcclusionHeader, OcclusionTile]):
    """The same for ``async for``; see ``AsyncStream``."""

    def __init__(self, source: AnyAsyncSource[OcclusionHeader, OcclusionTile], reader: OcclusionReader) -> None:
        super().__init__(source)
        self._grids = _Grids(reader)

    async def __anext__(self) -> OcclusionTile:
        tile = await super().__anext__()
        self._grids.add(tile)
        return tile

    async def so_far(self, example: int = 0) -> OcclusionGrid:
        """The grid of the tiles that were handed out; waits for the header alone.

        Args:
            example: of which of several pictures, from 0.

        Raises:
            UnpoolError: the call failed.
            IndexError: no tile of that picture was handed out.
        """
        await self.header()
        return self._grids.grid(example)

    async def grid(self) -> OcclusionGrid:
        """The grid; drains what is left.

        Raises:
            UnpoolError: the call failed.
            ValueError: several pictures were asked about.
        """
        async for _ in self:
            pass
        await self.header()
        return self._grids.only()

    async def grids(self) -> AsyncIterator[OcclusionGrid]:
        """The grid of each picture, in their order, each as soon as it is whole.

        Raises:
            UnpoolError: the call failed.
        """
        given = 0
        while True:
            while given < self._grids.whole:
                yield self._grids.grid(given)
                given += 1
            if await anext(self, None) is None:
                return
