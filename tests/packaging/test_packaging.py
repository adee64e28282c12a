"""What the distribution promises about itself, read from its installed metadata."""

import re
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu"}


def required(extra: str | None) -> set[str]:
    """Names of the packages that the base install, or an extra, asks for."""
    names = set()
    for line in distribution("unpool").requires or []:
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if (named.group(1) if named else None) == extra:
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None
            names.add(name.group().lower().replace("_", "-"))
    return names


def test_base_install_asks_for_nothing_heavy() -> None:
    base = required(None)
    assert {"grpcio", "numpy", "pillow", "protobuf", "rich", "typer"} <= base
    assert base & HEAVY == set()


def test_server_extra_brings_both_runtimes() -> None:
    assert required("server") >= HEAVY


def test_no_namespace_folder_has_an_init_file() -> None:
    for root in ("proto", "server", "client", "converters"):
        assert not (ROOT / root / "unpool" / "__init__.py").exists()


def test_every_direct_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if line and not line.startswith("#")}
    wanted = required(None) | required("server") | required("converters") | required("dev")
    assert wanted - pinned == set()


def test_every_room_says_that_it_is_typed() -> None:
    rooms = [
        path for root in ("proto", "server", "client", "converters") for path in (ROOT / root / "unpool").iterdir()
    ]
    rooms = [room for room in rooms if (room / "__init__.py").exists()]
    assert [room.name for room in rooms if not (room / "py.typed").exists()] == []
