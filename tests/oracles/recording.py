"""One ONNX Runtime run of an unmodified file with every tensor and every MaxPool's Indices as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

Array = npt.NDArray[np.generic]


@dataclass
class Recording:
    """What one forward run left behind.

    Attributes:
        model: the file as it is.
        values: tensor name -> array, initialisers and inputs included.
        indices: output tensor of a MaxPool -> flat places of the maxima in the pool's input, ONNX Indices.
        masks: overrides of "where is this rectifier's derivative 1", by the rectifier's output tensor; bool.
    """

    model: onnx.ModelProto
    values: dict[str, Array]
    indices: dict[str, npt.NDArray[np.int64]]
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def input(self) -> str:
        """The input that is fed."""
        weights = {t.name for t in self.model.graph.initializer}
        (name,) = [i.name for i in self.model.graph.input if i.name not in weights]
        return name


def record(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Recording:
    """Runs a model once, unfused.

    Args:
        model: one input that is fed, weights as initialisers.
        feeds: input name -> array.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {o.name for o in tapped.graph.output}
    pools: dict[str, str] = {}
    for node in tapped.graph.node:
        if node.op_type == "MaxPool" and len(node.output) == 1:
            pools[node.output[0]] = f"{node.output[0]}/indices"
            node.output.append(pools[node.output[0]])
    names = [name for node in tapped.graph.node for name in node.output if name and name not in known]
    tapped.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = ort.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [o.name for o in session.get_outputs()]
    values: dict[str, Array] = dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))
    indices = {pool: values.pop(name).astype(np.int64) for pool, name in pools.items()}
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return Recording(model, weights | dict(feeds) | values, indices)
