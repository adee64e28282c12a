"""What a command line can name as a network: a module's factory, or a saved exported program."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from unpool.converters.errors import ConversionError

Source = torch.nn.Module | torch.export.ExportedProgram


def from_factory(spec: str) -> Source:
    """The network that `module:name` names: a module or program, or a function without arguments that makes one.

    The working directory is searched first, as `python -m` does.

    Raises:
        ConversionError: it cannot be imported, fails when it is called, or gives something else.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ConversionError(f"{spec!r} names no network: give module:factory, a .pt2 or an .onnx file")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConversionError(f"{spec!r} cannot be imported: {error}") from error
    try:
        made = found() if callable(found) and not isinstance(found, torch.nn.Module) else found
    except Exception as error:
        # Anybody's code; what it needs to be called with is its author's to say.
        raise ConversionError(f"{spec!r} called without arguments: {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module | torch.export.ExportedProgram):
        raise ConversionError(f"{spec!r} gives {type(made).__name__}, not a torch.nn.Module or ExportedProgram")
    return made


def from_program(file: Path) -> tuple[torch.export.ExportedProgram, list[torch.Tensor]]:
    """A program that `torch.export.save` wrote, and the examples it was captured with.

    Raises:
        ConversionError: no such file, no program in it, or no plain tensors as examples.
    """
    try:
        program = torch.export.load(file)
    except Exception as error:
        raise ConversionError(f"{file} holds no exported program: {error}") from error
    args, kwargs = program.example_inputs or ((), {})
    if kwargs or not args or not all(isinstance(x, torch.Tensor) for x in args):
        raise ConversionError(f"{file} was captured without example tensors, which the comparison needs")
    return program, list(args)


def load_weights(module: torch.nn.Module, file: Path) -> None:
    """Load a state dictionary, or a checkpoint that holds one under `state_dict` or `model`, into `module`.

    The file is read without running code from it (`weights_only`).

    Raises:
        ConversionError: the file cannot be read, or its names or shapes are not the module's.
    """
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConversionError(f"{file} cannot be read as weights: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    try:
        module.load_state_dict(loaded)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ConversionError(f"{file} does not fit {type(module).__name__}: {error}") from error


def random_examples(sizes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Normal float32 tensors of batch 1, one per size (without its batch axis), the same on every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, *size, generator=generator) for size in sizes]
