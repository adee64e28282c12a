"""PyTorch to ONNX: export a module or an exported program, its first axis free."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import onnx
import onnx_ir as ir
import torch

from unpool.converters.errors import ConversionError
from unpool.converters.naming import name_after_modules

_log = logging.getLogger(__name__)


class Exporter(Enum):
    """Which of PyTorch's two exporters makes the graph."""

    DYNAMO = "dynamo"
    """`torch.export`: follows the program, refuses what depends on values."""

    TORCHSCRIPT = "torchscript"
    """The older tracer: accepts more models, records one run as it went."""

    AUTO = "auto"
    """DYNAMO first, TORCHSCRIPT where it refuses."""


@dataclass(frozen=True)
class Exported:
    """An ONNX model in memory and how it was made.

    Attributes:
        model: the graph with its weights, names after the modules.
        exporter: the exporter that made it (never AUTO).
        dynamic_batch: whether the first axis of every input is free.
    """

    model: onnx.ModelProto
    exporter: Exporter
    dynamic_batch: bool


def export(
    source: torch.nn.Module | torch.export.ExportedProgram,
    examples: Sequence[torch.Tensor],
    *,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    opset: int = 18,
    exporter: Exporter = Exporter.AUTO,
) -> Exported:
    """Export `source` to ONNX.

    A module is put into evaluation mode for the export and restored after it. The batch axis is made free where the
    module allows it; an `ExportedProgram` keeps the axes it was captured with.

    Args:
        source: the network; a program must have been captured with `torch.export.export`.
        examples: one tensor per input, any batch size >= 1, float32 for pictures `(N, C, H, W)`.
        input_names: names for the inputs; `input` (or `input_0`, ...) where empty.
        output_names: names for the outputs; `output` (or `output_0`, ...) where empty, the exporter's for a program.
        opset: ONNX opset to write, 18 or later.
        exporter: which exporter to use; a program is always DYNAMO.

    Raises:
        ConversionError: no exporter accepts the model; the message carries each one's reason.
    """
    if not examples:
        raise ConversionError("an export needs one example tensor per input; none was given")
    names = tuple(input_names) or _numbered("input", len(examples))
    if len(names) != len(examples):
        raise ConversionError(f"{len(names)} input names for {len(examples)} example tensors: {', '.join(names)}")
    if isinstance(source, torch.export.ExportedProgram):
        return _export_program(source, names, tuple(output_names), opset)
    training = source.training
    source.eval()
    try:
        outputs = tuple(output_names) or _numbered("output", _count_outputs(source, examples))
        return _export_module(source, examples, names, outputs, opset, exporter)
    finally:
        source.train(training)


def _export_module(
    module: torch.nn.Module,
    examples: Sequence[torch.Tensor],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    opset: int,
    exporter: Exporter,
) -> Exported:
    # torch.export takes a size of one for a constant of the program, so the batch is doubled before it looks.
    doubled = tuple(torch.cat([x, x]) if x.ndim and x.shape[0] == 1 else x for x in examples)
    free = tuple({0: torch.export.Dim("batch")} if x.ndim else None for x in examples)
    attempts: list[tuple[Exporter, bool]] = []
    if exporter is not Exporter.TORCHSCRIPT:
        attempts += [(Exporter.DYNAMO, True), (Exporter.DYNAMO, False)]
    if exporter is not Exporter.DYNAMO:
        attempts += [(Exporter.TORCHSCRIPT, True)]
    reasons: list[str] = []
    for kind, dynamic in attempts:
        try:
            if kind is Exporter.DYNAMO:
                args = doubled if dynamic else tuple(examples)
                model = _dynamo(module, args, inputs, outputs, opset, free if dynamic else None)
            else:
                model = _torchscript(module, tuple(examples), inputs, outputs, opset)
        except Exception as error:
            reasons.append(f"{kind.value}{'' if dynamic else ' with a fixed batch'}: {_first_line(error)}")
            _log.info("export refused", extra={"exporter": kind.value, "dynamic_batch": dynamic})
            continue
        return Exported(model, kind, dynamic)
    raise ConversionError(f"{type(module).__name__} cannot be exported to ONNX. " + "; ".join(reasons))


def _export_program(
    program: torch.export.ExportedProgram, inputs: tuple[str, ...], outputs: tuple[str, ...], opset: int
) -> Exported:
    try:
        model = _dynamo(program, (), inputs, outputs, opset, None)
    except Exception as error:
        raise ConversionError(f"the exported program cannot be written as ONNX: {_first_line(error)}") from error
    dims = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return Exported(model, Exporter.DYNAMO, all(bool(d) and not d[0].HasField("dim_value") for d in dims))


def _dynamo(
    source: torch.nn.Module | torch.export.ExportedProgram,
    args: tuple[torch.Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    opset: int,
    dynamic_shapes: tuple[dict[int, torch.export.Dim] | None, ...] | None,
) -> onnx.ModelProto:
    with _quiet():
        program = torch.onnx.export(
            source,
            args,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs) or None,
            opset_version=opset,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    if program is None:
        raise ConversionError("the exporter returned no program")
    name_after_modules(program.model)
    return ir.to_proto(program.model)


def _torchscript(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    opset: int,
) -> onnx.ModelProto:
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        torch.onnx.export(
            module,
            examples,
            file,
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            dynamic_axes=axes,
        )
        return onnx.load(file)


def _count_outputs(module: torch.nn.Module, examples: Sequence[torch.Tensor]) -> int:
    try:
        with torch.no_grad():
            result = module(*(x.clone() for x in examples))
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in examples)
        raise ConversionError(
            f"{type(module).__name__} does not run on inputs {shapes}: {_first_line(error)}"
        ) from error
    return len(flatten_outputs(result))


def flatten_outputs(value: object) -> list[torch.Tensor]:
    """The tensors of a module's result in the order in which an exporter lists them.

    Raises:
        ConversionError: the result holds something that is not a tensor.
    """
    leaves, _ = torch.utils._pytree.tree_flatten(value)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if len(tensors) != len(leaves) or not tensors:
        raise ConversionError(f"the model must return tensors; it returned {type(value).__name__}")
    return tensors


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return (stem,) if count == 1 else tuple(f"{stem}_{index}" for index in range(count))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The exporter reports optional libraries it did not find, and its own deprecations: neither is the caller's.
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter_log.setLevel(level)
