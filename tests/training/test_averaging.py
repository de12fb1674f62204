"""Stochastic weight averaging, held against sums of the weights at the ends of the epochs."""

from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from killed import killed_run
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from pixpnet.config import parse_config
from pixpnet.data import loader, open_splits
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.runs import RunDirectory, load, load_checkpoint
from pixpnet.training import resume, train

AVERAGED = {"train__stochastic_weight_averaging": ""}


class Watched(NamedTuple):
    """What can be seen of a run's network from outside."""

    after_step: list[dict[str, torch.Tensor]]
    """The weights after each training step."""
    first_looks: dict[int, dict[str, torch.Tensor]]
    """The weights at the first look in eval mode after so many steps."""
    read_out_after: set[int]
    """The steps after which a readout was trained."""


@contextmanager
def watching():
    """Follows the weights of the run that is trained inside."""
    networks, seen = [], Watched([], {}, set())

    def copied():
        return {name: tensor.clone() for name, tensor in networks[0].state_dict().items()}

    def look(module, given):
        if isinstance(module, PrototypeNetwork) and not networks:
            networks.append(module)
        if networks and module is networks[0].backbone and not module.training:
            seen.first_looks.setdefault(len(seen.after_step), copied())

    def stepped(optimizer, *_):
        if len(optimizer.param_groups) == 1:  # of the head alone
            seen.read_out_after.add(len(seen.after_step))
        else:
            seen.after_step.append(copied() if networks else {})

    handles = register_module_forward_pre_hook(look), register_optimizer_step_post_hook(stepped)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="module")
def averaged_run(tiny_arguments, tmp_path_factory):
    """A finished run of one backbone, one warm-up and two averaged epochs, and the weights on its way."""
    with watching() as seen:
        arguments = tiny_arguments(tmp_path_factory.mktemp("averaged"), **AVERAGED)
        return train(parse_config(arguments), progress=False), seen


def test_the_network_is_the_mean_of_the_last_epochs_before_it_is_projected(averaged_run):
    run, seen = averaged_run
    assert len(seen.after_step) == 4 * 3
    assert seen.read_out_after == {6, 12}, "after the warm-up and at the end, not between"
    ends, projected_from = (seen.after_step[8], seen.after_step[11]), seen.first_looks[12]
    final = load(run).network
    for name, _ in final.named_parameters():
        mean = (ends[0][name] + ends[1][name]) / 2
        assert torch.allclose(projected_from[name], mean, atol=1e-6), name
        assert not torch.equal(ends[0][name], ends[1][name])
    for name, tensor in final.backbone.named_parameters():
        assert torch.equal(tensor, projected_from[f"backbone.{name}"])


def test_batch_norm_has_the_statistics_of_the_averaged_weights(averaged_run):
    """The first layer's, over the batches of the last epoch."""
    run = load(averaged_run[0])
    norms = [part for part in run.network.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    inputs = []
    norms[0].register_forward_hook(lambda part, given, result: inputs.append(given[0]))
    splits = open_splits(run.config.dataset, seed=run.config.seed)
    batches = loader(splits.train, batch_size=8, shuffle=True, seed=run.config.seed, epoch=4)
    with torch.no_grad():
        for batch in batches:
            run.network.backbone(batch.image)
    means = torch.stack([given.mean(dim=(0, 2, 3)) for given in inputs]).mean(dim=0)
    variances = torch.stack([given.var(dim=(0, 2, 3)) for given in inputs]).mean(dim=0)
    assert torch.allclose(norms[0].running_mean, means, atol=1e-5)
    assert torch.allclose(norms[0].running_var, variances, rtol=1e-4)
    assert all(int(norm.num_batches_tracked) == 3 for norm in norms)


def test_its_prototypes_are_patches(averaged_run):
    run = load(averaged_run[0])
    splits = open_splits(run.config.dataset, seed=run.config.seed)
    index = {record.image_id: i for i, record in enumerate(splits.projection.records)}
    for source in run.sources:
        with torch.no_grad():
            z = run.network.features(splits.projection[index[source.image_id]].image[None])[0]
        patch = z[:, source.cell[0], source.cell[1]]
        assert torch.allclose(patch, run.network.prototypes[source.prototype, :, 0, 0], atol=1e-5)
    last = load_checkpoint(RunDirectory(averaged_run[0]).last_checkpoint())
    assert last.average is None, "the network itself is the average"


def test_killed_between_averaged_epochs_and_resumed(averaged_run, tiny_arguments, tmp_path):
    run = killed_run(tiny_arguments(tmp_path, **AVERAGED), tmp_path, step=11)
    kept = load_checkpoint(RunDirectory(run).last_checkpoint()).average
    assert kept is not None
    assert int(kept["n_averaged"]) == 1
    resume(run, progress=False)
    metrics = "csv/version_0/metrics.csv"
    assert (run / metrics).read_text() == (averaged_run[0] / metrics).read_text()
    expected, actual = load(averaged_run[0]).network.state_dict(), load(run).network.state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_without_it_nothing_changes(tiny_run, averaged_run):
    plain, averaged = (load(run).network.state_dict() for run in (tiny_run, averaged_run[0]))
    assert any(not torch.equal(plain[name], averaged[name]) for name in plain)
    assert load_checkpoint(RunDirectory(tiny_run).last_checkpoint()).average is None
