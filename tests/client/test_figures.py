"""Figures put the projection and the very pixels that its unit saw beside each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from unpool.client import figures
from unpool.client.results import Geometry, Projection, ProjectionHeader, Provenance
from unpool.client.tiles import field_extents, patch_tile, signal_tile
from unpool.pictures import GREY

PLANE, PICTURE = (40, 60), (80, 120)
GREYS = (GREY, GREY, GREY)


def header(offset: tuple[float, float] = (0.0, 0.0), picture: tuple[int, ...] = PICTURE) -> ProjectionHeader:
    scale = (2.0, 2.0) if picture else ()
    geometry = Geometry("x", PLANE, picture, scale, offset if picture else (), "rgb")
    provenance = Provenance("net", 1, "", "", None, "", "", {})
    return ProjectionHeader(
        provenance=provenance, geometry=geometry, layer="tensor/relu", alias="conv1", shape=(), roles=(),
        policy="deconvnet", start="activation", start_value=0.0, positions="max", to="x", to_plane=PLANE,
        to_channels=3, total=1, fallbacks=(), switches=1, warnings=(),
    )  # fmt: skip


def projection(box: tuple[int, ...], channel: int = 0, made: ProjectionHeader | None = None) -> Projection:
    made = made or header()
    shape = (3, box[2] - box[0], box[3] - box[1])
    return Projection(
        header=made, index=0, layer="tensor/relu", channel=channel, label="", position=(1, 2), activation=3.25,
        rank_value=3.25, start_value=3.25, start_not_positive=False, all_zero=False, box=box,
        picture_box=(0, 0, 1, 1) if made.geometry.picture else None, signal=np.ones(shape, np.float32), png=b"",
        png_magnitude=0.0, completed=1,
    )  # fmt: skip


def picture() -> Image.Image:
    """Row and column of every pixel can be read from its colours."""
    rows, columns = np.mgrid[: PICTURE[0], : PICTURE[1]].astype(np.uint8)
    return Image.fromarray(np.stack([rows, columns, np.zeros_like(rows)], axis=2))


def test_the_patch_is_cut_where_the_box_lies_in_the_picture() -> None:
    tile = np.asarray(patch_tile(projection((10, 20, 20, 30)), picture(), (10, 10), 20))
    assert np.array_equal(tile, np.asarray(picture())[20:40, 40:60])


def test_a_crop_of_the_picture_moves_the_patch() -> None:
    made = header(offset=(4.0, 6.0))
    tile = np.asarray(patch_tile(projection((10, 20, 20, 30), made=made), picture(), (10, 10), 20))
    assert np.array_equal(tile, np.asarray(picture())[24:44, 46:66])


def test_where_a_border_was_added_around_the_picture_the_patch_is_grey() -> None:
    made = header(offset=(-4.0, 0.0))
    tile = np.asarray(patch_tile(projection((0, 20, 10, 30), made=made), picture(), (10, 10), 20))
    assert (tile[:4] == GREY).all()
    assert np.array_equal(tile[4:], np.asarray(picture())[0:16, 40:60])


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0, 0, 6, 7), (4, 10), (3, 10)),
        ((34, 53, 40, 60), (0, 6), (0, 7)),
        ((0, 20, 6, 30), (4, 10), (0, 10)),
        ((20, 20, 30, 30), (0, 10), (0, 10)),
    ],
)
def test_tiles_are_grey_on_the_side_where_the_plane_ends(
    box: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    inside = np.zeros((10, 10), dtype=bool)
    inside[slice(*rows), slice(*columns)] = True
    signal = np.asarray(signal_tile(projection(box), (10, 10), 10))
    patch = np.asarray(patch_tile(projection(box), Image.new("RGB", PICTURE[::-1], (9, 9, 9)), (10, 10), 10))
    assert np.array_equal(inside, (signal == 255).all(axis=2))
    assert np.array_equal(~inside, (signal == GREY).all(axis=2))
    assert np.array_equal(inside, (patch == 9).all(axis=2))


def test_the_tile_of_a_layer_is_its_largest_box() -> None:
    assert field_extents([projection((0, 0, 6, 7)), projection((5, 5, 14, 10))]) == {"tensor/relu": (9, 7)}


def test_a_box_that_is_not_square_keeps_its_proportions() -> None:
    tile = np.asarray(signal_tile(projection((10, 10, 20, 30)), None, 40))
    white = (tile == 255).all(axis=2)
    assert np.array_equal(np.flatnonzero(white.any(axis=1)), np.arange(10, 30))
    assert white.any(axis=0).all()


def test_another_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not the same picture"):
        figures.beside([projection((10, 20, 20, 30))], Image.new("RGB", (10, 10)))


def test_a_tensor_shown_as_a_picture_is_cut_in_proportion() -> None:
    made = header(picture=())
    tile = patch_tile(projection((10, 20, 20, 30), made=made), picture(), (10, 10), 20)
    assert np.array_equal(np.asarray(tile), np.asarray(picture())[20:40, 40:60])


def test_beside_puts_signal_left_and_patch_right_of_each_feature() -> None:
    found = [projection((10, 20, 20, 30), channel) for channel in range(4)]
    figure = np.asarray(figures.beside(found, picture(), columns=2, side=20))
    assert (figure[4:24, 4:24] == 255).all()
    assert np.array_equal(figure[4:24, 28:48], np.asarray(picture())[20:40, 40:60])
    assert np.array_equal(figure[4:24, 76:96], np.asarray(picture())[20:40, 40:60])


def test_compare_has_a_row_for_each_unit_and_a_column_for_each_policy() -> None:
    guided = dataclasses.replace(projection((10, 20, 20, 30)), signal=-np.ones((3, 10, 10), np.float32))
    other = projection((10, 20, 20, 30), channel=5)
    figure = np.asarray(
        figures.compare({"deconvnet": [projection((10, 20, 20, 30))], "guided": [guided, other]}, picture(), side=20)
    )
    top = 16 + 4
    assert np.array_equal(figure[top : top + 20, 4:24], np.asarray(picture())[20:40, 40:60])
    assert (figure[top : top + 20, 28:48] == 255).all()
    assert (figure[top : top + 20, 52:72] == 1).all()
    below = top + 20 + 16 + 4
    assert (figure[below : below + 20, 28:48] == 255).all()
    assert (figure[below : below + 20, 52:72] == 255).all()


def test_blocks_put_all_projections_of_a_feature_beside_all_patches() -> None:
    nine = [(projection((10, 20, 20, 30)), picture())] * 9
    figure = figures.blocks({"conv1 · 3": nine, "conv1 · 4": nine}, side=20, columns=1)
    block = 3 * 24 + 4
    assert figure.size == (2 * block + 4 + 8, 2 * (block + 16 + 4) + 4)


def test_captions_name_layer_channel_and_activation() -> None:
    assert figures.caption(projection((0, 0, 2, 2), channel=17)) == "conv1 · 17  3.25"
    labelled = dataclasses.replace(projection((0, 0, 2, 2)), label="tabby")
    assert "tabby" in figures.caption(labelled)


def test_captions_leave_ink_and_long_ones_stay_in_their_cell() -> None:
    figure = np.asarray(figures.grid([Image.new("RGB", (40, 10), GREYS)] * 2, ["x" * 200, ""], columns=2))
    below = figure[4 + 10 :, :, 0]
    assert below[:, 4:44].min() < 100
    assert (below[:, 48:] == 255).all()


def test_a_figure_of_sound_has_a_tile_for_each_projection() -> None:
    made = dataclasses.replace(header(picture=()), to_plane=(500,), to_channels=1)
    sound = dataclasses.replace(
        projection((0, 0, 1, 1), made=made), box=(100, 300), signal=np.ones((1, 200), np.float32)
    )
    assert np.array_equal(sound.full()[0, 100:300], np.ones(200, np.float32))
    assert sound.full().shape == (1, 500)
    assert figures.beside([sound], None, side=64).width == 72


def test_an_empty_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        figures.beside([], picture())
    with pytest.raises(ValueError, match="captions"):
        figures.grid([Image.new("RGB", (2, 2))], ["a", "b"])
