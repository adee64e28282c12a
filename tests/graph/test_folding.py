"""What is computed from extents is folded in one go, however many tensors are put back into the shape of others."""

from __future__ import annotations

import numpy as np
import pytest
from tests.graph.builders import labels, run, text_model

from unpool.graph import BatchSupport, load

_BLOCK = """
    s{i} = Shape(x{i})
    r{i} = Reshape(x{i}, flat)
    n{i} = InstanceNormalization(r{i}, one, zero)
    x{j} = Reshape(n{i}, s{i})
"""


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("batch", ["1", "N"])
def test_every_reshape_to_the_extents_of_another_tensor_is_followed(opset: int, batch: str) -> None:
    blocks = "".join(_BLOCK.format(i=i, j=i + 1) for i in range(9))
    data = text_model(
        f"""g (float[{batch},3,6,6] x) => (float[a,b] y) {{
            x0 = Conv(x, w) {blocks} c = Conv(x9, w) p = GlobalAveragePool(c) y = Flatten(p)
        }}""",
        {
            "w": np.random.default_rng(0).standard_normal((3, 3, 1, 1)).astype(np.float32),
            "flat": np.array([0, 1, -1], np.int64),
            "one": np.ones(1, np.float32),
            "zero": np.zeros(1, np.float32),
        },
        opset=opset,
    )
    model = load(data)
    assert not [n for n in model.graph.nodes if n.op_type == "Shape"]
    assert labels(model, "c") == "b c s0 s1"
    assert labels(model, "y") == "b c"
    assert model.graph.batch is BatchSupport.SYMBOLIC
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype(np.float32)
    apart = np.concatenate([run(data, {"x": x[i : i + 1]})[0] for i in range(2)])
    np.testing.assert_allclose(run(model, {"x": x})[0], apart, rtol=1e-4, atol=1e-6)


def test_an_open_extent_is_known_by_its_name_behind_an_expand() -> None:
    model = load(
        text_model(
            """g (float[N,3,4] x) => (float[a,b,c] y) {
                s = Shape(x)
                n = Gather(s, first)
                wide = Concat<axis=0>(n, tail)
                e = Expand(p, wide)
                again = Shape(e)
                m = Gather(again, first)
                back = Concat<axis=0>(m, rest)
                y = Reshape(e, back)
            }""",
            {
                "first": np.array([0], np.int64),
                "tail": np.array([6, 2], np.int64),
                "rest": np.array([4, 3], np.int64),
                "p": np.arange(12, dtype=np.float32).reshape(1, 6, 2),
            },
        )
    )
    reshape = next(n for n in model.graph.nodes if n.op_type == "Reshape")
    assert tuple(model.graph.constants[reshape.inputs[1]].numpy()) == (0, 4, 3)
    assert run(model, {"x": np.zeros((5, 3, 4), np.float32)})[0].shape == (5, 4, 3)
