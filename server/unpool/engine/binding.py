"""Binding a model's symbolic shapes to one input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from unpool.graph.errors import PreconditionError
from unpool.graph.model import Array, Dim, Graph

Shape = tuple[int, ...]


class UncountedError(PreconditionError, KeyError):
    """Extents that nobody knows, because the model fails on the input that decides them; says how it fails.

    A key that is missing, so that whoever can do without these extents does; who asks for them all the same is told.
    """

    __str__ = Exception.__str__


class Extents(Mapping[str, Shape]):
    """Value name -> its extents for one input.

    What the numbers of the input decide, as the count of the boxes that a detector keeps, is found out by a run when it
    is first asked for; a model that fails on this input leaves it unknown: such a value is missing here, and asking for
    it raises ``UncountedError`` with the reason.

    Args:
        decided: what the extents of the input decide.
        count: tells the rest.
    """

    def __init__(self, decided: Mapping[str, Shape], count: Callable[[], Mapping[str, Shape]]) -> None:
        self.decided = decided
        self._count = count
        self._failure: PreconditionError | None = None

    @cached_property
    def _counted(self) -> Mapping[str, Shape]:
        try:
            return self._count()
        except PreconditionError as error:
            self._failure = error
            return {}

    def __getitem__(self, name: str) -> Shape:
        if name in self.decided:
            return self.decided[name]
        if name not in self._counted and self._failure is not None:
            raise UncountedError(str(self._failure), node=self._failure.node) from self._failure
        return self._counted[name]

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
