"""What the engine's tests share: seeds, signals put back into whole planes, captures of somebody else's forward run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from tests.oracles.recording import Recording, record

from unpool.engine import Boxes, Capture, Engine, EngineSettings, Feeds, Route, Signal
from unpool.engine.captures import dense, sign
from unpool.engine.switches import from_input
from unpool.graph import Layer, load
from unpool.graph.rectifiers import clip_bounds

Index = tuple[int, ...]
"""One index per axis but the batch's, which stands first."""
RELATIVE = 1e-5
NEAR_TIE = 1e-5
FORWARD = 1e-4
_SETTINGS = EngineSettings(device="cpu", threads=2)


@dataclass(eq=False)
class Subject:
    """A model under test, one picture, and one recorded run of its file."""

    name: str
    source: Path | bytes
    tensor: npt.NDArray[np.float32]
    settings: EngineSettings = _SETTINGS

    @cached_property
    def engine(self) -> Engine:
        return Engine(load(self.source), self.settings)

    @cached_property
    def feeds(self) -> Feeds:
        name = self.engine.model.graph.inputs[0]
        return Feeds({name: self.tensor}, name)

    @cached_property
    def recording(self) -> Recording:
        model = onnx.load(self.source) if isinstance(self.source, Path) else onnx.load_from_string(self.source)
        weights = {t.name for t in model.graph.initializer}
        (name,) = [i.name for i in model.graph.input if i.name not in weights]
        return record(model, {name: self.tensor})

    def layer(self, fraction: float) -> Layer:
        """The layer at a part of the way up."""
        layers = self.engine.model.layers
        return layers[min(int(len(layers) * fraction), len(layers) - 1)]

    def capture(self, route: Route) -> Capture:
        return self.engine.captured_for(self.feeds, route, also=route.seeds)

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.close()


def units_at(values: npt.NDArray[np.floating]) -> list[Index]:
    """The strongest unit of a layer (1, ...), and the strongest channels at a corner and at a border.

    The axis behind the batch counts as the channel's; which one it is makes no difference to a walk.
    """
    values = values[0]
    found = [tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))]
    if values.ndim > 1:
        plane = values.shape[1:]
        corner = tuple(n - 1 for n in plane)
        border = (0, *(n // 2 for n in plane[1:]))
        found += [(int(values[(slice(None), *place)].argmax()), *place) for place in (corner, border)]
    return found


def seed(engine: Engine, feeds: Feeds, name: str, units: Sequence[Index], starts: Sequence[float]) -> Signal:
    """Units of a tensor on boxes of one place each."""
    geometry = engine.geometry(feeds)
    value, shape = geometry.value(name), list(geometry.shapes[name])
    assert value.batch_axis == 0
    spatial = value.spatial_axes
    boxes = Boxes(
        {s: np.array([u[p - 1] for u in units], np.int64) for s, p in spatial.items()},
        dict.fromkeys(spatial, 1),
        len(units),
    )
    shape[0] = len(units)
    for position in spatial.values():
        shape[position] = 1
    signal = torch.zeros(shape)
    for row, (unit, start) in enumerate(zip(units, starts, strict=True)):
        signal[(row, *(0 if i + 1 in spatial.values() else u for i, u in enumerate(unit)))] = start
    return Signal(signal, boxes)


def one_hot(shape: Sequence[int], units: Sequence[Index], starts: Sequence[float]) -> npt.NDArray[np.float64]:
    """The same units on whole planes: (U, ...)."""
    signal = np.zeros((len(units), *shape[1:]))
    for row, (unit, start) in enumerate(zip(units, starts, strict=True)):
        signal[(row, *unit)] = start
    return signal


def whole(engine: Engine, feeds: Feeds, name: str, signal: npt.NDArray[np.floating]) -> Signal:
    """A signal on whole planes."""
    plane = engine.geometry(feeds).plane(name)
    return Signal(torch.from_numpy(signal).float(), Boxes.whole(plane, len(signal)))


def arrived(
    engine: Engine,
    route: Route,
    capture: Capture,
    seeds: Mapping[str, Signal],
    images: Sequence[int] | None = None,
    to: str | None = None,
) -> npt.NDArray[np.float32]:
    """Walks, and puts what arrives back into whole planes: (U, ...) in the sink's layout."""
    (to,) = route.to if to is None else (to,)
    count = len(next(iter(seeds.values())).value)
    chosen = np.zeros(count, np.int64) if images is None else np.array(images, np.int64)
    value, shape = capture.geometry.value(to), capture.geometry.shapes[to]
    result = np.zeros((count, *shape[1:]), np.float32)
    seen: list[int] = []
    for piece in engine.walk(route, capture, seeds, chosen):
        if piece is None:
            continue
        seen += piece.units.tolist()
        if to not in piece.signals:
            continue
        signal = piece.signals[to]
        for row, unit in enumerate(piece.units):
            source: list[slice] = [slice(None)] * (result.ndim - 1)
            target = list(source)
            for s, position in value.spatial_axes.items():
                origin, size = int(signal.boxes.origins[s][row]), signal.boxes.sizes[s]
                low, high = max(0, origin), max(0, min(shape[position], origin + size))
                source[position - 1] = slice(low - origin, max(low, high) - origin)
                target[position - 1] = slice(low, max(low, high))
            result[(unit, *target)] = signal.value[row].numpy()[tuple(source)]
    assert sorted(seen) == list(range(count)), "every unit arrives once"
    return result


def close(found: npt.NDArray[np.floating], expected: npt.NDArray[np.floating], relative: float = RELATIVE) -> float:
    """The largest difference over the expected signal's largest magnitude, unit by unit; asserts that it is small."""
    assert found.shape == expected.shape
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(np.abs(theirs).max(initial=0))
        difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0))
        assert difference <= relative * scale, f"{difference:.3g} of {scale:.3g}"
        worst = max(worst, difference / scale if scale else 0.0)
    return worst


def foreign_capture(engine: Engine, feeds: Feeds, route: Route, get: Callable[[str], torch.Tensor]) -> Capture:
    """What a route needs, from another runtime's forward run: ``get`` gives a tensor by its name."""
    made = Capture(engine.geometry(feeds), 1)
    for name in route.values:
        value = get(name)
        made.values[name] = dense(value.float() if value.is_floating_point() else value)
    for name in route.masks:
        made.masks[name] = dense(sign(get(name)))
    pools = {n.name: n for n in engine.model.graph.nodes}
    for name in route.switches:
        made.switches[name] = dense(from_input(get(pools[name].inputs[0]).float(), pools[name]))
    return made


def follow(recording: Recording, engine: Engine, feeds: Feeds, capture: Capture, route: Route) -> tuple[int, int]:
    """Makes an oracle use our own masks, switches and values, once they are shown to differ at near-ties only.

    Returns:
        How many mask and switch places differ.
    """
    masks = differing_masks(recording, engine, feeds, capture, route)
    switches = differing_switches(recording, engine, feeds, capture, route)
    masks += differing_pooled_masks(recording, engine, feeds, capture, route)
    for name in route.values:
        if name in recording.values:
            recording.values[name] = capture.values[name].numpy()
    return masks, switches


def near(gap: npt.NDArray[np.floating], x: npt.NDArray[np.floating], what: str, noise: Callable[[], float]) -> None:
    """Asserts that gaps are near-ties: below 1e-5 of the plane's maximum, or below how far the two runs lie apart."""
    scale = float(np.abs(x).max(initial=0))
    if gap.max(initial=0) <= NEAR_TIE * scale:
        return
    # Fused and unfused sums of a deep network can lie further apart; never by more than a runtime may differ.
    bound = noise()
    assert bound <= FORWARD * scale, f"{what}: the runs lie {bound / scale:.1e} apart"
    assert gap.max() <= 2 * bound, (
        f"{what} differ by more than a near-tie: {gap.max() / scale:.1e}, {bound / scale:.1e} apart"
    )


def _apart(engine: Engine, feeds: Feeds, recording: Recording, name: str) -> float:
    """How far two runtimes' values of a tensor lie apart."""
    return float(np.abs(engine.run(feeds, [name])[name] - recording.values[name]).max(initial=0))


def differing_masks(recording: Recording, engine: Engine, feeds: Feeds, capture: Capture, route: Route) -> int:
    """Counts rectifier places that two runtimes see on different sides; each has to be a near-tie."""
    producers = {n.output[0]: n for n in recording.model.graph.node}
    ours: dict[str, npt.NDArray[np.bool_]] = {}
    bounds: dict[str, tuple[float, float]] = {}
    for step in route.steps:
        name = step.node.outputs[0]
        limits = clip_bounds(engine.model.graph, step.node)
        if step.node.op_type == "Relu" and name in route.masks | route.values:
            ours[name], bounds[name] = capture.mask(name).numpy() > 0, (0.0, np.inf)
        elif limits is not None and name in route.values:
            y = capture.values[name].numpy()
            ours[name], bounds[name] = (y > limits[0]) & (y < limits[1]), limits
    count = 0
    for name, mask in ours.items():
        x = recording.values[producers[name].input[0]]
        low, high = bounds[name]
        differ = mask != ((x > low) & (x < high))
        gap = np.minimum(np.abs(x[differ] - low), np.abs(x[differ] - high))
        near(gap, x, name, lambda name=name: _apart(engine, feeds, recording, name))
        recording.masks[name] = mask
        count += int(differ.sum())
    return count


def differing_pooled_masks(recording: Recording, engine: Engine, feeds: Feeds, capture: Capture, route: Route) -> int:
    """Counts places that two runtimes see on different sides of zero, where signs are kept behind a pool."""
    producers = {n.output[0]: n for n in recording.model.graph.node}
    count = 0
    for name in (n for n in route.masks if producers[n].op_type == "MaxPool"):
        rectified = producers[name].input[0]
        before = producers[rectified].input[0]
        x = recording.values[before]
        mask = recording.masks.get(rectified, x > 0).copy()
        places, ours = recording.indices[name], capture.mask(name).numpy() > 0
        differ = mask.ravel()[places] != ours
        gap = np.abs(x.ravel()[places[differ]])
        near(gap, x, name, lambda before=before: _apart(engine, feeds, recording, before))
        mask.ravel()[places] = ours
        recording.masks[rectified] = mask
        count += int(differ.sum())
    return count


def flat_places(codes: npt.NDArray[np.integer], node: onnx.NodeProto, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """Places inside a pool's windows as ONNX Indices, flat over the pool's input (N, C, H, W) of one image."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kernel = attributes["kernel_shape"]
    rank = len(kernel)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    begins = attributes.get("pads", [0] * 2 * rank)[:rank]
    places = np.unravel_index(codes.astype(np.int64), kernel)
    flat = np.arange(shape[1]).reshape(1, -1, *[1] * rank)
    for axis in range(rank):
        outputs = np.arange(codes.shape[2 + axis]).reshape(-1, *[1] * (rank - 1 - axis))
        coordinate = outputs * strides[axis] - begins[axis] + places[axis] * dilations[axis]
        assert (coordinate >= 0).all(), "a switch points into the padding"
        assert (coordinate < shape[2 + axis]).all(), "a switch points into the padding"
        flat = flat * shape[2 + axis] + coordinate
    return flat


def differing_switches(recording: Recording, engine: Engine, feeds: Feeds, capture: Capture, route: Route) -> int:
    """Counts switches that two runtimes set differently; each has to be a near-tie."""
    protos = {n.output[0]: n for n in recording.model.graph.node}
    count = 0
    for node in (s.node for s in route.steps if s.node.name in route.switches):
        proto = protos[node.outputs[0]]
        x = recording.values[proto.input[0]]
        ours = flat_places(capture.switches[node.name].numpy(), proto, x.shape)
        theirs = recording.indices[node.outputs[0]]
        differ = ours != theirs
        gap = np.abs(x.ravel()[ours[differ]] - x.ravel()[theirs[differ]])
        near(gap, x, node.name, lambda name=proto.input[0]: _apart(engine, feeds, recording, name))
        recording.indices[node.outputs[0]] = ours
        count += int(differ.sum())
    return count
