"""Explanations of image files, and atlases of classes, as pictures, vector graphics or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from matplotlib.figure import Figure

from pixpnet.choices import choose
from pixpnet.data import find_pictures
from pixpnet.explanation.evidence import find_class, source_to_dict
from pixpnet.explanation.explanation import GROUNDS, RANKINGS, Explanation, check_formats, write_formats
from pixpnet.explanation.image import explain, explain_test
from pixpnet.figures import AtlasEntry, Picture, atlas_figure, png_bytes
from pixpnet.files import file_part
from pixpnet.pixel_space import MAPPINGS
from pixpnet.prototypes import is_class_specific
from pixpnet.runs import Run, RunDirectory, load, writing_to
from pixpnet.types import PrototypeSource
from pixpnet.words import decimal, visible

DEFAULT_IMAGES = 6
"""Test images that are explained where none is named: one each of so many classes."""

_MOST_SHOWN = 60
"""Prototypes that show themselves in a notebook without being asked to."""


def explain_images(
    run_dir: Run | str | Path,
    images: Sequence[str | Path] = (),
    *,
    top_k: int = 5,
    by: str = "contribution",
    method: str = "receptive_field",
    against: int | str | None = None,
    formats: Sequence[str] = ("png",),
    on: str = "input",
    dpi: int | None = None,
    atlas: bool = False,
    out: str | Path | None = None,
    dataset_root: str | Path | None = None,
) -> list[Path]:
    """Write why a run's network decides about images as it does.

    Args:
        run_dir: A run directory, one of its checkpoints, or what was loaded of it.
        images: Files, folders with all below them, and patterns (`pixpnet.data.find_pictures`); if empty, the
            first test image of each of the first classes (with atlas, none).
        top_k: Prototypes shown in a figure.
        by: They are those of the largest "contribution" or "similarity".
        method: Whose maps and boxes are shown; one of ``pixpnet.pixel_space.MAPPINGS``.
        against: Show why not this class; where it is the predicted one, why not the second most likely.
        formats: Of png, pdf and json.
        on: Draw the images' boxes and maps on the network's "input" or on the "original" picture.
        dpi: Dots an inch of figures' pixels; None: 110.
        atlas: Also draw the atlas of each class, or of the class in ``against``.
        out: Folder of the files; None: ``results/explanations`` of the run directory.
        dataset_root: Where the run's data lies now, if it has moved.

    Raises:
        ConfigError: An unknown order, method, format or class.
        CheckpointError: There is no such run, or its prototypes are not training patches.
        DataError: An image, or the training image of a prototype, can't be read.
        FileError: Another process writes there, or nobody can.
    """
    choose(MAPPINGS, method, what="method")
    choose(RANKINGS, by, what="by")
    choose(dict.fromkeys(GROUNDS), on, what="on")
    check_formats(formats, dpi)
    images = find_pictures(images)
    run = run_dir if isinstance(run_dir, Run) else load(run_dir, dataset_root=dataset_root)
    run.require_sources()
    other = None if against is None else find_class(run.class_names, against)
    folder = Path(out) if out is not None else _default_folder(run.checkpoint)
    taken: set[Path] = set()
    written: list[Path] = []
    with writing_to(folder):
        for explanation in _explanations(run, images, atlas=atlas):
            rival = explanation.runner_up if other == explanation.predicted else other
            ending = "explanation" if rival is None else f"why_not_{_safe(run.class_names[rival])}"
            stem = _free(folder / f"{file_part(explanation.name)}_{ending}", taken)
            written += explanation.write(
                stem, formats, top_k=top_k, by=by, method=method, against=rival, on=on, dpi=dpi
            )
        if atlas:
            for index in range(len(run.class_names)) if other is None else [other]:
                stem = _free(folder / f"atlas_{_safe(run.class_names[index])}", taken)
                written += _write_atlas(run, index, stem, formats, method=method, dpi=dpi)
    return written


def prototypes_of_class(run: Run, class_index: int) -> list[int]:
    """A class's prototypes, largest weight first; where they belong to every class, those from its images."""
    weights = run.network.class_weights()[:, class_index].tolist()
    if is_class_specific(run.network.own_class):
        members = run.network.own_class[:, class_index].nonzero().flatten().tolist()
    else:
        members = [source.prototype for source in run.sources if source.label == class_index]
    return sorted(members, key=lambda prototype: (-weights[prototype], prototype))


def draw_atlas(run: Run, class_index: int | None, *, method: str = "receptive_field") -> Figure:
    """Every prototype of a class in its training image, with the box that the method shows, and its patch.

    Args:
        run: With the training patches of its prototypes.
        class_index: The class; None: the prototypes of all of them.
        method: Whose boxes are shown; one of ``pixpnet.pixel_space.MAPPINGS``.

    Raises:
        ConfigError: There is no such method.
        DataError: A training image is gone or has changed.
    """
    mapping = choose(MAPPINGS, method, what="method")
    weights = None if class_index is None else run.network.class_weights()[:, class_index].tolist()
    name = "All classes" if class_index is None else run.class_names[class_index]
    entries = []
    for source in Atlas(run, class_index):
        box = mapping.region(run.receptive_field(), *source.cell)
        weight = "" if weights is None else f", weight {decimal(weights[source.prototype])}"
        origin = "" if source.label == class_index else f", from {source.class_name}"
        caption = f"prototype {source.number}{weight}{origin}"
        entries.append(AtlasEntry(Picture(run.source_image(source), box), caption))
    count = f"{len(entries)} prototype{'' if len(entries) == 1 else 's'}"
    return atlas_figure(entries, title=f"{name}: {count}", note=mapping.note)


@dataclass(frozen=True, repr=False)
class Atlas(Sequence[PrototypeSource]):
    """The training patches of a class's prototypes, largest weight first; a notebook shows their figure."""

    run: Run
    class_index: int | None
    """None: of all classes, in their order."""

    @cached_property
    def _sources(self) -> tuple[PrototypeSource, ...]:
        if self.class_index is None:
            return self.run.sources
        return tuple(self.run.sources[number] for number in prototypes_of_class(self.run, self.class_index))

    @overload
    def __getitem__(self, index: int) -> PrototypeSource: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PrototypeSource]: ...
    def __getitem__(self, index: int | slice) -> PrototypeSource | Sequence[PrototypeSource]:
        return self._sources[index]

    def __len__(self) -> int:
        return len(self._sources)

    def __repr__(self) -> str:
        lines = [
            f"prototype {one.number} of {one.class_name}: {one.path} {tuple(one.box)}"
            for one in self._sources[:_MOST_SHOWN]
        ]
        more = len(self) - len(lines)
        return "\n".join(map(visible, [*lines, *([f"and {more} more"] if more else [])]))

    def figure(self, *, method: str = "receptive_field") -> Figure:
        """As `draw_atlas`."""
        return draw_atlas(self.run, self.class_index, method=method)

    def _repr_png_(self) -> bytes | None:
        """Of very many, nothing: a notebook then lists the first ones."""
        return png_bytes(self.figure()) if len(self) <= _MOST_SHOWN else None


def atlas_to_dict(run: Run, class_index: int) -> dict[str, Any]:
    """What the atlas shows, as plain values."""
    weights = run.network.class_weights()[:, class_index].tolist()
    return {
        "class_index": class_index,
        "class_name": run.class_names[class_index],
        "prototypes": [
            {"weight": weights[prototype], **source_to_dict(run.sources[prototype])}
            for prototype in prototypes_of_class(run, class_index)
        ],
    }


def _write_atlas(
    run: Run, class_index: int, stem: Path, formats: Sequence[str], *, method: str, dpi: int | None
) -> list[Path]:
    figure = None if set(formats) == {"json"} else draw_atlas(run, class_index, method=method)
    return write_formats(stem, formats, figure=figure, content=atlas_to_dict(run, class_index), dpi=dpi)


def _explanations(run: Run, images: Sequence[str | Path], *, atlas: bool) -> Iterator[Explanation]:
    """Of the images; of none, without an atlas: of the first test image of each of the first classes."""
    if images or atlas:
        yield from (explain(run, path) for path in images)
        return
    first: dict[int, int] = {}
    for index, label in enumerate(run.test_images.labels):
        first.setdefault(label, index)
    yield from (explain_test(run, index) for index in list(first.values())[:DEFAULT_IMAGES])


def _default_folder(checkpoint: Path) -> Path:
    """Under the run directory's results, or beside a checkpoint that lies elsewhere."""
    run = RunDirectory.of_checkpoint(checkpoint)
    return (checkpoint.parent if run is None else run.results) / "explanations"


def _safe(name: str) -> str:
    """A class name as part of a file's name."""
    return file_part(re.sub(r"[^\w.-]+", "_", name))


def _free(stem: Path, taken: set[Path]) -> Path:
    """A stem that this call has not used yet."""
    free, number = stem, 0
    while free in taken:
        number += 1
        free = stem.with_name(f"{stem.name}_{number}")
    taken.add(free)
    return free
