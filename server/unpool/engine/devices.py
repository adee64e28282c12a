"""Where an engine runs: the torch device and the ONNX Runtime provider that go together."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnxruntime as ort
import torch

from unpool.graph.errors import InvalidArgumentError, PreconditionError


@dataclass(frozen=True)
class Device:
    """A torch device and the provider that puts ONNX Runtime's values in the same memory.

    Attributes:
        torch: the device of the backward engine.
        provider: ONNX Runtime's execution provider.
    """

    torch: torch.device
    provider: str

    @property
    def name(self) -> str:
        """``cpu`` or ``cuda:N``."""
        return str(self.torch)

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """The provider list for a session: the CPU is behind a GPU for the few operators that only it has."""
        if self.torch.type == "cpu":
            return [self.provider]
        options = {"device_id": str(self.torch.index), "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        return [(self.provider, options), "CPUExecutionProvider"]

    def settle(self) -> None:
        """Waits until torch has read what ONNX Runtime gave and will overwrite on a stream of its own."""
        if self.torch.type == "cuda":
            torch.cuda.synchronize(self.torch)

    def confirm(self, session: ort.InferenceSession) -> None:
        """Refuses a session that fell back silently.

        Raises:
            PreconditionError: the session does not run where it was asked to.
        """
        if self.provider not in session.get_providers():
            raise PreconditionError(
                f"ONNX Runtime fell back from {self.provider} to {', '.join(session.get_providers())}: its CUDA and"
                " cuDNN libraries do not load here; install the ones it was built for, or choose the device 'cpu'"
            )


def _cuda_reason() -> str | None:
    """Why CUDA cannot be used, or ``None``."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime has no CUDA provider (install onnxruntime-gpu)"
    return None


def resolve(name: str) -> Device:
    """The device that a setting names.

    Args:
        name: ``auto``, ``cpu`` or ``cuda:N`` (``cuda`` is ``cuda:0``).

    Raises:
        InvalidArgumentError: not such a name.
        PreconditionError: a GPU was asked for and cannot be used; never falls back silently.
    """
    if name == "cpu" or (name == "auto" and _cuda_reason()):
        return Device(torch.device("cpu"), "CPUExecutionProvider")
    match = re.fullmatch(r"cuda(?::(\d+))?|auto", name)
    if match is None:
        raise InvalidArgumentError("device", f"'{name}' is not one of auto, cpu, cuda:N")
    if reason := _cuda_reason():
        raise PreconditionError(f"device '{name}' cannot be used: {reason}")
    index = int(match.group(1) or 0)
    if index >= torch.cuda.device_count():
        raise PreconditionError(f"device '{name}' does not exist: there are {torch.cuda.device_count()} GPUs")
    ort.preload_dlls()
    # TensorFloat-32 keeps ten bits of mantissa: answers would drift from the float32 that is promised.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return Device(torch.device("cuda", index), "CUDAExecutionProvider")
