import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.service.small import encoded, photograph

from unpool.graph.errors import InvalidArgumentError
from unpool.repository.decoding import decode


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF"])
def test_formats_without_loss_come_back_as_they_were(form: str) -> None:
    picture = photograph().quantize(64).convert("RGB")
    assert (np.asarray(decode(encoded(picture, form), field="p")) == np.asarray(picture)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    upright = photograph(20, 30)
    # How a camera stores an upright scene under each orientation: the inverse of what a viewer does.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(stored, "PNG", exif=exif), field="p")
    assert (np.asarray(found) == np.asarray(upright)).all()


def test_transparency_is_laid_over_black() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[0, :, 3] = 255
    found = np.asarray(decode(encoded(Image.fromarray(pixels)), field="p"))
    assert found[0, 0].tolist() == [200, 0, 0]
    assert found[1, 0].tolist() == [0, 0, 0]


def test_sixteen_bits_become_eight() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    found = decode(encoded(Image.fromarray(ramp)), field="p")
    assert found.mode == "L"
    assert np.abs(np.asarray(found).astype(int) - ramp / 257).max() <= 1


def _bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims an enormous picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "known format"),
        (encoded(photograph())[:-400], "decoded"),
        (encoded(photograph(), "JPEG")[:-300], "decoded"),
        (encoded(photograph())[:20], "decoded|known format"),
        (_bomb(9000), "pixels"),
        (_bomb(60000), "pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (encoded(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_what_is_no_decodable_picture_is_refused_with_its_field(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason) as caught:
        decode(data, field="input.picture.encoded")
    assert caught.value.field == "input.picture.encoded"


def test_the_limit_of_pixels_is_the_callers() -> None:
    assert decode(encoded(photograph(40, 60)), field="p", pixels=2400).size == (60, 40)
    with pytest.raises(InvalidArgumentError, match="2399"):
        decode(encoded(photograph(40, 60)), field="p", pixels=2399)
