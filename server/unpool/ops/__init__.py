"""What an operator DOES: forward in torch, backward rule, window; one file per family of operators.

``base`` has the contract and the registry; importing this package fills it. ``find`` looks an operator up, ``run`` runs
a node forward, ``backward`` gives the rule that carries a signal back through a node; ``activation`` has the rules that
policies put in its place; ``switches`` turns what a max pool chose into codes.
"""

from unpool.ops import (  # noqa: F401  (importing registers)
    activation,
    attention,
    contraction,
    convolution,
    elementwise,
    functions,
    house,
    indexing,
    joining,
    linear,
    machine_learning,
    microsoft,
    microsoft_quantized,
    normalization,
    ordering,
    padding,
    pooling,
    quantization,
    quantized,
    quantized_recurrent,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
    slicing,
    spectral,
)
from unpool.ops.activation import GUIDED, MASKED, PASS, REAPPLY, RECTIFY, guided
from unpool.ops.base import (
    AxisWindows,
    Crossing,
    Forward,
    Operand,
    Operator,
    Rule,
    Signals,
    WindowOf,
    backward,
    derivative,
    find,
    operator,
    registered,
    run,
)
from unpool.ops.geometry import Geometry
from unpool.ops.switches import codes_from_indices, codes_from_input, pool_geometry, storage_order

__all__ = [
    "Operator",
    "Rule",
    "Operand",
    "Crossing",
    "Signals",
    "Forward",
    "WindowOf",
    "AxisWindows",
    "find",
    "run",
    "backward",
    "derivative",
    "operator",
    "registered",
    "PASS",
    "RECTIFY",
    "MASKED",
    "GUIDED",
    "REAPPLY",
    "guided",
    "Geometry",
    "pool_geometry",
    "storage_order",
    "codes_from_indices",
    "codes_from_input",
]
