"""Amounts, sizes and bounds that are computed from extents, as dynamic exports have them, are as good as constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.support import arrived, close, one_hot, seed, whole
from tests.graph.builders import run, text_model
from tests.methods.small import occluded

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load
from unpool.methods.occlusion_requests import Mode, OcclusionRequest, Target

SETTINGS = EngineSettings(device="cpu", threads=1)
# Padded so that a stride of two ends just at the border, resized to a skip connection's size, cropped by half a width.
DYNAMIC = """g (float[N, 3, H, W] x) => (float[N, 4, P, Q] y) {
    zero = Constant<value = int64[1] {0}>()
    one = Constant<value = int64[1] {1}>()
    two = Constant<value = int64[1] {2}>()
    four = Constant<value = int64[1] {4}>()
    zeros = Constant<value = int64[2] {0, 0}>()
    half = Constant<value = float {0.5}>()
    extents = Shape<start = 2>(x)
    odd = Mod(extents, two)
    least = Constant<value = int64 {0}>()
    more = Clip(odd, least)
    amounts = Concat<axis = 0>(zeros, zeros, zeros, more)
    padded = Pad(x, amounts)
    a0 = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(padded, wa)
    a = Relu(a0)
    b0 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)
    b1 = Conv<pads = [1, 1, 1, 1]>(b0, wb)
    b = Relu(b1)
    skip = Shape(a)
    sizes = Slice(skip, two, four)
    front = Shape<end = 2>(b)
    to = Concat<axis = 0>(front, sizes)
    wide = Resize<mode = "linear">(b, , , to)
    joined = Concat<axis = 1>(a, wide)
    scale0 = Cast<to = 1>(sizes)
    scale1 = ReduceMax<keepdims = 0>(scale0)
    scale2 = Sqrt(scale1)
    scaled = Div(joined, scale2)
    mixed = Conv<pads = [1, 1, 1, 1]>(scaled, wc)
    end0 = Shape<start = 3>(mixed)
    end = Sub(end0, two)
    y = Slice(mixed, one, end, four_less)
}"""


def _model() -> bytes:
    rng = np.random.default_rng(0)
    shapes = {"wa": (6, 3, 3, 3), "wb": (5, 6, 3, 3), "wc": (4, 11, 3, 3)}
    weights = {n: rng.normal(0, np.sqrt(1 / np.prod(s[1:])), s).astype(np.float32) for n, s in shapes.items()}
    return text_model(DYNAMIC, weights | {"four_less": np.array([-1])})


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load(_model()), SETTINGS)


def _feeds(height: int, width: int) -> Feeds:
    return Feeds({"x": np.random.default_rng(height).normal(size=(1, 3, height, width)).astype(np.float32)}, "x")


@pytest.mark.parametrize("extents", [(48, 52), (61, 57)])
@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_units_walk_on_boxes_at_every_size(engine: Engine, extents: tuple[int, int], policy: Policy) -> None:
    feeds = _feeds(*extents)
    _, _, height, width = engine.geometry(feeds).shapes["y"]
    units = [(1, 9, 10), (3, 10, 9), (0, 0, 0), (2, height - 1, width - 1)]
    starts = [1.0] * 4
    route = engine.route(["y"], ["x"], policy)
    assert all(step.rule.exact for step in route.steps)
    capture = engine.captured_for(feeds, route, also=("y",))
    found = arrived(engine, route, capture, {"y": seed(engine, feeds, "y", units, starts)})
    planes = one_hot((1, 4, height, width), units, starts)
    close(found, arrived(engine, route, capture, {"y": whole(engine, feeds, "y", planes)}))
    if policy is Policy.GRADIENT:
        leaf = torch.from_numpy(feeds.arrays["x"]).requires_grad_()
        y = engine.executor((), ["y"])({"x": leaf})["y"]
        np.testing.assert_allclose(y.detach().numpy(), engine.run(feeds)["y"], atol=1e-5)
        grads = [torch.autograd.grad(y[(0, *unit)], leaf, retain_graph=True)[0] for unit in units]
        close(found, torch.cat(grads).numpy())
    inside = {"y": seed(engine, feeds, "y", units[:2], starts[:2])}
    (piece,) = [p for p in engine.walk(route, capture, inside, np.zeros(2, np.int64)) if p]
    assert max(piece.signals["x"].boxes.sizes.values()) < 30


def test_occlusion_stays_on_boxes_through_computed_amounts_and_sizes(engine: Engine) -> None:
    feeds = _feeds(61, 57)
    target = Target.element(2, 7, 9, output="y")
    every = Target((0, 0, 0), engine.geometry(feeds).shapes["y"][1:], "y")
    scores = {}
    for mode in (Mode.BOXES, Mode.BRUTE_FORCE):
        request = OcclusionRequest((5,), (7,), targets=(target, every), mode=mode)
        header, scores[mode], _ = occluded(engine, feeds, request)
        assert (header.boxed > 0.9) == (mode is Mode.BOXES)
    np.testing.assert_allclose(scores[Mode.BOXES], scores[Mode.BRUTE_FORCE], rtol=1e-4, atol=1e-5)


# Cross attention as diffusion networks have it: the tokens of the picture are parted by the other input's batch.
CROSSED = """g (float[N, 3, 16, 16] x, float[N, 5, 6] words) => (float[N, 3] y) {
    front = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, wa)
    rows = Relu(front)
    first = Constant<value = int64 {0}>()
    own = Shape(rows)
    images = Gather(own, first)
    told = Shape(words)
    others = Gather(told, first)
    zero = Constant<value = int64[1] {0}>()
    batch = Unsqueeze(images, zero)
    other0 = Unsqueeze(others, zero)
    two = Constant<value = int64[1] {2}>()
    other1 = Mul(other0, two)
    other = Div(other1, two)
    tokens_to = Concat<axis = 0>(batch, eight_any)
    tokens0 = Reshape(rows, tokens_to)
    tokens = Transpose<perm = [0, 2, 1]>(tokens0)
    parted_to = Concat<axis = 0>(other, any_two_four)
    queries0 = Reshape(tokens, parted_to)
    queries = Transpose<perm = [0, 2, 1, 3]>(queries0)
    keys0 = MatMul(words, wk)
    keys1 = Reshape(keys0, parted_to)
    keys = Transpose<perm = [0, 2, 3, 1]>(keys1)
    scores = MatMul(queries, keys)
    weights = Softmax<axis = -1>(scores)
    values = Transpose<perm = [0, 1, 3, 2]>(keys)
    mixed = MatMul(weights, values)
    seen = Conv(mixed, wy)
    strongest = GlobalMaxPool(seen)
    y = Flatten(strongest)
}"""


def test_behind_the_cut_of_an_occlusion_extents_are_those_of_as_many_images() -> None:
    rng = np.random.default_rng(4)
    weights = {"wa": 0.3 * rng.normal(size=(8, 3, 3, 3)), "wk": rng.normal(size=(6, 8))}
    weights |= {"wy": rng.normal(size=(3, 2, 1, 1))}
    lists = {"eight_any": np.array([8, -1]), "any_two_four": np.array([-1, 2, 4])}
    engine = Engine(load(text_model(CROSSED, {n: w.astype(np.float32) for n, w in weights.items()} | lists)), SETTINGS)
    arrays = {"x": rng.normal(size=(1, 3, 16, 16)), "words": rng.normal(size=(1, 5, 6))}
    feeds = Feeds({n: a.astype(np.float32) for n, a in arrays.items()}, "x")
    assert engine.proven_batch(feeds)
    found = {}
    for mode in (Mode.BOXES, Mode.BRUTE_FORCE):
        request = OcclusionRequest((4,), (4,), targets=(Target.element(0, output="y"),), mode=mode)
        header, found[mode], _ = occluded(engine, feeds, request)
        assert (header.boxed > 0) == (mode is Mode.BOXES)
    assert np.ptp(found[Mode.BRUTE_FORCE]) > 0.01
    np.testing.assert_allclose(found[Mode.BOXES], found[Mode.BRUTE_FORCE], rtol=1e-5)


def test_what_a_value_decides_is_not_measured() -> None:
    """A crop as wide as the input says, not as it is wide: no constant, whoever has the same extents."""
    model = load(
        text_model(
            """g (float[1, 2, 8, 8] x, int64[1] n) => (float[1, 2, 8, K] y) {
                zero = Constant<value = int64[1] {0}>()
                axis = Constant<value = int64[1] {3}>()
                y = Slice(x, zero, n, axis)
            }"""
        )
    )
    assert model.graph.measured == frozenset()
    engine = Engine(model, SETTINGS)
    x = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    for n in (3, 6):
        feeds = Feeds({"x": x, "n": np.array([n])}, "x")
        route = engine.route(["y"], ["x"], Policy.GRADIENT)
        capture = engine.captured_for(feeds, route, also=("y",))
        signal = np.ones((1, 2, 8, capture.values["y"].shape[3]), np.float32)
        found = arrived(engine, route, capture, {"y": whole(engine, feeds, "y", signal)})
        assert found.sum() == 2 * 8 * n


def test_extents_that_count_the_images_are_measured_anew_behind_the_boxes() -> None:
    """What one input gives is spread over another's extents, batch and all, where several positions go on at once."""
    rng = np.random.default_rng(1)
    net = """g (float[N, 2, 24] x, int64[N, L] tokens) => (float[N, 3] y) {
        c = Conv <pads = [1, 1], strides = [2]> (x, w)
        r = Relu (c)
        keys = Transpose <perm = [0, 2, 1]> (r)
        scores = MatMul (q, r)
        shares = Softmax <axis = -1> (scores)
        read = MatMul (shares, keys)
        sound = ReduceMean <axes = [2]> (read)
        images = Shape <end = 1> (tokens)
        length = Shape <start = 1> (tokens)
        four = Constant <value = int64[1] {4}> ()
        extents = Concat <axis = 0> (images, four, length)
        spread = Resize <mode = "nearest"> (sound, , , extents)
        words = Gather (table, tokens)
        both = MatMul (spread, words)
        pooled = ReduceMean <axes = [1], keepdims = 0> (both)
        y = MatMul (pooled, v)
    }"""
    shapes = {"w": (4, 2, 3), "q": (4, 4), "table": (9, 4), "v": (4, 3)}
    data = text_model(net, {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()})
    arrays = {"x": rng.normal(size=(1, 2, 24)).astype(np.float32), "tokens": np.array([[3, 1, 4]])}
    positions = ((0,), (7,), (13,), (20,))
    target = Target.element(1, output="y")
    request = OcclusionRequest((4,), positions=positions, targets=(target,), mode=Mode.BOXES)
    _, found, _ = occluded(Engine(load(data), SETTINGS), Feeds(arrays, "x"), request)
    expected = []
    for (left,) in positions:
        covered = arrays["x"].copy()
        covered[..., left : left + 4] = 0
        expected.append(run(data, arrays | {"x": covered})[0][0, 1])
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
