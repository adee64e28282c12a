"""What an examination may take, and how large a model may be."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one examination.

    Attributes:
        file_bytes: the most bytes of a model's file; protobuf itself stops at 2 GiB.
        external_bytes: the most bytes of its external data, all files together.
        nodes: the most nodes, those of functions and of graphs inside nodes included.
        tensors: the most tensors that hold data.
        extent: the longest axis that a tensor may be declared with.
        elements: the most elements of one tensor, declared or inferred.
        seconds: wall time that an examination may take.
        bytes_per_second: a second more is given for so many bytes of the model's file and of those beside it.
        longest_seconds: wall time that no examination may exceed.
        memory_bytes: memory that an examination may take beyond multiples of what the model's files have.
        memory_factor: the multiple of the ONNX file, whose weights are copied on the way.
        memory_factor_beside: the multiple of what lies beside it: external data is mapped, and copied for parity alone.
        memory_share: of the machine's memory, the most that an examination may take in any case.
    """

    file_bytes: int = (2 << 30) - 1
    external_bytes: int = 64 << 30
    nodes: int = 100_000
    tensors: int = 200_000
    extent: int = (1 << 31) - 1
    elements: int = 1 << 32
    seconds: float = 60.0
    bytes_per_second: int = 32 << 20
    longest_seconds: float = 600.0
    memory_bytes: int = 3 << 30
    memory_factor: float = 6.0
    memory_factor_beside: float = 2.0
    memory_share: float = 0.75

    def seconds_for(self, size: int) -> float:
        """Wall time for a model whose files have ``size`` bytes."""
        return min(self.longest_seconds, self.seconds + size / self.bytes_per_second)

    def memory_for(self, size: int, beside: int) -> int:
        """Memory for a model whose ONNX file has ``size`` bytes, and the files beside it ``beside``."""
        wanted = self.memory_bytes + int(self.memory_factor * size + self.memory_factor_beside * beside)
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(wanted, int(self.memory_share * machine))
