"""Request messages into questions; what can be refused without a model is refused here, by field."""

from __future__ import annotations

import math

from unpool.engine.policies import Policy
from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import Array
from unpool.methods.requests import Positions, ProjectionRequest, Start
from unpool.service.questions import (
    CaptureQuestion,
    ClassifyQuestion,
    LayersQuestion,
    ModelQuestion,
    PictureShown,
    ProjectQuestion,
    Render,
    Shown,
    TensorShown,
    TensorsShown,
)
from unpool.service.wire_types import POLICIES, POSITION_MODES, STARTS, read_tensor
from unpool.v1 import input_pb2, inspection_pb2, inspection_service_pb2, model_service_pb2, policy_pb2

_CLASSES = 5
_PAGE, _LARGEST_PAGE = 100, 1000
_CHUNK, _SMALLEST_CHUNK, _LARGEST_CHUNK = 1 << 20, 64 << 10, 3 << 20
_LARGEST_ZOOM = 16
_MOST_LISTED = 1 << 16


def read_model(has_model: bool, spec: input_pb2.ModelSpec, field: str = "model") -> ModelQuestion:
    """Which model is meant."""
    if not has_model or not spec.name:
        raise InvalidArgumentError(f"{field}.name", "is required: the name of a model, as ListModels gives it")
    if spec.version < 0:
        raise InvalidArgumentError(f"{field}.version", f"is {spec.version}; versions are positive, 0 is the highest")
    return ModelQuestion(spec.name, spec.version or None)


def read_layers(request: model_service_pb2.ListLayersRequest) -> LayersQuestion:
    """A page of layers."""
    if request.page_size < 0:
        raise InvalidArgumentError("page_size", f"is {request.page_size}; give 1 to {_LARGEST_PAGE}, or 0 for {_PAGE}")
    return LayersQuestion(
        model=read_model(request.HasField("model"), request.model),
        page_size=min(request.page_size or _PAGE, _LARGEST_PAGE),
        page_token=request.page_token,
        of=request.of or None,
    )


def read_classify(request: inspection_service_pb2.ClassifyRequest) -> ClassifyQuestion:
    """The strongest classes."""
    if request.top_k < 0:
        raise InvalidArgumentError("top_k", f"is {request.top_k}; give 1 or more, or 0 for {_CLASSES}")
    return ClassifyQuestion(
        model=read_model(request.HasField("model"), request.model),
        shown=read_shown(request.HasField("input"), request.input),
        top=request.top_k or _CLASSES,
        output=request.output or None,
        probability=request.probability,
    )


def read_capture(request: inspection_service_pb2.CaptureRequest) -> CaptureQuestion:
    """Activations."""
    layers = tuple(request.layers)
    if not layers:
        raise InvalidArgumentError("layers", "is empty; name at least one layer")
    for i, layer in enumerate(layers):
        if not layer:
            raise InvalidArgumentError(f"layers[{i}]", "is empty; name a layer")
        if layer in layers[:i]:
            raise InvalidArgumentError(f"layers[{i}]", f"'{layer}' was named before; name each layer once")
    if request.chunk_bytes < 0:
        raise InvalidArgumentError(
            "chunk_bytes", f"is {request.chunk_bytes}; give a positive number, or 0 for {_CHUNK}"
        )
    return CaptureQuestion(
        model=read_model(request.HasField("model"), request.model),
        shown=read_shown(request.HasField("input"), request.input),
        layers=layers,
        chunk_bytes=min(max(request.chunk_bytes or _CHUNK, _SMALLEST_CHUNK), _LARGEST_CHUNK),
    )


def read_project(request: inspection_service_pb2.ProjectRequest) -> ProjectQuestion:
    """Projections."""
    if not request.layer:
        raise InvalidArgumentError(
            "layer", "is required: a tensor name, a node name or an alias, as ListLayers gives them"
        )
    if request.top < 0:
        raise InvalidArgumentError("top", f"is {request.top}; give 1 or more")
    if bool(request.channels) == bool(request.top):
        both = (
            "and top are both given; give one of them" if request.top else "and top are both missing; give one of them"
        )
        raise InvalidArgumentError("channels", both)
    if len(request.channels) > _MOST_LISTED:
        raise InvalidArgumentError("channels", f"lists {len(request.channels)}; at most {_MOST_LISTED} in one request")
    if request.HasField("top_against") and not request.top:
        raise InvalidArgumentError("top_against", "ranks the channels that top chooses; give top, not channels")
    start, value = _start(request)
    return ProjectQuestion(
        model=read_model(request.HasField("model"), request.model),
        shown=read_shown(request.HasField("input"), request.input),
        request=ProjectionRequest(
            layer=request.layer,
            channels=tuple(request.channels),
            top=request.top,
            positions=_positions(request),
            policy=read_policy(request.policy),
            start=start,
            start_value=value,
            to=request.to or None,
        ),
        render=read_render(request.render) if request.HasField("render") else None,
        omit_signal=request.omit_signal,
        against=request.top_against if request.HasField("top_against") else None,
    )


def read_shown(has_input: bool, shown: input_pb2.Input) -> Shown:
    """What is shown: a picture, a tensor, or several."""
    given = [name for name in ("picture", "tensor", "tensors") if has_input and shown.HasField(name)]
    if len(given) > 1:
        raise InvalidArgumentError(f"input.{given[1]}", f"is given beside input.{given[0]}; give one of them")
    match given:
        case ["picture"]:
            if not shown.picture.encoded:
                raise InvalidArgumentError("input.picture.encoded", "is empty; give a picture file")
            return PictureShown(shown.picture.encoded)
        case ["tensor"]:
            return TensorShown(read_tensor(shown.tensor, "input.tensor"))
        case ["tensors"]:
            return _tensors(shown.tensors)
        case _:
            raise InvalidArgumentError("input", "is required: a picture, a tensor, or tensors by name")


def _tensors(message: input_pb2.NamedTensors) -> TensorsShown:
    arrays: dict[str, Array] = {}
    for i, named in enumerate(message.tensors):
        field = f"input.tensors.tensors[{i}]"
        if not named.name or named.name in arrays:
            raise InvalidArgumentError(f"{field}.name", "is required, each input once")
        arrays[named.name] = read_tensor(named.tensor, f"{field}.tensor")
    if not arrays:
        raise InvalidArgumentError("input.tensors.tensors", "is empty; give a tensor for each input")
    return TensorsShown(arrays, message.of or None)


def read_policy(number: policy_pb2.Policy) -> Policy:
    """The policy, deconvnet by default."""
    if number == policy_pb2.POLICY_UNSPECIFIED:
        return Policy.DECONVNET
    if number not in POLICIES:
        known = ", ".join(policy_pb2.Policy.Name(n) for n in POLICIES)
        raise InvalidArgumentError("policy", f"{number} is not a policy; known are {known}")
    return POLICIES[number]


def _positions(request: inspection_service_pb2.ProjectRequest) -> Positions | tuple[tuple[int, ...], ...]:
    mode = request.position_mode
    if mode == inspection_pb2.POSITION_MODE_EXPLICIT:
        if not request.positions:
            raise InvalidArgumentError("positions", "is empty; POSITION_MODE_EXPLICIT needs at least one")
        if len(request.positions) > _MOST_LISTED:
            raise InvalidArgumentError(
                "positions", f"lists {len(request.positions)}; at most {_MOST_LISTED} in one request"
            )
        return tuple(tuple(position.index) for position in request.positions)
    if request.positions:
        raise InvalidArgumentError("positions", "are given, but position_mode is not POSITION_MODE_EXPLICIT")
    if mode == inspection_pb2.POSITION_MODE_UNSPECIFIED:
        return Positions.MAX
    if mode not in POSITION_MODES:
        raise InvalidArgumentError("position_mode", f"{mode} is not a position mode")
    return POSITION_MODES[mode]


def _start(request: inspection_service_pb2.ProjectRequest) -> tuple[Start, float]:
    if request.start not in STARTS:
        known = ", ".join(inspection_pb2.Start.Name(n) for n in STARTS)
        raise InvalidArgumentError("start", f"{request.start} is not a start; known are {known}")
    if not math.isfinite(request.start_value):
        raise InvalidArgumentError("start_value", "is not finite")
    start = STARTS[request.start]
    if start is not Start.VALUE and request.start_value != 0:
        raise InvalidArgumentError("start_value", "is given, but start is not START_VALUE")
    return start, request.start_value


def read_render(options: inspection_pb2.RenderOptions) -> Render:
    """How signals become pictures."""
    for field, value in (("gain", options.gain), ("magnitude", options.magnitude)):
        if not math.isfinite(value) or value < 0:
            raise InvalidArgumentError(f"render.{field}", f"is {value}; give a positive number, or 0 for the default")
    if not 0 <= options.zoom <= _LARGEST_ZOOM:
        raise InvalidArgumentError("render.zoom", f"is {options.zoom}; give 1 to {_LARGEST_ZOOM}, or 0 for 1")
    return Render(gain=options.gain or 1.0, magnitude=options.magnitude or None, zoom=options.zoom or 1)
