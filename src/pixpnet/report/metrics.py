"""The interpretability metrics of a run, if it was evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixpnet.report.overview import read_yaml

__all__ = ["read_metrics"]


def read_metrics(path: Path) -> tuple[tuple[str, str], ...]:
    """Names and values of results/interpretability.yaml, nested names joined; nothing without that file.

    Raises:
        CheckpointError: It can't be read.
    """
    return tuple(_flat(read_yaml(path), ""))


def _flat(values: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{name} · {key}" if name else str(key))
    elif isinstance(values, float):
        yield name, f"{values:.4g}"
    elif isinstance(values, list):
        yield name, " – ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in values)
    else:
        yield name, str(values)
