"""Occlusion of the twelve models beside batched ONNX Runtime brute force and Captum, and beside the computed bound."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import Occlusion as CaptumOcclusion
from tests import zoo

from benchmarks.report import Line, Report
from unpool.engine import Engine, Feeds
from unpool.engine.cutting import split
from unpool.engine.dirt import spread
from unpool.graph import load
from unpool.methods import Mode, OcclusionHeader, OcclusionRequest, OcclusionTile, Target, occlude
from unpool.methods.grids import regular

WINDOW = 16
_SHARE = 0.6
_NEVER_SLOWER = 0.95
_CAPTUM = {"imagenet_vgg16": 10.0, "alexnet": 3.0, "resnet50": 2.5, "efficientnet_lite0": 1.5}
_BATCHES = (1, 4, 16)
_POSITIONS = 48
"""Positions of the fine grid that the slow peers are timed on; their time is linear in them."""


def run(report: Report, *, quick: bool = False) -> None:
    """Window 16 at stride 16, and at stride 4, on each model."""
    for name in zoo.names():
        engine = Engine(load(zoo.path(name)))
        source = engine.model.graph.inputs[0]
        feeds = Feeds({source: zoo.tensor(name)}, source)
        for stride in (16,) if quick else (16, 4):
            _grid(report, engine, feeds, name, stride)
        engine.close()
        del engine
        gc.collect()


def _grid(report: Report, engine: Engine, feeds: Feeds, name: str, stride: int) -> None:
    output = engine.model.graph.outputs[-1]
    extents = engine.geometry(feeds).shapes[output][1:]
    target = Target((0,) * len(extents), tuple(extents), output)

    def timed(mode: Mode, only: tuple[int, ...] | None = None) -> tuple[float, float, OcclusionHeader, int]:
        """Seconds for all, seconds behind the header, the header, positions of the first pass."""
        began = behind = time.perf_counter()
        header, coarse = None, 0
        request = OcclusionRequest((WINDOW,), (stride,), targets=(target,), mode=mode, only=only)
        for item in occlude(engine, feeds, request):
            if isinstance(item, OcclusionHeader):
                header, behind = item, time.perf_counter()
            elif isinstance(item, OcclusionTile) and item.coarse:
                coarse += len(item.numbers)
        assert header is not None
        ended = time.perf_counter()
        return ended - began, ended - behind, header, coarse

    timed(Mode.AUTO, only=(0,))  # sessions are made once for a model
    engine.forget()
    total, _, header, coarse = timed(Mode.AUTO)
    count = len(header.origins)
    chosen = None if stride > 4 else tuple(np.linspace(0, count - 1, _POSITIONS, dtype=int).tolist())
    timed(Mode.BRUTE_FORCE, only=(0,))
    brute = min(timed(Mode.BRUTE_FORCE, chosen)[1] for _ in range(2)) * (count / len(chosen) if chosen else 1)
    bound = _bound(engine, feeds, stride)
    note = f"bound {bound:.2f}, share {brute / total / bound:.2f}; {header.boxed:.0%} on boxes; first pass {coarse}"
    what = f"{name}, occlusion {WINDOW}/{stride}, {count} positions"
    peer = f"ONNX Runtime, batched{f', {_POSITIONS} positions scaled' if chosen else ''}: {brute:.2f} s"
    report.add(Line(what, peer, f"{total:.2f} s", brute / total, _NEVER_SLOWER, note=note))
    report.add(Line(f"{name} {WINDOW}/{stride}, share of the bound", f"bound {bound:.2f}", f"{brute / total:.2f}",
                    brute / total / bound, _SHARE))  # fmt: skip
    if name in _CAPTUM and stride == 16:
        captum = _captum(name, feeds)
        report.add(Line(f"{name} {WINDOW}/{stride}", f"Captum Occlusion, best batch: {captum:.2f} s", f"{total:.2f} s",
                        captum / total, _CAPTUM[name]))  # fmt: skip


def _bound(engine: Engine, feeds: Feeds, stride: int) -> float:
    """Multiply-adds of a whole run over those in the clipped boxes, averaged over the grid."""
    geometry = engine.geometry(feeds)
    plane = list(geometry.plane(feeds.of).values())
    grid = regular(plane, (WINDOW,), (stride,), 1 << 20)
    dirt = spread(geometry, feeds.of, grid.origins, grid.window)
    return split(geometry, feeds.of, dirt, engine.model.graph.outputs, (), forced=True).saved


def _captum(name: str, feeds: Feeds, engine: Engine) -> float:
    """Captum's Occlusion on the model in PyTorch, at the fastest of some batches, on a share of the positions."""
    x = torch.from_numpy(feeds.arrays[feeds.of])
    forward, x = _module(name, x)
    # Captum takes no list of positions: a part of the picture of the same positions' number is hidden, on a whole run.
    times = []
    for batch in _BATCHES:
        _seconds(lambda batch=batch: forward(x.expand(batch, *x.shape[1:]).contiguous()))
        times.append(_seconds(lambda batch=batch: forward(x.expand(batch, *x.shape[1:]).contiguous())) / batch)
    best = _BATCHES[int(np.argmin(times))]
    method = CaptumOcclusion(lambda batch: forward(batch).flatten(1)[:, :1])
    shape = (x.shape[1], WINDOW, WINDOW)
    with torch.no_grad():
        return _seconds(
            lambda: method.attribute(
                x, sliding_window_shapes=shape, strides=shape, target=0, baselines=0, perturbations_per_eval=best
            )
        )


def _module(name: str, x: torch.Tensor) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    if name == "efficientnet_lite0":
        from unpool.converters.recipes import efficientnet_lite0

        return efficientnet_lite0.module().eval(), x
    twin = zoo.twin(name).module.eval()
    return twin, x if x.shape[1] == 3 else x.permute(0, 3, 1, 2).contiguous()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    with torch.no_grad():
        work()
    return time.perf_counter() - began
