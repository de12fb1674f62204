"""The receptive-field map of docs/explanation/pixel_space_maps.md, pixel by pixel and in float64."""

from __future__ import annotations

import math

import numpy as np

from pixpnet.receptive_fields import ReceptiveField


def gaussian(y: float, x: float, *, center: tuple[float, float], sigma: tuple[float, float]) -> float:
    """Bell curve around a centre, at a point; not scaled."""
    return math.exp(-0.5 * (((y - center[0]) / sigma[0]) ** 2 + ((x - center[1]) / sigma[1]) ** 2))


def paintings(
    similarities: np.ndarray, field: ReceptiveField, sigma_factor: float
) -> dict[tuple[int, int], list[float]]:
    """For each pixel, what the cells that cover it paint there."""
    height, width = field.image_size
    full = [
        max(stop - start for start, stop in unclipped.tolist())
        for unclipped in (field.unclipped_rows, field.unclipped_columns)
    ]
    sigma = (sigma_factor * full[0], sigma_factor * full[1])
    painted: dict[tuple[int, int], list[float]] = {(y, x): [] for y in range(height) for x in range(width)}
    for i, j in np.ndindex(*field.grid_size):
        left, top, right, bottom = (int(side) for side in field.box(i, j))
        if left == right or top == bottom:
            continue
        center = sum(field.unclipped_rows[i].tolist()) / 2, sum(field.unclipped_columns[j].tolist()) / 2
        around = [
            gaussian(
                math.floor(center[0]) + dy + 0.5, math.floor(center[1]) + dx + 0.5, center=center, sigma=sigma
            )
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        for y in range(top, bottom):
            for x in range(left, right):
                weight = gaussian(y + 0.5, x + 0.5, center=center, sigma=sigma) / max(around)
                painted[y, x].append(float(similarities[i, j]) * weight)
    return painted


def painted_map(
    similarities: np.ndarray, field: ReceptiveField, *, reduction: str, sigma_factor: float
) -> np.ndarray:
    """The map of one prototype."""
    joined = np.zeros(field.image_size)
    for pixel, values in paintings(similarities, field, sigma_factor).items():
        if values:
            total = {"max": max(values), "sum": sum(values), "mean": sum(values) / len(values)}
            joined[pixel] = total[reduction]
    return joined
