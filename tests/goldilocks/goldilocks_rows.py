"""Rows of Goldilocks results for tests."""

from __future__ import annotations

from pixpnet.goldilocks import Row


def row(model: str, stage: str, accuracy: float, mean_rf: float, **changes) -> Row:
    """A row whose other fields are plausible."""
    values = {
        "model": model,
        "stage_number": 1,
        "stage": stage,
        "dataset": "SYNTHBIRDS",
        "height": 64,
        "width": 64,
        "test_accuracy": accuracy,
        "test_accuracy_top5": min(1.0, accuracy + 0.05),
        "mean_rf": mean_rf,
        "max_rf": min(100.0, 1.5 * mean_rf),
        "parameters": 1000,
        "macs": 10**6,
        "mode": "probe",
        "readout": "average",
        "weights": "trained",
        "seed": 0,
        "seconds": 1.0,
        "version": "0.1.0",
    }
    return Row(**{**values, **changes})
