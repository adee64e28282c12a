"""The convolutional trunk of VGG-16 as a PyTorch module, for weights that come from elsewhere.

Simonyan & Zisserman 2014, table 1, column D.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

BLOCKS: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of each block."""

BGR_MEAN: tuple[float, float, float] = (103.939, 116.779, 123.68)
"""Mean of the ImageNet training pictures that the published weights expect subtracted, blue first, in 0..255."""


def convolution_names() -> tuple[str, ...]:
    """`conv1_1` ... `conv5_3`, in the order of the network."""
    return tuple(f"conv{block}_{i}" for block, (_, count) in enumerate(BLOCKS, 1) for i in range(1, count + 1))


class Vgg16Trunk(torch.nn.Module):
    """Convolutions, rectifiers and pools of VGG-16, each a module of its own, nothing in place.

    Modules are called `conv1_1`, `relu1_1`, `pool1`, ... as in the paper's released model. The input is float32
    `(N, 3, H, W)`, BGR minus `BGR_MEAN`; the output is `pool5` `(N, 512, H // 32, W // 32)`, or `relu5_3`
    `(N, 512, H // 16, W // 16)` without the last pool.

    Args:
        weights: for every name of `convolution_names()` a kernel `(out, in, 3, 3)` and a bias `(out,)`.
        last_pool: whether the network ends behind its fifth pool.
    """

    def __init__(
        self, weights: Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]], *, last_pool: bool = True
    ) -> None:
        super().__init__()
        channels = 3
        self._order: list[str] = []
        for block, (width, count) in enumerate(BLOCKS, 1):
            for i in range(1, count + 1):
                convolution = torch.nn.Conv2d(channels, width, 3, padding=1)
                kernel, bias = weights[f"conv{block}_{i}"]
                with torch.no_grad():
                    convolution.weight.copy_(torch.from_numpy(np.array(kernel)))
                    convolution.bias.copy_(torch.from_numpy(np.array(bias)))  # type: ignore[union-attr]
                self._append(f"conv{block}_{i}", convolution)
                self._append(f"relu{block}_{i}", torch.nn.ReLU())
                channels = width
            if last_pool or block < len(BLOCKS):
                self._append(f"pool{block}", torch.nn.MaxPool2d(2, 2))

    def _append(self, name: str, module: torch.nn.Module) -> None:
        self.add_module(name, module)
        self._order.append(name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, 3, H, W)` to the last tensor of the trunk."""
        for name in self._order:
            x = self.get_submodule(name)(x)
        return x
