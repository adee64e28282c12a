"""Projections of VGG-16 at 224 beside Captum looped over the units, and beside the computed bound."""

from __future__ import annotations

import time

import numpy as np
import torch
from captum.attr import NeuronDeconvolution
from tests import zoo

from benchmarks.bound import convolution_rate, operations
from benchmarks.report import Line, Report, drain, seconds
from unpool.engine import Engine, Feeds, Policy
from unpool.graph import load
from unpool.methods import Projection, ProjectionRequest, project

UNITS = 64
_ASKED = {"conv3_3": 100.0, "conv4_3": 20.0, "conv5_3": 5.0}


def run(report: Report, *, quick: bool = False) -> None:
    """64 units of one layer on one image, capture included."""
    engine = Engine(load(zoo.vgg16_trunk(224)))
    image = zoo.vgg16_tensor("cat", 224)
    source = engine.model.graph.inputs[0]
    feeds = Feeds({source: image}, source)
    for layer, asked in _ASKED.items():
        _layer(report, engine, feeds, layer, asked, looped=4 if quick else 16)


def _layer(report: Report, engine: Engine, feeds: Feeds, layer: str, asked: float, *, looped: int) -> None:
    request = ProjectionRequest(layer, top=UNITS)
    name = engine.model.layers.find(layer).name

    def walk() -> None:
        drain(project(engine, feeds, request))

    def fresh() -> None:
        engine.forget()
        walk()

    drain(project(engine, feeds, request))
    units = [p for p in project(engine, feeds, request) if isinstance(p, Projection)]
    first, peer = seconds(fresh, runs=5), _captum(layer, torch.from_numpy(feeds.arrays[feeds.of]), units, looped)
    again = seconds(walk, runs=5)
    bound = _bound(engine, feeds, name, np.array([u.position for u in units]))
    note = f"second question {again:.3f} s ({peer / again:.1f}x); bound {bound:.3f} s, share of it {bound / first:.2f}"
    report.add(
        Line(
            f"VGG-16 224, deconvnet of {UNITS} units of {layer}, capture included",
            f"Captum NeuronDeconvolution, {looped} units times {UNITS / looped:g}: {peer:.2f} s",
            f"{first:.3f} s",
            peer / first,
            asked,
            note=note,
        )
    )
    report.add(
        Line(f"the same, share of the bound, {layer}", f"bound {bound:.3f} s", f"{first:.3f} s", bound / first, 0.7)
    )


def _captum(layer: str, image: torch.Tensor, units: list[Projection], looped: int) -> float:
    twin = zoo.vgg16_twin().eval()
    module = dict(twin.named_modules())[layer.replace("conv", "relu")]
    method = NeuronDeconvolution(twin, module)
    chosen = units[:: max(1, len(units) // looped)][:looped]
    method.attribute(image, (chosen[0].channel, *chosen[0].position))
    began = time.perf_counter()
    for unit in chosen:
        method.attribute(image, (unit.channel, *unit.position))
    return (time.perf_counter() - began) * len(units) / len(chosen)


def _bound(engine: Engine, feeds: Feeds, layer: str, positions: np.ndarray) -> float:
    """Seconds that the capture's forward run and the convolutions in the boxes take at the rate measured now."""
    route = engine.route([layer], [feeds.of], Policy.DECONVNET)
    forward = seconds(lambda: engine.run(feeds, [layer]), runs=5)
    return forward + operations(engine, feeds, route, layer, feeds.of, positions) / convolution_rate()
