"""External data: weights beside a model's file, taken from its own folder and from nowhere else."""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from unpool.graph.errors import ModelError

_KEYS = frozenset({"location", "offset", "length", "checksum"})
# A URL's scheme, or a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NUMBER = re.compile(r"[0-9]{1,18}")


def graphs_of(model: onnx.ModelProto) -> Iterator[tuple[Iterable[onnx.NodeProto], onnx.GraphProto | None]]:
    """Every list of nodes in a model, with its graph: the main one, those of functions (no graph), those inside nodes.

    Training graphs are left out: nobody reads them here.
    """
    waiting: list[tuple[Iterable[onnx.NodeProto], onnx.GraphProto | None]] = [(model.graph.node, model.graph)]
    waiting.extend((function.node, None) for function in model.functions)
    while waiting:
        nodes, graph = waiting.pop()
        yield nodes, graph
        for node in nodes:
            for attribute in node.attribute:
                graphs = [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
                waiting.extend((inner.node, inner) for inner in graphs)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initialisers, attributes and the parts of sparse ones, wherever they stand."""
    for nodes, graph in graphs_of(model):
        if graph is not None:
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                sparse_tensors = list(attribute.sparse_tensors)
                if attribute.HasField("sparse_tensor"):
                    sparse_tensors.append(attribute.sparse_tensor)
                for sparse in sparse_tensors:
                    yield from (sparse.values, sparse.indices)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's data lies in another file."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def external_files(model: onnx.ModelProto, folder: Path | None) -> list[Path]:
    """The files that hold a model's external data, by name.

    Args:
        model: as it was read; none of its external data has been touched.
        folder: the model's own; ``None`` where the model came as bytes.

    Raises:
        ModelError: external data where it may not be: absolute, above the folder, behind a link that leads out of it,
            in a file that has a second name elsewhere, or beyond a file's end.
    """
    found: set[Path] = set()
    for tensor in tensors_of(model):
        if not is_external(tensor):
            if tensor.external_data:
                raise _refused(tensor, "names a file for external data and says that it has none")
            continue
        if folder is None:
            raise ModelError(f"tensor '{tensor.name}' has external data, which cannot come with a model given as bytes")
        found.add(_file(tensor, folder.resolve()))
    return sorted(found)


def point_to(model: ir.Model, folder: Path) -> None:
    """Tells every external tensor of a checked model where its files lie; without that it would read elsewhere."""
    root = folder.resolve()
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, root)


def _file(tensor: onnx.TensorProto, root: Path) -> Path:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _KEYS or entry.key in entries:
            raise _refused(tensor, f"has external data with '{entry.key}' where it is not known or said twice")
        entries[entry.key] = entry.value
    location = entries.get("location", "")
    path = Path(location)
    if not location or "\0" in location or "\\" in location or _SCHEME.match(location):
        raise _refused(tensor, f"has external data at '{location}', which is no plain relative path")
    if path.is_absolute() or ".." in path.parts:
        raise _refused(tensor, f"has external data outside the model's own folder: {location}")
    try:
        place = (root / path).resolve()
        if not place.is_relative_to(root):
            raise _refused(tensor, f"has external data outside the model's own folder, through a link: {location}")
        status = place.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise _refused(tensor, f"has external data in a file that is not there: {location}") from error
        raise _refused(tensor, f"has external data in a file that cannot be read: {location}") from error
    if not stat.S_ISREG(status.st_mode):
        raise _refused(tensor, f"has external data in what is no regular file: {location}")
    if status.st_nlink > 1:
        raise _refused(
            tensor, f"has external data in a file that also has another name (a hard link): {location}; copy it"
        )
    _check_range(tensor, entries, status.st_size, location)
    return place


def _check_range(tensor: onnx.TensorProto, entries: dict[str, str], size: int, location: str) -> None:
    for key in ("offset", "length"):
        if key in entries and not _NUMBER.fullmatch(entries[key]):
            raise _refused(tensor, f"has external data with the {key} '{entries[key]}', which is no natural number")
    begin = int(entries.get("offset", "0"))
    end = begin + (int(entries["length"]) if "length" in entries else _needed(tensor))
    if end > size or begin > size:
        raise _refused(tensor, f"has external data up to byte {end} of {location}, which has {size}")


def _needed(tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor's elements take; none where their type has no size."""
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):  # strings, and types that onnx does not have: refused where they are read
        return 0
    return -(-max(0, math.prod(tensor.dims)) * bits // 8)


def _refused(tensor: onnx.TensorProto, what: str) -> ModelError:
    return ModelError(f"tensor '{tensor.name}' {what}")
