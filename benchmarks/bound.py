"""What arithmetic allows: multiply-adds inside the receptive fields, and the rate at which this machine convolves."""

from __future__ import annotations

import time

import numpy as np
import torch

from unpool.engine import Boxes, Engine, Feeds, Route


def operations(engine: Engine, feeds: Feeds, route: Route, layer: str, to: str, positions: np.ndarray) -> float:
    """Multiply-adds of carrying units from a layer to the pixels, inside their boxes clipped to the planes.

    Args:
        engine: the model.
        feeds: an image.
        route: the way.
        layer: where the units are.
        to: where they go.
        positions: int64 (units, axes).
    """
    geometry = engine.geometry(feeds)
    plane = geometry.plane(layer)
    total = 0.0
    for position in positions:
        seed = Boxes({s: position[i : i + 1] for i, s in enumerate(plane)}, dict.fromkeys(plane, 1), 1)
        boxes = geometry.trace(layer, seed, to)
        for step in route.steps:
            node = step.node
            if node.op_type not in ("Conv", "Gemm", "MatMul") or node.outputs[0] not in boxes:
                continue
            weight = engine.model.graph.constants.get(node.inputs[1])
            if weight is None:
                continue
            box, extents = boxes[node.outputs[0]], geometry.plane(node.outputs[0])
            area = 1
            for s, extent in extents.items():
                clipped = box.intervals(s).clip(extent)
                area *= int((clipped.upper - clipped.lower)[0])
            total += area * float(np.prod(weight.shape))
    return total


def convolution_rate(repeats: int = 12) -> float:
    """Multiply-adds per second of a dense transposed 3x3 convolution, channels last: the best of some runs."""
    signal = torch.randn(8, 256, 28, 28).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            torch.nn.functional.conv_transpose2d(signal, weight, padding=1)
            best = min(best, time.perf_counter() - began)
    return 8 * 28 * 28 * 256 * 256 * 9 / best
