"""There is one explanation of a file, an image and a tensor, and the sources' own pixels."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import pixpnet
from pixpnet.data import load_image
from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.explanation import Explainer, Explanation, explain, explain_test
from pixpnet.runs import Run, load


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


def same(first: Explanation, second: Explanation) -> bool:
    return first.logits == second.logits and bool((first.image == second.image).all())


def test_a_file_an_image_and_a_tensor_are_one(run: Run) -> None:
    path = run.image_set.test[5].path
    explanation = explain(run, path)
    assert (explanation.name, explanation.truth) == (path.stem, None)
    with Image.open(path) as image:
        assert same(explain(run, image), explanation)
    assert same(explain(run, str(path)), explanation)
    assert same(Explainer(run).explain(path), explanation)
    assert same(Explainer(run).explain_test(5), explanation)
    assert same(explain(run, run.test_images[5].image), explanation)
    tested = explain_test(run, 5)
    assert same(tested, explanation)
    assert tested.truth == run.image_set.test[5].label
    expected = run.network(run.test_images[5].image[None]).logits[0].tolist()
    assert explanation.logits == pytest.approx(expected, rel=1e-5)


def test_explain_takes_a_run_or_its_folder(run: Run, tiny_run: Path) -> None:
    path = run.image_set.test[0].path
    assert same(pixpnet.explain(tiny_run, path), pixpnet.explain(load(tiny_run), path))
    with pytest.raises(CheckpointError, match="not a run directory"):
        pixpnet.explain(path.parent, path)


def test_images_of_other_kinds_and_sizes(run: Run) -> None:
    with Image.open(run.image_set.test[0].path) as image:
        wide = image.convert("L").resize((150, 90))
    explanation = explain(run, wide)
    assert explanation.image.shape == (*run.image_size, 3)
    assert (explanation.image[..., 0] == explanation.image[..., 1]).all()
    with pytest.raises(DataError, match=r"shape \(3, 32, 32\); wanted \(3, 64, 64\)"):
        explain(run, torch.full((3, 32, 32), -1.0))


def test_tensors_that_are_no_normalised_image_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="values that are not finite"):
        explain(run, torch.full((3, 64, 64), torch.nan))


def test_no_prototypes_are_no_figure_and_a_class_may_be_numpys(run: Run) -> None:
    explanation = explain_test(run, 0)
    with pytest.raises(ConfigError, match="top_k=-1: a figure shows at least one"):
        explanation.figure(top_k=-1)
    assert explanation.evidence_for(np.int64(1)) == explanation.evidence_for(1)


def test_sources_are_the_training_images(run: Run) -> None:
    records = {record.image_id: record for record in run.image_set.train}
    for source in run.sources:
        pixels = run.source_image(source)
        with Image.open(records[source.image_id].path) as image:
            assert (pixels == np.asarray(image.convert("RGB"))).all()
    evidence = explain_test(run, 0).evidence
    assert {one.source for one in evidence} == set(run.sources)
    assert all(one.source and one.source.prototype == one.prototype for one in evidence)


def test_a_picture_is_explained_alike_wherever_it_comes_from(run: Run, tmp_path: Path) -> None:
    """Also one of 16 bits, and one that is to be turned."""
    rng = np.random.default_rng(0)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=tags)
    Image.fromarray(rng.integers(0, 4096, (70, 90)).astype(np.uint16)).save(tmp_path / "deep.png")
    for path in (tmp_path / "turned.jpg", tmp_path / "deep.png"):
        wanted = explain(run, path).image
        sources = [
            path.read_bytes(),
            Image.open(path),
            np.asarray(load_image(path)),
            np.asarray(load_image(path)) / 255,
        ]
        for source in sources:
            np.testing.assert_array_equal(explain(run, source).image, wanted)
        with path.open("rb") as file:
            np.testing.assert_array_equal(explain(run, file).image, wanted)


def test_a_run_reads_pictures_as_its_training_did(run: Run, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    picture.save(tmp_path / "turned.png", exif=tags)
    sideways = replace(
        run, config=replace(run.config, dataset=replace(run.config.dataset, orientation="ignore"))
    )
    stored, upright = (explain(one, tmp_path / "turned.png").image for one in (sideways, run))
    np.testing.assert_array_equal(upright, np.rot90(stored, -1))
    assert not (upright == stored).all()


def test_a_notebook_shows_a_run_in_six_lines_and_an_explanation_as_a_picture_with_words(run: Run) -> None:
    lines = repr(run).splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) < 200
    for told in (run.config.model.network, f"{run.config.model.distance} distance", run.class_names[0]):
        assert told in repr(run)
    explanation = replace(explain_test(run, 0), name='<a "bird">\x1b')
    shown = ElementTree.fromstring(explanation._repr_html_().replace('">', '"/>'))
    words, data = shown.attrib["alt"], shown.attrib["src"].partition("base64,")[2]
    assert words.startswith(f'<a "bird">\\x1b: {explanation.class_name}, ')
    assert f"prototype {explanation.evidence[0].prototype} of" in words
    with Image.open(BytesIO(b64decode(data))) as picture:
        assert picture.format == "PNG"
        assert picture.width > 300
