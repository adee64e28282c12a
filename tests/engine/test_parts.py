"""Parts of a plane that is split: each keeps boxes, whatever the others do, for signals and for windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.support import arrived, close, one_hot, seed, whole
from tests.graph.builders import run, text_model
from tests.methods.small import engine_of, feeds_of, occluded
from tests.oracles.occlusion import BruteForce

from unpool.engine import Engine, Policy
from unpool.methods import Fill, FillKind, Mode, OcclusionRequest, Projection, ProjectionRequest, Target, project

RNG = np.random.default_rng(2)
X = RNG.standard_normal((1, 3, 14, 12)).astype(np.float32)
WEIGHTS = {
    "w": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((5, 4, 3, 3)).astype(np.float32),
    "u": RNG.standard_normal((4, 4, 3, 3)).astype(np.float32),
    "k": np.array([5, 2, 7]),
}


def network(split: str, *, opset: int = 17, x: str = "float[N,3,14,12]") -> bytes:
    """Three parts of the rows, joined in another order."""
    return text_model(
        f"""g ({x} x) => (float[N,5,h,w] y) {{
            c = Conv<pads=[1,1,1,1]>(x, w)
            {split}
            p = Tanh(a) e = Conv<pads=[1,1,1,1]>(d, u) q = Sigmoid(e)
            j = Concat<axis=2>(q, b, p)
            y = Conv(j, v)
        }}""",
        WEIGHTS,
        opset=opset,
    )


SPLITS = {
    "lengths": network("a, b, d = Split<axis=2>(c, k)"),
    "lengths, from the back": network("a, b, d = Split<axis=-2>(c, k)"),
    "lengths, open sides": network("a, b, d = Split<axis=2>(c, k)", x="float[N,3,H,W]"),
    "lengths before opset 13": network("a, b, d = Split<axis=2, split=[5,2,7]>(c)", opset=11),
    "lengths before opset 10": network("a, b, d = Split<axis=2, split=[5,2,7]>(c)", opset=9),
    "a number of parts": network("a, b, d = Split<axis=2, num_outputs=3>(c)", opset=18),
}


@pytest.fixture(scope="module", params=SPLITS)
def source(request: pytest.FixtureRequest) -> bytes:
    return SPLITS[request.param]


@pytest.fixture(scope="module")
def engine(source: bytes) -> Engine:
    return engine_of(source)


def test_each_part_is_a_slice_under_its_own_name(engine: Engine) -> None:
    kinds = {o: n.op_type for n in engine.model.graph.nodes for o in n.outputs}
    assert [kinds[name] for name in "abd"] == ["Slice"] * 3
    assert len({n.name for n in engine.model.graph.nodes}) == len(engine.model.graph.nodes)
    assert engine.model.layers.find("b").op_type == "Slice"


def test_forward_equals_onnx_runtime(source: bytes, engine: Engine) -> None:
    (expected,) = run(source, {"x": X})
    close(engine.run(feeds_of(engine, X))["y"], expected, 1e-5)
    with torch.no_grad():
        close(engine.executor((), ["y"])({"x": torch.from_numpy(X)})["y"].numpy(), expected, 1e-4)


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_local_projection_equals_whole_planes(engine: Engine, policy: Policy) -> None:
    feeds = feeds_of(engine, X)
    units = [(channel, row, 4) for channel in (0, 3) for row in (0, 2, 5, 7, 8, 11)]
    route = engine.route(["y"], ["x"], policy)
    capture = engine.captured_for(feeds, route, ["y"])
    local = arrived(engine, route, capture, {"y": seed(engine, feeds, "y", units, [1.0] * len(units))})
    signal = one_hot(capture.values["y"].shape, units, [1.0] * len(units))
    close(local, arrived(engine, route, capture, {"y": whole(engine, feeds, "y", signal)}))


def test_a_unit_inside_a_part_sees_two_convolutions_of_three(engine: Engine) -> None:
    feeds = feeds_of(engine, X)
    first = 14 - engine.geometry(feeds).shapes["d"][2]
    request = ProjectionRequest("q", channels=(1,), positions=((1, 5),), policy=Policy.GRADIENT)
    (found,) = [r for r in project(engine, feeds, request) if isinstance(r, Projection)]
    assert (found.lower, found.upper) == ((first - 1, 3), (first + 4, 8))
    assert found.signal.any()


def test_windows_touch_boxes_alone(source: bytes, engine: Engine) -> None:
    feeds = feeds_of(engine, X)
    target, fill = Target.element(1, 6, 5, output="y"), np.zeros_like(X)
    asking = {"targets": (target,), "layer": "y", "fill": Fill(FillKind.CONSTANT, (0.0,))}
    header, scores, tiles = occluded(engine, feeds, OcclusionRequest((2, 2), (3, 3), mode=Mode.BOXES, **asking))
    assert header.boxed == 1, "all of it on boxes"
    wanted = BruteForce(source, ["y"]).occluded({"x": X}, "x", (2, 3), header.origins.tolist(), (2, 2), fill)
    np.testing.assert_allclose(scores[0].ravel(), wanted["y"][:, 0, 1, 6, 5], rtol=1e-4, atol=1e-5)
    assert header.map is not None
    for tile in tiles:
        sums = wanted["y"][tile.numbers, 0, header.map.channel].sum((1, 2))
        np.testing.assert_allclose(tile.sums, sums, rtol=1e-4, atol=1e-4)


KEPT = {
    "channels": "a, b, d = Split<axis=1>(c, n)",
    "what a run tells": "l = Shape<start=2, end=3>(x) r = Sub(l, seven) m = Concat<axis=0>(five, two, r)"
    " a, b, d = Split<axis=2>(c, m)",
}


@pytest.mark.parametrize("what", KEPT)
def test_any_other_split_stays(what: str) -> None:
    source = text_model(
        f"g (float[N,3,H,W] x) => (float[] y) {{ c = Conv<pads=[1,1,1,1]>(x, w) {KEPT[what]} y = Relu(d) }}",
        WEIGHTS | {"n": np.array([1, 1, 2]), "two": np.array([2]), "five": np.array([5]), "seven": np.array([7])},
    )
    engine = engine_of(source)
    assert "Split" in {n.op_type for n in engine.model.graph.nodes}
    close(engine.run(feeds_of(engine, X))["y"], run(source, {"x": X})[0], 1e-5)
