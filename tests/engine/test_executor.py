"""The differentiable executor: its forward is ONNX Runtime's, its gradient the gradient policy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.networks import Net
from tests.engine.support import Subject, arrived, close, foreign_capture, seed, units_at
from tests.methods.small import engine_of

from unpool.engine import Policy
from unpool.engine.executor import forward
from unpool.graph.errors import PreconditionError


def _inputs(subject: Subject) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in subject.feeds.arrays.items()}


def test_executor_computes_what_onnx_runtime_does(subject: Subject) -> None:
    engine = subject.engine
    tapped = [subject.layer(f).name for f in (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)]
    names = list(dict.fromkeys([*tapped, *engine.model.graph.outputs]))
    found = forward(engine.executor([], names), _inputs(subject))
    for name in names:
        close(found[name].numpy()[None], subject.recording.values[name][None], relative=1e-4)


@pytest.mark.parametrize("fraction", [0.45, 1.0])
def test_autograd_through_the_executor_equals_the_gradient_policy(subject: Subject, fraction: float) -> None:
    engine, feeds = subject.engine, subject.feeds
    layer = subject.layer(fraction).name
    route = engine.route([layer], [feeds.of], Policy.GRADIENT)
    pools = {n.name: n.inputs[0] for n in engine.model.graph.nodes if n.name in route.switches}
    needed = route.values | route.masks | set(pools.values()) | {layer}
    inside = forward(engine.executor([], needed - set(feeds.arrays)), _inputs(subject)) | _inputs(subject)
    units = units_at(inside[layer].numpy())[:2]
    capture = foreign_capture(engine, feeds, route, inside.__getitem__)
    ours = arrived(engine, route, capture, {layer: seed(engine, feeds, layer, units, [1.0] * len(units))})
    x = _inputs(subject)[feeds.of].requires_grad_()
    value = engine.executor([], [layer])({feeds.of: x})[layer]
    theirs = [torch.autograd.grad(value[(0, *unit)], x, retain_graph=True)[0] for unit in units]
    close(ours, torch.cat(theirs).numpy())


def test_a_segment_between_two_layers_is_the_same_function(subject: Subject) -> None:
    engine = subject.engine
    low, high = subject.layer(0.3), subject.layer(0.7)
    ancestors = engine.model.graph.ancestors([high.name])
    values = subject.recording.values
    # What the segment reads beside its source enters from the forward run.
    segment = engine.executor([low.name], [high.name])
    known = {low.name: torch.from_numpy(np.array(values[low.name]))} | _inputs(subject)
    if low.name not in ancestors:
        pytest.skip("the lower layer is on another branch")
    close(forward(segment, known)[high.name].numpy(), np.asarray(values[high.name], np.float64), relative=1e-4)


def test_a_node_that_torch_stumbles_over_is_named_without_torchs_words() -> None:
    net = Net(np.random.default_rng(0), (3, 4, 5))
    net.add("Add", ["x", net.normal(1, 3, 4, 5)])
    engine = engine_of(net.model((1, 3, 4, 5)))
    with pytest.raises(
        PreconditionError, match=r"^Add node 'n0' fails in torch on inputs of shapes \(1, 3, 4, 7\), "
    ) as caught:
        engine.executor([], engine.model.graph.outputs)({"x": torch.zeros(1, 3, 4, 7)})
    assert caught.value.node == "n0"
    assert "must match" not in str(caught.value)


def test_a_transposed_signal_crosses_batch_normalisation_in_its_own_order() -> None:
    """Tokens behind a batch norm: autograd brings it the signal of the single image as a transposed view."""
    net = Net(np.random.default_rng(1), (3, 4, 6))
    net.add("Conv", ["x", net.normal(5, 3, 1, 1)], (5, 4, 6))
    statistics = [net.weight(net.rng.uniform(0.5, 2, 5).astype(np.float32)) for _ in range(4)]
    net.add("BatchNormalization", [net.current, *statistics])
    net.add("Relu", [net.current])
    net.add("BatchNormalization", [net.current, *statistics])
    net.add("Reshape", [net.current, net.weight(np.array([0, 5, 24]))], (5, 24, 1))
    net.add("Transpose", [net.current], (24, 5, 1), perm=[0, 2, 1])
    net.add("MatMul", [net.current, net.normal(5, 7)], (24, 7, 1))
    subject = Subject("tokens", net.model((1, 3, 4, 6)), net.rng.standard_normal((1, 3, 4, 6)).astype(np.float32))
    engine, feeds = subject.engine, subject.feeds
    route = engine.route([net.current], [feeds.of], Policy.GRADIENT)
    unit = (9, 4)
    ours = arrived(
        engine, route, subject.capture(route), {net.current: seed(engine, feeds, net.current, [unit], [1.0])}
    )
    x = torch.from_numpy(subject.tensor).requires_grad_()
    (theirs,) = torch.autograd.grad(engine.executor([], [net.current])({feeds.of: x})[net.current][(0, *unit)], x)
    close(theirs.numpy(), ours)
    subject.close()
