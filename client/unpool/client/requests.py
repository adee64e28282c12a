"""Questions to messages: one builder per RPC, for the blocking and the asynchronous client alike."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import Literal, TypeAlias

import numpy as np

from unpool.client.errors import InvalidArgumentError
from unpool.client.listing import POLICIES, PolicyName
from unpool.v1 import (
    input_pb2,
    inspection_pb2,
    inspection_service_pb2,
    model_service_pb2,
    tensor_pb2,
)

PositionsLike: TypeAlias = Literal["max", "all", "map"] | Sequence[int | Sequence[int]]
"""The strongest position of each channel, every one, the whole map at once, or explicit ones, one index per axis."""

StartLike: TypeAlias = Literal["activation", "one"] | float | None
"""What the signal starts as: the activation, 1, a value, or ``None`` for the policy's own start."""

DEFAULT_TOP = 9
"""How many channels are projected when a question names none: as many as a panel of the paper's figure shows."""

_MODES = {
    # The server's default, and the one mode that a layer without a plane takes.
    "max": inspection_pb2.POSITION_MODE_UNSPECIFIED,
    "all": inspection_pb2.POSITION_MODE_ALL,
    "map": inspection_pb2.POSITION_MODE_MAP,
}
_LAYER_PAGE = 500
_LARGEST = 2**63 - 1


def model_spec(name: str, version: int | None) -> input_pb2.ModelSpec:
    """Names a model; ``None`` is the highest version that can be served."""
    return input_pb2.ModelSpec(name=name, version=version or 0)


def get_model(name: str, version: int | None) -> model_service_pb2.GetModelRequest:
    """Asks for one model."""
    return model_service_pb2.GetModelRequest(model=model_spec(name, version))


def list_layers(name: str, version: int | None, of: str | None, token: str) -> model_service_pb2.ListLayersRequest:
    """Asks for a page of layers."""
    return model_service_pb2.ListLayersRequest(
        model=model_spec(name, version), page_size=_LAYER_PAGE, page_token=token, of=of or ""
    )


def classify(
    name: str, version: int | None, shown: input_pb2.Input, *, top: int, output: str | None, probability: bool
) -> inspection_service_pb2.ClassifyRequest:
    """Asks for the strongest classes."""
    return inspection_service_pb2.ClassifyRequest(
        model=model_spec(name, version), input=shown, top_k=top, output=output or "", probability=probability
    )


def capture(
    name: str, version: int | None, shown: input_pb2.Input, layers: str | Iterable[str]
) -> inspection_service_pb2.CaptureRequest:
    """Asks for activations."""
    names = [layers] if isinstance(layers, str) else list(layers)
    return inspection_service_pb2.CaptureRequest(model=model_spec(name, version), input=shown, layers=names)


def project(
    name: str,
    version: int | None,
    shown: input_pb2.Input,
    *,
    layer: str,
    channels: int | Iterable[int] | None,
    top: int | None,
    positions: PositionsLike,
    policy: PolicyName,
    start: StartLike,
    to: str | None,
    signals: bool,
    png: bool,
    contrast: float,
    against: str | PathLike[str] | None,
) -> inspection_service_pb2.ProjectRequest:
    """Asks for projections.

    Raises:
        InvalidArgumentError: an unknown policy, position mode or start, both ``channels`` and ``top``, or ``channels``
            with ``against``.
    """
    if channels is not None and against is not None:
        raise InvalidArgumentError("against ranks the channels that top chooses: leave channels out", field="against")
    if channels is not None and top is not None:
        raise InvalidArgumentError("channels and top go not together: name channels, or ask for the top K", field="top")
    numbers = integers(() if channels is None else channels, "channels")
    if channels is not None and not numbers:
        raise InvalidArgumentError("no channel is named; name at least one, or ask for the top K", field="channels")
    if policy not in POLICIES:
        raise InvalidArgumentError(f"no policy {policy!r}; one of {', '.join(POLICIES)}", field="policy")
    mode, places = _positions(positions)
    start_mode, start_value = _start(start)
    return inspection_service_pb2.ProjectRequest(
        model=model_spec(name, version),
        input=shown,
        layer=layer,
        channels=numbers,
        top=0 if numbers else DEFAULT_TOP if top is None else top,
        position_mode=mode,
        positions=places,
        policy=f"POLICY_{policy.upper()}",
        start=start_mode,
        start_value=start_value,
        to=to or "",
        render=inspection_pb2.RenderOptions(gain=contrast) if png else None,
        omit_signal=not signals,
        top_against=None if against is None else fspath(against),
    )


def _positions(
    positions: PositionsLike,
) -> tuple[inspection_pb2.PositionMode, list[tensor_pb2.Position]]:
    if isinstance(positions, str):
        if positions not in _MODES:
            modes = ", ".join(_MODES)
            raise InvalidArgumentError(f"no positions {positions!r}; one of {modes}, or a list", field="positions")
        return _MODES[positions], []
    places = [tensor_pb2.Position(index=integers(place, "positions")) for place in positions]
    if not places:
        raise InvalidArgumentError("the list of positions is empty", field="positions")
    return inspection_pb2.POSITION_MODE_EXPLICIT, places


def _start(start: StartLike) -> tuple[inspection_pb2.Start, float]:
    if start is None:
        return inspection_pb2.START_UNSPECIFIED, 0.0
    if start == "activation":
        return inspection_pb2.START_ACTIVATION, 0.0
    if start == "one":
        return inspection_pb2.START_ONE, 0.0
    if isinstance(start, str):
        raise InvalidArgumentError(f"no start {start!r}; activation, one, or a number", field="start")
    return inspection_pb2.START_VALUE, float(start)


def integers(values: int | Iterable[int], field: str) -> list[int]:
    """Whole numbers that travel.

    Raises:
        InvalidArgumentError: one is too large.
    """
    numbers = [operator.index(v) for v in ([values] if isinstance(values, int | np.integer) else values)]
    if any(abs(number) > _LARGEST for number in numbers):
        raise InvalidArgumentError("a number is too large for any model", field=field)
    return numbers
