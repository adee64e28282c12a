"""Which output reads as class scores, and targets read off outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import BATCH, OTHER, Array, Graph, Value
from unpool.methods.occlusion_requests import Target

Floats = npt.NDArray[np.float64]
_PASSING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout")


def scores_output(graph: Graph) -> str | None:
    """The output that reads as scores: the first with a channel axis and no plane; else one with a plane of 1 by 1."""
    values = [v for n in graph.outputs if (v := graph.values.get(n)) is not None and v.channel_axis is not None]
    for value in values:
        if not value.spatial_axes:
            return value.name
    for value in values:
        if value.shape is not None and all(value.shape[p] == 1 for p in value.spatial_axes.values()):
            return value.name
    return None


def ends_in_softmax(graph: Graph, name: str) -> bool:
    """Whether an output's values are probabilities already."""
    node = graph.producers.get(name)
    while node is not None and node.op_type in _PASSING:
        node = graph.producers.get(node.inputs[0])
    return node is not None and node.op_type == "Softmax"


class Reader:
    """Reads targets and labels off the outputs of a batch of runs.

    Args:
        graph: the model.
        shapes: output name -> extents for one example.
        targets: what is scored; their outputs are named.
        labels: the output whose strongest class is told, or ``None``.
        probability: softmax over an output's channels first, unless it ends in one.

    Raises:
        InvalidArgumentError: a target outside its output.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Mapping[str, tuple[int, ...]],
        targets: Sequence[Target],
        labels: str | None,
        *,
        probability: bool,
    ) -> None:
        self._graph = graph
        self._targets = targets
        self._labels = labels
        outputs = [t.output for t in targets if t.output] + ([labels] if labels else [])
        self.outputs: tuple[str, ...] = tuple(dict.fromkeys(outputs))
        self._values = {o: as_run(graph.values[o], shapes[o]) for o in self.outputs}
        self._soft = {o for o in self.outputs if probability and not ends_in_softmax(graph, o)}
        for i, target in enumerate(targets):
            _inside(i, target, self._values[target.output or ""], shapes[target.output or ""])

    def value(self, name: str) -> Value:
        """The axes of a value."""
        return self._graph.values[name]

    def scores(self, found: Mapping[str, Array], count: int) -> npt.NDArray[np.float32]:
        """The targets' scores, float32 (targets, count)."""
        wide = {o: self._examples(o, found[o], count) for o in {t.output for t in self._targets if t.output}}
        rows = [
            wide[t.output or ""][
                (slice(None), *(slice(a, b) for a, b in zip(t.lower, t.upper, strict=True)))
            ].reshape(count, -1).sum(1)
            for t in self._targets
        ]  # fmt: skip
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, count), np.float32)

    def labels(self, found: Mapping[str, Array], count: int) -> npt.NDArray[np.int64]:
        """The strongest classes, int64 (count,); empty where no output tells them."""
        if self._labels is None:
            return np.zeros(0, np.int64)
        rows = _first(self._values[self._labels], found[self._labels], count).reshape(count, -1)
        strongest: npt.NDArray[np.int64] = rows.argmax(1).astype(np.int64)
        return strongest

    def _examples(self, name: str, values: Array, count: int) -> Floats:
        value = self._values[name]
        wide: Floats = _first(value, values, count).astype(np.float64)
        if name not in self._soft:
            return wide
        channel, batch = value.channel_axis, value.batch_axis
        axes = tuple(range(1, wide.ndim))
        if channel is not None:
            axes = (channel + (batch is None or channel < batch),)
        powers = np.exp(wide - wide.max(axes, keepdims=True))
        soft: Floats = powers / powers.sum(axes, keepdims=True)
        return soft


def as_run(value: Value, shape: tuple[int, ...]) -> Value:
    """An output as it comes for one example: a file may name a batch where there is none, or say too few axes."""
    axes = value.axes if len(value.axes) == len(shape) else (OTHER,) * len(shape)
    return replace(value, axes=tuple(OTHER if a == BATCH and n != 1 else a for a, n in zip(axes, shape, strict=True)))


def _first(value: Value, values: Array, count: int) -> Array:
    """Examples along the first axis."""
    if value.batch_axis is None:  # what has no batch comes from single runs
        return values[np.newaxis] if count == 1 else values
    return np.moveaxis(values, value.batch_axis, 0)


def _inside(i: int, target: Target, value: Value, shape: tuple[int, ...]) -> None:
    extents = tuple(n for axis, n in enumerate(shape) if axis != value.batch_axis)
    if len(target.lower) != len(extents) or len(target.upper) != len(extents):
        raise InvalidArgumentError(
            f"targets[{i}]",
            f"has {len(target.lower)} indices; output '{target.output}' has {len(extents)} axes {extents}"
            " beside the batch",
        )
    if any(not 0 <= a < b <= n for a, b, n in zip(target.lower, target.upper, extents, strict=True)):
        raise InvalidArgumentError(
            f"targets[{i}]",
            f"{target.lower} to {target.upper} is not inside output '{target.output}' of extents {extents}",
        )
