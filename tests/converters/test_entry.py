"""Entries appear whole or not at all, and third parties' files arrive byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from unpool.converters import ChannelOrder, ConversionError, Entry, Preprocessing, take


def _model(classes: int = 4) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((3, classes)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.onnx"
    onnx.save(_model(), path)
    return path


def test_a_taken_file_is_the_same_bytes_with_labels_and_preprocessing_beside_it(tmp_path: Path, file: Path) -> None:
    steps = Preprocessing(resize=(8, 8), channel_order=ChannelOrder.BGR)
    report = take(file, Entry(tmp_path / "models", "m", 3, ["a", "b", "c", "d"], steps))
    assert report.path == tmp_path / "models/m/3/model.onnx"
    assert report.path.read_bytes() == file.read_bytes()
    assert report.exporter is None
    assert report.dynamic_batch
    assert (tmp_path / "models/m/labels.txt").read_text() == "a\nb\nc\nd\n"
    assert json.loads((tmp_path / "models/m/preprocessor_config.json").read_text())["channel_order"] == "BGR"
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["m"]


def test_labels_that_fit_no_output_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ConversionError, match="3 labels fit no output"):
        take(file, Entry(tmp_path / "models", "m", labels=["a", "b", "c"]))
    assert not (tmp_path / "models").exists()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    with pytest.raises(ConversionError, match="not a valid ONNX model"):
        take(tmp_path / "x.onnx", Entry(tmp_path / "models", "m"))
    with pytest.raises(ConversionError, match="no such file"):
        take(tmp_path / "y.onnx", Entry(tmp_path / "models", "m"))


def test_external_weights_are_copied_along(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a/model.onnx"
    onnx.save(_model(), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = take(file, Entry(tmp_path / "models", "m"))
    (weight,) = onnx.load(report.path).graph.initializer
    (expected,) = _model().graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), numpy_helper.to_array(expected))


def test_external_weights_outside_the_models_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a/model.onnx"
    onnx.save(_model(), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "a/weights.bin").rename(tmp_path / "weights.bin")
    model = onnx.load(file, load_external_data=False)
    next(e for e in model.graph.initializer[0].external_data if e.key == "location").value = "../weights.bin"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ConversionError):
        take(file, Entry(tmp_path / "models", "m"))
    assert not (tmp_path / "models").exists()


def test_a_second_version_joins_the_first(tmp_path: Path, file: Path) -> None:
    for version in (1, 2):
        take(file, Entry(tmp_path / "models", "m", version, ["a", "b", "c", "d"]))
    assert sorted(p.name for p in (tmp_path / "models/m").iterdir()) == ["1", "2", "labels.txt"]


def test_an_existing_version_and_differing_labels_stay_unless_overwritten(tmp_path: Path, file: Path) -> None:
    root = tmp_path / "models"
    take(file, Entry(root, "m", labels=["a", "b", "c", "d"]))
    with pytest.raises(ConversionError, match="exists"):
        take(file, Entry(root, "m"))
    with pytest.raises(ConversionError, match=r"labels\.txt differs"):
        take(file, Entry(root, "m", 2, labels=["e", "f", "g", "h"]))
    assert (root / "m/labels.txt").read_text() == "a\nb\nc\nd\n"
    onnx.save(_model(5), file)
    take(file, Entry(root, "m", labels=list("efghi"), overwrite=True))
    assert (root / "m/1/model.onnx").read_bytes() == file.read_bytes()
    assert (root / "m/labels.txt").read_text() == "e\nf\ng\nh\ni\n"
    assert sorted(p.name for p in root.iterdir()) == ["m"]


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"half of it")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Entry(tmp_path, "m", labels=["a"]).write(fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../m", "a/b", ".hidden", "a b"])
def test_names_that_leave_the_repository_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConversionError, match="model name"):
        Entry(tmp_path, name).check()


def test_versions_are_positive(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="positive"):
        Entry(tmp_path, "m", 0).check()
