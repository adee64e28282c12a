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
    is first asked for. Where the model fails on this input, what leads to the value is run alone; if that fails too,
    the value is missing here, and asking for it raises ``UncountedError`` with the reason.

    Args:
        decided: what the extents of the input decide.
        count: tells the rest; given a name, what that value is computed from, and itself.
    """

    def __init__(self, decided: Mapping[str, Shape], count: Callable[[str | None], Mapping[str, Shape]]) -> None:
        self.decided = decided
        self._count = count
        self._fails = False
        self._failures: dict[str, PreconditionError] = {}

    @cached_property
    def _counted(self) -> dict[str, Shape]:
        try:
            return dict(self._count(None))
        except PreconditionError:
            self._fails = True
            return {}

    def __getitem__(self, name: str) -> Shape:
        if name in self.decided:
            return self.decided[name]
        if name not in self._counted and self._fails:
            if name not in self._failures:
                try:
                    self._counted.update(self._count(name))
                except PreconditionError as error:
                    self._failures[name] = error
            if failure := self._failures.get(name):
                raise UncountedError(str(failure), node=failure.node) from failure
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
