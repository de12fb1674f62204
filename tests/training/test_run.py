"""A whole small run: its directory, its prototypes, its repetition."""

import csv
import hashlib
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.optimizer import register_optimizer_step_post_hook

from pixpnet.config import parse_config
from pixpnet.data import open_splits
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.runs import RunDirectory, load
from pixpnet.training import train

MEASURES = {
    *("accuracy", "weighted_accuracy", "xent", "xent_weighted", "cluster_loss", "cluster_loss_weighted"),
    *("separation_loss", "separation_loss_weighted", "avg_separation_loss", "l1_loss", "l1_loss_weighted"),
    "total_loss",
}


def rows(run):
    with (run / "csv/version_0/metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_run_directory_is_complete(tiny_run):
    files = {str(path.relative_to(tiny_run)) for path in tiny_run.rglob("*") if path.is_file()}
    events = {name for name in files if name.startswith("tensorboard/version_0/events.out.tfevents.")}
    assert len(events) == 1
    directory = RunDirectory(tiny_run)
    thumbnails = {str(directory.thumbnail_file(one).relative_to(tiny_run)) for one in load(tiny_run).sources}
    assert len(thumbnails) == 6
    assert files - events - thumbnails == {
        "csv/version_0/checkpoints/epoch=4-step=12.ckpt",
        "csv/version_0/hparams.yaml",
        "csv/version_0/metrics.csv",
        "results/best_model_path.txt",
        "results/calibration.json",
        "results/config.yaml",
        "results/images.json",
        "results/model_info.yaml",
        "results/scores.yaml",
        "tensorboard/version_0/hparams.yaml",
    }
    scores = yaml.safe_load((tiny_run / "results/scores.yaml").read_text())
    assert set(scores) == {f"test_{measure}" for measure in MEASURES}
    info = yaml.safe_load((tiny_run / "results/model_info.yaml").read_text())
    assert set(info) == {
        "prototypes",
        "model_size",
        "trainable_parameters",
        "total_parameters",
        "macs",
        "train_time_total",
        "train_time_per_epoch",
        "inference_time_per_sample",
        "inference_time_per_batch",
    }
    network = load(tiny_run).network
    assert info["total_parameters"] == sum(p.numel() for p in network.parameters())
    best = (tiny_run / "results/best_model_path.txt").read_text().strip()
    assert best.endswith("csv/version_0/checkpoints/epoch=4-step=12.ckpt")


def test_metrics_hold_what_each_stage_has(tiny_run):
    table = rows(tiny_run)
    train_rows = [row for row in table if row["train_total_loss"]]
    assert [row["epoch"] for row in train_rows] == ["1", "2", "3", "4"]
    assert [row["step"] for row in train_rows] == ["3", "6", "9", "12"]
    backbone, *prototype_epochs = train_rows
    assert backbone["train_cluster_loss"] == ""
    assert backbone["hp/lr_group_2"] == ""
    for row in prototype_epochs:
        total = sum(
            float(row[f"train_{n}_weighted"]) for n in ("xent", "cluster_loss", "separation_loss", "l1_loss")
        )
        assert float(row["train_total_loss"]) == pytest.approx(total, rel=1e-5)
        assert float(row["train_cluster_loss_weighted"]) == pytest.approx(
            0.8 * float(row["train_cluster_loss"])
        )
    warm_up = prototype_epochs[0]
    assert float(warm_up["hp/lr_group_1"]) == pytest.approx(3e-3 * (1 - math.exp(-1)))
    assert float(warm_up["hp/lr_group_0"]) == pytest.approx(1e-4 * (1 - math.exp(-1)))
    assert table[-1]["test_accuracy"]
    assert sum(bool(row["val_accuracy"]) for row in table) == 4


def test_tensorboard_reads_the_same_figures(tiny_run):
    events = EventAccumulator(str(tiny_run / "tensorboard/version_0"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("train_total_loss")]
    expected = [
        (int(r["step"]), float(r["train_total_loss"])) for r in rows(tiny_run) if r["train_total_loss"]
    ]
    assert logged == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_every_prototype_is_its_training_patch(tiny_run):
    run = load(tiny_run)
    splits = open_splits(run.config.dataset, seed=run.config.seed)
    index = {record.image_id: i for i, record in enumerate(splits.projection.records)}
    field = run.receptive_field()
    assert len(run.sources) == run.network.num_prototypes
    for source in run.sources:
        sample = splits.projection[index[source.image_id]]
        with torch.no_grad():
            z = run.network.features(sample.image[None])[0]
        row, column = source.cell
        assert torch.allclose(z[:, row, column], run.network.prototypes[source.prototype, :, 0, 0], atol=1e-5)
        assert run.network.own_class[source.prototype, sample.label]
        assert source.label == sample.label
        assert source.class_name == splits.class_names[sample.label]
        assert source.box == field.box(row, column)
        record = splits.projection.records[index[source.image_id]]
        assert (splits.image_set.root / source.path) == record.path
        assert hashlib.sha256(record.path.read_bytes()).hexdigest() == source.sha256
    assert len({source.image_id for source in run.sources}) == len(run.sources)


def test_config_yaml_repeats_the_run(tiny_run, tmp_path):
    config = parse_config(["-c", str(tiny_run / "results/config.yaml"), "--log-dir", str(tmp_path)])
    again = train(config, progress=False)
    assert (again / "csv/version_0/metrics.csv").read_bytes() == (
        tiny_run / "csv/version_0/metrics.csv"
    ).read_bytes()
    first, second = load(tiny_run).network.state_dict(), load(again).network.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_logits_are_the_sum_of_contributions(tiny_run):
    from pixpnet.explanation import explain

    run = load(tiny_run)
    explanation = explain(run, torch.randn(3, *run.image_size, generator=torch.Generator().manual_seed(0)))
    total = sum(evidence.contribution for evidence in explanation.evidence)
    assert total == pytest.approx(explanation.logit, rel=1e-4)
    assert len(explanation.evidence) == run.network.num_prototypes


@pytest.mark.parametrize(
    "options",
    [
        {"model__readout_type": "sparse", "model__distance": "l2", "model__add_on_layers_type": "bottleneck"},
        {
            "model__readout_type": "proto",
            "model__prototype_kernel_size": 2,
            "train__push_duplicate_filter": "patch",
        },
        {"model__no_class_specific": "", "model__prototype_activation": "linear", "loss__separation": 0},
        {"train__accumulate_grad_batches": 2, "train__gradient_clip_norm": 0.5, "optimizer__name": "sgd"},
        {
            "model__no_learn_prototypes": "",
            "model__prototype_init": "random",
            "optimizer__lr_scheduler": "step",
        },
        {"train__no_push_prototypes": "", "tb_logging": ""},
        {"train__no_thumbnails": ""},
        {"debug": "", "train__batch_size": 2, "dataset__augment_factor": 2},
    ],
    ids=lambda options: ",".join(f"{k.split('__')[-1]}={v}" for k, v in options.items()),
)
def test_options_run_to_the_end(options, tiny_arguments, tmp_path):
    short = {"train__epochs": 2, "train__backbone_epochs": 0, "train__push_every": 5}
    run = train(parse_config(tiny_arguments(tmp_path, **{**short, **options})), progress=False)
    scores = yaml.safe_load((run / "results/scores.yaml").read_text())
    assert all(math.isfinite(value) for value in scores.values())
    saved = load(run)
    assert bool(saved.sources) == ("train__no_push_prototypes" not in options)
    assert (run / "thumbnails").exists() == (bool(saved.sources) and "train__no_thumbnails" not in options)
    assert run.parts[-3] == ("synthbirds_DEBUG" if "debug" in options else "synthbirds")


def test_what_does_not_learn_stays(tiny_arguments, tmp_path):
    """Prototypes that don't learn move at projection only; a frozen backbone, batch norm included, never."""
    options = {"train__epochs": 1, "train__backbone_epochs": 0, "train__no_push_prototypes": ""}
    initial, trained = [
        load(train(parse_config(tiny_arguments(tmp_path, **options, **more)), progress=False)).network
        for more in (
            {"optimizer__lr": 1e-30, "model__no_learn_prototypes": ""},
            {"model__no_learn_prototypes": ""},
        )
    ]
    assert torch.equal(initial.prototypes, trained.prototypes)
    assert not torch.equal(initial.add_on[0].weight, trained.add_on[0].weight)
    before, after = initial.backbone.state_dict(), trained.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_best_projected_network_is_kept_and_tested(tiny_arguments, tmp_path):
    options = {"dataset__name": "cub-layout", "dataset__crop_to_bbox": "", "dataset__size": 48}
    options |= {"train__checkpoint": "", "train__push_every": 2}
    run = train(parse_config(tiny_arguments(tmp_path, **options)), progress=False)
    scores = yaml.safe_load((run / "results/scores.yaml").read_text())
    assert {f"best_test_{m}" for m in MEASURES} <= set(scores)
    table = rows(run)
    projected = {2: None, 4: None}
    for row in table:
        if row["val_accuracy"] and int(row["epoch"]) in projected:
            projected[int(row["epoch"])] = float(row["val_accuracy"])
    best_epoch = 4 if projected[4] > projected[2] else 2
    assert load(run).epoch == best_epoch
    assert load(run).sources
    directory, shown = RunDirectory(run), {}
    for kept in map(load, directory.checkpoint_files()):
        images = kept.images(kept.image_set.train)
        position = {record.image_id: index for index, record in enumerate(images.records)}
        files = {directory.thumbnail_file(one): position[one.image_id] for one in kept.sources}
        shown |= {file: np.asarray(images.pixels(index)) for file, index in files.items()}
    assert set((run / "thumbnails").iterdir()) == set(shown)
    for file, pixels in shown.items():
        with Image.open(file) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (48, 48))
            np.testing.assert_array_equal(np.asarray(image), pixels)


@contextmanager
def wrecked_after(step, value):
    """Weights that a training step leaves with this value."""
    steps = []

    def wreck(optimizer, *_):
        steps.append(1)
        if len(steps) == step:
            with torch.no_grad():
                for parameter in optimizer.param_groups[0]["params"]:  # the backbone's
                    parameter.fill_(value)

    handle = register_optimizer_step_post_hook(wreck)
    try:
        yield
    finally:
        handle.remove()


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tiny_arguments, tmp_path):
    arguments = tiny_arguments(tmp_path, train__backbone_epochs=0, train__no_push_prototypes="")
    told = pytest.raises(PixPNetError, match=r"became nan at step 5 .*learning rates 7\.38e-05, 0\.0022")
    with wrecked_after(4, math.nan), told:
        train(parse_config(arguments), progress=False)
    (run,) = tmp_path.glob("synthbirds/protonet/*")
    assert load(run).epoch == 1
    assert all(tensor.isfinite().all() for tensor in load(run).network.state_dict().values())


def test_a_kernel_larger_than_the_grid_is_refused(tiny_arguments, tmp_path):
    with pytest.raises(ConfigError, match=r"kernel-size=9 exceeds the 8×8 cells"):
        train(parse_config(tiny_arguments(tmp_path, model__prototype_kernel_size=9)), progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train__checkpoint": "", "dataset__val_size": 0}, "needs validation images"),
        ({"train__checkpoint": "", "train__no_push_prototypes": ""}, "needs train.push-prototypes"),
        ({"model__num_prototypes": 7}, "7 does not divide among 3 classes"),
        ({"model__feature_layer": "layer22"}, "layer2"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(options, message, tiny_arguments, tmp_path):
    options = {"dataset__root": tmp_path / "data", **options}
    with pytest.raises(ConfigError, match=message):
        train(parse_config(tiny_arguments(tmp_path / "logs", **options)), progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "message"),
    [(math.nan, "Weights are no longer finite after epoch 2"), (1e30, "logits are no longer finite")],
)
def test_a_wrecked_network_is_not_saved(value, message, tiny_arguments, tmp_path):
    """Also where the loss was finite: it was that of the weights before the last step."""
    arguments = tiny_arguments(tmp_path, train__backbone_epochs=0, train__no_push_prototypes="")
    with wrecked_after(6, value), pytest.raises(PixPNetError, match=message):
        train(parse_config(arguments), progress=False)
    (run,) = tmp_path.glob("synthbirds/protonet/*")
    assert load(run).epoch == 1


def test_bf16_and_float32_runs_in_one_process(tiny_arguments, tmp_path):
    options = {"train__epochs": 1, "train__backbone_epochs": 0}
    for precision in ("fp32", "bf16", "fp32"):
        run = train(
            parse_config(tiny_arguments(tmp_path, train__precision=precision, **options)), progress=False
        )
        assert load(run).sources
