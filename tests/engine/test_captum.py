"""Projections against Captum on PyTorch twins whose rectifiers are plain ReLUs (Captum hooks nothing else)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop
from tests import zoo
from tests.engine.support import (
    Index,
    Subject,
    arrived,
    close,
    foreign_capture,
    near,
    seed,
    units_at,
)

from unpool.engine import Policy
from unpool.ops import run

_METHODS: dict[Policy, Callable[[torch.nn.Module, torch.nn.Module], object]] = {
    Policy.DECONVNET: NeuronDeconvolution,
    Policy.GUIDED: NeuronGuidedBackprop,
    Policy.GRADIENT: NeuronGradient,
}


@dataclass(eq=False)
class _Pair:
    """A model under test, and its twin with what the twin's forward run computes for each tensor of the file."""

    subject: Subject
    twin: zoo.Twin
    straight: zoo.Twin
    values: dict[str, torch.Tensor]


def _pair(name: str) -> _Pair:
    if name == "vgg16_trunk":
        module = zoo.vgg16_twin()
        subject = Subject(name, zoo.vgg16_trunk(), zoo.vgg16_tensor())
        names = {k: layer for k, layer in module.named_modules() if not list(layer.children())}
        layers = {_tensor_of(subject, k): layer for k, layer in names.items()}
        twin = straight = zoo.Twin(module, {k: v for k, v in layers.items() if k})
    else:
        subject = Subject(name, zoo.path(name), zoo.tensor(name))
        twin, straight = zoo.twin(name), zoo.twin(name, straight_lrn=True)
    values: dict[str, torch.Tensor] = {subject.feeds.of: torch.from_numpy(subject.tensor)}
    producers = subject.engine.model.graph.producers

    def keep(tensor: str, given: torch.Tensor, result: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        values[tensor] = _first(result)
        # Sums and concatenations are no modules: they are seen where they go in.
        if tensor in producers:
            values.setdefault(producers[tensor].inputs[0], given.detach())

    hooks = [
        layer.register_forward_hook(lambda _, given, result, tensor=tensor: keep(tensor, given[0], result))
        for tensor, layer in twin.layers.items()
    ]
    with torch.no_grad():
        twin.module(torch.from_numpy(subject.tensor))
    for hook in hooks:
        hook.remove()
    return _Pair(subject, twin, straight, values)


def _first(result: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    # The translation's pools give their indices too.
    return (result[0] if isinstance(result, tuple) else result).detach()


def _tensor_of(subject: Subject, module: str) -> str:
    """The tensor that a module of the exported trunk makes: an export names nodes after modules."""
    found = [n.outputs[0] for n in subject.engine.model.graph.nodes if f"/{module.replace('.', '/')}/" in f"{n.name}/"]
    return found[-1] if found else ""


@pytest.fixture(scope="module", params=["vgg16_trunk", "alexnet", "inception_v1", "squeezenet", "resnet50"])
def pair(request: pytest.FixtureRequest) -> Iterator[_Pair]:
    found = _pair(request.param)
    yield found
    found.subject.close()


def _rectified(pair: _Pair) -> list[str]:
    """Rectifiers with a plane, from the input up."""
    geometry = pair.subject.engine.geometry(pair.subject.feeds)
    return [
        n.outputs[0]
        for n in pair.subject.engine.model.graph.nodes
        if n.op_type == "Relu" and n.outputs[0] in pair.twin.layers and geometry.plane(n.outputs[0])
    ]


def _captum(method: object, pair: _Pair, unit: Index) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x = torch.from_numpy(pair.subject.tensor).requires_grad_()
    result: torch.Tensor = method.attribute(x, neuron_selector=unit)  # type: ignore[attr-defined]
    return result.detach().numpy()


@pytest.mark.filterwarnings("ignore:Setting (backward|forward) hooks")
@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize("depth", [0.3, 0.85])
def test_walk_equals_captum_given_the_same_captures(pair: _Pair, depth: float, policy: Policy) -> None:
    engine, feeds = pair.subject.engine, pair.subject.feeds
    rectified = _rectified(pair)
    layer = rectified[int(len(rectified) * depth)]
    route = engine.route([layer], [feeds.of], policy)
    capture = foreign_capture(engine, feeds, route, pair.values.__getitem__)
    units = units_at(pair.values[layer].numpy())[:2]
    ours = arrived(engine, route, capture, {layer: seed(engine, feeds, layer, units, [1.0] * len(units))})
    twin = pair.straight if policy is Policy.DECONVNET else pair.twin
    method = _METHODS[policy](twin.module, twin.layers[layer])
    theirs = np.concatenate([_captum(method, pair, unit) for unit in units])
    close(ours, theirs)
    assert np.abs(theirs[0]).max() > 0


def test_the_twins_masks_and_switches_equal_ours_except_at_near_ties(
    pair: _Pair, record_property: pytest.RecordProperty
) -> None:
    engine, feeds = pair.subject.engine, pair.subject.feeds
    top = _rectified(pair)[-1]
    route = engine.route([top], [feeds.of], Policy.GUIDED)
    ours = pair.subject.capture(route)
    theirs = foreign_capture(engine, feeds, route, pair.values.__getitem__)
    producers = engine.model.graph.producers
    counts = {"masks": 0, "switches": 0}
    for name in route.masks:
        differ = (ours.mask(name) != theirs.mask(name)).numpy()
        node, pool = producers[name], None
        if node.op_type == "MaxPool":  # the sign of what the pool took of a rectifier's values
            node, pool = producers[node.inputs[0]], node
        x = subject_value(pair, node.inputs[0])
        looked_at = run(pool, [torch.from_numpy(x)])[0].numpy() if pool else x
        near(np.abs(looked_at[differ]), x, name, lambda source=node.inputs[0]: _apart(pair, source))
        counts["masks"] += int(differ.sum())
    for node in (s.node for s in route.steps if s.node.name in route.switches):
        differ = (ours.switches[node.name] != theirs.switches[node.name]).numpy()
        gaps = _gaps(pair, node.name, node.inputs[0], differ)
        near(gaps, subject_value(pair, node.inputs[0]), node.name, lambda source=node.inputs[0]: _apart(pair, source))
        counts["switches"] += int(differ.sum())
    record_property(f"{pair.subject.name} near-ties", str(counts))
    assert sum(counts.values()) <= 64


def subject_value(pair: _Pair, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(pair.subject.recording.values[name], np.float32)


def _apart(pair: _Pair, name: str) -> float:
    """How far the twin's values of a tensor lie from the recorded ones."""
    return float(np.abs(pair.values[name].numpy() - subject_value(pair, name)).max())


def _gaps(
    pair: _Pair, pool: str, source: str, differ: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Where switches differ: how far apart the two largest of the window lie."""
    node = next(n for n in pair.subject.engine.model.graph.nodes if n.name == pool)
    x = subject_value(pair, source)
    kernel, strides = node.attributes["kernel_shape"], node.attributes["strides"]
    pads = node.attributes.get("pads", (0, 0, 0, 0))
    assert isinstance(kernel, tuple)
    assert isinstance(strides, tuple)
    assert isinstance(pads, tuple)
    found: list[float] = []
    for _, channel, *place in np.argwhere(differ):
        window = tuple(
            slice(max(0, int(p) * int(s) - int(b)), int(p) * int(s) - int(b) + int(k))
            for p, s, b, k in zip(place, strides, pads[:2], kernel, strict=True)
        )
        best = np.sort(x[(0, channel, *window)].ravel())[-2:]
        found.append(float(best[1] - best[0]))
    return np.array(found)
