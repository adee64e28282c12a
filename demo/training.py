"""A network small enough to watch: two max-pooled convolutions on scikit-learn's digits, at the paper's epochs."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from unpool.converters import ChannelOrder, Entry, Preprocessing, convert_series

EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
"""Where Zeiler and Fergus 2013 looked, Figure 4."""
NAME = "digits"
LAYER = "conv2"
_SIDE = 16


def network() -> nn.Sequential:
    """Input (N, 1, 16, 16), 0 to 1; ten scores."""
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 16, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(16, 32, 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flat", nn.Flatten()),
        ("scores", nn.Linear(32 * 16, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits twice as large, uint8 (N, 16, 16), and their classes."""
    found = load_digits()
    pixels = (found.images * (255 / 16)).astype(np.uint8)
    return pixels.repeat(2, axis=1).repeat(2, axis=2), found.target


def train(folder: Path, *, epochs: tuple[int, ...] = EPOCHS, seed: int = 0) -> float:
    """Trains, keeps a checkpoint at each of some epochs, and gives the share of digits that it gets right."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    pixels, classes = digits()
    images = torch.from_numpy(pixels).float().unsqueeze(1) / 255
    labels = torch.from_numpy(classes).long()
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(1, max(epochs) + 1):
        for some in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[some]), labels[some]).backward()
            optimiser.step()
        if epoch in epochs:
            torch.save(model.state_dict(), folder / f"epoch_{epoch:03d}.pt")
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def put(repository: Path, scratch: Path, *, epochs: tuple[int, ...] = EPOCHS) -> float:
    """Trains the network and puts it into a repository, a version for each checkpoint, the digits beside them.

    Returns:
        The share of digits that the last version gets right; the data set is ``scratch/digits.npz``.
    """
    right = train(scratch / "checkpoints", epochs=epochs)
    pixels, classes = digits()
    np.savez(scratch / "digits.npz", images=pixels, labels=classes)
    preprocessing = Preprocessing(resize=(_SIDE, _SIDE), channel_order=ChannelOrder.GRAY)
    entry = Entry(repository, NAME, labels=[str(i) for i in range(10)], preprocessing=preprocessing, overwrite=True)
    convert_series(network, scratch / "checkpoints", [torch.rand(2, 1, _SIDE, _SIDE)], entry)
    return right
