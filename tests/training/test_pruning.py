"""Pruning: which prototypes go, which are needed, and a pruned run is a run like any other."""

import json
import shutil

import pytest
import torch
from killed import killed_run
from torch import nn

from pixpnet.certificate import verify
from pixpnet.config import parse_config
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.evaluation import evaluate
from pixpnet.explanation import explain, predict
from pixpnet.prototypes import HEADS, SIMILARITIES, PrototypeNetwork, find_distance
from pixpnet.report import compare, read_runs, write_report
from pixpnet.runs import Pruning, RunDirectory, load
from pixpnet.training import SimilarityTable, prune_prototypes, resume, train
from pixpnet.types import Box, PrototypeSource

PRUNED = {
    "train.prune": "true",
    "train.push-duplicate-filter": "patch",
    "train.readout-push-epochs": 0,
    "train.backbone-epochs": 2,
    "optimizer.lr": 1e-2,
    "optimizer.warmup-period": 0,
    "model.num-prototypes": 24,
    "seed": 3,
}
"""Some prototypes of a class are nearly equal here, and only some classes'."""
OWN = torch.tensor([[1, 0]] * 4 + [[0, 1]] * 2, dtype=torch.bool)
ROWS = torch.tensor([[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0.01], [0, 1, 1]])
"""0, 1 and 4 are nearly equal; 4 is of the other class."""


def network(head="linear"):
    distance = find_distance("cosine")
    return PrototypeNetwork(
        nn.Identity(),
        nn.Identity(),
        prototypes=ROWS[:, :, None, None].clone(),
        head=HEADS[head](OWN, correct_strength=1.0, incorrect_strength=0.0),
        distance=distance,
        similarity=SIMILARITIES["linear"](distance, 1e-6),
    )


def sources():
    return [
        PrototypeSource(number, str(number), "a.png", 0, "a", "", (0, 0), Box(0, 0, 4, 4), 0.0)
        for number in range(6)
    ]


USING_ALL = torch.tensor([[9.0, 9, 9, 0, 1, 0], [0, 0, 0, 1, 9, 9], [9, 8.9, 9, 9, 0, 0]])
LABELS = torch.tensor([0, 1, 0])


def pruned(similarities=USING_ALL, *, head="linear", on_object=(None,) * 6, own=None, read_out=None):
    made = network(head)
    table = SimilarityTable(similarities, LABELS)
    outcome, kept = prune_prototypes(
        made,
        sources=sources(),
        on_object=on_object,
        training=table,
        validation=table,
        read_out=read_out or (lambda head, table: None),
    )
    assert [one.prototype for one in kept] == list(range(len(kept))) == list(range(made.num_prototypes))
    names = [int(one.image_id) for one in kept]
    assert torch.equal(made.prototypes.flatten(1), ROWS[names])
    assert torch.equal(made.own_class, OWN[names])
    return made, names, [(one.prototype, one.reason, one.heir) for one in outcome.pruned]


@pytest.mark.parametrize("head", HEADS)
def test_of_two_that_are_nearly_equal_and_of_one_class_the_less_used_goes(head):
    made, kept, fates = pruned(head=head)
    assert fates == [(1, "nearly equal", 0)]  # used once, prototype 0 twice; 4 says as much for another class
    assert kept == [0, 2, 3, 4, 5]
    if head in ("linear", "sparse"):
        assert made.class_weights()[0].tolist() == [2, 0]


def test_of_two_that_are_nearly_equal_the_one_on_the_background_goes():
    _, _, fates = pruned(on_object=(0.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert fates == [(0, "nearly equal", 1)]


def test_what_no_image_uses_and_what_shows_the_background_goes_too():
    """In the order of how little they are missed: least used first."""
    similarities = torch.tensor([[9.0, 8, 7, 0, 1, 0], [0, 0, 0, 1, 9, 9], [9, 8, 7, 1, 0, 0]])
    _, kept, fates = pruned(similarities, on_object=(1.0, 1.0, 0.0, 1.0, 0.09, 0.1))
    assert fates == [
        (1, "nearly equal", 0),
        (3, "unused", None),
        (4, "background", None),
        (2, "background", None),
    ]
    assert kept == [0, 5]


def test_no_class_loses_its_last_prototype():
    _, kept, _ = pruned(on_object=(0.0,) * 6)
    assert OWN[kept].any(dim=0).all()
    assert kept == [2, 5]


def test_a_prototype_that_validation_images_need_stays():
    """Without 2 nothing would speak for the second image; what comes before it goes."""
    similarities = torch.tensor([[9.0, 9, 1, 0, 1, 0], [0, 0, 9, 0, 8, 0], [9, 9, 1, 0, 0, 0]])
    table = SimilarityTable(similarities, torch.zeros(3, dtype=torch.int64))
    made = network()
    outcome, _ = prune_prototypes(
        made,
        sources=sources(),
        on_object=(1.0, 1.0, 0.0, 1.0, 1.0, 1.0),
        training=table,
        validation=table,
        read_out=lambda head, table: None,
    )
    assert [one.prototype for one in outcome.pruned] == [1, 3, 4]
    assert (outcome.before, outcome.images, outcome.right_before, outcome.right) == (6, 3, 3, 3)


def test_the_head_learns_without_those_that_go():
    def read_out(head, table):
        assert head.own_class.shape[0] == table.similarities.shape[1] == 5
        with torch.no_grad():
            head.weight.mul_(3)

    made, _, _ = pruned(read_out=read_out)
    assert made.class_weights().max() == 6


@pytest.fixture(scope="module")
def pruned_run(tmp_path_factory, tiny_arguments):
    return train(parse_config(tiny_arguments(tmp_path_factory.mktemp("pruned"), **PRUNED)), progress=False)


def test_a_pruned_run_is_a_run_like_any_other(pruned_run):
    run, directory = load(pruned_run), RunDirectory(pruned_run)
    pruning = Pruning.read(directory.pruned_file)
    assert pruning.before == 24
    assert len(pruning.pruned) > 0
    assert pruning.right >= pruning.right_before
    count = run.network.num_prototypes
    assert count == 24 - len(pruning.pruned) == len(run.sources)
    assert len(set(run.network.own_class.sum(dim=0).tolist())) > 1, "uneven, as it should be here"
    images = {one.image_id: one for one in run.image_set.train}
    for source in run.sources:
        assert run.network.own_class[source.prototype, source.label]
        with torch.no_grad():
            z = run.network.features(run.images([images[source.image_id]])[0].image[None])[0]
        row, column = source.cell
        patch = run.network.prototypes[source.prototype, :, 0, 0]
        assert torch.allclose(z[:, row, column], patch, atol=1e-5)
    thumbnails = {directory.thumbnail_file(source) for source in run.sources}
    assert set((pruned_run / "thumbnails").iterdir()) == thumbnails


def test_all_that_is_done_with_a_run(pruned_run, tiny_run, tmp_path):
    run = load(pruned_run)
    count = run.network.num_prototypes
    page = write_report(pruned_run, out=tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{24 - count} of 24 prototypes were pruned: " in page
    assert len(explain(run, run.test_images[0].image).evidence) == count
    assert verify(run, trials=6).passed
    measured = evaluate(run, metrics=["sparsity", "purity"], out=tmp_path / "evaluated")
    assert {one.key[0] for one in measured.measurements} == {"sparsity", "purity"}
    one = next(predict(run, run.test_images[0].image))
    assert one.unfamiliar is not None
    table = compare(read_runs([pruned_run, tiny_run]))
    (row,) = (row for group in table.groups for row in group.rows if row.title == "Prototypes")
    assert [cell.text.split()[0] for cell in row.cells] == [str(count), "6"]


@pytest.mark.parametrize("step", [11, None], ids=["last-epoch", "before-the-test"])
def test_a_pruned_run_that_was_killed_ends_the_same(step, pruned_run, tiny_arguments, tmp_path):
    if step is not None:
        run = killed_run(tiny_arguments(tmp_path, **PRUNED), tmp_path, step=step)
    else:
        run = tmp_path / "run"
        shutil.copytree(pruned_run, run)
        (run / "results/scores.yaml").unlink()
    resume(run, progress=False)
    expected, actual = load(pruned_run), load(run)
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(tensor, actual.network.state_dict()[name]), name
    assert actual.sources == expected.sources
    for name in ("pruned.json", "scores.yaml"):
        assert (run / "results" / name).read_text() == (pruned_run / "results" / name).read_text()


def test_a_pruned_run_is_trained_on(pruned_run, tiny_arguments, tmp_path):
    options = {**PRUNED, "train.prune": "false", "train.start-from": pruned_run, "train.backbone-epochs": 0}
    options["train.epochs"] = 1
    config = parse_config(tiny_arguments(tmp_path, **options))
    started = load(train(config, progress=False))
    assert torch.equal(started.network.own_class, load(pruned_run).network.own_class)


def test_a_damaged_record_is_refused(tmp_path):
    assert Pruning.read(tmp_path / "pruned.json") is None
    (tmp_path / "pruned.json").write_text(json.dumps({"before": 3}))
    with pytest.raises(CheckpointError, match=r"pruned\.json is damaged"):
        Pruning.read(tmp_path / "pruned.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train.push-prototypes": "false"}, "needs train.push-prototypes"),
        ({"dataset.val-size": 0}, "needs validation images"),
        ({"train.checkpoint": "true"}, "does not go with train.checkpoint"),
    ],
)
def test_what_it_does_not_go_with(options, message, tiny_arguments, tmp_path):
    config = parse_config(tiny_arguments(tmp_path, **PRUNED | options))
    with pytest.raises(ConfigError, match=message):
        train(config, progress=False)
