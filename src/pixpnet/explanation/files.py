"""Explanations of image files, written as pictures, vector graphics or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, DataError
from pixpnet.explanation.atlas import atlas_to_dict, draw_atlas
from pixpnet.explanation.class_names import find_class
from pixpnet.explanation.drawing import RANKINGS
from pixpnet.explanation.explainer import Explainer
from pixpnet.explanation.explanation import Explanation
from pixpnet.figures import FIGURE_FORMATS, save_figure
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import RunDirectory, load

FORMATS = (*FIGURE_FORMATS, "json")

DEFAULT_IMAGES = 6
"""Test images that are explained where none is named: one each of so many classes."""


def explain_images(
    run_dir: str | Path,
    images: Sequence[str | Path] = (),
    *,
    top_k: int = 5,
    by: str = "contribution",
    method: str = "receptive_field",
    against: int | str | None = None,
    formats: Sequence[str] = ("png",),
    atlas: bool = False,
    out: str | Path | None = None,
    dataset_root: str | Path | None = None,
) -> list[Path]:
    """Write why a run's network decides about images as it does.

    Args:
        run_dir: A run directory, or one of its checkpoints.
        images: Image files; none: the first test image of each of the first classes, or no image with atlas.
        top_k: Prototypes shown in a figure.
        by: They are those of the largest "contribution" or "similarity".
        method: Whose maps and boxes are shown; one of ``pixpnet.pixel_space.MAPPINGS``.
        against: Show why not this class; where it is the predicted one, why not the second most likely.
        formats: Of png, pdf and json.
        atlas: Also draw the atlas of each class, or of the class in ``against``.
        out: Folder of the files; none: ``results/explanations`` of the run directory.
        dataset_root: Where the run's data lies now, if it has moved.

    Raises:
        ConfigError: An unknown order, method, format or class.
        CheckpointError: There is no such run, or its prototypes are not training patches.
        DataError: An image, or the training image of a prototype, can't be read.
    """
    choose(MAPPINGS, method, what="method")
    choose(RANKINGS, by, what="by")
    _check_formats(formats)
    _check_files(images)
    run = load(run_dir, dataset_root=dataset_root)
    run.require_sources()
    explainer = Explainer(run)
    other = None if against is None else find_class(run.class_names, against)
    folder = Path(out) if out is not None else _default_folder(run.checkpoint)
    taken: set[Path] = set()
    written: list[Path] = []
    for explanation in _explanations(explainer, images, atlas=atlas):
        rival = explanation.runner_up if other == explanation.predicted else other
        ending = "explanation" if rival is None else f"why_not_{_safe(run.class_names[rival])}"
        stem = _free(folder / f"{explanation.name}_{ending}", taken)
        written += write_explanation(
            explanation, stem, formats, top_k=top_k, by=by, method=method, against=rival
        )
    if atlas:
        for index in range(len(run.class_names)) if other is None else [other]:
            stem = _free(folder / f"atlas_{_safe(run.class_names[index])}", taken)
            written += _write_atlas(explainer, index, stem, formats, method=method)
    return written


def write_explanation(
    explanation: Explanation,
    stem: Path,
    formats: Sequence[str],
    *,
    top_k: int,
    by: str,
    method: str,
    against: int | str | None,
) -> list[Path]:
    """Write ``<stem>.<format>`` for each format.

    Raises:
        ConfigError: An unknown order, method, format or class.
        DataError: The training image of a prototype can't be read.
    """
    _check_formats(formats)
    figure = None
    if set(formats) != {"json"}:
        figure = explanation.figure(top_k=top_k, by=by, method=method, against=against)
    content = explanation.to_dict()
    if against is not None:
        content["contrast"] = explanation.against(against).to_dict()
    return _write(stem, formats, figure=figure, content=content)


def _write_atlas(
    explainer: Explainer, class_index: int, stem: Path, formats: Sequence[str], *, method: str
) -> list[Path]:
    figure = None if set(formats) == {"json"} else draw_atlas(explainer, class_index, method=method)
    return _write(stem, formats, figure=figure, content=atlas_to_dict(explainer, class_index))


def _write(
    stem: Path, formats: Sequence[str], *, figure: Figure | None, content: dict[str, Any]
) -> list[Path]:
    written = []
    for format_ in formats:
        path = stem.with_name(f"{stem.name}.{format_}")
        if format_ == "json":
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
        elif figure is not None:
            save_figure(figure, path)
        written.append(path)
    return written


def _explanations(
    explainer: Explainer, images: Sequence[str | Path], *, atlas: bool
) -> Iterator[Explanation]:
    """Of the images; of none, without an atlas: of the first test image of each of the first classes."""
    if images or atlas:
        yield from (explainer.explain(path) for path in images)
        return
    first: dict[int, int] = {}
    for index, label in enumerate(explainer.test_images().labels):
        first.setdefault(label, index)
    yield from (explainer.explain_test(index) for index in list(first.values())[:DEFAULT_IMAGES])


def _check_formats(formats: Sequence[str]) -> None:
    for format_ in formats:
        choose(dict.fromkeys(FORMATS), format_, what="format")
    if not formats:
        raise ConfigError(f"no format was chosen; give one or more of {', '.join(FORMATS)}.")


def _check_files(images: Sequence[str | Path]) -> None:
    """Before anything is loaded or written."""
    missing = [path for path in images if not Path(path).exists()]
    if missing:
        raise DataError(f"{missing[0]} is missing; wanted an image.")


def _default_folder(checkpoint: Path) -> Path:
    """Under the run directory's results, or beside a checkpoint that lies elsewhere."""
    run = RunDirectory.of_checkpoint(checkpoint)
    return (checkpoint.parent if run is None else run.results) / "explanations"


def _safe(name: str) -> str:
    """A class name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)


def _free(stem: Path, taken: set[Path]) -> Path:
    """A stem that this call has not used yet."""
    free, number = stem, 0
    while free in taken:
        number += 1
        free = stem.with_name(f"{stem.name}_{number}")
    taken.add(free)
    return free
