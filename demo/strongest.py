"""The strongest activations of every feature over a set of crops: Zeiler & Fergus' top nine, on a small scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.photographs import Crop
from unpool.client import Client

_SAME_PLACE = 0.25
"""Two crops' maxima closer than this share of the smaller crop's side show the same part of a photograph."""

_INNER = 0.8
"""A maximum outside this share of a crop's plane lies at the border."""


@dataclass(frozen=True)
class Peaks:
    """Per crop and channel of a layer the maximum, and where it lies.

    Attributes:
        values: float32 `(crops, channels)`.
        places: float32 `(crops, channels, 2)`, (row, column) in the layer's plane as a share of its extent, 0 to 1.
    """

    values: npt.NDArray[np.float32]
    places: npt.NDArray[np.float32]


def search(
    client: Client, model: str, layers: Sequence[str], crops: Sequence[Crop], tell: Callable[[int], None]
) -> dict[str, Peaks]:
    """Ask the server for the layers' activations on every crop and keep each channel's maximum.

    Args:
        client: of the server.
        model: the model's name.
        layers: layer names; each must have a plane of two axes.
        crops: the pictures.
        tell: called with the number of crops done.
    """
    values: dict[str, list[npt.NDArray[np.float32]]] = {layer: [] for layer in layers}
    places: dict[str, list[npt.NDArray[np.float32]]] = {layer: [] for layer in layers}
    for done, crop in enumerate(crops, 1):
        for layer, activation in zip(layers, client.capture(model, crop.image, layers=layers), strict=True):
            plane = np.moveaxis(np.asarray(activation.values), activation.roles.index("channel"), 0)
            channels, _, height, width = plane.shape
            flat = plane.reshape(channels, -1)
            at = flat.argmax(1)
            values[layer].append(flat.max(1).astype(np.float32))
            centres = np.stack([(at // width + 0.5) / height, (at % width + 0.5) / width], axis=1)
            places[layer].append(centres.astype(np.float32))
        tell(done)
    return {layer: Peaks(np.stack(values[layer]), np.stack(places[layer])) for layer in layers}


def top_crops(peaks: Peaks, crops: Sequence[Crop], channel: int, count: int = 9) -> list[int]:
    """The crops that excite a channel most, strongest first, no two at one place of a photograph."""
    chosen: list[int] = []
    for index in np.argsort(-peaks.values[:, channel], kind="stable"):
        if len(chosen) == count or peaks.values[index, channel] <= 0:
            break
        if not any(_same_place(peaks, crops, channel, int(index), other) for other in chosen):
            chosen.append(int(index))
    return chosen


def selective_channels(found: Peaks, crops: Sequence[Crop], count: int, examples: int = 9) -> list[int]:
    """Channels to show: those whose strongest crops stand out most from the rest.

    Left out are channels without `examples` different crops, those that mostly answer to the border of a crop, and
    those that answer to the same crops as one chosen before.
    """
    typical = float(found.values.mean())
    scores: list[tuple[float, int, set[int]]] = []
    for channel in range(found.values.shape[1]):
        best = top_crops(found, crops, channel, examples)
        inside = np.abs(found.places[best, channel] - 0.5).max(axis=1, initial=0.0) < _INNER / 2
        if len(best) == examples and inside.mean() > 2 / 3:
            strength = float(found.values[best, channel].mean())
            scores.append((strength / (float(np.median(found.values[:, channel])) + typical), channel, set(best)))
    chosen: list[tuple[int, set[int]]] = []
    for _, channel, of_channel in sorted(scores, key=lambda score: -score[0]):
        if len(chosen) < count and all(len(of_channel & other) <= examples // 2 for _, other in chosen):
            chosen.append((channel, of_channel))
    return [channel for channel, _ in chosen]


def _same_place(peaks: Peaks, crops: Sequence[Crop], channel: int, a: int, b: int) -> bool:
    if crops[a].photograph != crops[b].photograph:
        return False
    (y, x), (v, u) = (
        (crop.top + place[0] * crop.side, crop.left + place[1] * crop.side)
        for crop, place in ((crops[a], peaks.places[a, channel]), (crops[b], peaks.places[b, channel]))
    )
    return bool(np.hypot(y - v, x - u) < _SAME_PLACE * min(crops[a].side, crops[b].side))
