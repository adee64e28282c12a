"""A scan beside the bare forward run and PyTorch with hooks, from files, in memory; projections of exemplars."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from PIL import Image
from tests import zoo

from benchmarks.report import Line, Report, drain, paired
from unpool.engine import Boxes, Engine, EngineSettings, Feeds, Policy, Signal
from unpool.engine.settings import available_cores
from unpool.exemplars import (
    DataSet,
    Exemplar,
    Roots,
    ScanHeader,
    ScanIndex,
    Scanner,
    ScanRequest,
    Store,
    open_dataset,
    scan,
    shards,
)
from unpool.exemplars.cropping import Cropped
from unpool.exemplars.projecting import fetch, project_exemplars
from unpool.exemplars.reduction import batch_size, chosen_layers, open_reduction
from unpool.graph import load
from unpool.methods.requests import ProjectionRequest
from unpool.repository import Entry, Repository

_ASKED = {"alexnet": 0.9, "imagenet_vgg16": 0.9, "resnet50": 0.8, "efficientnet_lite0": 0.7}
_ANY = Roots(unrestricted=True)


def run(report: Report, *, quick: bool = False) -> None:
    """Every figure."""
    for name, asked in _ASKED.items():
        _share(report, name, asked, runs=5 if quick else 9)
    _hooks(report)
    _shallow(report)
    _files(report, 200 if quick else 600)
    _memory(report, 5_000 if quick else 50_000)
    _projections(report)


def _bare(engine: Engine) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    # As the scan's session: the cores are shared with decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    data = ir.to_proto(engine.model.runtime).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _reduced(engine: Engine, array: np.ndarray, names: tuple[str, ...] = ()) -> tuple[Callable[[], object], np.ndarray]:
    source = engine.model.graph.inputs[0]
    layers = chosen_layers(engine, names)
    size = batch_size(engine.geometry(Feeds({source: array}, source)), layers, engine.settings.piece_operations)
    reduction = open_reduction(engine, layers, {source: array})
    batch = np.concatenate([array] * size)
    return lambda: reduction.run({source: batch}, size), batch


def _share(report: Report, name: str, asked: float, runs: int) -> None:
    engine = Engine(load(zoo.path(name)), EngineSettings())
    mine, batch = _reduced(engine, zoo.tensor(name))
    bare, source = _bare(engine), engine.model.graph.inputs[0]
    plain, reduced, ratio = paired(lambda: bare.run(None, {source: batch}), mine, runs=runs)
    report.add(
        Line(
            f"{name}: maxima of every rectifier, share of bare ONNX Runtime throughput",
            f"{len(batch) / plain:.1f} images/s",
            f"{len(batch) / reduced:.1f} images/s",
            ratio,
            asked,
            note=f"batch {len(batch)}; positions take a second run of the surviving images",
        )
    )


def _hooks(report: Report) -> None:
    engine = Engine(load(zoo.vgg16_trunk(224)), EngineSettings())
    twin = zoo.vgg16_twin().eval()
    found: list[torch.Tensor] = []
    for module in twin.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _m, _i, output: found.append(output.amax((2, 3))))
    array = zoo.vgg16_tensor("cat", 224)
    mine, batch = _reduced(engine, array)
    tensor = torch.from_numpy(batch)

    def hooked() -> None:
        found.clear()
        with torch.inference_mode():
            twin(tensor)

    peer, this, ratio = paired(hooked, mine, runs=7)
    report.add(
        Line("VGG-16: the same beside a PyTorch forward with hooks", f"{peer:.3f} s", f"{this:.3f} s", ratio, 1.4)
    )


def _shallow(report: Report) -> None:
    engine = Engine(load(zoo.path("imagenet_vgg16")), EngineSettings())
    array = zoo.tensor("imagenet_vgg16")
    layer = chosen_layers(engine, ())[1].name
    mine, batch = _reduced(engine, array, (layer,))
    source = engine.model.graph.inputs[0]
    engine.run(Feeds({source: array}, source), [layer])
    cut = ir.convenience.extract(engine.model.runtime.graph, [source], [layer])
    cut.opset_imports.update(engine.model.runtime.opset_imports)
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = ir.Model(cut, ir_version=engine.model.runtime.ir_version)
    bare = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    plain, reduced, ratio = paired(lambda: bare.run(None, {source: batch}), mine, runs=5)
    report.add(
        Line(
            "VGG-16: the second rectifier alone, share of a bare forward cut there",
            f"{plain / len(batch):.4f} s an image",
            f"{reduced / len(batch):.4f} s",
            ratio,
            0.9,
        )
    )


def _opened(name: str) -> tuple[Repository, Entry]:
    repository = Repository(zoo.path(name), engine_settings=EngineSettings())
    # Held for as long as the benchmark runs.
    return repository, repository.lend(name).__enter__()


def _photographs(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    names = zoo.picture_names()
    for i in range(count):
        picture = Image.open(zoo.picture_path(names[i % len(names)])).convert("RGB")
        side = int(min(picture.size) * rng.uniform(0.5, 0.9))
        left, top = (int(rng.integers(0, n - side + 1)) for n in picture.size)
        picture.crop((left, top, left + side, top + side)).resize((400, 400)).save(folder / f"{i:05d}.jpg")
    return folder


def _files(report: Report, count: int) -> None:
    repository, entry = _opened("alexnet")
    with tempfile.TemporaryDirectory() as name:
        dataset = open_dataset(str(_photographs(Path(name), count)), _ANY)
        layers = chosen_layers(entry.engine, ())
        shard = shards(len(dataset), count)[0]
        alone = Scanner(entry, dataset, layers, 9)
        drain(alone.scan_shard(shards(32, 32)[0]))  # makes the session
        alone.times.decode = alone.times.prepare = alone.times.network = 0.0
        began = time.perf_counter()
        drain(alone.scan_shard(shard))
        whole = time.perf_counter() - began
        times = alone.times
        cores = available_cores()
        parts = {"decode": times.decode / cores, "preprocess": times.prepare / cores, "network": times.network}
        total = sum(parts.values())
        slowest = max(parts.values())
        shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in parts.items())
        report.add(
            Line(
                f"AlexNet from {count} JPEG files: share of the slowest part's throughput",
                f"slowest part {count / slowest:.1f} images/s",
                f"{count / whole:.1f} images/s",
                slowest / whole,
                0.9,
                note=f"{shares}; times of threads that share {cores} cores",
            )
        )
    repository.close()


_PEAK = """
import pathlib, sys, tempfile
import numpy as np
from tests.service.small import network, put, recipe
from unpool.engine import EngineSettings
from unpool.exemplars import Roots, ScanRequest, Store, open_dataset, scan
from unpool.repository import Repository

count = int(sys.argv[1])
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    found = put(folder / "models", "small", network(1))
    (found / "preprocessor_config.json").write_text(recipe(size={"height": 32, "width": 32}, rescale_factor=1 / 127))
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (count, 32, 32, 3))
    rng = np.random.default_rng(0)
    for begin in range(0, count, 1000):
        pixels[begin : begin + 1000] = rng.integers(0, 256, pixels[begin : begin + 1000].shape, np.uint8)
    pixels.flush()
    del pixels
    repository = Repository(folder / "models", engine_settings=EngineSettings(device="cpu"))
    with repository.lend("small") as entry:
        dataset = open_dataset(str(folder / "pixels.npy"), Roots(unrestricted=True))
        anonymous = 0
        for _ in scan(entry, dataset, ScanRequest(), Store(str(folder / "index"))):
            status = pathlib.Path("/proc/self/status").read_text()
            # Pages of the mapped file are the kernel's to keep or drop.
            held = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon"))
            anonymous = max(anonymous, held)
print(anonymous)
"""


def _memory(report: Report, count: int) -> None:
    found = {}
    for images in (1_000, count):
        out = subprocess.run([sys.executable, "-c", _PEAK, str(images)], capture_output=True, text=True, check=True)
        found[images] = int(out.stdout) / 1024
    ratio = found[count] / found[1_000]
    report.add(
        Line(
            f"peak memory of a scan over {count} small images over that of 1,000",
            f"{found[1_000]:.0f} MiB",
            f"{found[count]:.0f} MiB",
            ratio,
            1.05,
            lower=True,
        )
    )


def _whole_planes(entry: Entry, dataset: DataSet, exemplars: Sequence[Exemplar]) -> None:
    """The same deconvnet projections on whole planes, all images in one batch."""
    engine, layer = entry.engine, exemplars[0].layer
    sources = fetch(entry, dataset, [e.image for e in exemplars])
    source = engine.model.graph.inputs[0]
    axis = engine.model.graph.values[source].batch_axis or 0
    feeds = Feeds({source: np.concatenate([sources[e.image].feeds.arrays[source] for e in exemplars], axis)}, source)
    route = engine.route([layer], [source], Policy.DECONVNET)
    capture = engine.captured_for(feeds, route, also=[layer])
    values, value = capture.values[layer], engine.model.graph.values[layer]
    signal = torch.zeros_like(values)
    for row, exemplar in enumerate(exemplars):
        rest = iter(exemplar.position)
        fixed = {value.batch_axis: row, value.channel_axis: exemplar.channel}
        at = tuple(fixed[i] if i in fixed else next(rest) for i in range(values.ndim))
        signal[at] = values[at]
    seed = Signal(signal, Boxes.whole(capture.geometry.plane(layer), len(exemplars)))
    drain(engine.walk(route, capture, {layer: seed}, np.arange(len(exemplars))))


def _projections(report: Report) -> None:
    repository, entry = _opened("imagenet_vgg16")
    engine = entry.engine
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        dataset = open_dataset(str(_photographs(folder / "pictures", 18)), _ANY)
        layer = "block3_conv3_1"
        index = None
        for item in scan(entry, dataset, ScanRequest((layer,)), Store(str(folder / "index"))):
            if isinstance(item, ScanHeader):
                index = ScanIndex(Store(str(folder / "index")), item.description)
        assert index is not None
        channel = 5
        exemplars = index.exemplars(engine.model.layers.find(layer).name, (channel,))
        request, cropped = ProjectionRequest(layer), Cropped()

        def local() -> None:
            engine.forget()
            small = cropped.engine(engine, exemplars[0].layer)
            if small is not None:
                small.forget()
            drain(project_exemplars(entry, dataset, exemplars, request, cropped))

        def boxes() -> None:
            engine.forget()
            drain(project_exemplars(entry, dataset, exemplars, request))

        def whole() -> None:
            engine.forget()
            _whole_planes(entry, dataset, exemplars)

        peer, this, ratio = paired(whole, local, runs=5)
        between, _, _ = paired(boxes, local, runs=3)
        report.add(
            Line(
                f"VGG-16: projections of {len(exemplars)} exemplars of {layer}, reading the pictures included",
                f"whole images run and walked, batched: {peer:.3f} s",
                f"crops run, receptive fields walked: {this:.3f} s",
                ratio,
                10.0,
                note=f"whole images run, receptive fields walked: {between:.3f} s",
            )
        )
    repository.close()
