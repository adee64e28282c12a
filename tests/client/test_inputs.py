"""Every kind of picture and array reaches the message without loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unpool.client.errors import InvalidArgumentError
from unpool.client.inputs import build_input, encode, upright
from unpool.v1 import tensor_pb2

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def decoded(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def file_of(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_file_in_an_accepted_format_goes_as_it_is(kind: str, tmp_path: Path) -> None:
    encoded = file_of(Image.fromarray(PIXELS), kind)
    (tmp_path / "picture").write_bytes(encoded)
    assert encode(encoded) == encoded
    assert encode(tmp_path / "picture") == encoded
    assert encode(str(tmp_path / "picture")) == encoded


def test_a_file_in_another_format_goes_as_png_without_loss() -> None:
    encoded = encode(file_of(Image.fromarray(PIXELS), "PPM"))
    assert encoded.startswith(b"\x89PNG")
    assert np.array_equal(decoded(encoded), PIXELS)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (5, 7, 1)])
def test_an_array_goes_as_png_without_loss(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decoded(encode(pixels)), pixels.squeeze())
    assert np.array_equal(decoded(encode(pixels[::-1, ::2])), pixels[::-1, ::2].squeeze())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_pillow_picture_of_any_mode_shows_the_same_colours(mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode)
    sent = Image.open(io.BytesIO(encode(picture)))
    assert np.array_equal(np.asarray(sent.convert("RGB")), np.asarray(picture.convert("RGB")))


def test_orientation_recorded_in_a_file_holds_for_the_pillow_picture_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = file_of(Image.fromarray(PIXELS), "PNG", exif=exif.tobytes())
    opened = Image.open(io.BytesIO(encoded))
    turned = np.rot90(PIXELS, -1)
    assert np.array_equal(decoded(encode(opened)), turned)
    assert np.array_equal(np.asarray(upright(encoded)), turned)
    assert np.array_equal(np.asarray(upright(opened)), turned)


def test_transparency_is_laid_over_black() -> None:
    pixels = np.zeros((1, 2, 4), dtype=np.uint8)
    pixels[0, 0] = (200, 100, 50, 0)
    pixels[0, 1] = (200, 100, 50, 255)
    assert np.asarray(upright(pixels)).tolist() == [[[0, 0, 0], [200, 100, 50]]]


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.float32), np.zeros((3, 4, 9), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_an_array_that_is_no_picture_is_refused_with_the_field(array: np.ndarray) -> None:
    with pytest.raises(InvalidArgumentError, match=r"uint8|must be") as caught:
        encode(array)
    assert caught.value.field == "image"


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no picture"):
        encode(b"not a picture")


def test_a_missing_file_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        encode("nowhere/at/all.png")


def test_a_tensor_goes_with_dtype_shape_and_little_endian_bytes() -> None:
    array = np.arange(6, dtype=">i2").reshape(1, 2, 3).transpose(0, 2, 1)
    sent = build_input(None, array, None, None).tensor
    assert sent.dtype == tensor_pb2.DATA_TYPE_INT16
    assert list(sent.shape) == [1, 3, 2]
    assert sent.data == array.astype("<i2").tobytes()


def test_several_inputs_go_by_name() -> None:
    sent = build_input(None, None, {"a": np.zeros(2, np.float32), "b": np.ones((1, 1), np.int64)}, "b").tensors
    assert [tensor.name for tensor in sent.tensors] == ["a", "b"]
    assert sent.of == "b"
    assert sent.tensors[1].tensor.data == (1).to_bytes(8, "little")


@pytest.mark.parametrize("given", [(None, None, None), (PIXELS, PIXELS, None), (None, PIXELS, {"a": PIXELS})])
def test_exactly_one_of_image_tensor_and_inputs_must_be_given(given: tuple[object, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="one of image, tensor and inputs") as caught:
        build_input(*given, None)  # type: ignore[arg-type]
    assert caught.value.field == "input"


def test_of_without_inputs_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="of") as caught:
        build_input(PIXELS, None, None, "x")
    assert caught.value.field == "of"


def test_an_array_of_objects_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be sent"):
        build_input(None, np.array(["text"]), None, None)


def test_sixteen_bits_a_pixel_become_eight_and_are_not_cut_off() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    deep = Image.fromarray(values)
    sent = np.asarray(Image.open(io.BytesIO(encode(deep))))
    np.testing.assert_array_equal(sent, values // 257)
    file = io.BytesIO()
    deep.save(file, "PNG")
    np.testing.assert_array_equal(np.asarray(upright(file.getvalue()))[..., 0], values // 257)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="range is not known"):
        encode(Image.fromarray(np.zeros((4, 4), np.float32)))
