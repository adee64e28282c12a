"""How a picture becomes the tensor a model was trained on, and the file that says so.

`preprocessor_config.json` lies beside the versions of a model and uses the keys of a Hugging Face image processor:
`do_resize`, `size` (`{"shortest_edge": s}` or `{"height": h, "width": w}`), `resample` (Pillow's number: 0 nearest,
1 lanczos, 2 bilinear, 3 bicubic), `do_center_crop`, `crop_size` (`{"height": h, "width": w}`), `do_rescale`,
`rescale_factor`, `do_normalize`, `image_mean`, `image_std`, and one key of our own, `channel_order` ("RGB",
"BGR" or "GRAY").

The arithmetic, in this order: resize; centre crop; channels put into `channel_order`; `x = pixel * rescale_factor`;
`(x - image_mean) / image_std`. `image_mean` and `image_std` therefore list the channels in the order in which they are
fed. The layout (NCHW or NHWC) is not in the file: the axes of the model's input tell it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.converters.errors import ConversionError


class Resample(IntEnum):
    """Interpolation of the resize, with Pillow's numbers."""

    NEAREST = 0
    LANCZOS = 1
    BILINEAR = 2
    BICUBIC = 3


class ChannelOrder(Enum):
    """Order of the colours in the fed tensor; pictures are RGB."""

    RGB = "RGB"
    BGR = "BGR"
    GRAY = "GRAY"


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a picture to a tensor; the defaults scale to 0..1 and change nothing else.

    Attributes:
        resize: `(height, width)` in pixels, or one number for the shorter edge, or None for no resize.
        resample: interpolation of the resize.
        crop: `(height, width)` of the centre crop, or None.
        rescale_factor: factor on pixel values 0..255, or None for none.
        mean: per fed channel, subtracted after rescaling; with `std`, or None for no normalisation.
        std: per fed channel, divided by.
        channel_order: order of the fed channels.
    """

    resize: tuple[int, int] | int | None = None
    resample: Resample = Resample.BILINEAR
    crop: tuple[int, int] | None = None
    rescale_factor: float | None = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: ChannelOrder = ChannelOrder.RGB

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ConversionError("mean and std come together: one is given, the other is not")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ConversionError(f"mean lists {len(self.mean)} channels, std {len(self.std)}")
        if self.std is not None and any(value == 0 for value in self.std):
            raise ConversionError("std must not be 0")

    def to_json(self) -> str:
        """The text of `preprocessor_config.json`; every key is written, also those of steps left out."""
        if self.resize is None:
            size = None
        elif isinstance(self.resize, int):
            size = {"shortest_edge": self.resize}
        else:
            size = {"height": self.resize[0], "width": self.resize[1]}
        return (
            json.dumps(
                {
                    "do_resize": self.resize is not None,
                    "size": size,
                    "resample": int(self.resample),
                    "do_center_crop": self.crop is not None,
                    "crop_size": None if self.crop is None else {"height": self.crop[0], "width": self.crop[1]},
                    "do_rescale": self.rescale_factor is not None,
                    "rescale_factor": self.rescale_factor if self.rescale_factor is not None else 1.0,
                    "do_normalize": self.mean is not None,
                    "image_mean": None if self.mean is None else list(self.mean),
                    "image_std": None if self.std is None else list(self.std),
                    "channel_order": self.channel_order.value,
                },
                indent=2,
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read a `preprocessor_config.json` that has the keys of this file's docstring; others are passed over.

        Raises:
            ConversionError: not JSON, or a step is switched on whose values are missing or cannot be meant.
        """
        try:
            keys = json.loads(text)
            size, crop = keys.get("size"), keys.get("crop_size")
            resize: tuple[int, int] | int | None = None
            if keys.get("do_resize", size is not None):
                short = size.get("shortest_edge") if isinstance(size, dict) else None
                resize = int(short) if short is not None else _height_width(size)
            normalize = keys.get("do_normalize", keys.get("image_mean") is not None)
            return cls(
                resize=resize,
                resample=Resample(keys.get("resample") if keys.get("resample") is not None else Resample.BILINEAR),
                crop=_height_width(crop) if keys.get("do_center_crop", crop is not None) else None,
                rescale_factor=float(keys.get("rescale_factor") or 1 / 255) if keys.get("do_rescale", True) else None,
                mean=tuple(float(v) for v in keys["image_mean"]) if normalize else None,
                std=tuple(float(v) for v in keys["image_std"]) if normalize else None,
                channel_order=ChannelOrder(keys.get("channel_order") or "RGB"),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConversionError(f"this preprocessor_config.json cannot be read: {error}") from error

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The picture as one example for a parity check.

        Args:
            picture: uint8 `(H, W, 3)`, RGB.

        Returns:
            float32 `(C, H', W')`, channels in `channel_order`.
        """
        image = Image.fromarray(picture)
        if self.channel_order is ChannelOrder.GRAY:
            image = image.convert("L")
        if self.resize is not None:
            image = image.resize(self._resized(image.size), int(self.resample))
        if self.crop is not None:
            left, top = (image.width - self.crop[1]) // 2, (image.height - self.crop[0]) // 2
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        values: npt.NDArray[np.float32] = np.asarray(image, dtype=np.float32).reshape(image.height, image.width, -1)
        if self.channel_order is ChannelOrder.BGR:
            values = values[..., ::-1]
        if self.rescale_factor is not None:
            values = values * np.float32(self.rescale_factor)
        if self.mean is not None and self.std is not None:
            mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
            values = np.divide(values - mean, std, dtype=np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        width, height = size
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        assert self.resize is not None
        short = min(width, height)
        # Rounded down, as Hugging Face and torchvision do.
        return int(width * self.resize / short), int(height * self.resize / short)


def _height_width(value: object) -> tuple[int, int]:
    if isinstance(value, dict):
        return int(value["height"]), int(value["width"])
    if isinstance(value, int):
        return value, value
    raise ValueError(f"{value!r} is no size: give height and width")
