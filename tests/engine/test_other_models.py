"""Real models that are no picture classifiers of fixed size: audio, and text detection on pictures of any size.

The independent route is a third party's translation to PyTorch with autograd, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from PIL import Image, ImageDraw
from tests import zoo
from tests.engine.support import FORWARD, Subject, arrived, close, foreign_capture, one_hot, seed, units_at, whole
from tests.oracles.converted import convert, gradients, replace_rectifiers

from unpool.engine import Policy, Route
from unpool.graph import Layer

_DEPTHS = {"shallow": 1 / 6, "middle": 1 / 2, "deep": 5 / 6, "output": 1.0}
_AUTOGRAD = 1e-4
"""Relative; the oracle is float64 and the walk float32."""


def _input(name: str) -> npt.NDArray[np.float32]:
    """An input of the kind that the model was made for: on silence or without text its scores are rounding noise."""
    if name.startswith("ppocr"):
        # The detector takes any size: an oblong shows that height and width do not change places.
        page = Image.new("RGB", (192, 48) if name == "ppocr_cls" else (160, 96), "white")
        for top in range(8, page.height, 40):
            ImageDraw.Draw(page).text((6, top), "Deconvnet", fill="black", font_size=24)
        pixels = np.asarray(page, np.float32) / 255
        return np.ascontiguousarray(((pixels - 0.5) / 0.5).transpose(2, 0, 1)[np.newaxis])
    noise = np.random.default_rng(0).standard_normal(zoo.tensor(name).shape).astype(np.float32)
    return zoo.tensor(name) + 0.3 * noise


@pytest.fixture(scope="module", params=zoo.extra_names())
def other(request: pytest.FixtureRequest) -> Iterator[Subject]:
    found = Subject(request.param, zoo.path(request.param), _input(request.param))
    yield found
    found.close()


def _layer(subject: Subject, fraction: float) -> Layer:
    """A layer at a part of the way up that stands in the file and has a batch axis."""
    layers = [
        layer
        for layer in subject.engine.model.layers
        if layer.name in subject.recording.values and subject.engine.model.graph.values[layer.name].batch_axis == 0
    ]
    return layers[min(int(len(layers) * fraction), len(layers) - 1)]


def test_torch_forward_equals_onnx_runtime(other: Subject, record_property: pytest.RecordProperty) -> None:
    graph = other.engine.model.graph
    with torch.no_grad():
        found = other.engine.executor([], graph.outputs)({other.feeds.of: torch.from_numpy(other.tensor)})
    for name in graph.outputs:
        assert np.abs(other.recording.values[name]).max() > 1e-3, "an output of rounding noise shows nothing"
        worst = close(found[name].numpy(), other.recording.values[name], FORWARD)
        record_property(f"{other.name} {name}", f"{worst:.1e}")


def _translated(subject: Subject, route: Route) -> Callable[[str], torch.Tensor]:
    """The translation's own values of all that a route captures: its masks and switches decide, not near-ties."""
    pools = {n.name: n for n in subject.engine.model.graph.nodes}
    names = sorted(route.values | route.masks | {pools[p].inputs[0] for p in route.switches})
    inputs = {subject.feeds.of: torch.from_numpy(subject.tensor)}
    computed = [n for n in names if n not in inputs]
    module = convert(onnx.load(subject.source), computed)
    with torch.no_grad():
        found = module(*(x.double() for x in inputs.values()))
    values = found if isinstance(found, tuple | list) else [found]
    known = inputs | dict(zip(computed, values, strict=True))
    for name, value in known.items():
        close(value.numpy(), subject.recording.values[name], FORWARD)
    return known.__getitem__


@pytest.mark.slow
@pytest.mark.parametrize("depth", _DEPTHS)
def test_projection_equals_autograd_of_another_translation(
    other: Subject, depth: str, record_property: pytest.RecordProperty
) -> None:
    engine, feeds = other.engine, other.feeds
    layer = _layer(other, _DEPTHS[depth])
    while layer.op_type in ("Identity", "Softmax", "Sigmoid"):
        # What squashes is saturated and has no derivative in float32: ask the scores that go in.
        layer = engine.model.layers.find(engine.model.graph.producers[layer.name].inputs[0])
    for policy in Policy:
        route = engine.route([layer.name], [feeds.of], policy)
        capture = other.capture(route)
        values = capture.values[layer.name].numpy()
        units = units_at(values)
        starts = [float(values[(0, *u)]) for u in units] if policy is Policy.DECONVNET else [1.0] * len(units)
        capture = foreign_capture(engine, feeds, route, _translated(other, route))
        seeds = {layer.name: seed(engine, feeds, layer.name, units, starts)}
        ours = arrived(engine, route, capture, seeds)
        assert np.isfinite(ours).all()
        module = convert(onnx.load(zoo.path(other.name)), [layer.name])
        if policy is not Policy.GRADIENT:
            replace_rectifiers(module, policy.value)
        theirs = np.concatenate(
            [
                gradients(module, feeds.arrays, feeds.of, (0, *u), start)[0]
                for u, start in zip(units, starts, strict=True)
            ]
        )
        record_property(f"{other.name} {depth} {policy.value}", f"{close(ours, theirs, _AUTOGRAD):.1e}")


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_local_equals_whole(other: Subject, policy: Policy) -> None:
    engine, feeds = other.engine, other.feeds
    for fraction in (0.1, 0.4, 0.7):
        layer = _layer(other, fraction).name
        route = engine.route([layer], [feeds.of], policy)
        capture = other.capture(route)
        shape = engine.geometry(feeds).shapes[layer]
        rng = np.random.default_rng(1)
        units = [tuple(0 for _ in shape[1:]), tuple(n - 1 for n in shape[1:])]
        units += [tuple(int(rng.integers(n)) for n in shape[1:]) for _ in range(2)]
        starts = [1.0] * len(units)
        local = arrived(engine, route, capture, {layer: seed(engine, feeds, layer, units, starts)})
        signal = one_hot(shape, units, starts)
        close(local, arrived(engine, route, capture, {layer: whole(engine, feeds, layer, signal)}))
