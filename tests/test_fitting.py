"""A folder of pictures in, a trained, certified, explained run out; and what is said on the way."""

import json
import shutil

import pytest
import torch
from torch import nn

from pixpnet import ConfigError, DataError, fit, load
from pixpnet.backbones import NETWORKS
from pixpnet.config import parse_config
from pixpnet.exporting import model_card
from pixpnet.files import read_mapping
from pixpnet.fitting import plan_fit
from pixpnet.training import train

LITE = ["timm/tf_efficientnet_lite0"]
QUICK = {"backbones": ["small_resnet"], "max_field": 0.8, "trials": 3}
"""Tiles that are nearly the picture: four cost least."""


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Two classes of small pictures learn in 60 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixpnet.fitting.LEAST_STEPS", 60)
        yield


@pytest.fixture(scope="module")
def photographs(birds, tmp_path_factory):
    """Two classes of 14 pictures, one of which is truncated."""
    folder = tmp_path_factory.mktemp("fit") / "my photographs"
    for place in sorted((birds / "images").iterdir())[:2]:
        shutil.copytree(place, folder / place.name)
    broken = min(folder.rglob("*_train_*.png"))
    broken.write_bytes(broken.read_bytes()[:600])
    return folder


@pytest.fixture(scope="module")
def fitted(photographs, tmp_path_factory):
    """The folder of the results, the run, and the lines that were told."""
    out, lines = tmp_path_factory.mktemp("fitted"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXPNET_CACHE", str(out / "cache"))
        run = fit(photographs, out=out / "out", tell=lines.append, **QUICK)
    return out, run, lines


def test_a_folder_becomes_a_tested_certified_and_explained_run(fitted):
    out, run, lines = fitted
    assert run.class_names == load(run.checkpoint).class_names
    assert len(run.sources) == 20
    run_dir = run.checkpoint.parents[3]
    assert (run_dir / "results" / "report.html").is_file()
    assert list(run_dir.rglob("certificate*.json"))
    assert len(list((run_dir / "thumbnails").iterdir())) == len({one.image_id for one in run.sources})
    assert len(list(run_dir.rglob("explanations/*.png"))) >= 4
    page = (run_dir / "results" / "report.html").read_text("utf-8")
    assert "<h1>my photographs <span" in page  # the folder, not the layout that it has
    assert "* **Data**: my photographs;" in model_card(run)
    probes = json.loads((out / "out" / "probes.json").read_text("utf-8"))
    allowed = {probe["tile"]: probe["accuracy"] for probe in probes if probe["field_share"] <= 0.8}
    assert max(allowed, key=lambda tile: (allowed[tile], -tile)) == run.config.model.tile
    assert {probe["tile"] for probe in probes} == {200, 136, 224}
    told = "\n".join(lines)
    assert "images that cannot be read: 1" in told
    assert "2 classes, 22 training and 6 test images" in told
    assert f"always saying {run.class_names[0]} would be right for 50" in told


def test_the_same_call_goes_on_from_what_is_there(fitted, photographs, monkeypatch):
    out, run, _ = fitted
    monkeypatch.setenv("PIXPNET_CACHE", str(out / "cache"))
    before = run.checkpoint.stat().st_mtime_ns
    lines = []
    again = fit(photographs, out=out / "out", tell=lines.append, **QUICK)
    assert again.checkpoint == run.checkpoint
    assert run.checkpoint.stat().st_mtime_ns == before
    assert "is there: going on from it" in lines[0]
    with pytest.raises(ConfigError, match=r"holds a fit with max-field 0\.8; give another --out"):
        fit(photographs, out=out / "out", **(QUICK | {"max_field": 0.5}))


def test_changed_pictures_are_not_told_for_those_that_were_tested(fitted, photographs, tmp_path, monkeypatch):
    out, _, _ = fitted
    monkeypatch.setenv("PIXPNET_CACHE", str(out / "cache"))
    more = sorted(photographs.rglob("*.png"))[1]
    added = more.with_name("added.png")
    shutil.copy(more, added)
    try:
        with pytest.raises(DataError, match="pictures have changed since"):
            fit(photographs, out=out / "out", **QUICK)
    finally:
        added.unlink()


def test_a_run_of_something_else_in_the_folder_is_not_taken_for_its_own(
    fitted, photographs, tmp_path, monkeypatch
):
    out, run, _ = fitted
    monkeypatch.setenv("PIXPNET_CACHE", str(out / "cache"))
    copy = tmp_path / "out"
    shutil.copytree(out / "out", copy)
    (file,) = copy.rglob("results/config.yaml")
    file.write_text(file.read_text("utf-8").replace("seed: 42", "seed: 43", 1), "utf-8")
    again = fit(photographs, out=copy, **QUICK)
    assert again.checkpoint.parents[3] != file.parents[1]
    assert again.config.seed == run.config.seed


def test_a_stopped_training_goes_on(fitted, photographs, tmp_path, monkeypatch):
    out, _, _ = fitted
    monkeypatch.setenv("PIXPNET_CACHE", str(out / "cache"))
    copy = tmp_path / "out"
    shutil.copytree(out / "out", copy)
    (run_dir,) = (path.parents[1] for path in copy.rglob("results/config.yaml"))
    for name in ("scores.yaml", "report.html"):
        next(run_dir.rglob(name)).unlink()
    # Nothing is left to train, but to test.
    again = fit(photographs, out=copy, **QUICK)
    assert again.checkpoint.parents[3] == run_dir
    assert (run_dir / "results" / "report.html").is_file()


def test_its_configuration_repeats_it_bit_for_bit(fitted, tmp_path, monkeypatch):
    out, run, _ = fitted
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "another cache"))
    config = parse_config(["-c", str(out / "out" / "fit.yaml"), "--log-dir", str(tmp_path)])
    again = load(train(config, progress=False)).network.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in run.network.state_dict().items())


def test_without_weights_a_small_network_learns_from_scratch(photographs, tmp_path):
    plan = plan_fit(photographs, backbones=(), minutes=0.1)
    assert plan.candidates == ()
    assert any("There are no pretrained networks to try" in line for line in plan.lines())
    run = fit(photographs, backbones=(), minutes=0.1, trials=3, thumbnails=False, out=tmp_path)
    assert run.config.model.feature_extractor == "small_resnet"
    assert run.image_size == (96, 96)
    assert run.config.train.epochs < 72
    assert not list(tmp_path.rglob("thumbnails"))
    with pytest.raises(ConfigError, match="holds a fit with thumbnails False; give another --out"):
        fit(photographs, backbones=(), minutes=0.1, out=tmp_path)


def test_there_is_always_time_for_the_first_network_and_for_no_more_than_fits(photographs):
    plan = plan_fit(photographs, backbones=LITE, max_field=0.8, minutes=1e-6)
    assert plan.probed() == list(plan.candidates[:1])
    assert len(plan_fit(photographs, backbones=LITE, max_field=0.8, minutes=1e6).probed()) == 3


def test_networks_are_also_tried_together(photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))

    def mine():
        convolution = nn.Conv2d(3, 4, 7, bias=False)
        weight = torch.linspace(-1, 1, convolution.weight.numel()).view_as(convolution.weight)
        convolution.load_state_dict({"weight": weight})
        return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1))

    monkeypatch.setitem(NETWORKS, "mine", mine)
    lines = []
    options = QUICK | {"backbones": ["small_resnet", "mine"], "minutes": 2.0}
    run = fit(photographs, out=tmp_path / "out", tell=lines.append, **options)
    probes = json.loads((tmp_path / "out" / "probes.json").read_text("utf-8"))
    (joint,) = (probe for probe in probes if probe["model"] == "small_resnet+mine")
    alone = [probe for probe in probes if probe["tile"] == joint["tile"] and probe is not joint]
    assert [probe["model"] for probe in alone] == ["small_resnet", "mine"]
    assert joint["seconds"] == pytest.approx(sum(probe["seconds"] for probe in alone))
    assert any("small_resnet+mine" in line and "from what was kept of each" in line for line in lines)
    kept = list((tmp_path / "cache" / "features").glob("*.features"))
    assert len(kept) == len(probes) - 1  # each network on its tiles, once
    chosen = (run.config.model.feature_extractor, run.config.model.tile)
    accuracy = {(one["model"], one["tile"]): one["accuracy"] for one in probes if one["field_share"] <= 0.8}
    assert accuracy[chosen] == max(accuracy.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_field": 1.0}, "max-field is a share of the picture"),
        ({"minutes": 0.0}, "minutes must be positive"),
        (
            {"max_field": 0.001, "backbones": LITE},
            "max-field 0.001 is less than a tile of 8",
        ),
    ],
)
def test_what_can_not_be_is_refused(photographs, options, said):
    with pytest.raises(ConfigError, match=said):
        plan_fit(photographs, **options)


def test_test_pictures_choose_nothing(photographs, tmp_path, monkeypatch):
    """Theirs are the other class's: what validation pictures say stays, and the test is mostly wrong."""
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    first, second = sorted(photographs.iterdir())
    for place, other in ((first, second), (second, first)):
        for split, named in (("train", place), ("test", other)):
            (tmp_path / "mixed" / split / named.name).mkdir(parents=True)
            for path in sorted(place.glob(f"*_{split}_*.png"))[1:]:
                shutil.copy(path, tmp_path / "mixed" / split / named.name)
    run = fit(tmp_path / "mixed", out=tmp_path / "out", minutes=1e-3, **(QUICK | {"backbones": LITE}))
    (probed,) = json.loads((tmp_path / "out" / "probes.json").read_text("utf-8"))
    assert probed["accuracy"] == 1
    assert read_mapping(run.checkpoint.parents[3] / "results" / "scores.yaml")["test_accuracy"] < 0.5


def test_results_among_the_pictures_are_refused(photographs, monkeypatch):
    monkeypatch.chdir(photographs)
    with pytest.raises(ConfigError, match="the results would lie among the pictures"):
        fit(".", **QUICK)
    assert not (photographs / "logs").exists()


def test_too_few_pictures_to_validate_on_are_told(photographs, tmp_path):
    for place in photographs.iterdir():
        (tmp_path / place.name).mkdir()
        for path in sorted(place.iterdir())[3:5]:
            shutil.copy(path, tmp_path / place.name)
    with pytest.raises(DataError, match="too few pictures to keep some for validation"):
        plan_fit(tmp_path, backbones=LITE)


def test_classes_of_one_picture_and_under_strict_unreadable_pictures_are_told(photographs, tmp_path):
    with pytest.raises(DataError, match="such pictures; without --strict they are left out"):
        plan_fit(photographs, strict=True)
    shutil.copytree(photographs, tmp_path / "few")
    folder = min((tmp_path / "few").iterdir())
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match=f"these have one: {folder.name} \\(--min-images 2"):
        plan_fit(tmp_path / "few")
    shutil.copytree(photographs / folder.name, tmp_path / "few" / "third")
    plan = plan_fit(tmp_path / "few", min_images=2, backbones=[])
    assert f"classes left out, with so few images: 1 ({folder.name}: 1)" in "\n".join(plan.lines())
    assert plan.config.dataset.min_images == 2
    assert plan.config.model.num_prototypes == 20
