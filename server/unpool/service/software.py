"""Which programs made a result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

import onnxruntime
import torch


@cache
def software() -> Mapping[str, str]:
    """Program -> version."""
    try:
        own = version("unpool")
    except PackageNotFoundError:
        own = "unknown"
    return MappingProxyType({"unpool": own, "onnxruntime": onnxruntime.__version__, "torch": str(torch.__version__)})
