"""If, Loop, Scan and sequences that only a run decides: all around them works; what has no rule is refused by name."""

import numpy as np
import pytest
import torch
from tests.graph.builders import run, text_model
from tests.methods.small import asked, engine_of, feeds_of, occluded, pictured
from tests.oracles.occlusion import BruteForce

from unpool.engine import Policy
from unpool.graph.errors import PreconditionError
from unpool.methods import Fill, FillKind, Mode, OcclusionRequest, ProjectionRequest, Target, capture

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
    "SequenceAt": """
        q = Conv <pads = [1, 1, 1, 1]> (r, v)
        s = SequenceConstruct (r, q)
        total = ReduceSum <keepdims = 0> (x)
        zero = Constant <value = float {0.0}> ()
        more = Greater (total, zero)
        place = Cast <to = 7> (more)
        z = SequenceAt (s, place)
    """,
    "ConcatFromSequence": """
        trips = Constant <value = int64 {2}> ()
        go = Constant <value = bool {1}> ()
        e = SequenceEmpty ()
        s = Loop <
            body = b (int64 i, bool g, seq(float[n,2,8,8]) before) => (bool h, seq(float[n,2,8,8]) after) {
                h = Identity (g)
                two = Constant <value = int64 {2}> ()
                pieces = SplitToSequence <axis = 1> (r, two)
                piece = SequenceAt (pieces, i)
                t = Tanh (piece)
                after = SequenceInsert (before, t)
            }
        > (trips, go, e)
        z = ConcatFromSequence <axis = 1> (s)
    """,
    "OptionalGetElement": """
        trips = Constant <value = int64 {2}> ()
        go = Constant <value = bool {1}> ()
        begun = Optional (r)
        o = Loop <
            body = b (int64 i, bool g, optional(float[n,4,8,8]) before) => (bool h, optional(float[n,4,8,8]) after) {
                h = Identity (g)
                e = OptionalGetElement (before)
                q = Conv <pads = [1, 1, 1, 1]> (e, v)
                t = Tanh (q)
                after = Optional (t)
            }
        > (trips, go, begun)
        z = OptionalGetElement (o)
    """,
}
UNCROSSED = [inside for inside in INSIDES if inside != "If"]


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


@pytest.mark.parametrize("inside", UNCROSSED)
def test_what_lies_behind_it_is_refused_in_a_sentence_that_names_it(inside: str) -> None:
    engine = engine_of(network(inside))
    with pytest.raises(PreconditionError, match=rf"cannot cross {inside} node .* 'to': .*'z'$") as caught:
        asked(engine, feeds_of(engine, X), ProjectionRequest("y", top=1))
    assert caught.value.node == next(node.name for node in engine.model.graph.nodes if node.op_type == inside)
    _, found = asked(engine, feeds_of(engine, X), ProjectionRequest("y", top=1, policy=Policy.GRADIENT, to="z"))
    assert np.count_nonzero(found[0].signal) == 1


@pytest.mark.parametrize("inside", INSIDES)
@pytest.mark.parametrize("mode", [Mode.BOXES, Mode.AUTO])
def test_windows_are_hidden_in_front_of_it(inside: str, mode: Mode) -> None:
    source = network(inside)
    engine = engine_of(source)
    place = (1, 2, 3) if engine.model.graph.values["y"].batch_axis == 0 else (0, 1, 2, 3)
    target, fill = Target.element(*place, output="y"), np.zeros_like(X)
    request = OcclusionRequest((3, 3), (5, 5), targets=(target,), mode=mode, fill=Fill(FillKind.CONSTANT, (0.0,)))
    header, scores, _ = occluded(engine, feeds_of(engine, X), request)
    wanted = BruteForce(source, ["y"]).occluded({"x": X}, "x", (2, 3), header.origins.tolist(), (3, 3), fill)
    np.testing.assert_allclose(scores[0].ravel(), wanted["y"][:, 0, 1, 2, 3], rtol=1e-4, atol=1e-5)
