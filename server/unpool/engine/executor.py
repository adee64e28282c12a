"""The differentiable executor: any segment of a model forward in torch, so that autograd runs through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from unpool.engine.plan import Plan
from unpool.engine.stumbling import STUMBLES, stumbled
from unpool.engine.weights import Weights
from unpool.graph.errors import PreconditionError
from unpool.graph.model import Graph, Node
from unpool.ops import find, run

Settling: TypeAlias = Callable[[Node, Sequence[Tensor | None], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""(node, its inputs, its outputs) -> what the nodes behind it are given."""


@dataclass(frozen=True, eq=False)
class Executor:
    """Runs a plan's nodes one after another in torch.

    Attributes:
        graph: the model.
        weights: its constants.
        plan: where values enter (``sources``; empty means the model's inputs) and leave (``sinks``).
        settle: looks at the outputs of each node before they are read; nothing does by default.
    """

    graph: Graph
    weights: Weights
    plan: Plan
    settle: Settling | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the segment, in order."""
        needed = set(self.plan.sinks)
        sources = self.plan.sources or frozenset(self.graph.inputs)
        chosen: list[Node] = []
        for node in reversed(self.graph.nodes):
            if any(o in needed and o not in sources for o in node.outputs):
                chosen.append(node)
                needed.update(i for i in node.inputs if i)
        return tuple(reversed(chosen))

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the segment.

        Args:
            values: value name -> tensor, for every source; further values may be given as constants from a forward run,
                and are then not computed. Extents may differ from the model's own where its operators allow it.

        Returns:
            The sinks. Gradients flow from them to whatever of ``values`` requires them.

        Raises:
            PreconditionError: a node without a forward in torch, or a value that is neither given nor computed; names
                it.
        """
        known: dict[str, Tensor] = dict(values)
        nodes = [n for n in self.nodes if not all(o in values for o in n.outputs if o)]
        last = self._last_use(nodes)
        for i, node in enumerate(nodes):
            if find(node) is None:
                raise PreconditionError(
                    f"{node}: {node.kind} has no forward in torch",
                    node=node.name,
                )
            inputs = self._inputs(node, known)
            try:
                results = run(node, inputs)
                results = self.settle(node, inputs, results) if self.settle else results
            except (NotImplementedError, TypeError) as error:  # an attribute or a mode that no forward here knows
                raise PreconditionError(f"{node} has no forward in torch: {error}", node=node.name) from error
            except STUMBLES as error:
                shapes = ", ".join(str(tuple(t.shape)) if t is not None else "nothing" for t in inputs)
                sentence = f"{node} fails in torch on inputs of shapes {shapes}, which ONNX Runtime takes"
                raise stumbled(node, error, sentence) from error
            known.update(
                (name, r) for name, r in zip(node.outputs, results, strict=False) if name and name not in values
            )
            for name in last.get(i, ()):
                known.pop(name, None)
        return {name: known[name] for name in sorted(self.plan.sinks)}

    def _inputs(self, node: Node, known: Mapping[str, Tensor]) -> list[Tensor | None]:
        found = [self._input(name, node, known) for name in node.inputs]
        if any(t is not None and self._single_here(name, t) for name, t in zip(node.inputs, found, strict=True)):
            return [_single(t) if t is not None else None for t in found]
        return found

    def _single_here(self, name: str, tensor: Tensor) -> bool:
        """Whether something of another width in the model is float32 here, as weights are, and what they lead to."""
        constant = self.graph.constants.get(name)
        declared = self.graph.values[name].dtype if constant is None else constant.dtype
        return tensor.dtype == torch.float32 and declared in ("float16", "bfloat16", "float64")

    def _input(self, name: str, node: Node, known: Mapping[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in known:
            return known[name]
        if name in self.weights:
            return self.weights[name]
        raise PreconditionError(
            f"{node} reads '{name}', which is neither fed nor computed in this segment", node=node.name
        )

    def _last_use(self, nodes: Iterable[Node]) -> dict[int, list[str]]:
        """Node index -> values that nobody reads behind it, so that they can be let go of."""
        uses: dict[str, int] = {}
        for i, node in enumerate(nodes):
            for name in (*node.inputs, *node.outputs):
                uses[name] = i
        found: dict[int, list[str]] = {}
        for name, i in uses.items():
            if name not in self.plan.sinks:
                found.setdefault(i, []).append(name)
        return found


def _single(x: Tensor) -> Tensor:
    """Real numbers of any width as float32; what a cast rounded stays rounded."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16, torch.float64) else x


def forward(executor: Executor, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Runs a segment without keeping anything for backward."""
    with torch.no_grad():
        return executor(values)
