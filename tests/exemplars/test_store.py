"""What is committed stays, whatever happens to the disk."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from tests.exemplars import afar
from tests.exemplars.pictures import crops, folder

from unpool.exemplars import Roots, ScanHeader, ScanIndex, ScanProgress, ScanRequest, Store, open_dataset, scan
from unpool.graph.errors import ExhaustedError, PreconditionError
from unpool.repository import Entry


def test_a_full_disk_keeps_what_was_committed(small: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(str(folder(tmp_path / "pictures", crops(12, 40))), Roots(unrestricted=True))
    store, request = Store(str(tmp_path / "index")), ScanRequest(shard=4)
    items = scan(small, dataset, request, store)
    header = next(items)
    assert isinstance(header, ScanHeader)
    while not isinstance(next(items), ScanProgress):
        pass

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PreconditionError, match=r"No space left.*what was committed stays"):
            list(items)
    index = ScanIndex(store, header.description)
    assert index.committed() == {0}
    assert index.shard(0).count == 4 - len(index.shard(0).skipped)
    assert not list((tmp_path / "index").rglob("*.part"))
    again = [item for item in scan(small, dataset, request, store) if isinstance(item, ScanHeader)]
    assert again[0].done == 4
    assert index.complete


def test_a_store_is_held_by_one(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "local"), "memory://held"):
        with Store(uri).held("a"), pytest.raises(ExhaustedError, match="another scan"), Store(uri).held("a"):
            pass
        with Store(uri).held("a"):
            pass


def test_a_claim_is_renewed_while_its_holder_lives_and_lapses_when_it_is_gone() -> None:
    system = fsspec.filesystem("memory")
    with Store("memory://renewed", lapse=0.4).held("a"):
        time.sleep(1.0)
        with (
            pytest.raises(ExhaustedError, match=f"process {os.getpid()}.*lapses in"),
            Store("memory://renewed", lapse=0.4).held("a"),
        ):
            pass
    assert not system.find("/renewed/a")
    # What a process that was killed leaves behind.
    system.pipe_file("/renewed/a/claims/gone.claim", b"process 1 on afar\n0")
    with pytest.raises(ExhaustedError, match="process 1 on afar") as caught, Store("memory://renewed").held("a"):
        pass
    assert 50 < (caught.value.retry_seconds or 0) <= 60
    time.sleep(0.5)
    with Store("memory://renewed", lapse=0.4).held("a"):
        assert len(system.ls("/renewed/a/claims")) == 1
    assert not system.find("/renewed/a")


def test_a_scan_whose_claim_was_taken_writes_no_more() -> None:
    store = Store("memory://taken", lapse=0.2)
    with store.held("a"):
        store.write("a/first", b"1")
        for claim in fsspec.filesystem("memory").ls("/taken/a/claims", detail=False):
            fsspec.filesystem("memory").rm_file(claim)
        time.sleep(0.3)
        with pytest.raises(ExhaustedError, match="another goes on"):
            store.write("a/second", b"2")
    assert store.names("a") == ["first"]
    store.write("a/third", b"3")


def test_a_scan_into_a_remote_index_goes_on_after_its_process_was_killed(
    small: Entry, models: Path, tmp_path: Path
) -> None:
    pictures, request, lapse = folder(tmp_path / "pictures", crops(40, 40)), ScanRequest(shard=4), 6.0
    dataset = open_dataset(str(pictures), Roots(unrestricted=True))

    def scanned(store: Store) -> ScanHeader:
        return next(item for item in list(scan(small, dataset, request, store)) if isinstance(item, ScanHeader))

    whole = scanned(Store(str(tmp_path / "whole"))).description
    afar.register()
    uri = f"afar://{tmp_path / 'index'}"
    command = [sys.executable, "-m", "tests.exemplars.afar", str(models), str(pictures), uri, str(lapse)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    before = [int(process.stdout.readline()) for _ in range(3)]
    process.kill()
    process.wait()
    with pytest.raises(ExhaustedError, match=f"process {process.pid}"), Store(uri, lapse).held(whole.folder):
        pass
    time.sleep(lapse)
    again = scanned(Store(uri, lapse))
    assert before[-1] <= again.done < 41  # at most the shard that was in work is done twice
    killed, expected = (ScanIndex(Store(place), whole).exemplars("r2") for place in (uri, str(tmp_path / "whole")))
    assert killed == expected


def test_an_index_may_be_remote(small: Entry, tmp_path: Path) -> None:
    dataset = open_dataset(str(folder(tmp_path / "pictures", crops(6, 40))), Roots(unrestricted=True))
    answers = []
    for uri in (str(tmp_path / "index"), "memory://index"):
        items = list(scan(small, dataset, ScanRequest(), Store(uri)))
        header = next(item for item in items if isinstance(item, ScanHeader))
        answers.append(ScanIndex(Store(uri), header.description).exemplars("r2"))
    assert answers[0] == answers[1]
