"""Occlusion: grids and their order, fills, both ways beside plain loops, Captum, and a cat that sits in a picture."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests import zoo
from tests.engine.networks import Net
from tests.graph.builders import run, text_model
from tests.methods.small import SETTINGS, engine_of, feeds_of, occluded, rectified
from tests.oracles.occlusion import BruteForce

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.graph import load
from unpool.graph.errors import ExhaustedError, InvalidArgumentError
from unpool.methods import (
    Fill,
    FillKind,
    Mode,
    OcclusionRequest,
    Target,
)
from unpool.methods.fills import filled
from unpool.methods.grids import listed, passes, regular

Floats = npt.NDArray[np.float64]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_passes_are_coarse_first_and_visit_every_position_once(shape: list[int]) -> None:
    found = passes(shape)
    count = math.prod(shape)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert len(found[0]) <= max(1, count // 10)
    assert found[0][0] == 0


@given(st.integers(1, 50), st.data())
def test_windows_begin_where_range_says(size: int, data: st.DataObject) -> None:
    window, stride = data.draw(st.integers(1, size)), data.draw(st.integers(1, size))
    grid = regular([size, size + 1], [window], [stride], 1 << 20)
    wanted = [
        (top, left) for top in range(0, size - window + 1, stride) for left in range(0, size + 1 - window + 1, stride)
    ]
    assert [tuple(o) for o in grid.origins.tolist()] == wanted
    assert len(grid) == math.prod(grid.shape)


def test_the_stride_that_is_told_fits() -> None:
    with pytest.raises(ExhaustedError, match="stride of 3 by 3 fits"):
        regular([20, 20], [4], [1], 40)
    assert len(regular([20, 20], [4], [3], 40)) <= 40 < len(regular([20, 20], [4], [2], 1 << 20))


def test_an_empty_list_of_positions_and_windows_beyond_the_plane_are_refused_by_field() -> None:
    for window, positions, field in [
        ((4,), [], "positions"),
        ((4, 21), [(0, 0)], "window"),
        ((0,), [(0, 0)], "window"),
    ]:
        with pytest.raises(InvalidArgumentError) as caught:
            listed([20, 20], window, positions, 40)
        assert caught.value.field == field
    with pytest.raises(InvalidArgumentError) as caught:
        regular([20, 20], [4], [2, 0], 40)
    assert caught.value.field == "stride"


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("window", "stride"), [((3, 4), (2, 3)), ((1, 1), (5, 5)), ((12, 12), (1, 1))])
def test_every_way_equals_a_plain_loop(mode: Mode, window: tuple[int, int], stride: tuple[int, int]) -> None:
    source = rectified()
    engine = engine_of(source, SETTINGS)
    x = np.random.default_rng(2).normal(size=(1, 3, 12, 12)).astype(np.float32)
    feeds = feeds_of(engine, x)
    output = engine.model.graph.outputs[0]
    targets = (Target((2, 0, 0), (3, 6, 6), output), Target.element(1, 5, 5, output=output))
    request = OcclusionRequest(
        window, stride, targets=targets, layer="t1", mode=mode, fill=Fill(FillKind.CONSTANT, (0.5, -0.5, 0.0))
    )
    header, scores, tiles = occluded(engine, feeds, request)
    fill = np.broadcast_to(np.array([0.5, -0.5, 0], np.float32).reshape(1, 3, 1, 1), x.shape)
    wanted = BruteForce(source, [output, "t1"]).occluded({"x": x}, "x", (2, 3), header.origins.tolist(), window, fill)
    maps = wanted[output][:, 0]
    np.testing.assert_allclose(scores[0].ravel(), maps[:, 2].sum((1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores[1].ravel(), maps[:, 1, 5, 5], rtol=1e-5, atol=1e-5)
    assert header.map is not None
    for tile in tiles:
        np.testing.assert_allclose(
            tile.sums, wanted["t1"][tile.numbers, 0, header.map.channel].sum((1, 2)), rtol=1e-5, atol=1e-5
        )
    assert header.boxed == (0 if mode is Mode.BRUTE_FORCE else header.boxed)


@pytest.mark.parametrize("computed", [False, True])
def test_coordinates_joined_to_a_signal_are_cut_to_the_boxes(computed: bool) -> None:
    """CoordConv, or the first state of a recurrence over pictures: constant, or computed beside the signal."""
    random = np.random.default_rng(5)
    net = Net(random, (3, 12, 12))
    beside = net.weight(random.normal(size=(1, 2, 12, 12)).astype(np.float32))
    if computed:
        shape = net.add("Shape", ["x"])
        beside = net.add("Add", [beside, net.add("ReduceMin", [net.add("Cast", [shape], to=1)], keepdims=0)])
    net.add("Concat", ["x", beside], axis=1)
    net.add("Conv", [net.current, net.normal(4, 5, 3, 3), net.normal(4)], pads=[1] * 4)
    engine = engine_of(net.model((1, 3, 12, 12)), SETTINGS)
    feeds = feeds_of(engine, random.normal(size=(1, 3, 12, 12)).astype(np.float32))
    output = engine.model.graph.outputs[0]
    targets = (Target((0, 0, 0), (4, 12, 12), output), Target.element(2, 5, 6, output=output))
    found = {}
    for mode in (Mode.BOXES, Mode.BRUTE_FORCE):
        header, found[mode], _ = occluded(engine, feeds, OcclusionRequest((3,), (4,), targets=targets, mode=mode))
        assert (header.boxed > 0) == (mode is Mode.BOXES)
    np.testing.assert_allclose(found[Mode.BOXES], found[Mode.BRUTE_FORCE], rtol=1e-5, atol=1e-4)


def test_given_positions_and_wanted_ones_alone() -> None:
    engine = engine_of(rectified(), SETTINGS)
    feeds = feeds_of(engine, np.random.default_rng(2).normal(size=(1, 3, 12, 12)).astype(np.float32))
    target = (Target((0, 0, 0), (6, 6, 6), engine.model.graph.outputs[0]),)
    _, whole, _ = occluded(engine, feeds, OcclusionRequest((4,), (4,), targets=target))
    listed = OcclusionRequest((4,), positions=((8, 4), (0, 0)), targets=target)
    _, some, _ = occluded(engine, feeds, listed)
    np.testing.assert_allclose(some[0], [whole[0, 2, 1], whole[0, 0, 0]], rtol=1e-5)
    header, scores, _ = occluded(engine, feeds, OcclusionRequest((4,), (4,), targets=target, only=(7, 2)))
    assert header.total == 2
    assert np.flatnonzero(~np.isnan(scores[0].ravel())).tolist() == [2, 7]


def test_fills() -> None:
    engine = engine_of(rectified(), SETTINGS)
    value = engine.model.graph.values["x"]
    x = np.random.default_rng(2).normal(size=(1, 3, 12, 12)).astype(np.float32)
    blurred = filled(x, value, Fill(FillKind.BLUR, radius=2.0))
    assert blurred.std() < x.std() / 2
    flat = np.full_like(x, 3.0)
    np.testing.assert_allclose(filled(flat, value, Fill(FillKind.BLUR, radius=2.0)), flat, rtol=1e-6)
    noise = filled(x, value, Fill(FillKind.NOISE, seed=4))
    np.testing.assert_array_equal(noise, filled(x, value, Fill(FillKind.NOISE, seed=4)))
    assert not np.array_equal(noise, filled(x, value, Fill(FillKind.NOISE, seed=5)))
    given_ = np.arange(144, dtype=np.float32).reshape(12, 12)
    np.testing.assert_array_equal(filled(x, value, Fill(FillKind.TENSOR, tensor=given_))[0, 2], given_)
    with pytest.raises(InvalidArgumentError, match=r"\(5, 5\).*\(1, 3, 12, 12\)"):
        filled(x, value, Fill(FillKind.TENSOR, tensor=np.zeros((5, 5))))
    with pytest.raises(InvalidArgumentError, match="one per channel"):
        filled(x, value, Fill(values=(1.0, 2.0)))


def test_without_overlap_the_drop_is_captums_occlusion() -> None:
    engine = Engine(load(zoo.path("squeezenet")), EngineSettings(device="cpu"))
    of = engine.model.graph.inputs[0]
    x = zoo.tensor("squeezenet")
    header, scores, _ = occluded(engine, Feeds({of: x}, of), OcclusionRequest((56,), (56,), top=1))
    channel = header.targets[0].target.lower[0]
    twin = zoo.twin("squeezenet")
    with torch.no_grad():
        attributed = CaptumOcclusion(lambda batch: twin.module(batch).flatten(1)).attribute(
            torch.from_numpy(x), sliding_window_shapes=(3, 56, 56), strides=(3, 56, 56), target=channel, baselines=0
        )
    wanted = attributed[0, 0, ::56, ::56].numpy()
    drop = header.targets[0].baseline - scores[0]
    np.testing.assert_allclose(drop, wanted, atol=2e-5 * abs(header.targets[0].baseline))


def cat_beside_a_rocket() -> npt.NDArray[np.uint8]:
    """The cat's face, 96 wide, at the lower left of another photograph.

    In the cat's own photograph the face fills the picture, and fur is left wherever a window lies: there hiding a place
    costs "a cat" next to nothing.
    """
    whole = Image.fromarray(zoo.picture("rocket")).resize((224, 224))
    whole.paste(Image.fromarray(zoo.picture("cat")[:, 60:390]).resize((96, 88)), (24, 112))
    return np.asarray(whole)


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.BRUTE_FORCE])
def test_hiding_the_cats_face_costs_more_than_hiding_what_is_around_it(mode: Mode) -> None:
    engine = Engine(load(zoo.path("efficientnet_lite0")), EngineSettings(device="cpu"))
    of = engine.model.graph.inputs[0]
    x = zoo.tensor("efficientnet_lite0", cat_beside_a_rocket())
    cats = Target((281,), (286,))  # the five domestic cats of ImageNet
    request = OcclusionRequest((48,), (16,), targets=(cats,), probability=True, mode=mode)
    header, scores, _ = occluded(engine, Feeds({of: x}, of), request)
    assert header.targets[0].baseline > 0.5
    drop = header.targets[0].baseline - scores[0]
    centres = header.origins.reshape(*header.shape, 2) + 24
    face = (abs(centres[..., 0] - 156) <= 24) & (abs(centres[..., 1] - 72) <= 24)
    # Windows that touch the cat nowhere.
    begins = header.origins.reshape(*header.shape, 2)
    around = (begins[..., 0] + 48 <= 112) | (begins[..., 1] >= 120)
    assert face.sum() >= 9
    assert around.sum() >= 50
    assert np.median(drop[face]) > 0.25 > 5 * abs(np.median(drop[around]))
    assert np.median(drop[face]) > np.quantile(drop[around], 0.95)


def test_positions_are_told_apart_where_an_output_has_no_batch() -> None:
    """A convolution on boxes, then a list of what was found, as detectors give it: (boxes, 3), no axis for images."""
    rng = np.random.default_rng(2)
    net = """g (float[1, 2, 16, 16] x) => (float[64, 3] y) {
        c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
        r = Relu (c)
        flat = Reshape (r, rows)
        places = Transpose <perm = [1, 0]> (flat)
        y = MatMul (places, v)
    }"""
    shapes = {"w": (4, 2, 3, 3), "v": (4, 3)}
    weights = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} | {"rows": np.array([4, 64])}
    data = text_model(net, weights)
    engine = engine_of(data)
    assert engine.model.graph.values["y"].batch_axis is None
    picture = rng.normal(size=(1, 2, 16, 16)).astype(np.float32)
    positions = ((0, 0), (5, 3), (12, 12), (7, 9))
    target = Target.element(27, 1, output="y")
    request = OcclusionRequest((4, 4), positions=positions, targets=(target,), mode=Mode.BOXES)
    _, found, _ = occluded(engine, Feeds({"x": picture}, "x"), request)
    expected = []
    for top, left in positions:
        covered = picture.copy()
        covered[..., top : top + 4, left : left + 4] = 0
        expected.append(run(data, {"x": covered})[0][27, 1])
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("declared", ["float[N] y", "float[a,b,c] y", "float[4] y"])
def test_an_output_without_a_batch_is_read_run_by_run(declared: str) -> None:
    """Squeezing takes the batch of one image with it, whatever the file says of the output."""
    data = text_model(
        f"g (float[N,1,6,6] x) => ({declared}) {{ c = Conv<strides=[3,3]>(x, w) y = Squeeze(c) }}",
        {"w": np.random.default_rng(0).standard_normal((1, 1, 3, 3)).astype(np.float32)},
    )
    engine = Engine(load(data), SETTINGS)
    x = np.random.default_rng(1).standard_normal((1, 1, 6, 6)).astype(np.float32)
    targets = (Target.element(1, 1, output="y"),)
    _, found, _ = occluded(engine, Feeds({"x": x}, "x"), OcclusionRequest((3,), (3,), targets=targets))
    fill = filled(x, engine.model.graph.values["x"], Fill())
    for row in range(2):
        for column in range(2):
            hidden, place = x.copy(), np.s_[..., 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            hidden[place] = fill[place]
            assert found[0, row, column] == pytest.approx(run(data, {"x": hidden})[0][1, 1], abs=1e-6)
