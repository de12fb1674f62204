"""Propagated receptive fields against where NaN really arrives."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from random_networks import small_networks
from torch import nn

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields import ReceptiveField, probe_receptive_field, receptive_field

SETTINGS = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def assert_equal(ours: ReceptiveField, probed: ReceptiveField) -> None:
    np.testing.assert_array_equal(ours.boxes, probed.boxes)
    np.testing.assert_array_equal(ours.rows, probed.rows)
    np.testing.assert_array_equal(ours.columns, probed.columns)


@SETTINGS
@given(small_networks())
def test_random_networks_see_what_the_probe_finds(case: tuple[nn.Module, tuple[int, int]]):
    network, size = case
    try:
        ours = receptive_field(network, size)
    except UnsupportedOperationError as error:
        # A pixel shuffle of channels that see different things, or an error of torch's antialiasing.
        assert "interleaves" in str(error) or "antialiasing" in str(error)
        return
    assert_equal(ours, probe_receptive_field(network, size))
