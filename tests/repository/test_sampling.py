"""Random inputs for a model that nobody knows."""

import numpy as np
import onnx
import pytest
from tests.graph.builders import text_model

from unpool.engine import Engine, EngineSettings
from unpool.graph import load
from unpool.repository.admission.parity import compare
from unpool.repository.admission.sampling import samples


def test_a_symbol_has_one_extent_wherever_it_stands() -> None:
    # The mask's second axis would pass for channels, were it not as long as the tokens.
    graph = load(
        text_model(
            """agraph (int64[batch,seq] tokens, float[batch,seq] mask, float[2,batch,8] state) => (float[batch,5] y) {
                embedded = Gather (table, tokens)
                mean = ReduceMean <axes = [1], keepdims = 0> (embedded)
                narrow = MatMul (mask, shorter)
                y = Add (mean, narrow)
            }""",
            {"table": np.ones((2, 5), np.float32), "shorter": np.ones((224, 5), np.float32)},
        )
    ).graph
    assert str(graph.values["mask"].axes[1]) == "channel"
    first = next(iter(samples(graph)))
    assert {name: array.shape for name, array in first.arrays.items()} == {
        "tokens": (1, 224),
        "mask": (1, 224),
        "state": (2, 1, 8),
    }


@pytest.mark.parametrize("side", [28, 160])
def test_a_side_that_only_a_matrix_behind_tells_is_found(side: int) -> None:
    """As exporters write a classifier whose sides were said to be free, though they are not."""
    weights = np.ones(((side // 4) ** 2, 3), np.float32)
    model = load(
        text_model(
            """agraph (float[n,1,height,width] x) => (float[n,3] y) {
                small = MaxPool <kernel_shape = [4, 4], strides = [4, 4]> (x)
                flat = Flatten (small)
                y = Gemm (flat, w)
            }""",
            {"w": weights},
        )
    )
    parity = compare(Engine(model, EngineSettings(device="cpu", threads=1)))
    assert parity.holds
    assert parity.extents == (("x", (1, 1, side, side)),)


def test_the_unnamed_batch_of_a_state_is_one() -> None:
    """As recurrent networks are written whose state's axes bear no name."""
    model = load(
        text_model(
            """agraph (float[n,16] x, float[2,?,8] state) => (float[n,16] y) {
                wide = MatMul (x, w)
                flat = Reshape (state, shape)
                y = Add (wide, flat)
            }""",
            {"w": np.ones((16, 16), np.float32), "shape": np.array([1, 16], np.int64)},
        )
    )
    parity = compare(Engine(model, EngineSettings(device="cpu", threads=1)))
    assert parity.holds
    assert parity.extents == (("x", (1, 16)), ("state", (2, 1, 8)))


def test_where_no_extent_fits_the_likeliest_is_told() -> None:
    model = load(
        text_model(
            """agraph (float[n,1,height,width] x) => (float[n,3] y) {
                small = MaxPool <kernel_shape = [4, 4], strides = [4, 4]> (x)
                flat = Flatten (small)
                y = Gemm (flat, w)
            }""",
            {"w": np.ones((35, 3), np.float32)},
        )
    )
    parity = compare(Engine(model, EngineSettings(device="cpu", threads=1)))
    assert not parity.outputs
    assert parity.reason.startswith("no extent that was tried for what the model leaves open fits: ")
    assert str((224 // 4) ** 2) in parity.reason


@pytest.mark.parametrize(
    ("symbol", "extent"),
    [("past + seq", 448), ("past + 1", 225), ("2*seq", 448), ("seq + other", 448), ("(seq + 1) // 2", 224)],
)
def test_a_sum_of_extents_is_as_long_as_both(symbol: str, extent: int) -> None:
    """As exporters name a mask over what is remembered and what is new."""
    data = text_model(
        """agraph (int64[batch,seq] tokens, float[batch,past,4] state, int64[batch,total] mask) => (float[b,k,4] y) {
            embedded = Gather (table, tokens)
            all = Concat <axis = 1> (state, embedded)
            narrow = Cast <to = 1> (mask)
            wide = Unsqueeze (narrow, last)
            y = Mul (all, wide)
        }""",
        {"table": np.ones((2, 4), np.float32), "last": np.array([2], np.int64)},
    )
    proto = onnx.load_from_string(data)
    proto.graph.input[2].type.tensor_type.shape.dim[1].dim_param = symbol
    first = next(iter(samples(load(proto.SerializeToString()).graph)))
    assert first.arrays["mask"].shape == (1, extent)
