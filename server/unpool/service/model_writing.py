"""Answers about models into messages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from unpool.engine.geometry import Field
from unpool.graph.model import BatchSupport, Graph, Value
from unpool.repository import ModelListing
from unpool.service.answers import DescribedLayer, LayersPage, ModelAnswer
from unpool.service.wire_types import POLICIES, STATES, dtype_number, write_axes
from unpool.service.writing import write_preprocessing
from unpool.v1 import model_pb2, model_service_pb2, tensor_pb2

_FLOATS = ("float16", "float32", "float64", "bfloat16")


def write_models(models: Sequence[ModelListing]) -> model_service_pb2.ListModelsResponse:
    """The models of the repository."""
    return model_service_pb2.ListModelsResponse(
        models=[
            model_pb2.ModelSummary(
                name=model.name,
                versions=[
                    model_pb2.ModelVersion(version=v.version, state=STATES[v.state], reason=v.reason)
                    for v in model.versions
                ],
                reason=model.reason,
            )
            for model in models
        ]
    )


def write_model(answer: ModelAnswer) -> model_service_pb2.GetModelResponse:
    """One version of a model."""
    entry = answer.entry
    model = entry.engine.model
    graph = model.graph
    preprocessing = entry.preprocessing
    return model_service_pb2.GetModelResponse(
        model=model_pb2.Model(
            name=entry.name,
            version=entry.version,
            digest=model.digest,
            inputs=[_tensor(graph.values[name]) for name in graph.inputs],
            outputs=[_tensor(graph.values[name]) for name in graph.outputs if name in graph.values],
            picture_input=preprocessing.target.name if preprocessing is not None else "",
            operator_sets=[
                model_pb2.OperatorSet(domain=domain, version=version)
                for domain, version in sorted(graph.opsets.items())
            ],
            operators=_operators(graph),
            batch=(model_pb2.BATCH_MODE_SYMBOLIC if graph.batch is BatchSupport.SYMBOLIC else model_pb2.BATCH_MODE_ONE),
            providers=entry.engine.providers,
            device=entry.engine.device,
            preprocessing=write_preprocessing(preprocessing) if preprocessing is not None else None,
            label_count=len(entry.labels),
            policies=list(POLICIES),
            layer_count=len(model.layers),
            parameter_count=_parameters(graph),
            producer=" ".join(filter(None, (model.runtime.producer_name, model.runtime.producer_version))),
            warnings=answer.warnings,
            parity=_parity(answer),
        )
    )


def write_layers(page: LayersPage) -> model_service_pb2.ListLayersResponse:
    """A page of layers."""
    return model_service_pb2.ListLayersResponse(
        layers=[_layer(described) for described in page.layers],
        next_page_token=page.next_token,
        total_size=page.total,
        version=page.version,
    )


def _parity(answer: ModelAnswer) -> model_pb2.Parity:
    found = answer.parity
    if found is None:
        asked = answer.entry.parity is not None
        return model_pb2.Parity(state=model_pb2.PARITY_STATE_PENDING if asked else model_pb2.PARITY_STATE_UNSPECIFIED)
    worst = found.worst
    if worst is None:
        return model_pb2.Parity(state=model_pb2.PARITY_STATE_UNKNOWN, reason=found.reason)
    return model_pb2.Parity(
        state=model_pb2.PARITY_STATE_HOLDS if found.holds else model_pb2.PARITY_STATE_DIFFERS,
        output=worst.output,
        difference=worst.difference,
        tolerance=worst.tolerance,
        borrowed_nodes=found.borrowed,
        inside=worst.inside,
    )


def _tensor(value: Value) -> tensor_pb2.TensorInfo:
    return tensor_pb2.TensorInfo(
        name=value.name, dtype=dtype_number(value.dtype), axes=write_axes(value.shape, value.axes)
    )


def _operators(graph: Graph) -> list[model_pb2.OperatorCount]:
    counts = Counter((node.domain, node.op_type) for node in graph.nodes)
    return [
        model_pb2.OperatorCount(domain=domain, type=op_type, count=count)
        for (domain, op_type), count in counts.most_common()
    ]


def _parameters(graph: Graph) -> int:
    """Floats alone: integers are shapes, axes and indices."""
    used = {name for node in graph.nodes for name in node.inputs}
    return sum(math.prod(c.shape) for name, c in graph.constants.items() if name in used and c.dtype in _FLOATS)


def _layer(described: DescribedLayer) -> model_pb2.Layer:
    layer = described.layer
    return model_pb2.Layer(
        name=layer.name,
        alias=layer.alias,
        more_aliases=described.more_aliases,
        node=layer.node,
        op_type=layer.op_type,
        dtype=dtype_number(described.dtype),
        axes=write_axes(layer.shape, layer.axes),
        channels=layer.channels or 0,
        receptive_field=[_field(field) for field in described.fields],
        is_output=layer.is_output,
        switches=described.switches,
    )


def _field(field: Field) -> model_pb2.AxisField:
    if field.whole:
        return model_pb2.AxisField(whole=True)
    return model_pb2.AxisField(size=field.size, stride=field.stride, offset=field.offset)
