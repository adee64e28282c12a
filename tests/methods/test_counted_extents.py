"""Extents that the numbers of an input decide, as the count of what a detector keeps, are those of that input alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.graph.builders import run, text_model
from tests.methods.small import asked, engine_of, occluded

from unpool.engine import Engine, Feeds, Policy
from unpool.graph.errors import PreconditionError
from unpool.methods import (
    Mode,
    OcclusionRequest,
    ProjectionRequest,
    Target,
    capture,
)

Floats = npt.NDArray[np.float32]
RNG = np.random.default_rng(11)
WEIGHTS: Mapping[str, npt.NDArray[np.generic]] = {
    "w": RNG.normal(0, 0.4, (4, 2, 3, 3)).astype(np.float32),
    "v": RNG.normal(0, 0.4, (4, 3)).astype(np.float32),
    "rows": np.array([4, -1]),
    "first": np.array([0]),
    "least": np.array(1.5, np.float32),
}
# The places whose features sum up to enough, each classified.
KEPT = """
    features = Conv <pads = [1, 1, 1, 1]> (x, w)
    rectified = Relu (features)
    flat = Reshape (rectified, rows)
    places = Transpose <perm = [1, 0]> (flat)
    strength = ReduceSum <keepdims = 0> (places, one)
    enough = Greater (strength, least)
    found0 = NonZero (enough)
    found = Squeeze (found0, first)
    kept = Gather <axis = 0> (places, found)
"""
DETECTOR = f"""g (float[N, 2, 8, 8] x) => (float[n, 3] y) {{
    one = Constant <value_ints = [1]> ()
    {KEPT}
    y = MatMul (kept, v)
}}"""
# As an exporter writes a list of boxes taken apart: a reshape that an empty list does not take.
BRITTLE = f"""g (float[N, 2, 8, 8] x) => (float[k, 3] y) {{
    one = Constant <value_ints = [1]> ()
    {KEPT}
    extents = Shape (kept)
    count = Slice (extents, first, one)
    rest = Constant <value_ints = [-1]> ()
    apart = Concat <axis = 0> (count, rest)
    same = Reshape (kept, apart)
    y = MatMul (same, v)
}}"""
# A tail that takes a list of 30 or more; and a branch that the 30th decides.
CROWD = f"""
    one = Constant <value_ints = [1]> ()
    {KEPT}
    scores = MatMul (kept, v)
    thirtieth = Constant <value_ints = [29]> ()
    late = Gather <axis = 0> (scores, thirtieth)
"""
LONG = f"g (float[N, 2, 8, 8] x) => (float[k, 3] y) {{ {CROWD} y = Concat <axis = 0> (late, scores) }}"
LATE = f"""g (float[N, 2, 8, 8] x) => (float[n, 3] y) {{ {CROWD}
    column = Slice (late, first, one, one)
    zero = Constant <value_floats = [0.0]> ()
    positive0 = Greater (column, zero)
    positive = Squeeze (positive0)
    z = If <
        then_branch = a () => (float[n, 3] t) {{ t = Neg (scores) }},
        else_branch = b () => (float[n, 3] t) {{ t = Identity (scores) }}
    > (positive)
    y = Relu (z)
}}"""
# What is found decides a branch.
COUNTING = f"""g (float[N, 2, 8, 8] x) => (float[N, 4] y) {{
    one = Constant <value_ints = [1]> ()
    {KEPT}
    extents = Shape <end = 1> (kept)
    most = Constant <value_ints = [12]> ()
    crowded0 = Greater (extents, most)
    crowded = Squeeze (crowded0, first)
    z = If <
        then_branch = a () => (float[n, 4, 8, 8] t) {{ t = Neg (rectified) }},
        else_branch = b () => (float[n, 4, 8, 8] t) {{ t = Identity (rectified) }}
    > (crowded)
    pooled = GlobalAveragePool (z)
    y = Flatten (pooled)
}}"""


def _picture(strength: float) -> Floats:
    return (strength * np.random.default_rng(5).normal(size=(1, 2, 8, 8))).astype(np.float32)


def _kept(picture: torch.Tensor) -> torch.Tensor:
    weights = {n: torch.from_numpy(np.asarray(WEIGHTS[n])) for n in ("w", "v")}
    places = torch.relu(torch.conv2d(picture, weights["w"], padding=1)).reshape(4, -1).T
    return places[places.sum(1) > 1.5] @ weights["v"]


@pytest.fixture(scope="module")
def detector() -> Engine:
    return engine_of(text_model(DETECTOR, WEIGHTS))


@pytest.mark.parametrize("strength", [0.5, 0.9, 2.0])
def test_every_picture_is_crossed_with_the_count_of_its_own(detector: Engine, strength: float) -> None:
    picture = _picture(strength)
    feeds = Feeds({"x": picture}, "x")
    _, found = asked(detector, feeds, ProjectionRequest("y", top=3, policy=Policy.GRADIENT))
    leaf = torch.from_numpy(picture).requires_grad_()
    expected = _kept(leaf)
    assert detector.geometry(feeds).shapes["y"] == tuple(expected.shape)
    for projection in found:
        unit = expected[projection.position[0], projection.channel]
        (gradient,) = torch.autograd.grad(unit, leaf, retain_graph=True)
        full = np.zeros_like(picture[0])
        full[(slice(None), *map(slice, projection.lower, projection.upper))] = projection.signal
        assert projection.activation == pytest.approx(unit.item(), rel=1e-5)
        np.testing.assert_allclose(full, gradient[0].numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_found_is_told(detector: Engine) -> None:
    with pytest.raises(PreconditionError, match=r"'y' is empty for this input, of extents \(0, 3\)"):
        asked(detector, Feeds({"x": _picture(0)}, "x"), ProjectionRequest("y", top=1))


def test_layers_in_front_are_projected_where_the_model_fails_behind_them() -> None:
    engine = engine_of(text_model(BRITTLE, WEIGHTS))
    feeds = Feeds({"x": _picture(0.01)}, "x")
    header, (found,) = asked(engine, feeds, ProjectionRequest("features", channels=(1,), policy=Policy.GRADIENT))
    assert np.abs(found.signal).sum() > 0
    assert header.shape == (1, 4, 8, 8)
    with pytest.raises(PreconditionError, match="ONNX Runtime fails on this input"):
        list(capture(engine, feeds, ["y"]))
    for policy in Policy:
        with pytest.raises(PreconditionError, match=r"^ONNX Runtime fails on this input: .*Reshape node"):
            asked(engine, feeds, ProjectionRequest("y", top=1, policy=policy))
    _, (found,) = asked(engine, Feeds({"x": _picture(2)}, "x"), ProjectionRequest("y", top=1))
    assert np.isfinite(found.signal).all()


@pytest.mark.parametrize("text", [LONG, LATE], ids=["tail", "branch"])
@pytest.mark.parametrize("strength", [0.6, 2.0])
def test_what_was_found_is_crossed_though_the_model_fails_behind_it(text: str, strength: float) -> None:
    engine = engine_of(text_model(text, WEIGHTS))
    feeds = Feeds({"x": _picture(strength)}, "x")
    leaf = torch.from_numpy(_picture(strength)).requires_grad_()
    expected = _kept(leaf)
    few = len(expected) < 30
    assert few == (strength < 1), "one picture is too empty for the tail, the other is not"
    _, (found,) = asked(engine, feeds, ProjectionRequest("scores", top=1, policy=Policy.GRADIENT))
    (gradient,) = torch.autograd.grad(expected[found.position[0], found.channel], leaf)
    full = np.zeros_like(_picture(1)[0])
    full[(slice(None), *map(slice, found.lower, found.upper))] = found.signal
    np.testing.assert_allclose(full, gradient[0].numpy(), rtol=1e-5, atol=1e-6)
    (activation,) = (a for a in capture(engine, feeds, ["scores"]) if a is not None)
    np.testing.assert_allclose(activation.values, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    if few:
        with pytest.raises(PreconditionError, match=r"^ONNX Runtime fails on this input: .*Gather node"):
            asked(engine, feeds, ProjectionRequest("y", top=1))
    else:
        _, (last,) = asked(engine, feeds, ProjectionRequest("y", top=1))
        assert np.isfinite(last.signal).all()


def test_windows_that_change_a_count_decide_the_branch_anew() -> None:
    data = text_model(COUNTING, WEIGHTS)
    picture = _picture(0.6)
    positions = tuple((i, j) for i in (0, 2, 4) for j in (0, 2, 4))
    target = Target.element(1, output="y")
    request = OcclusionRequest((4, 4), positions=positions, targets=(target,), mode=Mode.BOXES)
    _, found, _ = occluded(engine_of(data), Feeds({"x": picture}, "x"), request)
    expected = []
    for top, left in positions:
        covered = picture.copy()
        covered[..., top : top + 4, left : left + 4] = 0
        expected.append(run(data, {"x": covered})[0][0, 1])
    assert {np.sign(e) for e in expected} == {-1, 1}  # both branches are taken
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)
