"""Binding a model's symbolic shapes to one input."""

from __future__ import annotations

from collections.abc import Mapping

from unpool.graph.model import Array, Dim, Graph


def bind(graph: Graph, arrays: Mapping[str, Array]) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """Extents of every value as far as the symbols tell.

    Returns:
        The shapes found, and the names of the values that only a run can tell.
    """
    symbols: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in graph.inputs:
        declared, found = graph.values[name].shape, arrays[name].shape
        shapes[name] = tuple(found)
        for dim, extent in zip(declared or (), found, strict=False):
            if isinstance(dim, str):
                symbols.setdefault(dim, extent)
    unknown: set[str] = set()
    for name, value in graph.values.items():
        if name in shapes:
            continue
        shape = _substitute(value.shape, symbols)
        if shape is None:
            unknown.add(name)
        else:
            shapes[name] = shape
    return shapes, frozenset(unknown)


def _substitute(shape: tuple[Dim, ...] | None, symbols: Mapping[str, int]) -> tuple[int, ...] | None:
    if shape is None:
        return None
    found = [symbols.get(d) if isinstance(d, str) else d for d in shape]
    return tuple(d for d in found if d is not None) if all(d is not None for d in found) else None
