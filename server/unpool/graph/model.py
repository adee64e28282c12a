"""The frozen view of a model that every room above works on: values with named axes, nodes, and the graph they form."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
Attribute: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array
Dim: TypeAlias = int | str | None
"""An extent: known, symbolic by name, or unknown."""


class AxisKind(enum.Enum):
    """What an axis of a tensor stands for."""

    BATCH = "batch"
    CHANNEL = "channel"
    SPATIAL = "spatial"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis label; ``index`` numbers the spatial axes (0 is the outermost: depth, or height, or time)."""

    kind: AxisKind
    index: int = 0

    def __str__(self) -> str:
        return f"spatial{self.index}" if self.kind is AxisKind.SPATIAL else self.kind.value


HOUSE = "unpool"
"""Domain of the operators that files write out and that no standard has."""

BATCH = Axis(AxisKind.BATCH)
CHANNEL = Axis(AxisKind.CHANNEL)
OTHER = Axis(AxisKind.OTHER)


def spatial(index: int) -> Axis:
    """The label of spatial axis ``index``."""
    return Axis(AxisKind.SPATIAL, index)


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, by its name in the file.

    Attributes:
        name: the file's own tensor name.
        dtype: NumPy dtype name (``float32``, ``int64``, ``bfloat16`` ...), empty when unknown.
        shape: extents, or ``None`` when the rank is unknown.
        axes: one label per axis; empty when the rank is unknown.
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] | None = None
    axes: tuple[Axis, ...] = ()

    @cached_property
    def batch_axis(self) -> int | None:
        """Position of the batch axis."""
        return self.axes.index(BATCH) if BATCH in self.axes else None

    @cached_property
    def channel_axis(self) -> int | None:
        """Position of the channel axis."""
        return self.axes.index(CHANNEL) if CHANNEL in self.axes else None

    @cached_property
    def spatial_axes(self) -> Mapping[int, int]:
        """Spatial index -> position, in the order of the spatial index."""
        found = {a.index: i for i, a in enumerate(self.axes) if a.kind is AxisKind.SPATIAL}
        return MappingProxyType(dict(sorted(found.items())))


@dataclass(frozen=True, eq=False)
class Node:
    """One operator call.

    Attributes:
        name: the file's node name, or a generated one, unique in the graph.
        domain: operator domain; the empty string is ai.onnx.
        op_type: ONNX operator type.
        version: the opset version of the domain that the model imports.
        inputs: value names; the empty string stands for an absent optional input.
        outputs: value names; the empty string stands for an output that nobody takes.
        attributes: as in the file; tensors as NumPy arrays, lists as tuples.
        gate: the node looks like a rectifier but its value multiplies another signal, so that rectifier rules do not
            apply.
    """

    name: str
    domain: str
    op_type: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    gate: bool = False

    def __str__(self) -> str:
        return f"{self.op_type} node '{self.name}'"

    @property
    def kind(self) -> str:
        """Domain, operator type and opset version: ``ai.onnx.Conv-13``."""
        return f"{self.domain or 'ai.onnx'}.{self.op_type}-{self.version}"


class Constant(Protocol):
    """A weight or another value fixed at load; its array is made when first asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        ...

    @property
    def dtype(self) -> str:
        """NumPy dtype name."""
        ...

    def numpy(self) -> Array:
        """The array, read only."""
        ...


class BatchSupport(enum.Enum):
    """Whether several images may be fed at once."""

    SYMBOLIC = "symbolic"
    FIXED = "fixed"


MEASURES = frozenset({"Shape", "Size"})
FROM_CONTAINERS = frozenset(
    {"ConcatFromSequence", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceLength"}
)
"""Operators that make tensors of what a sequence or an optional value holds, which any node may have put there."""
_UNCERTAIN = FROM_CONTAINERS | frozenset(
    {
        "If",
        "Loop",
        "Scan",
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
    }
)
"""Operators that tell more than their inputs do: bodies read what lies around them, and chance reads nothing."""
_COUNTING = FROM_CONTAINERS | frozenset(
    {"NonZero", "NonMaxSuppression", "Unique", "Compress", "If", "Loop", "ImageDecoder"}
)
"""Operators whose results are as long as what they find."""
_EXTENTS_GIVEN: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Upsample": (1,),
}
"""Operator -> the inputs whose numbers say how large its results are."""


def _counts(node: Node, known: Collection[str]) -> bool:
    """Whether the numbers that a node reads decide how large its results are; ``known`` are decided without them."""
    given = _EXTENTS_GIVEN.get(node.op_type, ())
    names = [node.inputs[i] for i in given if i < len(node.inputs)]
    return node.op_type in _COUNTING or any(name and name not in known for name in names)


_SHAPED_LIKE = frozenset({"RandomNormalLike", "RandomUniformLike", "EyeLike"})
"""Operators that read the extents of their input, and nothing else of it."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A normalised model: nodes in topological order, values by name, constants.

    Attributes:
        nodes: topologically ordered; nodes whose outputs are all constants are gone.
        values: every value that is not a constant, by name.
        inputs: what has to be fed (initialisers with a default are constants, not inputs).
        outputs: the model's outputs, in the file's order.
        constants: initialisers and folded values, by name.
        opsets: domain -> version.
        batch: whether the batch axis is free.
    """

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Constant]
    opsets: Mapping[str, int]
    batch: BatchSupport = BatchSupport.SYMBOLIC

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """Value name -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Value name -> the nodes that read it, in topological order."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def order(self) -> Mapping[Node, int]:
        """Node -> its place in the topological order."""
        return {node: i for i, node in enumerate(self.nodes)}

    @cached_property
    def measuring(self) -> tuple[Node, ...]:
        """The nodes that compute from the extents of the inputs, or from constants, alone; in topological order."""
        return self._measures[0]

    @cached_property
    def measured(self) -> frozenset[str]:
        """Numbers and lists that the inputs' extents alone decide: amounts of a Pad, sizes of a Resize."""
        outputs = (self.values[o] for node in self.measuring for o in node.outputs if o in self.values)
        return frozenset(v.name for v in outputs if v.shape is not None and len(v.shape) <= 1)

    @property
    def counted(self) -> frozenset[str]:
        """Values whose extents the numbers fed may decide: what a selection found, and all that is computed from it."""
        return self._measures[1]

    @cached_property
    def _measures(self) -> tuple[tuple[Node, ...], frozenset[str]]:
        """The nodes that measure, and the values that are counted."""
        measuring: list[Node] = []
        known = set(self.constants)
        counted: set[str] = set()
        for node in self.nodes:
            reads = [i for i in node.inputs if i]
            outputs = [o for o in node.outputs if o]
            if not counted.isdisjoint(reads):
                counted.update(outputs)
            elif (node.op_type in MEASURES and not node.domain) or (
                reads and node.op_type not in _UNCERTAIN and known.issuperset(reads)
            ):
                measuring.append(node)
                known.update(outputs)
            elif not node.domain and _counts(node, known):
                counted.update(outputs)
        return tuple(measuring), frozenset(counted)

    def ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """The names themselves and every value that they are computed from (constants left out)."""
        seen: set[str] = set()
        stack = [n for n in names if n in self.values]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            if node := self.producers.get(name):
                stack.extend(i for i in node.inputs if i in self.values and i not in seen)
        return frozenset(seen)

    def descendants(self, names: Iterable[str], *, extents: bool = True) -> frozenset[str]:
        """The names themselves and every value that is computed from them.

        Args:
            names: value names.
            extents: whether what is computed from their extents alone counts.
        """
        seen: set[str] = {n for n in names if n in self.values}
        blind: set[Node] = set()
        if not extents:
            blind = {*self.measuring, *(n for n in self.nodes if n.op_type in _SHAPED_LIKE and not n.domain)}
        for node in self.nodes:
            if node not in blind and any(i in seen for i in node.inputs):
                seen.update(o for o in node.outputs if o)
        return frozenset(seen)
