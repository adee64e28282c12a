"""The verbs, as a shell sees them: output, files, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.client.fake_server import LAYER_COUNT, FakeServer
from typer.testing import CliRunner

from unpool.client import cli
from unpool.v1 import policy_pb2

RUNNER = CliRunner()
VERBS = ("models", "layers", "classify", "project")


@pytest.fixture(autouse=True)
def wide_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("UNPOOL_SERVER", raising=False)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return path


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = RUNNER.invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def test_every_verb_explains_itself() -> None:
    listing, _ = run("--help")
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", listing)
        assert "--server" in run(verb, "--help")[0]


def test_models_are_a_table_or_json(server: FakeServer) -> None:
    table, _ = run("models", "--server", server.target)
    assert re.search(r"net\s+1\s+unavailable\s+node /x: no rule", table)
    listing, _ = run("models", "--server", server.target, "--json")
    assert json.loads(listing)["models"][0]["versions"][1] == {"version": 2, "state": "loaded", "reason": ""}


def test_the_server_can_come_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNPOOL_SERVER", server.target)
    assert "net" in run("models")[0]


def test_layers_are_a_table_or_json(server: FakeServer) -> None:
    table, _ = run("layers", "net", "--server", server.target)
    assert len(table.splitlines()) == 1 + LAYER_COUNT
    assert re.search(r"conv3\s+Relu\s+8\s+N x 8 x 5\s+6/2", table)
    listing = json.loads(run("layers", "net", "--server", server.target, "--json")[0])
    assert [layer["alias"] for layer in listing["layers"]] == [f"conv{number}" for number in range(LAYER_COUNT)]
    assert listing["layers"][0]["shape"] == ["N", 8, 5]


def test_layers_of_a_file_without_node_names_go_by_their_tensors(server: FakeServer) -> None:
    table, remarks = run("layers", "unnamed", "--server", server.target)
    assert [line.split()[0] for line in table.splitlines()[1:]] == [f"tensor/{n}" for n in range(LAYER_COUNT)]
    assert "--all" not in remarks


def test_classes_are_a_table_or_json_with_warnings_apart(server: FakeServer, picture: Path) -> None:
    table, warnings = run("classify", "net", picture, "-s", server.target, "-k", 2)
    assert re.search(r"281\s+cat 0\s+0.5", table)
    assert "assumed RGB" in warnings
    listing = json.loads(run("classify", "net", picture, "-s", server.target, "--json")[0])
    assert listing["classes"][0] == {"index": 281, "label": "cat 0", "score": 0.5}


def test_projections_are_saved_with_patch_figure_signals_and_sidecar(
    server: FakeServer, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("-s", server.target, "--layer", "conv/1", "-c", 3, "-c", 5, "-p", "guided", "-o", out, "--npz")
    table, said = run("project", "net", picture, *options, "--zoom", 4)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "conv-1_c0003_p03-03_guided.png", "conv-1_c0003_p03-03_patch.png",
        "conv-1_c0005_p05-05_guided.png", "conv-1_c0005_p05-05_patch.png",
        "figure.png", "projections.json", "signals_guided.npz",
    }  # fmt: skip
    assert f"{len(names)} files" in said
    assert Image.open(out / "conv-1_c0003_p03-03_guided.png").size == (12, 8)
    with np.load(out / "signals_guided.npz") as signals:
        expected = np.arange(18, dtype=np.float32).reshape(3, 2, 3) + 4
        assert np.array_equal(signals["conv-1_c0003_p03-03_guided"], expected)
    sidecar = json.loads((out / "projections.json").read_text())
    assert sidecar["headers"]["guided"]["provenance"]["model"] == "net"
    first = sidecar["projections"][0]
    assert (first["channel"], first["box"], first["activation"]) == (3, [3, 3, 5, 6], 3.5)
    assert first["file"] in names
    assert re.search(r"guided\s+conv/1\s+5\s+5, 5\s+5\.5", table)


def test_several_policies_make_one_comparison(server: FakeServer, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("project", "net", picture, "-s", server.target, "-l", "c", "-k", 2, "-p", "guided", "-p", "gradient", "-o", out)
    asked = [request.policy for request in server.inspection.requests]  # type: ignore[attr-defined]
    assert asked == [policy_pb2.POLICY_GUIDED, policy_pb2.POLICY_GRADIENT]
    assert Image.open(out / "figure.png").width == 3 * 164 + 4
    assert len(list(out.glob("*_patch.png"))) == 2


def test_json_lines_come_as_header_then_projections(server: FakeServer, picture: Path) -> None:
    lines, warnings = run("project", "net", picture, "-s", server.target, "-l", "conv1", "-k", 3, "--json")
    first, *rest = map(json.loads, lines.splitlines())
    assert first["header"]["total"] == 3
    assert sorted(line["projection"]["channel"] for line in rest) == [0, 1, 2]
    assert "no switches are crossed" in warnings
    assert server.last_request.omit_signal  # type: ignore[attr-defined]


def test_positions_start_and_arrays_reach_the_request(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    options = ("--positions", "1,2 3,4", "--start", "0.5", "--to", "conv0")
    inputs = ("--input", f"a={tmp_path / 'x.npy'}", "--of", "a")
    run("project", "net", "-s", server.target, "-l", "c", *options, *inputs)
    request = server.last_request
    assert [list(place.index) for place in request.positions] == [[1, 2], [3, 4]]  # type: ignore[attr-defined]
    assert (request.start_value, request.to, request.input.tensors.of) == (0.5, "conv0", "a")  # type: ignore[attr-defined]
    run("classify", "net", "--tensor", tmp_path / "x.npy", "-s", server.target)
    assert list(server.last_request.input.tensor.shape) == [1, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["project", "net", "PICTURE"], 2, "layer"),
        (["project", "net", "-l", "c"], 2, "give a picture"),
        (["project", "net", "PICTURE", "-l", "c", "--npz"], 2, "-o DIR"),
        (["project", "net", "PICTURE", "-l", "c", "--positions", "here"], 2, "here"),
        (["project", "net", "PICTURE", "-l", "c", "--start", "now"], 2, "now"),
        (["project", "net", "PICTURE", "-l", "c", "-c", "999"], 2, "0 to 7"),
        (["project", "net", "PICTURE", "-l", "c", "-c", "1", "-k", "2"], 2, "not together"),
        (["project", "net", "PICTURE", "-l", "nowhere"], 1, "/block/Cast"),
        (["project", "net", "nowhere.png", "-l", "c"], 2, "nowhere.png"),
        (["classify", "net", "--input", "a"], 2, "NAME=FILE.npy"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_a_line_and_a_code_never_a_trace(
    server: FakeServer, picture: Path, arguments: list[str], code: int, said: str
) -> None:
    filled = [str(picture) if argument == "PICTURE" else argument for argument in arguments]
    out, err = run(*filled, *(["-s", server.target] if arguments[0] != "nonsense" else []), code=code)
    assert said in err
    assert "Traceback" not in out + err


def test_without_a_server_the_advice_is_how_to_start_one() -> None:
    _, err = run("models", "-s", "127.0.0.1:9", code=1)
    assert "no server answers at 127.0.0.1:9" in err


def test_a_path_that_does_not_exist_is_wrong_usage() -> None:
    assert "no such file" in run("layers", "models/nowhere.onnx", code=2)[1]


def test_the_name_of_a_model_stays_a_name_whatever_lies_in_the_folder(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unpool.client.commands.connection.DEFAULT_TARGET", server.target)
    (tmp_path / "net").mkdir()
    assert "conv3" in run("layers", "net")[0]


def test_a_repository_of_several_models_asks_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "model.onnx").write_bytes(b"")
    _, err = run("layers", f"{tmp_path}/", code=2)
    assert "holds 2 models" in err
    assert str(tmp_path / "one") in err


def test_a_verb_whose_extra_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "late.py").write_text("def verb() -> None:\n    'Late.'\n    import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("early", "needs_more:verb", cli.GROUP), EntryPoint("late", "late:verb", cli.GROUP)]
    monkeypatch.setattr(cli, "_entry_points", lambda: points)
    monkeypatch.setattr(cli, "_extra", lambda module: "server")
    for verb in ("early", "late"):
        _, err = run(verb, code=1)
        assert "a_package_that_nobody_has" in err
        assert "pip install 'unpool[server]'" in err
    assert "pip install 'unpool[server]'" in run("early", "--models", "x", code=1)[1]
    assert "late" in run("--help")[0]


def test_extras_follow_the_room_of_the_verb() -> None:
    assert cli._extra("unpool.service.command") == "server"
    assert cli._extra("unpool.converters.command") == "converters"
    assert cli._extra("unpool.client.commands.models") == ""
    assert cli._extra("somebody.else") == ""


def test_the_client_and_its_verbs_need_neither_torch_nor_onnx() -> None:
    script = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxruntime", "onnx_ir", "onnxscript", "ml_dtypes", "grpc_health"}:
            raise ModuleNotFoundError(f"blocked {name}", name=name)

sys.meta_path.insert(0, Blocker())
import unpool.client, unpool.pictures
from unpool.client import cli
from typer.testing import CliRunner
for verb in ("models", "layers", "classify", "project"):
    assert CliRunner().invoke(cli.app, [verb, "--help"]).exit_code == 0, verb
assert CliRunner().invoke(cli.app, ["--help"]).exit_code == 0
result = CliRunner().invoke(cli.app, ["layers", sys.argv[1]])
assert result.exit_code == 1 and "pip install 'unpool[server]'" in result.stderr, result.output
loaded = {"torch", "onnx", "onnxruntime"} & set(sys.modules)
assert not loaded, loaded
"""
    model = Path(__file__)
    done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
