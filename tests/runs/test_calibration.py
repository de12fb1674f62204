"""What validation images say of a run: temperature, familiarity, and the file that keeps them."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pixpnet.data import open_splits
from pixpnet.errors import CheckpointError, DataError
from pixpnet.runs import Calibration, Run, calibrate, find_calibration, load
from pixpnet.synthbirds import render_dataset


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a run without a calibration, to write to."""
    copy = Path(shutil.copytree(tiny_run, tmp_path / "a" / "run"))
    (copy / "results" / "calibration.json").unlink()
    return copy


def test_training_keeps_it(tiny_run: Path, folder: Path) -> None:
    run = load(tiny_run)
    kept, made = find_calibration(run), calibrate(load(folder))
    assert kept.checkpoint_sha256 == made.checkpoint_sha256
    assert kept.familiarity == pytest.approx(made.familiarity, rel=1e-5)
    assert kept.temperature == pytest.approx(made.temperature, rel=1e-3)


def validation_outputs(run: Run):
    """Labels, logits and similarities of the images that training held out, one by one."""
    config = run.config
    splits = open_splits(config.dataset, seed=config.seed or 0, normalization=run.normalization)
    assert splits.validation is not None
    samples = [splits.validation[index] for index in range(len(splits.validation))]
    outputs = [run.network(sample.image[None]) for sample in samples]
    labels = torch.tensor([sample.label for sample in samples])
    return (
        labels,
        torch.cat([one.logits for one in outputs]),
        torch.cat([one.similarities for one in outputs]),
    )


def loss(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> float:
    """Cross-entropy with a label that is off once in so many images and two more."""
    count, classes = logits.shape
    total = 0.0
    for row, label in zip(logits.double() / temperature, labels.tolist(), strict=True):
        logs = row.log_softmax(0).tolist()
        off = 1 / (count + 2)
        total -= sum(logs[one] * (1 - off if one == label else off / (classes - 1)) for one in range(classes))
    return total


@torch.no_grad()
def test_it_is_of_the_validation_images(folder: Path) -> None:
    run = load(folder)
    found = calibrate(run, batch_size=4)
    labels, logits, similarities = validation_outputs(run)
    assert found.images == len(labels) == 6
    losses = [loss(logits, labels, float(temperature)) for temperature in np.geomspace(1e-3, 1e3, 60)]
    least = loss(logits, labels, found.temperature)
    assert least < min(losses) + 1e-3
    assert least < loss(logits, labels, 1)
    weights = run.network.class_weights()
    expected = []
    for row, best in zip(similarities.tolist(), logits.argmax(1).tolist(), strict=True):
        given = [max(0.0, weight) for weight in weights[:, best].tolist()]
        expected.append(sum(w * s for w, s in zip(given, row, strict=True)) / sum(given))
    np.testing.assert_allclose(found.familiarity, sorted(expected), rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_temperature_is_the_one_that_logits_were_multiplied_by(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, classes, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    for factor in (0.1, 1.0, 12.0):
        found = Calibration.measured(factor * logits, labels, logits[:, 0], checkpoint_sha256="")
        assert found.temperature == pytest.approx(factor, rel=0.1)


def test_images_that_are_all_right_leave_a_doubt() -> None:
    logits, labels = 10 * torch.eye(3), torch.arange(3)
    found = Calibration.measured(logits, labels, torch.zeros(3), checkpoint_sha256="")
    probability = float((logits / found.temperature).softmax(1)[0, 0])
    assert probability == pytest.approx(1 - 1 / 5, abs=1e-3)


@pytest.mark.parametrize("count", [3, 1001, 5000])
def test_unfamiliar_is_the_share_of_more_familiar_images(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(1))
    logits = torch.zeros(count, 2)
    found = Calibration.measured(logits, torch.zeros(count, dtype=torch.long), values, checkpoint_sha256="")
    assert len(found.familiarity) == min(count, 1001)
    for value in (-9.0, -1.0, float(values[0]), 0.3, 9.0):
        share = float((values > value).float().mean())
        assert found.unfamiliar(value) == pytest.approx(share, abs=1e-6 if count <= 1001 else 2e-3)


def test_it_is_kept_and_needs_no_data_then(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "others"
    render_dataset(elsewhere, classes=2, size=64, train_images=1, test_images=1, seed=0)
    with pytest.raises(DataError, match="if it lies elsewhere now, give --dataset-root"):
        find_calibration(load(folder, dataset_root=elsewhere))
    found = find_calibration(load(folder))
    assert find_calibration(load(folder, dataset_root=elsewhere)) == found
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    assert find_calibration(load(moved, dataset_root=elsewhere)) == found


def test_another_checkpoint_is_measured_anew(folder: Path) -> None:
    file = folder / "results" / "calibration.json"
    find_calibration(load(folder))
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"checkpoint_sha256": "0" * 64, "temperature": 99.0}))
    assert find_calibration(load(folder)).temperature != 99
    assert json.loads(file.read_text()) == values


@pytest.mark.parametrize("change", [{"temperature": 0}, {"familiarity": []}, {"temperature": None}, {"x": 1}])
def test_a_damaged_file_is_no_calibration(folder: Path, change: dict) -> None:
    file = folder / "results" / "calibration.json"
    find_calibration(load(folder))
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"(?s)calibration\.json is damaged .*; remove it"):
        find_calibration(load(folder))


def test_a_file_that_cannot_be_written_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "results" / "calibration.json").mkdir()
    with caplog.at_level(logging.WARNING, "pixpnet"):
        assert calibrate(load(folder)).images == 6
    assert "the calibration is not kept" in caplog.text


def test_runs_that_tell_no_validation_images_have_none(folder: Path, tmp_path: Path) -> None:
    run = load(folder)
    file = folder / "results" / "images.json"
    listed = json.loads(file.read_text())
    file.write_text(json.dumps({name: [*image[:0], "train", *image[1:]] for name, image in listed.items()}))
    with pytest.raises(DataError, match=r"has no validation images; train with dataset\.val-size above 0"):
        calibrate(run)
    file.write_text(json.dumps({"gone": ["val", "a", 1]}))
    with pytest.raises(DataError, match="are gone from"):
        calibrate(run)
    file.unlink()
    with pytest.raises(DataError, match="which tells the validation images"):
        calibrate(run)
    alone = Path(shutil.copy(run.checkpoint, tmp_path))
    with pytest.raises(DataError, match="lies in no run directory"):
        calibrate(replace(run, checkpoint=alone))
