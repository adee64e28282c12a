"""Occlusion of real models, of classes and of maps, equals ONNX Runtime on every occluded input; sizes odd and even."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tests import zoo
from tests.methods.small import occluded
from tests.oracles.occlusion import BruteForce

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.graph import load
from unpool.methods import Fill, FillKind, Mode, OcclusionRequest, OcclusionTile, Target

_TOLERANCE = 1e-5
_MOST_POSITIONS = 16
# The plane that each is run on, odd where the graph takes other sizes than its own; classifiers, a detector whose
# output is a map, the trunk of a segmentation network, and sound.
_CASES: dict[str, tuple[int, ...]] = {
    "squeezenet": (99, 131),
    "efficientnet_lite0": (97, 75),
    "densenet121": (65, 83),
    "ppocr_cls": (47, 129),
    "alexnet": (224, 224),
    "hed_vgg16": (61, 83),
    "ppocr_det": (96, 128),
    "crepe_tiny": (1024,),
}
_SLOWEST = "densenet121"


@dataclass(frozen=True, eq=False)
class Case:
    """A real model at one size, the input, and ONNX Runtime beside it."""

    source: bytes
    engine: Engine
    x: npt.NDArray[np.float32]
    brute: BruteForce


@functools.cache
def case(name: str) -> Case:
    """The model with its input's plane set to that of ``_CASES``, a real picture or sound scaled to it."""
    plane = _CASES[name]
    model = onnx.load(zoo.path(name))
    constants = {i.name for i in model.graph.initializer}
    value = next(i for i in model.graph.input if i.name not in constants)
    extents = value.type.tensor_type.shape.dim
    if [d.dim_value for d in extents][-len(plane) :] != list(plane):
        for extent, size in zip(extents[-len(plane) :], plane, strict=False):
            extent.Clear()
            extent.dim_value = size
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
    source = model.SerializeToString()
    engine = Engine(load(source), EngineSettings(device="cpu", threads=1))
    # A page of text, where there is something for a text detector to find.
    x = zoo.tensor(name, "page" if name.startswith("ppocr") else "cat")[:1]
    for axis, size in zip(range(-len(plane), 0), plane, strict=True):
        x = np.take(x, np.arange(size) * x.shape[axis] // size, axis)
    layers = _layers(engine)
    brute = BruteForce(source, list(dict.fromkeys([*engine.model.graph.outputs, *layers])))
    return Case(source, engine, np.ascontiguousarray(x), brute)


def _layers(engine: Engine) -> list[str]:
    """Two layers with channels, a third and two thirds down."""
    known = [n.name for n in engine.model.layers if engine.model.graph.values[n.name].channel_axis is not None]
    return [known[len(known) // 3], known[2 * len(known) // 3]]


@st.composite
def grids(draw: st.DrawFn, plane: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, tuple[object, ...]]]:
    """A window of any extents, and a stride, which need not divide anything, or places of which many are corners."""
    window = tuple(draw(st.sampled_from([1, n, draw(st.integers(1, n))])) for n in plane)
    room = [n - w for n, w in zip(plane, window, strict=True)]
    if draw(st.booleans()):
        # At most 4 (of one axis: 16) windows along an axis.
        most = round(_MOST_POSITIONS ** (1 / len(plane)))
        return window, {
            "stride": tuple(
                draw(st.integers(r // most + 1, max(n, r // most + 1))) for r, n in zip(room, plane, strict=True)
            )
        }
    places = st.tuples(*(st.one_of(st.sampled_from([0, r]), st.integers(0, r)) for r in room))
    return window, {"positions": tuple(draw(st.lists(places, min_size=1, max_size=6)))}


@st.composite
def boxes(draw: st.DrawFn, extents: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A single element, or a region."""
    lower = tuple(draw(st.integers(0, n - 1)) for n in extents)
    if draw(st.booleans()):
        return lower, tuple(a + 1 for a in lower)
    return lower, tuple(draw(st.integers(a + 1, n)) for a, n in zip(lower, extents, strict=True))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == _SLOWEST)) for n in _CASES])
def test_a_real_model_equals_onnx_runtime_at_any_window_stride_and_target(name: str) -> None:
    made = case(name)
    graph = made.engine.model.graph
    of = graph.inputs[0]
    feeds = Feeds({of: made.x}, of)
    axes = tuple(graph.values[of].spatial_axes.values())
    whole = made.brute.run(feeds.arrays)
    layers = _layers(made.engine)
    boxed = []

    @settings(
        deadline=None,
        max_examples=6,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        phases=[Phase.generate],
    )  # shrinking would run for minutes
    @given(data=st.data())
    def equal(data: st.DataObject) -> None:
        window, places = data.draw(grids(tuple(made.x.shape[a] for a in axes)))
        targets = []
        for output in graph.outputs:
            extents = tuple(n for i, n in enumerate(whole[output].shape) if i != graph.values[output].batch_axis)
            targets += [Target(*data.draw(boxes(extents)), output) for _ in range(2)]
        layer = data.draw(st.sampled_from(layers))
        noise = np.random.default_rng(data.draw(st.integers(0, 9))).normal(0, made.x.std(), made.x.shape)
        request = OcclusionRequest(
            window,
            targets=tuple(targets),
            layer=layer,
            fill=Fill(FillKind.TENSOR, tensor=noise.astype(np.float32)),
            mode=data.draw(st.sampled_from([Mode.BOXES, Mode.AUTO])),
            **places,  # type: ignore[arg-type]
        )
        header, scores, tiles = occluded(made.engine, feeds, request)
        boxed.append(header.boxed)
        event(f"{header.boxed:.1f} on boxes")
        wanted = made.brute.occluded(feeds.arrays, of, axes, header.origins.tolist(), window, noise.astype(np.float32))
        for found, target in zip(scores, targets, strict=True):
            assert target.output is not None
            values = np.moveaxis(wanted[target.output], graph.values[target.output].batch_axis + 1, 1)[:, 0]
            region = (slice(None), *(slice(a, b) for a, b in zip(target.lower, target.upper, strict=True)))
            parts = values[region].reshape(len(values), -1)
            # A single score is taken by the largest of its output, a sum by the size of what is summed.
            size = max(np.abs(parts).sum(1).max(), np.abs(values).max())
            np.testing.assert_allclose(found.ravel(), parts.sum(1), rtol=_TOLERANCE, atol=_TOLERANCE * size)
        _labels_equal(header.label_output, tiles, wanted)
        assert header.map is not None
        maps = np.take(wanted[layer], header.map.channel, graph.values[layer].channel_axis + 1)
        maps = maps.reshape(len(maps), -1)
        sums = np.zeros(len(maps))
        for tile in tiles:
            sums[tile.numbers] = tile.sums
        np.testing.assert_allclose(sums, maps.sum(1), rtol=_TOLERANCE, atol=_TOLERANCE * np.abs(maps).sum(1).max())

    equal()
    assert max(boxed) > 0, "boxes were run"


def _labels_equal(output: str, tiles: list[OcclusionTile], wanted: dict[str, npt.NDArray[np.float64]]) -> None:
    """The strongest classes are those of ONNX Runtime, unless the two strongest lie within the tolerance."""
    for tile in tiles:
        assert bool(len(tile.labels)) == bool(output)
        for number, label in zip(tile.numbers, tile.labels, strict=False):
            row = wanted[output][number].ravel()
            assert row[label] >= row.max() - _TOLERANCE * np.abs(row).max()


@pytest.mark.slow
def test_on_a_deep_residual_network_boxes_are_as_near_to_float64_as_onnx_runtime_is() -> None:
    engine = Engine(load(zoo.path("resnet50")), EngineSettings(device="cpu"))
    of, output = engine.model.graph.inputs[0], engine.model.graph.outputs[0]
    x, positions = zoo.tensor("resnet50"), ((0, 0), (100, 100), (208, 208))
    targets = tuple(Target.element(i, output=output) for i in range(1000))
    request = OcclusionRequest((16,), positions=positions, targets=targets, mode=Mode.BOXES)
    header, found, _ = occluded(engine, Feeds({of: x}, of), request)
    assert header.boxed > 0.5
    engine.close()
    brute = BruteForce(zoo.path("resnet50"), [output], fuse=True)
    plain = brute.occluded({of: x}, of, (2, 3), positions, (16, 16), np.zeros_like(x))[output][:, 0].T
    module, exact = zoo.twin("resnet50").module.double().eval(), []
    for top, left in positions:
        hidden = x.astype(np.float64)
        hidden[:, :, top : top + 16, left : left + 16] = 0
        with torch.no_grad():
            exact.append(module(torch.from_numpy(hidden)).numpy().reshape(-1))
    wanted = np.stack(exact, 1)
    boxes, whole = (np.abs(values - wanted).max() / wanted.max() for values in (found, plain))
    assert boxes < 2 * whole < 1e-4
