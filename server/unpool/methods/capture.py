"""The activations of chosen layers on one input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from unpool.engine import Engine, Feeds
from unpool.graph.errors import InvalidArgumentError
from unpool.methods.requests import Activation

_GROUP_BYTES = 64 << 20


def capture(engine: Engine, feeds: Feeds, layers: Sequence[str]) -> Iterator[Activation | None]:
    """Runs the model forward and gives the values of some layers.

    Args:
        engine: the model.
        feeds: the inputs.
        layers: tensor names, node names or aliases.

    Yields:
        One activation per layer, in the order asked, in the model's own layout; ``None`` between two runs. Layers are
        run for in groups of bounded size, so that a large model's whole inside never stands in memory at once.

    Raises:
        NotFoundError: unknown layer.
        InvalidArgumentError: no layer named; inputs that the model does not take.
    """
    if not layers:
        raise InvalidArgumentError("layers", "name at least one layer")
    engine.check(feeds)
    engine = engine.taken(feeds, asked=layers)
    found = [(engine.resolve(name, name), name) for name in layers]
    aliases = {layer.name: layer.alias for layer in engine.model.layers}
    shapes = engine.geometry(feeds).shapes
    group: list[str] = []
    size = 0
    for i, (tensor, _) in enumerate(found):
        group.append(tensor)
        size += int(np.prod(shapes.get(tensor, ()))) * 4
        if size < _GROUP_BYTES and i + 1 < len(found):
            continue
        values = engine.run(feeds, list(dict.fromkeys(group)))
        for name in group:
            yield Activation(name, aliases.get(name, ""), values[name])
        yield None
        group, size = [], 0
