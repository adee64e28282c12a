"""What an examination adds to the load of a model, beside the creation of a bare session."""

from __future__ import annotations

import time

from tests import zoo

from benchmarks.capturing import bare_session
from benchmarks.report import Line, Report, paired
from unpool.repository import Examiner

_ALLOWED_SECONDS = 2.0


def run(report: Report, *, quick: bool = False) -> None:
    """Each real model, from small to 575 MB; the worker is warm, as it is in a server."""
    examiner = Examiner()
    examiner.start()
    names = ("squeezenet", "efficientnet_lite0", "densenet121", "imagenet_vgg16", "alexnet", "vgg19")
    try:
        for name in names:
            _examined(report, examiner, name, runs=3 if quick else 5)
    finally:
        examiner.close()


def _examined(report: Report, examiner: Examiner, name: str, *, runs: int) -> None:
    path = zoo.path(name)

    def examine() -> None:
        # A signature of its own each time: a verdict that is kept costs nothing and would be measured instead.
        signature = ((str(path), time.monotonic_ns(), path.stat().st_size),)
        verdict = examiner.admit(path, signature)
        if not verdict.admitted:
            raise RuntimeError(verdict.reason)

    mine, bare, _ = paired(examine, lambda: bare_session(path), runs=runs)
    limit = max(_ALLOWED_SECONDS, bare)
    report.add(
        Line(
            f"{name}: examination before a load, of 2 s or 1x bare session creation",
            f"bare session {bare:.2f} s, limit {limit:.2f} s",
            f"{mine:.2f} s",
            mine / limit,
            1.0,
            lower=True,
        )
    )
