"""What is asked about data sets, free of transport, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass

from unpool.engine.policies import Policy
from unpool.exemplars import ChannelStatistics, Description, Exemplar, ScanProgress, ScanRequest
from unpool.exemplars.evolution import Settling
from unpool.service.answers import InputGeometry, ProjectedUnit, ProjectHeader
from unpool.service.questions import ModelQuestion, Render


@dataclass(frozen=True)
class ScanQuestion:
    """A scan of a data set."""

    model: ModelQuestion
    dataset: str
    request: ScanRequest


@dataclass(frozen=True)
class ExemplarsQuestion:
    """A page of a layer's channels (all of them where none are named); ``dataset`` ``None`` is the only one."""

    model: ModelQuestion
    dataset: str | None
    layer: str
    channels: tuple[int, ...] = ()
    page_size: int = 100
    page_token: str = ""


@dataclass(frozen=True)
class PatchQuestion:
    """What one exemplar's unit saw."""

    model: ModelQuestion
    dataset: str | None
    layer: str
    channel: int
    place: int


@dataclass(frozen=True)
class ProjectExemplarsQuestion:
    """Projections of the ``count`` strongest exemplars of channels (0: of all)."""

    model: ModelQuestion
    dataset: str | None
    layer: str
    channels: tuple[int, ...]
    count: int = 0
    policy: Policy = Policy.DECONVNET
    render: Render | None = None
    omit_signal: bool = False
    omit_patch: bool = False


@dataclass(frozen=True)
class EvolutionQuestion:
    """How channels came to be over versions (all that can be served where none are named)."""

    model: str
    versions: tuple[int, ...]
    dataset: str
    layer: str
    channels: tuple[int, ...]
    policy: Policy = Policy.DECONVNET
    omit_signal: bool = False


@dataclass(frozen=True)
class SideQuestion:
    """One side of a comparison; without channels, those that are most alike the first side's."""

    model: ModelQuestion
    layer: str
    channels: tuple[int, ...]


@dataclass(frozen=True)
class CompareQuestion:
    """The ``count`` strongest exemplars (0: all) of the same features at sides, of which the first names channels."""

    sides: tuple[SideQuestion, ...]
    dataset: str
    count: int = 0
    policy: Policy = Policy.DECONVNET
    omit_signal: bool = False


@dataclass(frozen=True)
class ChannelAnswer:
    """A channel over the data set."""

    statistics: ChannelStatistics
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True)
class ExemplarsPage:
    """A page of channels, the token of the next (empty on the last), and what they are of."""

    scan: Description
    layer: str
    alias: str
    channels: tuple[ChannelAnswer, ...]
    next_token: str


@dataclass(frozen=True)
class PatchAnswer:
    """An exemplar, and what its unit saw as PNG."""

    exemplar: Exemplar
    png: bytes


@dataclass(frozen=True, eq=False)
class ExemplarUnit:
    """An exemplar with its projection and patch."""

    exemplar: Exemplar
    geometry: InputGeometry
    unit: ProjectedUnit
    patch: bytes

    @property
    def nbytes(self) -> int:
        """The bytes of signal and pictures."""
        return self.unit.nbytes + len(self.patch)


@dataclass(frozen=True)
class EvolutionHeader:
    """What holds for an evolution."""

    model: str
    versions: tuple[int, ...]
    layer: str
    alias: str
    channels: tuple[int, ...]
    dataset: str


@dataclass(frozen=True)
class VersionProgress:
    """Where the scan of a version stands."""

    version: int
    progress: ScanProgress


@dataclass(frozen=True, eq=False)
class EvolutionStep:
    """A channel at a version; ``unit`` and ``header`` are ``None`` where it is dead."""

    version: int
    channel: int
    unit: ExemplarUnit | None
    header: ProjectHeader | None
    changed: bool

    @property
    def nbytes(self) -> int:
        """The bytes of signal and pictures."""
        return 0 if self.unit is None else self.unit.nbytes


EvolutionAnswer = EvolutionHeader | VersionProgress | EvolutionStep | Settling


@dataclass(frozen=True)
class Side:
    """One side of a comparison, as it was found; ``channels`` are those of its layer."""

    model: str
    version: int
    digest: str
    layer: str
    alias: str
    channels: int


@dataclass(frozen=True)
class CompareHeader:
    """What holds for a comparison; ``channels`` are the first side's."""

    sides: tuple[Side, ...]
    channels: tuple[int, ...]
    dataset: str


@dataclass(frozen=True)
class SideProgress:
    """Where the scan of a side stands."""

    side: int
    progress: ScanProgress


@dataclass(frozen=True)
class ComparedFeature:
    """A feature at a side, before its exemplars; ``channel`` and ``statistics`` are ``None`` where none is alike."""

    side: int
    feature: int
    channel: int | None
    statistics: ChannelStatistics | None
    exemplars: int
    shared: int


@dataclass(frozen=True, eq=False)
class ComparedExemplar:
    """An exemplar of a feature at a side."""

    side: int
    feature: int
    unit: ExemplarUnit
    header: ProjectHeader

    @property
    def nbytes(self) -> int:
        """The bytes of signal and pictures."""
        return self.unit.nbytes


CompareAnswer = CompareHeader | SideProgress | ComparedFeature | ComparedExemplar
