"""The oracle for pixels is Pillow and NumPy written out; for the geometry, where a mark in the picture ends up."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.service.small import network, photograph

from unpool.graph import load
from unpool.graph.errors import InvalidArgumentError, ModelError, PreconditionError
from unpool.repository.placement import Placement
from unpool.repository.preprocessing import Preprocessing, default_recipe
from unpool.repository.recipe import ChannelOrder, Edges, Exact, Recipe, Resample, parse_recipe
from unpool.repository.target import PictureInput, picture_input


def target(height: int | None = 32, width: int | None = 32, channels: int = 3, dtype: str = "float32") -> PictureInput:
    return PictureInput("image", dtype, 4, 1, 2, 3, channels, height, width)


def test_hugging_face_keys_are_read() -> None:
    recipe = parse_recipe(
        json.dumps(
            {
                "do_resize": True,
                "size": {"shortest_edge": 256},
                "resample": 3,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 200},
                "do_rescale": True,
                "rescale_factor": 0.5,
                "do_normalize": True,
                "image_mean": [1, 2, 3],
                "image_std": [4, 5, 6],
                "channel_order": "BGR",
                "image_processor_type": "ViTImageProcessor",
            }
        )
    )
    assert recipe == Recipe(
        Edges(256), Resample.BICUBIC, (224, 200), 0.5, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), ChannelOrder.BGR
    )


@pytest.mark.parametrize(
    ("keys", "resize"),
    [
        ({"size": 224}, Exact(224, 224)),
        ({"size": 224, "crop_size": 200}, Edges(224)),
        ({"size": {"height": 3, "width": 4}}, Exact(3, 4)),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, Edges(8, 9)),
        ({"size": {"longest_edge": 9}}, Edges(None, 9)),
        ({"size": 224, "do_resize": False}, None),
        ({}, None),
    ],
)
def test_sizes_are_read_in_all_their_forms(keys: dict[str, object], resize: Exact | Edges | None) -> None:
    recipe = parse_recipe(json.dumps(keys))
    assert recipe.resize == resize
    assert recipe.rescale == 1 / 255


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"size": -1}', "size"),
        ('{"size": {"height": 3}}', "size"),
        ('{"resample": 17}', "resample"),
        ('{"channel_order": "GBR"}', "channel_order"),
        ('{"do_normalize": true}', "do_normalize"),
        ('{"image_mean": [0, "x", 1], "image_std": [1, 1, 1]}', "image_mean"),
        ('{"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}', "image_std"),
        ('{"image_mean": [0, 0, 0], "image_std": [1, 1]}', "image_std"),
        ('{"rescale_factor": "half"}', "rescale_factor"),
    ],
)
def test_a_wrong_description_is_refused_by_its_key(text: str, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        parse_recipe(text)


def test_the_arithmetic_is_resize_crop_order_rescale_normalise() -> None:
    picture = photograph(40, 60)
    recipe = Recipe(Edges(36), Resample.BICUBIC, (32, 32), 1 / 127, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), ChannelOrder.BGR)
    prepared = Preprocessing(target(), recipe, described=True).apply(picture)
    resized = np.asarray(picture.resize((54, 36), Image.Resampling.BICUBIC), np.float64)
    cropped = resized[2:34, 11:43, ::-1]
    wanted = ((cropped / 127 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]).transpose(2, 0, 1)[None]
    assert prepared.array.dtype == np.float32
    np.testing.assert_allclose(prepared.array, wanted, rtol=1e-5, atol=1e-6)


def test_the_default_scales_to_the_input_and_warns() -> None:
    picture = photograph(40, 60)
    preprocessing = Preprocessing(target(16, 24), default_recipe(target(16, 24)), described=False)
    prepared = preprocessing.apply(picture)
    wanted = np.asarray(picture.resize((24, 16), Image.Resampling.BILINEAR), np.float64) / 255
    np.testing.assert_allclose(prepared.array[0], wanted.transpose(2, 0, 1), rtol=1e-6)
    assert "does not describe" in preprocessing.warnings[0]
    assert prepared.placement.picture_box((0, 0), (16, 24)) == ((0, 0), (40, 60))


def test_a_grey_input_takes_brightness() -> None:
    preprocessing = Preprocessing(target(40, 60, 1), default_recipe(target(40, 60, 1)), described=False)
    prepared = preprocessing.apply(photograph(40, 60))
    assert preprocessing.order is ChannelOrder.GRAY
    np.testing.assert_allclose(prepared.array[0, 0] * 255, np.asarray(photograph(40, 60).convert("L")), rtol=1e-5)


def test_an_input_of_bytes_takes_pixel_values() -> None:
    place = target(40, 60, dtype="uint8")
    prepared = Preprocessing(place, default_recipe(place), described=False).apply(photograph(40, 60))
    assert prepared.array.dtype == np.uint8
    assert (prepared.array[0].transpose(1, 2, 0) == np.asarray(photograph(40, 60))).all()


def test_a_free_input_takes_the_descriptions_size_else_the_pictures_own() -> None:
    free = target(None, None)
    own = Preprocessing(free, default_recipe(free), described=False).apply(photograph(40, 60))
    assert own.array.shape == (1, 3, 40, 60)
    told = Preprocessing(free, Recipe(Exact(20, 30)), described=True).apply(photograph(40, 60))
    assert told.array.shape == (1, 3, 20, 30)


def test_a_description_that_does_not_fit_the_input_says_both_sizes() -> None:
    with pytest.raises(PreconditionError, match=r"20 high.* 32 high"):
        Preprocessing(target(), Recipe(Exact(20, 32)), described=True).apply(photograph())
    with pytest.raises(ModelError, match="image_mean lists 2"):
        Preprocessing(target(), Recipe(mean=(1.0, 2.0)), described=True)
    with pytest.raises(ModelError, match="GRAY"):
        Preprocessing(target(), Recipe(order=ChannelOrder.GRAY), described=True)


@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    row=st.floats(0.1, 0.9),
    column=st.floats(0.1, 0.9),
    crop=st.sampled_from([None, (24, 24), (30, 48), (60, 50)]),
    edge=st.sampled_from([Edges(32), Edges(40, 44), Exact(36, 28), None]),
)
@settings(max_examples=60, deadline=None)
def test_a_mark_in_the_picture_lies_in_the_box_of_where_it_ends_up(
    height: int, width: int, row: float, column: float, crop: tuple[int, int] | None, edge: Edges | Exact | None
) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = int(row * height), int(column * width)
    pixels[top, left] = 255
    recipe = Recipe(edge, Resample.BILINEAR, crop)
    prepared = Preprocessing(target(None, None), recipe, described=True).apply(Image.fromarray(pixels))
    seen = prepared.array[0].sum(0)
    if seen.max() < 8:
        return  # cropped away, or spread too thin to be found again
    place = np.unravel_index(seen.argmax(), seen.shape)
    lower, upper = prepared.placement.picture_box(
        (int(place[0]), int(place[1])), (int(place[0]) + 1, int(place[1]) + 1)
    )
    # Interpolation reaches one pixel further than the box of the element itself.
    assert lower[0] - 1 <= top < upper[0] + 1
    assert lower[1] - 1 <= left < upper[1] + 1


def test_boxes_in_the_picture_are_rounded_outward_and_clipped() -> None:
    placement = Placement((100, 50), (32, 32), (1.5, 0.5), (-3.0, 2.25))
    assert placement.picture_box((0, 1), (3, 4)) == ((0, 2), (2, 5))
    assert placement.picture_box((60, 90), (80, 120)) == ((87, 47), (100, 50))


def test_a_strip_whose_shorter_side_would_make_it_huge_is_refused() -> None:
    described = Preprocessing(target(), Recipe(Edges(shortest=256), crop=(32, 32)), described=True)
    with pytest.raises(InvalidArgumentError, match="5120000 by 256") as caught:
        described.apply(Image.new("L", (20_000, 1)))
    assert caught.value.field == "picture"
    assert described.apply(Image.new("L", (200, 1))).placement.picture == (1, 200)


def test_a_crop_beyond_the_picture_adds_a_black_border() -> None:
    prepared = Preprocessing(target(), Recipe(None, crop=(32, 32)), described=True).apply(
        Image.new("RGB", (20, 30), (255, 255, 255))
    )
    plane = prepared.array[0, 0]
    assert (plane[1:31, 6:26] == 255).all()
    assert plane.sum() == 255 * 600
    assert prepared.placement.offset == (-1.0, -6.0)


@pytest.mark.parametrize("nhwc", [False, True])
def test_the_layout_comes_from_the_axes_of_the_models_input(tmp_path: Path, nhwc: bool) -> None:
    model = load(network(size=16, nhwc=nhwc).SerializeToString())
    found = picture_input(model.graph, {})
    assert found is not None
    assert (found.channels, found.height, found.width) == (3, 16, 16)
    prepared = Preprocessing(found, default_recipe(found), described=False).apply(photograph(16, 16))
    array = prepared.array[0] if nhwc else prepared.array[0].transpose(1, 2, 0)
    np.testing.assert_allclose(array * 255, np.asarray(photograph(16, 16)), rtol=1e-5)


def test_a_size_that_the_file_leaves_open_comes_from_tritons_configuration() -> None:
    graph = load(network(size="side").SerializeToString()).graph
    assert picture_input(graph, {}).height is None  # type: ignore[union-attr]
    found = picture_input(graph, {"image": (3, 24, -1)})
    assert found is not None
    assert (found.height, found.width) == (24, None)
