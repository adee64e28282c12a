"""Random inputs for a model that nobody knows: of its declared extents, with usual ones where it leaves them open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from unpool.engine.feeds import Feeds
from unpool.graph.model import Array, AxisKind, Graph, Value

# Extents for what the model leaves open, tried in turn: pictures first, then what deep pyramids and short signals take;
# then the sides of pictures that networks are trained on, since a classifier often takes one side alone.
_OPEN = (224, 64, 512, 33, 1, 32, 28, 96, 128, 160, 256, 112, 192, 240, 299, 384, 48, 16)
_MOST_ELEMENTS = 1 << 26
_LONGEST_NAME = 200


def samples(graph: Graph) -> Iterator[Feeds]:
    """Random inputs of the declared extents, batch 1; what else is open is bound to one of several extents.

    Args:
        graph: the model.

    Yields:
        One for each extent that is tried, and where all are declared, one more of numbers as a picture has, between 0
        and 1: what noise leads to, as a detector's empty list, a model may not take. Nothing where an input's rank is
        unknown or it holds no numbers.
    """
    if not graph.inputs or any(graph.values[name].shape is None for name in graph.inputs):
        return
    for extent, unnamed in _tried(graph):
        rng = np.random.default_rng(20131112)
        symbols = _symbols(graph, extent, unnamed)
        shapes = {name: _shape(graph.values[name], symbols, extent, unnamed) for name in graph.inputs}
        if any(np.prod([float(d) for d in shape]) > _MOST_ELEMENTS for shape in shapes.values()):
            continue
        arrays = {name: _random(rng, graph.values[name].dtype, shapes[name]) for name in graph.inputs}
        found = {name: array for name, array in arrays.items() if array is not None}
        if len(found) == len(arrays):
            yield Feeds(found, graph.inputs[0])
            if declared(graph):
                yield Feeds({name: _light(array) for name, array in found.items()}, graph.inputs[0])


def declared(graph: Graph) -> bool:
    """Whether the model says how large every input is, but for the number of images."""
    return not any(_is_open(graph.values[name]) for name in graph.inputs)


def _is_open(value: Value) -> bool:
    return value.shape is None or any(
        not isinstance(d, int) and axis.kind is not AxisKind.BATCH
        for d, axis in zip(value.shape, value.axes, strict=True)
    )


def _tried(graph: Graph) -> Iterator[tuple[int, int]]:
    """Extents for open axes, and for those of them of which nobody knows what they are.

    These are tried as the others first, then as 1: the batch of a state often bears no name.
    """
    if declared(graph):
        yield _OPEN[0], _OPEN[0]
        return
    yield from ((extent, extent) for extent in _OPEN)
    yield from ((extent, 1) for extent in _OPEN if extent != 1)


def _symbols(graph: Graph, extent: int, unnamed: int) -> dict[str, int]:
    """Symbol -> its extent, the same wherever it stands: a mask is as long as the tokens that it masks."""
    kinds: dict[str, set[AxisKind]] = {}
    for value in (graph.values[name] for name in graph.inputs):
        for dim, axis in zip(value.shape or (), value.axes, strict=True):
            if isinstance(dim, str):
                kinds.setdefault(dim, set()).add(axis.kind)
    plain = {symbol: _extent(found, extent, unnamed) for symbol, found in kinds.items()}
    return plain | {symbol: _sum(symbol, plain, plain[symbol]) for symbol in plain if not symbol.isidentifier()}


def _sum(symbol: str, extents: Mapping[str, int], default: int) -> int:
    """What exporters write of extents that belong together: "past + new" is as long as both, "2*half" as two."""
    terms = [[factor.strip() for factor in term.split("*")] for term in symbol[:_LONGEST_NAME].split("+")]
    if not all(f.isidentifier() or (f.isascii() and f.isdecimal()) for term in terms for f in term):
        return default
    read = [[extents.get(f, default) if f.isidentifier() else int(f) for f in term] for term in terms]
    return min(sum(math.prod(term) for term in read), _MOST_ELEMENTS)


def _extent(kinds: set[AxisKind], extent: int, unnamed: int) -> int:
    if AxisKind.BATCH in kinds:
        return 1
    if kinds == {AxisKind.OTHER}:
        return unnamed
    return 3 if kinds == {AxisKind.CHANNEL} else extent


def _shape(value: Value, symbols: Mapping[str, int], extent: int, unnamed: int) -> tuple[int, ...]:
    found = []
    for dim, axis in zip(value.shape or (), value.axes, strict=True):
        if isinstance(dim, int):
            found.append(dim)
        elif isinstance(dim, str):
            found.append(symbols[dim])
        else:
            found.append(_extent({axis.kind}, extent, unnamed))
    return tuple(found)


def _light(array: Array) -> Array:
    """Numbers of both signs as numbers between 0 and 1."""
    if array.dtype.kind != "f":
        return array
    found: Array = (0.5 + 0.5 * np.tanh(array.astype(np.float64))).astype(array.dtype)
    return found


def _random(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array | None:
    if dtype in ("", "float32", "float64", "float16"):
        return rng.standard_normal(shape).astype(dtype or "float32")
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.startswith(("int", "uint")):
        # Tokens and lengths: small numbers are in every table.
        return rng.integers(0, 256 if dtype == "uint8" else 2, shape).astype(dtype)
    return None
