"""The demo's figures, each made of answers from the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from demo import photographs, strongest
from demo.models import Depth
from demo.photographs import Crop
from unpool.client import Client, Projection, figures
from unpool.client.listing import POLICIES, PolicyName

Tell = Callable[[str], None]


@dataclass
class Gallery:
    """Where figures go, and those that went there.

    Attributes:
        folder: of the figures.
        saved: what was saved, in order.
    """

    folder: Path
    saved: list[Path] = field(default_factory=list)

    def save(self, figure: Image.Image, name: str) -> Path:
        """Save a figure as `<folder>/<name>.png`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.png"
        figure.save(path, optimize=True)
        self.saved.append(path)
        return path


def strongest_of_photograph(
    client: Client, gallery: Gallery, model: str, depth: Depth, photograph: str, policy: PolicyName, top: int = 9
) -> tuple[str, ...]:
    """The photograph's strongest features of a layer, each beside the patch that it saw.

    Returns:
        The server's warnings.
    """
    image = photographs.load(photograph)
    with client.project(model, image, layer=depth.layer, top=top, policy=policy) as stream:
        projections = in_order(stream)
        warnings = stream.header.warnings
    title = f"{model}: the strongest features of {depth.name}, {policy}"
    gallery.save(figures.beside(projections, image, title=title), f"{model}-{photograph}-{depth.name}-{policy}")
    return warnings


def three_policies(client: Client, gallery: Gallery, model: str, depth: Depth, photograph: str, top: int = 5) -> None:
    """The same units under the three policies, side by side."""
    image = photographs.load(photograph)
    by_policy: dict[PolicyName, Sequence[Projection]] = {}
    for policy in POLICIES:
        with client.project(model, image, layer=depth.layer, top=top, policy=policy) as stream:
            by_policy[policy] = in_order(stream)
    title = f"{model}: {depth.name} under the three policies"
    gallery.save(figures.compare(by_policy, image, title=title), f"{model}-{photograph}-{depth.name}-policies")


def top_nine(
    client: Client,
    gallery: Gallery,
    model: str,
    depths: Sequence[Depth],
    crops: Sequence[Crop],
    tell: Tell,
    *,
    features: int = 4,
) -> None:
    """Figure 2 of the paper: for each feature its nine strongest crops, projected, beside the patches."""
    layers = [depth.layer for depth in depths]
    peaks = strongest.search(client, model, layers, crops, lambda done: tell(f"looking at crop {done} of {len(crops)}"))
    for depth in depths:
        channels = strongest.selective_channels(peaks[depth.layer], crops, features)
        found = _project_crops(client, model, depth, peaks[depth.layer], crops, channels)
        title = f"{model}: features of {depth.name}, their nine strongest crops"
        gallery.save(figures.blocks(found, title=title), f"{model}-top9-{depth.name}")
        tell(f"{depth.name}: features {', '.join(map(str, channels))}")


def _project_crops(
    client: Client, model: str, depth: Depth, peaks: strongest.Peaks, crops: Sequence[Crop], channels: Sequence[int]
) -> Mapping[str, Sequence[tuple[Projection, Image.Image]]]:
    wanted = {channel: strongest.top_crops(peaks, crops, channel) for channel in channels}
    asked: dict[int, list[int]] = {}
    for channel, best in wanted.items():
        for index in best:
            asked.setdefault(index, []).append(channel)
    answers: dict[tuple[int, int], Projection] = {}
    for index, of_crop in asked.items():
        with client.project(model, crops[index].image, layer=depth.layer, channels=of_crop) as stream:
            for projection in stream:
                answers[index, projection.channel] = projection
    return {
        f"{depth.name} · {channel}": [(answers[index, channel], crops[index].image) for index in best]
        for channel, best in wanted.items()
    }


def in_order(projections: Iterable[Projection]) -> list[Projection]:
    """Projections in the order in which they were asked for; they come as they are ready."""
    return sorted(projections, key=lambda projection: projection.index)
