import math

import pytest
import torch

from pixpnet.prototypes import SIMILARITIES, LogSimilarity

EPSILON = 1e-6


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_fall(name, distance):
    similarity = SIMILARITIES[name](distance, EPSILON)
    distances = torch.tensor([0, 1e-7, 1e-3, 0.5, 1.0, 2.0])
    assert (similarity(distances).diff() < 0).all()


@pytest.mark.parametrize("epsilon", [1e-6, 1e-4])
def test_log_by_its_definition(epsilon):
    distances = torch.logspace(-9, 6, 200)
    plain = ((distances.double() + 1 + epsilon) / (distances.double() + epsilon)).log()
    torch.testing.assert_close(LogSimilarity(epsilon)(distances).double(), plain, rtol=1e-6, atol=0)
    zero = LogSimilarity(epsilon)(torch.zeros(1)).item()
    assert zero == pytest.approx(math.log(1 / epsilon + 1), rel=1e-6)


def test_linear():
    distances = torch.tensor([0.0, 0.25])
    assert SIMILARITIES["linear"]("cosine", EPSILON)(distances).tolist() == [1, 0.75]
    assert SIMILARITIES["linear"]("l2", EPSILON)(distances).tolist() == [0, -0.25]
