import pytest
import torch

from pixpnet.errors import ConfigError
from pixpnet.prototypes import HEADS

STRENGTHS = {"correct_strength": 2.0, "incorrect_strength": -0.25}
UNEVEN = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)


def plain_logits(weight, similarities):
    return torch.stack([(similarities * row).sum(1) for row in weight], dim=1)


def dense_weight(name, head, own_class):
    """[c p], by the head's definition."""
    if name == "linear":
        return head.weight.detach()
    dense = torch.zeros(own_class.shape)
    dense[own_class] = head.weight.detach() if name == "sparse" else 1.0
    if name == "mean":
        dense *= STRENGTHS["correct_strength"] / own_class.sum(0).clamp(min=1)
    return dense.T


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "own_class", [UNEVEN, torch.ones(3, 1, dtype=torch.bool)], ids=["uneven", "one-class"]
)
def test_logits_and_start(name, own_class):
    head = HEADS[name](own_class, **STRENGTHS)
    similarities = torch.rand(4, len(own_class))
    first = {"linear": torch.where(own_class.T, 2.0, -0.25), "sparse": own_class.T.float()}
    if name in first:
        assert torch.equal(dense_weight(name, head, own_class), first[name])
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_()
    logits = head(similarities)
    assert logits.shape == (4, own_class.shape[1])
    torch.testing.assert_close(logits, plain_logits(dense_weight(name, head, own_class), similarities))


@pytest.mark.parametrize(("name", "count"), [("linear", 15), ("sparse", 5), ("proto", 0), ("mean", 0)])
def test_parameters(name, count):
    head = HEADS[name](UNEVEN, **STRENGTHS)
    assert sum(weight.numel() for weight in head.parameters()) == count


def test_penalised_weights():
    linear = HEADS["linear"](UNEVEN, **STRENGTHS)
    assert linear.penalised_weights().tolist() == [-0.25] * 10
    assert HEADS["sparse"](UNEVEN, **STRENGTHS).penalised_weights().tolist() == [1] * 5
    assert HEADS["proto"](UNEVEN, **STRENGTHS).penalised_weights().tolist() == []
    one_class = HEADS["linear"](torch.ones(3, 1, dtype=torch.bool), **STRENGTHS)
    assert one_class.penalised_weights().tolist() == []
    agnostic = HEADS["linear"](torch.ones(3, 2, dtype=torch.bool), **STRENGTHS)
    assert agnostic.penalised_weights().shape == (6,)


@pytest.mark.parametrize("name", ["linear", "sparse"])
def test_every_weight_learns(name):
    head = HEADS[name](UNEVEN, **STRENGTHS)
    head(torch.rand(4, 5) + 0.1).square().sum().backward()
    assert head.weight.grad.all()


def test_class_agnostic_linear_head_starts_at_random():
    def weight(seed):
        generator = torch.Generator().manual_seed(seed)
        return HEADS["linear"](torch.ones(16, 9, dtype=torch.bool), **STRENGTHS, generator=generator).weight

    assert torch.equal(weight(0), weight(0))
    assert not torch.equal(weight(0), weight(1))
    assert 0.2 < weight(0).abs().max() <= 0.25


def test_class_agnostic_prototypes_cannot_be_summed():
    with pytest.raises(ConfigError, match="readout-type=proto"):
        HEADS["proto"](torch.ones(4, 2, dtype=torch.bool), **STRENGTHS)


@pytest.mark.parametrize("name", HEADS)
def test_pruning_keeps_the_weights_of_those_kept(name):
    """But for a mean, which is that of those kept."""
    head = HEADS[name](UNEVEN, **STRENGTHS)
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_().requires_grad_(False)
    keep = torch.tensor([3, 0])
    similarities = torch.rand(4, 5)
    weight = dense_weight(name, head, UNEVEN[keep] if name == "mean" else UNEVEN)
    expected = plain_logits(weight if name == "mean" else weight[:, keep], similarities[:, keep])
    head.prune(keep)
    assert torch.equal(head.own_class, UNEVEN[keep])
    torch.testing.assert_close(head(similarities[:, keep]), expected)
    assert not any(weight.requires_grad for weight in head.parameters())


@pytest.mark.parametrize(
    ("name", "takes_over"), [("linear", True), ("sparse", True), ("proto", False), ("mean", False)]
)
def test_an_heir_speaks_for_both(name, takes_over):
    head = HEADS[name](UNEVEN, **STRENGTHS)
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_()
    similarities = torch.rand(4, 5)
    similarities[:, 1] = similarities[:, 0]
    before = head(similarities)
    head.hand_over(0, to=1)
    similarities[:, 0] = 0
    assert torch.allclose(head(similarities), before) == takes_over
