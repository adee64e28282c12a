"""The reverse walk: signals from any seeds down to any sinks, a batch of units at a time, each on its own box."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unpool.engine.boxes import Boxes, Ints, Planes, move, pick, zero_outside
from unpool.engine.captures import Capture
from unpool.engine.crossing import Site
from unpool.engine.parting import part
from unpool.engine.plan import Route
from unpool.engine.step import Step
from unpool.engine.stumbling import STUMBLES, stumbled
from unpool.engine.weights import Weights
from unpool.graph.errors import PreconditionError
from unpool.graph.intervals import POINTWISE, Broadcast
from unpool.ops import AxisWindows

_TICK_SECONDS = 0.05
_WHOLE_SHARE = 0.65
"""Of a plane: boxes that cover more of it cost more in cutting, moving and masking than they save in arithmetic."""


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal at one tensor: units along its batch axis, their boxes along its spatial axes.

    Attributes:
        value: the signal.
        boxes: where it is.
        spare: nobody else reads its memory, so that whoever takes it may write there.
    """

    value: Tensor
    boxes: Boxes
    spare: bool = False


@dataclass(frozen=True, eq=False)
class Piece:
    """Units that have arrived: their indices among those that set out, and their signal at the sinks it reached."""

    units: Ints
    signals: Mapping[str, Signal]


@dataclass(eq=False)
class _Party:
    """Units that walk together."""

    units: Ints
    images: Ints
    pending: dict[str, Signal]


@dataclass(frozen=True, eq=False)
class Walker:
    """Walks one route through one capture.

    Attributes:
        route: the way.
        capture: what the rules need; it must hold everything that the route lists.
        weights: the model's constants.
        piece_bytes: how much signal is carried at once; a party whose next signal is larger splits up.
    """

    route: Route
    capture: Capture
    weights: Weights
    piece_bytes: int

    def walk(self, seeds: Mapping[str, Signal], images: Ints) -> Iterator[Piece | None]:
        """Carries signals down.

        Args:
            seeds: value name -> signal; all of the same number of units.
            images: the image of every unit, int64 (units,).

        Yields:
            Pieces as units arrive; ``None`` now and then between two nodes, when the caller may pause or give up.
        """
        party = _Party(np.arange(len(images)), images, dict(seeds))
        yield from self._go(party, 0)

    def _go(self, party: _Party, start: int) -> Iterator[Piece | None]:
        resumed = time.monotonic()
        for i in range(start, len(self.route.steps)):
            step = self.route.steps[i]
            arrived = {o: party.pending[o] for o in step.node.outputs if o in party.pending}
            if not arrived:
                continue
            outer, inner = self._boxes(step, arrived, len(party.units))
            parts = self._parts(party, step, inner)
            if parts > 1:
                for part in self._split(party, parts):
                    yield from self._go(part, i)
                return
            for output in arrived:
                if output not in self.route.to:
                    del party.pending[output]
            self._cross(party, step, arrived, outer, inner)
            if time.monotonic() - resumed > _TICK_SECONDS:
                yield None
                resumed = time.monotonic()
        yield Piece(party.units, {name: party.pending[name] for name in sorted(self.route.to) if name in party.pending})

    def _boxes(
        self, step: Step, arrived: Mapping[str, Signal], count: int
    ) -> tuple[dict[str, Boxes], dict[int, Boxes]]:
        """The outputs' boxes, widened where the node cannot be crossed locally, and the inputs' natural boxes.

        Inputs go by their index: a node may read one value twice, through two windows.
        """
        geometry = self.capture.geometry
        windows = self._windows(step)
        first = next(iter(arrived))
        plane = geometry.plane(first)
        outer: Boxes | None = None
        for name, signal in arrived.items():
            if geometry.plane(name) != plane:  # a split along the plane: no common coordinates
                outer = Boxes.whole(plane, count)
                break
            outer = signal.boxes if outer is None else outer.union(signal.boxes)
        assert outer is not None
        widened = [s for s in plane if not outer.is_whole(plane, s) and not self._local(step, windows, s)]
        outer = self._aligned(outer, windows, [s for s in plane if s not in widened and not outer.is_whole(plane, s)])
        # A box about as large as the plane saves nothing, and the plane has no border to mask.
        covered = math.prod(min(outer.sizes[s], n) / max(n, 1) for s, n in plane.items() if s not in widened)
        widened += [
            s
            for s in plane
            if s not in widened
            and not outer.is_whole(plane, s)
            and (covered >= _WHOLE_SHARE or outer.sizes[s] >= plane[s])
        ]
        if widened:
            outer = Boxes(
                {s: np.zeros_like(o) if s in widened else o for s, o in outer.origins.items()},
                {s: plane[s] if s in widened else n for s, n in outer.sizes.items()},
                count,
            )
        inner = {
            i: geometry.natural(name, along, outer)
            for i, (name, along) in enumerate(zip(step.node.inputs, windows, strict=True))
            if name in geometry.shapes
        }
        planes = {o: geometry.plane(o) for o in step.node.outputs if o in geometry.shapes}
        return {o: outer.on(plane, own) for o, own in planes.items()}, inner

    def _aligned(self, outer: Boxes, windows: Sequence[AxisWindows], axes: Sequence[int]) -> Boxes:
        """Boxes that begin at the same place of a step along some axes, so that their inputs' are of one size."""
        origins, sizes = dict(outer.origins), dict(outer.sizes)
        for s in axes:
            found = outer.intervals(s)
            for along in windows:
                if s in along:
                    found = along[s].aligned(found)
            origins[s], sizes[s] = found.lower, found.size
        return Boxes(origins, sizes, outer.count)

    def _windows(self, step: Step) -> Sequence[AxisWindows]:
        """The windows that a step can be crossed through on boxes; an axis without one takes the whole plane.

        A vector-Jacobian product runs the forward on the box, which is right only where no neighbour is read.
        """
        windows = self.capture.geometry.windows(step.node)
        if step.rule.exact:
            return windows
        return [{s: w for s, w in along.items() if w == POINTWISE or isinstance(w, Broadcast)} for along in windows]

    def _local(self, step: Step, windows: Sequence[AxisWindows], index: int) -> bool:
        """Whether a step can be crossed on boxes along an axis."""
        geometry = self.capture.geometry
        for name, wanted, along in zip(step.node.inputs, step.wanted, windows, strict=True):
            if name not in geometry.shapes:
                continue
            if index not in geometry.plane(name):
                # A layout operator that makes this axis out of others; a captured operand is merely broadcast.
                if wanted:
                    return False
            elif index not in along:
                return False
        return True

    def _parts(self, party: _Party, step: Step, inner: Mapping[int, Boxes]) -> int:
        """Into how many the party has to split before this step."""
        count = len(party.units)
        if count == 1:
            return 1
        geometry = self.capture.geometry
        size = 0
        for i, (name, wanted) in enumerate(zip(step.node.inputs, step.wanted, strict=True)):
            if not wanted:
                continue
            value = geometry.value(name)
            if value.batch_axis is None:
                return count
            elements = 1
            for axis, extent in enumerate(geometry.shapes[name]):
                if axis != value.batch_axis:
                    elements *= extent
            for s, position in value.spatial_axes.items():
                elements = elements // geometry.shapes[name][position] * inner[i].sizes[s]
            size = max(size, elements * 4)
        return min(count, -(-size * count // self.piece_bytes))

    def _split(self, party: _Party, parts: int) -> Iterator[_Party]:
        """Smaller parties, of units whose boxes stick out of the planes alike, less what all of them stick out."""
        geometry = self.capture.geometry
        largest = max(party.pending, key=lambda name: party.pending[name].value.numel())
        for chunk in part(party.pending[largest].boxes, geometry.plane(largest), parts):
            pending = {}
            for name, signal in party.pending.items():
                cut = self._trimmed(name, Signal(signal.value, signal.boxes.take(chunk)))
                batch = geometry.value(name).batch_axis
                if batch is not None:
                    cut = Signal(pick(cut.value, batch, chunk), cut.boxes, spare=True)
                pending[name] = cut
            yield _Party(party.units[chunk], party.images[chunk], pending)

    def _trimmed(self, name: str, signal: Signal) -> Signal:
        """A signal less the rows at its ends that lie outside the plane for every one of its boxes."""
        geometry = self.capture.geometry
        plane = geometry.plane(name)
        trims = {s: signal.boxes.overhang(plane, s) for s in signal.boxes.sizes}
        boxes = signal.boxes.trimmed(trims)
        value = signal.value
        for s, position in geometry.value(name).spatial_axes.items():
            if boxes.sizes[s] != signal.boxes.sizes[s]:
                value = value.narrow(position, trims[s][0], boxes.sizes[s])
        return Signal(value, boxes, signal.spare)

    # Around the work and not around the generator, which would switch gradients off for whoever it pauses for.
    @torch.no_grad()
    def _cross(
        self,
        party: _Party,
        step: Step,
        arrived: Mapping[str, Signal],
        outer: Mapping[str, Boxes],
        inner: Mapping[int, Boxes],
    ) -> None:
        geometry = self.capture.geometry
        node = step.node
        signals: list[Tensor | None] = []
        spare: list[bool] = []
        for output in node.outputs:
            if output not in arrived:
                signals.append(None)
                spare.append(False)
                continue
            found = arrived[output]
            moved = move(found.value, geometry.value(output), found.boxes, outer[output])
            signals.append(moved)
            spare.append(output not in party.pending and (found.spare or not _share(moved, found.value)))
        trims = {
            i: {s: boxes.overhang(geometry.plane(node.inputs[i]), s) for s in boxes.sizes} for i, boxes in inner.items()
        }
        site = Site(step, self.capture, self.weights, party.images, outer, inner, trims.get(0, {}), all(spare))
        try:
            results = step.rule.apply(site, tuple(signals))
        except (NotImplementedError, TypeError) as error:  # an attribute or a mode that no forward here knows
            raise PreconditionError(f"the signal cannot cross {node}: {error}", node=node.name) from error
        except STUMBLES as error:
            reason = "torch fails there; ask for a layer that does not go through it, or end the signal behind it"
            raise stumbled(node, error, f"the signal cannot cross {node}: {reason}") from error
        for i, (name, wanted, result) in enumerate(zip(node.inputs, step.wanted, results, strict=True)):
            if not wanted or result is None or 0 in geometry.shapes[name]:  # no signal comes to an empty tensor
                continue
            sources = [k for k, s in enumerate(signals) if s is not None and _share(s, result)]
            lent = any(not self._alike(node.outputs[k], outer[node.outputs[k]], name, inner[i]) for k in sources)
            shared = sum(r is not None and _share(r, result) for r in results) > 1 or 0 in result.stride()
            own = not shared and all(spare[k] for k in sources)
            self._add(party, name, self._fit(name, result, inner[i], trims[i], lent=lent, spare=own))

    def _alike(self, output: str, outer: Boxes, name: str, inner: Boxes) -> bool:
        """Whether an input's boxes stick out of its plane just where the output's stick out of theirs."""
        geometry = self.capture.geometry
        return geometry.plane(output) == geometry.plane(name) and outer.same(inner)

    def _fit(
        self,
        name: str,
        result: Tensor,
        natural: Boxes,
        trims: Mapping[int, tuple[int, int]],
        *,
        lent: bool,
        spare: bool,
    ) -> Signal:
        """A rule's result with what nobody needs cut away, and zeros wherever it still sticks out of the plane."""
        geometry = self.capture.geometry
        value = geometry.value(name)
        trimmed = natural.trimmed(trims)
        for s, position in value.spatial_axes.items():
            if result.shape[position] != trimmed.sizes[s]:
                result = result.narrow(position, trims[s][0], trimmed.sizes[s])
        plane: Planes = geometry.plane(name)
        fitted = zero_outside(result, value, trimmed, plane, lent=lent)
        return Signal(fitted, trimmed, spare or not _share(fitted, result))

    def _add(self, party: _Party, name: str, signal: Signal) -> None:
        """Joins a signal to what has already come to the same tensor over another branch."""
        if name not in party.pending:
            party.pending[name] = signal
            return
        value = self.capture.geometry.value(name)
        other = party.pending[name]
        union = other.boxes.union(signal.boxes)
        total = move(other.value, value, other.boxes, union) + move(signal.value, value, signal.boxes, union)
        party.pending[name] = Signal(total, union, spare=True)


def _share(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors stand in the same memory."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
