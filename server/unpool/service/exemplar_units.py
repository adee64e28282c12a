"""Projections of exemplars as answers: a header, then each with its geometry and patch, as it is ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unpool.engine.policies import Policy
from unpool.exemplars import DataSet, Exemplar
from unpool.exemplars.cropping import Cropped
from unpool.exemplars.patches import patch
from unpool.exemplars.projecting import Projected, project_exemplars
from unpool.graph.errors import OutOfRangeError
from unpool.methods.requests import ProjectionHeader, ProjectionRequest
from unpool.pictures import png_bytes
from unpool.repository import ChannelOrder, Entry
from unpool.service.answers import InputGeometry, ProjectHeader, Provenance
from unpool.service.exemplar_questions import ExemplarUnit
from unpool.service.inspection import projected_unit
from unpool.service.questions import ModelQuestion, PictureShown, ProjectQuestion, Render, TensorShown
from unpool.service.showing import Seen
from unpool.service.software import software


@dataclass(frozen=True)
class Shown:
    """How exemplars are shown: the policy, drawings beside signals, and what is left out."""

    policy: Policy = Policy.DECONVNET
    render: Render | None = None
    omit_signal: bool = False
    omit_patch: bool = False


def units(
    entry: Entry, dataset: DataSet, exemplars: Sequence[Exemplar], shown: Shown, cropped: Cropped
) -> Iterator[ProjectHeader | ExemplarUnit | None]:
    """Projections of exemplars of one layer.

    Args:
        entry: the model.
        dataset: the data set that they are of.
        exemplars: at least one.
        shown: how.
        cropped: networks cut at layers, kept between questions.

    Yields:
        The header, then each as it is ready; ``None`` after a piece of work that has nothing to show.
    """
    request = ProjectionRequest(exemplars[0].layer, policy=shown.policy)
    header: ProjectionHeader | None = None
    completed = 0
    for item in project_exemplars(entry, dataset, exemplars, request, cropped):
        if item is None:
            yield None
        elif isinstance(item, ProjectionHeader):
            header = item
            yield _header(entry, request, header)
        else:
            assert header is not None
            completed += 1
            yield _unit(entry, dataset, item, header, request, shown, completed)


def checked_channels(entry: Entry, layer: str, channels: Sequence[int], field: str = "channels") -> tuple[int, ...]:
    """The channels, ascending, each once.

    Raises:
        OutOfRangeError: the layer has no such channel.
    """
    count = entry.engine.model.layers.find(layer).channels or 0
    for i, channel in enumerate(channels):
        if not 0 <= channel < count:
            raise OutOfRangeError(f"{field}[{i}]", f"{channel} is outside the layer's channels, 0 to {count - 1}")
    return tuple(sorted(set(channels)))


def _header(entry: Entry, request: ProjectionRequest, header: ProjectionHeader) -> ProjectHeader:
    graph = entry.engine.model.graph
    order = entry.preprocessing.order if entry.preprocessing is not None else None
    geometry = InputGeometry(header.to, header.plane, None, order if order is ChannelOrder.GRAY else None)
    warnings = entry.preprocessing.warnings if entry.preprocessing is not None else ()
    provenance = Provenance(
        model=entry.name,
        version=entry.version,
        digest=entry.engine.model.digest,
        input_digest="",
        preprocessing=entry.preprocessing,
        provider=entry.engine.providers[0],
        device=entry.engine.device,
        software=software(),
    )
    axes = graph.values[header.layer].axes
    return ProjectHeader(provenance, geometry, request, header, axes, (*warnings, *header.warnings))


def _unit(
    entry: Entry,
    dataset: DataSet,
    found: Projected,
    header: ProjectionHeader,
    request: ProjectionRequest,
    shown: Shown,
    completed: int,
) -> ExemplarUnit:
    example = found.example
    feeds, placement = example.feeds, example.placement
    order: ChannelOrder | None = None
    if placement is not None and entry.preprocessing is not None:
        order = ChannelOrder.GRAY if entry.preprocessing.order is ChannelOrder.GRAY else ChannelOrder.RGB
    graph = entry.engine.model.graph
    plane = tuple(feeds.arrays[feeds.of].shape[axis] for axis in graph.values[feeds.of].spatial_axes.values())
    geometry = InputGeometry(feeds.of, plane, placement, order)
    source = PictureShown(b"") if placement is not None else TensorShown(feeds.arrays[feeds.of])
    question = ProjectQuestion(ModelQuestion(entry.name), source, request, shown.render, shown.omit_signal)
    unit = projected_unit(entry, Seen(feeds, geometry, ()), question, header, found.projection, completed)
    drawn = None if shown.omit_patch else patch(dataset, found.exemplar, graph)
    return ExemplarUnit(found.exemplar, geometry, unit, b"" if drawn is None else png_bytes(drawn))
