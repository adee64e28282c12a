"""Plans: which values enter where, which leave, which are captured on the way; and the route of a signal back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from unpool.engine.hoisting import rectified_before_unpooling
from unpool.engine.policies import Policy, rule_of
from unpool.engine.step import Step
from unpool.graph.errors import PreconditionError
from unpool.graph.model import FROM_CONTAINERS, Graph, Node
from unpool.ops.quantization import quantised


@dataclass(frozen=True)
class Plan:
    """A forward run.

    Attributes:
        sources: values that are fed; empty means the model's inputs.
        sinks: values that are wanted; what they do not need is not run.
        switches: max-pool nodes, by name, whose switches are wanted.
        shapes: values of which only the extents are wanted.
        signs: float32 values of which only the sign is wanted.
    """

    sinks: frozenset[str]
    switches: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    signs: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether nothing is wanted."""
        return not (self.sinks or self.switches or self.shapes or self.signs)


@dataclass(frozen=True, eq=False)
class Route:
    """A signal's whole way from some seeds to some sinks, nodes last to first.

    Attributes:
        seeds: where signals enter.
        to: where they end.
        policy: whose rules the steps carry.
        steps: in the order of crossing.
        values: values to capture whole.
        masks: values of which the sign is captured.
        switches: max-pool nodes, by name, whose switches are captured.
        fallbacks: nodes that the policy has no rule of its own for, crossed by the vector-Jacobian product.
    """

    seeds: frozenset[str]
    to: frozenset[str]
    policy: Policy
    steps: tuple[Step, ...]
    values: frozenset[str]
    masks: frozenset[str]
    switches: frozenset[str]
    fallbacks: tuple[Node, ...]


def _steps(graph: Graph, active: Set[str], seeds: Set[str], policy: Policy) -> Iterator[Step]:
    """The crossings of every node between active values, last to first."""
    for node in reversed(graph.nodes):
        wanted = tuple(i in active for i in node.inputs)
        if not any(wanted) or not any(o in active for o in node.outputs):
            continue
        rule = rule_of(node, graph, policy)
        if rule is None:
            behind = [o for o in node.outputs if o in active and o not in seeds]
            raise PreconditionError(f"the signal cannot cross {node}: {_unknown(node, behind)}", node=node.name)
        yield Step(node, rule, wanted)


_INSIDE = frozenset({"If", "Loop", "Scan"})


def _unknown(node: Node, behind: Sequence[str]) -> str:
    """Why a node has no rule, and what can be asked for nevertheless."""
    standard = node.domain in ("", "ai.onnx")
    if standard and node.op_type in _INSIDE:
        why = "which nodes it runs, or how often, is decided while the model runs"
    elif standard and node.op_type in FROM_CONTAINERS:
        why = "what the sequence or optional value that it reads holds is decided while the model runs"
    else:
        why = f"no derivative of {node.kind} is known"
    end = f", or end the signal behind it with 'to': {' or '.join(map(repr, behind))}" if behind else ""
    return f"{why}; ask for a layer that does not go through it{end}"


FLOATS = frozenset({"float32", "float16", "bfloat16", "float64", ""})


def carriers(graph: Graph) -> frozenset[str]:
    """Values that a signal may pass: real numbers, and whole ones that stand for them in a quantised model."""
    found = {name for name, value in graph.values.items() if value.dtype in FLOATS}
    for node in graph.nodes:
        reads_one = any(i in found for i in node.inputs)
        for i, name in enumerate(node.outputs):
            if name and name not in found and quantised(node, i, graph.values[name].dtype, reads_one=reads_one):
                found.add(name)
    return frozenset(found)


def _entries(graph: Graph, name: str, seeds: Iterable[str], most: int = 3) -> list[str]:
    """The first tensors of real numbers on the way from one of whole numbers to the seeds: what embeds it."""
    below = graph.descendants([name], extents=False)
    whole = {v for v in below if v in graph.values and graph.values[v].dtype not in FLOATS}
    above = graph.ancestors(seeds)
    found = [
        output
        for node in graph.nodes
        if not whole.isdisjoint(node.inputs)
        for output in node.outputs
        if output in above and graph.values[output].dtype in FLOATS
    ]
    return found[:most]


def _apart(graph: Graph, seed: str, to: Iterable[str]) -> str:
    """Why no value of ``to`` reaches a seed."""
    ends = ", ".join(repr(t) for t in sorted(to))
    if seed in graph.descendants(to):
        return f"no signal comes from '{seed}' to {ends}: it is computed from the extents alone"
    return f"'{seed}' is not computed from {ends}"


def _through_whole_numbers(graph: Graph, seeds: Iterable[str], to: Iterable[str]) -> str:
    """Why a signal ends before it arrives, and where it may end."""
    start = f"no signal comes from {', '.join(repr(s) for s in sorted(seeds))}"
    if stored := [s for s in sorted(seeds) if graph.values[s].dtype not in FLOATS]:
        return f"{start}, which holds {graph.values[stored[0]].dtype}: whole numbers have no derivative"
    named = [repr(entry) for name in sorted(to) for entry in _entries(graph, name, seeds)]
    instead = f"; end the signal where they become real again with 'to': {' or '.join(named)}" if named else ""
    return f"{start} to {', '.join(repr(t) for t in sorted(to))}: only whole numbers lead there{instead}"


def route(graph: Graph, seeds: Iterable[str], to: Iterable[str], policy: Policy) -> Route:
    """Finds the way back.

    Raises:
        PreconditionError: a seed is not computed from any of ``to``, or by whole numbers only, or a node on the way
            cannot be crossed; the message names it.
    """
    seeds, to = frozenset(seeds), frozenset(to)
    for name in sorted(to):
        if graph.values[name].dtype not in FLOATS:
            named = [repr(entry) for entry in _entries(graph, name, seeds)]
            instead = f": {' or '.join(named)}" if named else ", such as an embedding"
            raise PreconditionError(
                f"no signal ends at '{name}', which holds {graph.values[name].dtype}; name a tensor of real numbers on"
                f" the way with 'to'{instead}"
            )
    below = graph.descendants(to, extents=False)
    for seed in sorted(seeds - below):
        raise PreconditionError(_apart(graph, seed, to))
    active = graph.ancestors(seeds) & below & carriers(graph) - graph.measured
    steps = rectified_before_unpooling(list(_steps(graph, active, seeds, policy)), kept=seeds | to)
    values: set[str] = set()
    masks: set[str] = set()
    switches: set[str] = set()
    reached = set(seeds)
    for step in steps:
        node, rule = step.node, step.rule
        if not reached.isdisjoint(node.outputs):
            reached.update(i for i, due in zip(node.inputs, step.wanted, strict=True) if due)
        indices = range(len(node.inputs)) if rule.inputs is None else rule.inputs
        values.update(node.inputs[i] for i in indices if i < len(node.inputs) and node.inputs[i] in graph.values)
        # As good as constants, and known from a run only.
        values.update(name for name in node.inputs if name in graph.measured)
        values.update(node.outputs[i] for i in rule.outputs)
        if rule.mask:
            masks.add(node.outputs[0])
        if rule.switches:
            switches.add(node.name)
    fallbacks = tuple(s.node for s in steps if not s.rule.exact and policy is not Policy.GRADIENT)
    if reached.isdisjoint(to):
        raise PreconditionError(_through_whole_numbers(graph, seeds, to))
    return Route(
        seeds,
        to,
        policy,
        tuple(steps),
        frozenset(values),
        frozenset(masks - values),
        frozenset(switches),
        fallbacks,
    )
