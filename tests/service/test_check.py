"""``unpool check``: what an examination tells before anyone serves a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.graph.builders import text_model
from tests.service.small import network, put

CODE = "import typer; from unpool.service.checking import check; typer.run(check)"


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A process of its own, as a user starts it.
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_check_tells_what_a_server_would_find(tmp_path: Path) -> None:
    file = put(tmp_path, "net", network()) / "1" / "model.onnx"
    done = check(str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("admitted: model.onnx\n")
    for words in (
        "opset ai.onnx 17; IR version 9, written by by hand",
        "input 'image': float32 (batch, 3, 32, 32) = (batch, channel, spatial0, spatial1)",
        "output 'scores': float32 (batch, 5) = (batch, channel)",
        "8 layers, 8 nodes",
        "deconvnet, from the outputs to 'image': 8 nodes exact",
        "guided, from the outputs to 'image': 8 nodes exact",
        "gradient, from the outputs to 'image': 8 nodes exact",
        "1 max pool with switches on the way\n",
        "parity: torch agrees with ONNX Runtime",
    ):
        assert words in done.stdout, done.stdout


def test_check_speaks_json(tmp_path: Path) -> None:
    file = put(tmp_path, "net", network()) / "1" / "model.onnx"
    done = check(str(file), "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["admitted"] is True
    assert (found["layers"], found["opsets"], found["ir_version"], found["looked_at"]) == (8, {"": 17}, 9, "image")
    deconvnet = next(p for p in found["policies"] if p["policy"] == "deconvnet")
    assert deconvnet["switches"] == 1
    assert {"kind": "ai.onnx.Conv-17", "count": 2, "first": ["conv1", "conv2"]} in deconvnet["exact"]
    assert (deconvnet["fallback"], deconvnet["stops"]) == ([], [])
    assert found["parity"]["holds"] is True
    assert found["parity"]["extents"] == {"image": [1, 3, 32, 32]}


def test_check_sorts_nodes_by_what_a_policy_does_there(tmp_path: Path) -> None:
    """No pool; a sigmoid that no policy has a rule for; and a loop, that no signal crosses."""
    model = text_model(
        """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y, float[1, 4, 6, 6] z) {
            s = Sigmoid(x)
            r = Relu(s)
            n = Constant<value = int64 {2}>()
            go = Constant<value = bool {1}>()
            y = Loop (n, go, r) <
                body = b (int64 i, bool c, float[1, 4, 6, 6] v) => (bool d, float[1, 4, 6, 6] w) {
                    d = Identity(c)
                    w = Add(v, v)
                }
            >
            z = Relu(r)
        }"""
    )
    (tmp_path / "m.onnx").write_bytes(model)
    found = json.loads(check(str(tmp_path / "m.onnx"), "--json").stdout)
    for policy in found["policies"]:
        kinds = {what: {g["kind"]: g["count"] for g in policy[what]} for what in ("exact", "fallback", "stops")}
        assert kinds["stops"] == {"ai.onnx.Loop-17": 1}
        if policy["policy"] == "gradient":
            assert kinds["exact"] == {"ai.onnx.Relu-17": 2, "ai.onnx.Sigmoid-17": 1}
            assert kinds["fallback"] == {}
        else:
            assert kinds["exact"] == {"ai.onnx.Relu-17": 2}
            assert kinds["fallback"] == {"ai.onnx.Sigmoid-17": 1}
        assert policy["switches"] == 0
    assert len(found["parity"]["borrowed"]) == 1
    text = check(str(tmp_path / "m.onnx")).stdout
    assert "stopped by: 1 ai.onnx.Loop-17" in text
    assert "depend on the input through those products alone" in text


def test_check_tells_at_which_sequence_a_signal_stops(tmp_path: Path) -> None:
    """The place in it is computed, so that only a run tells which of two maps goes on."""
    model = text_model(
        """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y, seq(float[1, 4, 6, 6]) s) {
            r = Relu(x)
            t = Sigmoid(r)
            s = SequenceConstruct(r, t)
            m = ReduceMax<keepdims = 0>(x)
            w = Constant<value = float {1.0}>()
            more = Greater(m, w)
            place = Cast<to = 7>(more)
            one = SequenceAt(s, place)
            y = Relu(one)
        }"""
    )
    (tmp_path / "m.onnx").write_bytes(model)
    done = check(str(tmp_path / "m.onnx"))
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "admitted: m.onnx",
        "output 's' holds a list, a map or text, and is not offered",
        "stopped by: 1 ai.onnx.SequenceAt-17 [SequenceAt_",
        "parity: torch agrees with ONNX Runtime",
        "no forward in torch, taken from ONNX Runtime: SequenceAt_",
    ):
        assert words in done.stdout, done.stdout


def test_check_says_that_a_deconvnet_picture_without_switches_is_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(text_model("g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y) { y = Relu(x) }"))
    assert "the deconvnet picture will be the same for every input" in check(str(tmp_path / "m.onnx")).stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_check_refuses_with_exit_code_one(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "m.onnx").write_bytes(b"rubbish" * 40)
    done = check(str(tmp_path / "m.onnx"), *(["--json"] if as_json else []))
    assert (done.returncode, done.stderr) == (1, "")
    reason = "the file is not an ONNX model: its bytes cannot be parsed"
    if as_json:
        found = json.loads(done.stdout)
        assert (found["admitted"], found["reason"]) == (False, reason)
    else:
        assert done.stdout == f"refused: m.onnx: {reason}\n"


def test_check_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    # A package of this name that cannot be imported stands for an installation without the extra.
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    done = check(
        str(tmp_path / "m.onnx"), PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    assert done.returncode == 1
    assert 'torch, which is not installed: pip install "unpool[server]"' in done.stderr
