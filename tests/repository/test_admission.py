"""A model is examined in a process apart before it is served, and the server goes on whatever comes of that."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.graph.builders import text_model
from tests.service.small import network, put, two_inputs

from unpool.engine.settings import EngineSettings
from unpool.graph.errors import ModelError
from unpool.repository import Examiner, Limits, Repository, State
from unpool.repository.admission.verdict import OutputParity, Parity, sentence

CPU = EngineSettings(device="cpu", threads=1)


@pytest.fixture(scope="module")
def examiner() -> Iterator[Examiner]:
    """One worker for all: each examination is a fork of it."""
    found = Examiner()
    found.start()
    yield found
    found.close()


def write(folder: Path, model: onnx.ModelProto | bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def test_a_sound_model_is_admitted_with_its_digest(tmp_path: Path, examiner: Examiner) -> None:
    import hashlib

    path = write(tmp_path, network())
    verdict = examiner.admit(path)
    assert (verdict.admitted, verdict.reason) == (True, "")
    assert verdict.digest == hashlib.sha256(path.read_bytes()).hexdigest()


# -- what is refused --------------------------------------------------------------------------------------------------


def _wide(value: int) -> onnx.ModelProto:
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = value
    return model


def _tensor_of(dims: list[int], data: bytes = b"") -> onnx.ModelProto:
    model = network()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    model.graph.initializer[0].raw_data = data
    return model


def _operator(domain: str, op_type: str = "Custom", inside: bool = False) -> onnx.ModelProto:
    model = network()
    node = helper.make_node(op_type, ["image"], ["other"], name="stranger", domain=domain)
    if inside:
        branch = helper.make_graph([node], "b", [], [helper.make_empty_tensor_value_info("other")])
        condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
        model.graph.node.append(condition)
        node = helper.make_node("If", ["c"], ["other"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def _functions(depth: int, *, circle: bool = False) -> onnx.ModelProto:
    model = network()
    imports = [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]
    for i in range(depth):
        below = f"F{i - 1}" if i or circle else "Relu"
        domain = "own" if i or circle else ""
        below = f"F{depth - 1}" if circle and not i else below
        calls = [helper.make_node(below, [a], [b], domain=domain) for a, b in (("x", "m"), ("m", "y"))]
        model.functions.append(helper.make_function("own", f"F{i}", ["x"], ["y"], calls, imports))
    model.graph.node.append(helper.make_node(f"F{depth - 1}", ["image"], ["other"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _filled() -> bytes:
    return text_model(
        """g (float[1] x) => (float[N] y) {
            shape = Constant<value = int64[3] {3000, 3000, 3000}>()
            ones = ConstantOfShape(shape)
            all = ReduceSum<keepdims = 0>(ones)
            y = Mul(x, all)
        }"""
    )


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto | bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"# a model\n" * 100, "not an ONNX model"),
    "runtime's own format": (lambda: b"\x20\0\0\0ORTM" + bytes(100), "ONNX Runtime's own format"),
    "half a file": (lambda: network().SerializeToString()[:-700], "not an ONNX model"),
    "foreign operator": (lambda: _operator("evil.ops"), "operator domain 'evil.ops'"),
    "foreign operator in a branch": (lambda: _operator("evil.ops", inside=True), "operator domain 'evil.ops'"),
    "compiled context": (lambda: _operator("com.microsoft", "EPContext"), "code for an accelerator"),
    "Python operator": (lambda: _operator("com.microsoft", "PyOp"), "code for an accelerator"),
    "unknown operator": (lambda: _operator("", "Reluu"), "no such operator"),
    "absurd input": (lambda: _wide(1 << 40), "at most 4294967296 are served"),
    "absurd tensor": (lambda: _tensor_of([1 << 31, 1 << 31]), "at most 4294967296 are served"),
    "extents that overflow": (lambda: _tensor_of([1 << 32, 1 << 32, 1 << 32]), "at most 4294967296 are served"),
    "negative extent": (lambda: _tensor_of([-1, 3, 3, 3]), "negative extent"),
    "too few bytes": (lambda: _tensor_of([8, 3, 3, 3], b"\0" * 16), "16 bytes for 864 bytes"),
    "too few bytes of a large tensor": (
        lambda: _tensor_of([200_000, 3, 3, 3], b"\0" * 16),
        "the bytes of tensor 'w1' are not those of its elements",
    ),
    "no bytes": (lambda: _tensor_of([8, 3, 3, 3]), "0 bytes for 864 bytes"),
    "computed constant": (_filled, "at most 4294967296 are served"),
    "functions without end": (lambda: _functions(2, circle=True), "calls itself"),
    "functions times functions": (lambda: _functions(40), "its functions inlined"),
    "far opset": (
        lambda: helper.make_model(network().graph, opset_imports=[helper.make_opsetid("", 1 << 40)]),
        "the newest that is known",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_in_one_sentence(tmp_path: Path, examiner: Examiner, case: str) -> None:
    make, words = REFUSED[case]
    verdict = examiner.admit(write(tmp_path, make()))
    assert not verdict.admitted
    assert words in verdict.reason
    assert verdict.reason.isprintable()
    assert not verdict.passing


def test_limits_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, network())
    for limits, words in (
        (Limits(file_bytes=100), "above the limit of 100"),
        (Limits(nodes=5), "more than 5 nodes"),
        (Limits(tensors=2), "more than 2 tensors"),
        (Limits(elements=1000), "at most 1000 are served"),
    ):
        found = Examiner(limits)
        try:
            assert words in found.admit(path).reason
        finally:
            found.close()


def test_external_data_above_the_limit_is_refused(tmp_path: Path) -> None:
    from tests.repository.test_external_data import external, model

    with (tmp_path / "w.bin").open("wb") as stream:
        stream.truncate(1 << 20)
    path = write(tmp_path, model(external("w", "w.bin")))
    found = Examiner(Limits(external_bytes=1000))
    try:
        assert "the external data has 1048576 bytes" in found.admit(path).reason
    finally:
        found.close()


def test_names_of_a_file_do_not_reach_the_terminal(tmp_path: Path, examiner: Examiner) -> None:
    model = network()
    model.graph.node[0].op_type = "Conv\x1b[2J\nNo\tSuch"
    reason = examiner.admit(write(tmp_path, model)).reason
    assert "Conv" in reason
    assert reason.isprintable()


# -- examinations that end badly --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words", "passing"),
    [
        ("crash", "crashed (SIGSEGV)", False),
        ("abort", "crashed (SIGABRT)", False),
        ("hang", "took longer than 2 seconds", True),
        ("spin", "took longer than 2 seconds", True),
        ("eat", "more memory than it may", False),
        ("eat in C", "crashed (SIGABRT)", False),
        ("exit", "ended without a verdict (exit code 7)", False),
        ("write", "failed", False),
        ("babble", "one two", False),
        ("garble", "no answer that could be read", False),
    ],
)
def test_an_examination_that_ends_badly_is_a_sentence_and_the_next_goes_on(
    tmp_path: Path, kind: str, words: str, passing: bool
) -> None:
    bad = write(tmp_path, network(), "bad.onnx")
    write(tmp_path, network(), "good.onnx")
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(bad)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        # Only a process without other threads forks its worker, and only a fork carries the ill will.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
    )
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert not first["admitted"]
    assert words in first["reason"]
    assert first["reason"].isprintable()
    assert first["passing"] is passing
    assert first["seconds"] < 10
    assert second["admitted"]
    assert sorted(p.name for p in tmp_path.iterdir() if p.stat().st_size) == ["bad.onnx", "good.onnx"]
    assert done.stderr == ""


def test_a_worker_that_was_killed_is_replaced(tmp_path: Path) -> None:
    found = Examiner()
    try:
        assert found.admit(write(tmp_path, network(1), "a.onnx")).admitted
        worker = found._worker
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.2)
        assert found.admit(write(tmp_path, network(2), "b.onnx")).admitted
        assert found._worker is not worker
    finally:
        found.close()


def test_the_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from unpool.repository.admission import Examiner\n"
        "e = Examiner(); e.start(); print(e._worker.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _running(pid):
        time.sleep(0.05)
    assert not _running(pid)


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# -- in a repository --------------------------------------------------------------------------------------------------


def test_a_refused_model_is_listed_unavailable_and_the_others_go_on(tmp_path: Path, examiner: Examiner) -> None:
    put(tmp_path, "good", network())
    put(tmp_path, "stranger", _operator("evil.ops"))
    found = Repository(tmp_path, engine_settings=CPU, examiner=examiner)
    found.load_all()
    good, stranger = found.list()
    assert good.versions[0].state is State.LOADED
    assert stranger.versions[0].state is State.UNAVAILABLE
    assert "operator domain 'evil.ops'" in stranger.versions[0].reason
    with pytest.raises(ModelError) as caught, found.lend("stranger"):
        pass
    assert caught.value.node == "stranger"
    found.close()


def test_an_unchanged_file_is_examined_once(
    tmp_path: Path, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, "net", network(1))
    asked: list[str] = []
    real = Examiner._examined

    def counted(self: Examiner, kind: str, *rest: Any) -> Any:
        asked.append(kind)
        return real(self, kind, *rest)

    monkeypatch.setattr(Examiner, "_examined", counted)
    for _ in range(2):  # a second repository stands for an eviction
        found = Repository(tmp_path, engine_settings=CPU, examiner=examiner)
        with found.lend("net") as entry:
            assert entry.parity is not None
            assert entry.parity.result(60).holds
        found.close()
    assert sorted(asked) == ["admit", "parity"]
    (folder / "1" / "model.onnx").write_bytes(network(2).SerializeToString())
    found = Repository(tmp_path, engine_settings=CPU, examiner=examiner)
    with found.lend("net") as entry:
        assert entry.parity is not None
        entry.parity.result(60)
    found.close()
    assert sorted(asked) == ["admit", "admit", "parity", "parity"]


def test_a_file_that_is_not_the_one_examined_is_not_run(
    tmp_path: Path, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, "net", network(1))
    real = Examiner.admit

    def swapping(self: Examiner, file: Path, *rest: Any) -> Any:
        verdict = real(self, file, *rest)
        file.write_bytes(network(2).SerializeToString())
        return verdict

    monkeypatch.setattr(Examiner, "admit", swapping)
    found = Repository(folder.parent, engine_settings=CPU, examiner=examiner)
    with pytest.raises(ModelError, match="changed while it was examined"), found.lend("net"):
        pass
    found.close()


# -- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [network(), two_inputs(), network(size="side", nhwc=True)])
def test_torch_and_onnx_runtime_agree_on_what_is_right(
    tmp_path: Path, examiner: Examiner, model: onnx.ModelProto
) -> None:
    parity = examiner.compare(write(tmp_path, model)).result(60)
    assert parity.holds
    assert parity.reason == ""
    worst = parity.worst
    assert worst is not None
    assert 0 <= worst.difference < 1e-5
    assert "agrees with" in str(parity)


def test_a_wrong_forward_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forward in torch is changed here; ONNX Runtime's is the oracle."""
    import torch

    from unpool.engine import Engine
    from unpool.graph import load
    from unpool.ops import base
    from unpool.repository.admission.parity import compare

    engine = Engine(load(write(tmp_path, network())), CPU)
    assert compare(engine).holds
    honest = base._REGISTRY["", "Relu"]
    wrong = {
        version: base.Operator("", "Relu", version, lambda x: torch.relu(x) * 1.001, base.pointwise)
        for version in honest
    }
    monkeypatch.setitem(base._REGISTRY, ("", "Relu"), wrong)
    found = compare(engine)
    assert not found.holds
    worst = found.worst
    assert worst is not None
    assert 1e-4 < worst.difference < 1e-2
    assert "differs from ONNX Runtime" in str(found)


def test_nodes_without_a_forward_in_torch_are_lent_their_values(tmp_path: Path, examiner: Examiner) -> None:
    model = text_model(
        """g (float[1, 8] x) => (float[1, M] y) {
            n = Constant<value = int64 {3}>()
            go = Constant<value = bool {1}>()
            t = Loop (n, go, x) <
                body = b (int64 i, bool c, float[1, 8] v) => (bool d, float[1, 8] w) {
                    d = Identity(c)
                    w = Add(v, v)
                }
            >
            y = Relu(t)
        }"""
    )
    parity = examiner.compare(write(tmp_path, model)).result(60)
    assert parity.holds
    assert len(parity.borrowed) == 1


def test_a_difference_that_is_no_number_does_not_hold() -> None:
    assert not OutputParity("y", math.nan, 1e-4).holds
    assert not Parity((OutputParity("x", 0.0, 1e-4), OutputParity("y", math.inf, 1e-4))).holds
    assert not Parity().holds


def test_sentences_are_one_printable_line_of_bounded_length() -> None:
    assert sentence("a\nb\x1b[31m c\u2028d") == "a b [31m c d"
    assert len(sentence("x" * 10_000)) == 600


def test_half_precision_is_held_to_its_own_tolerance(tmp_path: Path, examiner: Examiner) -> None:
    weight = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    parity = examiner.compare(write(tmp_path, model)).result(60)
    assert parity.holds
    assert parity.worst is not None
    assert parity.worst.tolerance == 1e-2
