"""The forward in torch beside eager PyTorch of a twin with the same weights."""

from __future__ import annotations

import onnx
import torch
from tests import zoo
from tests.oracles.converted import convert

from benchmarks.report import Line, Report, paired
from unpool.converters.recipes import efficientnet_lite0, hed_vgg16
from unpool.engine import Engine
from unpool.engine.executor import forward
from unpool.graph import load


def run(report: Report, *, quick: bool = False) -> None:
    """Every model of the zoo, from its input to its first output."""
    for name in (*zoo.names(), *zoo.extra_names()):
        _model(report, name, runs=5 if quick else 11)


def _twin(name: str, sink: str) -> torch.nn.Module:
    """The network in PyTorch, float32: from its own recipe where there is one, else translated by onnx2pytorch."""
    if name in zoo.extra_names():
        return convert(onnx.load(zoo.path(name)), [sink]).float()
    own = {"efficientnet_lite0": efficientnet_lite0.module, "hed_vgg16": hed_vgg16.trunk}
    return own[name]().eval() if name in own else zoo.twin(name).module


def _model(report: Report, name: str, *, runs: int) -> None:
    engine = Engine(load(zoo.path(name)))
    source, sink = engine.model.graph.inputs[0], engine.model.graph.outputs[0]
    executor = engine.executor([], [sink])
    x = torch.from_numpy(zoo.tensor(name))
    twin = _twin(name, sink)

    def eager() -> torch.Tensor:
        with torch.no_grad():
            found = twin(x)
        output: torch.Tensor = found[0] if isinstance(found, tuple | list) else found
        return output

    # A twin that computes something else, or in another precision, would be no peer.
    torch.testing.assert_close(forward(executor, {source: x})[sink], eager(), rtol=1e-3, atol=1e-3)
    mine, theirs, ratio = paired(lambda: forward(executor, {source: x}), eager, runs=runs)
    engine.close()
    report.add(
        Line(
            f"{name}: forward in torch",
            f"eager PyTorch of its twin: {theirs:.3f} s",
            f"{mine:.3f} s",
            ratio,
            1.3,
            lower=True,
            note=f"{tuple(x.shape)}, {torch.get_num_threads()} threads",
        )
    )
