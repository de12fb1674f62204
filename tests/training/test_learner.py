"""What learns how fast and decays, what is minimised, and what the readout does to the head."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixpnet.config import LossConfig, ModelConfig, OptimizerConfig
from pixpnet.prototypes import build_network
from pixpnet.training import (
    Batch,
    ClassifierObjective,
    EpochMeter,
    EpochPlan,
    Loss,
    Objective,
    PrototypeObjective,
    build_optimizer,
    classifier_groups,
    cross_entropy,
    prototype_groups,
    set_learning_rates,
    train_readout,
)

OPTIONS = OptimizerConfig(lr=0.5, fine_tune_lr=0.25, readout_lr=0.125, weight_decay=0.1, momentum=0.8)
OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Rprop)


@pytest.fixture
def network():
    backbone = nn.Conv2d(3, 8, 3, stride=2)
    backbone.out_channels = 8
    config = ModelConfig(num_prototypes=4, prototype_dim=4, readout_type="linear")
    return build_network(config, num_classes=2, backbone=backbone)


@pytest.fixture
def batch():
    images = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.tensor([0, 1, 1]), torch.arange(3))


def owner_of(network):
    """Name of the part of the network -> its parameters."""
    return {
        "backbone": set(network.backbone.parameters()),
        "add-on": set(network.add_on.parameters()),
        "prototypes": {network.prototypes},
        "head": set(network.head.parameters()),
    }


def entries(optimizer, parts):
    """Name of the part -> learning rate and weight decay, by the optimizer."""
    names = {
        frozenset(entry["params"]): (entry["lr"], entry.get("weight_decay"))
        for entry in optimizer.param_groups
    }
    return {name: names[frozenset(parameters)] for name, parameters in parts.items() if parameters}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_part_has_its_rate_and_its_decay(kind, network):
    groups = prototype_groups(network, OPTIONS)
    optimizer = build_optimizer(kind, groups, OPTIONS)
    decays = kind is not torch.optim.Rprop  # it takes none
    expected = {"backbone": (0.25, 0.1), "add-on": (0.5, 0.1), "prototypes": (0.5, 0.0), "head": (0.125, 0.0)}
    assert entries(optimizer, owner_of(network)) == {
        name: (lr, decay if decays else None) for name, (lr, decay) in expected.items()
    }
    assert {entry.get("momentum") for entry in optimizer.param_groups} == (
        {0.8} if kind in (torch.optim.SGD, torch.optim.RMSprop) else {None}
    )
    plan = EpochPlan(epoch=1, stage="joint", factor=0.5, project=False, validate=False)
    set_learning_rates(optimizer, groups, plan)
    assert [entry["lr"] for entry in optimizer.param_groups] == [0.125, 0.25, 0.25, 0.0625]


def test_prototypes_and_head_do_not_shrink_by_themselves(network):
    """Without gradients, only what decays changes."""
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(torch.optim.SGD, prototype_groups(network, OPTIONS), OPTIONS).step()
    for name, parameter in network.named_parameters():
        rate = {"backbone": 0.25, "add_on": 0.5}.get(name.partition(".")[0], 0.0)
        assert torch.allclose(parameter, before[name] * (1 - rate * 0.1)), name


def test_a_backbone_and_its_passing_head_learn_at_the_full_rate(network):
    head = nn.Linear(8, 2)
    optimizer = build_optimizer(torch.optim.SGD, classifier_groups(network.backbone, head, OPTIONS), OPTIONS)
    parts = {"backbone": set(network.backbone.parameters()), "head": set(head.parameters())}
    assert entries(optimizer, parts) == {"backbone": (0.5, 0.1), "head": (0.5, 0.1)}


@torch.no_grad()
def test_the_loss_is_that_of_protopnet(network, batch):
    """Cross-entropy + a · cluster + b · separation + c · L1, restated image by image."""
    objective = PrototypeObjective(network, LossConfig(xent=2.0, cluster=0.7, separation=0.3, l1=0.01))
    loss = objective(network, batch)
    output = network(batch.images)
    near, far, average = [], [], []
    for distances, label in zip(output.min_distances, batch.labels, strict=True):
        own = network.own_class[:, label]
        near.append(distances[own].min())
        far.append(distances[~own].min())
        average.append(distances[~own].mean())
    foreign = network.head.weight[~network.own_class.T]
    expected = {
        "xent": -output.logits.log_softmax(1)[range(3), batch.labels].mean(),
        "cluster_loss": torch.stack(near).mean(),
        "separation_loss": -torch.stack(far).mean(),
        "avg_separation_loss": -torch.stack(average).mean(),
        "l1_loss": foreign.abs().sum(),
    }
    assert {name: float(term) for name, term in loss.terms.items()} == {
        name: pytest.approx(float(term), rel=1e-5) for name, term in expected.items()
    }
    total = (
        2.0 * expected["xent"]
        + 0.7 * expected["cluster_loss"]
        + 0.3 * expected["separation_loss"]
        + 0.01 * expected["l1_loss"]
    )
    assert float(loss.total) == pytest.approx(float(total), rel=1e-5)


@torch.no_grad()
def test_what_is_logged_follows_from_the_terms(network, batch):
    """Means over images, weighted or not, whatever the size of the batches."""
    objective = PrototypeObjective(network, LossConfig(xent=2.0, l1=0.01))
    meter = EpochMeter(objective, 2, torch.device("cpu"))
    parts = [Batch(*(part[span] for part in batch)) for span in (slice(0, 2), slice(2, 3))]
    losses = [objective(network, part) for part in parts]
    for part, loss in zip(parts, losses, strict=True):
        meter.update(loss, part.labels)
    values = meter.values("val")
    assert list(values) == [f"val_{measure}" for measure in objective.measures]
    xent = float(2 * losses[0].terms["xent"] + losses[1].terms["xent"]) / 3
    assert values["val_xent"] == pytest.approx(xent)
    assert values["val_xent_weighted"] == pytest.approx(2 * xent)
    assert "val_avg_separation_loss_weighted" not in values
    assert values["val_total_loss"] == pytest.approx(float(2 * losses[0].total + losses[1].total) / 3)
    predicted = torch.cat([loss.logits for loss in losses]).argmax(1)
    right = (predicted == batch.labels).float()
    assert values["val_accuracy"] == pytest.approx(float(right.mean()))
    assert values["val_weighted_accuracy"] == pytest.approx(float((right[0] + right[1:].mean()) / 2))


def test_an_objective_may_look_at_several_views():
    """Only the objective looks into a batch: here two views of each image are to be told alike."""

    class Alike(Objective):
        weights = {"xent": 1.0, "unlike": 0.5}  # noqa: RUF012

        def judge(self, model, batch):
            first, second = (model(views) for views in batch.images.unbind(1))
            terms = {"xent": cross_entropy(first, batch), "unlike": (first - second).square().mean()}
            return terms, first

    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    views = torch.rand(5, 2, 3, 4, 4)
    batch = Batch(views, torch.tensor([0, 1, 0, 1, 1]), torch.arange(5))
    loss = Alike()(model, batch)
    single = ClassifierObjective()(model, batch._replace(images=views[:, 0]))
    unlike = (model(views[:, 0]) - model(views[:, 1])).square().mean()
    assert float(loss.total) == pytest.approx(float(single.total + 0.5 * unlike))
    assert Alike().measures == (
        *("accuracy", "weighted_accuracy", "xent", "xent_weighted"),
        *("unlike", "unlike_weighted", "total_loss"),
    )


@pytest.mark.parametrize("batch_size", [4, 2])
def test_the_readout_minimises_cross_entropy_and_l1(network, batch_size):
    """Steps of gradient descent, restated: connections to other classes are drawn to zero."""
    generator = torch.Generator().manual_seed(0)
    similarities, labels = torch.rand(4, 4, generator=generator), torch.tensor([0, 1, 1, 0])
    head = network.head
    weight = head.weight.detach().clone()
    foreign = ~network.own_class.T
    order = torch.randperm(4, generator=torch.Generator().manual_seed(5))
    for some in order.split(batch_size):
        probabilities = (similarities[some] @ weight.T).softmax(1)
        errors = probabilities - functional.one_hot(labels[some], 2)
        gradient = 2.0 * errors.T @ similarities[some] / len(some) + 0.1 * weight.sign() * foreign
        weight -= 0.25 * gradient
    train_readout(
        head,
        similarities,
        labels,
        optimizer=torch.optim.SGD(head.parameters(), lr=0.25),
        epochs=1,
        batch_size=batch_size,
        xent=2.0,
        l1=0.1,
        generator=torch.Generator().manual_seed(5),
    )
    assert torch.allclose(head.weight, weight, atol=1e-6)


def test_a_sum_of_terms_needs_no_detached_copies():
    """A meter keeps no graph."""
    value = torch.ones((), requires_grad=True)
    logits = torch.zeros(2, 2, requires_grad=True)
    meter = EpochMeter(ClassifierObjective(), 2, torch.device("cpu"))
    meter.update(Loss({"xent": 2 * value}, 2 * value, logits), torch.tensor([0, 1]))
    assert not meter.sums.requires_grad
    assert meter.total_loss == 2
