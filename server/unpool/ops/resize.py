"""Resizing: one small matrix of weights along every axis, from which forward, adjoint and window come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unpool.graph.intervals import AxisWindow, Listed
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import paired
from unpool.ops.picking import rest_is_constant

Floats: TypeAlias = npt.NDArray[np.float64]
Matrices: TypeAlias = dict[int, Floats]


@dataclass(frozen=True)
class Sampling:
    """How places of a resized axis fall on the original (ONNX, Resize-19).

    Attributes:
        mode: nearest, linear or cubic.
        transformation: coordinate_transformation_mode.
        rounding: nearest_mode.
        cubic: cubic_coeff_a.
        exclude_outside: weights outside the plane are dropped and the others scaled up.
        antialias: a filter that is as wide as the step where the axis shrinks.
        region: where the part that is resized begins and ends, as shares of the extent (tf_crop_and_resize); what
            lies outside the plane has no weight.
    """

    mode: str = "nearest"
    transformation: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    region: tuple[float, float] = (0.0, 1.0)


def _coordinates(places: int, extent: int, scale: float, sampling: Sampling) -> Floats:
    """Where the places of an axis lie in the input; in the runtime's float32 where they are rounded to the nearest."""
    transformation, region = sampling.transformation, sampling.region
    at: Floats = np.arange(places, dtype=np.float32 if sampling.mode == "nearest" else np.float64)
    target = extent * scale
    if transformation == "half_pixel":
        return (at + 0.5) / scale - 0.5
    if transformation == "half_pixel_symmetric":
        # The centre stays the centre where the extent was rounded.
        centre = extent / 2 * (1 - places / target)
        found: Floats = centre + (at + 0.5) / scale - 0.5
        return found
    if transformation == "pytorch_half_pixel":
        return (at + 0.5) / scale - 0.5 if places > 1 else np.zeros(places)
    if transformation == "align_corners":
        return at * (extent - 1) / (places - 1) if places > 1 else np.zeros(places)
    if transformation == "asymmetric":
        return at / scale
    if transformation == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    if transformation == "tf_crop_and_resize":
        begin, end = (share * (extent - 1) for share in region)
        return begin + at * (end - begin) / (places - 1) if places > 1 else np.full(places, (begin + end) / 2)
    raise NotImplementedError(f"resizing with coordinates '{transformation}' is not known here")


def _linear(distance: Floats) -> Floats:
    found: Floats = np.maximum(1 - np.abs(distance), 0)
    return found


def _cubic(a: float) -> Callable[[Floats], Floats]:
    """Keys 1981, cubic convolution."""

    def weigh(distance: Floats) -> Floats:
        d = np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        found: Floats = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
        return found

    return weigh


def weights(places: int, extent: int, scale: float, sampling: Sampling) -> Floats:
    """The matrix (places, extent) that resizes one axis.

    Raises:
        NotImplementedError: a mode that is not known here.
    """
    at = _coordinates(places, extent, scale, sampling)
    found = _weights(at, extent, scale, sampling)
    if sampling.transformation == "tf_crop_and_resize":
        found[(at < 0) | (at > extent - 1)] = 0
    return found


def _weights(at: Floats, extent: int, scale: float, sampling: Sampling) -> Floats:
    places = len(at)
    found = np.zeros((places, extent))
    rows = np.arange(places)
    if sampling.mode == "nearest":
        nearest: dict[str, Callable[[Floats], Floats]] = {
            "round_prefer_floor": lambda x: np.ceil(x - 0.5),
            "round_prefer_ceil": lambda x: np.floor(x + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        found[rows, np.clip(nearest[sampling.rounding](at), 0, extent - 1).astype(np.int64)] = 1
        return found
    if sampling.mode not in ("linear", "cubic"):
        raise NotImplementedError(f"resizing with mode '{sampling.mode}' is not known here")
    weigh, reach = (_linear, 1) if sampling.mode == "linear" else (_cubic(sampling.cubic), 2)
    shrink = min(scale, 1.0) if sampling.antialias else 1.0
    span = math.ceil(reach / shrink) + 1
    offsets = np.arange(-span, span + 1)
    taken = np.floor(at)[:, None] + offsets
    share = weigh((taken - at[:, None]) * shrink)
    if sampling.exclude_outside:
        share = np.where((taken >= 0) & (taken < extent), share, 0)
    if sampling.exclude_outside or sampling.antialias:
        share = share / share.sum(1, keepdims=True)
    np.add.at(found, (rows[:, None], np.clip(taken, 0, extent - 1).astype(np.int64)), share)
    return found


def _apply(x: Tensor, axis: int, matrix: Floats) -> Tensor:
    """A matrix (out, in) along one axis."""
    chosen = matrix.argmax(1)
    if ((matrix != 0).sum(1) == 1).all() and (matrix.max(1) == 1).all():
        return x.index_select(axis, torch.from_numpy(chosen).to(x.device))
    kind = x.dtype if x.is_floating_point() else torch.float64
    mixed = x.to(kind).movedim(axis, -1) @ torch.from_numpy(matrix).to(x.device, kind).mT
    return mixed.movedim(-1, axis).to(x.dtype)


def _targets(
    extents: Sequence[int],
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    axes: Sequence[int] | None,
    policy: str,
) -> dict[int, tuple[int, float]]:
    """Axis -> new extent and scale, for every axis that changes."""
    named = [a % len(extents) for a in axes] if axes else list(range(len(extents)))
    found: dict[int, tuple[int, float]] = {}
    if sizes:
        ratios = [size / extents[axis] for axis, size in zip(named, sizes, strict=True)]
        if policy != "stretch":
            common = min(ratios) if policy == "not_larger" else max(ratios)
            for axis in named:
                found[axis] = (math.floor(common * extents[axis] + 0.5), common)
        else:
            found = {axis: (size, ratio) for axis, size, ratio in zip(named, sizes, ratios, strict=True)}
    else:
        for axis, scale in zip(named, scales or [], strict=True):
            # In float32, as ONNX Runtime has it: 54 times 33 / 54 is 33 there.
            found[axis] = (math.floor(np.float32(extents[axis]) * np.float32(scale)), scale)
    return {axis: to for axis, to in found.items() if to != (extents[axis], 1.0)}


def _text(node: Node, name: str, default: str) -> str:
    value = node.attributes.get(name, default)
    return value if isinstance(value, str) else default


def _sampling(node: Node) -> Sampling:
    if node.op_type == "Upsample" or node.version < 11:
        return Sampling(_text(node, "mode", "nearest"), "asymmetric", "floor")
    cubic = node.attributes.get("cubic_coeff_a", -0.75)
    return Sampling(
        _text(node, "mode", "nearest"),
        _text(node, "coordinate_transformation_mode", "half_pixel"),
        _text(node, "nearest_mode", "round_prefer_floor"),
        float(cubic) if isinstance(cubic, int | float) else -0.75,
        bool(node.attributes.get("exclude_outside", 0)),
        bool(node.attributes.get("antialias", 0)),
    )


Values = Sequence[npt.NDArray[np.generic] | None]


def _matrices(node: Node, extents: Sequence[int], constants: Values) -> dict[int, Floats]:
    """Axis -> weights, from the values of the constant inputs behind the first."""
    given = [None if c is None or not c.size else c.flatten().tolist() for c in constants]
    attribute = node.attributes.get("scales", ())
    axes = node.attributes.get("axes", ())
    scales: Sequence[float] | None
    sizes: Sequence[int] | None = None
    if node.version >= 11 and node.op_type == "Resize":
        scales, sizes = (given[1] if len(given) > 1 else None), (given[2] if len(given) > 2 else None)
    else:
        scales = given[0] if given else (list(map(float, attribute)) if isinstance(attribute, tuple) else None)
    targets = _targets(
        extents,
        scales,
        sizes,
        [int(a) for a in axes] if isinstance(axes, tuple) else None,
        _text(node, "keep_aspect_ratio_policy", "stretch"),
    )
    sampling = _sampling(node)
    regions = {}
    if sampling.transformation == "tf_crop_and_resize" and given and given[0]:
        named = [int(a) % len(extents) for a in axes] if isinstance(axes, tuple) and axes else list(range(len(extents)))
        regions = {axis: (given[0][i], given[0][len(named) + i]) for i, axis in enumerate(named)}
        # An axis whose extent stays is not in targets: it is not cropped, as ONNX Runtime has it.
    return {
        axis: weights(n, extents[axis], scale, replace(sampling, region=regions.get(axis, (0.0, 1.0))))
        for axis, (n, scale) in targets.items()
    }


def node_matrices(node: Node, x: Operand | None, rest: Sequence[Operand | None], y: Operand | None) -> Matrices | None:
    """Axis -> weights (out, in) of every axis that a node resizes; ``None`` where they are not known beforehand.

    Sizes that are computed, as a free batch makes them, are those of the output.
    """
    if x is None or y is None:
        return None
    known = [None if o is None else o.value for o in rest]
    whole = not node.attributes.get("axes") and _text(node, "keep_aspect_ratio_policy", "stretch") == "stretch"
    if len(rest) == 3 and rest[2] is not None and known[2] is None and whole:
        known[2] = np.asarray(y.shape)
    if any(o is not None and value is None for o, value in zip(rest, known, strict=True)):
        return None
    return _matrices(node, x.shape, known)


def resize_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along a resized axis, what the weights reach."""
    x, y = inputs[0], outputs[0]
    nothing: list[AxisWindows] = [{} for _ in inputs[1:]]
    if x is None or y is None:
        return [{}, *nothing]
    found: dict[int, AxisWindow] = dict(pointwise(node, [x], [y])[0])
    matrices = node_matrices(node, x, inputs[1:], y)
    if matrices is None:
        return [{}, *nothing]
    for axis, matrix in matrices.items():
        index = paired(x, y, axis)
        if index is not None:
            found[index] = _reached(matrix)
    return [found, *nothing]


def _reached(matrix: Floats) -> Listed:
    """From the first to the last input that has a weight for an output; what lies outside a region has none."""
    used = matrix != 0
    last = matrix.shape[1] - 1 - used[:, ::-1].argmax(1)
    return Listed(used.argmax(1), np.where(used.any(1), last, -1), matrix.shape[1])


def _back(at: Crossing, s: Tensor, axis: int, matrix: Floats) -> Tensor:
    """The transpose of a matrix (out, in) along one axis, every unit with the part that lies on its own boxes."""
    source, result = at.input_operand(0), at.output_operand()
    index = paired(source, result, axis)
    if index is None:
        return _apply(s, axis, np.ascontiguousarray(matrix.T))
    outputs, inputs = at.output_origins(index).numpy(), at.input_origins(0, index).numpy()
    rows = outputs[:, None] + np.arange(at.output_shape()[axis])
    columns = inputs[:, None] + np.arange(at.input_shape(0)[axis])
    if (rows == rows[0]).all() and (columns == columns[0]).all():
        return _apply(s, axis, np.ascontiguousarray(_taken(matrix, rows[:1], columns[:1])[0].T))
    batch = next(i for i, label in enumerate(result.axes) if label.kind is AxisKind.BATCH)
    parts = torch.from_numpy(_taken(matrix, rows, columns)).to(s.device, s.dtype)
    moved = s.movedim((batch, axis), (0, -1))
    mixed = moved.flatten(1, -2) @ parts
    return mixed.reshape(*moved.shape[:-1], -1).movedim((0, -1), (batch, axis))


def _taken(matrix: Floats, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Floats:
    """Parts of a matrix, (units, rows, columns); zero outside of it."""
    inside = ((rows >= 0) & (rows < matrix.shape[0]))[:, :, None] & ((columns >= 0) & (columns < matrix.shape[1]))[
        :, None
    ]
    clipped = matrix[
        np.clip(rows, 0, matrix.shape[0] - 1)[:, :, None], np.clip(columns, 0, matrix.shape[1] - 1)[:, None]
    ]
    return np.where(inside, clipped, 0.0)


def _resize_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    nothing = tuple(None for _ in at.node.inputs[1:])
    if s is None:
        return (None, *nothing)
    constants = [at.constant(i) if at.node.inputs[i] else None for i in range(1, len(at.node.inputs))]
    known = [None if c is None else c.cpu().numpy() for c in constants]
    for axis, matrix in _matrices(at.node, at.input_operand(0).shape, known).items():
        s = _back(at, s, axis, matrix)
    return (s, *nothing)


_ADJOINT = Rule(_resize_adjoint, holds=rest_is_constant)


def _run(node: Node, x: Tensor, constants: Sequence[Tensor | None]) -> Tensor:
    known = [None if c is None else c.cpu().numpy() for c in constants]
    inside: Tensor | None = None
    for axis, matrix in _matrices(node, x.shape, known).items():
        x = _apply(x, axis, matrix)
        empty = ~matrix.any(1)
        if empty.any():
            shape = [1] * x.ndim
            shape[axis] = -1
            along = torch.from_numpy(~empty).to(x.device).reshape(shape)
            inside = along if inside is None else inside & along
    if inside is None:
        return x
    outside = node.attributes.get("extrapolation_value", 0.0)
    assert isinstance(outside, int | float)
    return torch.where(inside, x, torch.full((), float(outside), dtype=x.dtype, device=x.device))


def _call(op_type: str, version: int, **attributes: int | float | str | tuple[int, ...] | tuple[float, ...]) -> Node:
    return Node("", "", op_type, version, (), (), attributes)


@operator("Upsample", 7, window=resize_window, adjoint=_ADJOINT)
def upsample_7(x: Tensor, *, scales: tuple[float, ...], mode: str = "nearest") -> Tensor:
    """Enlarged by whole or broken scales, as attribute."""
    return _run(_call("Upsample", 7, scales=scales, mode=mode), x, [])


@operator("Upsample", 9, 10, window=resize_window, adjoint=_ADJOINT)
def upsample(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    """Enlarged by whole or broken scales."""
    return _run(_call("Upsample", 9, mode=mode), x, [scales])


@operator("Resize", 10, window=resize_window, adjoint=_ADJOINT)
def resize_10(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    """Resized by scales, coordinates asymmetric, in opset 10."""
    return _run(_call("Resize", 10, mode=mode), x, [scales])


@operator("Resize", 11, 13, 18, 19, window=resize_window, adjoint=_ADJOINT)
def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] = (),
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resized by scales or to sizes, a region of it where asked for."""
    node = _call(
        "Resize",
        19,
        antialias=antialias,
        axes=axes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        keep_aspect_ratio_policy=keep_aspect_ratio_policy,
        mode=mode,
        nearest_mode=nearest_mode,
    )
    return _run(node, x, [roi, scales, sizes])
