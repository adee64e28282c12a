from pathlib import Path

import pytest
from tests.service.small import network, put

from unpool.graph.errors import ModelError
from unpool.repository.labels import read_labels
from unpool.repository.layout import find, scan
from unpool.repository.triton import parse


def test_versions_are_the_folders_named_by_positive_integers(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network(), 2)
    put(tmp_path, "net", network(), 10)
    for other in ("0", "01", "-1", "latest", "1.5"):
        (folder / other).mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.md").write_text("not a model")
    (found,) = scan(tmp_path)
    assert found.name == "net"
    assert [source.version for source in found.versions] == [2, 10]
    assert not any(source.fault for source in found.versions)


def test_a_model_without_versions_and_a_version_without_a_model_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "1").mkdir(parents=True)
    put(tmp_path, "nothing", b"")
    empty, hollow, nothing = scan(tmp_path)
    assert "no version" in empty.fault
    assert "no file model.onnx" in hollow.versions[0].fault
    assert "is empty" in nothing.versions[0].fault


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "a/b", "net\0", "/etc", "a\\b"])
def test_a_callers_name_never_walks_the_disk(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    put(root, "net", network())
    put(tmp_path, "outside", network())
    assert find(root, name) is None


def test_a_single_file_is_a_model_named_after_it(tmp_path: Path) -> None:
    file = tmp_path / "tiny net.onnx"
    file.write_bytes(network().SerializeToString())
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (found,) = scan(file)
    assert (found.name, found.versions[0].version) == ("tiny net", 1)
    assert read_labels(found.versions[0]) == ("a", "b")
    assert find(file, "other") is None


def test_a_file_of_a_version_overrides_the_models(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network())
    put(tmp_path, "net", network(), 2)
    (folder / "labels.txt").write_text("all\n")
    (folder / "2" / "labels.txt").write_text("second\r\n\r\nthird\n")
    first, second = next(scan(tmp_path)).versions
    assert read_labels(first) == ("all",)
    assert read_labels(second) == ("second", "", "third")


CONFIG = """
# A configuration in the wild: comments, unknown fields, nested lists, both ways of writing messages.
name: "net"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  { name: "image" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, -1 ] reshape { shape: [ 1, 3 ] } }
]
output { name: "scores" data_type: TYPE_FP32, dims: [ 5 ] label_filename: "names.txt" }
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
parameters: { key: "execution_mode" value: { string_value: "0" } }
optimization { execution_accelerators < gpu_execution_accelerator: [ { name: "tensorrt" } ] > }
"""


def test_tritons_configuration_is_read_past_everything_it_may_hold() -> None:
    config = parse(CONFIG)
    assert (config.name, config.max_batch_size) == ("net", 8)
    assert dict(config.inputs) == {"image": (3, 224, -1)}
    assert dict(config.label_files) == {"scores": "names.txt"}


def test_labels_come_from_where_tritons_configuration_says(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network())
    (folder / "config.pbtxt").write_text(CONFIG)
    source = next(scan(tmp_path)).versions[0]
    with pytest.raises(ModelError, match=r"names\.txt.*no such file"):
        read_labels(source)
    (folder / "names.txt").write_text("x\ny\n")
    assert read_labels(next(scan(tmp_path)).versions[0]) == ("x", "y")


def test_labels_outside_the_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("s")
    folder = put(tmp_path / "root", "net", network())
    (folder / "config.pbtxt").write_text('output { name: "scores" label_filename: "../../secret.txt" }')
    with pytest.raises(ModelError, match="outside"):
        read_labels(next(scan(tmp_path / "root")).versions[0])


@pytest.mark.parametrize(
    ("text", "reason"), [('name: "other"', "'other'"), ("name: {{", "config.pbtxt"), ("\x00", "config")]
)
def test_a_wrong_configuration_makes_the_model_unavailable(tmp_path: Path, text: str, reason: str) -> None:
    folder = put(tmp_path, "net", network())
    (folder / "config.pbtxt").write_text(text)
    assert reason in next(scan(tmp_path)).versions[0].fault
