"""Put a network into a repository: export and check it, or take a third party's file as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.external_data_helper import uses_external_data

from unpool.converters.entry import Entry, copy_model
from unpool.converters.errors import ConversionError
from unpool.converters.export import Exported, Exporter, export, flatten_outputs
from unpool.converters.parity import Arrays, OutputParity, compare, open_session


class Stage(Enum):
    """What a conversion is busy with."""

    EXPORT = "export"
    COMPARE = "compare"
    WRITE = "write"


Progress = Callable[[Stage, str], None]
"""Called when a stage begins, with a sentence for a person."""


@dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        path: the written `model.onnx`.
        name: the model's name.
        version: its version.
        digest: SHA-256 of the file, hexadecimal.
        exporter: the exporter that made the graph; None for a file taken as it is.
        dynamic_batch: whether the first axis of every input is free.
        outputs: how far each output lies from the source; empty for a file taken as it is, which has no source.
    """

    path: Path
    name: str
    version: int
    digest: str
    exporter: Exporter | None
    dynamic_batch: bool
    outputs: tuple[OutputParity, ...]


def convert(
    source: torch.nn.Module | torch.export.ExportedProgram,
    examples: Sequence[torch.Tensor],
    entry: Entry,
    *,
    samples: Sequence[Sequence[torch.Tensor]] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    opset: int = 18,
    exporter: Exporter = Exporter.AUTO,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Export a network to ONNX, compare every output with it, and write a repository entry.

    Compared are: the examples, random inputs of their shapes (normal, spread like the examples' if they vary, else 1;
    integers are the examples' own, shuffled), all of it doubled along a free batch axis, and the samples.

    Args:
        source: the network; a module is exported in evaluation mode.
        examples: one tensor per input, batch first.
        entry: where it goes.
        samples: real inputs to compare on, each one tensor per input, such as prepared photographs.
        input_names: names for the inputs in the file.
        output_names: names for the outputs in the file.
        opset: ONNX opset, 18 or later.
        exporter: see `Exporter`.
        tolerance: largest relative difference allowed for an output.
        seed: of the random inputs.
        progress: called as stages begin.

    Raises:
        ParityError: an output differs; it is named with its difference, and nothing is written.
        ConversionError: the export fails or the entry cannot be written.
    """
    tell = progress or (lambda stage, sentence: None)
    entry.check()
    tell(Stage.EXPORT, f"exporting {type(source).__name__} at opset {opset}")
    exported = export(
        source, examples, input_names=input_names, output_names=output_names, opset=opset, exporter=exporter
    )
    _check_labels(exported.model, entry.labels)
    batches = _batches(exported, examples, samples, seed)
    tell(Stage.COMPARE, f"comparing {len(exported.model.graph.output)} outputs on {len(batches)} inputs")
    outputs = compare(exported.model, _as_function(source), batches, tolerance)
    tell(Stage.WRITE, f"writing {entry.path}")
    entry.write(lambda folder: onnx.save(exported.model, folder / "model.onnx"))
    return _report(entry, exported.exporter, exported.dynamic_batch, outputs)


def take(file: Path, entry: Entry, *, progress: Progress | None = None) -> Report:
    """Put a third party's ONNX file into a repository, unchanged, labels and preprocessing beside it.

    Args:
        file: the model; its external data is copied along.
        entry: where it goes.
        progress: called as stages begin.

    Raises:
        ConversionError: the file is no ONNX model, ONNX Runtime does not load it, no output has as many classes as
            there are labels, or the entry cannot be written.
    """
    tell = progress or (lambda stage, sentence: None)
    entry.check()
    try:
        model = onnx.load(file, load_external_data=False)
        onnx.checker.check_model(str(file))
    except FileNotFoundError:
        raise ConversionError(f"no such file: {file}") from None
    except Exception as error:
        raise ConversionError(f"{file} is not a valid ONNX model: {error}") from error
    _check_labels(model, entry.labels)
    tell(Stage.COMPARE, "loading it in ONNX Runtime")
    open_session(str(file))
    external = sorted({entry_.value for t in _tensors(model) for entry_ in t.external_data if entry_.key == "location"})
    tell(Stage.WRITE, f"writing {entry.path}")
    entry.write(lambda folder: copy_model(file, external, folder))
    return _report(entry, None, _dynamic_batch(model), ())


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]


def _dynamic_batch(model: onnx.ModelProto) -> bool:
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [v.type.tensor_type.shape.dim for v in model.graph.input if v.name not in weights]
    return bool(shapes) and all(bool(dims) and dims[0].dim_value == 0 for dims in shapes)


def _check_labels(model: onnx.ModelProto, labels: Sequence[str] | None) -> None:
    if labels is None:
        return
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.output]
    known = [shape for shape in shapes if shape and all(shape[1:])]
    if known and not any(len(labels) in shape[1:] for shape in known):
        raise ConversionError(f"{len(labels)} labels fit no output; the outputs have shapes {shapes}")


def _batches(
    exported: Exported,
    examples: Sequence[torch.Tensor],
    samples: Sequence[Sequence[torch.Tensor]],
    seed: int,
) -> list[Arrays]:
    generator = torch.Generator().manual_seed(seed)
    given = [x.detach().cpu() for x in examples]
    noise = [_random_like(x, generator) for x in given]
    batches = [given, noise]
    if exported.dynamic_batch:
        batches.append([torch.cat(pair) for pair in zip(given, noise, strict=True)])
    for sample in samples:
        if len(sample) != len(given):
            raise ConversionError(f"a sample has {len(sample)} tensors, the model {len(given)} inputs")
        batches.append([x.detach().cpu() for x in sample])
    return [[x.numpy() for x in batch] for batch in batches]


def _random_like(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not x.is_floating_point():
        return x.flatten()[torch.randperm(x.numel(), generator=generator)].reshape(x.shape)
    spread = float(x.double().std()) if x.numel() > 1 else 0.0
    noise = torch.randn(x.shape, generator=generator) * (spread or 1.0) + float(x.double().mean())
    return noise.to(x.dtype)


def _as_function(source: torch.nn.Module | torch.export.ExportedProgram) -> Callable[[Arrays], Arrays]:
    # Captured programs cannot change mode: they are in the one they were captured in.
    program = source.module() if isinstance(source, torch.export.ExportedProgram) else None
    module = program if program is not None else source
    assert isinstance(module, torch.nn.Module)
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")

    def run(inputs: Arrays) -> Arrays:
        training = module.training
        if program is None:
            module.eval()
        try:
            with torch.no_grad():
                # Copies: a module with operations in place may write into what it is given.
                result = module(*(torch.from_numpy(np.array(x)).to(device) for x in inputs))
                return [tensor.cpu().numpy() for tensor in flatten_outputs(result)]
        finally:
            if program is None:
                module.train(training)

    return run


def _report(entry: Entry, exporter: Exporter | None, dynamic_batch: bool, outputs: tuple[OutputParity, ...]) -> Report:
    with entry.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Report(entry.path, entry.name, entry.version, digest, exporter, dynamic_batch, outputs)
