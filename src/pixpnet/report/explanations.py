"""Explanations of image files as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixpnet.errors import CheckpointError
from pixpnet.explanation import Explainer
from pixpnet.report.figures import EvidencePictures, explanation_figure
from pixpnet.training import load

DEFAULT_IMAGES = 6
"""Test images that are explained where none is named: one each of so many classes."""


def explain_images(
    run_dir: str | Path, images: Sequence[str | Path] = (), *, top_k: int = 5, out: str | Path | None = None
) -> list[Path]:
    """Write one PNG per image: the prediction and the ``top_k`` prototypes that speak most for it.

    Args:
        run_dir: A run directory, or one of its checkpoints.
        images: Image files; none: the first test image of each of the first classes.
        top_k: Prototypes shown, by contribution to the predicted class's logit.
        out: Folder of the pictures; none: ``results/explanations`` of the run directory.

    Raises:
        CheckpointError: if there is no such run, or its prototypes are not training patches.
        DataError: if an image, or the training image of a prototype, can't be read.
    """
    run = load(run_dir)
    if not run.sources:
        raise CheckpointError(
            f"{run.checkpoint}: its prototypes are not training patches; it was written between "
            "projections, or the run had none (train.no-push-prototypes)."
        )
    explainer = Explainer(run)
    explanations = (
        [explainer.explain(path) for path in images]
        if images
        else [explainer.explain_test(index) for index in _one_of_each_class(explainer.test_images().labels)]
    )
    folder = Path(out) if out is not None else _default_folder(run.checkpoint)
    written: list[Path] = []
    for explanation in explanations:
        shown = [
            EvidencePictures(one, None if one.source is None else explainer.source_image(one.source))
            for one in explanation.evidence[:top_k]
        ]
        true_class = None if explanation.truth is None else run.class_names[explanation.truth]
        figure = explanation_figure(explanation.image, explanation, shown, true_class=true_class)
        written.append(_free_name(folder, explanation.name, written))
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(written[-1], dpi=110)
    return written


def _default_folder(checkpoint: Path) -> Path:
    """Under the run directory's results, or beside a checkpoint that lies elsewhere."""
    if checkpoint.parent.name == "checkpoints" and len(checkpoint.parents) > 3:
        return checkpoint.parents[3] / "results" / "explanations"
    return checkpoint.parent / "explanations"


def _one_of_each_class(labels: Sequence[int]) -> list[int]:
    first: dict[int, int] = {}
    for index, label in enumerate(labels):
        first.setdefault(label, index)
    return list(first.values())[:DEFAULT_IMAGES]


def _free_name(folder: Path, stem: str, taken: Sequence[Path]) -> Path:
    """A file name that this call has not used yet."""
    path, number = folder / f"{stem}_explanation.png", 0
    while path in taken:
        number += 1
        path = folder / f"{stem}_explanation_{number}.png"
    return path
