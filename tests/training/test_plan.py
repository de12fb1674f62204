"""The plan of a run, held against METRICS-style restatements written out by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixpnet.config import OptimizerConfig, TrainConfig
from pixpnet.errors import ConfigError
from pixpnet.training import plan_epochs


def plans(*, warmup=0, scheduler="cosine", lr_schedule=(100, 150), lr_factor=0.1, **train):
    optimizer = OptimizerConfig(
        warmup_period=warmup, lr_scheduler=scheduler, lr_schedule=lr_schedule, lr_factor=lr_factor
    )
    return plan_epochs(replace(TrainConfig(), **train), optimizer)


def test_stages_follow_each_other():
    stages = [plan.stage for plan in plans(warmup=2, epochs=6, backbone_epochs=1)]
    assert stages == ["backbone", "warm-up", "warm-up", "joint", "joint", "joint"]


def test_cosine_has_one_period_for_each_part():
    factors = [plan.factor for plan in plans(epochs=6, backbone_epochs=2)]
    assert factors[:2] == pytest.approx([1.0, 0.5])
    assert factors[2:] == pytest.approx([1.0, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 - 0.5**0.5)])


def test_warm_up_multiplies_the_schedule():
    factors = [plan.factor for plan in plans(warmup=5, epochs=4)]
    cosine = [0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    assert factors == pytest.approx([c * (1 - math.exp(-(t + 1) / 5)) for t, c in enumerate(cosine)])


def test_step_and_multistep():
    assert [p.factor for p in plans(epochs=5, scheduler="step", lr_schedule=(2, 9))] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )
    factors = [p.factor for p in plans(epochs=5, scheduler="multistep", lr_schedule=(1, 3), lr_factor=0.5)]
    assert factors == [1, 0.5, 0.5, 0.25, 0.25]


def test_projection_after_the_first_prototype_epoch_each_period_and_the_last():
    epochs = [p.epoch for p in plans(epochs=11, backbone_epochs=2, push_every=4) if p.project]
    assert epochs == [3, 4, 8, 11]
    assert not any(p.project for p in plans(epochs=3, push_prototypes=False))


def test_the_last_quarter_of_the_joint_epochs_is_averaged():
    common = {"epochs": 16, "backbone_epochs": 2, "warmup": 2, "push_every": 5}
    averaged = plans(**common, stochastic_weight_averaging=True)
    assert [p.epoch for p in averaged if p.average] == [14, 15, 16]  # of 12 joint epochs
    assert [p.epoch for p in averaged if p.project] == [3, 5, 10, 16]
    plain = plans(**common)
    assert [p.factor for p in averaged[:14]] == [p.factor for p in plain[:14]]
    assert [p.factor for p in averaged[14:]] == [averaged[13].factor] * 2
    assert not any(p.average for p in plain)
    assert [p.epoch for p in plain if p.project] == [3, 5, 10, 15, 16]


def test_two_epochs_at_least_are_averaged():
    short = {"epochs": 4, "backbone_epochs": 1, "stochastic_weight_averaging": True}
    assert [p.epoch for p in plans(**short, warmup=1) if p.average] == [3, 4]
    assert [p.epoch for p in plans(**short, warmup=1) if p.project] == [2, 4]
    for warmup, left in ((2, 1), (3, 0), (9, 0)):
        with pytest.raises(ConfigError, match=f"needs two joint epochs or more.*leave {left}"):
            plans(**short, warmup=warmup)


def test_validation_defaults_to_fifty_times_a_run():
    assert sum(p.validate for p in plans(epochs=100)) == 50
    assert [p.epoch for p in plans(epochs=5, val_every_n_epoch=2) if p.validate] == [2, 4, 5]


def test_a_backbone_stage_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"train\.backbone-epochs=3"):
        plans(epochs=3, backbone_epochs=3)


@given(
    epochs=st.integers(1, 60),
    backbone=st.integers(0, 59),
    warmup=st.integers(0, 70),
    every=st.integers(1, 20),
)
def test_every_plan_ends_projected_and_validated(epochs, backbone, warmup, every):
    if backbone >= epochs:
        return
    made = plans(epochs=epochs, backbone_epochs=backbone, warmup=warmup, push_every=every)
    assert [plan.epoch for plan in made] == list(range(1, epochs + 1))
    assert made[-1].project
    assert made[-1].validate
    assert all(0 <= plan.factor <= 1 for plan in made)
    assert sum(plan.stage == "warm-up" for plan in made) == min(warmup, epochs - backbone)
