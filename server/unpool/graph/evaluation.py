"""A small NumPy evaluator of the operators that shape computations and weight preparations are made of.

It runs untrusted graphs, so it knows a fixed list of operators, each plain NumPy, and refuses results above a size
that the caller sets. Integer values may be partly unknown: arrays of dtype object whose elements are Python integers
    or ``Unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from unpool.graph.model import Array, Attribute

_Attributes: TypeAlias = Mapping[str, Attribute]
_Result: TypeAlias = Array | Sequence[Array]
_Function: TypeAlias = Callable[..., _Result]


class UnevaluableError(Exception):
    """The operator, or this use of it, is not evaluated here."""


class Unknown:
    """An integer that is not known before a run: an extent by its name, or what was computed from one, nameless."""

    __slots__ = ("name",)

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Unknown) and self.name is not None and self.name == other.name)

    def __hash__(self) -> int:
        return hash(self.name) if self.name is not None else id(self)

    def __bool__(self) -> bool:
        raise UnevaluableError("the truth of an unknown extent")

    def __add__(self, other: object) -> Unknown:
        return self if _is(other, 0) else Unknown()

    def __sub__(self, other: object) -> Unknown:
        return self if _is(other, 0) else Unknown()

    def __mul__(self, other: object) -> Unknown:
        return self if _is(other, 1) else Unknown()

    def __floordiv__(self, other: object) -> Unknown:
        return self if _is(other, 1) else Unknown()

    def __rsub__(self, other: object) -> Unknown:
        return Unknown()

    def __rfloordiv__(self, other: object) -> Unknown:
        return Unknown()

    def __neg__(self) -> Unknown:
        return Unknown()

    __radd__ = __add__
    __rmul__ = __mul__


def _is(value: object, number: int) -> bool:
    return isinstance(value, int | np.integer) and int(value) == number


def _tuple(values: Array | None) -> tuple[int, ...]:
    if values is None:
        return ()
    if any(isinstance(v, Unknown) for v in values.ravel()):
        raise UnevaluableError("an unknown extent")
    return tuple(int(v) for v in values.ravel())


def _axes(attributes: _Attributes, given: Array | None) -> tuple[int, ...] | None:
    return _tuple(given) if given is not None else _integers(attributes, "axes")


def _integers(attributes: _Attributes, name: str) -> tuple[int, ...] | None:
    found = attributes.get(name)
    return tuple(v for v in found if isinstance(v, int)) if isinstance(found, tuple) else None


def _integer(attributes: _Attributes, name: str, default: int) -> int:
    value = attributes.get(name, default)
    assert isinstance(value, int)
    return value


def _known(*arrays: Array) -> None:
    if any(a.dtype == object for a in arrays):
        raise UnevaluableError("an unknown extent")


def _squeeze(attributes: _Attributes, x: Array, axes: Array | None = None) -> Array:
    found = _axes(attributes, axes)
    return np.squeeze(x, axis=found) if found is not None else np.squeeze(x)


def _unsqueeze(attributes: _Attributes, x: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(x, _axes(attributes, axes) or ())


def _gather(attributes: _Attributes, x: Array, indices: Array) -> Array:
    _known(indices)
    return np.asarray(np.take(x, indices.astype(np.int64), axis=_integer(attributes, "axis", 0)), dtype=x.dtype)


def _concat(attributes: _Attributes, *xs: Array) -> Array:
    if any(x.dtype == object for x in xs):
        xs = tuple(x.astype(object) for x in xs)
    return np.concatenate(xs, axis=_integer(attributes, "axis", 1))


def _slice(
    attributes: _Attributes,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    begin = _tuple(starts) if starts is not None else _integers(attributes, "starts")
    end = _tuple(ends) if ends is not None else _integers(attributes, "ends")
    if begin is None or end is None:
        raise UnevaluableError("no bounds")
    along = _axes(attributes, axes)
    if along is None:
        along = tuple(range(len(begin)))
    stride = _tuple(steps) if steps is not None else (1,) * len(begin)
    index = [slice(None)] * x.ndim
    for a, b, e, s in zip(along, begin, end, stride, strict=True):
        # ONNX says "to the very first element, going backwards" with an end below -extent, NumPy with None.
        stop = None if s < 0 and e < -x.shape[a] else e
        index[a] = slice(b, stop, s)
    return x[tuple(index)]


def _split(attributes: _Attributes, x: Array, split: Array | None = None) -> Sequence[Array]:
    axis = _integer(attributes, "axis", 0)
    sizes = _tuple(split) if split is not None else attributes.get("split")
    if sizes is None:
        count = _integer(attributes, "outputs", 1)
        step = -(-x.shape[axis] // count)
        sizes = tuple(min(step, x.shape[axis] - step * i) for i in range(count))
    assert isinstance(sizes, tuple)
    return np.split(x, np.cumsum(sizes)[:-1].tolist(), axis=axis)


def _reshape(attributes: _Attributes, x: Array, shape: Array) -> Array:
    wanted = list(_tuple(shape))
    if not _integer(attributes, "allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(attributes: _Attributes, x: Array) -> Array:
    axis = _integer(attributes, "axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1) if x.size else x.reshape(math.prod(x.shape[:axis]), 0)


def _cast(attributes: _Attributes, x: Array) -> Array:
    dtype = ir.DataType(_integer(attributes, "to", 1))
    if dtype is ir.DataType.STRING:
        raise UnevaluableError("strings")
    if x.dtype == object:
        if dtype not in (ir.DataType.INT32, ir.DataType.INT64):
            raise UnevaluableError("an unknown extent")
        return x
    return x.astype(dtype.numpy())


def _transpose(attributes: _Attributes, x: Array) -> Array:
    perm = attributes.get("perm")
    return np.transpose(x, perm if isinstance(perm, tuple) else None)  # type: ignore[arg-type]


def _range(attributes: _Attributes, start: Array, limit: Array, delta: Array) -> Array:
    _known(start, limit, delta)
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _expand(attributes: _Attributes, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, _tuple(shape)))


def _constant_of_shape(attributes: _Attributes, shape: Array) -> Array:
    value = attributes.get("value")
    scalar = value if isinstance(value, np.ndarray) else np.zeros(1, np.float32)
    return np.broadcast_to(scalar.reshape(()), _tuple(shape))


def _divide(attributes: _Attributes, x: Array, y: Array) -> Array:
    if x.dtype == object or y.dtype == object:
        return np.asarray(x.astype(object) // y.astype(object), dtype=object)
    if np.issubdtype(x.dtype, np.integer):
        # Truncates towards zero, as C does.
        return np.asarray(np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y)), dtype=x.dtype)
    return np.asarray(np.true_divide(x, y), dtype=x.dtype)


def _modulo(attributes: _Attributes, x: Array, y: Array) -> Array:
    _known(x, y)
    return np.fmod(x, y) if _integer(attributes, "fmod", 0) else np.mod(x, y)


def _where(attributes: _Attributes, condition: Array, x: Array, y: Array) -> Array:
    _known(condition)
    return np.where(condition, x, y)


def _elementwise(function: Callable[..., Array], symbolic: bool = False) -> _Function:
    def apply(attributes: _Attributes, *xs: Array) -> Array:
        if any(x.dtype == object for x in xs):
            if not symbolic:
                raise UnevaluableError("an unknown extent")
            return np.asarray(function(*(x.astype(object) for x in xs)), dtype=object)
        return np.asarray(function(*xs))

    return apply


def _folded(function: Callable[[Array, Array], Array]) -> _Function:
    def apply(attributes: _Attributes, first: Array, *rest: Array) -> Array:
        _known(first, *rest)
        for x in rest:
            first = function(first, x)
        return np.asarray(first)

    return apply


def _clip(attributes: _Attributes, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    _known(x, *(bound for bound in (low, high) if bound is not None))
    for name, bound, cut in (("min", low, np.maximum), ("max", high, np.minimum)):
        given = attributes.get(name) if bound is None else bound
        if given is not None:
            x = cut(x, np.asarray(given, x.dtype))
    return x


def _reduce(function: Callable[..., Array]) -> _Function:
    def apply(attributes: _Attributes, x: Array, axes: Array | None = None) -> Array:
        _known(x)
        along = _axes(attributes, axes)
        if not along and _integer(attributes, "noop_with_empty_axes", 0):
            return x
        result = function(x, axis=along or None, keepdims=bool(_integer(attributes, "keepdims", 1)))
        return np.asarray(result, dtype=x.dtype)

    return apply


def _equal(x: Array, y: Array) -> Array:
    if x.dtype == object or y.dtype == object:
        # An extent is never negative, which is all that the usual question (is it -1?) needs.
        def same(a: object, b: object) -> bool:
            if isinstance(a, Unknown) or isinstance(b, Unknown):
                other = b if isinstance(a, Unknown) else a
                if isinstance(other, Unknown):
                    if a == b:
                        return True
                elif isinstance(other, int | np.integer) and int(other) < 0:
                    return False
                raise UnevaluableError("an unknown extent")
            return bool(a == b)

        return np.asarray(np.frompyfunc(same, 2, 1)(x, y), dtype=np.bool_)
    return np.asarray(np.equal(x, y))


def _against(array: Array, x: Array, axis: int, block: int) -> Array:
    """A scale or zero point, of all, of every slice of an axis or of blocks along it, against a tensor."""
    if array.size == 1:
        return array.reshape(())
    if array.ndim == 1 and not block:
        return array.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    wide = np.repeat(array, block or -(-x.shape[axis] // array.shape[axis]), axis)
    return np.take(wide, range(x.shape[axis]), axis)


def _dequantize(attributes: _Attributes, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """The weights of a quantised model, as they are meant (ONNX, DequantizeLinear-21)."""
    if _integer(attributes, "output_dtype", 0):
        raise UnevaluableError("an output type of its own")
    axis, block = _integer(attributes, "axis", 1), _integer(attributes, "block_size", 0)
    wide = x.astype(np.float32)
    if zero_point is not None:
        wide = wide - _against(zero_point, x, axis, block).astype(np.float32)
    return (wide * _against(scale, x, axis, block).astype(np.float32)).astype(scale.dtype)


_FUNCTIONS: Final[dict[str, _Function]] = {
    "Identity": lambda attributes, x: x,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Cast": _cast,
    "DequantizeLinear": _dequantize,
    "Transpose": _transpose,
    "Range": _range,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Mod": _modulo,
    "Where": _where,
    "Add": _elementwise(lambda x, y: x + y, symbolic=True),
    "Sub": _elementwise(lambda x, y: x - y, symbolic=True),
    "Mul": _elementwise(lambda x, y: x * y, symbolic=True),
    "Neg": _elementwise(lambda x: -x, symbolic=True),
    "Abs": _elementwise(np.abs),
    "Sqrt": _elementwise(np.sqrt),
    "Exp": _elementwise(np.exp),
    "Log": _elementwise(np.log),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Round": _elementwise(np.rint),
    "Reciprocal": _elementwise(lambda x: (1 / x).astype(x.dtype)),
    "Pow": _elementwise(lambda x, y: np.power(x, y).astype(x.dtype)),
    "Not": _elementwise(np.logical_not),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Equal": lambda attributes, x, y: _equal(x, y),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Clip": _clip,
    "Relu": _elementwise(lambda x: np.maximum(x, x.dtype.type(0))),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Sum": _folded(np.add),
    "ReduceSum": _reduce(np.sum),
    "ReduceProd": _reduce(np.prod),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}

EVALUABLE: Final = frozenset(_FUNCTIONS)
"""Operator types of ai.onnx that ``evaluate`` knows."""


def evaluate(op_type: str, attributes: _Attributes, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
    """Runs one operator on arrays.

    Args:
        op_type: ai.onnx operator type.
        attributes: its attributes; Split without sizes also takes ``outputs``, the number of its outputs.
        inputs: one array per input, ``None`` for an absent one; integer arrays may hold ``Unknown`` (dtype object).

    Raises:
        UnevaluableError: an operator, an input or a combination that is not evaluated here.
    """
    function = _FUNCTIONS.get(op_type)
    if function is None:
        raise UnevaluableError(op_type)
    try:
        with np.errstate(all="ignore"):
            result = function(attributes, *inputs)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError, ArithmeticError) as error:
        raise UnevaluableError(f"{op_type}: {error}") from error
    # NumPy gives numbers, not arrays, for arrays without axes.
    return (np.asarray(result),) if isinstance(result, np.ndarray | np.generic) else tuple(result)


def settled(array: Array) -> npt.NDArray[np.int64] | None:
    """An object array without ``Unknown`` as int64, one with as ``None``."""
    if any(isinstance(v, Unknown) for v in array.ravel()):
        return None
    return array.astype(np.int64)
