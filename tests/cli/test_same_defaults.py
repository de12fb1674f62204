"""Defaults that commands repeat, so that their help needs no torch, are those of the functions."""

from __future__ import annotations

import inspect
from dataclasses import fields

from pixpnet.cli import evaluate as evaluating
from pixpnet.cli import goldilocks as experiment
from pixpnet.evaluation import Settings
from pixpnet.goldilocks import explore


def test_of_evaluate() -> None:
    options = vars(evaluating._parser().parse_args(["run"]))
    defaults = {field.name: field.default for field in fields(Settings)}
    shared = options.keys() & defaults.keys()
    assert {"seed", "protocol", "samples", "steps"} <= shared
    assert {name: options[name] for name in shared} == {name: defaults[name] for name in shared}


def test_of_goldilocks() -> None:
    options = vars(experiment._parser().parse_args(["--models", "resnet18"]))
    options["epochs"] = options["epochs"] or experiment.DEFAULT_EPOCHS
    defaults = {name: one.default for name, one in inspect.signature(explore).parameters.items()}
    for name in ("mode", "epochs", "max_rf", "jobs", "cluster"):
        assert options[name] == defaults[name], name
