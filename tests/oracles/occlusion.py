"""Occlusion by plain loops: every occluded input through ONNX Runtime by itself, on the file as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]


class BruteForce:
    """A file's session that also gives some inner tensors."""

    def __init__(self, model: bytes | Path, names: Sequence[str], *, threads: int = 1, fuse: bool = False) -> None:
        proto = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
        known = {o.name for o in proto.graph.output}
        for name in names:
            if name not in known:
                proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if not fuse:  # nor may ONNX Runtime refuse what its own fusions made
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = list(names)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The named tensors on one input."""
        return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))

    def occluded(
        self,
        feeds: Mapping[str, Array],
        of: str,
        axes: Sequence[int],
        origins: Sequence[Sequence[int]],
        window: Sequence[int],
        fill: Array,
    ) -> dict[str, Floats]:
        """Name -> what each window leaves of it, one behind the other along a new first axis.

        Args:
            feeds: the whole inputs.
            of: the input that is hidden in part.
            axes: positions of its spatial axes.
            origins: where windows begin.
            window: their extents.
            fill: what stands in them, in the input's shape.
        """
        found: dict[str, list[Array]] = {name: [] for name in self._names}
        for origin in origins:
            hidden = np.array(feeds[of])
            inside: list[slice] = [slice(None)] * hidden.ndim
            for axis, begin, extent in zip(axes, origin, window, strict=True):
                inside[axis] = slice(int(begin), int(begin) + extent)
            hidden[tuple(inside)] = fill[tuple(inside)]
            for name, value in self.run({**feeds, of: hidden}).items():
                found[name].append(value)
        return {name: np.stack(values).astype(np.float64) for name, values in found.items()}
