"""docs/explanation/metrics.md restated plainly and slowly: Python's own numbers, nested lists and loops."""

from __future__ import annotations

import math

import numpy as np


def in_region(center, point, half, size):
    """Whether a point is in [c - half, c + half) in x and y, and in the image of (height, width)."""
    return all(
        max(0, c - half) <= x < min(limit, c + half)
        for c, x, limit in zip(center, point, size[::-1], strict=True)
    )


def met_parts(centers, points, visible, half, size):
    """For image x and prototype p, the set of visible parts in the region."""
    return [
        [
            {k for k, seen in enumerate(visible[x]) if seen and in_region(center, points[x][k], half, size)}
            for center in centers[x]
        ]
        for x in range(len(points))
    ]


def merged(parts, groups):
    return {g for g, group in enumerate(groups) if parts & set(group)}


def consistency(met, shown, own, threshold=0.8):
    """(hard, soft, left out) from sets of parts: met[x][p], shown[x]; own[x][p]."""
    best, left_out = [], 0
    for p in range(len(own[0])):
        images = [x for x in range(len(own)) if own[x][p]]
        parts = {k for x in images for k in shown[x]}
        if not parts:
            left_out += 1
            continue
        presence = [
            sum(k in met[x][p] for x in images) / sum(k in shown[x] for x in images) for k in sorted(parts)
        ]
        best.append(max(presence))
    hard = 100 * sum(a >= threshold for a in best) / len(best)
    return hard, 100 * sum(best) / len(best), left_out


def stability(before, after, shown, own, skip_hidden):
    """(hard, soft, left out) from sets of parts."""
    hard, soft, left_out = [], [], 0
    for p in range(len(own[0])):
        images = [x for x in range(len(own)) if own[x][p]]
        if not any(shown[x] for x in images):
            left_out += 1
            continue
        if skip_hidden:
            images = [x for x in images if shown[x]]
        pairs = [(before[x][p], after[x][p]) for x in images]
        hard.append(sum(a == b for a, b in pairs) / len(pairs))
        soft.append(sum(len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs) / len(pairs))
    return 100 * sum(hard) / len(hard), 100 * sum(soft) / len(soft), left_out


def relevance_curve(similarity, image, relevance, start):
    """Similarity after each single pixel: [0 .. H·W]."""
    height, width = relevance.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    places.sort(key=lambda place: -relevance[place])  # stable: the lower flat index first
    current = start.copy()
    curve = [similarity(current)]
    for i, j in places:
        current[:, i, j] = image[:, i, j]
        curve.append(similarity(current))
    return curve


def area_and_share(curve, shares):
    """Of one prototype's mean curve; None if it ends no higher than it starts."""
    low, high = curve[0], curve[-1]
    if high <= low:
        return None
    area = sum(
        ((curve[i] - low) + (curve[i + 1] - low)) / (high - low) / 2 * (shares[i + 1] - shares[i])
        for i in range(len(curve) - 1)
    )
    return area, next(share for s, share in zip(curve, shares, strict=True) if s >= high)


def bootstrap_interval(values, resamples, seed):
    """Percentile interval by resampling one at a time, with another source of noise."""
    generator = np.random.default_rng(seed)
    means = [generator.choice(values, size=len(values)).mean() for _ in range(resamples)]
    return tuple(np.quantile(means, [0.025, 0.975]))


def deciding(contributions, share):
    """Fewest prototypes, largest contributions first, that make this share of a positive logit, else None."""
    logit = math.fsum(contributions)
    if logit <= 0:
        return None
    for number in range(1, len(contributions) + 1):
        if math.fsum(sorted(contributions, reverse=True)[:number]) >= share * logit:
            return number
    raise AssertionError("all contributions make the logit")
