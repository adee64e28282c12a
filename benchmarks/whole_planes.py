"""Boxes beside whole planes, batched, on every model of the zoo: never slower."""

from __future__ import annotations

import numpy as np
from tests import zoo

from benchmarks.report import Line, Report, paired
from unpool.engine import Boxes, Engine, Feeds, Policy, Signal
from unpool.graph import load

UNITS = 8


def run(report: Report, *, quick: bool = False) -> None:
    """The same units walked on their boxes and, all in one batch, on whole planes."""
    for name in zoo.names():
        engine = Engine(load(zoo.path(name)))
        source = engine.model.graph.inputs[0]
        feeds = Feeds({source: zoo.tensor(name)}, source)
        planes = [x for x in engine.model.layers if len(engine.geometry(feeds).plane(x.name)) == 2 and x.channels]
        planes = [x for x in planes if min(engine.geometry(feeds).plane(x.name).values()) > 1]
        for place in (1, 2) if quick else (1, 2, 3):
            _layer(report, engine, feeds, name, planes[(len(planes) - 1) * place // 3].name)
        engine.close()


def _layer(report: Report, engine: Engine, feeds: Feeds, model: str, layer: str) -> None:
    route = engine.route([layer], [feeds.of], Policy.DECONVNET)
    capture = engine.captured_for(feeds, route, also=[layer])
    values, value = capture.values[layer], engine.model.graph.values[layer]
    plane = capture.geometry.plane(layer)
    places = np.random.default_rng(0).integers(0, list(plane.values()), (UNITS, len(plane)))
    images = np.zeros(UNITS, np.int64)
    assert value.channel_axis is not None
    whole_shape, box_shape = list(values.shape), list(values.shape)
    for shape in (whole_shape, box_shape):
        shape[value.batch_axis or 0] = UNITS
    for position in value.spatial_axes.values():
        box_shape[position] = 1
    whole, box = values.new_zeros(whole_shape), values.new_zeros(box_shape)
    for unit, place in enumerate(places):
        for tensor, at in ((whole, place), (box, np.zeros(len(plane), np.int64))):
            index: list[int] = [0] * values.ndim
            index[value.batch_axis or 0], index[value.channel_axis] = unit, unit % values.shape[value.channel_axis]
            for axis, where in zip(value.spatial_axes.values(), at, strict=True):
                index[axis] = int(where)
            tensor[tuple(index)] = 1.0
    origins = {s: places[:, i].astype(np.int64) for i, s in enumerate(plane)}
    local = Signal(box, Boxes(origins, dict.fromkeys(plane, 1), UNITS))
    batched = Signal(whole, Boxes.whole(plane, UNITS))

    def walk(signal: Signal) -> None:
        for _ in engine.walk(route, capture, {layer: signal}, images):
            pass

    slow, fast, ratio = paired(lambda: walk(batched), lambda: walk(local), runs=3)
    report.add(
        Line(
            f"{model}, {UNITS} units of {layer}",
            f"whole planes, batched: {slow:.3f} s",
            f"{fast:.3f} s",
            ratio,
            1.0,
            note=f"plane {tuple(plane.values())}",
        )
    )
