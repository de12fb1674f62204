"""A frozen backbone: features computed once, one loop that learns from them, and a run like any other."""

import shutil
from dataclasses import replace
from threading import Thread

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from pixpnet.backbones import backbone_of
from pixpnet.certificate import verify
from pixpnet.config import parse_config
from pixpnet.data import FeatureExtractor, FeatureImages, fingerprint, keep_features, open_splits
from pixpnet.errors import ConfigError, DataError
from pixpnet.explanation import explain
from pixpnet.files import locked
from pixpnet.receptive_fields import receptive_field
from pixpnet.report import write_report
from pixpnet.runs import load
from pixpnet.training import features_in_place, make_execution, resume, train
from pixpnet.types import no_progress

TILED = {
    "dataset.normalization": "imagenet",
    "model.feature-layer": "null",
    "model.tile": "32",
    "model.tile-input": "40",
    "model.readout-type": "mean",
    "model.correct-strength": "20",
    "model.add-on-layers-type": "linear",
    "model.add-on-init": "data",
    "model.add-on-activation": "none",
    "model.prototype-activation": "linear",
    "train.freeze-backbone": "true",
    "train.kept-views": "2",
    "train.backbone-epochs": "0",
    "optimizer.lr-scheduler": "one-cycle",
    "loss.label-smoothing": "0.1",
    "loss.cluster": "0",
    "loss.separation": "0",
}


TIES = {"train.tie-prototypes": "true"}
TIED = TILED | TIES


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def trained(folder, tiny_arguments, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXPNET_CACHE", str(folder / "cache"))
        return train(parse_config(tiny_arguments(folder, **options)), progress=False)


@pytest.fixture(scope="module")
def tiled_run(tmp_path_factory, tiny_arguments):
    return trained(tmp_path_factory.mktemp("tiled"), tiny_arguments, TILED)


@pytest.fixture(scope="module")
def tied_run(tmp_path_factory, tiny_arguments):
    return trained(tmp_path_factory.mktemp("tied"), tiny_arguments, TIED)


def tiled_backbone(config, seed):
    torch.manual_seed(seed)
    return backbone_of(config.model, with_weights=False).eval().requires_grad_(False)


def kept(splits, *backbones, views=0, compute=None, seed=0):
    return keep_features(
        splits,
        [
            FeatureExtractor(
                compute or backbone,
                (backbone.out_channels, *receptive_field(backbone, splits.image_size).grid_size),
                fingerprint(backbone),
            )
            for backbone in backbones
        ],
        views=views,
        seed=seed,
        share=slice(None),
        wait=lambda: None,
        progress=lambda done, total, doing="", /: None,
    )


@pytest.fixture
def config(tiny_arguments, tmp_path):
    return parse_config(tiny_arguments(tmp_path, **TILED))


def test_a_tiled_run_is_a_run_like_any_other(tiled_run):
    run = load(tiled_run)
    field = run.receptive_field()
    assert field.grid_size == (3, 3)
    assert {tuple(box[2:] - box[:2]) for box in field.boxes.reshape(-1, 4)} == {(32, 32)}
    for source in run.sources:
        assert source.box == field.box(*source.cell)
        image = run.images([r for r in run.image_set.train if r.image_id == source.image_id])[0].image
        with torch.no_grad():
            patch = run.network.features(image[None])[0, :, source.cell[0], source.cell[1]]
        # The prototype comes from features in half precision.
        assert torch.allclose(run.network.prototypes[source.prototype].flatten(), patch, rtol=2e-3, atol=2e-3)
    explanation = explain(run, run.test_images[0].image)
    assert explanation.evidence[0].box in {field.box(row, column) for row in range(3) for column in range(3)}


def test_its_report_tells_of_tiles(tiled_run, tmp_path):
    page = write_report(tiled_run, out=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "small_resnet on tiles of 32 pixels" in page
    assert "whole, on tiles of 32 pixels: 3×3 patches" in page
    assert "cut at" not in page.partition("Settings</h2>")[0]


def test_its_certificate_is_clean_to_the_last_bit(tiled_run):
    certificate = verify(tiled_run, trials=60, batch_size=7)
    assert certificate.passed
    assert certificate.overall("receptive_field").largest_feature_change == 0.0
    field = load(tiled_run).receptive_field()
    shifted = replace(field, columns=(field.columns + 3).clip(0, 64))
    assert not verify(tiled_run, trials=12, receptive_field=shifted).passed


def test_the_backbone_stays_as_it_was_and_the_rest_learns(tiled_run, tiny_arguments, tmp_path):
    torch.manual_seed(0)
    run = load(tiled_run)
    assert not any(
        "num_batches_tracked" in name and int(value) for name, value in run.network.state_dict().items()
    )
    assert run.network.add_on.conv_last.weight.shape[:2] == (8, 128)


def test_features_are_those_of_the_images_in_half_precision(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    found = kept(splits, backbone)
    for images, features in ((splits.projection, found.projection), (splits.test, found.test)):
        assert isinstance(features, FeatureImages)
        assert features.labels == images.labels
        sample = features[3]
        assert (sample.label, sample.index) == (images[3].label, 3)
        with torch.no_grad():
            wanted = backbone(images[3].image[None])[0]
        assert torch.equal(sample.image, wanted.half().float())
    assert len(found.train) == len(splits.train)
    assert torch.equal(found.train[2].image, found.projection[2].image)


def test_what_is_kept_is_not_computed_again_and_other_weights_make_another_file(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    seen = []

    def counted(images):
        seen.append(len(images))
        return backbone(images)

    with torch.no_grad():
        first = kept(splits, backbone, compute=counted)
        assert sum(seen) == 30 + 12
        again = kept(
            open_splits(config.dataset, seed=2), backbone, compute=counted
        )  # another validation split
        assert sum(seen) == 30 + 12
        assert len(list(cache.iterdir())) == 1
        kept(splits, tiled_backbone(config, 1))
    assert len(list(cache.iterdir())) == 2
    assert torch.equal(first.test[0].image, again.test[0].image)


def test_a_joint_backbone_takes_what_is_kept_of_its_networks(config, cache):
    splits, alone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    with torch.no_grad():
        kept(splits, alone)
    kept_before = {file: file.read_bytes() for file in cache.iterdir()}
    model = replace(config.model, feature_extractor="small_resnet+squeezenet1_1")
    joint = tiled_backbone(replace(config, model=model), 1)
    joint.network.networks[0].load_state_dict(alone.network.state_dict())
    networks = joint.each_alone()
    assert [one.out_channels for one in networks] == [128, 512]
    accelerator = make_execution(config).accelerator
    found = features_in_place(config, splits, joint, accelerator=accelerator, progress=no_progress)
    plain = list(cache.glob("*.features"))
    assert {file: file.read_bytes() for file in kept_before} == kept_before
    assert len(plain) == 1 + 2 + 3  # two more views of one network, three of the other
    with torch.no_grad():
        wanted = joint(splits.test[2].image[None])[0].half().float()
    assert torch.equal(found.test[2].image, wanted)


def test_features_that_another_run_computes_are_waited_for(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    with torch.no_grad():
        kept(splits, backbone)
    (file,) = cache.iterdir()
    other = Thread(target=kept, args=(splits, backbone))
    with locked(file.with_suffix(".lock")):
        other.start()
        other.join(timeout=0.5)
        assert other.is_alive()
    other.join()
    assert [*cache.iterdir()] == [file]


def test_views_are_drawn_once_and_differ_from_each_other_and_from_the_image(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    train_images = kept(splits, backbone, views=2).train
    count = len(splits.train)
    assert len(train_images) == 3 * count
    views = [train_images[position].image for position in (5, 5 + count, 5 + 2 * count)]
    assert {train_images[position].index for position in (5, 5 + count, 5 + 2 * count)} == {5}
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[1], views[2])
    assert torch.equal(views[0], kept(splits, backbone, views=0).train[5].image)
    again = kept(splits, backbone, views=1).train
    assert torch.equal(views[1], again[5 + count].image)


def test_interrupted_work_goes_on_and_damage_is_mended(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    seen = 0

    def breaks_off(images):
        nonlocal seen
        seen += len(images)
        if seen > 20:
            raise KeyboardInterrupt
        return backbone(images)

    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        kept(splits, backbone, compute=breaks_off)
    (file,) = cache.iterdir()
    seen = -1000
    whole = kept(splits, backbone, compute=breaks_off)
    assert seen == -1000 + 42 - 16
    data = bytearray(file.read_bytes())
    data[-1] ^= 255
    file.write_bytes(bytes(data))
    mended = kept(splits, backbone, compute=breaks_off)
    assert seen == -1000 + 42 - 15
    assert torch.equal(whole.test[11].image, mended.test[11].image)


def test_features_that_half_precision_cannot_hold_are_refused(config, cache):
    splits, backbone = open_splits(config.dataset, seed=1), tiled_backbone(config, 0)
    with pytest.raises(DataError, match="not finite in half precision"):
        kept(splits, backbone, compute=lambda images: backbone(images) * 0 + 1e5)


def test_tied_prototypes_learn_and_are_their_patches_all_along(tiled_run, tied_run, tiny_arguments, tmp_path):
    free, tied = load(tiled_run), load(tied_run)
    assert min(source.distance_before for source in free.sources) > 1e-6
    assert max(source.distance_before for source in tied.sources) < 1e-9
    early = load(trained(tmp_path, tiny_arguments, TIED | {"train.epochs": "1"}))
    places = [[(source.image_id, source.cell) for source in run.sources] for run in (early, tied)]
    assert places[0] == places[1]
    assert not torch.allclose(early.network.prototypes, tied.network.prototypes, atol=1e-4)


@pytest.mark.parametrize(("options", "whole_run"), [(TILED, "tiled_run"), (TIED, "tied_run")])
def test_an_interrupted_frozen_run_goes_on_as_if_nothing_had_happened(
    options, whole_run, tiny_arguments, tmp_path, cache, request
):
    steps = []

    def interrupt(optimizer, *_):
        if len(optimizer.param_groups) > 1:  # not that of a readout
            steps.append(1)
        if len(steps) == 20:  # in the third epoch
            raise KeyboardInterrupt

    config = parse_config(tiny_arguments(tmp_path, **options))
    hook = register_optimizer_step_post_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=False)
    hook.remove()
    (folder,) = (path.parents[1] for path in tmp_path.rglob("results/config.yaml"))
    shutil.rmtree(cache)
    resumed = load(resume(folder, progress=False)).network.state_dict()
    whole = load(request.getfixturevalue(whole_run)).network.state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train.backbone-epochs": "1"}, "train.backbone-epochs: does not go with train.freeze-backbone"),
        ({"dataset.augment-factor": "2"}, "dataset.augment-factor: does not go with train.freeze-backbone"),
        ({"train.freeze-backbone": "false"}, "train.kept-views: is for train.freeze-backbone"),
        ({"model.tile": "null"}, "model.tile-input: is for tiles"),
        ({"train.kept-views": "0", "train.freeze-backbone": "false"} | TIES, "train.tie-prototypes: is for"),
        ({"train.no-push-prototypes": "true"} | TIES, "train.tie-prototypes: needs train.push-prototypes"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tiny_arguments, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        train(parse_config(tiny_arguments(tmp_path, **{**TILED, **options})), progress=False)
