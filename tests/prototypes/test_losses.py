import pytest
import torch

from pixpnet.prototypes import average_separation_loss, cluster_loss, l1_loss, separation_loss

DISTANCES = torch.tensor([[3.0, 1.0, 5.0, 7.0], [2.0, 4.0, 6.0, 0.5]])
OWN = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
TERMS = [cluster_loss, separation_loss, average_separation_loss]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (cluster_loss, (1 + 6) / 2),
        (separation_loss, -(5 + 0.5) / 2),
        (average_separation_loss, -(6 + 6.5 / 3) / 2),
    ],
)
def test_by_hand(term, expected):
    assert term(DISTANCES, OWN).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("term", "expected"),
    [(cluster_loss, 6.0), (separation_loss, -0.5), (average_separation_loss, -6.5 / 3)],
)
def test_images_without_such_a_prototype_are_left_out(term, expected):
    own = OWN.clone()
    own[0] = term is not cluster_loss
    distances = DISTANCES.clone().requires_grad_()
    loss = term(distances, own)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert distances.grad is not None
    assert not distances.grad[0].any()
    assert distances.grad[1].any()
    assert distances.grad.isfinite().all()


@pytest.mark.parametrize("term", TERMS)
def test_none_at_all_is_zero(term):
    distances = DISTANCES.clone().requires_grad_()
    loss = term(distances, torch.full((2, 4), term is not cluster_loss))
    assert loss.item() == 0
    loss.backward()
    assert distances.grad is not None
    assert (distances.grad == 0).all()


def test_l1():
    assert l1_loss(torch.tensor([1.0, -2.0])).item() == 3
    assert l1_loss(torch.zeros(0)).item() == 0
