"""Questions about data sets to messages, for the blocking and the asynchronous client alike."""

from __future__ import annotations

import os
from collections.abc import Iterable

from unpool.client.errors import InvalidArgumentError
from unpool.client.exemplars import Side
from unpool.client.listing import POLICIES, PolicyName
from unpool.client.requests import integers, model_spec
from unpool.v1 import exemplar_service_pb2, inspection_pb2

_PAGE = 500


def scan(
    name: str, version: int | None, dataset: str | os.PathLike[str], layers: str | Iterable[str], k: int, places: int
) -> exemplar_service_pb2.ScanExemplarsRequest:
    """Asks for a scan."""
    return exemplar_service_pb2.ScanExemplarsRequest(
        model=model_spec(name, version),
        dataset=os.fspath(dataset),
        layers=[layers] if isinstance(layers, str) else list(layers),
        k=k,
        places=places,
    )


def list_exemplars(
    name: str,
    version: int | None,
    dataset: str | os.PathLike[str] | None,
    layer: str,
    channels: int | Iterable[int] | None,
    token: str,
) -> exemplar_service_pb2.ListExemplarsRequest:
    """Asks for a page of channels."""
    return exemplar_service_pb2.ListExemplarsRequest(
        model=model_spec(name, version),
        dataset="" if dataset is None else os.fspath(dataset),
        layer=layer,
        channels=integers(() if channels is None else channels, "channels"),
        page_size=_PAGE,
        page_token=token,
    )


def patch(
    name: str, version: int | None, dataset: str | os.PathLike[str] | None, layer: str, channel: int, place: int
) -> exemplar_service_pb2.GetPatchRequest:
    """Asks for a patch."""
    return exemplar_service_pb2.GetPatchRequest(
        model=model_spec(name, version),
        dataset="" if dataset is None else os.fspath(dataset),
        layer=layer,
        channel=channel,
        place=place,
    )


def project(
    name: str,
    version: int | None,
    dataset: str | os.PathLike[str] | None,
    layer: str,
    channels: int | Iterable[int],
    *,
    count: int,
    policy: PolicyName,
    signals: bool,
    patches: bool,
    png: bool,
    contrast: float,
) -> exemplar_service_pb2.ProjectExemplarsRequest:
    """Asks for projections of exemplars."""
    return exemplar_service_pb2.ProjectExemplarsRequest(
        model=model_spec(name, version),
        dataset="" if dataset is None else os.fspath(dataset),
        layer=layer,
        channels=integers(channels, "channels"),
        count=count,
        policy=_policy(policy),
        render=inspection_pb2.RenderOptions(gain=contrast) if png else None,
        omit_signal=not signals,
        omit_patch=not patches,
    )


def evolution(
    name: str,
    dataset: str | os.PathLike[str],
    layer: str,
    channels: int | Iterable[int],
    *,
    versions: Iterable[int],
    policy: PolicyName,
    signals: bool,
) -> exemplar_service_pb2.TraceEvolutionRequest:
    """Asks for an evolution."""
    return exemplar_service_pb2.TraceEvolutionRequest(
        model=name,
        versions=list(versions),
        dataset=os.fspath(dataset),
        layer=layer,
        channels=integers(channels, "channels"),
        policy=_policy(policy),
        omit_signal=not signals,
    )


def compare(
    sides: Iterable[Side | str],
    dataset: str | os.PathLike[str],
    layer: str,
    channels: int | Iterable[int],
    *,
    match: bool,
    count: int,
    policy: PolicyName,
    signals: bool,
) -> exemplar_service_pb2.CompareExemplarsRequest:
    """Asks for a comparison; ``layer`` is for sides that name none, ``channels`` for the first where it names none."""
    asked = [Side(side) if isinstance(side, str) else side for side in sides]
    return exemplar_service_pb2.CompareExemplarsRequest(
        sides=[
            exemplar_service_pb2.ComparedSide(
                model=model_spec(side.model, side.version),
                layer=layer if side.layer is None else side.layer,
                channels=integers((() if i else channels) if side.channels is None else side.channels, "channels"),
            )
            for i, side in enumerate(asked)
        ],
        dataset=os.fspath(dataset),
        match=match,
        count=count,
        policy=_policy(policy),
        omit_signal=not signals,
    )


def _policy(policy: PolicyName) -> str:
    if policy not in POLICIES:
        raise InvalidArgumentError(f"no policy {policy!r}; one of {', '.join(POLICIES)}", field="policy")
    return f"POLICY_{policy.upper()}"
