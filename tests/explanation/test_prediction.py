"""Predictions of many pictures say what explanations of each say, in order and with little memory."""

from __future__ import annotations

import io
import itertools
import logging
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import pixpnet
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.explanation import Prediction, explain, explain_test, predict
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, find_calibration, load


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(shutil.copytree(tiny_run, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def paths(run: Run) -> list[Path]:
    return [record.path for record in run.image_set.test]


def similar(found: Prediction, expected: Prediction) -> bool:
    """Whether two predictions are the same, but for rounding and the path."""
    plain = replace(expected, path=found.path, probability=found.probability, margin=found.margin)
    near = (found.probability, found.margin) == pytest.approx(
        (expected.probability, expected.margin), abs=1e-5
    )
    return near and replace(plain, evidence=()) == replace(found, evidence=())


def test_it_says_what_explain_says(run: Run, paths: list[Path]) -> None:
    temperature = find_calibration(run).temperature
    assert temperature != pytest.approx(1)
    found = list(predict(run, paths, top_k=4, batch_size=5))
    assert [one.path for one in found] == list(map(str, paths))
    for one, path in zip(found, paths, strict=True):
        explanation = explain(run, path)
        calibrated = (torch.tensor(explanation.logits) / temperature).softmax(0)
        assert one.predicted == explanation.predicted
        assert one.class_name == explanation.class_name
        assert one.second_class == run.class_names[explanation.runner_up]
        assert one.probability == pytest.approx(float(calibrated[explanation.predicted]), rel=1e-4)
        margin = calibrated[explanation.predicted] - calibrated[explanation.runner_up]
        assert one.margin == pytest.approx(float(margin), abs=1e-5)
        assert len(one.evidence) == 4
        for mine, its in zip(one.evidence, explanation.evidence[:4], strict=True):
            assert mine.similarity == pytest.approx(its.similarity, rel=1e-4)
            assert replace(mine, similarity=0) == replace(its, similarity=0)
        shares = [seen.contribution for seen in one.evidence]
        assert shares == sorted(shares, reverse=True)
        assert one.error is None


def test_nothing_is_traced_while_threads_decode(run: Run, paths: list[Path]) -> None:
    """torch.fx sees the modules of all threads, those of decoding too."""
    events: list[str] = []

    class Told(Run):
        def receptive_field(self) -> ReceptiveField:
            events.append("field")
            return super().receptive_field()

    def pictures() -> Iterator[Path]:
        for path in paths:
            events.append("picture")
            yield path

    told = Told(**{one.name: getattr(run, one.name) for one in fields(run)})
    assert len(list(predict(told, pictures()))) == len(paths)
    assert events.index("picture") > 0
    assert "field" not in events[events.index("picture") :]


def test_unfamiliar_is_a_share_of_the_validation_images(run: Run, paths: list[Path]) -> None:
    calibration = find_calibration(run)
    records = [record for record in run.image_set.train if record.image_id in set(validation_ids(run))]
    shares = [one.unfamiliar for one in predict(run, [record.path for record in records])]
    # Training has measured them in other batches: with the last bits an image may be one place further.
    places = [place / len(records) for place in range(len(records))]
    assert sorted(shares) == pytest.approx(places, abs=1 / len(records) + 1e-6)
    sure = replace(calibration, familiarity=(-1e9, 1e9))
    assert {one.unfamiliar for one in predict(run, paths, calibration=sure)} == {0.5}


def validation_ids(run: Run) -> list[str]:
    from pixpnet.data import open_splits

    splits = open_splits(run.config.dataset, seed=run.config.seed or 0, normalization=run.normalization)
    assert splits.validation is not None
    return [record.image_id for record in splits.validation.records]


def test_pictures_of_every_kind(run: Run, paths: list[Path]) -> None:
    (expected,) = predict(run, paths[0])
    assert expected.path == str(paths[0])
    with Image.open(paths[0]) as opened:
        array, picture = np.asarray(opened.convert("RGB")), opened.convert("RGB")
    tensor = run.input_of(paths[0])
    kinds = [str(paths[0]), paths[0].read_bytes(), picture, array, tensor]
    for kind in (*kinds, io.BytesIO(paths[0].read_bytes()), array[None], tensor[None], [paths[0]]):
        (found,) = predict(run, kind)
        assert similar(found, expected), type(kind)
    found = list(predict(run, iter(kinds)))
    assert [one.path for one in found] == [str(paths[0]), *(f"picture {number}" for number in range(1, 5))]
    assert all(similar(one, expected) for one in found)
    assert all(one.evidence[0].box_in_picture is not None for one in found[:4])
    assert found[4].evidence[0].box_in_picture is None
    assert [len(one.evidence) for one in predict(run, kinds, top_k=0)] == [0] * 5


def test_pictures_that_cannot_be_read_keep_their_place(run: Run, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(paths[1].read_bytes()[:300])
    wrong = [tmp_path / "half.png", tmp_path / "none.png", np.zeros((4, 4, 9)), torch.full((3, 9, 9), -1.0)]
    mixed = [wrong[0], paths[1], *wrong[1:], paths[2]]
    found = list(predict(run, mixed, batch_size=2))
    assert [one.error is None for one in found] == [False, True, False, False, False, True]
    assert "half.png is not an image that can be read" in str(found[0].error)
    assert "none.png is missing" in str(found[2].error)
    assert "wanted (3, 64, 64)" in str(found[4].error)
    assert found[0] == Prediction(str(wrong[0]), error=found[0].error)
    for place, path in ((1, paths[1]), (5, paths[2])):
        assert similar(found[place], next(predict(run, path)))
    assert [one.error for one in predict(run, wrong[:1], batch_size=1)] == [found[0].error]


def test_few_pictures_are_held_at_a_time(run: Run, paths: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.cycle(paths):
            taken += 1
            yield path

    predictions = predict(run, endless(), batch_size=3, threads=2)
    assert taken == 0
    found = list(itertools.islice(predictions, 8))
    assert [one.path for one in found] == list(map(str, paths[:8]))
    assert 9 + 3 + 2 <= taken <= 9 + 3 + 2 + 1  # the next batch is read while one is predicted
    predictions.close()


def test_without_validation_images_it_says_so(
    run: Run, paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = load(shutil.copy(run.checkpoint, tmp_path / "alone.ckpt"))
    with caplog.at_level(logging.WARNING, "pixpnet"):
        (found,) = predict(alone, paths[0])
    assert len(caplog.messages) == 1
    assert "probabilities are not calibrated, and `unfamiliar` is left out:" in caplog.messages[0]
    assert found.unfamiliar is None
    assert found.probability == pytest.approx(explain(run, paths[0]).probability, rel=1e-5)


@pytest.mark.parametrize("options", [{"top_k": -1}, {"batch_size": -1}, {"threads": -2}])
def test_numbers_that_cannot_be(run: Run, paths: list[Path], options: dict) -> None:
    with pytest.raises(ConfigError, match="batch_size and threads are to be 1 or more"):
        predict(run, paths, **options)


def test_it_takes_a_folder_of_a_run(run: Run, paths: list[Path]) -> None:
    folder = run.checkpoint.parents[3]
    assert next(pixpnet.predict(folder, paths[0])) == next(predict(run, paths[0]))
    with pytest.raises(CheckpointError, match="not a run directory"):
        predict(paths[0].parent, paths[0])


@pytest.mark.parametrize("tag", range(1, 9))
def test_boxes_in_the_photograph_hold_all_that_counts(run: Run, tmp_path: Path, tag: int) -> None:
    """In the picture as it is displayed, all outside of a box may go black: the similarity stays the same."""
    rng = np.random.default_rng(tag)
    tags = Image.Exif()
    tags[0x0112] = tag
    size = tuple(rng.integers(70, 300, 2))
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / "one.png", exif=tags)
    with Image.open(tmp_path / "one.png") as opened:
        displayed = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    (found,) = predict(run, tmp_path / "one.png", top_k=6)
    for one in found.evidence:
        assert one.box_in_picture is not None
        left, top, right, bottom = map(int, one.box_in_picture)
        assert 0 < (right - left) * (bottom - top) < displayed.shape[0] * displayed.shape[1]
        black = np.zeros_like(displayed)
        black[top:bottom, left:right] = displayed[top:bottom, left:right]
        there = explain(run, black).maps.similarities[(0, one.prototype, *one.cell)]
        assert float(there) == pytest.approx(one.similarity, rel=1e-5)


def test_a_crop_to_the_object_is_in_the_photograph(run: Run) -> None:
    """Of test images of a run that crops to boxes, also the box's place counts."""
    cropped = replace(run, config=replace(run.config, dataset=replace(run.config.dataset, crop_to_bbox=True)))
    record = cropped.test_images.records[3]
    explanation = explain_test(cropped, 3)
    assert (cropped.input_of(cropped.test_images.pixels(3)) == cropped.test_images[3].image).all()
    assert (explanation.image == np.asarray(cropped.test_images.pixels(3))).all()
    with Image.open(record.path) as opened:
        displayed = np.asarray(opened.convert("RGB"))
    one = explanation.evidence[0]
    assert one.box_in_picture is not None
    left, top, right, bottom = map(int, one.box_in_picture)
    assert record.box is not None
    assert left >= round(record.box.left)
    assert bottom <= round(record.box.bottom)
    black = np.zeros_like(displayed)
    black[top:bottom, left:right] = displayed[top:bottom, left:right]
    window = tuple(round(edge) for edge in record.box)
    seen = explain(run, Image.fromarray(black).crop(window))
    assert float(seen.maps.similarities[(0, one.prototype, *one.cell)]) == pytest.approx(
        one.similarity, rel=1e-5
    )
