"""Steps on boxes: a node or several fused ones, run where windows touched their outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unpool.engine.boxable import Boxable, How
from unpool.engine.boxes import Ints, gather
from unpool.engine.context import Context, Patch
from unpool.engine.enlarging import cropped, resized, seen_inputs, transposed, transposed_inputs, transposed_padding
from unpool.engine.fusing import Step, bounded
from unpool.engine.geometry import Geometry
from unpool.engine.weights import Weights
from unpool.graph.errors import PreconditionError
from unpool.graph.intervals import Intervals
from unpool.graph.model import Node
from unpool.ops import run
from unpool.ops.picking import picked

_CONV = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}


@dataclass(frozen=True, eq=False)
class Stepper:
    """Runs steps on boxes.

    Attributes:
        geometry: shapes and windows for one image.
        kept: value name -> the value of the whole input, as far as it is needed.
        weights: the model's constants.
    """

    geometry: Geometry
    kept: Mapping[str, Tensor]
    weights: Weights
    _contexts: dict[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], float], Context] = field(
        default_factory=dict
    )

    def context(
        self,
        key: str,
        kept: Tensor | None,
        name: str,
        axes: Sequence[int],
        before: Sequence[int],
        behind: Sequence[int] | None = None,
        outside: float = 0.0,
    ) -> Context:
        """A kept value as rows, made once for each padding; ``key`` tells values of one name apart."""
        ends = tuple(behind or (0,) * len(axes))
        found = (key, tuple(axes), tuple(before), ends, outside)
        if found not in self._contexts:
            tensor = (self.kept[name] if kept is None else kept).to(self._device)
            self._contexts[found] = Context(tensor, self.geometry.value(name), axes, before, ends, outside)
        return self._contexts[found]

    @property
    def _device(self) -> torch.device:
        return next(iter(self.kept.values())).device

    def __call__(
        self,
        step: Step,
        patches: Mapping[str, Patch],
        origins: dict[int, Ints],
        sizes: Mapping[int, int],
        units: int,
    ) -> dict[str, Patch]:
        """Runs one step.

        Args:
            step: what is run.
            patches: value name -> what the windows changed of it.
            origins: spatial index -> where the boxes of its outputs begin, int64 (units,).
            sizes: spatial index -> their extents.
            units: how many there are.

        Returns:
            The patches of its outputs.

        Raises:
            PreconditionError: the operator cannot be run by torch.
        """
        node, how = step.node, step.how
        output = next(o for o in node.outputs if o)
        try:
            match how.how:
                case How.WINDOW:
                    results = self._through_window(step, patches[node.inputs[0]], origins, sizes, units)
                case How.TRANSPOSED:
                    results = (self._transposed(step, patches[node.inputs[0]], origins, sizes, units),)
                case How.RESIZE:
                    results = (self._resized(step, patches[node.inputs[0]], origins, sizes),)
                case How.PAD:
                    results = (self._padded(step, patches[node.inputs[0]], origins, sizes),)
                case How.PICK:
                    results = (self._picked(step, patches[node.inputs[0]], origins, sizes, units),)
                case How.JOIN:
                    results = (self._joined(step, patches, origins, sizes),)
                case How.BLOCKS:
                    results = (self._moved(step, patches[node.inputs[0]], origins, sizes),)
                case How.RESHAPE:
                    x = patches[node.inputs[0]].value
                    results = (x.reshape(self._shape(output, sizes, units)),)
                case How.POINTWISE:
                    inputs = [self._input(node, name, patches, origins, sizes, units) for name in node.inputs]
                    results = run(node, inputs)
        except (NotImplementedError, TypeError) as error:
            raise PreconditionError(f"{node} cannot be run on boxes: {error}", node=node.name) from error
        if step.bounds:
            results = (bounded(results[0], step.bounds),)
        return {name: Patch(r, origins) for name, r in zip(step.outputs, results, strict=False) if name}

    def _shape(self, name: str, sizes: Mapping[int, int], units: int) -> tuple[int, ...]:
        value = self.geometry.value(name)
        shape = list(self.geometry.shapes[name])
        assert value.batch_axis is not None
        shape[value.batch_axis] = units
        for s, position in value.spatial_axes.items():
            shape[position] = sizes[s]
        return tuple(shape)

    def _input(
        self,
        node: Node,
        name: str,
        patches: Mapping[str, Patch],
        origins: Mapping[int, Ints],
        sizes: Mapping[int, int],
        units: int,
    ) -> Tensor | None:
        """One input of a node that works place by place, on the boxes of its output."""
        if not name:
            return None
        output = next(o for o in node.outputs if o)
        if name in patches:
            return self.brought(name, patches[name], origins, sizes)
        if node.op_type == "Concat" and self._unlabelled(name, output):
            return self._beside(name, output, origins, sizes, units)
        if name in self.weights:
            return self.weights[name]
        value = self.geometry.value(name)
        kept = self.kept[name]
        if name in self.geometry.graph.measured and not kept.is_floating_point():
            return kept.cpu()  # where operators look for amounts and sizes
        own = {s: p for s, p in value.spatial_axes.items() if kept.shape[p] > 1}
        if value.batch_axis is None or not own:
            return kept
        context = self.context(name, None, name, tuple(own.values()), (0,) * len(own))
        extents = [sizes[s] for s in own]
        return context.shaped(context.cut([origins[s] for s in own], extents), units, extents)

    def _unlabelled(self, name: str, output: str) -> bool:
        """Whether something joined to a signal has the output's plane but none of its labels: coordinates, a state."""
        if name in self.geometry.graph.values and self.geometry.value(name).spatial_axes:
            return False
        return bool(self.geometry.value(output).spatial_axes)

    def _beside(
        self, name: str, output: str, origins: Mapping[int, Ints], sizes: Mapping[int, int], units: int
    ) -> Tensor:
        """What lies on the boxes of a value that goes by the output's axes; it is the same for every unit."""
        known = self.weights[name] if name in self.weights else self.kept[name]
        spatial = self.geometry.value(output).spatial_axes
        context = self.context(f"{name}/beside", known, output, tuple(spatial.values()), (0,) * len(spatial))
        extents = [sizes[s] for s in spatial]
        return context.shaped(context.cut([origins[s] for s in spatial], extents), units, extents)

    def brought(self, name: str, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int]) -> Tensor:
        """A patch on other boxes: what lies around it is read from what is kept."""
        value = self.geometry.value(name)
        same = all(patch.value.shape[p] == sizes[s] for s, p in value.spatial_axes.items())
        if same and all(np.array_equal(patch.origins[s], origins[s]) for s in value.spatial_axes):
            return patch.value
        axes = tuple(value.spatial_axes.values())
        context = self.context(name, None, name, axes, (0,) * len(axes))
        return context.fill(
            [origins[s] for s in value.spatial_axes],
            [sizes[s] for s in value.spatial_axes],
            patch.value,
            [patch.origins[s] for s in value.spatial_axes],
        )

    def _through_window(
        self,
        step: Step,
        patch: Patch,
        origins: Mapping[int, Ints],
        sizes: Mapping[int, int],
        units: int,
    ) -> tuple[Tensor, ...]:
        """Convolution or pooling: the inputs of the boxes, with the padding that the plane has there."""
        node, how = step.node, step.how
        name, known = node.inputs[0], how.windows
        assert known is not None
        value = self.geometry.value(name)
        labels = {p: s for s, p in value.spatial_axes.items()}
        starts, at, begins, extents = [], [], [], []
        for i, s in enumerate(how.spatial):
            start = origins[s] if s is not None else np.zeros(units, np.int64)
            count = sizes[s] if s is not None else known.outputs[i]
            starts.append(start)
            begins.append(start * known.strides[i] - known.begins[i])
            extents.append((count - 1) * known.strides[i] + known.spans[i])
            own = labels.get(2 + i)
            at.append(patch.origins[own] if own is not None else np.zeros(units, np.int64))
        axes = tuple(range(2, 2 + len(how.spatial)))
        # Where the last window ends in front of the plane's end nothing is cut: patches may lie there.
        behind = tuple(max(0, e) for e in known.ends)
        before = tuple(max(0, b) for b in known.begins)
        context = self.context(name, None, name, axes, before, behind, how.outside)
        x = context.fill(begins, extents, patch.value, at)
        if step.weight is not None:
            return (_convolved(step, x),)
        bare = {k: v for k, v in node.attributes.items() if k not in ("pads", "auto_pad", "ceil_mode")}
        bare.pop("count_include_pad", None)
        (y,) = run(dataclasses.replace(node, attributes=bare), [x])
        if node.op_type == "AveragePool":
            y = y * self._shares(node, how, starts, y).to(y.device)
        return (y,)

    def _transposed(
        self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int], units: int
    ) -> Tensor:
        node, known = step.node, step.how.windows
        assert known is not None
        nothing = np.zeros(units, np.int64)
        starts = [nothing if s is None else origins[s] for s in step.how.spatial]
        counts = [known.outputs[i] if s is None else sizes[s] for i, s in enumerate(step.how.spatial)]
        begins, extents, offsets = transposed_inputs(known, starts, counts)
        axes = tuple(range(2, 2 + len(counts)))
        name = node.inputs[0]
        before, behind = transposed_padding(known, self.geometry.shapes[name][2:])
        context = self.context(name, None, name, axes, before, behind)
        labels = {p: s for s, p in self.geometry.value(name).spatial_axes.items()}
        at = [patch.origins[labels[axis]] if axis in labels else nothing for axis in axes]
        x = context.fill(begins, extents, patch.value, at)
        bias = self.weights[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
        group = node.attributes.get("group", 1)
        assert isinstance(group, int)
        return transposed(x, self.weights[node.inputs[1]], bias, known, group, offsets, counts)

    def _seen(
        self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int]
    ) -> tuple[Tensor, dict[int, Ints]]:
        """The inputs that boxes of outputs see, and where these begin."""
        name = step.node.inputs[0]
        plane = self.geometry.plane(name)
        windows = self.geometry.windows(step.node)[0]
        begins, extents = {}, {}
        for s, extent in plane.items():
            seen = windows[s].inputs_of(Intervals(origins[s], origins[s] + sizes[s]))
            begins[s], extents[s] = seen_inputs(seen, extent)
        return self.brought(name, patch, begins, extents), begins

    def _resized(self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int]) -> Tensor:
        x, begins = self._seen(step, patch, origins, sizes)
        value = self.geometry.value(step.node.inputs[0])
        axes = value.spatial_axes
        assert value.batch_axis is not None
        return resized(
            x,
            value.batch_axis,
            {axes[s]: matrix for s, matrix in step.how.matrices.items()},
            {axes[s]: (origins[s], sizes[s]) for s in step.how.matrices},
            {axes[s]: begins[s] for s in step.how.matrices},
        )

    def _padded(self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int]) -> Tensor:
        """The plane with a constant around it."""
        name, around = step.node.inputs[0], step.how.around
        spatial = self.geometry.value(name).spatial_axes
        before, behind = ([max(0, around[s][i]) for s in spatial] for i in (0, 1))
        context = self.context(name, None, name, tuple(spatial.values()), before, behind, step.how.outside)
        begins = [origins[s] - around[s][0] for s in spatial]
        return context.fill(begins, [sizes[s] for s in spatial], patch.value, [patch.origins[s] for s in spatial])

    def _picked(
        self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int], units: int
    ) -> Tensor:
        """The inputs that a slice, or a border's outputs, read; along other axes the same for every unit."""
        x, begins = self._seen(step, patch, origins, sizes)
        value, places = self.geometry.value(step.node.inputs[0]), dict(step.how.places)
        rows = {}
        for s, axis in value.spatial_axes.items():
            if axis in places:
                along = places.pop(axis)[origins[s][:, None] + np.arange(sizes[s])]
                rows[s] = torch.from_numpy(along - begins[s][:, None]).to(x.device)
        if rows:
            x = gather(x, value, torch.arange(units, device=x.device), rows)
        return picked(x, places)

    def _joined(
        self, step: Step, patches: Mapping[str, Patch], origins: Mapping[int, Ints], sizes: Mapping[int, int]
    ) -> Tensor:
        """The kept output, with what changed of each input laid where the input lies."""
        output = step.node.outputs[0]
        spatial = self.geometry.value(output).spatial_axes
        laid = []
        for name, windows in zip(step.node.inputs, self.geometry.windows(step.node), strict=True):
            if name in patches:
                at = patches[name].origins
                laid.append(
                    (patches[name].value, [windows[s].outputs_of(Intervals(at[s], at[s] + 1)).lower for s in spatial])
                )
        context = self.context(output, None, output, tuple(spatial.values()), (0,) * len(spatial))
        return context.filled([origins[s] for s in spatial], [sizes[s] for s in spatial], laid)

    def _moved(self, step: Step, patch: Patch, origins: Mapping[int, Ints], sizes: Mapping[int, int]) -> Tensor:
        """Blocks between plane and channels: as many whole ones as the boxes lie in, less what sticks out of these."""
        x, begins = self._seen(step, patch, origins, sizes)
        (y,) = run(step.node, [x])
        name, output = step.node.inputs[0], step.node.outputs[0]
        before, behind = self.geometry.plane(name), self.geometry.plane(output)
        for s, axis in self.geometry.value(output).spatial_axes.items():
            y = cropped(y, axis, origins[s] - begins[s] * behind[s] // before[s], sizes[s])
        return y

    def _shares(self, node: Node, how: Boxable, starts: Sequence[Ints], y: Tensor) -> Tensor:
        """Places of the window over those that are averaged over, for each output of each box."""
        known = how.windows
        assert known is not None
        extents = self.geometry.shapes[node.inputs[0]][2:]
        include = bool(node.attributes.get("count_include_pad", 0))
        found = torch.ones((1,) * y.ndim, dtype=torch.float32)
        for i, start in enumerate(starts):
            first = (start[:, None] + np.arange(y.shape[2 + i])) * known.strides[i] - known.begins[i]
            places = first[..., None] + np.arange(known.kernel[i]) * known.dilations[i]
            low, high = (-known.begins[i], extents[i] + known.declared[i]) if include else (0, extents[i])
            counts = np.maximum(((places >= low) & (places < high)).sum(-1), 1)
            shape = [len(start), 1, *(1 for _ in starts)]
            shape[2 + i] = counts.shape[1]
            found = found * torch.from_numpy((known.kernel[i] / counts).astype(np.float32).reshape(shape))
        return found


def _convolved(step: Step, x: Tensor) -> Tensor:
    """A convolution without padding; one of 1 by 1 is a matrix product, sooner on few places."""
    weight, node = step.weight, step.node
    assert weight is not None
    assert step.how.windows is not None
    strides, dilations = step.how.windows.strides, step.how.windows.dilations
    group = node.attributes.get("group", 1)
    assert isinstance(group, int)
    if x.ndim == 4 and group == 1 and tuple(weight.shape[2:]) == (1, 1):
        rows = x.permute(0, 2, 3, 1)[:, :: strides[0], :: strides[1]].contiguous()
        return torch.nn.functional.linear(rows, weight.flatten(1), step.bias).permute(0, 3, 1, 2)
    return _CONV[x.ndim - 2](x, weight, step.bias, strides, 0, dilations, group)
