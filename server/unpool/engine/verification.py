"""Checking an optimised session against an unoptimised one: a fusion may miss a newly exposed tensor."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from unpool.engine.devices import Device
from unpool.engine.sessions import Session, execute
from unpool.graph.model import Array

_LOG = logging.getLogger(__name__)
_TOLERANCE = 1e-3
_PLACES = 1e-2


def agree(optimised: Session, plain: Session, feeds: Mapping[str, Array], device: Device) -> bool:
    """Whether two sessions of one plan give the same on one input.

    Floats have to lie within 1e-3 of the tensor's largest magnitude: a missed fusion is wrong by far more, and
    reordered sums by far less. Of integers (switches) one in a hundred may differ, as near-ties do.
    """
    expected = execute(plain, feeds, device)
    for name, value in execute(optimised, feeds, device).items():
        other = expected[name]
        if value.shape != other.shape:
            _LOG.warning("optimisation changes a shape", extra={"tensor": name})
            return False
        if value.is_floating_point():
            scale = max(float(other.abs().max()), 1e-12) if other.numel() else 1.0
            difference = float((value - other).abs().max()) / scale if other.numel() else 0.0
            if not difference <= _TOLERANCE:
                _LOG.warning("optimisation changes a tensor", extra={"tensor": name, "difference": difference})
                return False
        elif other.numel() and float(torch.ne(value, other).float().mean()) > _PLACES:
            _LOG.warning("optimisation changes switches", extra={"tensor": name})
            return False
    return True
