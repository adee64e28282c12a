"""Features of several networks beside each other: which of their strongest images they share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from unpool.exemplars.results import Exemplar


def images(exemplars: Iterable[Exemplar]) -> dict[int, frozenset[int]]:
    """Channel -> the images among its exemplars, of the channels that have any."""
    found: dict[int, set[int]] = defaultdict(set)
    for exemplar in exemplars:
        found[exemplar.channel].add(exemplar.image)
    return {channel: frozenset(some) for channel, some in found.items()}


def most_alike(wanted: Collection[int], found: Mapping[int, Collection[int]]) -> int | None:
    """The channel that shares most images with ``wanted``, ties to the lower number; ``None`` where none shares any.

    Args:
        wanted: a channel's images.
        found: channel -> its images, of the network that is looked through.
    """
    shared = Counter({channel: len(set(wanted).intersection(some)) for channel, some in found.items()})
    best = max(shared.values(), default=0)
    return min((channel for channel, count in shared.items() if count == best), default=None) if best else None
