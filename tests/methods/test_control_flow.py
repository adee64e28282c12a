"""If, Loop and Scan that only a run can decide: all around them works, and loops are refused by name."""

import numpy as np
import pytest
import torch
from tests.graph.builders import run, text_model
from tests.methods.small import asked, engine_of, feeds_of, pictured

from unpool.engine import Policy
from unpool.graph.errors import PreconditionError
from unpool.methods import ProjectionRequest, capture

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
V = RNG.normal(size=(4, 4, 3, 3)).astype(np.float32)
X = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)

INSIDES = {
    "If": """
        total = ReduceSum <keepdims = 0> (r)
        zero = Constant <value = float {0.0}> ()
        cond = Greater (total, zero)
        z = If <
            then_branch = a () => (float[n,4,8,8] t) { t = Conv <pads = [1, 1, 1, 1]> (r, v) },
            else_branch = b () => (float[n,4,8,8] t) { t = Neg (r) }
        > (cond)
    """,
    "Loop": """
        trips = Constant <value = int64 {3}> ()
        go = Constant <value = bool {1}> ()
        z = Loop <
            body = b (int64 i, bool g, float[n,4,8,8] s) => (bool h, float[n,4,8,8] t) {
                h = Identity (g)
                q = Conv <pads = [1, 1, 1, 1]> (s, v)
                t = Tanh (q)
            }
        > (trips, go, r)
    """,
    "Scan": """
        last, z = Scan <
            num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [2],
            body = b (float[1,4,8] s, float[1,4,8] row) => (float[1,4,8] t, float[1,4,8] out) {
                t = Add (s, row)
                out = Identity (t)
            }
        > (begin, r)
    """,
}


def network(inside: str) -> bytes:
    text = f"""agraph (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        r = Relu (c)
        {INSIDES[inside]}
        y = Relu (z)
    }}"""
    return text_model(text, {"w": W, "v": V, "begin": np.zeros((1, 4, 8), np.float32)})


@pytest.mark.parametrize("inside", INSIDES)
def test_it_runs_forward(inside: str) -> None:
    engine = engine_of(network(inside))
    (expected,) = run(network(inside), {"x": X})
    found = [item for item in capture(engine, feeds_of(engine, X), ("y",)) if item is not None]
    np.testing.assert_allclose(found[0].values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inside", INSIDES)
def test_what_lies_before_it_is_projected(inside: str) -> None:
    engine = engine_of(network(inside))
    header, (found,) = asked(engine, feeds_of(engine, X), ProjectionRequest("r", top=1, policy=Policy.GRADIENT))
    x = torch.from_numpy(X).requires_grad_()
    maps = torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(W), padding=1))
    maps[0, found.channel].max().backward()
    assert x.grad is not None
    np.testing.assert_allclose(pictured(found, header), x.grad[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inside", ["Loop", "Scan"])
def test_what_lies_behind_it_is_refused_in_a_sentence_that_names_it(inside: str) -> None:
    engine = engine_of(network(inside))
    with pytest.raises(PreconditionError, match=rf"cannot cross {inside} node .* 'to': .*'z'$") as caught:
        asked(engine, feeds_of(engine, X), ProjectionRequest("y", top=1))
    assert caught.value.node == next(node.name for node in engine.model.graph.nodes if node.op_type == inside)
    _, found = asked(engine, feeds_of(engine, X), ProjectionRequest("y", top=1, policy=Policy.GRADIENT, to="z"))
    assert np.count_nonzero(found[0].signal) == 1
