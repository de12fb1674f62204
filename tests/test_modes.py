"""Eval mode for a while, around a network of which a part is frozen."""

from contextlib import nullcontext

import pytest
from torch import nn

from pixpnet.modes import evaluating, keeping_modes


@pytest.fixture
def network():
    """In training, but for its first part."""
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Dropout())
    network[0].eval()
    return network


def modes(network):
    return [part.training for part in network.modules()]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_frozen_part_stays_frozen_and_the_rest_in_training(network, error):
    before = modes(network)
    assert before == [True, False, False, True]
    with pytest.raises(error) if error else nullcontext(), evaluating(network):
        assert not any(modes(network))
        if error:
            raise error
    assert modes(network) == before


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_modes_that_were_changed_inside_come_back(network, error):
    before = modes(network)
    with pytest.raises(error) if error else nullcontext(), keeping_modes(network):
        network.train()
        if error:
            raise error
    assert modes(network) == before
