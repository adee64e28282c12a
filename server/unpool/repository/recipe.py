"""What ``preprocessor_config.json`` says: the keys of a Hugging Face image processor, and ``channel_order``."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from unpool.graph.errors import ModelError


class Resample(enum.IntEnum):
    """Interpolation of the resize, with Pillow's numbers."""

    NEAREST = 0
    LANCZOS = 1
    BILINEAR = 2
    BICUBIC = 3
    BOX = 4
    HAMMING = 5


class ChannelOrder(enum.Enum):
    """Order in which the model wants the colours."""

    RGB = "RGB"
    BGR = "BGR"
    GRAY = "GRAY"


@dataclass(frozen=True)
class Exact:
    """Resize to this height and width, whatever that does to the proportions."""

    height: int
    width: int


@dataclass(frozen=True)
class Edges:
    """Resize in proportion: the shorter edge to ``shortest``, the longer at most ``longest``; one of them is given."""

    shortest: int | None = None
    longest: int | None = None


Resize: TypeAlias = Exact | Edges
_E = TypeVar("_E", bound=enum.Enum)
_D = TypeVar("_D")


@dataclass(frozen=True)
class Recipe:
    """The steps from pixel values 0..255 to the values fed, in this order; ``None`` leaves a step out.

    Attributes:
        resize: the size to scale to.
        resample: interpolation of the resize.
        crop: (height, width) of the centre crop; what it holds beyond the picture is black.
        rescale: factor on the pixel values.
        mean, std: per fed channel, subtracted after rescaling and then divided by.
        order: order of the fed channels; ``None`` is RGB for three channels and grey for one.
    """

    resize: Resize | None = None
    resample: Resample = Resample.BILINEAR
    crop: tuple[int, int] | None = None
    rescale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    order: ChannelOrder | None = None


def parse_recipe(text: str) -> Recipe:
    """Reads ``preprocessor_config.json``; a step without its ``do_`` key is taken when its values are there.

    Raises:
        ModelError: not JSON, or a key whose value cannot be meant; the message names it.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ModelError(f"preprocessor_config.json is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError("preprocessor_config.json does not hold an object")
    keys: Mapping[str, object] = found
    crop = _pair(keys, "crop_size") if _does(keys, "do_center_crop", "crop_size") else None
    normalize = _does(keys, "do_normalize", "image_mean")
    # Processors older than do_rescale always mapped to 0..1.
    factor = _number(keys, "rescale_factor", 1 / 255) if keys.get("do_rescale", True) else None
    mean = _numbers(keys, "image_mean") if normalize else None
    std = _numbers(keys, "image_std") if normalize else None
    if mean and std and len(mean) != len(std):
        raise _bad("image_std", f"lists {len(std)} channels, image_mean {len(mean)}")
    if std and any(value == 0 for value in std):
        raise _bad("image_std", "holds a 0")
    return Recipe(
        resize=_resize(keys, cropped=crop is not None) if _does(keys, "do_resize", "size") else None,
        resample=_choice(keys, "resample", Resample, Resample.BILINEAR),
        crop=crop,
        rescale=factor,
        mean=mean,
        std=std,
        order=_choice(keys, "channel_order", ChannelOrder, None),
    )


def _bad(key: str, what: str) -> ModelError:
    return ModelError(f"preprocessor_config.json: {key} {what}")


def _does(keys: Mapping[str, object], switch: str, values: str) -> bool:
    present = keys.get(values) is not None
    does = bool(keys.get(switch, present))
    if does and not present:
        raise _bad(switch, f"is set, but {values} is not given")
    return does


def _resize(keys: Mapping[str, object], *, cropped: bool) -> Resize:
    size = keys["size"]
    if isinstance(size, dict) and ("shortest_edge" in size or "longest_edge" in size):
        edges = [None if size.get(k) is None else _extent(size[k], "size") for k in ("shortest_edge", "longest_edge")]
        return Edges(*edges)
    # A bare number: processors that crop meant the shorter edge by it, the others both.
    if cropped and not isinstance(size, dict | list):
        return Edges(_extent(size, "size"))
    return Exact(*_pair(keys, "size"))


def _pair(keys: Mapping[str, object], key: str) -> tuple[int, int]:
    value = keys[key]
    if isinstance(value, dict):
        if not {"height", "width"} <= set(value):
            raise _bad(key, "needs height and width")
        return _extent(value.get("height"), key), _extent(value.get("width"), key)
    if isinstance(value, list) and len(value) == 2:
        return _extent(value[0], key), _extent(value[1], key)
    return _extent(value, key), _extent(value, key)


def _extent(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or not 0 < value <= 1 << 16:
        raise _bad(key, f"holds {value!r}, which is no size in pixels")
    return int(value)


def _number(keys: Mapping[str, object], key: str, default: float) -> float:
    value = keys.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(key, f"is {value!r}, not a number")
    return float(value)


def _numbers(keys: Mapping[str, object], key: str) -> tuple[float, ...]:
    values = keys.get(key)
    listed: list[object] = values if isinstance(values, list) else [values]
    found = [float(v) for v in listed if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    if not found or len(found) != len(listed):
        raise _bad(key, "is not a list of numbers")
    return tuple(found)


def _choice(keys: Mapping[str, object], key: str, kind: type[_E], default: _D) -> _E | _D:
    value = keys.get(key)
    if value is None:
        return default
    try:
        return kind(value)
    except ValueError:
        raise _bad(key, f"is {value!r}; known are {', '.join(str(e.value) for e in kind)}") from None
