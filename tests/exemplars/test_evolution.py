"""A network trained in seconds, its checkpoints at the paper's epochs, and how its features came to be."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import typer
from demo import training
from typer.testing import CliRunner

from unpool.client import Client, EvolutionStep, Settling, VersionProgress, sheets
from unpool.client.cli import _group
from unpool.client.commands.evolution import evolution
from unpool.client.commands.exemplars import exemplars
from unpool.converters import ConversionError, checkpoints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert training.put(folder / "models", folder) > 0.95
    return folder


@pytest.fixture
def client(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Client.embedded(trained / "models", device="cpu") as client:
        yield client


def test_each_version_is_its_checkpoint(trained: Path) -> None:
    versions = {int(p.name) for p in (trained / "models" / "digits").iterdir() if p.name.isdecimal()}
    assert versions == set(training.EPOCHS) == set(checkpoints(trained / "checkpoints"))
    module = training.network()
    module.load_state_dict(torch.load(trained / "checkpoints" / "epoch_010.pt", weights_only=True))
    session = ort.InferenceSession(trained / "models" / "digits" / "10" / "model.onnx")
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    np.testing.assert_allclose(found, module(images).detach().numpy(), atol=1e-5)


def test_a_feature_over_the_papers_epochs(client: Client, trained: Path, tmp_path: Path) -> None:
    data = trained / "digits.npz"
    stream = client.evolution("digits", data, layer="conv2", channels=range(4))
    assert stream.header.versions == training.EPOCHS
    items = list(stream)
    assert {i.version for i in items if isinstance(i, VersionProgress)} == set(training.EPOCHS)
    steps = [i for i in items if isinstance(i, EvolutionStep)]
    assert len(steps) == 4 * len(training.EPOCHS)
    pixels, classes = training.digits()
    images = torch.from_numpy(pixels).float().unsqueeze(1) / 255
    strongest: dict[int, np.ndarray] = {}
    for epoch in training.EPOCHS:
        module = training.network()
        module.load_state_dict(torch.load(trained / "checkpoints" / f"epoch_{epoch:03d}.pt", weights_only=True))
        with torch.no_grad():
            maxima = module[:5](images).amax((2, 3)).numpy()
        strongest[epoch] = np.where(maxima.max(0) > 0, maxima.argmax(0), -1)
        for step in (s for s in steps if s.version == epoch):
            column = maxima[:, step.channel]
            if step.strongest is None:
                assert column.max() <= 0
                continue
            exemplar = step.strongest.exemplar
            assert exemplar.rank_value == pytest.approx(column.max(), rel=1e-5)
            assert column[exemplar.image] == pytest.approx(column.max(), rel=1e-5)
            assert exemplar.label == str(classes[exemplar.image])
    settled = [i for i in items if isinstance(i, Settling)]
    pairs = list(zip(training.EPOCHS, training.EPOCHS[1:], strict=False))
    assert [(s.earlier, s.later) for s in settled] == pairs
    for s in settled:
        expected = int((strongest[s.earlier] != strongest[s.later]).sum())
        assert abs(s.changed - expected) <= 2  # near-ties between two images
    # Early the features move from image to image; late they have settled.
    assert settled[-1].changed < settled[0].changed
    figure = sheets.evolution(steps)
    assert figure.width > 8 * 72
    # All is scanned now: asked again, nothing is.
    again = list(client.evolution("digits", data, layer="conv2", channels=range(4), signals=False))
    assert not [i for i in again if isinstance(i, VersionProgress)]


def test_the_sheet_holds_everything_and_fetches_nothing(client: Client, trained: Path) -> None:
    list(client.scan("digits", trained / "digits.npz"))
    channels = list(client.channels("digits", layer="conv2"))
    found = list(client.project_exemplars("digits", layer="conv2", channels=range(32)))
    page = sheets.sheet(channels, found, title="conv2 <of> digits")
    assert page.count("<section") == 32
    assert page.count("data:image/webp;base64,") == sum(bool(c.exemplars) for c in channels)
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", page)
    assert "&lt;of&gt;" in page
    assert len(page) < 500_000
    assert any(one.exemplar.cut for one in found)
    assert "cut by the border" in page


def test_the_verbs(client: Client, trained: Path, tmp_path: Path) -> None:
    group = _group("exemplars", exemplars, "")
    figure = str(tmp_path / "evolution.png")
    runner, data = CliRunner(), str(trained / "digits.npz")
    server = ["--server", client.target]
    app = typer.Typer()
    app.command()(evolution)
    from click.testing import CliRunner as Click

    scanned = Click().invoke(group, ["scan", "digits", data, "-l", "conv2", "--version", "64", *server])
    assert scanned.exit_code == 0, scanned.output
    assert "1797" in scanned.output
    shown = Click().invoke(
        group, ["show", "digits", "-l", "conv2", "-c", "1", "-c", "2", "-o", str(tmp_path / "out"), *server]
    )
    assert shown.exit_code == 0, shown.output
    assert list((tmp_path / "out").glob("conv2_c*.png"))
    sheet = Click().invoke(group, ["show", "digits", "-l", "conv2", "--sheet", "-o", str(tmp_path / "out"), *server])
    assert sheet.exit_code == 0, sheet.output
    assert (tmp_path / "out" / "conv2.html").stat().st_size > 10_000
    wrong = Click().invoke(group, ["show", "digits", "-l", "conv2", "--sheet", *server])
    assert wrong.exit_code == 2
    traced = runner.invoke(
        app,
        ["digits", data, "-l", "conv2", "-c", "0", "--version", "1", "--version", "64", "-o", figure, *server],
    )
    assert traced.exit_code == 0, traced.output
    assert (tmp_path / "evolution.png").exists()


def test_checkpoints_are_told_apart_by_number(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no checkpoints"):
        checkpoints(tmp_path)
    (tmp_path / "epoch_3.pt").touch()
    (tmp_path / "last_03.pth").touch()
    with pytest.raises(ConversionError, match="the same number"):
        checkpoints(tmp_path)
    (tmp_path / "last_03.pth").rename(tmp_path / "best.pth")
    with pytest.raises(ConversionError, match="no positive number"):
        checkpoints(tmp_path)
