"""`unpool convert` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from tests import zoo
from typer.testing import CliRunner

from unpool.converters import Preprocessing
from unpool.converters.command import convert

_FACTORY = """
import torch

def small():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten(),
                               torch.nn.Linear(4 * 6 * 6, 2))

number = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "factory_of_small_nets.py").write_text(_FACTORY)
    return tmp_path


def _run(*args: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_a_factory_with_weights_labels_and_a_sample_becomes_an_entry(here: Path) -> None:
    torch.manual_seed(3)
    weights = {"0.weight": torch.randn(4, 3, 3, 3), "0.bias": torch.randn(4)}
    weights |= {"3.weight": torch.randn(2, 144), "3.bias": torch.randn(2)}
    torch.save({"state_dict": weights}, here / "w.pt")
    (here / "labels.txt").write_text("cat\ndog\n")
    (here / "p.json").write_text(Preprocessing(resize=(8, 8)).to_json())
    code, out, err = _run(
        "factory_of_small_nets:small", "-o", "models", "--input-size", "3,8,8", "--weights", "w.pt", "--labels",
        "labels.txt", "--preprocessor", "p.json", "--sample", str(zoo.picture_path("cat")), "--version", "4", "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert (report["name"], report["version"]) == ("small", 4)
    assert report["outputs"][0]["inputs"] == 4
    assert (here / "models/small/labels.txt").read_text() == "cat\ndog\n"
    assert (here / "models/small/4/model.onnx").is_file()


def test_a_saved_program_becomes_an_entry(here: Path) -> None:
    program = torch.export.export(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), (torch.randn(2, 3),))
    torch.export.save(program, here / "net.pt2")
    code, out, err = _run("net.pt2", "-o", "models")
    assert code == 0, err
    assert "models/net/1/model.onnx" in out


def test_a_file_is_taken(here: Path) -> None:
    code, out, err = _run(str(zoo.path("squeezenet")), "-o", "models", "--name", "squeeze")
    assert code == 0, err
    assert "no source to compare with" in out
    assert (here / "models/squeeze/1/model.onnx").read_bytes() == zoo.path("squeezenet").read_bytes()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["factory_of_small_nets:small"], "--input-size"),
        (["factory_of_small_nets:small", "--input-size", "3,x"], "positive numbers"),
        (["factory_of_small_nets:number", "--input-size", "3"], "gives int"),
        (["factory_of_small_nets:nothing", "--input-size", "3"], "cannot be imported"),
        (["nothing_of_this_name:x", "--input-size", "3"], "cannot be imported"),
        (["neither"], "names no network"),
        (["json:dumps", "--input-size", "3,4,4"], "called without arguments: TypeError"),
        (["missing.onnx"], "no such file"),
        (["missing.pt2"], "holds no exported program"),
        (["recipe:nothing"], "imagenet_vgg16"),
        (["factory_of_small_nets:small", "--input-size", "3,8,8", "--weights", "none.pt"], "cannot be read"),
        (["factory_of_small_nets:small", "--input-size", "3,9,9"], "mat1 and mat2"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(here: Path, args: list[str], message: str) -> None:
    code, _, err = _run(*args, "-o", "models")
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert not (here / "models").exists()


def test_recipes_are_listed() -> None:
    code, out, _ = _run("recipe:list")
    assert code == 0
    assert {"imagenet_vgg16", "efficientnet_lite0", "hed_vgg16"} <= {line.split("\t")[0] for line in out.splitlines()}
