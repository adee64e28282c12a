"""Both of torch's exporters, every style of network: admitted, equal to ONNX Runtime, projected under each policy."""

from __future__ import annotations

import functools
import io
import logging
import warnings

import numpy as np
import pytest
import torch
from tests.engine.support import FORWARD, arrived, close, seed, units_at
from tests.exporters.networks import NETWORKS, module
from tests.exporters.support import Exported

from unpool.engine import Policy


@functools.cache
def _torchscript(name: str) -> bytes:
    network = NETWORKS[name]
    axes = {"input": {0: "N"} | {a: f"d{a}" for a in network.free}, "output": {0: "N"}}
    with warnings.catch_warnings(), io.BytesIO() as file:
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module(name), (network.example(),), file, dynamo=False, dynamic_axes=axes, opset_version=17,
            input_names=["input"], output_names=["output"],
        )  # fmt: skip
        return file.getvalue()


@functools.cache
def _dynamo(name: str) -> bytes:
    network = NETWORKS[name]
    shapes = (dict.fromkeys(network.free, torch.export.Dim.AUTO),) if network.free else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module(name), (network.example(),), dynamo=True, dynamic_shapes=shapes, verbose=False,
            input_names=["input"], output_names=["output"],
        )  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


EXPORTERS = {"torchscript": _torchscript, "dynamo": _dynamo}


@pytest.fixture(scope="module", params=[pytest.param((e, n), id=f"{e}-{n}") for n in NETWORKS for e in EXPORTERS])
def exported(request: pytest.FixtureRequest) -> Exported:
    exporter, name = request.param
    return Exported(name, EXPORTERS[exporter](name), {"input": NETWORKS[name].example().numpy()})


def test_forward_equals_onnx_runtime(exported: Exported) -> None:
    exported.check_forward()


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_every_layer_is_projected(exported: Exported, policy: Policy) -> None:
    exported.check_projections(policy)


def test_gradient_equals_autograd_of_the_source(exported: Exported) -> None:
    """The module that was exported, in float64, is the oracle."""
    name = exported.name
    twin, x = module(name).double(), NETWORKS[name].example()
    leaf = x.double().requires_grad_()
    if NETWORKS[name].to:
        embedding = next(m for m in twin.modules() if isinstance(m, torch.nn.Embedding))
        kept: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[0]

        embedding.register_forward_hook(keep)
        output, leaf = twin(x), kept[0]
    else:
        output = twin(leaf)
    engine, feeds = exported.engine, exported.feeds
    to, top = exported.sink, engine.model.graph.outputs[0]
    route = engine.route([top], [to], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, [top])
    units = units_at(capture.values[top].numpy())
    ours = arrived(engine, route, capture, {top: seed(engine, feeds, top, units, [1.0] * len(units))})
    theirs = [torch.autograd.grad(output[(0, *unit)], leaf, retain_graph=True)[0].numpy() for unit in units]
    close(ours, np.concatenate(theirs), FORWARD)
