"""Photographs as inputs to compare an export on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unpool.converters.errors import ConversionError
from unpool.converters.preprocessing import Preprocessing


def prepared(preprocessing: Preprocessing, pictures: Sequence[Path]) -> list[list[torch.Tensor]]:
    """Every picture as one batch of one, float32 `(1, C, H, W)`.

    Raises:
        ConversionError: a file is no picture.
    """
    batches: list[list[torch.Tensor]] = []
    for path in pictures:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ConversionError(f"{path} is no picture: {error}") from error
        batches.append([torch.from_numpy(preprocessing.apply(pixels)[np.newaxis])])
    return batches
