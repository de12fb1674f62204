"""Patches that a person forbade: prototypes leave them, and are kept away, in the run that goes on."""

import csv
import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from killed import killed_run

from pixpnet import Change, CheckpointError, DataError, edit
from pixpnet.config import LossConfig, parse_config
from pixpnet.data import loader
from pixpnet.prototypes import forbidden_loss
from pixpnet.runs import RunDirectory, forbidden_patches, load
from pixpnet.training import Batch, Forbidden, PrototypeObjective, resume, start_prototypes, train

MARKED = (0, 3)


@pytest.fixture(scope="module")
def marked(tiny_run, tmp_path_factory):
    """A run in which two patches are forbidden."""
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("marked") / "run")
    edit(run, Change("forbid", MARKED), by="anna", why="a square")
    return run


@pytest.fixture
def go_on(marked, tiny_arguments, tmp_path):
    """Train on from a run; gives the new one's folder."""

    def go(parent=marked, **options):
        more = {"train__start_from": parent, "train__epochs": 2, "train__backbone_epochs": 0}
        return train(parse_config(tiny_arguments(tmp_path / "logs", **(more | options))), progress=False)

    return go


def places(sources):
    return [(one.image_id, one.cell) for one in sources]


def logged(run):
    with RunDirectory(run).metrics_file.open() as file:
        return list(csv.DictReader(file))


def passes(network):
    """How often each batch normalisation has looked at a batch."""
    return [int(one) for name, one in network.backbone.named_buffers() if "num_batches" in name]


def test_the_loss_is_the_mean_similarity_to_the_most_similar_patch():
    similarities = torch.tensor([[0.1, 0.9], [0.5, 0.2], [0.3, 0.4]])
    assert float(forbidden_loss(similarities)) == pytest.approx((0.5 + 0.9) / 2)


def test_the_term_is_what_the_similarity_maps_say(marked):
    run = load(marked)
    network, sources = run.network, [run.sources[number] for number in MARKED]
    images = torch.stack([run.source_input(one) for one in sources])
    width = run.receptive_field().grid_size[1]
    cells = torch.tensor([one.cell[0] * width + one.cell[1] for one in sources])
    objective = PrototypeObjective(network, LossConfig(forbidden=3.0), Forbidden(images, cells))
    batch = Batch(images, torch.tensor([one.label for one in sources]), torch.arange(2))
    network.backbone.train()
    before = passes(network)
    with torch.no_grad():
        loss = objective(network, batch)
        without = PrototypeObjective(network, LossConfig())(network.eval(), batch)
        maps = network.similarity_maps(network.features(images)).flatten(2)
        there = torch.stack([maps[index, :, cell] for index, cell in enumerate(cells)])
    wanted = float(there.amax(dim=0).mean() / network.largest_similarity)
    assert float(loss.terms["forbidden_loss"]) == pytest.approx(wanted, abs=1e-5)
    assert "forbidden_loss" not in without.terms
    own = {name: value for name, value in loss.terms.items() if name != "forbidden_loss"}
    weighted = [objective.weights[name] * value for name, value in own.items() if objective.weights[name]]
    assert float(loss.total) == pytest.approx(float(sum(weighted)) + 3 * wanted, abs=1e-5)
    # Only the batch's own pass is counted in the statistics of batch normalisation.
    assert passes(network) == [number + 1 for number in before]
    assert before


STILL = {"train__epochs": 1, "optimizer__lr": 1e-30, "optimizer__fine_tune_lr": 1e-30}


def test_prototypes_that_are_forbidden_patches_start_elsewhere(marked, go_on):
    parent = load(marked)
    new = load(go_on(train__no_push_prototypes="", **STILL))
    others = [number for number in range(6) if number not in MARKED]
    assert torch.allclose(new.network.prototypes[others], parent.network.prototypes[others], atol=1e-6)
    rows = parent.network.prototypes[list(MARKED)].detach()
    with torch.no_grad():
        near = new.network.from_features(rows).similarities.amax(dim=0) / new.network.largest_similarity
    assert float(near[list(MARKED)].max()) < 0.99


def test_they_start_at_the_centres_least_like_what_is_forbidden(marked):
    run = load(marked)
    field, network, sources = run.receptive_field(), run.network, [run.sources[number] for number in MARKED]
    cells = torch.tensor([one.cell[0] * field.grid_size[1] + one.cell[1] for one in sources])
    images = torch.stack([run.source_input(one) for one in sources])
    before = network.prototypes.detach().clone()

    def start(forbidden):
        images = run.images(run.image_set.train)
        batches = loader(images, batch_size=8, shuffle=False, seed=0, epoch=0, workers=0)
        start_prototypes(
            network,
            batches,
            class_names=run.class_names,
            generator=torch.Generator().manual_seed(0),
            accelerator=Accelerator(cpu=True),
            forbidden=forbidden,
        )
        return network.prototypes.detach().clone()

    centres = start(None)
    with torch.no_grad():
        likeness = network.from_features(before[list(MARKED)]).similarities.amax(dim=0)
    network.prototypes.data.copy_(before)
    started = start(Forbidden(images, cells, MARKED))
    for number in range(len(before)):
        own = [place for place in range(6) if network.own_class[place].equal(network.own_class[number])]
        wanted = centres[min(own, key=lambda place: likeness[place])] if number in MARKED else before[number]
        assert torch.allclose(started[number], wanted), number


@pytest.mark.parametrize("frozen", [False, True], ids=["learned", "frozen and tied"])
def test_prototypes_leave_what_is_forbidden(frozen, marked, go_on, tmp_path, monkeypatch):
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    options = {"train__freeze_backbone": "true", "train__tie_prototypes": "true"} if frozen else {}
    parent, run = load(marked), go_on(**options)
    wrong = {places(parent.sources)[number] for number in MARKED}
    assert wrong.isdisjoint(places(load(run).sources))
    kept = json.loads(RunDirectory(run).forbidden_file.read_text())
    assert {(one["image_id"], tuple(one["cell"])) for one in kept} == wrong
    terms = [float(row["train_forbidden_loss"]) for row in logged(run) if row["train_forbidden_loss"]]
    assert len(terms) == 2
    assert "train_forbidden_loss" not in logged(marked)[0]
    # What goes on from there inherits it, beside its own.
    edit(run, Change("forbid", (1,)))
    own = places(load(run).sources)[1]
    assert {*places(forbidden_patches(RunDirectory(run)))} == wrong | {own}


def test_a_killed_one_goes_on_the_same(marked, tiny_arguments, tmp_path):
    def arguments(logs):
        return tiny_arguments(logs, train__start_from=parent, train__epochs=2, train__backbone_epochs=0)

    parent = shutil.copytree(marked, tmp_path / "parent")
    whole = train(parse_config(arguments(tmp_path / "whole")), progress=False)
    steps = max(int(row["step"]) for row in logged(whole))
    killed = killed_run(arguments(tmp_path / "killed"), tmp_path / "killed", step=steps)
    shutil.rmtree(parent)  # the run knows by itself what is forbidden
    resume(killed, progress=False)
    expected, actual = (load(run).network.state_dict() for run in (whole, killed))
    assert all(torch.equal(tensor, actual[name]) for name, tensor in expected.items())
    assert logged(whole)[-1]["test_forbidden_loss"] == logged(killed)[-1]["test_forbidden_loss"]


def test_what_cannot_be_kept_away_from_is_said(marked, go_on, birds, tmp_path):
    pictures = shutil.copytree(birds, tmp_path / "set")
    source = load(marked).sources[0]
    parent = shutil.copytree(marked, tmp_path / "parent")
    file = RunDirectory(parent).forbidden_file
    file.write_text("[1]", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"forbidden\.json is damaged"):
        go_on(parent)
    file.unlink()
    with (pictures / "train_test_split.txt").open(encoding="utf-8") as split:
        lines = split.read().splitlines()
    number = next(
        line.split()[0]
        for line in (pictures / "images.txt").read_text("utf-8").splitlines()
        if source.path.endswith(line.split()[1])
    )
    moved = [f"{number} 0" if line == f"{number} 1" else line for line in lines]
    assert moved != lines
    (pictures / "train_test_split.txt").write_text("\n".join(moved) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"of which a patch was forbidden, is not among the training images"):
        go_on(parent, dataset__root=pictures)
