"""A run that is killed in the middle of an epoch and resumed ends as if nothing had happened, bit for bit."""

import json
import shutil

import pytest
import torch
from killed import killed_run

from pixpnet.config import parse_config
from pixpnet.errors import CheckpointError, DataError
from pixpnet.runs import RunDirectory, load
from pixpnet.training import resume, train


@pytest.mark.parametrize("at", [2, 5, 8], ids=["first-epoch", "warm-up", "joint"])
def test_killed_and_resumed(at, tiny_run, tiny_arguments, tmp_path):
    run = killed_run(tiny_arguments(tmp_path), tmp_path, step=at)
    if at < 4:  # the first epoch was not completed
        with pytest.raises(CheckpointError, match="not one of its epochs"):
            resume(run, progress=False)
        return
    resume(run, progress=False)
    assert (run / "csv/version_0/metrics.csv").read_text() == (
        tiny_run / "csv/version_0/metrics.csv"
    ).read_text()
    expected, actual = load(tiny_run), load(run)
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(tensor, actual.network.state_dict()[name]), name
    assert actual.sources == expected.sources


def test_a_complete_run_has_nothing_to_resume(tiny_run):
    with pytest.raises(CheckpointError, match="is complete"):
        resume(tiny_run, progress=False)


def test_a_metrics_file_that_lost_rows_is_refused(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "results/scores.yaml").unlink()
    metrics = run / "csv/version_0/metrics.csv"
    metrics.write_bytes(metrics.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="has 100 bytes"):
        resume(run, progress=False)
    metrics.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        resume(run, progress=False)
    assert not metrics.exists()


@pytest.fixture
def stopped(tiny_run, tmp_path) -> RunDirectory:
    """A run that was stopped before its test."""
    shutil.copytree(tiny_run, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    directory.scores_file.unlink()
    return directory


CHANGES = {
    "added": lambda images, name: images.pop(name),
    "gone": lambda images, name: images.update({"images/none.png": ["val", "none", 1]}),
    "changed": lambda images, name: images[name].__setitem__(2, 1),
    "of another class": lambda images, name: images.update(
        {name: [images[name][0], "none", images[name][2]]}
    ),
    "of another split": lambda images, name: images[name].__setitem__(0, "val"),
}
"""What the list says when the images are otherwise than it is said."""


@pytest.mark.parametrize("what", CHANGES)
def test_images_that_have_changed_are_named(what, stopped, caplog):
    images = json.loads(stopped.images_file.read_text())
    name = next(iter(images))
    CHANGES[what](images, name)
    stopped.images_file.write_text(json.dumps(images))
    name = "images/none.png" if what == "gone" else name
    with pytest.raises(DataError, match=f"run began with: 1 {what}: {name}.*--on-changed-data continue"):
        resume(stopped.path, progress=False)
    assert not stopped.scores_file.exists()
    resume(stopped.path, on_changed_data="continue", progress=False)
    assert f"1 {what}: {name}" in caplog.text
    assert stopped.scores_file.exists()


def test_an_image_with_a_prototype_whose_pixels_have_changed(stopped, birds, tmp_path):
    source = load(stopped.path).sources[0]
    shutil.copytree(birds, tmp_path / "set")
    image = tmp_path / "set" / source.path
    data = bytearray(image.read_bytes())
    data[-1] ^= 1  # behind the pixels, and as long as before
    image.write_bytes(data)
    with pytest.raises(DataError, match=rf"1 changed: {source.image_id} \(train\)"):
        resume(stopped.path, dataset_root=tmp_path / "set", progress=False)


def test_a_picture_that_has_changed_is_not_kept(stopped, birds, tmp_path, caplog):
    """It is no longer what its prototype was projected onto."""
    first, *others = load(stopped.path).sources
    shutil.rmtree(stopped.path / "thumbnails")
    shutil.copytree(birds, tmp_path / "set")
    with (tmp_path / "set" / first.path).open("ab") as file:
        file.write(b"x")
    resume(stopped.path, dataset_root=tmp_path / "set", on_changed_data="continue", progress=False)
    assert f"{first.path} is not kept: it is not what its prototype was projected onto" in caplog.text
    kept = {stopped.thumbnail_file(source) for source in others}
    assert set((stopped.path / "thumbnails").iterdir()) == kept


def test_data_that_has_moved(stopped, birds, tmp_path):
    shutil.copytree(birds, tmp_path / "elsewhere")
    resume(stopped.path, dataset_root=tmp_path / "elsewhere", progress=False)
    assert load(stopped.path).config.dataset.root == str(birds)  # no epoch was left to be written
    assert stopped.scores_file.exists()


def test_a_run_of_an_older_version_and_a_damaged_list(stopped, caplog):
    stopped.images_file.write_text('{"1": ["train"]}')
    with pytest.raises(CheckpointError, match=r"images.json is damaged"):
        resume(stopped.path, progress=False)
    stopped.images_file.unlink()
    resume(stopped.path, progress=False)
    assert "images.json is missing" in caplog.text


SPOILT = {
    "optimizer": {"state": {}, "param_groups": []},
    "classifier": {"weight": torch.zeros(3, 3)},
    "average": {"module.weight": torch.zeros(3, 3)},
}


@pytest.mark.parametrize("field", SPOILT)
def test_a_state_that_does_not_fit_is_not_resumed(field, stopped):
    file = stopped.last_checkpoint()
    torch.save(torch.load(file, weights_only=True) | {field: SPOILT[field]}, file)
    with pytest.raises(CheckpointError, match=r"checkpoint of epoch 4 doesn't fit its own configuration"):
        resume(stopped.path, progress=False)


def test_what_a_killed_run_left_half_written_is_cleared_away(stopped):
    left = stopped.checkpoints / ".epoch=3-step=9.ckpt.mhasim4w.partial"
    left.touch()
    (stopped.path / ".lock").write_text("99999999")  # nobody holds it
    resume(stopped.path, progress=False)
    assert not left.exists()
    assert not (stopped.path / ".lock").exists()


STILL = {
    "train__epochs": 1,
    "train__backbone_epochs": 0,
    "train__no_push_prototypes": "",
    "optimizer__lr": 1e-30,
    "optimizer__fine_tune_lr": 1e-30,
}


def test_a_finished_run_is_trained_on(tiny_run, tiny_arguments, tmp_path):
    # Nor are published weights asked for, of which small_resnet has none.
    config = parse_config(
        tiny_arguments(tmp_path, train__start_from=tiny_run, model__no_pretrained=None, **STILL)
    )
    started, parent = load(train(config, progress=False)), load(tiny_run)
    assert started.config.train.start_from == str(tiny_run)
    for name, parameter in parent.network.named_parameters():
        atol = 1e-3 if name == "head.weight" else 1e-6  # only the head learns
        assert torch.allclose(parameter, started.network.get_parameter(name), atol=atol), name


def test_a_network_that_is_built_otherwise_is_not_trained_on(tiny_run, tiny_arguments, tmp_path):
    config = parse_config(tiny_arguments(tmp_path, train__start_from=tiny_run, model__prototype_dim=4))
    with pytest.raises(CheckpointError, match=r"train.start-from.*built otherwise"):
        train(config, progress=False)
