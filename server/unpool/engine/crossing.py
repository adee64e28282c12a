"""What the walk hands to a backward rule: one node, seen by a batch of units, each on its own box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unpool.engine.boxes import Boxes, Ints, cut
from unpool.engine.captures import Capture
from unpool.engine.step import Step
from unpool.engine.weights import Weights
from unpool.graph.model import Node
from unpool.ops import Operand


@dataclass(frozen=True, eq=False)
class Site:
    """One crossing of one node; implements ``unpool.ops.Crossing``.

    Attributes:
        step: the node and its rule.
        capture: what was captured.
        weights: the model's constants.
        images: the image of every unit.
        outer: output name -> its boxes.
        inner: index of an input that is a value -> its natural boxes.
        trims: spatial index -> what of input 0's natural box is cut away.
        spare: the signals' memory may be written to.
    """

    step: Step
    capture: Capture
    weights: Weights
    images: Ints
    outer: Mapping[str, Boxes]
    inner: Mapping[int, Boxes]
    trims: Mapping[int, tuple[int, int]]
    spare: bool = False

    @property
    def node(self) -> Node:
        return self.step.node

    @property
    def wanted(self) -> tuple[bool, ...]:
        return self.step.wanted

    def constant(self, index: int) -> Tensor | None:
        name = self.node.inputs[index] if index < len(self.node.inputs) else ""
        if name in self.capture.geometry.graph.measured:
            found = self.capture.values[name]
            return found if found.is_floating_point() else found.cpu()
        return self.weights[name] if name and name in self.weights else None

    def input(self, index: int) -> Tensor:
        name = self.node.inputs[index]
        if name in self.weights:
            return self.weights[name]
        return self._cut(self.capture.values[name], name, self.inner[index])

    def output(self, index: int = 0) -> Tensor:
        name = self.node.outputs[index]
        return self._cut(self.capture.values[name], name, self.outer[name])

    def positive(self) -> Tensor:
        name = self.node.outputs[0]
        return self._cut(self.capture.mask(name), name, self.outer[name]).float()

    def switches(self) -> Tensor:
        name = self.node.outputs[0]
        return self._cut(self.capture.switches[self.node.name], name, self.outer[name])

    def input_shape(self, index: int) -> tuple[int, ...]:
        return self._shape(self.node.inputs[index], self.inner[index])

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        name = self.node.outputs[index]
        return self._shape(name, self.outer[name])

    def input_operand(self, index: int) -> Operand:
        found = self.capture.geometry.operand(self.node.inputs[index])
        assert found is not None
        return found

    def output_operand(self, index: int = 0) -> Operand:
        found = self.capture.geometry.operand(self.node.outputs[index])
        assert found is not None
        return found

    def output_origins(self, spatial_index: int) -> Tensor:
        return torch.from_numpy(self.outer[self.node.outputs[0]].origins[spatial_index])

    def input_origins(self, index: int, spatial_index: int) -> Tensor:
        return torch.from_numpy(self.inner[index].origins[spatial_index])

    def trim(self, spatial_index: int) -> tuple[int, int]:
        return self.trims.get(spatial_index, (0, 0))

    def _cut(self, tensor: Tensor, name: str, boxes: Boxes) -> Tensor:
        return cut(tensor, self.capture.geometry.value(name), self.images, boxes)

    def _shape(self, name: str, boxes: Boxes) -> tuple[int, ...]:
        value = self.capture.geometry.value(name)
        shape = list(self.capture.geometry.shapes[name])
        if value.batch_axis is not None:
            shape[value.batch_axis] = boxes.count
        for s, position in value.spatial_axes.items():
            shape[position] = boxes.sizes[s]
        return tuple(shape)
