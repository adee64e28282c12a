"""DynamicQuantizeLSTM against ONNX Runtime, which quantises its input and its states as they come."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from unpool.ops.quantized_recurrent import dynamic_quantize_lstm
from unpool.ops.recurrent import lstm

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 7
CONSTANT = ("w", "r", "b", "w_scale", "w_zero", "r_scale", "r_zero")


def operands(
    direction: str, lengths: list[int] | None, *, starts: bool, per_column: bool, symmetric: bool
) -> dict[str, np.ndarray | None]:
    rng = np.random.default_rng(0)
    count = 2 if direction == "bidirectional" else 1
    kind = np.int8 if symmetric else np.uint8
    each = (count, 4 * HIDDEN) if per_column else (count,)

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def stored(*shape: int) -> np.ndarray:
        return rng.integers(-127 if symmetric else 0, 128 if symmetric else 256, shape).astype(kind)

    return {
        "x": floats(STEPS, BATCH, INPUTS) * 3,
        "w": stored(count, INPUTS, 4 * HIDDEN),
        "r": stored(count, HIDDEN, 4 * HIDDEN),
        "b": floats(count, 8 * HIDDEN),
        "lengths": np.array(lengths, np.int32) if lengths else None,
        "h": floats(count, BATCH, HIDDEN) if starts else None,
        "c": floats(count, BATCH, HIDDEN) if starts else None,
        "p": None,
        "w_scale": (0.004 + 0.002 * np.abs(floats(*each))).astype(np.float32),
        "w_zero": np.full(each, 0 if symmetric else 121, kind),
        "r_scale": (0.004 + 0.002 * np.abs(floats(*each))).astype(np.float32),
        "r_zero": np.full(each, 0 if symmetric else 130, kind),
    }


def by_runtime(given: dict[str, np.ndarray | None], direction: str) -> list[np.ndarray]:
    fed = {k: v for k, v in given.items() if v is not None and k not in CONSTANT}
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        [k if v is not None else "" for k, v in given.items()],
        ["y", "y_h", "y_c"],
        domain="com.microsoft",
        hidden_size=HIDDEN,
        direction=direction,
    )
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in fed.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
        [numpy_helper.from_array(value, k) for k in CONSTANT if (value := given[k]) is not None],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # threads would quantise a part of the states each
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, fed)
    return found


def tensors(given: dict[str, np.ndarray | None]) -> list[torch.Tensor | None]:
    return [torch.from_numpy(v) if v is not None else None for v in given.values()]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [None, [6, 3, 4], [4, 2, 5]])
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize(("per_column", "symmetric"), [(False, False), (True, True)])
def test_forward_is_the_runtimes(
    direction: str, lengths: list[int] | None, starts: bool, per_column: bool, symmetric: bool
) -> None:
    given = operands(direction, lengths, starts=starts, per_column=per_column, symmetric=symmetric)
    found = dynamic_quantize_lstm(*tensors(given), direction=direction, hidden_size=HIDDEN, outputs=3)
    for ours, theirs in zip(found, by_runtime(given, direction), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=3e-6)


def test_backward_is_that_of_the_layer_in_real_numbers_nearly() -> None:
    """Straight through what is rounded: zero nearly everywhere would be the derivative itself."""
    given = operands("bidirectional", None, starts=True, per_column=False, symmetric=False)
    found = []
    for quantised in (True, False):
        inputs = tensors(given)
        x = inputs[0]
        assert x is not None
        x.requires_grad_()
        if quantised:
            y = dynamic_quantize_lstm(*inputs, direction="bidirectional", hidden_size=HIDDEN)
        else:
            w, r = (
                ((given[k].astype(np.float32) - given[f"{k}_zero"][:, None, None]) * given[f"{k}_scale"][:, None, None])
                for k in "wr"
            )
            real = [torch.from_numpy(m).mT for m in (w, r)]
            y = lstm(x, *real, *inputs[3:8], direction="bidirectional", hidden_size=HIDDEN)
        y = y[0] if isinstance(y, tuple) else y
        (grad,) = torch.autograd.grad(y[2, 0].square().sum(), x)
        found.append(grad)
    assert found[1].abs().max() > 0.01
    assert (found[0] - found[1]).abs().max() < 0.05 * found[1].abs().max()
