"""What an operator says about axes: which of an input is which of an output, and what some must stand for.

Stated once per family; the axes pass does the spreading. A relation is about (value, axis) pairs, so layouts do not
matter: a channel is a channel wherever a Transpose has put it.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from unpool.graph.model import BATCH, CHANNEL, spatial
from unpool.graph.passes.shapes import dims_of
from unpool.graph.places import Call, Group, Relate, Relations, Strength, rank
from unpool.graph.regrouping import regrouped


def _image(call: Call, value: ir.Value, strength: Strength = Strength.CERTAIN) -> None:
    """Marks a value as (N, C, D1, D2, ...); the plane is certain."""
    call.is_(value, 0, BATCH, strength)
    call.is_(value, 1, CHANNEL, strength)
    for i in range(rank(value) - 2):
        call.is_(value, i + 2, spatial(i))


def _convolution(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    for value in (x, y):
        if value is not None and rank(value) >= 2:
            _image(call, value)
    if x is not None and rank(x) == rank(y):
        for axis in (0, *range(2, rank(x))):
            call.same(x, axis, y, axis)


def _pooling(call: Call) -> None:
    _convolution(call)
    x = call.input(0)
    for y in call.outputs:
        if x is not None and rank(x) == rank(y):
            for axis in range(rank(x)):
                call.same(x, axis, y, axis)


def _resampled(call: Call) -> None:
    # The plane of the output is not the plane of the input: labels on both, but no axis is the other.
    x, y = call.input(0), call.outputs[0]
    if x is not None and rank(x) == rank(y):
        # What moves blocks between plane and channels also serves with images and channels exchanged.
        strength = Strength.CERTAIN if call.node.op_type == "GridSample" else Strength.WEAK
        _image(call, x, strength)
        _image(call, y, strength)
        call.same(x, 0, y, 0)


def _normalisation(call: Call) -> None:
    x = call.input(0)
    if x is not None and rank(x) >= 2:
        # Rows without a plane may be tokens of many images, one below the other.
        call.is_(x, 0, BATCH, Strength.CERTAIN if rank(x) > 2 else Strength.WEAK)
        call.is_(x, 1, CHANNEL)
    _first(call)


def _aligned(call: Call, x: ir.Value, y: ir.Value) -> None:
    """NumPy broadcasting: axes are aligned at the end, an extent of 1 is stretched."""
    shift = rank(y) - rank(x)
    dims, wanted = dims_of(x) or (), dims_of(y) or ()
    for axis, extent in enumerate(dims):
        target = axis + shift
        if target < 0:
            continue
        # A stretched axis names no image: it must not be taken for the batch.
        if extent == wanted[target] or extent != 1 or target > 0:
            call.same(x, axis, y, target)


def _elementwise(call: Call) -> None:
    for x in call.inputs:
        if x is not None:
            for y in call.outputs:
                _aligned(call, x, y)


def _equal(call: Call) -> None:
    _elementwise(call)
    y = call.outputs[0]
    for value in call.node.inputs:
        table = value.const_value if value is not None else None
        # Words (N, T, 1) beside all the numbers that there are, (1, 1, V): looked up one by one, written out.
        if table is not None and rank(y) == 3 and table.size > 1 and tuple(table.shape)[-1:] == (table.size,):
            call.is_(y, 2, CHANNEL, Strength.WEAK)
            call.is_(y, 1, spatial(0), Strength.SEQUENCE)


def _first(call: Call) -> None:
    """Axis by axis from the first input to every output of the same rank."""
    x = call.input(0)
    for y in call.outputs:
        if x is not None and rank(x) == rank(y):
            for axis in range(rank(x)):
                call.same(x, axis, y, axis)


def _every(call: Call) -> None:
    """Axis by axis from every input of the same rank to every output."""
    for x in call.inputs:
        for y in call.outputs:
            if x is not None and rank(x) == rank(y):
                for axis in range(rank(x)):
                    call.same(x, axis, y, axis)


def _transpose(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is None:
        return
    perm = call.attribute("perm", tuple(reversed(range(rank(x)))))
    for axis, source in enumerate(perm if isinstance(perm, tuple) else ()):
        if isinstance(source, int):
            call.same(x, source, y, axis)


def _reduction(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is None:
        return
    if rank(x) == rank(y):
        _first(call)
        return
    axes = call.axes_argument(1)
    if call.node.op_type in ("ArgMax", "ArgMin"):
        axes = (call.integer("axis", 0),)
    if axes is None:
        return
    gone = {a % rank(x) for a in axes if rank(x)}
    for target, axis in enumerate(a for a in range(rank(x)) if a not in gone):
        if target < rank(y):
            call.same(x, axis, y, target)


def _squeeze(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is None:
        return
    axes = call.axes_argument(1)
    if axes is None:
        axes = tuple(i for i, d in enumerate(dims_of(x) or ()) if d == 1)
    gone = {a % rank(x) for a in axes if rank(x)}
    for target, axis in enumerate(a for a in range(rank(x)) if a not in gone):
        if target < rank(y):
            call.same(x, axis, y, target)


def _unsqueeze(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    axes = call.axes_argument(1)
    if x is None or axes is None:
        return
    new = {a % rank(y) for a in axes if rank(y)}
    for axis, target in enumerate(a for a in range(rank(y)) if a not in new):
        if axis < rank(x):
            call.same(x, axis, y, target)


def _matmul(call: Call) -> None:
    a, b, y = call.input(0), call.input(1), call.outputs[0]
    if a is not None and rank(a) >= 2 and rank(y) == rank(a) - 1:  # times a vector: the last axis goes
        for axis in range(rank(y)):
            call.same(a, axis, y, axis)
        if b is None:
            call.is_(a, rank(a) - 1, CHANNEL, Strength.WEAK)
            call.is_(y, 0, BATCH, Strength.WEAK)
        return
    if a is not None and rank(a) >= 2 and rank(y) >= 2:
        shift = rank(y) - rank(a)
        for axis in range(rank(a) - 1):
            if axis + shift >= 0 and (shift == 0 or axis == rank(a) - 2):
                call.same(a, axis, y, axis + shift)
        if b is None:
            call.is_(a, rank(a) - 1, CHANNEL, Strength.WEAK)
            call.is_(y, rank(y) - 1, CHANNEL, Strength.WEAK)
            call.is_(y, 0, BATCH, Strength.WEAK)
    if b is not None and rank(b) >= 2 and rank(y) >= 2:
        if rank(b) == rank(y):
            for axis in range(rank(b) - 2):
                call.same(b, axis, y, axis)
        call.same(b, rank(b) - 1, y, rank(y) - 1)


def _gemm(call: Call) -> None:
    a, y = call.input(0), call.outputs[0]
    if a is not None and rank(a) == 2:
        rows = 1 if call.integer("transA", 0) else 0
        call.same(a, rows, y, 0)
        call.is_(a, 1 - rows, CHANNEL, Strength.WEAK)
        call.is_(y, 0, BATCH, Strength.WEAK)
        call.is_(y, 1, CHANNEL, Strength.WEAK)
    c = call.input(2)
    if c is not None:
        _aligned(call, c, y)


def _gather(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    axis = call.integer("axis", 0)
    if x is not None and rank(x):
        axis %= rank(x)
        added = rank(y) - (rank(x) - 1)
        for i in range(rank(x)):
            if i != axis:
                call.same(x, i, y, i if i < axis else i - 1 + added)
        if added == 1:
            call.same(x, axis, y, axis)
    indices = call.input(1)
    if indices is not None:
        for i in range(rank(indices)):
            call.same(indices, i, y, axis + i)
        if x is None and rank(y) == rank(indices) + 1:
            call.is_(y, rank(y) - 1, CHANNEL, Strength.WEAK)
            if rank(indices) == 2:  # words looked up in a table
                call.is_(indices, 1, spatial(0), Strength.SEQUENCE)


def _one_hot(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is None or rank(y) != rank(x) + 1:
        return
    axis = call.integer("axis", -1) % rank(y)
    for i in range(rank(x)):
        call.same(x, i, y, i if i < axis else i + 1)
    call.is_(y, axis, CHANNEL, Strength.WEAK)
    if rank(x) == axis == 2:
        call.is_(x, 1, spatial(0), Strength.SEQUENCE)


def _expand(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is not None:
        _aligned(call, x, y)


def _rows(call: Call) -> None:
    """Every row of a table by itself: a label (N,), and scores (N, C)."""
    x = call.input(0)
    if x is None or rank(x) != 2:
        return
    call.is_(x, 0, BATCH, Strength.WEAK)
    call.is_(x, 1, CHANNEL, Strength.WEAK)
    for y in call.outputs:
        if rank(y):
            call.same(x, 0, y, 0)
        if rank(y) == 2:
            call.is_(y, 1, CHANNEL, Strength.WEAK)


STATES: Final = slice(5, 7)
"""Where a recurrent operator is handed its first states, (directions, N, C)."""


def _recurrent(call: Call) -> None:
    x = call.input(0)
    if x is None or call.integer("layout", 0):
        return
    call.is_(x, 1, BATCH)
    call.is_(x, 2, CHANNEL)
    for y in call.outputs:
        call.is_(y, rank(y) - 2, BATCH)
        call.is_(y, rank(y) - 1, CHANNEL)
    for state in call.inputs[STATES]:
        if state is not None and rank(state) == 3:
            call.is_(state, 1, BATCH)
            call.is_(state, 2, CHANNEL)
    if call.outputs and rank(call.outputs[0]) == 4:
        call.same(x, 0, call.outputs[0], 0)
        call.same(x, 1, call.outputs[0], 2)


def _einsum(call: Call) -> None:
    equation = call.attribute("equation", "")
    if not isinstance(equation, str) or "..." in equation or "->" not in equation:
        return
    left, right = equation.replace(" ", "").split("->")
    y = call.outputs[0]
    for term, x in zip(left.split(","), call.inputs, strict=False):
        if x is not None and len(term) == rank(x) and len(right) == rank(y):
            for axis, letter in enumerate(term):
                if letter in right:
                    call.same(x, axis, y, right.index(letter))


def _regroup(call: Call) -> None:
    x, y = call.input(0), call.outputs[0]
    if x is None:
        return
    for inputs, outputs in regrouped(dims_of(x) or (), dims_of(y) or ()):
        wide_in = [i for i in inputs if (dims_of(x) or ())[i] != 1]
        wide_out = [o for o in outputs if (dims_of(y) or ())[o] != 1]
        if len(inputs) == len(outputs) == 1:
            call.same(x, inputs[0], y, outputs[0])
        elif len(wide_in) == len(wide_out) == 1:
            call.same(x, wide_in[0], y, wide_out[0])
        elif inputs and outputs:
            call.said.groups.append(Group(tuple((x, i) for i in inputs), tuple((y, o) for o in outputs)))


def _table(*families: tuple[Relate, str]) -> dict[str, Relate]:
    return {op_type: relate for relate, names in families for op_type in names.split()}


RELATIONS: Final[dict[str, Relate]] = _table(
    (_convolution, "Conv ConvTranspose ConvInteger QLinearConv FusedConv DeformConv Col2Im"),
    (
        _pooling,
        "MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool MaxUnpool QLinearAveragePool"
        " QLinearGlobalAveragePool",
    ),
    (_resampled, "DepthToSpace SpaceToDepth GridSample"),
    (_normalisation, "BatchNormalization InstanceNormalization GroupNormalization LRN"),
    (
        _elementwise,
        "Add Sub Mul Div Pow Mod Sum Max Min Mean Where And Or Xor Not Less LessOrEqual Greater"
        " GreaterOrEqual BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot PRelu QLinearAdd"
        " QLinearMul SwiGLU",
    ),
    (_equal, "Equal"),
    (
        _first,
        "Relu LeakyRelu ThresholdedRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Tanh Softplus"
        " Softsign Gelu Mish Clip Abs Neg Exp Log Sqrt Reciprocal Floor Ceil Round Sign Erf Sin Cos Tan Asin"
        " Acos Atan Sinh Cosh Asinh Acosh Atanh IsNaN IsInf Cast CastLike Identity Dropout Softmax LogSoftmax"
        " Hardmax Shrink CumSum LayerNormalization RMSNormalization LpNormalization MeanVarianceNormalization"
        " QuantizeLinear DequantizeLinear Pad Slice Split Resize Upsample Trilu ReverseSequence"
        " ScatterElements ScatterND GatherElements TopK EyeLike RandomNormalLike RandomUniformLike Bernoulli"
        " BiasGelu FastGelu QuickGelu SimplifiedLayerNormalization CumProd TensorScatter SkipLayerNormalization"
        " SkipSimplifiedLayerNormalization QLinearSigmoid QLinearLeakyRelu QLinearSoftmax DynamicQuantizeLinear"
        " RotaryEmbedding BitCast Scaler Normalizer Imputer",
    ),
    (
        _rows,
        "TreeEnsemble TreeEnsembleRegressor TreeEnsembleClassifier LinearRegressor LinearClassifier SVMRegressor"
        " SVMClassifier",
    ),
    (_every, "Concat QLinearConcat"),
    (_transpose, "Transpose"),
    (
        _reduction,
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp"
        " ReduceSumSquare ArgMax ArgMin",
    ),
    (_squeeze, "Squeeze"),
    (_unsqueeze, "Unsqueeze"),
    (
        _matmul,
        "MatMul MatMulInteger QLinearMatMul FusedMatMul MatMulIntegerToFloat DynamicQuantizeMatMul MatMulNBits",
    ),
    (_gemm, "Gemm FusedGemm QGemm"),
    (_gather, "Gather"),
    (_one_hot, "OneHot"),
    (_expand, "Expand Tile"),
    (_recurrent, "LSTM GRU RNN DynamicQuantizeLSTM"),
    (_einsum, "Einsum"),
    (_regroup, "Reshape Flatten"),
)


_LAYOUT: Final = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def relations_of(node: ir.Node) -> Relations:
    """What ``node`` says about the axes of its inputs and outputs; nothing where a rank is not known."""
    said = Relations(layout=node.op_type in _LAYOUT)
    relate = RELATIONS.get(node.op_type)
    if relate is None or node.domain not in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft"):
        return said
    inputs = tuple(v if v is not None and v.const_value is None and v.shape is not None else None for v in node.inputs)
    outputs = tuple(v for v in node.outputs if v.shape is not None)
    if outputs and outputs[0] is node.outputs[0]:
        relate(Call(node, inputs, outputs, said))
    return said
