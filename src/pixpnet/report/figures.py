"""Figures as matplotlib objects: nothing here touches files or global state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixpnet.explanation import Evidence, Explanation
from pixpnet.types import Box

# Okabe and Ito's palette, which colour-blind readers can tell apart.
IMAGE_COLOUR = "#E69F00"
SOURCE_COLOUR = "#56B4E9"

TITLES = ("this image", "this patch", "looks like", "of this training image")


@dataclass(frozen=True)
class EvidencePictures:
    """One piece of evidence and the picture that its prototype comes from."""

    evidence: Evidence
    source_image: UInt8[np.ndarray, "H W 3"] | None


def crop(image: UInt8[np.ndarray, "H W 3"], box: Box) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a box."""
    left, top, right, bottom = (round(side) for side in box)
    return image[top:bottom, left:right]


def _show(axes: Axes, image: np.ndarray, *, title: str = "") -> None:
    axes.imshow(image, interpolation="nearest", extent=(0, image.shape[1], image.shape[0], 0))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)


def _frame(axes: Axes, box: Box, colour: str) -> None:
    for width, edge in ((4.5, "black"), (2.5, colour)):
        axes.add_patch(
            Rectangle(
                (box.left, box.top),
                box.right - box.left,
                box.bottom - box.top,
                fill=False,
                edgecolor=edge,
                linewidth=width,
            )
        )


def _border(axes: Axes, colour: str) -> None:
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(colour)
        spine.set_linewidth(2.5)


def explanation_figure(
    image: UInt8[np.ndarray, "H W 3"],
    explanation: Explanation,
    pictures: list[EvidencePictures],
    *,
    true_class: str | None = None,
) -> Figure:
    """One row a prototype: this image, its patch, the prototype, the training image that it comes from."""
    rows = max(1, len(pictures))
    figure = Figure(figsize=(9.2, 0.9 + 2.0 * rows), layout="constrained")
    grid = figure.subplots(rows, 5, squeeze=False, gridspec_kw={"width_ratios": [1.0, 0.8, 0.8, 1.0, 0.75]})
    truth = "" if true_class is None else f"   (it is: {true_class})"
    figure.suptitle(f"{explanation.class_name}, {100 * explanation.probability:.1f} %{truth}", fontsize=12)
    for number, (axes, picture) in enumerate(zip(grid, pictures, strict=False)):
        titles = TITLES if number == 0 else ("",) * len(TITLES)
        evidence = picture.evidence
        _show(axes[0], image, title=titles[0])
        _frame(axes[0], evidence.box, IMAGE_COLOUR)
        _show(axes[1], crop(image, evidence.box), title=titles[1])
        _border(axes[1], IMAGE_COLOUR)
        if picture.source_image is not None and evidence.source is not None:
            _show(axes[2], crop(picture.source_image, evidence.source.box), title=titles[2])
            _border(axes[2], SOURCE_COLOUR)
            _show(axes[3], picture.source_image, title=titles[3])
            _frame(axes[3], evidence.source.box, SOURCE_COLOUR)
        else:
            axes[2].axis("off")
            axes[3].axis("off")
        _describe(axes[4], evidence)
    return figure


def _describe(axes: Axes, evidence: Evidence) -> None:
    axes.axis("off")
    name = evidence.source.class_name if evidence.source else ""
    text = (
        f"prototype {evidence.prototype}\n{name}\n\nsimilarity {evidence.similarity:.2f}\n"
        f"× weight {evidence.weight:.2f}\n= {evidence.contribution:+.2f}"
    )
    axes.text(0, 0.5, text, fontsize=9, va="center", ha="left", transform=axes.transAxes)
