"""Rendering: what a reader of a picture may rely on, checked against plain arithmetic."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from unpool.pictures import GREY, pad_tile, png_bytes, render_signal

SIGNALS = hnp.arrays(
    np.float32,
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@given(SIGNALS)
def test_zero_is_mid_grey_and_signs_mirror_each_other(signal: np.ndarray) -> None:
    drawn = pixels(render_signal(signal, gain=2.0).image)
    mirrored = pixels(render_signal(-signal, gain=2.0).image)
    assert np.array_equal(drawn + mirrored, np.full_like(drawn, 2 * GREY))
    channels_last = np.moveaxis(signal, 0, -1) if len(signal) == 3 else signal[0]
    assert (drawn[channels_last == 0] == GREY).all()
    assert (np.sign(drawn - GREY) * np.sign(channels_last) >= 0).all()


@given(SIGNALS, st.floats(0.5, 100.0))
def test_the_scale_is_the_largest_magnitude_over_all_colours(signal: np.ndarray, factor: float) -> None:
    rendered = render_signal(signal)
    assert rendered.magnitude == np.abs(signal).max()
    if rendered.magnitude > 0:
        assert np.abs(pixels(rendered.image) - GREY).max() == 127
        scaled = signal.astype(np.float64) * factor
        assert np.abs(pixels(render_signal(scaled).image) - pixels(rendered.image)).max() <= 1


def test_levels_are_as_documented() -> None:
    signal = np.array([[[-4.0, -1.0, 0.0, 1.0, 2.0]]], dtype=np.float32)
    assert pixels(render_signal(signal).image).tolist() == [[1, 96, 128, 160, 192]]
    assert pixels(render_signal(signal, gain=4.0).image).tolist() == [[1, 1, 128, 255, 255]]
    assert pixels(render_signal(signal, magnitude=8.0).image).tolist() == [[64, 112, 128, 144, 160]]


def test_colours_share_one_scale_and_stay_in_rgb_order() -> None:
    signal = np.zeros((3, 1, 2), dtype=np.float32)
    signal[0, 0, 0], signal[2, 0, 1] = 10.0, 5.0
    image = render_signal(signal).image
    assert image.mode == "RGB"
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, GREY, GREY), (GREY, GREY, 192)]


def test_a_signal_of_zeros_is_grey_with_magnitude_zero() -> None:
    rendered = render_signal(np.zeros((3, 4, 5), dtype=np.float32))
    assert rendered.magnitude == 0
    assert (pixels(rendered.image) == GREY).all()


def test_values_that_are_not_finite_are_drawn_as_zero() -> None:
    signal = np.array([[[np.nan, np.inf, -np.inf, 1.0]]], dtype=np.float32)
    rendered = render_signal(signal)
    assert rendered.magnitude == 1.0
    assert pixels(rendered.image).tolist() == [[GREY, GREY, GREY, 255]]


def test_zoom_repeats_pixels() -> None:
    signal = np.array([[[1.0, -1.0]]], dtype=np.float32)
    assert pixels(render_signal(signal, zoom=3).image).tolist() == [[255] * 3 + [1] * 3] * 3


@pytest.mark.parametrize("channels", [2, 4, 64])
def test_other_channel_counts_are_drawn_by_their_root_mean_square(channels: int) -> None:
    signal = np.random.default_rng(0).normal(size=(channels, 6, 7)).astype(np.float32)
    rendered = render_signal(signal)
    expected = np.sqrt((signal.astype(np.float64) ** 2).mean(axis=0))
    assert rendered.image.mode == "L"
    assert rendered.magnitude == pytest.approx(expected.max())
    assert np.abs(pixels(rendered.image) - (GREY + 127 * expected / expected.max())).max() <= 0.51


def test_a_volume_is_drawn_as_the_three_slices_through_its_strongest_place() -> None:
    signal = np.random.default_rng(0).normal(size=(1, 4, 3, 5)).astype(np.float32)
    signal[0, 1, 2, 3] = -9.0
    drawn = pixels(render_signal(signal, magnitude=9.0).image).astype(float)
    assert drawn.shape == (4, 5 + 2 + 5 + 2 + 3)
    for part, at in ((signal[0, 1], 0), (signal[0, :, 2], 7), (signal[0, :, :, 3], 14)):
        rows, columns = part.shape
        assert np.abs(drawn[:rows, at : at + columns] - (GREY + 127 * part / 9)).max() <= 0.51
        assert (drawn[rows:, at : at + columns] == GREY).all()
    assert (drawn[:, [5, 6, 12, 13]] == GREY).all()


def test_sound_is_drawn_as_a_line_above_and_below_the_middle() -> None:
    samples = np.sin(np.linspace(0, 2 * np.pi, 200, endpoint=False)).astype(np.float32)
    drawn = pixels(render_signal(samples[np.newaxis]).image)
    assert drawn.shape == (48, 200)
    ink = drawn == drawn.min()
    heights = np.array([np.flatnonzero(ink[:, x]).mean() for x in range(200)])
    assert heights[50] < 3
    assert heights[150] > 44
    assert np.corrcoef(heights, samples)[0, 1] < -0.99


def test_long_series_keep_their_peaks() -> None:
    samples = np.zeros((1, 100_000), dtype=np.float32)
    samples[0, 54_321] = 1.0
    drawn = pixels(render_signal(samples).image)
    assert drawn.shape == (48, 2048)
    peak = np.flatnonzero((drawn[:5] == drawn.min()).any(axis=0))
    assert len(peak)
    assert (abs(peak - 54_321 * 2048 / 100_000) <= 2).all()


def test_an_embedding_is_drawn_as_one_line_and_many_channels_as_the_strongest_sixteen() -> None:
    assert render_signal(np.ones(5, dtype=np.float32)).image.height == 48
    assert render_signal(np.ones((100, 80), dtype=np.float32)).image.size == (80, 48 * 16)


@pytest.mark.parametrize(
    ("signal", "options"),
    [
        (np.zeros((3, 0, 4)), {}),
        (np.float32(1.0), {}),
        (np.zeros((1, 2, 2)), {"gain": 0.0}),
        (np.zeros((1, 2, 2)), {"gain": float("nan")}),
        (np.zeros((1, 2, 2)), {"magnitude": -1.0}),
        (np.zeros((1, 2, 2)), {"zoom": 17}),
    ],
)
def test_what_cannot_be_drawn_is_refused(signal: np.ndarray, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        render_signal(np.asarray(signal), **options)  # type: ignore[arg-type]


def test_a_tile_is_grey_where_the_field_reaches_beyond_the_border() -> None:
    tile = pixels(pad_tile(Image.new("L", (2, 1), 7), (3, 4), (2, 1)))
    assert tile.tolist() == [[GREY] * 4, [GREY] * 4, [GREY, 7, 7, GREY]]
    assert pad_tile(Image.new("RGB", (2, 2), (1, 2, 3)), (1, 1), (-1, -1)).getpixel((0, 0)) == (1, 2, 3)


def test_a_png_keeps_every_pixel() -> None:
    image = render_signal(np.random.default_rng(1).normal(size=(3, 9, 8)).astype(np.float32)).image
    encoded = png_bytes(image)
    assert encoded == png_bytes(image)
    assert np.array_equal(pixels(Image.open(io.BytesIO(encoded))), pixels(image))
