"""Trying what is promised: fused sessions give what unfused ones do, and batches what their images do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor, equal, isfinite, ne

from unpool.engine.feeds import Feeds
from unpool.graph.errors import UnpoolError
from unpool.graph.model import Array, Graph

_LOG = logging.getLogger(__name__)
_TOLERANCE = 1e-3
_PLACES = 1e-2
_BATCH_TOLERANCE = 1e-4


def agree(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether an optimised session gave what an unoptimised one did: a fusion may miss a newly exposed tensor.

    Floats have to lie within 1e-3 of the tensor's largest magnitude: a missed fusion is wrong by far more, and
    reordered sums by far less. Of integers (switches, signs) one in a hundred may differ, as near-ties do.
    """
    for name, value in found.items():
        other = expected[name]
        if value.shape != other.shape:
            _LOG.warning("optimisation changes a shape", extra={"tensor": name})
            return False
        if not other.numel():
            continue
        if value.is_floating_point():
            # Infinities (a mask before a softmax) have to be the same ones; their difference would be no number.
            finite = isfinite(other)
            scale = max(float(other[finite].abs().max()), 1e-12) if finite.any() else 1.0
            apart = (value - other)[finite].abs()
            difference = float(apart.max()) / scale if apart.numel() else 0.0
            if not difference <= _TOLERANCE or not equal(value[~finite], other[~finite]):
                _LOG.warning("optimisation changes a tensor", extra={"tensor": name, "difference": difference})
                return False
        elif float(ne(value, other).float().mean()) > _PLACES:
            _LOG.warning("optimisation changes switches or signs", extra={"tensor": name})
            return False
    return True


def batches_hold(graph: Graph, run: Callable[[Feeds], Mapping[str, Array]], feeds: Feeds) -> bool:
    """Whether two images at once give what each gives alone, to 1e-4 of each output's largest magnitude.

    Args:
        graph: the model.
        run: a plain forward run to the outputs.
        feeds: one image; the other is its mirror.
    """
    other = {n: np.flip(a, -1).copy() if a.dtype.kind == "f" else a for n, a in feeds.arrays.items()}
    both: dict[str, Array] = {}
    for name in graph.inputs:
        axis = graph.values[name].batch_axis
        one = feeds.arrays[name]
        both[name] = one if axis is None else np.concatenate([one, other[name]], axis)
    try:
        single = [run(Feeds(arrays, feeds.of)) for arrays in (feeds.arrays, other)]
        joint = run(Feeds(both, feeds.of))
    except UnpoolError as error:
        _LOG.warning("batches do not run", extra={"reason": str(error)})
        return False
    for name in graph.outputs:
        axis = graph.values[name].batch_axis
        apart = [s[name].astype(np.float64) for s in single]
        expected = apart[0] if axis is None else np.concatenate(apart, axis)
        given = joint[name].astype(np.float64)
        if expected.shape != given.shape:
            return False
        scale = max(float(np.abs(expected).max(initial=0)), 1e-12)
        if float(np.abs(expected - given).max(initial=0)) > _BATCH_TOLERANCE * scale:
            return False
    return True
