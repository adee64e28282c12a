"""Loading: a file's bytes become a normalised model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import RemoveUnusedNodesPass

from unpool.graph.errors import ModelError
from unpool.graph.external import external_files, point_to
from unpool.graph.frozen import freeze
from unpool.graph.garbage import garbage_kept
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
from unpool.graph.passes.outputs import offer_tensors
from unpool.graph.passes.shapes import infer_shapes, name_input_dims
from unpool.graph.soundness import check_sound
from unpool.graph.stages import stage
from unpool.graph.validation import check_model

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
    """

    digest: str
    runtime: ir.Model
    graph: Graph
    layers: Layers
    left_out: tuple[str, ...] = ()


def load(source: Path | bytes, *, screen: Callable[[onnx.ModelProto], None] | None = None) -> Model:
    """Reads and normalises an ONNX model.

    Args:
        source: a file, whose external data may only lie in its own folder, or a file's bytes, without external data.
        screen: looks at the parsed file before anything else does, and raises ModelError where it should go no further.

    Raises:
        ModelError: a model that cannot be read or cannot be served; names the node where one is at fault.
    """
    data = source if isinstance(source, bytes) else _read(source)
    folder = source.parent if isinstance(source, Path) else None
    with garbage_kept(), ThreadPoolExecutor(1) as pool:
        # Hashing half a gigabyte takes as long as everything else here; it runs beside it.
        hashing = pool.submit(hashlib.sha256, data)
        proto = _parse(data)
        if screen is not None:
            screen(proto)
        files = external_files(proto, folder)
        with stage("reading the file"):
            check_sound(proto)
            left_out = offer_tensors(proto)
            model = ir.from_proto(proto)
            if left_out:
                RemoveUnusedNodesPass()(model)
            if folder is not None:
                point_to(model, folder)
        graph = normalise(model)
        digest = hashing.result()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    with stage("listing the layers"):
        layers = Layers(graph)
    return Model(digest.hexdigest(), model, graph, layers, left_out)


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
    for _ in range(_ROUNDS):
        with stage("computing what is fixed in the model"):
            folded = fold_shape_computations(model)
            if branched := inline_known_branches(model):
                lift_constants(model)
        if not (folded or branched):
            break
        with stage("inferring shapes"):
            infer_shapes(model, forget=True)
    agree_on_conditions(model)
    with stage("labelling the axes"):
        labels = label_axes(model)
        batch, labels = free_batch(model, labels)
    with stage("recognising activations"):
        remove_unused_initializers(model)
        return mark_gates(recognise_activations(freeze(model, labels, batch)))


def _sort(graph: ir.Graph) -> None:
    try:
        graph.sort()
    except ValueError as error:
        raise ModelError("the graph is circular: some node needs what is computed from its own output") from error


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ModelError(f"the model file cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> onnx.ModelProto:
    if not data:
        raise ModelError("the file is empty")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError("the file is not an ONNX model: its bytes cannot be parsed") from error
    if not proto.HasField("graph"):
        raise ModelError("the file is not an ONNX model: it has no graph")
    return proto
