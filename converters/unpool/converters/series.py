"""A training's checkpoints as a model series: one version of the model for each, checked like any other conversion."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unpool.converters.convert import Report, convert
from unpool.converters.entry import Entry
from unpool.converters.errors import ConversionError

_ENDINGS = frozenset({".pt", ".pth", ".ckpt", ".bin"})
_KEYS = ("state_dict", "model_state_dict", "model")


def checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their number, the last one in the file's name: ``epoch_010.pt`` is 10.

    Raises:
        ConversionError: none is there, one has no positive number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix not in _ENDINGS:
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers or int(numbers[-1]) == 0:
            raise ConversionError(f"{path.name} has no positive number in its name, which would be its version")
        if int(numbers[-1]) in found:
            raise ConversionError(f"{path.name} and {found[int(numbers[-1])].name} have the same number")
        found[int(numbers[-1])] = path
    if not found:
        raise ConversionError(f"no checkpoints in {folder}: files ending in {', '.join(sorted(_ENDINGS))}")
    return dict(sorted(found.items()))


def convert_series(
    build: Callable[[], torch.nn.Module], folder: Path, examples: Sequence[torch.Tensor], entry: Entry
) -> tuple[Report, ...]:
    """Exports every checkpoint of a training into versions of one model.

    Args:
        build: makes the network that the checkpoints are of.
        folder: files of ``torch.save``: a state dictionary, or one under ``state_dict``. Only tensors are loaded.
        examples: as for ``convert``.
        entry: where they go; its version is replaced by each checkpoint's number.

    Raises:
        ConversionError: no checkpoints, one that does not fit the network, or an export that differs from it.
    """
    reports = []
    for number, path in checkpoints(folder).items():
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ConversionError(f"{path.name} cannot be loaded as tensors alone: {str(error)[:300]}") from error
        for key in _KEYS:
            if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
                loaded = loaded[key]
        module = build()
        try:
            module.load_state_dict(loaded)
        except (RuntimeError, TypeError) as error:
            raise ConversionError(f"{path.name} does not fit {type(module).__name__}: {str(error)[:300]}") from error
        reports.append(convert(module, examples, replace(entry, version=number)))
    return tuple(reports)
