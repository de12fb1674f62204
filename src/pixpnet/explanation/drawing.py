"""Explanations as figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from pixpnet.choices import choose
from pixpnet.explanation.evidence import Evidence, Share
from pixpnet.explanation.explanation import Explanation
from pixpnet.figures import (
    ContrastColumn,
    ContrastRow,
    EvidenceRow,
    Picture,
    contrast_figure,
    evidence_figure,
)
from pixpnet.pixel_space import MAPPINGS
from pixpnet.words import decimal, probability

RANKINGS: dict[str, Callable[[Evidence], float]] = {
    "contribution": lambda evidence: evidence.contribution,
    "similarity": lambda evidence: evidence.similarity,
}
"""What the prototypes in a figure are the largest by."""


def draw_evidence(explanation: Explanation, *, top_k: int, by: str, method: str) -> Figure:
    """The prototypes that speak most for the prediction, or are most similar to the image."""
    mapping, rank = choose(MAPPINGS, method, what="method"), choose(RANKINGS, by, what="by")
    shown = sorted(explanation.evidence, key=rank, reverse=True)[:top_k]
    rows = [
        EvidenceRow(
            seen=_seen(explanation, one, method),
            source=_source(explanation, one, method),
            map=explanation.map(one.prototype, method),
            prototype=one.prototype,
            class_name=one.class_name,
            similarity=one.similarity,
            weight=one.weight,
        )
        for one in shown
    ]
    total, part = explanation.logit, sum(one.contribution for one in shown)
    count = len(explanation.evidence)
    return evidence_figure(
        rows,
        title=_title(explanation),
        note=mapping.note,
        map_title=mapping.map_title,
        footer=f"Shown: {len(shown)} of {count} prototypes, by {by}; they add {decimal(part)}, the others "
        f"{decimal(total - part)}; together {decimal(total)}, the logit.",
    )


def draw_contrast(explanation: Explanation, other: int | str, *, top_k: int, by: str, method: str) -> Figure:
    """The prototypes that speak most for the predicted class and not the other, and the other way round."""
    mapping, rank = choose(MAPPINGS, method, what="method"), choose(RANKINGS, by, what="by")
    contrast = explanation.against(other)

    def column(index: int, shares: Sequence[Share]) -> ContrastColumn:
        name = contrast.class_names[index]
        if by == "similarity":
            shares = sorted(shares, key=lambda share: rank(share.evidence), reverse=True)
        words = f"for {name} ({probability(contrast.probabilities[index])})"
        return ContrastColumn(words, [row(share, swapped=index == 1) for share in shares[:top_k]])

    def row(share: Share, *, swapped: bool) -> ContrastRow:
        one, weights = share.evidence, (share.evidence.weight, share.other_weight)
        return ContrastRow(
            seen=_seen(explanation, one, method),
            source=_source(explanation, one, method),
            # A map that says little more than its box would only hide the image.
            map=None if mapping.shows_box else explanation.map(one.prototype, method),
            prototype=one.prototype,
            class_name=one.class_name,
            similarity=one.similarity,
            weights=(weights[1], weights[0]) if swapped else weights,
        )

    gains = sum(share.difference for share in contrast.for_target)
    losses = -sum(share.difference for share in contrast.for_other)
    return contrast_figure(
        column(0, contrast.for_target),
        column(1, contrast.for_other),
        title=f"Why {contrast.class_names[0]} and not {contrast.class_names[1]}?",
        note=f"{mapping.note} Numbers: similarity × (weight for this class − weight for the other).",
        footer=f"All {len(contrast.for_target)} prototypes on the left: {decimal(gains, sign='+')}; "
        f"all {len(contrast.for_other)} on the right: {decimal(losses, sign='+')}; "
        f"the logits differ by {decimal(contrast.difference)}.",
    )


def _title(explanation: Explanation) -> str:
    guess = f"{explanation.class_name}, {probability(explanation.probability)}"
    if explanation.truth is None:
        return guess
    return f"{guess} (it is: {explanation.class_names[explanation.truth]})"


def _seen(explanation: Explanation, evidence: Evidence, method: str) -> Picture:
    region = MAPPINGS[method].region(explanation.receptive_field, *evidence.cell)
    return Picture(explanation.image, region)


def _source(explanation: Explanation, evidence: Evidence, method: str) -> Picture | None:
    source = evidence.source
    if source is None or explanation.source_image is None:
        return None
    region = MAPPINGS[method].region(explanation.receptive_field, *source.cell)
    return Picture(explanation.source_image(source), region)
