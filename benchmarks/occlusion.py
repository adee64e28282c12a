"""Occlusion of the twelve models beside batched ONNX Runtime brute force and Captum, and beside the computed bound."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import Occlusion as CaptumOcclusion
from tests import zoo

from benchmarks.report import Line, Report
from unpool.converters.recipes import efficientnet_lite0
from unpool.engine import Engine, Feeds
from unpool.engine.cutting import split
from unpool.engine.dirt import spread
from unpool.graph import load
from unpool.methods import Mode, OcclusionHeader, OcclusionRequest, OcclusionTile, Target, occlude
from unpool.methods.grids import passes, regular

WINDOW = 16
_STRIDES = (16, 4)
_SHARE = 0.6
_NEVER_SLOWER = 0.95
_COARSE = 0.1
_CAPTUM = {"imagenet_vgg16": 10.0, "alexnet": 3.0, "resnet50": 2.5, "efficientnet_lite0": 1.5}
_BATCHES = (1, 4, 16)
_FLAT = 1.1
_PEAKS = ("alexnet", "imagenet_vgg16")


@dataclass(frozen=True)
class _Sample:
    """How many positions are run of each, evenly over the grid; times are scaled up to all of them."""

    brute: int
    boxes: int
    peak: int


_WHOLE = _Sample(brute=48, boxes=800, peak=2000)
_QUICK = _Sample(brute=16, boxes=196, peak=800)


@dataclass(frozen=True)
class _Timed:
    """One run: seconds before the header, seconds behind it scaled to all positions, and the header."""

    before: float
    behind: float
    header: OcclusionHeader

    @property
    def total(self) -> float:
        return self.before + self.behind


def run(report: Report, *, quick: bool = False) -> None:
    """Window 16 at stride 16, and at stride 4, on each model; then peak memory."""
    sample = _QUICK if quick else _WHOLE
    for name in zoo.names():
        engine = Engine(load(zoo.path(name)))
        source = engine.model.graph.inputs[0]
        feeds = Feeds({source: zoo.tensor(name)}, source)
        grids = {stride: _timed(engine, feeds, stride, Mode.AUTO, sample.boxes) for stride in _STRIDES}
        # What a whole run takes does not depend on the stride.
        brute = min(_timed(engine, feeds, WINDOW, Mode.BRUTE_FORCE, sample.brute).behind for _ in range(2))
        each = brute / len(_origins(engine, feeds, WINDOW))
        for stride, found in grids.items():
            _beside_brute_force(report, engine, feeds, name, stride, found, each)
        engine.close()
        del engine
        gc.collect()
        if name in _CAPTUM:
            _beside_captum(report, name, grids[WINDOW])
    for name in _PEAKS[:1] if quick else _PEAKS:
        _peak(report, name, sample.peak)


def _timed(engine: Engine, feeds: Feeds, stride: int, mode: Mode, most: int) -> _Timed:
    """A grid, or some of its positions; sessions, made once for a model, are not counted."""
    output = engine.model.graph.outputs[-1]
    extents = engine.geometry(feeds).shapes[output][1:]
    target = Target((0,) * len(extents), tuple(extents), output)
    count = len(_origins(engine, feeds, stride))
    chosen = _spread_over(count, most)

    def ask(only: tuple[int, ...]) -> _Timed:
        began = behind = time.perf_counter()
        header: OcclusionHeader | None = None
        request = OcclusionRequest((WINDOW,), (stride,), targets=(target,), mode=mode, only=only)
        done = 0
        for item in occlude(engine, feeds, request):
            if isinstance(item, OcclusionHeader):
                header, behind = item, time.perf_counter()
            elif isinstance(item, OcclusionTile):
                done += len(item.numbers)
        assert header is not None
        assert done == len(only)
        return _Timed(behind - began, (time.perf_counter() - behind) * count / len(only), header)

    ask((0,))
    engine.forget()
    return ask(chosen)


def _spread_over(count: int, most: int) -> tuple[int, ...]:
    return tuple(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist())


def _origins(engine: Engine, feeds: Feeds, stride: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    plane = list(engine.geometry(feeds).plane(feeds.of).values())
    return regular(plane, (WINDOW,), (stride,), 1 << 20).origins


def _beside_brute_force(
    report: Report, engine: Engine, feeds: Feeds, name: str, stride: int, found: _Timed, each: float
) -> None:
    header = found.header
    count = math.prod(header.shape)
    brute = each * count
    bound = _bound(engine, feeds, stride)
    coarse = len(passes(header.shape)[0])
    what = f"{name} {WINDOW}/{stride}, {count} positions"
    report.add(
        Line(
            what,
            f"ONNX Runtime, batched, whole: {brute:.2f} s",
            f"{found.total:.2f} s",
            brute / found.total,
            _NEVER_SLOWER,
            note=f"{header.boxed:.0%} of the work on boxes",
        )
    )
    share = brute / found.total / bound
    report.add(Line(f"{what}: share of the bound", f"bound {bound:.2f}", f"{brute / found.total:.2f}", share, _SHARE))
    report.add(
        Line(f"{what}: first pass", f"{count} positions", f"{coarse} positions", coarse / count, _COARSE, lower=True)
    )


def _bound(engine: Engine, feeds: Feeds, stride: int) -> float:
    """Multiply-adds of a whole run over those in the clipped boxes, averaged over the grid."""
    geometry = engine.geometry(feeds)
    dirt = spread(geometry, feeds.of, _origins(engine, feeds, stride), (WINDOW,) * len(geometry.plane(feeds.of)))
    return split(geometry, feeds.of, dirt, engine.model.graph.outputs, (), forced=True).saved


def _beside_captum(report: Report, name: str, found: _Timed) -> None:
    """Captum's Occlusion on the model in PyTorch, at the fastest of some batches."""
    module, x = _module(name), torch.from_numpy(zoo.tensor(name))
    batch = min(_BATCHES, key=lambda size: _forward_seconds(module, x, size))
    planes = (2, 3) if x.shape[1] == 3 else (1, 2)
    window = tuple(3 if axis not in planes else WINDOW for axis in range(1, 4))
    strides = tuple(3 if axis not in planes else WINDOW for axis in range(1, 4))
    # Captum also lays a window over what is left at the end.
    places = math.prod(1 + math.ceil((x.shape[axis] - WINDOW) / WINDOW) for axis in planes)
    method = CaptumOcclusion(lambda hidden: module(hidden).flatten(1))
    with torch.no_grad():
        began = time.perf_counter()
        method.attribute(
            x, sliding_window_shapes=window, strides=strides, target=0, baselines=0, perturbations_per_eval=batch
        )
        each = (time.perf_counter() - began) / places
    count = math.prod(found.header.shape)
    report.add(
        Line(
            f"{name} {WINDOW}/{WINDOW}, {count} positions",
            f"Captum Occlusion: {each * count:.2f} s",
            f"{found.total:.2f} s",
            each * count / found.total,
            _CAPTUM[name],
            note=f"Captum at batch {batch}, {places} positions",
        )
    )


def _module(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return efficientnet_lite0.module() if name == "efficientnet_lite0" else zoo.twin(name).module.eval()


def _forward_seconds(module: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, batch: int) -> float:
    """Seconds for one picture of a batch, warm."""
    several = x.expand(batch, *x.shape[1:]).contiguous()
    with torch.no_grad():
        module(several)
        began = time.perf_counter()
        module(several)
    return (time.perf_counter() - began) / batch


_PEAK = """
import pathlib, sys
import numpy as np
from tests import zoo
from unpool.engine import Engine, Feeds
from unpool.graph import load
from unpool.methods import OcclusionRequest, occlude

def high():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

name, count = sys.argv[1], int(sys.argv[2])
engine = Engine(load(zoo.path(name)))
source = engine.model.graph.inputs[0]
feeds = Feeds({source: zoo.tensor(name)}, source)
engine.prepare()
engine.run(feeds)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
loaded = high()
only = tuple(np.linspace(0, 2808, count).round().astype(int).tolist())
for _ in occlude(engine, feeds, OcclusionRequest((16,), (4,), top=1, only=only)):
    pass
print(loaded, high())
"""


def _peak(report: Report, name: str, most: int) -> None:
    """Peak memory of a process that runs many positions, over that of one that runs few."""
    few = most // 8
    found = [_peak_of(name, count) for count in (few, most)]
    report.add(
        Line(
            f"{name}: peak memory above the loaded model, {most} positions over {few}",
            f"{found[0]:.0f} MiB",
            f"{found[1]:.0f} MiB",
            found[1] / found[0],
            _FLAT,
            lower=True,
        )
    )


def _peak_of(name: str, count: int) -> float:
    """MiB."""
    command: Sequence[str] = [sys.executable, "-c", _PEAK, name, str(count)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, peak = map(int, out.stdout.split())
    return (peak - loaded) / 1024
