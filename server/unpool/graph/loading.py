"""Loading: a file's bytes become a normalised model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from unpool.graph.errors import ModelError
from unpool.graph.frozen import freeze
from unpool.graph.layers import Layers
from unpool.graph.model import Graph
from unpool.graph.passes.activations import recognise_activations
from unpool.graph.passes.axes import label_axes
from unpool.graph.passes.batch import free_batch
from unpool.graph.passes.constants import lift_constants, remove_unused_initializers
from unpool.graph.passes.folding import fold_shape_computations
from unpool.graph.passes.gates import mark_gates
from unpool.graph.passes.inlining import inline_functions
from unpool.graph.passes.shapes import infer_shapes, name_input_dims
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
    """

    digest: str
    runtime: ir.Model
    graph: Graph
    layers: Layers


def load(source: Path | bytes) -> Model:
    """Reads and normalises an ONNX model.

    Args:
        source: a file, whose external data may only lie in its own folder, or a file's bytes, without external data.

    Raises:
        ModelError: a model that cannot be read or cannot be served; names the node where one is at fault.
    """
    data = source if isinstance(source, bytes) else _read(source)
    with ThreadPoolExecutor(1) as pool:
        # Hashing half a gigabyte takes as long as everything else here; it runs beside it.
        hashing = pool.submit(hashlib.sha256, data)
        model = _parse(data)
        files = _external_files(model, source.parent if isinstance(source, Path) else None)
        graph = normalise(model)
        digest = hashing.result()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return Model(digest=digest.hexdigest(), runtime=model, graph=graph, layers=Layers(graph))


def normalise(model: ir.Model) -> Graph:
    """Runs every pass on a model, in place, and freezes the result.

    Raises:
        ModelError: a model that cannot be served.
    """
    inline_functions(model)
    check_model(model)
    try:
        model.graph.sort()
    except ValueError as error:
        raise ModelError(f"the graph is circular: {error}") from error
    lift_constants(model)
    name_input_dims(model)
    infer_shapes(model, forget=True)
    for _ in range(_ROUNDS):
        if not fold_shape_computations(model):
            break
        infer_shapes(model, forget=True)
    labels = label_axes(model)
    batch, labels = free_batch(model, labels)
    remove_unused_initializers(model)
    return mark_gates(recognise_activations(freeze(model, labels, batch)))


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ModelError(f"the model file cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> ir.Model:
    if not data:
        raise ModelError("the file is empty")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError("the file is not an ONNX model: its bytes cannot be parsed") from error
    if not proto.HasField("graph"):
        raise ModelError("the file is not an ONNX model: it has no graph")
    try:
        return ir.from_proto(proto)
    except Exception as error:
        raise ModelError(f"the file is not a sound ONNX model: {_innermost(error)}") from error


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _external_files(model: ir.Model, folder: Path | None) -> Sequence[Path]:
    """Files that hold external data, each checked to lie inside ``folder``; points the tensors there."""
    tensors = [t for t in _tensors(model) if isinstance(t, ir.ExternalTensor)]
    if not tensors:
        return ()
    if folder is None:
        raise ModelError(f"tensor '{tensors[0].name}' has external data, which cannot come with a model given as bytes")
    root = folder.resolve()
    found: set[Path] = set()
    for tensor in tensors:
        place = (root / tensor.location).resolve()
        if Path(tensor.location).is_absolute() or not place.is_relative_to(root):
            raise ModelError(
                f"tensor '{tensor.name}' has external data outside the model's own folder: {tensor.location}"
            )
        if not place.is_file():
            raise ModelError(f"tensor '{tensor.name}' has external data in a file that is not there: {tensor.location}")
        tensor.base_dir = root
        found.add(place)
    return sorted(found)


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    found: list[ir.TensorProtocol] = []
    for graph in model.graphs():
        found.extend(v.const_value for v in graph.initializers.values() if v.const_value is not None)
        nodes = [*graph, *(n for f in model.functions.values() for n in f)] if graph is model.graph else list(graph)
        for node in nodes:
            for attribute in node.attributes.values():
                if attribute.type is ir.AttributeType.TENSOR:
                    found.append(attribute.value)
                elif attribute.type is ir.AttributeType.TENSORS:
                    found.extend(attribute.value)
    return found
