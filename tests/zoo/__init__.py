"""Real models and pictures for tests and benchmarks, as files in a cache.

`path(name)` gives a `model.onnx` that is built on first use; `tensor(name, picture)` the input it wants. The nine light
graphs carry calibrated random weights, the others trained ones. Nothing here is used by the product.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from tests.zoo import audio, light
from tests.zoo.cache import cached
from tests.zoo.pictures import picture, picture_names, picture_path
from tests.zoo.twins import Twin, translate

from unpool.converters.export import export
from unpool.converters.packages import package_file
from unpool.converters.preprocessing import ChannelOrder, Preprocessing
from unpool.converters.recipes import efficientnet_lite0, hed_vgg16, imagenet_vgg16
from unpool.converters.recipes.vgg16 import BGR_MEAN, Vgg16Trunk

__all__ = [
    "Twin",
    "extra_names",
    "light_names",
    "names",
    "path",
    "picture",
    "picture_names",
    "picture_path",
    "tensor",
    "twin",
    "vgg16_tensor",
    "vgg16_trunk",
    "vgg16_twin",
]

_LIGHT = Preprocessing(resize=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def light_names() -> tuple[str, ...]:
    """The nine light graphs: seeded random weights, batch 1 fixed in the file."""
    return tuple(light.FILES)


def names() -> tuple[str, ...]:
    """The twelve picture models that everything is tried on."""
    return (*light_names(), "efficientnet_lite0", "imagenet_vgg16", "hed_vgg16")


def extra_names() -> tuple[str, ...]:
    """Real models of other kinds: audio, and pictures of any size."""
    return tuple(_EXTRA)


def path(name: str) -> Path:
    """The model's file, `<cache>/<name>.onnx`, made where it is missing (the first time takes seconds).

    Raises:
        KeyError: no model has this name.
    """
    build = _EXTRA.get(name) or _RECIPES.get(name)
    if build is None:
        if name not in light.FILES:
            raise KeyError(f"no model {name!r}: {', '.join((*names(), *extra_names()))}")
        build = functools.partial(_write_light, name)
    return cached(f"{name}.onnx", build)


def tensor(name: str, of: str | npt.NDArray[np.uint8] = "cat") -> npt.NDArray[np.float32]:
    """The input of a model, batch 1: float32 in the model's own layout.

    Args:
        name: a name of `names()`, or `ppocr_det`, `ppocr_cls`; the audio models take a chirp and no picture.
        of: a picture's name, or uint8 `(H, W, 3)`.
    """
    if name in ("crepe_tiny", "basic_pitch"):
        return audio.tensor(name)
    pixels = picture(of) if isinstance(of, str) else of
    values = _PREPROCESSING.get(name, _LIGHT).apply(pixels)[np.newaxis]
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if name == "imagenet_vgg16" else values


def twin(name: str, *, straight_lrn: bool = False) -> Twin:
    """A light graph, or the ImageNet VGG-16, in PyTorch; `layers[tensor]` gives the file's `tensor`.

    Args:
        name: a name of `light_names()`, or `imagenet_vgg16`.
        straight_lrn: let local response normalisation pass gradients unchanged, as deconvnets do.
    """
    if name not in (*light.FILES, "imagenet_vgg16"):
        raise KeyError(f"no twin for {name!r}: {', '.join(light.FILES)}, imagenet_vgg16")
    return translate(path(name), straight_lrn=straight_lrn)


def vgg16_trunk(size: int = 224) -> Path:
    """ONNX of the ImageNet VGG-16's trunk, conv1_1 to pool5, for pictures of `size` by `size`, NCHW, free batch."""
    return cached(f"vgg16_trunk_{size}.onnx", lambda target: _write_module(vgg16_twin(), size, target))


@functools.cache
def vgg16_twin() -> Vgg16Trunk:
    """The same trunk in PyTorch, each rectifier an `nn.ReLU` of its own: for Captum, and the benchmarks' peer."""
    return imagenet_vgg16.trunk()


def vgg16_tensor(of: str | npt.NDArray[np.uint8] = "cat", size: int = 224) -> npt.NDArray[np.float32]:
    """The input of `vgg16_trunk(size)`: float32 `(1, 3, size, size)`, BGR minus the mean."""
    steps = Preprocessing(
        resize=(size, size), rescale_factor=None, mean=BGR_MEAN, std=(1.0, 1.0, 1.0), channel_order=ChannelOrder.BGR
    )
    return steps.apply(picture(of) if isinstance(of, str) else of)[np.newaxis]


def _write_light(name: str, target: Path) -> None:
    light.write(name, tensor(name, "cat"), target)


def _write_module(module: torch.nn.Module, size: int, target: Path) -> None:
    onnx.save(export(module, [torch.zeros(1, 3, size, size)]).model, target)


def _copy(package: str, inside: str) -> Callable[[Path], None]:
    def build(target: Path) -> None:
        shutil.copyfile(package_file(package, inside), target)

    return build


_RECIPES: dict[str, Callable[[Path], None]] = {
    "efficientnet_lite0": lambda target: _write_module(efficientnet_lite0.module(), 224, target),
    "imagenet_vgg16": lambda target: (shutil.copyfile(imagenet_vgg16.file(), target), None)[1],
    "hed_vgg16": lambda target: _write_module(hed_vgg16.trunk(), hed_vgg16.SIZE, target),
}

_EXTRA: dict[str, Callable[[Path], None]] = {
    "crepe_tiny": lambda target: audio.write_crepe(target),
    "basic_pitch": _copy("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    "ppocr_det": _copy("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "ppocr_cls": _copy("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
}

_PREPROCESSING = {
    "efficientnet_lite0": efficientnet_lite0.PREPROCESSING,
    "imagenet_vgg16": imagenet_vgg16.PREPROCESSING,
    "hed_vgg16": hed_vgg16.PREPROCESSING,
    "ppocr_det": Preprocessing(resize=(320, 320), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "ppocr_cls": Preprocessing(resize=(48, 192), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
