"""What excites features over a data set, as values: scans, exemplars, channels, and evolutions."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from PIL import Image

from unpool.client.results import Projection


@dataclass(frozen=True)
class ScanInfo:
    """What a scan is of.

    Attributes:
        model, version, digest: the model.
        dataset, fingerprint: the data set's URI, and what it held.
        records: its records, those included that cannot be used.
        layers: tensor names, in topological order.
        k, places: images kept of a channel, and the most positions of one image among them.
        preprocessing: in words; empty for tensors.
        done: records that an earlier scan had done already; ``complete`` when that was all.
    """

    model: str
    version: int
    digest: str
    dataset: str
    fingerprint: str
    records: int
    layers: tuple[str, ...]
    k: int
    places: int
    preprocessing: tuple[str, ...]
    done: int = 0
    complete: bool = False


@dataclass(frozen=True)
class SkippedRecord:
    """A record that could not be used: its number, its name, and why."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True)
class ScanProgress:
    """Where a scan stands.

    Attributes:
        phase: ``images`` (the strongest images are found), ``positions`` (where in them), then ``done`` once.
        done, total: images of this phase; in ``images`` they are kept even if the stream is left.
        skipped_count: records that could not be used so far.
        rate: images a second in this phase; ``remaining`` the seconds that it will take.
        skipped: with ``done``, the first hundred of those records.
        dead, channels: with ``done``, how many channels fired on no image, and how many there are.
    """

    phase: str
    done: int
    total: int
    skipped_count: int
    rate: float
    remaining: float
    skipped: tuple[SkippedRecord, ...] = ()
    dead: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Exemplar:
    """An image and a position that excite a channel most.

    Attributes:
        layer, channel: which; ``place`` is 0 for the strongest.
        image: its number in the data set; ``key`` its name, ``label`` its class (empty where there is none).
        position: one index per spatial axis of the layer; empty without a plane.
        rank_value: what images are ranked by: the activation before a bounded rectifier cut it off.
        activation: the layer's own value.
        box: the receptive field in the input, (top, left, bottom, right) for pictures, clipped to the ``plane``.
        cut: the receptive field reaches beyond the plane, so that the patch is smaller than others.
        picture_box: the same in pixels of the picture; ``None`` for tensors.
    """

    layer: str
    channel: int
    place: int
    image: int
    key: str
    label: str
    position: tuple[int, ...]
    rank_value: float
    activation: float
    box: tuple[int, ...]
    plane: tuple[int, ...]
    cut: bool
    picture_box: tuple[int, ...] | None


@dataclass(frozen=True)
class Channel:
    """A channel over the data set. It counts images, not positions: each by the channel's one maximum there.

    Attributes:
        layer, alias, channel: which.
        images, fired: how many were seen, and on how many its maximum is positive.
        mean, maximum: of the maxima; an image on which it did not fire counts 0 in the mean and the quantiles.
        quantiles: the values below which 5, 25, 50, 75, 95 and 99 per cent of the maxima lie, to one part in 16.
        exemplars: the strongest first; fewer than asked for where it fired on fewer images.
    """

    layer: str
    alias: str
    channel: int
    images: int
    fired: int
    mean: float
    maximum: float
    quantiles: tuple[float, ...]
    exemplars: tuple[Exemplar, ...]

    @property
    def name(self) -> str:
        """The layer's alias, or its tensor name where there is none."""
        return self.alias or self.layer

    @property
    def dead(self) -> bool:
        """It fired on no image."""
        return self.fired == 0

    @property
    def firing_rate(self) -> float:
        """The share of images on which it fired, at one position or at many."""
        return self.fired / self.images if self.images else 0.0


@dataclass(frozen=True, eq=False)
class ExemplarProjection:
    """An exemplar with its projection and what its unit saw.

    Attributes:
        exemplar: the exemplar.
        projection: what came through at the input; its header's geometry is this image's.
        patch_png: what the unit saw; empty when left out, or when the data is no picture.
    """

    exemplar: Exemplar
    projection: Projection
    patch_png: bytes = field(repr=False)

    @property
    def patch(self) -> Image.Image | None:
        """What the unit saw, as a picture."""
        return Image.open(io.BytesIO(self.patch_png)) if self.patch_png else None


@dataclass(frozen=True)
class EvolutionInfo:
    """What an evolution is of: the versions ascending, the layer in the first, the channels, and the data set."""

    model: str
    versions: tuple[int, ...]
    layer: str
    alias: str
    channels: tuple[int, ...]
    dataset: str


@dataclass(frozen=True)
class VersionProgress:
    """Where the scan of one version stands."""

    version: int
    progress: ScanProgress


@dataclass(frozen=True, eq=False)
class EvolutionStep:
    """What excites a channel most at a version; ``strongest`` is ``None`` where it fired on no image.

    Attributes:
        version, channel: which.
        strongest: the exemplar with projection and patch.
        changed: the strongest image is another than at the version before.
    """

    version: int
    channel: int
    strongest: ExemplarProjection | None
    changed: bool


@dataclass(frozen=True)
class Settling:
    """Between two versions, how many of a layer's channels have another strongest image."""

    layer: str
    earlier: int
    later: int
    changed: int
    channels: int

    @property
    def share(self) -> float:
        """The share that changed; near 0 the layer has settled."""
        return self.changed / self.channels if self.channels else 0.0


@dataclass(frozen=True)
class Side:
    """One side of a comparison, as it is asked for.

    Attributes:
        model: its name; ``version`` ``None`` is the highest.
        layer: tensor name, node name or alias; ``None`` is the first side's.
        channels: one for each feature; ``None`` are the first side's numbers, or those that are most alike.
    """

    model: str
    version: int | None = None
    layer: str | None = None
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SideInfo:
    """One side of a comparison, as it was found; ``channels`` is how many its layer has."""

    model: str
    version: int
    digest: str
    layer: str
    alias: str
    channels: int

    @property
    def name(self) -> str:
        """Model, version and layer in a few words."""
        return f"{self.model}@{self.version} {self.alias or self.layer}"


@dataclass(frozen=True)
class ComparisonInfo:
    """What a comparison is of: its sides, the features as channels of the first, and the data set."""

    sides: tuple[SideInfo, ...]
    channels: tuple[int, ...]
    dataset: str


@dataclass(frozen=True)
class SideProgress:
    """Where the scan of one side (counted from 0) stands."""

    side: int
    progress: ScanProgress


@dataclass(frozen=True, eq=False)
class ComparedFeature:
    """A feature at one side of a comparison.

    Attributes:
        side, feature: which, as indices into the header's ``sides`` and ``channels``.
        about: the side.
        channel: its channel; ``None`` where one alike was looked for, and none shares an image.
        firing_rate: the share of images on which it fires; ``maximum`` the largest activation. 0 without a channel.
        shared: images among its exemplars that are also among those of the first side's channel.
        exemplars: the strongest first, with projections and patches; none where the channel is dead.
    """

    side: int
    feature: int
    about: SideInfo
    channel: int | None
    firing_rate: float
    maximum: float
    shared: int
    exemplars: tuple[ExemplarProjection, ...]
