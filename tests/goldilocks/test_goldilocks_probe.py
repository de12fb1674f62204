"""Linear heads: the minimum is one, and λ is the one that validates best."""

import pytest
import torch
from torch.nn import functional

from pixpnet.goldilocks import accuracies, fit_head, probe

PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)


def _images(*, number=90, channels=6, classes=3, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, channels, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(number) % classes
    features = centres[labels] + noise * torch.randn(number, channels, generator=generator)
    return 50 + 3 * features, labels


@pytest.mark.parametrize("channels", [6, 300])
@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_gradient_vanishes_at_the_head(penalty, channels):
    """Also with more channels than images, and with one that says what another says."""
    features, labels = _images(channels=channels)
    features = torch.cat([features, features[:, :1]], dim=1)
    head = fit_head(features, labels, num_classes=3, penalty=penalty)
    rows = features.double()
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    weight, bias = head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()
    loss = functional.cross_entropy(rows @ weight + bias, labels) + penalty / 2 * weight.square().sum()
    loss.backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.grad.abs().max() < 1e-5
    assert bias.grad.abs().max() < 1e-5
    assert torch.allclose(head.logits(features), rows @ weight + bias)


@pytest.mark.parametrize("largest_double", [2**27, 0])
def test_an_axis_of_little_variance_may_tell_the_classes_apart(monkeypatch, largest_double):
    """Also in float32: all channels share one strong component that says nothing."""
    monkeypatch.setattr("pixpnet.goldilocks.linear_probe._LARGEST_DOUBLE", largest_double)
    features, labels = _images(number=600, channels=200)
    shared = 1000 * torch.randn(600, 1, generator=torch.Generator().manual_seed(1))
    is_test = torch.arange(600) >= 400
    head = fit_head((features + shared)[~is_test], labels[~is_test], num_classes=3, penalty=1e-6)
    assert head.weight.dtype == (torch.float64 if largest_double else torch.float32)
    assert accuracies(head.logits((features + shared)[is_test]), labels[is_test]).top1 > 0.95


def test_features_that_never_change_count_for_nothing():
    features, labels = _images()
    more = torch.cat([features, torch.full((len(features), 1), 7.0)], dim=1)
    with_constant = fit_head(more, labels, num_classes=3, penalty=0.1)
    without = fit_head(features, labels, num_classes=3, penalty=0.1)
    far = torch.cat([features, torch.full((len(features), 1), 1e6)], dim=1)
    assert torch.allclose(with_constant.logits(far), without.logits(features), atol=1e-4)


def test_penalty_is_the_one_with_the_least_validation_loss():
    features, labels = _images(channels=20, noise=2.0)
    is_validation = torch.arange(len(labels)) % 5 == 0
    losses = {}
    for penalty in PENALTIES:
        head = fit_head(features[~is_validation], labels[~is_validation], num_classes=3, penalty=penalty)
        logits = head.logits(features[is_validation])
        losses[penalty] = float(functional.cross_entropy(logits, labels[is_validation]))
    best = min(losses, key=lambda penalty: losses[penalty])
    assert best not in (PENALTIES[0], PENALTIES[-1])  # the data are such that there is something to choose
    found = probe(features, labels, num_classes=3, is_validation=is_validation)
    again = fit_head(features, labels, num_classes=3, penalty=best)
    assert found.penalty == best
    assert torch.equal(found.weight, again.weight)


def test_without_validation_images():
    features, labels = _images()
    none = torch.zeros(len(labels), dtype=torch.bool)
    assert probe(features, labels, num_classes=3, is_validation=none).penalty == 0.01


def test_separable_classes_are_told_apart():
    features, labels = _images(noise=0.05)
    others, other_labels = _images(noise=0.05, seed=1)
    head = fit_head(features, labels, num_classes=3, penalty=1e-3)
    assert accuracies(head.logits(others), other_labels) == (1.0, 1.0)


def test_top_one_and_top_five():
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]])
    assert accuracies(logits, torch.tensor([0, 4, 0, 4])) == (0.25, 0.75)
    assert accuracies(logits[:, :3], torch.tensor([0, 1, 2, 1])) == (0.5, 1.0)
