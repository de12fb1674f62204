"""A run that was moved: it shows its prototypes without its data set; what needs the data says what to do."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixpnet import load
from pixpnet.config import config_from_yaml, config_to_yaml
from pixpnet.files import write_yaml
from pixpnet.report import collect
from pixpnet.runs import RunDirectory, load_checkpoint, save_checkpoint
from pixpnet.words import percent


def moved_run(run: Path, folder: Path, **dataset: str) -> Path:
    """A copy of a run, that looks for its data where these options say."""
    directory = RunDirectory(Path(shutil.copytree(run, folder)))
    (file,) = directory.checkpoint_files()
    saved = load_checkpoint(file)
    config = config_from_yaml(saved.config_yaml)
    config = replace(config, dataset=replace(config.dataset, **dataset))
    save_checkpoint(replace(saved, config_yaml=config_to_yaml(config)), file)
    return directory.path


@pytest.fixture
def moved(tiny_run: Path, tmp_path: Path) -> Path:
    """A run directory whose data is gone: of SynthBirds, which would be rendered anew, only the files."""
    return moved_run(tiny_run, tmp_path / "run", name="CUB-LAYOUT", root=str(tmp_path / "gone"))


@pytest.fixture
def bare(moved: Path) -> Path:
    """The same without pictures of its own, as runs of older versions are."""
    bare = Path(shutil.copytree(moved, moved.with_name("bare")))
    shutil.rmtree(bare / "thumbnails")
    return bare


@pytest.fixture
def photos(birds: Path, tmp_path: Path) -> Path:
    """Pictures that are no part of the data set."""
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(sorted((birds / "images").rglob("*_test_*.png"))[::12]):
        shutil.copy(picture, tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def thumbnails(run: Path) -> list[Path]:
    """Of the prototypes, in order."""
    return [RunDirectory(run).thumbnail_file(source) for source in load(run).sources]


@pytest.mark.parametrize(
    ("line", "is_bare"),
    [
        ("explain RUN --format json", False),
        ("verify RUN --trials 3", False),
        ("evaluate RUN --metrics sparsity", False),
        ("explain BARE PHOTOS", True),
        ("explain BARE --atlas --class 1", True),
        ("predict BARE PHOTOS --top-k 1 --explain OUT", True),
        ("report BARE --images 1", True),
    ],
)
def test_what_needs_the_data_says_where_it_may_lie(
    pixpnet: Callable,
    moved: Path,
    bare: Path,
    birds: Path,
    photos: Path,
    tmp_path: Path,
    line: str,
    is_bare: bool,
) -> None:
    places = {"RUN": moved, "BARE": bare, "PHOTOS": photos, "OUT": tmp_path / "out"}
    arguments = [places.get(word, word) for word in line.split()]
    ended = pixpnet(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(
        f"pixpnet: error: CUB-LAYOUT was not found: looked for images.txt in {tmp_path}"
    )
    assert "if it lies elsewhere now, give --dataset-root DIR" in ended.err
    assert ("no copy of its own (train.thumbnails) of some prototypes' images" in ended.err) == is_bare
    assert ended.err.count("\n") == 1
    there = pixpnet(*arguments, "--dataset-root", birds)
    assert there.code == 0, there.err
    assert Path(there.out.splitlines()[-1]).exists()


@pytest.mark.parametrize("line", ["--resume", "--from"])
def test_training_needs_the_data(pixpnet: Callable, moved: Path, tmp_path: Path, line: str) -> None:
    RunDirectory(moved).scores_file.unlink()
    logs = [] if line == "--resume" else ["--log-dir", tmp_path / "logs"]
    ended = pixpnet("train", line, moved, *logs)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("pixpnet: error: CUB-LAYOUT was not found: looked for images.txt")
    assert ended.err.count("\n") == 1


def test_loading_takes_the_folder(moved: Path, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds.parent)
    loaded = load(moved, dataset_root=birds.name)
    assert loaded.config.dataset.root == str(birds)
    assert len(loaded.read_dataset().train) == 30
    assert load(moved).config.dataset.root.endswith("gone")


def test_figures_are_those_that_the_data_set_gives_pixel_by_pixel(
    pixpnet: Callable, moved: Path, bare: Path, birds: Path, photos: Path, tmp_path: Path
) -> None:
    """Of the run alone, and of the data alone."""
    for run, folder, root in ((moved, "a", []), (bare, "b", ["--dataset-root", birds])):
        out = tmp_path / folder
        assert pixpnet("explain", run, photos, "--atlas", "--class", "1", "--out", out, *root).code == 0
        line = ("predict", run, photos, "--out", out / "rows.csv", "--explain", out / "why")
        assert pixpnet(*line, *root).code == 0
    figures = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert figures == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.png"))
    assert len(figures) == 3
    for figure in figures:
        alone, of_data = (np.asarray(Image.open(tmp_path / folder / figure)) for folder in "ab")
        np.testing.assert_array_equal(alone, of_data)
    assert not (tmp_path / "gone").exists()


def data_uris(page: Path) -> set[str]:
    return set(re.findall(r"url\((data:[^)]+)\)", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("place", ["gone", "not to be written to"])
def test_a_report_says_what_it_leaves_out(
    pixpnet: Callable, tiny_run: Path, bare: Path, birds: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    root = {"name": "FOLDER", "root": str(tmp_path / "gone")}
    if place != "gone":
        root = {"root": str(tmp_path / "file" / "below")}  # SynthBirds would be rendered there
    run = moved_run(tiny_run, tmp_path / "moved", **root)
    ended = pixpnet("report", run, "--out", tmp_path / "alone.html")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'alone.html'}\n")
    assert "the report leaves out what needs the data set" in ended.err
    pixpnet("report", bare, "--out", tmp_path / "whole.html", "--dataset-root", birds)
    page, whole = ((tmp_path / name).read_text(encoding="utf-8") for name in ("alone.html", "whole.html"))
    assert set(re.findall('<section id="([^"]+)"', whole)) - set(
        re.findall('<section id="([^"]+)"', page)
    ) == {*("evidence", "confusion", "certificate")}
    assert page.count('<li class="card"') == whole.count('<li class="card"') == 6
    pictures = data_uris(tmp_path / "alone.html")
    assert len(pictures) == 6
    assert pictures < data_uris(tmp_path / "whole.html")
    assert "Without its data set:" in page
    assert "so is the certificate" in page
    assert str(Path(root["root"]).name) in page
    assert "Without its data set:" not in whole
    assert "used&nbsp;in" in whole
    assert not re.search("used&nbsp;in|most used|Used: test images", page)
    accuracy = re.search(r"<dt>Test accuracy</dt>\n<dd><span class=\"figure\">([^<]+)</span>", whole)
    assert accuracy is not None
    assert accuracy[0] in page
    assert re.search("of 12 images [(]95 % interval [^)]*[)]; mean over classes", page)
    assert "when it was trained" in page
    assert "when it was trained" not in whole
    assert "the data set is not there" in page


def test_a_report_shows_what_the_run_keeps(pixpnet: Callable, moved: Path, bare: Path, birds: Path) -> None:
    assert pixpnet("verify", bare, "--trials", "7", "--dataset-root", birds).code == 0
    shutil.copy(bare / "results/certificate.json", moved / "results")
    scores = {"test_accuracy": 0.5, "test_weighted_accuracy": 0.25}
    best = {"best_test_accuracy": 0.75, "best_test_weighted_accuracy": 0.625}
    for kept, accuracy, of_classes in ((scores, 0.5, 0.25), (scores | best, 0.75, 0.625)):
        write_yaml(RunDirectory(moved).scores_file, kept)
        report = collect(moved, images=1)
        assert report.grounding is not None
        assert report.grounding.certificate.ours.trials == 7
        assert report.facts[0].value == percent(accuracy)
        assert f"mean over classes {percent(of_classes)}" in report.facts[0].note
    RunDirectory(moved).scores_file.unlink()
    report = collect(moved, images=1)
    assert "accuracy" not in report.facts[0].label
    assert report.lead.startswith("This network compares")


def test_a_report_of_data_that_has_changed_or_is_not_where_one_says_is_refused(
    pixpnet: Callable, tiny_run: Path, birds: Path, tmp_path: Path
) -> None:
    shutil.copytree(birds, tmp_path / "changed")
    run = moved_run(tiny_run, tmp_path / "run", name="CUB-LAYOUT", root=str(tmp_path / "changed"))
    with (tmp_path / "changed" / load(run).sources[0].path).open("ab") as file:
        file.write(b"x")
    ended = pixpnet("report", run)
    assert ended.code == 1
    assert "has changed since prototype 0 was projected onto it" in ended.err
    (tmp_path / "empty").mkdir()
    ended = pixpnet("report", run, "--dataset-root", tmp_path / "empty")
    assert ended.code == 1
    assert ended.err.startswith("pixpnet: error: CUB-LAYOUT was not found")
    assert not (run / "results" / "report.html").exists()


def test_the_runs_own_pictures_come_first(
    pixpnet: Callable, moved: Path, birds: Path, tmp_path: Path
) -> None:
    """What has changed in the data set since is not what the network saw."""
    shutil.copytree(birds, tmp_path / "changed")
    loaded, before = load(moved, dataset_root=tmp_path / "changed"), load(moved)
    with (tmp_path / "changed" / loaded.sources[0].path).open("ab") as file:
        file.write(b"x")
    for source in loaded.sources:
        np.testing.assert_array_equal(loaded.source_image(source), before.source_image(source))
    line = ("explain", moved, "--atlas", "--class", "0", "--out", tmp_path / "out")
    assert pixpnet(*line, "--dataset-root", tmp_path / "changed").code == 0


def damaged(kind: str, file: Path) -> None:
    with Image.open(file) as picture:
        picture.load()
    if kind == "torn":
        file.write_bytes(file.read_bytes()[:200])
    elif kind == "of another size":
        picture.resize((65, 64)).save(file)
    elif kind == "huge":
        Image.new("1", (20_000, 20_000)).save(file)
    elif kind == "of another format":
        picture.save(file, "JPEG")
    else:
        file.unlink()
        {"a pipe": os.mkfifo, "a folder": Path.mkdir}.get(kind, lambda path: path.symlink_to("none"))(file)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("torn", "is not an image that can be read"),
        ("of another size", "has 65 x 64 pixels; wanted 64 x 64, as the network takes."),
        ("huge", "has 20000 x 20000 pixels; wanted 64 x 64, as the network takes."),
        ("of another format", "is no ordinary PNG file."),
        ("a pipe", "is no ordinary PNG file."),
        ("a folder", "is no ordinary PNG file."),
        ("a link to nothing", "is no ordinary PNG file."),
    ],
)
def test_a_damaged_picture_is_named(
    pixpnet: Callable, moved: Path, birds: Path, tmp_path: Path, kind: str, said: str
) -> None:
    """Also where the data is there: whoever is told of it can remove it."""
    source = load(moved).sources[2]
    file = RunDirectory(moved).thumbnail_file(source)
    damaged(kind, file)
    line = ("explain", moved, "--atlas", "--class", source.label, "--out", tmp_path / "out")
    for root in ([], ["--dataset-root", birds]):
        ended = pixpnet(*line, *root)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(f"pixpnet: error: {file} {said}")
        assert ended.err.endswith("without it the data set's is taken.\n")
        assert ended.err.count("\n") == 1
    file.rmdir() if kind == "a folder" else file.unlink()
    assert pixpnet(*line, "--dataset-root", birds).code == 0
    assert pixpnet(*line).code == 1


def test_a_picture_of_something_else_is_no_source(pixpnet: Callable, moved: Path, birds: Path) -> None:
    first, second = thumbnails(moved)[:2]
    shutil.copy(second, first)
    ended = pixpnet("verify", moved, "--trials", "3", "--dataset-root", birds)
    assert ended.code == 1
    assert "prototype 0 is not the patch that it should be" in ended.err
