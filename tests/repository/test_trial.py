"""A model is run once while it is examined: what fails on its own declared input is told, what crashes is refused."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.graph.builders import text_model
from tests.service.small import network

from unpool.engine import Engine, EngineSettings, Feeds
from unpool.graph import load
from unpool.repository import Examiner, Limits

CPU = EngineSettings(device="cpu", threads=1)
# The index is beyond the table, whatever the input holds, and no inference of shapes can know.
FAILING = """g (float[{extents}] x) => (float[A, B] y) {{
    r = Relu(x)
    y = Gather<axis = 0>(r, i)
}}"""
ENDLESS = """g (float[2, 3] x) => (float[2, 3] y) {
    n = Constant<value = int64 {9223372036854775807}>()
    go = Constant<value = bool {1}>()
    y = Loop (n, go, x) <
        body = b (int64 i, bool c, float[2, 3] v) => (bool d, float[2, 3] w) { d = Identity(c)  w = Relu(v) }
    >
}"""


def failing(extents: str) -> bytes:
    return text_model(FAILING.format(extents=extents), {"i": np.array([500], np.int64)})


@pytest.fixture(scope="module")
def examiner() -> Iterator[Examiner]:
    found = Examiner(Limits(seconds=30.0))
    found.start()
    yield found
    found.close()


def test_a_model_that_fails_on_its_declared_input_is_admitted_with_a_warning(
    tmp_path: Path, examiner: Examiner
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(failing("2, 3"))
    verdict = examiner.admit(path)
    assert verdict.admitted
    assert verdict.warning.startswith(
        "it fails on random input and on zeros of the extents that it declares, 'x' (2, 3): "
    )
    assert "Gather node" in verdict.warning
    assert "indices element out of data bounds" in verdict.warning
    assert examiner.report(path).verdict.warning == verdict.warning


@pytest.mark.parametrize("extents", ["N, K", "2, K"])
def test_nothing_is_said_where_extents_had_to_be_guessed(tmp_path: Path, examiner: Examiner, extents: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(failing(extents))
    verdict = examiner.admit(path)
    assert (verdict.admitted, verdict.warning) == (True, "")


def test_nothing_is_said_of_a_model_that_runs(tmp_path: Path, examiner: Examiner) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(network().SerializeToString())
    assert (examiner.admit(path).admitted, examiner.admit(path).warning) == (True, "")


def test_what_fails_on_random_numbers_and_runs_on_zeros_is_not_warned_of(tmp_path: Path, examiner: Examiner) -> None:
    """The index is a sum of magnitudes: 0 on zeros, beyond the table on anything else."""
    path = tmp_path / "m.onnx"
    path.write_bytes(
        text_model(
            """g (float[4, 30] x) => (float[30] y) {
                a = Abs(x)
                s = ReduceSum<keepdims = 0>(a)
                i = Cast<to = 7>(s)
                y = Gather<axis = 0>(x, i)
            }"""
        )
    )
    assert (examiner.admit(path).admitted, examiner.admit(path).warning) == (True, "")


def test_a_run_without_end_is_given_up(tmp_path: Path, examiner: Examiner) -> None:
    engine = Engine(load(text_model(ENDLESS)), CPU)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 seconds"):
        engine.attempt(Feeds({"x": np.ones((2, 3), np.float32)}, "x"), 0.2)
    assert time.monotonic() - began < 5
    path = tmp_path / "m.onnx"
    path.write_bytes(text_model(ENDLESS))
    began = time.monotonic()
    verdict = examiner.admit(path)
    assert (verdict.admitted, verdict.warning) == (True, "")
    assert time.monotonic() - began < 20


def test_a_model_whose_run_crashes_is_refused_and_the_next_is_examined(tmp_path: Path) -> None:
    for name in ("bad", "good"):
        (tmp_path / f"{name}.onnx").write_bytes(network().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-m", "tests.repository.test_trial", str(tmp_path)],
        # A worker is forked, and carries what is put in place of the real run, only from a process of one thread.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    bad, abort, good = map(json.loads, done.stdout.splitlines())
    assert bad == [False, "ONNX Runtime crashes when it runs the model (SIGSEGV)", False]
    # An abort may be for want of memory alone.
    assert abort == [True, "", False]
    assert good == [True, "", False]


def _crashing(folder: Path) -> None:
    """Examinations whose run dies of a kernel's mistake, of an abort, and not at all; a line of JSON for each."""
    from unpool.repository.admission import examination

    earnest = examination.attempt
    mode = {"kind": ""}

    def attempt(engine: Engine, memory_bytes: int, no_memory: tuple[str, ...]) -> str:
        if mode["kind"] == "crash":
            ctypes.string_at(0)
        if mode["kind"] == "abort":
            os.abort()
        return earnest(engine, memory_bytes, no_memory)

    examination.attempt = attempt
    for kind, name in (("crash", "bad"), ("abort", "bad"), ("", "good")):
        # The worker is forked from here, and carries what is put in place of the real run.
        mode["kind"] = kind
        examiner = Examiner(Limits(seconds=30.0))
        examiner.start()
        verdict = examiner.admit(folder / f"{name}.onnx")
        print(json.dumps([verdict.admitted, verdict.reason, verdict.passing]), flush=True)
        examiner.close()


if __name__ == "__main__":
    _crashing(Path(sys.argv[1]))
