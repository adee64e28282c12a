"""Broken files by the thousand: each ends in admission or one sentence; so does what is asked of those admitted."""

import logging
import os
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.repository.asking import faults
from tests.repository.mutations import mutated
from tests.repository.sound import seeds

from unpool.engine import Engine, EngineSettings
from unpool.graph import load
from unpool.repository import Examiner, Limits

# Without the environment's word a run takes about two minutes on two cores; 5,000 are tried by hand before a release.
COUNT = int(os.environ.get("UNPOOL_FUZZ", "1000"))
FIRST = int(os.environ.get("UNPOOL_FUZZ_FIRST", "0"))
LIMITS = Limits(seconds=20.0, memory_bytes=1 << 30)
GRACE_SECONDS = 10.0
# What a library says to its developers: classes of exceptions, codes, source files, signatures, tracebacks.
FOREIGN = re.compile(
    r"\b[A-Za-z]\w*(?:Error|Exception)\b|\[ONNXRuntimeError\]|\.(?:cc|cpp|h|hpp|py):\d+|\w::\w"
    r"|<class|Traceback| object at 0x|In Node, |status code|In method "
)


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_seeds_are_sound(tmp_path: Path) -> None:
    examiner = Examiner(LIMITS)
    try:
        for index, model in enumerate(seeds()):
            path = tmp_path / f"{index}.onnx"
            path.write_bytes(model.SerializeToString())
            assert examiner.admit(path).admitted, (index, examiner.admit(path).reason)
    finally:
        examiner.close()


def test_a_seed_gives_the_same_file_each_time() -> None:
    models = seeds()
    assert [mutated(i, models) for i in range(20)] == [mutated(i, models) for i in range(20)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_broken_file_ends_in_admission_or_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a library says of each node of a broken file would be kept by the thousand.
    monkeypatch.setattr(logging.getLogger("onnx_ir"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("onnx_ir.serde"), "disabled", True)
    models = seeds()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"\0" * 64)
    path = folder / "model.onnx"
    examiner = Examiner(LIMITS)
    found: Counter[str] = Counter()
    foreign: list[tuple[int, str]] = []
    unanswered: list[tuple[int, str]] = []
    unforeseen = 0
    try:
        for seed in range(FIRST, FIRST + COUNT):
            path.write_bytes(mutated(seed, models))
            # The file is another one though it was written within the clock's resolution.
            signature = ((str(path), seed, path.stat().st_size),)
            began = time.monotonic()
            before = tree(tmp_path)
            verdict = examiner.admit(path, signature)
            assert time.monotonic() - began < LIMITS.seconds + GRACE_SECONDS, seed
            assert tree(tmp_path) == before, seed
            if verdict.admitted:
                # What is admitted is read, opened and asked as the serving process does it, in this one.
                engine = Engine(load(path), EngineSettings(device="cpu", threads=1))
                assert engine.model.digest == verdict.digest, seed
                engine.prepare()
                raised, told = faults(engine)
                unanswered += [(seed, words) for words in raised]
                foreign += [(seed, words) for words in told if FOREIGN.search(words)]
                engine.close()
                found["admitted"] += 1
                continue
            reason = verdict.reason
            assert reason, seed
            assert reason.isprintable(), (seed, reason)
            assert len(reason) <= 600, (seed, reason)
            if FOREIGN.search(reason):
                foreign.append((seed, reason))
            ending = reason.startswith(("its examination", "it could not", "it cannot be read"))
            found[" ".join(reason.split()[:6]) if ending else "refused"] += 1
            unforeseen += "not foreseen" in reason
    finally:
        examiner.close()
    print(f"\n{COUNT} files: {dict(found.most_common())}")
    assert not foreign, foreign
    assert not unanswered, unanswered
    assert sum(found.values()) == COUNT
    # A stage without words of its own for what is wrong: to be found words for, not to be the rule.
    assert unforeseen <= COUNT / 100
    # The mutator would be of no use if it broke everything, or nothing.
    assert 0.02 < found["admitted"] / COUNT < 0.9
    assert found["it could not be examined:"] == 0
