"""Preprocessing files say what the arithmetic does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unpool.converters import ChannelOrder, ConversionError, Preprocessing, Resample

STEPS = [
    Preprocessing(),
    Preprocessing(resize=(240, 200), rescale_factor=None, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0)),
    Preprocessing(resize=256, resample=Resample.BICUBIC, crop=(224, 192), channel_order=ChannelOrder.BGR),
    Preprocessing(crop=(8, 8), channel_order=ChannelOrder.GRAY),
]


@pytest.mark.parametrize("steps", STEPS)
def test_the_file_reads_back_as_what_was_written(steps: Preprocessing) -> None:
    assert Preprocessing.from_json(steps.to_json()) == steps


def test_the_file_has_exactly_the_documented_keys() -> None:
    assert set(json.loads(STEPS[1].to_json())) == {
        "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
        "do_normalize", "image_mean", "image_std", "channel_order",
    }  # fmt: skip


def test_mean_and_std_are_those_of_the_fed_channels() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 10, 20, 30
    steps = Preprocessing(rescale_factor=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), channel_order=ChannelOrder.BGR)
    values = steps.apply(picture)
    assert values.shape == (3, 2, 2)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:, 0, 0], [(15 - 1) / 2, (10 - 2) / 4, (5 - 3) / 8])


def test_short_side_and_centre_crop_keep_the_proportions() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    values = Preprocessing(resize=50, crop=(40, 20), rescale_factor=None).apply(ramp)
    assert values.shape == (3, 40, 20)
    # Half the width: column j of the result lies at 2j + 0.5, the crop begins at column 40.
    np.testing.assert_allclose(values[0, 20], 2 * (40 + np.arange(20)) + 0.5, atol=1)


def test_grey_models_get_one_channel() -> None:
    picture = np.full((4, 4, 3), 128, np.uint8)
    assert Preprocessing(channel_order=ChannelOrder.GRAY).apply(picture).shape == (1, 4, 4)


@pytest.mark.parametrize("text", ["{", "[]", '{"do_normalize": true}', '{"do_resize": true}', '{"channel_order": "X"}'])
def test_a_file_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConversionError):
        Preprocessing.from_json(text)


def test_mean_without_std_is_refused() -> None:
    with pytest.raises(ConversionError, match="together"):
        Preprocessing(mean=(1.0,))
