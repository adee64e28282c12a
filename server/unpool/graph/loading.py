"""Loading: a file's bytes become a normalised model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import RemoveUnusedNodesPass

from unpool.graph.deciding import with_branches
from unpool.graph.errors import ModelError
from unpool.graph.external import external_files, point_to
from unpool.graph.garbage import garbage_kept
from unpool.graph.layers import Layers
from unpool.graph.normalising import Model, normalise
from unpool.graph.passes.outputs import offer_tensors
from unpool.graph.soundness import check_sound
from unpool.graph.stages import stage


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
    return with_branches(Model(digest.hexdigest(), model, graph, layers, left_out))


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
