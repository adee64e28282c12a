"""Windows: an input that a window leaves out does not reach the output, and one that it names may."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.oracles.crossing import constant_operand, operand
from torch import Tensor

from unpool.graph.intervals import Intervals
from unpool.graph.model import Attribute, Node
from unpool.ops import find, run

X = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 8, 6)))


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


CASES: dict[str, tuple[str, int, list[Tensor | None], dict[str, Attribute]]] = {
    "conv same": ("Conv", 11, [X, torch.ones(2, 4, 3, 2).double()], {"auto_pad": "SAME_UPPER", "strides": (2, 2)}),
    "conv dilated": ("Conv", 11, [X, torch.ones(2, 4, 3, 2).double()], {"dilations": (2, 3), "pads": (1, 0, 2, 1)}),
    "transposed": (
        "ConvTranspose",
        11,
        [X, torch.ones(4, 2, 3, 2).double()],
        {"strides": (2, 3), "pads": (1, 0, 1, 1)},
    ),
    "average pool": ("AveragePool", 11, [X], {"kernel_shape": (3, 2), "strides": (2, 1), "ceil_mode": 1}),
    "slice": ("Slice", 13, [X, ints(1), ints(8), ints(2), ints(3)], {}),
    "pad": ("Pad", 13, [X, ints(0, 0, 2, 1, 0, 0, 0, 3)], {}),
    "pad reflected": ("Pad", 13, [X, ints(0, 0, 3, 1, 0, 0, 0, 5)], {"mode": "reflect"}),
    "pad with the edge": ("Pad", 13, [X, ints(0, 0, 2, 1, 0, 0, 0, 3)], {"mode": "edge"}),
    "pad from the other end": ("Pad", 19, [X, ints(0, 0, 2, 0, 0, 0, 1, 3)], {"mode": "wrap"}),
    "slice backwards": ("Slice", 13, [X, ints(-1, 4), ints(-9, 0), ints(2, 3), ints(-1, -2)], {}),
    "concat": ("Concat", 13, [X, torch.zeros(1, 4, 3, 6).double()], {"axis": 2}),
    "depth to space": ("DepthToSpace", 13, [X], {"blocksize": 2}),
    "space to depth": ("SpaceToDepth", 13, [X], {"blocksize": 2}),
    "upsample": ("Upsample", 7, [X], {"scales": (1.0, 1.0, 2.0, 2.0)}),
    "resize linear": ("Resize", 13, [X, None, torch.tensor([1.0, 1.0, 2.0, 1.5])], {"mode": "linear"}),
    "running sum over channels": ("CumSum", 14, [X, ints(1)], {}),
    "largest of the channels": ("TopK", 11, [X, ints(2)], {"axis": 1}),
    "quantise": ("QuantizeLinear", 21, [X, torch.tensor(0.05)], {}),
    "resize cubic down": ("Resize", 13, [X, None, torch.tensor([1.0, 1.0, 0.5, 1.0])], {"mode": "cubic"}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("axis", [0, 1])
def test_window_is_exactly_what_the_forward_reads(name: str, axis: int) -> None:
    op_type, version, inputs, attributes = CASES[name]
    node = Node(
        "n", "", op_type, version, tuple("" if x is None else f"x{i}" for i, x in enumerate(inputs)), ("y",), attributes
    )
    y = run(node, inputs)[0]
    found = find(node)
    assert found is not None
    operands = [operand(X), *(None if x is None else constant_operand(x) for x in inputs[1:])]
    if name == "concat":
        operands[1] = operand(inputs[1]) if inputs[1] is not None else None
    window = found.window(node, operands, [operand(y)])[0][axis]
    extent, places = X.shape[2 + axis], y.shape[2 + axis]
    reads = np.zeros((places, extent), dtype=bool)
    for i in range(extent):
        changed = X.clone()
        changed.select(2 + axis, i).add_(1.0)
        other = [1 - axis + 2, 0, 1]
        reads[:, i] = ((run(node, [changed, *inputs[1:]])[0] - y).abs() > 1e-12).sum(other).numpy() > 0
    for o in range(places):
        inside = window.inputs_of(Intervals(np.array([o]), np.array([o + 1])))
        seen = np.flatnonzero(reads[o])
        if len(seen):
            assert inside.lower[0] <= seen[0]
            assert inside.upper[0] >= seen[-1] + 1
            # A window with holes may have one at the border; inside the plane both ends are read.
            assert inside.lower[0] < 0 or inside.lower[0] == seen[0]
            assert inside.upper[0] > extent or inside.upper[0] == seen[-1] + 1
    for i in range(extent):
        touched = window.outputs_of(Intervals(np.array([i]), np.array([i + 1]))).clip(places)
        for o in np.flatnonzero(reads[:, i]):
            assert touched.lower[0] <= o < touched.upper[0]
