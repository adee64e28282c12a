"""Normalising: every pass on a model, and the frozen view that comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from unpool.graph.errors import ModelError
from unpool.graph.frozen import freeze
from unpool.graph.layers import Layers
from unpool.graph.model import Graph
from unpool.graph.passes.activations import recognise_activations
from unpool.graph.passes.axes import label_axes
from unpool.graph.passes.batch import free_batch
from unpool.graph.passes.branches import inline_known_branches
from unpool.graph.passes.constants import lift_constants, remove_unused_initializers
from unpool.graph.passes.folding import fold_shape_computations
from unpool.graph.passes.gates import mark_gates
from unpool.graph.passes.inlining import inline_functions
from unpool.graph.passes.loops import agree_on_conditions
from unpool.graph.passes.optionals import settle_optionals
from unpool.graph.passes.parts import slice_planes
from unpool.graph.passes.sequences import untangle_sequences
from unpool.graph.passes.shapes import infer_shapes, name_input_dims
from unpool.graph.passes.strided import straighten_views
from unpool.graph.stages import stage
from unpool.graph.validation import check_model, check_outputs

# Each round of folding can reveal shapes that let another one happen; real graphs need one or two.
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Model:
    """A network as the server knows it.

    Attributes:
        digest: SHA-256, in hex, of the file's bytes and of its external data.
        runtime: the normalised model that ONNX Runtime executes; the file's tensor names survive, weights are lazy.
        graph: the frozen view: axes labelled, written-out activations as one node, gates marked.
        layers: what one can ask about.
        left_out: outputs of the file that are not offered, because they hold lists, maps or text.
        ways: through its Ifs that an input is yet to decide; see ``unpool.graph.deciding``.
    """

    digest: str
    runtime: ir.Model
    graph: Graph
    layers: Layers
    left_out: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True, eq=False)
class Way:
    """One way of deciding a model's Ifs.

    Attributes:
        conditions: what each condition is, those within branches behind the others.
        first: how many of them are not within branches.
        model: the decided model; ``None`` where it cannot be served.
        reason: why it cannot be served, one sentence; mostly empty.
    """

    conditions: Mapping[str, bool]
    first: int
    model: Model | None
    reason: str = ""


def normalise(model: ir.Model) -> Graph:
    """Runs every pass on a model, in place, and freezes the result.

    Raises:
        ModelError: a model that cannot be served.
    """
    with stage("inlining the model's own functions"):
        inline_functions(model)
    with stage("checking the model"):
        check_model(model)
        _sort(model.graph)
    with stage("reading the constants"):
        lift_constants(model)
    with stage("inferring shapes"):
        name_input_dims(model)
        infer_shapes(model, forget=True)
    check_outputs(model)
    rounds = 0
    while rounds < _ROUNDS:
        with stage("computing what is fixed in the model"):
            folded = fold_shape_computations(model)
            if branched := inline_known_branches(model):
                lift_constants(model)
            untangled = settle_optionals(model) | untangle_sequences(model)
            straightened = straighten_views(model)
        if not (folded or branched or untangled or straightened):
            break
        rounds += not branched  # a branch may lie within another, to any depth, and each is taken once
        with stage("inferring shapes"):
            infer_shapes(model, forget=True)
    agree_on_conditions(model)
    with stage("labelling the axes"):
        labels = label_axes(model)
        batch, labels = free_batch(model, labels)
    with stage("recognising activations"):
        remove_unused_initializers(model)
        return mark_gates(recognise_activations(slice_planes(freeze(model, labels, batch))))


def _sort(graph: ir.Graph) -> None:
    try:
        graph.sort()
    except ValueError as error:
        raise ModelError("the graph is circular: some node needs what is computed from its own output") from error
