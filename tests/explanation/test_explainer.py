"""An explainer gives the same explanation of a file, an image and a tensor, and the sources' own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pixpnet
from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.explanation import Explainer, Explanation
from pixpnet.runs import load


@pytest.fixture(scope="module")
def explainer(tiny_run: Path) -> Explainer:
    return Explainer(load(tiny_run))


def same(first: Explanation, second: Explanation) -> bool:
    return first.logits == second.logits and bool((first.image == second.image).all())


def test_a_file_an_image_and_a_tensor_are_one(explainer: Explainer) -> None:
    path = explainer.image_set.test[5].path
    explanation = explainer.explain(path)
    assert (explanation.name, explanation.truth) == (path.stem, None)
    with Image.open(path) as image:
        assert same(explainer.explain(image), explanation)
    assert same(explainer.explain(str(path)), explanation)
    assert same(explainer.explain(explainer.test_images()[5].image), explanation)
    tested = explainer.explain_test(5)
    assert same(tested, explanation)
    assert tested.truth == explainer.image_set.test[5].label
    expected = explainer.run.network(explainer.test_images()[5].image[None]).logits[0].tolist()
    assert explanation.logits == pytest.approx(expected, rel=1e-5)


def test_explain_takes_a_run_or_its_folder(explainer: Explainer, tiny_run: Path) -> None:
    path = explainer.image_set.test[0].path
    assert same(pixpnet.explain(tiny_run, path), pixpnet.explain(load(tiny_run), path))
    with pytest.raises(CheckpointError, match="not a run directory"):
        pixpnet.explain(path.parent, path)


def test_images_of_other_kinds_and_sizes(explainer: Explainer) -> None:
    with Image.open(explainer.image_set.test[0].path) as image:
        wide = image.convert("L").resize((150, 90))
    explanation = explainer.explain(wide)
    assert explanation.image.shape == (*explainer.run.image_size, 3)
    assert (explanation.image[..., 0] == explanation.image[..., 1]).all()
    with pytest.raises(DataError, match=r"shape \(3, 32, 32\); wanted \(3, 64, 64\)"):
        explainer.explain(torch.zeros(3, 32, 32))


def test_tensors_that_are_no_normalised_image_are_refused(explainer: Explainer) -> None:
    with pytest.raises(DataError, match="values that are not finite"):
        explainer.explain(torch.full((3, 64, 64), torch.nan))
    with pytest.raises(DataError, match=r"torch.uint8 values; wanted the normalised pixels"):
        explainer.explain(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_no_prototypes_are_no_figure_and_a_class_may_be_numpys(explainer: Explainer) -> None:
    explanation = explainer.explain_test(0)
    with pytest.raises(ConfigError, match="top_k=-1: a figure shows at least one"):
        explanation.figure(top_k=-1)
    assert explanation.evidence_for(np.int64(1)) == explanation.evidence_for(1)


def test_sources_are_the_training_images(explainer: Explainer) -> None:
    records = {record.image_id: record for record in explainer.image_set.train}
    for source in explainer.run.sources:
        pixels = explainer.source_image(source)
        with Image.open(records[source.image_id].path) as image:
            assert (pixels == np.asarray(image.convert("RGB"))).all()
    evidence = explainer.explain_test(0).evidence
    assert {one.source for one in evidence} == set(explainer.run.sources)
    assert all(one.source and one.source.prototype == one.prototype for one in evidence)
