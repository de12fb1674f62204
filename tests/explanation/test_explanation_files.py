"""Explanations as files: names, formats, contrasts and atlases; and what cannot be explained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.explanation import FORMATS, atlas_to_dict, explain, explain_images, explain_test
from pixpnet.runs import Run, load


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


@pytest.fixture
def picture(birds: Path) -> Path:
    return next((birds / "images").rglob("*.png"))


def test_one_picture_of_each_class(tiny_run: Path, run: Run, tmp_path: Path) -> None:
    pictures = explain_images(tiny_run, top_k=2, out=tmp_path)
    firsts = {record.label: record for record in reversed(run.image_set.test)}
    assert [path.name for path in pictures] == [
        f"{firsts[label].path.stem}_explanation.png" for label in sorted(firsts)
    ]
    for path in pictures:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.std() > 10  # there is something on it
        assert 850 < pixels.shape[1] < 1000


def test_named_images_of_any_kind(tiny_run: Path, picture: Path, tmp_path: Path) -> None:
    with Image.open(picture) as colour:
        colour.convert("L").resize((90, 70)).save(tmp_path / "grey.png")
        colour.convert("RGBA").save(tmp_path / "alpha.png")
    images = [tmp_path / "grey.png", tmp_path / "alpha.png"]
    written = explain_images(tiny_run, images, formats=["json"], out=tmp_path / "out")
    assert [path.name for path in written] == ["grey_explanation.json", "alpha_explanation.json"]


def test_nothing_is_overwritten(tiny_run: Path, picture: Path, tmp_path: Path) -> None:
    image, other = tmp_path / "mine.png", tmp_path / "others" / "mine.png"
    other.parent.mkdir()
    shutil.copy(picture, image)
    shutil.copy(picture, other)
    written = explain_images(tiny_run, [image, image, other.parent], formats=["json"], out=tmp_path)
    assert [path.name for path in written] == ["mine_explanation.json", "mine_explanation_1.json"]
    assert image.read_bytes() == picture.read_bytes()


def test_every_format_of_a_contrast(tiny_run: Path, run: Run, tmp_path: Path) -> None:
    path = run.image_set.test[0].path
    explanation = explain(run, path)
    other = run.class_names[explanation.runner_up]
    written = explain_images(tiny_run, [path], against=other, top_k=1, formats=FORMATS, out=tmp_path)
    stem = f"{path.stem}_why_not_{other}"
    assert [one.name for one in written] == [f"{stem}.png", f"{stem}.pdf", f"{stem}.json"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")
    read = json.loads(written[2].read_text())
    assert read.pop("contrast") == explanation.against(other).to_dict()
    assert read == explanation.to_dict()


def test_why_not_the_predicted_class_is_why_not_the_next(tiny_run: Path, run: Run, tmp_path: Path) -> None:
    path = run.image_set.test[0].path
    explanation = explain(run, path)
    predicted, other = explanation.predicted, explanation.class_names[explanation.runner_up]
    (written,) = explain_images(tiny_run, [path], against=predicted, formats=["json"], out=tmp_path)
    assert written.name == f"{path.stem}_why_not_{other}.json"
    assert json.loads(written.read_text())["contrast"]["class_names"] == [explanation.class_name, other]


def test_atlases(tiny_run: Path, run: Run, tmp_path: Path) -> None:
    names = run.class_names
    written = explain_images(tiny_run, atlas=True, formats=["png", "json"], out=tmp_path)
    assert [path.name for path in written] == [
        f"atlas_{name}.{ending}" for name in names for ending in ("png", "json")
    ]
    own_class = run.network.own_class
    for index, path in enumerate(written[1::2]):
        read = json.loads(path.read_text())
        assert read == atlas_to_dict(run, index)
        shown = {one["prototype"] for one in read["prototypes"]}
        assert shown == set(own_class[:, index].nonzero().flatten().tolist())
        weights = [one["weight"] for one in read["prototypes"]]
        assert weights == sorted(weights, reverse=True)
    (one,) = explain_images(tiny_run, atlas=True, against=1, method="upsampling", out=tmp_path / "one")
    assert one.name == f"atlas_{names[1]}.png"


def test_the_atlas_of_prototypes_of_every_class_goes_by_their_images(tiny_run: Path) -> None:
    run = load(tiny_run)
    run.network.head.own_class = run.network.own_class | True
    labels = [source.label for source in run.sources]
    for index in range(3):
        shown = {one["prototype"] for one in atlas_to_dict(run, index)["prototypes"]}
        assert shown == {prototype for prototype, label in enumerate(labels) if label == index}


def test_save_names_a_file_or_a_folder(run: Run, tmp_path: Path) -> None:
    explanation = explain_test(run, 0)
    name = f"{explanation.name}_explanation"
    in_folder = explanation.save(tmp_path, formats=["pdf", "json"], top_k=1)
    assert in_folder == [tmp_path / f"{name}.pdf", tmp_path / f"{name}.json"]
    assert explanation.save(tmp_path / "new" / "mine.JSON") == [tmp_path / "new" / "mine.json"]
    assert explanation.save(tmp_path / "v1.0", formats=["json"]) == [tmp_path / "v1.0" / f"{name}.json"]
    assert all(path.is_file() for path in in_folder)


def test_figures_have_as_many_dots_an_inch_as_is_said(run: Run, tmp_path: Path) -> None:
    explanation = explain_test(run, 0)
    sizes = []
    for dpi in (100, 200):
        (file,) = explanation.save(tmp_path / f"{dpi}.png", top_k=1, dpi=dpi)
        with Image.open(file) as png:
            sizes.append(png.size)
    assert sizes[1] == tuple(pytest.approx(2 * side, abs=1) for side in sizes[0])


def test_a_checkpoint_that_lies_alone(tiny_run: Path, tmp_path: Path) -> None:
    (file,) = (tiny_run / "csv/version_0/checkpoints").glob("*.ckpt")
    shutil.copy(file, tmp_path / "lone.ckpt")
    pictures = explain_images(tmp_path / "lone.ckpt", formats=["json"])
    assert {picture.parent for picture in pictures} == {tmp_path / "explanations"}


def test_what_cannot_be_explained_is_named(tiny_run: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png is not an image that can be read"):
        explain_images(tiny_run, [tmp_path / "text.png"], out=out)
    with pytest.raises(DataError, match=r"none\.png is missing; wanted a picture, a folder"):
        explain_images(tiny_run, [picture, tmp_path / "none.png"], out=out)
    with pytest.raises(CheckpointError, match="not a run directory"):
        explain_images(tmp_path, out=out)
    with pytest.raises(ConfigError, match="'Sparrow' is not one of the classes; nearest: "):
        explain_images(tiny_run, [picture], against="Sparrow", out=out)
    for options, message in (
        ({"formats": ["jpg"]}, "format='jpg' is none of png, pdf, json"),
        ({"dpi": 19}, "dpi=19 should be 20 to 600."),
        ({"formats": []}, "no format was chosen; give one or more of png, pdf, json"),
        ({"method": "upsample"}, "method='upsample' is none of .*did you mean upsampling"),
        ({"by": "weight"}, "by='weight' is none of contribution, similarity"),
    ):
        with pytest.raises(ConfigError, match=message):
            explain_images(tiny_run, [picture], out=out, **options)
    assert not out.exists()


def test_a_run_without_projection(tiny_run: Path, tmp_path: Path) -> None:
    run = replace(load(tiny_run), sources=())
    with pytest.raises(CheckpointError, match="its prototypes are not training patches"):
        explain_images(run, out=tmp_path / "out")
    figure = explain_test(run, 0).figure(top_k=1)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "looks like" in words  # a figure without its sources, where the API is asked for one
