"""What the help reads off the source is what Python has, and every command's options are there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module

import pytest

from pixpnet.config import OPTIONS, keys, parameters

TABLES = [
    *dict.fromkeys(option.rule.table for option in OPTIONS.values() if hasattr(option.rule, "table")),
    "pixpnet.evaluation:METRICS",
    "pixpnet.metrics:PROTOCOLS",
    "pixpnet.pixel_space:MAPPINGS",
]

SIGNATURES = [
    "pixpnet.certificate:verify",
    "pixpnet.evaluation:Settings",
    "pixpnet.evaluation:evaluate",
    "pixpnet.explanation:explain_images",
    "pixpnet.goldilocks:explore",
    "pixpnet.report:write_report",
]


def load(where: str) -> Callable:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("where", TABLES)
def test_tables(where: str) -> None:
    assert keys(where) == tuple(load(where))


@pytest.mark.parametrize("where", SIGNATURES)
def test_signatures(where: str) -> None:
    found = parameters(where)
    assert list(found) == list(inspect.signature(load(where)).parameters)
    for name, real in inspect.signature(load(where)).parameters.items():
        try:
            default = found[name].default
        except ValueError:  # written as a name, which no command reads
            continue
        assert default == (None if real.default is inspect.Parameter.empty else real.default), name
