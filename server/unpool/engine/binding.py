"""Binding a model's symbolic shapes to one input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from unpool.graph.errors import PreconditionError
from unpool.graph.model import Array, Dim, Graph

Shape = tuple[int, ...]


class Extents(Mapping[str, Shape]):
    """Value name -> its extents for one input.

    What the numbers of the input decide, as the count of the boxes that a detector keeps, is found out by a run when it
    is first asked for; a model that fails on this input leaves it unknown, and tells why where those values are needed.

    Args:
        decided: what the extents of the input decide.
        count: tells the rest.
    """

    def __init__(self, decided: Mapping[str, Shape], count: Callable[[], Mapping[str, Shape]]) -> None:
        self.decided = decided
        self._count = count

    @cached_property
    def _counted(self) -> Mapping[str, Shape]:
        try:
            return self._count()
        except PreconditionError:
            return {}

    def __getitem__(self, name: str) -> Shape:
        return self.decided[name] if name in self.decided else self._counted[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.decided
        yield from self._counted

    def __len__(self) -> int:
        return len(self.decided) + len(self._counted)


def bind(graph: Graph, arrays: Mapping[str, Array]) -> tuple[dict[str, Shape], frozenset[str]]:
    """Extents of every value as far as the symbols tell.

    Returns:
        The shapes found, and the names of the values that only a run can tell.
    """
    symbols: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
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


def _substitute(shape: tuple[Dim, ...] | None, symbols: Mapping[str, int]) -> Shape | None:
    if shape is None:
        return None
    found = [symbols.get(d) if isinstance(d, str) else d for d in shape]
    return tuple(d for d in found if d is not None) if all(d is not None for d in found) else None
