"""The demo's models: what the recipes write is what the packages carry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tests import zoo

from unpool.converters import ConversionError, Preprocessing
from unpool.converters.packages import package_file
from unpool.converters.recipes import RECIPES, imagenet_vgg16


def test_the_third_partys_file_arrives_unchanged(tmp_path: Path) -> None:
    report = RECIPES["imagenet_vgg16"].put(tmp_path, name="vgg")
    assert report.path.read_bytes() == imagenet_vgg16.file().read_bytes()
    assert (tmp_path / "vgg/labels.txt").read_text().split() == ["glioma", "meningioma", "notumor", "pituitary"]
    config = json.loads((tmp_path / "vgg/preprocessor_config.json").read_text())
    assert config["size"] == {"height": 240, "width": 240}
    assert config["channel_order"] == "BGR"
    assert config["image_mean"] == [103.939, 116.779, 123.68]
    assert not config["do_rescale"]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "hed_vgg16"])
def test_exports_equal_pytorch_on_photographs(tmp_path: Path, name: str) -> None:
    report = RECIPES[name].put(tmp_path, name=name, pictures=[zoo.picture_path("cat"), zoo.picture_path("rocket")])
    assert report.dynamic_batch
    (output,) = report.outputs
    assert output.inputs == 5
    assert output.difference < 1e-5


def test_labels_lie_in_the_order_of_the_output(tmp_path: Path) -> None:
    report = RECIPES["efficientnet_lite0"].put(tmp_path, name="e")
    labels = (tmp_path / "e/labels.txt").read_text().splitlines()
    steps = Preprocessing.from_json((tmp_path / "e/preprocessor_config.json").read_text())
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": steps.apply(zoo.picture("coffee"))[np.newaxis]})
    assert labels[int(logits.argmax())] == "espresso"
    assert len(labels) == 1000


def test_a_missing_package_is_told_with_its_remedy() -> None:
    with pytest.raises(ConversionError, match="pip install --no-deps no-such-package-here"):
        package_file("no-such-package-here", "x")
