"""A projection from what a unit sees equals that from its whole image."""

from pathlib import Path

import numpy as np
import pytest
from tests.exemplars.conftest import Open
from tests.exemplars.pictures import crops, folder
from tests.exemplars.test_truth import scanned

from unpool.engine import Policy
from unpool.exemplars import Roots, ScanRequest, open_dataset
from unpool.exemplars.cropping import Cropped, crop_of
from unpool.exemplars.examples import Example
from unpool.exemplars.projecting import Projected, fetch, project_exemplars
from unpool.methods.requests import ProjectionRequest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("policy", [Policy.DECONVNET, Policy.GRADIENT])
@pytest.mark.parametrize(("name", "layer"), [("imagenet_vgg16", "block2_conv2_1"), ("squeezenet", 2)])
def test_the_crop_gives_what_the_whole_image_gives(
    opened: Open, tmp_path: Path, name: str, layer: str | int, policy: Policy
) -> None:
    entry = opened(name)
    layers = entry.engine.model.layers
    rectifiers = [x for x in layers if x.op_type == "Relu"]
    found = layers.find(layer) if isinstance(layer, str) else rectifiers[layer]
    pictures = folder(tmp_path / "pictures", crops(12))
    index, _ = scanned(entry, pictures, tmp_path / "index", ScanRequest((found.name,), k=6))
    exemplars = index.exemplars(found.name, (1, 4, 5))
    assert exemplars
    dataset = open_dataset(str(pictures), Roots(unrestricted=True))
    sources = fetch(entry, dataset, [e.image for e in exemplars])
    shown = [crop_of(entry.engine, sources[e.image].feeds, e) for e in exemplars]
    assert all(isinstance(source, Example) for source in sources.values())
    assert all(crop is not None for crop in shown)
    request, cropped = ProjectionRequest(found.name, policy=policy), Cropped()
    answers = []
    for memory in (cropped, None):
        items = project_exemplars(entry, dataset, exemplars, request, memory)
        answers.append(sorted((i for i in items if isinstance(i, Projected)), key=lambda i: i.index))
    # Not refused: the crops were used.
    assert cropped.engine(entry.engine, found.name) is not None
    for local, whole in zip(*answers, strict=True):
        assert local.exemplar == whole.exemplar
        assert (local.projection.lower, local.projection.upper) == (whole.projection.lower, whole.projection.upper)
        scale = float(np.abs(whole.projection.signal).max())
        np.testing.assert_allclose(local.projection.signal, whole.projection.signal, atol=1e-5 * scale)
        assert local.projection.activation == pytest.approx(whole.projection.activation, rel=1e-5)
