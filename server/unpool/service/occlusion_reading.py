"""An OccludeRequest into a question; what can be refused without a model is refused here, by field."""

from __future__ import annotations

import math

from unpool.graph.errors import InvalidArgumentError
from unpool.methods.occlusion_requests import Fill, FillKind, Mode, OcclusionRequest, Target
from unpool.service.occlusion import ClassTarget, OccludeQuestion
from unpool.service.questions import Shown
from unpool.service.reading import read_model, read_shown
from unpool.service.showing import of_example
from unpool.service.wire_types import read_tensor
from unpool.v1 import occlusion_pb2

_MODES = {
    occlusion_pb2.OCCLUSION_MODE_UNSPECIFIED: Mode.AUTO,
    occlusion_pb2.OCCLUSION_MODE_BOXES: Mode.BOXES,
    occlusion_pb2.OCCLUSION_MODE_BRUTE_FORCE: Mode.BRUTE_FORCE,
}
_MOST_TARGETS, _MOST_EXAMPLES = 1000, 64


def read_occlude(request: occlusion_pb2.OccludeRequest, *, budget: int) -> OccludeQuestion:
    """What hiding parts of an example costs.

    Args:
        request: the message.
        budget: the most positions of a request.
    """
    if not request.window:
        raise InvalidArgumentError("window", "is required: its extent along each spatial axis, or one for all")
    if any(w < 1 for w in request.window):
        raise InvalidArgumentError("window", f"is {list(request.window)}; give 1 or more")
    if request.stride and request.positions:
        raise InvalidArgumentError("stride", "and positions are both given; give one of them")
    if any(s < 1 for s in request.stride):
        raise InvalidArgumentError("stride", f"is {list(request.stride)}; give 1 or more")
    if request.top_k < 0:
        raise InvalidArgumentError("top_k", f"is {request.top_k}; give 1 or more, or 0 for none")
    if request.mode not in _MODES:
        known = ", ".join(occlusion_pb2.OcclusionMode.Name(n) for n in _MODES)
        raise InvalidArgumentError("mode", f"{request.mode} is not a mode; known are {known}")
    if request.projection and not request.layer:
        raise InvalidArgumentError("projection", "needs a layer, whose strongest map is projected")
    if len(request.targets) > _MOST_TARGETS:
        raise InvalidArgumentError("targets", f"lists {len(request.targets)}; at most {_MOST_TARGETS} in one request")
    bare = not (request.targets or request.layer or request.top_k)
    return OccludeQuestion(
        model=read_model(request.HasField("model"), request.model),
        examples=_examples(request),
        request=OcclusionRequest(
            window=tuple(request.window),
            stride=tuple(request.stride) or tuple(max(1, w // 2) for w in request.window),
            positions=tuple(tuple(p.index) for p in request.positions) if request.positions else None,
            top=1 if bare else request.top_k,
            output=request.output or None,
            probability=request.probability,
            layer=request.layer or None,
            mode=_MODES[request.mode],
            only=tuple(request.only) or None,
            budget=budget,
        ),
        fill=_fill(request.fill) if request.HasField("fill") else None,
        targets=tuple(_target(i, target) for i, target in enumerate(request.targets)),
        projection=request.projection,
    )


def _examples(request: occlusion_pb2.OccludeRequest) -> tuple[Shown, ...]:
    """What is shown: one example, or several."""
    if not request.inputs:
        return (read_shown(request.HasField("input"), request.input),)
    if request.HasField("input"):
        raise InvalidArgumentError("inputs", "is given beside input; give one of them")
    if len(request.inputs) > _MOST_EXAMPLES:
        raise InvalidArgumentError(
            "inputs", f"lists {len(request.inputs)} examples; at most {_MOST_EXAMPLES} in one request"
        )
    found = []
    for i, shown in enumerate(request.inputs):
        with of_example(i):
            found.append(read_shown(True, shown))
    return tuple(found)


def _fill(fill: occlusion_pb2.Fill) -> Fill | None:
    match fill.WhichOneof("kind"):
        case "colour":
            values = tuple(fill.colour.values)
            if not values or not all(map(math.isfinite, values)):
                raise InvalidArgumentError("fill.colour.values", "needs one finite value, or one for each channel")
            return Fill(FillKind.CONSTANT, values)
        case "blur":
            if not math.isfinite(fill.blur) or fill.blur <= 0:
                raise InvalidArgumentError("fill.blur", f"is {fill.blur}; give a positive number of elements")
            return Fill(FillKind.BLUR, radius=fill.blur)
        case "noise":
            if fill.noise < 0:
                raise InvalidArgumentError("fill.noise", f"is {fill.noise}; a seed is 0 or more")
            return Fill(FillKind.NOISE, seed=fill.noise)
        case "tensor":
            return Fill(FillKind.TENSOR, tensor=read_tensor(fill.tensor, "fill.tensor"))
        case "mean":
            return None
    raise InvalidArgumentError("fill", "is empty; give a colour, blur, noise, tensor or mean")


def _target(number: int, target: occlusion_pb2.OcclusionTarget) -> ClassTarget | Target:
    match target.WhichOneof("kind"):
        case "index":
            return ClassTarget(target.index, output=target.output or None)
        case "label":
            return ClassTarget(-1, target.label, target.output or None)
        case "box":
            return Target(tuple(target.box.lower), tuple(target.box.upper), target.output or None)
    raise InvalidArgumentError(f"targets[{number}]", "is empty; give an index, a label or a box")
