import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.graph.builders import text_model
from tests.service.small import network, photograph, put, recipe

from unpool.engine.feeds import Feeds
from unpool.engine.settings import EngineSettings
from unpool.graph.errors import ModelError, NotFoundError
from unpool.repository import Entry, Repository, RepositorySettings, State
from unpool.repository.entry import open_entry
from unpool.repository.layout import Source

CPU = EngineSettings(device="cpu", threads=1)


def repository(root: Path, **limits: int) -> Repository:
    return Repository(root, RepositorySettings(**limits), CPU)


def states(found: Repository) -> dict[str, State]:
    return {f"{m.name}/{v.version}": v.state for m in found.list() for v in m.versions}


def test_a_model_is_loaded_on_first_use_and_runs(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network())
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    (folder / "preprocessor_config.json").write_text(recipe(size={"height": 32, "width": 32}))
    found = repository(tmp_path)
    assert states(found) == {"net/1": State.AVAILABLE}
    with found.lend("net") as entry:
        assert (entry.name, entry.version, entry.labels) == ("net", 1, ("a", "b", "c", "d", "e"))
        assert entry.preprocessing is not None
        prepared = entry.preprocessing.apply(photograph())
        scores = entry.engine.run(Feeds({"image": prepared.array}, "image"))["scores"]
        assert scores.shape == (1, 5)
        assert np.isfinite(scores).all()
    assert states(found) == {"net/1": State.LOADED}


def test_the_highest_version_that_can_be_served_is_the_default(tmp_path: Path) -> None:
    put(tmp_path, "net", network(1), 1)
    put(tmp_path, "net", network(2), 2)
    put(tmp_path, "net", b"rubbish", 3)
    found = repository(tmp_path)
    with found.lend("net") as entry:
        assert entry.version == 2
    with found.lend("net", 1) as entry:
        assert entry.version == 1
    assert states(found) == {"net/1": State.LOADED, "net/2": State.LOADED, "net/3": State.UNAVAILABLE}


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    put(tmp_path, "vgg16", network())
    found = repository(tmp_path)
    with pytest.raises(NotFoundError) as caught, found.lend("vgg-16"):
        pass
    assert caught.value.nearest == ("vgg16",)
    with pytest.raises(NotFoundError, match="vgg16/7"), found.lend("vgg16", 7):
        pass
    with pytest.raises(NotFoundError, match="the nearest names are vgg16"), found.lend("ouzo" * 100_000):
        pass


@pytest.mark.parametrize("data", [b"rubbish", network().SerializeToString()[:-300], b"\x08\x08"])
def test_a_broken_file_is_unavailable_with_its_reason_while_others_serve(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "broken", data)
    put(tmp_path, "good", network())
    found = repository(tmp_path)
    found.load_all()
    broken, good = found.list()
    assert broken.versions[0].state is State.UNAVAILABLE
    assert broken.versions[0].reason
    assert good.versions[0].state is State.LOADED
    with pytest.raises(ModelError, match="unavailable"), found.lend("broken"):
        pass
    with found.lend("good"):
        pass


def test_a_broken_file_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", b"rubbish")
    opened: list[Source] = []

    def opener(source: Source) -> Entry:
        opened.append(source)
        return open_entry(source, CPU)

    found = Repository(tmp_path, opener=opener)
    for _ in range(3):
        with pytest.raises(ModelError), found.lend("net"):
            pass
    assert len(opened) == 1
    (folder / "1" / "model.onnx").write_bytes(network().SerializeToString())
    with found.lend("net") as entry:
        assert entry.engine.model.graph.outputs == ("scores",)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("deep inside"), "for a reason that is not foreseen; the server's log has more"),
        (OSError(28, "No space left on device"), "cannot be loaded: No space left on device"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_a_library_raises_makes_one_model_unavailable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, words: str
) -> None:
    put(tmp_path, "net", network())

    def opener(source: Source) -> Entry:
        raise error

    found = Repository(tmp_path, opener=opener)
    with pytest.raises(ModelError, match=words), found.lend("net"):
        pass
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error]
    assert found.list()[0].versions[0].state is State.UNAVAILABLE


def test_few_load_at_once_and_who_asks_for_a_loaded_model_does_not_wait(tmp_path: Path) -> None:
    for name in ("loaded", "a", "b", "c", "d"):
        put(tmp_path, name, network())
    gate, opening, most = threading.Event(), [], []

    def opener(source: Source) -> Entry:
        if source.name != "loaded":
            opening.append(source.name)
            most.append(len(opening))
            assert gate.wait(20)
            opening.remove(source.name)
        return open_entry(source, CPU)

    found = Repository(tmp_path, RepositorySettings(loads=2), opener=opener)
    with found.lend("loaded"):
        pass

    def borrow(name: str) -> str:
        with found.lend(name) as entry:
            return entry.name

    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(borrow, name) for name in "abcd"]
        while len(opening) < 2:
            time.sleep(0.005)
        assert borrow("loaded") == "loaded"
        gate.set()
        assert [s.result() for s in slow] == list("abcd")
    assert max(most) == 2


def test_a_changed_file_is_noticed_and_who_has_the_old_model_keeps_it(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network(1))
    found = repository(tmp_path)
    with found.lend("net") as old:
        (folder / "1" / "model.onnx").write_bytes(network(2).SerializeToString())
        later = time.time() + 5
        os.utime(folder / "1" / "model.onnx", (later, later))
        assert states(found) == {"net/1": State.AVAILABLE}
        with found.lend("net") as new:
            assert new.engine.model.digest != old.engine.model.digest
        zeros = Feeds({"image": np.zeros((1, 3, 32, 32), np.float32)}, "image")
        assert old.engine.run(zeros)["scores"].shape == (1, 5)


def test_added_and_removed_models_are_noticed(tmp_path: Path) -> None:
    put(tmp_path, "first", network())
    found = repository(tmp_path)
    with found.lend("first"):
        pass
    put(tmp_path, "second", network())
    with found.lend("second"):
        pass
    (tmp_path / "first" / "1" / "model.onnx").unlink()
    (tmp_path / "first" / "1").rmdir()
    (tmp_path / "first").rmdir()
    assert states(found) == {"second/1": State.LOADED}
    with pytest.raises(NotFoundError), found.lend("first"):
        pass


def test_the_longest_unused_is_evicted_and_never_what_is_lent(tmp_path: Path) -> None:
    for i, name in enumerate(["a", "b", "c"]):
        put(tmp_path, name, network(i))
    found = repository(tmp_path, max_models=2)
    with found.lend("a") as lent:
        for name in ("b", "c"):
            with found.lend(name):
                pass
        assert states(found) == {"a/1": State.LOADED, "b/1": State.AVAILABLE, "c/1": State.LOADED}
        zeros = Feeds({"image": np.zeros((1, 3, 32, 32), np.float32)}, "image")
        assert lent.engine.run(zeros)["scores"].shape == (1, 5)
    with found.lend("b"):
        pass
    assert states(found)["c/1"] is State.AVAILABLE


def test_a_limit_of_bytes_counts_the_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, name, network())
    size = (tmp_path / "a" / "1" / "model.onnx").stat().st_size
    narrow = repository(tmp_path, max_bytes=size + 100)
    wide = repository(tmp_path, max_bytes=2 * size + 200)
    for found in (narrow, wide):
        for name in ("a", "b"):
            with found.lend(name):
                pass
    assert states(narrow) == {"a/1": State.AVAILABLE, "b/1": State.LOADED}
    assert states(wide) == {"a/1": State.LOADED, "b/1": State.LOADED}


def test_a_limit_of_bytes_counts_every_branch_that_inputs_took(tmp_path: Path) -> None:
    put(tmp_path, "a", network())
    deciding = """agraph (float[1,3] x, bool cond) => (float[1,3] y) {
        z = Mul (x, w)
        y = If <
            then_branch = a () => (float[1,3] t) { t = Neg (z) },
            else_branch = b () => (float[1,3] t) { t = Relu (z) }
        > (cond)
    }"""
    put(tmp_path, "b", text_model(deciding, {"w": np.ones((1, 3), np.float32)}))
    sizes = {name: (tmp_path / name / "1" / "model.onnx").stat().st_size for name in ("a", "b")}
    found = repository(tmp_path, max_bytes=sizes["a"] + 2 * sizes["b"] + 100)
    taken = []
    for cond in (True, True, False):
        with found.lend("a"):
            pass
        with found.lend("b") as entry:
            entry.engine.taken(Feeds({"x": np.ones((1, 3), np.float32), "cond": np.array(cond)}, "x"))
        taken.append((entry.held // entry.size, states(found)["a/1"]))
    assert taken == [(2, State.LOADED), (2, State.LOADED), (3, State.AVAILABLE)]


def test_many_borrowers_at_once_share_one_loading(tmp_path: Path) -> None:
    put(tmp_path, "net", network())
    opened: list[Entry] = []

    def opener(source: Source) -> Entry:
        time.sleep(0.05)
        opened.append(open_entry(source, CPU))
        return opened[-1]

    found = Repository(tmp_path, opener=opener)
    gate = threading.Barrier(6)

    def borrow(_: int) -> Entry:
        gate.wait()
        with found.lend("net") as entry:
            return entry

    with ThreadPoolExecutor(6) as pool:
        entries = list(pool.map(borrow, range(6)))
    assert len(opened) == 1
    assert all(entry is opened[0] for entry in entries)


def test_closing_waits_for_what_is_lent(tmp_path: Path) -> None:
    put(tmp_path, "net", network())
    found = repository(tmp_path)
    with found.lend("net") as entry:
        found.close()
        zeros = Feeds({"image": np.zeros((1, 3, 32, 32), np.float32)}, "image")
        assert entry.engine.run(zeros)["scores"].shape == (1, 5)
    assert states(found) == {"net/1": State.AVAILABLE}


def test_a_description_that_does_not_fit_makes_the_model_unavailable(tmp_path: Path) -> None:
    folder = put(tmp_path, "net", network())
    (folder / "preprocessor_config.json").write_text(recipe(image_mean=[0.5, 0.5], image_std=[1, 1]))
    found = repository(tmp_path)
    found.load_all()
    assert "image_mean" in found.list()[0].versions[0].reason


def test_a_root_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a folder nor an ONNX file"):
        Repository(tmp_path / "nowhere")


def test_a_file_that_is_no_model_by_its_name_is_no_repository(tmp_path: Path) -> None:
    photograph = tmp_path / "cat.png"
    photograph.write_bytes(b"a picture")
    with pytest.raises(ModelError, match="neither a folder nor an ONNX file"):
        Repository(photograph)
