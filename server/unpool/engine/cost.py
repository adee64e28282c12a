"""What a walk costs, counted before it is walked: multiply-adds of the products with weights, inside the boxes."""

from __future__ import annotations

import math

import numpy as np

from unpool.engine.boxes import Boxes
from unpool.engine.geometry import Geometry
from unpool.engine.plan import Route

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def multiply_adds(route: Route, geometry: Geometry, seed: str, boxes: Boxes, to: str, *, clipped: bool) -> float:
    """Multiply-adds of carrying units from boxes of ``seed`` down to ``to``.

    Args:
        route: the way.
        geometry: shapes and windows.
        seed: where the units are.
        boxes: their boxes.
        to: where they go.
        clipped: count only what lies inside the planes (the least that has to be done), not the boxes as they are.

    Returns:
        The sum over all units. Operators that multiply with no weight count nothing.
    """
    found = geometry.trace(seed, boxes, to)
    total = 0.0
    for step in route.steps:
        node = step.node
        output = next((o for o in node.outputs if o in found), None)
        if output is None or node.op_type not in _PRODUCTS or len(node.inputs) < 2:
            continue
        weight = geometry.graph.constants.get(node.inputs[1])
        if weight is None:
            continue
        area: np.ndarray[tuple[int], np.dtype[np.float64]] = np.ones(boxes.count)
        plane = geometry.plane(output)
        for s, extent in plane.items():
            along = found[output].intervals(s)
            size = along.upper - along.lower
            inside = along.clip(extent)
            area *= inside.upper - inside.lower if clipped else np.minimum(size, extent)
        total += float(area.sum()) * math.prod(weight.shape)
    return total
