"""A page of the pictures that a network is least certain of, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pixpnet.explanation import explain, predict
from pixpnet.files import real_path, write_text
from pixpnet.report.evidence import Album, Gallery
from pixpnet.report.page import asset, page
from pixpnet.runs import Run, RunDirectory
from pixpnet.words import readable_names


def write_review(run: Run, pictures: Sequence[str], out: str | Path, *, total: int) -> Path:
    """Write pictures with their evidence as one self-contained HTML file, and return its path.

    Args:
        run: The run that has predicted them.
        pictures: Their files, in the order of the page.
        out: The file.
        total: Pictures that these were chosen from.

    Raises:
        DataError: A picture, or a prototype's training image, is gone or has changed.
        FileError: The file can't be written.
    """
    directory = RunDirectory.around(run.checkpoint)
    place = real_path(run.checkpoint.parent if directory is None else directory.path)
    album, names = Album(), readable_names(run.class_names)
    gallery = Gallery(run, album, names)
    examples = [
        replace(
            gallery.explained(explain(run, one.path), key=one.path, name=one.path),
            probability=one.probability,  # calibrated, unlike the explanation's
            second_probability=one.probability - one.margin,
        )
        for one in predict(run, pictures, top_k=0)
        if one.probability is not None and one.margin is not None
    ]
    values = {
        "examples": examples,
        "total": total,
        "run": place.name,
        "image_size": run.image_size,
    }
    write_text(Path(out), page("review.html.j2", script=asset("evidence.js"), album=album, values=values))
    return Path(out)
