"""Examinations that end badly, in a process of their own: ``python hostile.py KIND FILE`` prints what became of each.

The worker is forked from here, so it carries the ill will that is put in place of the real examination; a file whose
name says so is then examined in earnest, by the same worker.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from unpool.repository.admission import Examiner, Limits, worker

_EARNEST = worker._KINDS["admit"]


def misbehave(file: Path, limits: Limits) -> Iterator[Mapping[str, object]]:
    kind = sys.argv[1]
    if file.name == "good.onnx":
        yield from _EARNEST(file, limits)
    elif kind == "crash":
        ctypes.string_at(0)
    elif kind == "abort":
        os.abort()
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "spin":
        while True:
            pass
    elif kind == "eat":
        held = bytearray()
        while True:
            held += bytes(16 << 20)
    elif kind == "eat in C":
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        while pointer := libc.malloc(ctypes.c_size_t(16 << 20)):
            ctypes.memset(pointer, 1, 16 << 20)
        os.abort()
    elif kind == "exit":
        os._exit(7)
    elif kind == "write":
        Path(file.parent / "written").write_bytes(b"outside")
        yield {"part": "verdict", "admitted": True}
    elif kind == "garble":
        yield {"part": "verdict", "admitted": True}
        yield {"part": "parity", "outputs": [["y"]], "extents": 3}
    elif kind == "babble":
        yield {"part": "verdict", "admitted": "yes", "reason": "one\ntwo\x1b[31m" + "x" * 5000, "node": 3}


def main() -> None:
    worker._KINDS["admit"] = misbehave
    examiner = Examiner(Limits(seconds=2.0, memory_bytes=512 << 20))
    examiner.start()
    bad = Path(sys.argv[2])
    for file in (bad, bad.with_name("good.onnx")):
        began = time.monotonic()
        verdict = examiner.admit(file)
        print(
            json.dumps(
                {
                    "admitted": verdict.admitted,
                    "reason": verdict.reason,
                    "passing": verdict.passing,
                    "seconds": time.monotonic() - began,
                }
            ),
            flush=True,
        )
    examiner.close()


if __name__ == "__main__":
    main()
