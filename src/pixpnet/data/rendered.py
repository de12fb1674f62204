"""SynthBirds, rendered on first use."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.cub import read_cub
from pixpnet.data.readers import holds
from pixpnet.data.spec import DatasetSpec, ImageSet, Progress
from pixpnet.errors import DataError

__all__ = ["open_synthbirds"]


def open_synthbirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """Read the set from a folder of `root` that names what it was rendered with; render it, if need be.

    Raises:
        DataError: `root` itself holds a rendered set, but not the one that the options describe.
    """
    root = Path(config.root)
    wanted = {
        "classes": config.classes,
        "size": spec.image_size(config.size)[0],
        "train_images": config.train_images,
        "test_images": config.test_images,
        "seed": config.seed,
    }
    if holds(root, spec.markers):
        _check(root, wanted)
        return read_cub(root, spec=spec)
    folder = root / spec.folder / "-".join(f"{name.split('_')[0]}{value}" for name, value in wanted.items())
    if not holds(folder, spec.markers):
        _render(folder, wanted, progress)
    return read_cub(folder, spec=spec)


def _check(root: Path, wanted: dict[str, int]) -> None:
    """Hold what a folder was rendered with against what is wanted."""
    path = root / "attributes.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["parameters"]
        different = [name for name, value in wanted.items() if found[name] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not tell what SynthBirds was rendered with: {error!r}.") from error
    if different:
        options = " ".join(f"--dataset.{name.replace('_', '-')} {found[name]}" for name in different)
        raise DataError(
            f"{root} holds another SynthBirds than the options describe; give {options}, or another dataset.root."
        )


def _render(folder: Path, wanted: dict[str, int], progress: Progress | None) -> None:
    """Render beside the folder and rename, so that it is whole or not there, whoever else renders it too."""
    from pixpnet.data.synthbirds import render_dataset

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"SynthBirds cannot be rendered into {folder.parent}: {error}.") from error
    try:
        render_dataset(
            part,
            classes=wanted["classes"],
            size=wanted["size"],
            train_images=wanted["train_images"],
            test_images=wanted["test_images"],
            seed=wanted["seed"],
            progress=progress,
        )
        part.chmod(0o755)  # mkdtemp lets nobody else in
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was first, with the same pixels
                raise
    except OSError as error:
        raise DataError(f"SynthBirds cannot be rendered into {folder}: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
