"""The certificate of a run, and its way through JSON."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from pixpnet.certificate import Certificate, FailedTrial, Finding, certificate_file, verify
from pixpnet.data import read_dataset
from pixpnet.errors import ConfigError, DataError
from pixpnet.runs import load
from pixpnet.types import Box


def moved_rows(field):
    """The receptive field two pixels too low."""
    return replace(field, rows=(field.rows + 2).clip(0, field.image_size[0]))


NOTHING = Finding(
    region="receptive_field",
    replacement="noise",
    trials=1,
    failures=0,
    unchanged=0,
    largest_feature_change=0.0,
    largest_similarity_change=0.0,
)


def test_a_trained_run_passes(tiny_run):
    run = load(tiny_run)
    certificate = verify(tiny_run, trials=60, seed=1)
    assert certificate.passed
    assert (certificate.trials, certificate.seed) == (60, 1)
    assert not certificate.is_empty
    assert certificate.overall("upsampling").share_failing > 0.5
    assert certificate.mean_percent == run.receptive_field().mean_percent
    assert certificate.checkpoint == run.checkpoint.name
    assert certificate.checkpoint_sha256 == hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()


def test_a_wrong_receptive_field_of_a_trained_run_fails_and_names_the_image(tiny_run):
    run = load(tiny_run)
    certificate = verify(run, trials=24, receptive_field=moved_rows(run.receptive_field()))
    assert not certificate.passed
    worst = certificate.worst_failure
    assert worst is not None
    assert worst.image_id == read_dataset(run.config.dataset).test[worst.image].image_id
    assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict()))) == certificate


def test_a_run_without_test_images_is_named(tiny_run, birds, tmp_path):
    run = load(tiny_run)
    root = tmp_path / "birds"
    shutil.copytree(birds, root)
    split = root / "train_test_split.txt"
    split.write_text(split.read_text().replace(" 0\n", " 1\n"))
    dataset = replace(run.config.dataset, name="cub-layout", root=str(root))
    with pytest.raises(DataError, match=f"{root}.* no test image"):
        verify(replace(run, config=replace(run.config, dataset=dataset)), trials=3)


def test_no_trials_are_refused(tiny_run):
    with pytest.raises(ConfigError, match="trials=0"):
        verify(load(tiny_run), trials=0)


def test_overall_findings():
    certificate = Certificate(
        findings=(
            replace(NOTHING, trials=4, failures=1, unchanged=2, largest_feature_change=0.5),
            replace(NOTHING, replacement="zeros", trials=3, failures=2, largest_similarity_change=0.25),
            replace(NOTHING, region="upsampling", trials=4, failures=4, largest_feature_change=9.0),
        ),
        seed=0,
        tolerance=1e-5,
        mean_percent=5.0,
    )
    assert certificate.ours == Finding("receptive_field", "all", 7, 3, 2, 0.5, 0.25)
    assert certificate.ours.share_failing == 3 / 7
    assert certificate.overall("upsampling") == Finding("upsampling", "all", 4, 4, 0, 9.0, 0.0)
    assert certificate.verdict == (
        "Failed: in 3 of 7 trials pixels outside the displayed box changed the features behind it, "
        "by up to 0.5."
    )


def test_one_trial_is_singular():
    passed = Certificate(findings=(NOTHING,), seed=0, tolerance=1e-5, mean_percent=5.0)
    assert passed.verdict.startswith("Passed: in 1 trial nothing")
    failed = replace(passed, findings=(replace(NOTHING, failures=1),))
    assert failed.verdict.startswith("Failed: in 1 of 1 trial pixels")


def test_json_round_trip():
    certificate = Certificate(
        findings=(replace(NOTHING, replacement="zeros", failures=1), replace(NOTHING, region="upsampling")),
        seed=3,
        tolerance=1e-5,
        mean_percent=12.5,
        worst_failure=FailedTrial(4, "17", 2, (1, 5), Box(0, 1, 20, 21), "zeros", 0.5, 1e-5),
        checkpoint="epoch=4-step=12.ckpt",
        checkpoint_sha256="0" * 64,
    )
    values = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    again = Certificate.from_dict(values)
    assert again == certificate
    assert again.worst_failure is not None
    assert isinstance(again.worst_failure.box, Box)
    assert values["passed"] is False
    assert values["verdict"] == certificate.verdict
    assert values["overall"]["upsampling"]["trials"] == 1
    with pytest.raises(DataError, match=r"no grounding certificate of version 1 .*version 2"):
        Certificate.from_dict(values | {"version": 2})
    with pytest.raises(DataError, match=r"damaged.*tolerance"):
        Certificate.from_dict({name: value for name, value in values.items() if name != "tolerance"})
    with pytest.raises(DataError, match="damaged"):
        Certificate.from_dict(values | {"findings": [{"region": "upsampling"}]})


def test_where_a_certificate_lies(tmp_path):
    run = tmp_path / "run"
    checkpoint = run / "csv" / "version_0" / "checkpoints" / "epoch=1-step=2.ckpt"
    assert certificate_file(checkpoint) == checkpoint.with_name("epoch=1-step=2.certificate.json")
    (run / "results").mkdir(parents=True)
    (run / "results" / "config.yaml").touch()
    assert certificate_file(checkpoint) == run / "results" / "certificate.json"
    assert certificate_file(tmp_path / "a.ckpt") == tmp_path / "a.certificate.json"
