"""The capture forward beside the plain one, loading beside a bare session, and memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime as ort
import psutil
from tests import zoo

from benchmarks.report import Line, Report, drain, paired
from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.engine.settings import available_cores
from unpool.graph import load
from unpool.methods import ProjectionRequest, project


def run(report: Report, *, quick: bool = False) -> None:
    """Capture, load, memory."""
    for name in ("imagenet_vgg16", "alexnet", "resnet50"):
        for policy in (Policy.DECONVNET, Policy.GRADIENT):
            _capture(report, name, policy)
    for name in ("imagenet_vgg16", "vgg19", "densenet121", "efficientnet_lite0"):
        _ready(report, name)
    _second_session(report)
    _peak(report)


def bare_session(path: Path) -> ort.InferenceSession:
    """A session as ONNX Runtime makes it by itself, on all cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _capture(report: Report, name: str, policy: Policy) -> None:
    path = zoo.path(name)
    engine = Engine(load(path), EngineSettings(verify=False))
    source = engine.model.graph.inputs[0]
    array = zoo.tensor(name)
    feeds = Feeds({source: array}, source)
    bare = bare_session(path)
    seed = engine.model.graph.outputs[0]
    route = engine.route([seed], [source], policy)

    def capture() -> None:
        engine.forget()
        engine.captured_for(feeds, route, also=[seed])

    mine, plain, ratio = paired(capture, lambda: bare.run(None, {source: array}), runs=9)
    report.add(
        Line(
            f"{name}: forward with all captured that {policy.value} needs from the output down",
            f"plain ONNX Runtime session: {plain:.3f} s",
            f"{mine:.3f} s",
            ratio,
            1.2,
            lower=True,
        )
    )


def _ready(report: Report, name: str) -> None:
    path = zoo.path(name)

    def mine() -> None:
        engine = Engine(load(path))
        engine.prepare()
        engine.close()

    ready, bare, _ = paired(mine, lambda: bare_session(path), runs=3)
    limit = 1.5 * bare + 0.5
    report.add(
        Line(
            f"{name}: ready to serve, of 1.5x bare session creation + 0.5 s",
            f"bare session {bare:.2f} s, limit {limit:.2f} s",
            f"{ready:.2f} s",
            ready / limit,
            1.0,
            lower=True,
        )
    )


def _second_session(report: Report) -> None:
    engine = Engine(load(zoo.vgg16_trunk(224)), EngineSettings(verify=False))
    source = engine.model.graph.inputs[0]
    feeds = Feeds({source: zoo.vgg16_tensor("cat", 224)}, source)
    process = psutil.Process()
    drain(project(engine, feeds, ProjectionRequest("conv5_3", top=1)))
    engine.forget()
    gc.collect()
    before = process.memory_info().rss
    drain(project(engine, feeds, ProjectionRequest("conv4_3", top=1, policy=Policy.GUIDED)))
    engine.forget()
    gc.collect()
    added = (process.memory_info().rss - before) / 1e6
    report.add(Line("VGG-16: a second capture session", "200 MB", f"{added:.0f} MB", added / 200, 1.0, lower=True))


_PEAK = """
import pathlib, sys
from tests import zoo
from unpool.engine import Engine, Feeds
from unpool.graph import load
from unpool.methods import ProjectionRequest, project

def high():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

engine = Engine(load(zoo.vgg16_trunk(224)))
source = engine.model.graph.inputs[0]
feeds = Feeds({source: zoo.vgg16_tensor("cat", 224)}, source)
engine.prepare()
engine.run(feeds)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
loaded = high()
for _ in project(engine, feeds, ProjectionRequest("conv5_3", channels=tuple(range(int(sys.argv[1]))))):
    pass
print(loaded, high())
"""


def _peak(report: Report) -> None:
    """Peak memory of a process that projects many channels, above the loaded model's."""
    found = {}
    for channels in (16, 512):
        began = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", _PEAK, str(channels)], capture_output=True, text=True, check=True)
        loaded, peak = map(int, out.stdout.split())
        found[channels] = (peak - loaded) / 1024
        took = time.perf_counter() - began
        report.add(
            Line(
                f"VGG-16, {channels} channels of conv5_3: peak memory above the loaded model",
                "1024 MiB",
                f"{found[channels]:.0f} MiB",
                found[channels] / 1024,
                1.0,
                lower=True,
                note=f"{took:.0f} s",
            )
        )
    ratio = found[512] / found[16]
    report.add(
        Line(
            "peak memory of 512 channels over that of 16",
            f"{found[16]:.0f} MiB",
            f"{found[512]:.0f} MiB",
            ratio,
            1.1,
            True,
        )
    )
