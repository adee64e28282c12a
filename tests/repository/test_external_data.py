"""External data lies in the model's own folder, as regular files of their own; the known ways out of it are refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from unpool.engine import Engine, EngineSettings
from unpool.engine.feeds import Feeds
from unpool.graph import load
from unpool.graph.errors import ModelError
from unpool.repository import Examiner

WEIGHT = np.random.default_rng(7).normal(size=(40, 16)).astype(np.float32)


def external(name: str, location: str, shape: tuple[int, ...] = WEIGHT.shape, **more: str) -> onnx.TensorProto:
    """A tensor whose data is said to lie elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(weight: onnx.TensorProto, *, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WEIGHT.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight] if nodes is None else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder; beside it a file that is none of its business."""
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    found = tmp_path / "model"
    found.mkdir()
    return found


def write(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def linked(kind: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        if kind == "symlink":
            (folder / "w.bin").symlink_to(folder.parent / "secret.bin")
        elif kind == "symlink chain":
            (folder / "a").symlink_to("b")
            (folder / "b").symlink_to("../secret.bin")
            return "a"
        elif kind == "symlinked folder":
            (folder / "sub").symlink_to("..", target_is_directory=True)
            return "sub/secret.bin"
        elif kind == "hard link":
            os.link(folder.parent / "secret.bin", folder / "w.bin")
        elif kind == "loop":
            (folder / "w.bin").symlink_to("w.bin")
        elif kind == "pipe":
            os.mkfifo(folder / "w.bin")
        elif kind == "folder":
            (folder / "w.bin").mkdir()
        return "w.bin"

    return make


WAYS_OUT: dict[str, Callable[[Path], str]] = {
    "parent (CVE-2022-25882)": lambda folder: "../secret.bin",
    "parent further in (CVE-2024-27318)": lambda folder: "sub/../../secret.bin",
    "parent after dots (CVE-2024-27318)": lambda folder: "./../secret.bin",
    "parent with doubled slashes": lambda folder: "..//secret.bin",
    "back into itself": lambda folder: "../model/model.onnx",
    "absolute (CVE-2024-5187)": lambda folder: str(folder.parent / "secret.bin"),
    "absolute with doubled slashes": lambda folder: "/" + str(folder.parent / "secret.bin"),
    "absolute of the system": lambda folder: "/etc/passwd",
    "process files": lambda folder: "/proc/self/environ",
    "URL": lambda folder: f"file://{folder.parent}/secret.bin",
    "scheme alone": lambda folder: "file:secret.bin",
    "drive": lambda folder: "C:secret.bin",
    "backslashes": lambda folder: "..\\secret.bin",
    "backslash alone": lambda folder: "sub\\secret.bin",
    "share": lambda folder: "\\\\server\\share\\secret.bin",
    "NUL": lambda folder: "w.bin\0/../../secret.bin",
    "nothing": lambda folder: "",
    "the folder itself": lambda folder: ".",
    "too long": lambda folder: "a" * 5000,
    "address in memory": lambda folder: "*/_ORT_MEM_ADDR_/*",
    **{
        kind: linked(kind)
        for kind in ("symlink", "symlink chain", "symlinked folder", "hard link", "loop", "pipe", "folder")
    },
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_leads_out_of_the_models_folder(folder: Path, way: str) -> None:
    location = WAYS_OUT[way](folder)
    with pytest.raises(ModelError) as caught:
        load(write(folder, model(external("w", location))))
    assert str(caught.value).startswith("tensor 'w' has external data"), str(caught.value)


@pytest.mark.parametrize("place", ["attribute", "sparse", "subgraph", "function"])
def test_a_tensor_is_found_wherever_it_hides(folder: Path, place: str) -> None:
    out = external("w", "../secret.bin")
    product = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    if place == "attribute":
        proto = model(out, nodes=[helper.make_node("Constant", [], ["w"], value=out), product])
    elif place == "sparse":
        sparse = helper.make_sparse_tensor(
            external("v", "../secret.bin", (2,)), numpy_helper.from_array(np.array([0, 1])), list(WEIGHT.shape)
        )
        proto = model(out, nodes=[helper.make_node("Constant", [], ["w"], sparse_value=sparse), product])
    elif place == "subgraph":
        inner = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"])], "then", [], [], [out])
        inner.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
        condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
        proto = model(
            out, nodes=[condition, helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
        )
    else:
        constant = helper.make_node("Constant", [], ["w"], value=out)
        proto = model(out, nodes=[helper.make_node("Own", ["x"], ["y"], domain="own")])
        proto.functions.append(
            helper.make_function("own", "Own", ["x"], ["y"], [constant, product], [helper.make_opsetid("", 17)])
        )
        proto.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(ModelError, match="outside the model's own folder"):
        load(write(folder, proto))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"offset": "-8"}, "no natural number"),
        ({"offset": "1e3"}, "no natural number"),
        ({"offset": "64", "length": "2560"}, "up to byte 2624"),
        ({"offset": "64"}, "up to byte 2624"),
        ({"offset": "99999999999"}, "up to byte"),
        ({"length": "9" * 30}, "no natural number"),
        ({"basepath": "/"}, "not known"),
        ({"__class__": "x"}, "not known"),
    ],
)
def test_a_range_lies_within_its_file(folder: Path, more: dict[str, str], words: str) -> None:
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(ModelError, match=words):
        load(write(folder, model(external("w", "w.bin", **more))))


def test_bytes_alone_have_no_external_data() -> None:
    with pytest.raises(ModelError, match="given as bytes"):
        load(model(external("w", "w.bin")).SerializeToString())


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin", "./w.bin", "link.bin"])
def test_external_data_inside_the_folder_is_read_as_it_stands(folder: Path, location: str) -> None:
    (folder / "sub").mkdir()
    for place in ("w.bin", "sub/w.bin"):
        (folder / place).write_bytes(b"\0" * 64 + WEIGHT.tobytes())
    (folder / "link.bin").symlink_to("sub/w.bin")
    path = write(folder, model(external("w", location, offset="64", length=str(WEIGHT.nbytes))))
    engine = Engine(load(path), EngineSettings(device="cpu", threads=1))
    x = np.random.default_rng(1).normal(size=(3, WEIGHT.shape[0])).astype(np.float32)
    (y,) = engine.run(Feeds({"x": x}, "x")).values()
    np.testing.assert_allclose(y, x.astype(np.float64) @ WEIGHT, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_model_above_two_gibibytes_runs(folder: Path) -> None:
    """A table of 2.2 GiB, a hole on disk but for its last row, is looked up and multiplied."""
    rows, width = 600_000, 1024
    size = rows * width * 4
    assert size > 2 << 30
    row = np.random.default_rng(3).normal(size=width).astype(np.float32)
    with (folder / "model.bin").open("wb") as stream:
        stream.truncate(size)
        stream.seek(size - row.nbytes)
        stream.write(row.tobytes())
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "at"], ["row"]), helper.make_node("Mul", ["row", "x"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [external("table", "model.bin", (rows, width))],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = write(folder, proto)
    examiner = Examiner()
    try:
        verdict = examiner.admit(path)
        assert verdict.admitted, verdict.reason
        parity = examiner.compare(path).result(120)
        assert parity.holds, parity
    finally:
        examiner.close()
    model_read = load(path)
    assert model_read.digest == verdict.digest
    engine = Engine(model_read, EngineSettings(device="cpu", threads=1))
    x = np.full((1, width), 2, np.float32)
    found = engine.run(Feeds({"at": np.array([rows - 1]), "x": x}, "x"))["y"]
    np.testing.assert_array_equal(found[0], 2 * row)
