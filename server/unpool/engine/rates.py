"""What a forward run costs, counted before it is run: operations and bytes at rates that were measured.

The rates are of two cores, torch's on boxes with channels last and ONNX Runtime's on whole planes; only their ratios
decide anything. Counted rather than timed, so that one question is always
run one way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from unpool.engine.geometry import Geometry
from unpool.graph.model import Node

_FEW = 4
_ORDERED = 10e9
"""Bytes of weights that a backend brings into its own order in a second, at every call."""


@dataclass(frozen=True)
class Rates:
    """How fast one of the two runs things.

    Attributes:
        dense: multiply-adds per second of convolutions over a window.
        narrow: of those from a few channels, such as colours.
        single: of 1x1 convolutions.
        grouped: of depthwise ones.
        product: of matrix products.
        bytes: per second through everything else.
        call: seconds that each node takes, whatever its size.
    """

    dense: float
    narrow: float
    single: float
    grouped: float
    product: float
    bytes: float
    call: float


BOXES = Rates(dense=150e9, narrow=60e9, single=130e9, grouped=22e9, product=60e9, bytes=10e9, call=60e-6)
PLANES = Rates(dense=210e9, narrow=45e9, single=180e9, grouped=40e9, product=60e9, bytes=12e9, call=5e-6)
_FUSED = frozenset({"Relu", "Clip", "BatchNormalization", "LeakyRelu", "Identity", "Dropout"})
"""What ONNX Runtime does on the way while it convolves."""


@dataclass(frozen=True)
class Work:
    """What one node does for one place of its output's plane, or for the whole where it has none.

    Attributes:
        multiply_adds: products with weights.
        nbytes: read and written.
        rate: which rate the products have.
        places: places of the output's plane.
    """

    multiply_adds: float
    nbytes: float
    rate: str
    places: int

    def seconds(self, rates: Rates, places: float) -> float:
        """Seconds for so many places, without the call itself."""
        return places * (self.multiply_adds / float(getattr(rates, self.rate)) + self.nbytes / rates.bytes)


def work(node: Node, geometry: Geometry) -> Work:
    """Counts one node for one image."""
    name = next(o for o in node.outputs if o)
    shape = geometry.shapes.get(name, ())
    places = math.prod(geometry.plane(name).values()) if name in geometry.shapes else 1
    elements = math.prod(shape)
    if not places:  # an empty tensor
        return Work(0.0, 0.0, "dense", 0)
    weight = geometry.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type in ("Conv", "ConvTranspose") and weight is not None:
        filters = weight.shape
        if node.op_type == "Conv":
            total = elements * math.prod(filters[1:])
        else:
            total = math.prod(geometry.shapes.get(node.inputs[0], ())) * math.prod(filters[1:])
        group = node.attributes.get("group", 1)
        rate = "dense"
        if group != 1:
            rate = "grouped"
        elif filters[1] <= _FEW:
            rate = "narrow"
        elif math.prod(filters[2:]) == 1:
            rate = "single"
        return Work(total / places, 0.0, rate, places)
    if node.op_type in ("Gemm", "MatMul") and weight is not None:
        inner = (
            weight.shape[-1] if node.attributes.get("transB", 0) else weight.shape[-2 if len(weight.shape) > 1 else 0]
        )
        return Work(elements * inner / places, 0.0, "product", places)
    read = sum(math.prod(geometry.shapes[i]) for i in node.inputs if i in geometry.shapes)
    return Work(0.0, 4.0 * (elements + read) / places, "dense", places)


def whole_seconds(node: Node, geometry: Geometry) -> float:
    """What ONNX Runtime takes for a node on the whole plane of one image."""
    found = work(node, geometry)
    if node.op_type in _FUSED:
        return 0.0
    return PLANES.call + found.seconds(PLANES, found.places)


def party_seconds(node: Node, geometry: Geometry) -> float:
    """What a node takes on boxes however many there are: the call, and weights brought into the backend's order."""
    weight = geometry.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type != "Conv" or weight is None:
        return BOXES.call
    return BOXES.call + 4.0 * math.prod(weight.shape) / _ORDERED
