"""Random inputs for a model that nobody knows."""

import numpy as np
from tests.graph.builders import text_model

from unpool.graph import load
from unpool.repository.admission.sampling import samples


def test_a_symbol_has_one_extent_wherever_it_stands() -> None:
    # The mask's second axis would pass for channels, were it not as long as the tokens.
    graph = load(
        text_model(
            """agraph (int64[batch,seq] tokens, float[batch,seq] mask, float[2,batch,8] state) => (float[batch,5] y) {
                embedded = Gather (table, tokens)
                axes = Constant <value = int64[1] {2}> ()
                masks = Unsqueeze (mask, axes)
                masked = Mul (embedded, masks)
                one = Constant <value = int64[1] {1}> ()
                mean = ReduceMean <axes = [1], keepdims = 0> (masked)
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
