"""Compare an ONNX model with the network it came from, output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from unpool.converters.errors import ConversionError, ParityError

Arrays = list[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class OutputParity:
    """How far one output lies from the source's, over all inputs tried.

    Attributes:
        name: the output's name in the ONNX model.
        difference: largest absolute difference divided by the source's largest magnitude on the same input; for an
            output of integers or truth values the share of elements that differ.
        inputs: number of inputs compared.
    """

    name: str
    difference: float
    inputs: int


def compare(
    model: onnx.ModelProto,
    source: Callable[[Arrays], Arrays],
    batches: Sequence[Arrays],
    tolerance: float = 1e-4,
) -> tuple[OutputParity, ...]:
    """Run `model` in ONNX Runtime and `source` on the same inputs.

    Args:
        model: the exported model, at most 2 GiB.
        source: the original network: the inputs of the model to its outputs, both in the model's order.
        batches: inputs to try, each one array per input of the model.
        tolerance: relative difference allowed for every output.

    Returns:
        One entry per output, in the model's order.

    Raises:
        ParityError: an output differs by more than `tolerance`, in shape, or in being finite.
        ConversionError: ONNX Runtime does not run the model, or the number of outputs differs.
    """
    session = open_session(model.SerializeToString())
    inputs = [value.name for value in session.get_inputs()]
    names = [value.name for value in session.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for batch in batches:
        expected = source(batch)
        try:
            actual = session.run(names, dict(zip(inputs, batch, strict=True)))
        except Exception as error:
            shapes = ", ".join(str(array.shape) for array in batch)
            raise ConversionError(f"ONNX Runtime does not run the model on inputs {shapes}: {error}") from error
        if len(expected) != len(actual):
            raise ConversionError(f"the source gives {len(expected)} outputs, the ONNX model {len(actual)}")
        for name, a, b in zip(names, expected, actual, strict=True):
            worst[name] = max(worst[name], _difference(name, a, np.asarray(b), tolerance))
    return tuple(OutputParity(name, difference, len(batches)) for name, difference in worst.items())


def open_session(model: str | bytes) -> ort.InferenceSession:
    """A CPU session of a model's file or bytes.

    Raises:
        ConversionError: ONNX Runtime refuses the model; the message is its own.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConversionError(f"ONNX Runtime does not load the model: {error}") from error


def _difference(name: str, a: npt.NDArray[np.generic], b: npt.NDArray[np.generic], tolerance: float) -> float:
    if a.shape != b.shape:
        raise ParityError(name, float("inf"), tolerance, f"has shape {b.shape}, the source's {a.shape}")
    if a.size == 0:
        return 0.0
    if not np.issubdtype(a.dtype, np.inexact):
        difference = float(np.mean(a != b))
    else:
        x, y = a.astype(np.float64), b.astype(np.float64)
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            raise ParityError(name, float("inf"), tolerance, "is finite at other places than the source's")
        finite = np.isfinite(x)
        scale = float(np.abs(x[finite]).max(initial=0.0))
        gap = float(np.abs(x[finite] - y[finite]).max(initial=0.0))
        difference = gap / scale if scale > 0 else (0.0 if gap == 0 else float("inf"))
    if difference > tolerance:
        raise ParityError(name, difference, tolerance, "differs from the source's")
    return difference
