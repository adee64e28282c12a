"""Request messages about data sets into questions; what can be refused without a model is refused here, by field."""

from __future__ import annotations

from unpool.exemplars import ScanRequest
from unpool.graph.errors import InvalidArgumentError
from unpool.service.exemplar_questions import (
    CompareQuestion,
    EvolutionQuestion,
    ExemplarsQuestion,
    PatchQuestion,
    ProjectExemplarsQuestion,
    ScanQuestion,
    SideQuestion,
)
from unpool.service.reading import read_model, read_policy, read_render
from unpool.v1 import exemplar_service_pb2

_K = 9
_PAGE, _LARGEST_PAGE = 100, 1000
_MOST_CHANNELS = 4096
_FEWEST_SIDES, _MOST_SIDES = 2, 8


def read_scan(request: exemplar_service_pb2.ScanExemplarsRequest) -> ScanQuestion:
    """A scan."""
    if not request.dataset:
        raise InvalidArgumentError("dataset", "is required: the path or URI of a data set")
    for i, layer in enumerate(request.layers):
        if not layer:
            raise InvalidArgumentError(f"layers[{i}]", "is empty; name a layer")
    return ScanQuestion(
        model=read_model(request.HasField("model"), request.model),
        dataset=request.dataset,
        request=ScanRequest(tuple(request.layers), k=request.k or _K, places=request.places or 1),
    )


def read_list(request: exemplar_service_pb2.ListExemplarsRequest) -> ExemplarsQuestion:
    """A page of channels."""
    if request.page_size < 0:
        raise InvalidArgumentError("page_size", f"is {request.page_size}; give 1 to {_LARGEST_PAGE}, or 0 for {_PAGE}")
    return ExemplarsQuestion(
        model=read_model(request.HasField("model"), request.model),
        dataset=request.dataset or None,
        layer=_layer(request.layer),
        channels=tuple(request.channels),
        page_size=min(request.page_size or _PAGE, _LARGEST_PAGE),
        page_token=request.page_token,
    )


def read_patch(request: exemplar_service_pb2.GetPatchRequest) -> PatchQuestion:
    """A patch."""
    return PatchQuestion(
        model=read_model(request.HasField("model"), request.model),
        dataset=request.dataset or None,
        layer=_layer(request.layer),
        channel=request.channel,
        place=request.place,
    )


def read_project(request: exemplar_service_pb2.ProjectExemplarsRequest) -> ProjectExemplarsQuestion:
    """Projections of exemplars."""
    if request.count < 0:
        raise InvalidArgumentError("count", f"is {request.count}; give 1 or more, or 0 for all that were kept")
    return ProjectExemplarsQuestion(
        model=read_model(request.HasField("model"), request.model),
        dataset=request.dataset or None,
        layer=_layer(request.layer),
        channels=tuple(dict.fromkeys(_channels(tuple(request.channels)))),
        count=request.count,
        policy=read_policy(request.policy),
        render=read_render(request.render) if request.HasField("render") else None,
        omit_signal=request.omit_signal,
        omit_patch=request.omit_patch,
    )


def read_evolution(request: exemplar_service_pb2.TraceEvolutionRequest) -> EvolutionQuestion:
    """An evolution."""
    if not request.model:
        raise InvalidArgumentError("model", "is required: the name of a model with several versions")
    if not request.dataset:
        raise InvalidArgumentError("dataset", "is required: the path or URI of a data set")
    return EvolutionQuestion(
        model=request.model,
        versions=tuple(request.versions),
        dataset=request.dataset,
        layer=_layer(request.layer),
        channels=tuple(dict.fromkeys(_channels(tuple(request.channels)))),
        policy=read_policy(request.policy),
        omit_signal=request.omit_signal,
    )


def read_compare(request: exemplar_service_pb2.CompareExemplarsRequest) -> CompareQuestion:
    """A comparison."""
    if not _FEWEST_SIDES <= len(request.sides) <= _MOST_SIDES:
        raise InvalidArgumentError("sides", f"lists {len(request.sides)}; give {_FEWEST_SIDES} to {_MOST_SIDES}")
    if not request.dataset:
        raise InvalidArgumentError("dataset", "is required: the path or URI of a data set")
    if request.count < 0:
        raise InvalidArgumentError("count", f"is {request.count}; give 1 or more, or 0 for all that were kept")
    first = request.sides[0]
    wanted = _channels(tuple(first.channels), "sides[0].channels")
    layer = _layer(first.layer, "sides[0].layer")
    sides = []
    for i, side in enumerate(request.sides):
        channels = tuple(side.channels) if i else wanted
        if channels and len(channels) != len(wanted):
            raise InvalidArgumentError(
                f"sides[{i}].channels", f"lists {len(channels)}; give one for each of the first side's {len(wanted)}"
            )
        model = read_model(side.HasField("model"), side.model, f"sides[{i}].model")
        # Without channels of its own a side has the first's, unless they are looked for.
        sides.append(SideQuestion(model, side.layer or layer, channels or (() if request.match else wanted)))
    return CompareQuestion(
        sides=tuple(sides),
        dataset=request.dataset,
        count=request.count,
        policy=read_policy(request.policy),
        omit_signal=request.omit_signal,
    )


def _layer(name: str, field: str = "layer") -> str:
    if not name:
        raise InvalidArgumentError(
            field, "is required: a tensor name, a node name or an alias, as ListLayers gives them"
        )
    return name


def _channels(channels: tuple[int, ...], field: str = "channels") -> tuple[int, ...]:
    if not channels:
        raise InvalidArgumentError(field, "is empty; name at least one channel")
    if len(channels) > _MOST_CHANNELS:
        raise InvalidArgumentError(field, f"lists {len(channels)}; at most {_MOST_CHANNELS} in one request")
    return channels
