"""Parity: the model's forward in torch, which every projection is derived from, beside ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from unpool.engine.engine import Engine
from unpool.engine.executor import Settling, forward
from unpool.engine.feeds import Feeds
from unpool.graph.errors import PreconditionError, UnpoolError
from unpool.graph.model import Array, Graph, Node
from unpool.ops import find
from unpool.repository.admission.choices import Choices, chosen
from unpool.repository.admission.rounding import STEPS, Roundings, above, precision, rounds
from unpool.repository.admission.sampling import declared, samples
from unpool.repository.admission.verdict import OutputParity, Parity, sentence

TOLERANCE = 1e-4
"""Of each output's largest magnitude, in float32."""
# ONNX Runtime computes in the model's own precision, torch in float32; and what is rounded on the way stays rounded.
_TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2}
_SHARE = 1e-2


def compare(engine: Engine) -> Parity:
    """Runs the model on random input by ONNX Runtime and by torch, and compares every output.

    Nodes without a forward in torch are given their values by ONNX Runtime, so that the rest can be compared. Quantised
    tensors are compared each by itself, and the nodes behind go on from ONNX Runtime's: see ``rounding``; so they do of
    what is chosen at near-ties: see ``choices``.

    Args:
        engine: the model, on the CPU.
    """
    guessed = "" if declared(engine.model.graph) else "no extent that was tried for what the model leaves open fits: "
    reason = ""
    for feeds in samples(engine.model.graph):
        try:
            expected = engine.run(feeds)
            engine = engine.taken(feeds)
        except UnpoolError as error:
            reason = reason or guessed + str(error)  # the first are the likeliest extents
            continue
        extents = tuple((name, tuple(array.shape)) for name, array in feeds.arrays.items())
        graph = engine.model.graph
        try:
            stepped = {name for node in graph.nodes if rounds(node, graph) for name in node.outputs if name}
            lent = {name for node in graph.nodes if find(node) is None for name in node.outputs if name}
            chose = chosen(graph)
            if stepped or lent or chose:  # together, so that ONNX Runtime rounds, draws and chooses the same for both
                expected = engine.run(feeds, sorted({*graph.outputs, *stepped, *lent, *chose}))
            roundings = Roundings({name: expected[name] for name in stepped})
            choices = Choices({name: expected[name] for name in chose})
            found, borrowed = _by_torch(engine, feeds, partial(_settled, roundings, choices), expected)
        except UnpoolError as error:
            return Parity(extents=extents, reason=sentence(str(error)))
        outputs = tuple(
            _compared(graph, name, expected[name], found[name].numpy(force=True), roundings)
            for name in graph.outputs
            if name in found and name in graph.values
        )
        return Parity(outputs, extents, borrowed, "" if outputs else _uncomputed(graph, borrowed))
    return Parity(reason=sentence(reason or "the model has no input that random numbers could be given to"))


def _uncomputed(graph: Graph, borrowed: Sequence[str]) -> str:
    """Why there is no output to compare."""
    nodes = [str(node) for node in graph.nodes if node.name in borrowed]
    return f"torch has no forward of {nodes[0]}" if nodes else "the model has no computed output"


def _settled(
    roundings: Roundings,
    choices: Choices,
    node: Node,
    inputs: Sequence[torch.Tensor | None],
    results: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    return choices.settle(node, inputs, roundings.settle(node, results))


def _by_torch(
    engine: Engine, feeds: Feeds, settle: Settling, expected: Mapping[str, Array]
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    graph = engine.model.graph
    borrowed = [node for node in graph.nodes if find(node) is None]
    sinks = [name for name in graph.outputs if name in graph.values]
    while True:
        lent = {name for node in borrowed for name in node.outputs if name}
        given = {name: expected[name] for name in lent & expected.keys()}
        if missing := lent - given.keys():
            given |= engine.run(feeds, sorted(missing))
        values = {name: _tensor(array) for name, array in {**feeds.arrays, **given}.items()}
        compared = [name for name in sinks if name not in lent and name not in graph.inputs]
        try:
            executor = replace(engine.executor((), compared), settle=settle)
            found = forward(executor, values) if compared else {}
        except PreconditionError as error:
            node = next((n for n in graph.nodes if n.name == error.node and n not in borrowed), None)
            if node is None:
                raise
            borrowed.append(node)
            continue
        return found, tuple(node.name for node in borrowed)


def _tensor(array: Array) -> torch.Tensor:
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _compared(graph: Graph, name: str, expected: Array, found: Array, roundings: Roundings) -> OutputParity:
    half = precision(graph, name)
    nodes = above(graph, name)
    stepped = any(rounds(node, graph) for node in nodes)
    fault = next((node for node in reversed(nodes) if node.name in roundings.faults), None)
    whole = expected.dtype.kind in "biu"
    return OutputParity(
        name,
        _difference(expected, found),
        _SHARE if whole else _TOLERANCES.get(half, TOLERANCE),
        half,
        STEPS if stepped else 0,
        sentence(f"{fault} {roundings.faults[fault.name]}") if fault else "",
    )


def _difference(expected: Array, found: Array) -> float:
    """Largest difference over the largest magnitude; of whole numbers the share that differ."""
    if expected.shape != found.shape:
        return float("inf")
    if expected.dtype.kind in "biu":
        return float(np.mean(expected != found)) if expected.size else 0.0
    wanted, given = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(wanted)
    if not np.array_equal(np.where(finite, 0.0, wanted), np.where(finite, 0.0, given), equal_nan=True):
        return float("inf")
    scale = float(np.abs(wanted[finite]).max(initial=0.0))
    apart = float(np.abs(wanted[finite] - given[finite]).max(initial=0.0))
    return apart / scale if scale else apart


def as_json(parity: Parity) -> Mapping[str, object]:
    """Parity as an examination sends it."""
    return {
        "outputs": [[o.output, o.difference, o.tolerance, o.precision, o.steps, o.fault] for o in parity.outputs],
        "extents": [[name, list(shape)] for name, shape in parity.extents],
        "borrowed": list(parity.borrowed),
        "reason": parity.reason,
    }
