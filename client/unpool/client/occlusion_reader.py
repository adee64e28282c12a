"""The messages of an occlusion, one after another, to its header and tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unpool.client import parsing
from unpool.client.errors import ServerError
from unpool.client.occlusion import OcclusionHeader, OcclusionTile, ScoredTarget, TargetLike, keys_of
from unpool.client.readers import read_projection
from unpool.client.results import Projection
from unpool.v1 import occlusion_pb2


class OcclusionReader:
    """Reads a stream of tiles.

    Args:
        asked: the targets as they were asked for.
    """

    def __init__(self, asked: Sequence[TargetLike]) -> None:
        self._asked = asked
        self._seen = 0
        self.headers: list[OcclusionHeader] = []
        self.projections: dict[int, Projection] = {}

    @property
    def header(self) -> OcclusionHeader | None:
        """Of the first example."""
        return self.headers[0] if self.headers else None

    @property
    def total(self) -> int:
        """Positions of all examples."""
        return self.headers[0].overall if self.headers else 0

    def feed(self, response: occlusion_pb2.OccludeResponse) -> list[OcclusionTile]:
        kind = response.WhichOneof("message")
        if kind == "header":
            if response.header.example != len(self.headers):
                raise ServerError(f"the server sent header {response.header.example}, due was {len(self.headers)}")
            self.headers.append(_header(response.header, self._asked))
            return []
        if not self.headers:
            raise ServerError("the server sent a tile before the header")
        if kind == "projection":
            told = parsing.projection_header(response.projection.header)
            self.projections[len(self.headers) - 1] = read_projection(response.projection.projection, told)
            return []
        found = _tile(response.tile, self.headers[-1])
        self._seen += len(found.numbers)
        return [found]

    def finish(self) -> None:
        if not self.headers or self._seen != self.total:
            raise ServerError(f"the stream ended after {self._seen} of {self.total} positions")


def _tile(message: occlusion_pb2.OcclusionTile, header: OcclusionHeader) -> OcclusionTile:
    numbers = np.array(message.numbers, np.int64)
    count, targets = len(numbers), len(header.targets)
    fits = (
        len(message.scores) == targets * count
        and len(message.labels) in (0, count)
        and len(message.map_sums) in (0, count)
        and (not count or (numbers.min() >= 0 and numbers.max() < int(np.prod(header.shape))))
    )
    if not fits:
        raise ServerError(f"the server's tile of {count} positions does not fit the grid {header.shape}")
    return OcclusionTile(
        header=header,
        numbers=numbers,
        scores=np.array(message.scores, np.float32).reshape(targets, count),
        labels=np.array(message.labels, np.int64),
        map_sums=np.array(message.map_sums, np.float64),
        completed=message.completed,
        coarse=message.coarse,
    )


def _header(message: occlusion_pb2.OcclusionHeader, asked: Sequence[TargetLike]) -> OcclusionHeader:
    shape = tuple(message.shape)
    begins = np.array(message.begins, np.int64)
    ends = np.cumsum(shape)[:-1] if message.stride else None
    rows = np.split(begins, ends) if ends is not None else [begins.reshape(shape[0] if shape else 0, -1)]
    keys = keys_of(asked, (t.index for t in message.targets))
    return OcclusionHeader(
        provenance=parsing.provenance(message.provenance),
        geometry=parsing.geometry(message.geometry),
        window=tuple(message.window),
        stride=tuple(message.stride),
        shape=shape,
        begins=tuple(rows),
        targets=tuple(
            ScoredTarget(key, t.output, tuple(t.box.lower), tuple(t.box.upper), t.index, t.label, t.baseline)
            for key, t in zip(keys, message.targets, strict=True)
        ),
        label_output=message.label_output,
        label_index=message.label.index if message.HasField("label") else -1,
        label=message.label.label,
        layer=message.layer,
        alias=message.alias,
        channel=message.channel,
        map_sum=message.map_sum,
        total=message.total,
        boxed=message.boxed,
        saved=message.saved,
        probability=message.probability,
        fill=message.fill,
        warnings=tuple(message.warnings),
        example=message.example,
        overall=message.overall,
    )
