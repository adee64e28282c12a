"""The demo's repository: three real networks, by the converters' recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo import photographs
from unpool.client import PolicyName
from unpool.converters.recipes import RECIPES


@dataclass(frozen=True)
class Depth:
    """A layer to look at, and what to call its depth.

    Attributes:
        layer: alias of the layer.
        name: a word for file names.
    """

    layer: str
    name: str


VGG = "imagenet_vgg16"
EFFICIENTNET = "efficientnet_lite0"
HED = "hed_vgg16"

DEPTHS: dict[str, tuple[Depth, ...]] = {
    VGG: (
        Depth("block2_conv2_1", "conv2_2"),
        Depth("block3_conv3_1", "conv3_3"),
        Depth("block4_conv3_1", "conv4_3"),
        Depth("block5_conv3_1", "conv5_3"),
    ),
    HED: (Depth("conv3_3", "conv3_3"), Depth("conv5_3", "conv5_3")),
    EFFICIENTNET: (Depth("2/_expand_conv:pre", "block2"), Depth("6/_expand_conv:pre", "block6")),
}
"""Which layers the figures show; the server's own names for them.

EfficientNet-Lite0 is looked at before its bounded rectifiers: behind one most maxima are cut off, where the gradient is
0.
"""

PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    VGG: ("cat", "astronaut", "coffee"),
    HED: ("cat",),
    EFFICIENTNET: ("cat", "coffee"),
}
"""Whose strongest features are shown."""

POLICY: dict[str, PolicyName] = {VGG: "deconvnet", HED: "deconvnet", EFFICIENTNET: "guided"}
"""A network without max pools has no switches: its deconvnet pictures hardly depend on the photograph."""

COMPARED: dict[str, tuple[Depth, ...]] = {VGG: DEPTHS[VGG][1:], EFFICIENTNET: DEPTHS[EFFICIENTNET][:1]}
"""Where the three policies stand side by side."""


def put(root: Path, tell: Callable[[str], None]) -> None:
    """Put the three networks into the repository, those that are not there yet."""
    for name, recipe in RECIPES.items():
        if (root / name / "1/model.onnx").exists():
            tell(f"{name}: already there")
            continue
        report = recipe.put(root, name=name, pictures=[photographs.path("cat"), photographs.path("coffee")])
        compared = ", ".join(f"{o.name} within {o.difference:.0e} of PyTorch" for o in report.outputs)
        tell(f"{name}: {compared or 'taken as it is'}")
