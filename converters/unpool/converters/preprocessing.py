"""How a picture becomes the tensor a model was trained on, and the file that says so.

`preprocessor_config.json` lies beside the versions of a model and uses the keys of a Hugging Face image processor:
`do_resize`, `size` (`{"shortest_edge": s}` or `{"height": h, "width": w}`), `resample` (Pillow's number: 0 nearest,
1 lanczos, 2 bilinear, 3 bicubic), `do_center_crop`, `crop_size` (`{"height": h, "width": w}`), `do_rescale`,
`rescale_factor`, `do_normalize`, `image_mean`, `image_std`, and one key of our own, `channel_order` ("RGB" or "BGR").

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

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The picture as one example for a parity check.

        Args:
            picture: uint8 `(H, W, 3)`, RGB.

        Returns:
            float32 `(C, H', W')`, channels in `channel_order`.
        """
        image = Image.fromarray(picture)
        if self.resize is not None:
            image = image.resize(self._resized(image.size), int(self.resample))
        if self.crop is not None:
            left, top = (image.width - self.crop[1]) // 2, (image.height - self.crop[0]) // 2
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        values = np.asarray(image, dtype=np.float32)
        if self.channel_order is ChannelOrder.BGR:
            values = values[..., ::-1]
        if self.rescale_factor is not None:
            values = values * np.float32(self.rescale_factor)
        if self.mean is not None and self.std is not None:
            values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        width, height = size
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        assert self.resize is not None
        short = min(width, height)
        return round(width * self.resize / short), round(height * self.resize / short)
