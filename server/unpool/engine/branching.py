"""Branching: which branches of a model's Ifs an input takes, and the models in which these are taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from unpool.engine.recent import Recent
from unpool.graph import Model, decide, undecided
from unpool.graph.deciding import in_words
from unpool.graph.errors import ModelError, PreconditionError

_COMBINATIONS = 8
"""How many combinations of branches are kept ready: each has sessions, and weights in torch, of its own."""


class _Running(Protocol):
    @property
    def copies(self) -> int: ...

    def close(self) -> None: ...


E = TypeVar("E", bound=_Running)


@dataclass(eq=False)
class Branches(Generic[E]):
    """What runs a model for each combination of branches that inputs took; threads may share it.

    Attributes:
        model: the model whose Ifs are decided.
        make: makes what runs a decided model, which is given with words for the combination.
    """

    model: Model
    make: Callable[[Model, str], E]
    _made: Recent[tuple[tuple[str, bool], ...], list[E]] = field(default_factory=lambda: Recent(_COMBINATIONS))
    _ways: tuple[E, ...] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def copies(self) -> int:
        """How many times the combinations that are kept hold the model's weights."""
        with self._lock:
            return sum(each.copies for kept in self._made.values() for each in kept)

    def conditions(self, asked: Iterable[str] | None = None, changing: str | None = None) -> tuple[str, ...]:
        """What has to be known to decide: names of values.

        Args:
            asked: values that are wanted, all of them where it is not given; an If that none is computed from is left.
            changing: an input whose numbers are yet to be changed; what is computed from them decides nothing.
        """
        graph, found = self.model.graph, undecided(self.model)
        if asked is not None and found:
            behind = graph.ancestors(asked)
            read = {i for name in behind if (node := graph.producers.get(name)) for i in node.inputs}
            found = tuple(name for name in found if name in read)
        if changing is not None and found:
            changed = graph.descendants([changing], extents=False)
            found = tuple(name for name in found if name not in changed)
        return found

    def taken(self, found: Mapping[str, Tensor]) -> E:
        """What runs the model with the branches that some values of conditions lead to.

        Raises:
            PreconditionError: a condition that is not one truth value, or a branch that cannot be served.
        """
        values = {name: _truth(name, tensor) for name, tensor in sorted(found.items())}
        with self._lock:
            kept = self._made.find(tuple(values.items()), list)
            if not kept:
                words = in_words(values)
                try:
                    kept.append(self.make(decide(self.model, values), words))
                except ModelError as error:
                    reason = f"the branch that this input takes (where {words}) cannot be served: {error}"
                    raise PreconditionError(reason, node=error.node) from error
            return kept[0]

    def ways(self) -> tuple[E, ...]:
        """What runs the model on the ways through its branches that can be served; they are made on first use."""
        with self._lock:
            if self._ways is None:
                found = [(way, way.model) for way in self.model.ways]
                self._ways = tuple(
                    self.make(model, in_words(way.conditions)) for way, model in found if model is not None
                )
            return self._ways

    def close(self) -> None:
        """Lets go of everything that was made."""
        with self._lock:
            for each in [*(each for kept in self._made.values() for each in kept), *(self._ways or ())]:
                each.close()
            self._made.clear()
            self._ways = None


def _truth(name: str, tensor: Tensor) -> bool:
    if tensor.numel() != 1:
        raise PreconditionError(
            f"'{name}', which decides an If, has {tensor.numel()} elements on this input; one is needed"
        )
    return bool(tensor.item())
