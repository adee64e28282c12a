"""Answers about hidden parts of an example into messages."""

from __future__ import annotations

import numpy as np

from unpool.methods.occlusion_requests import OcclusionTile
from unpool.service.occlusion import MapProjection, OccludeHeader
from unpool.service.writing import write_geometry, write_project_header, write_projection, write_provenance
from unpool.v1 import inspection_pb2, occlusion_pb2, tensor_pb2


def write_occlude(answer: OccludeHeader | MapProjection | OcclusionTile) -> occlusion_pb2.OccludeResponse:
    """One message of an occlusion."""
    if isinstance(answer, OccludeHeader):
        return occlusion_pb2.OccludeResponse(header=_header(answer))
    if isinstance(answer, MapProjection):
        return occlusion_pb2.OccludeResponse(
            projection=occlusion_pb2.OcclusionProjection(
                header=write_project_header(answer.header), projection=write_projection(answer.unit)
            )
        )
    return occlusion_pb2.OccludeResponse(
        tile=occlusion_pb2.OcclusionTile(
            numbers=answer.numbers,
            scores=answer.scores.reshape(-1),
            labels=answer.labels,
            map_sums=answer.sums,
            completed=answer.completed,
            coarse=answer.coarse,
        )
    )


def _header(answer: OccludeHeader) -> occlusion_pb2.OcclusionHeader:
    found = answer.header
    if found.stride:
        begins = np.concatenate(
            [np.arange(n, dtype=np.int64) * s for n, s in zip(found.shape, found.stride, strict=True)]
        )
    else:
        begins = found.origins.reshape(-1)
    label = None
    if found.label >= 0:
        label = inspection_pb2.ClassScore(index=found.label, label=answer.label)
    return occlusion_pb2.OcclusionHeader(
        provenance=write_provenance(answer.provenance),
        geometry=write_geometry(answer.geometry),
        window=found.window,
        stride=found.stride,
        shape=found.shape,
        begins=begins,
        targets=[
            occlusion_pb2.ScoredTarget(
                output=scored.output,
                box=tensor_pb2.Box(lower=scored.target.lower, upper=scored.target.upper),
                index=index,
                label=text,
                baseline=scored.baseline,
            )
            for scored, index, text in zip(found.targets, answer.indices, answer.labels, strict=True)
        ],
        label_output=found.label_output,
        label=label,
        layer=found.map.layer if found.map else "",
        alias=found.map.alias if found.map else "",
        channel=found.map.channel if found.map else 0,
        map_sum=found.map.baseline if found.map else 0.0,
        total=found.total,
        boxed=found.boxed,
        saved=found.saved,
        probability=answer.probability,
        fill=answer.fill,
        warnings=answer.warnings,
        example=answer.example,
        overall=answer.overall,
    )
