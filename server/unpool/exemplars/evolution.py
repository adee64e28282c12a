"""How features came to be: each version's strongest image of a channel, and how many channels changed theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unpool.exemplars.results import Exemplar


@dataclass(frozen=True)
class Settling:
    """Between two versions: ``changed`` of a layer's ``channels`` have another strongest image, or fire at one only."""

    layer: str
    earlier: int
    later: int
    changed: int
    channels: int

    @property
    def share(self) -> float:
        """The share of the channels that changed; near 0 the layer has settled."""
        return self.changed / max(self.channels, 1)


def strongest(exemplars: Iterable[Exemplar]) -> dict[int, Exemplar]:
    """Channel -> its strongest exemplar, of the channels that have one."""
    return {e.channel: e for e in exemplars if e.place == 0}


def settling(
    layer: str, channels: int, earlier: tuple[int, Mapping[int, Exemplar]], later: tuple[int, Mapping[int, Exemplar]]
) -> Settling:
    """How much a layer changed between two versions, each with the strongest of its channels."""
    (first, before), (second, after) = earlier, later
    changed = sum(changes(before.get(channel), after.get(channel)) for channel in range(channels))
    return Settling(layer, first, second, changed, channels)


def changes(before: Exemplar | None, after: Exemplar | None) -> bool:
    """Whether the strongest image is another one."""
    return (before.image if before is not None else None) != (after.image if after is not None else None)
