"""The service beside the same work in process: what gRPC, turns and messages cost; how soon a first result comes."""

from __future__ import annotations

import time

import numpy as np
from tests import zoo

from benchmarks.report import Line, Report, drain, paired
from unpool.client import Client
from unpool.engine import Engine, Feeds
from unpool.graph import load
from unpool.methods import ProjectionRequest, project

UNITS = 64


def run(report: Report, *, quick: bool = False) -> None:
    """A Project call of 64 units, the signals sent; both sides have the picture's capture already."""
    path = zoo.vgg16_trunk(224)
    image = zoo.vgg16_tensor("cat", 224)
    engine = Engine(load(path))
    source = engine.model.graph.inputs[0]
    feeds = Feeds({source: image}, source)
    with Client.embedded(path) as client:
        model = client.models()[0].name
        for layer in ("conv3_3", "conv4_3"):
            request = ProjectionRequest(layer, top=UNITS)
            served, alone, ratio = paired(
                lambda layer=layer: drain(client.project(model, tensor=image, layer=layer, top=UNITS)),
                lambda request=request: drain(project(engine, feeds, request)),
                runs=5 if quick else 9,
            )
            report.add(
                Line(
                    f"Project {UNITS} units of {layer} over gRPC",
                    f"in process: {alone:.3f} s",
                    f"{served:.3f} s",
                    ratio,
                    1.05,
                    lower=True,
                )
            )
            _first(report, client, model, image, layer)


def _first(report: Report, client: Client, model: str, image: np.ndarray, layer: str) -> None:
    def first_of(units: int) -> float:
        began = time.perf_counter()
        stream = client.project(model, tensor=image, layer=layer, top=units)
        next(iter(stream))
        took = time.perf_counter() - began
        stream.close()
        return took

    first_of(1)
    pairs = [(first_of(UNITS), first_of(1)) for _ in range(9)]
    many, one = (float(np.median(t)) for t in zip(*pairs, strict=True))
    report.add(
        Line(
            f"first of {UNITS} units of {layer} streamed",
            f"one unit alone: {one:.3f} s",
            f"{many:.3f} s",
            float(np.median([a / b for a, b in pairs])),
            1.5,
            lower=True,
        )
    )
