"""SynthBirds, rendered on first use."""

from __future__ import annotations

import json
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.cub import read_cub
from pixpnet.data.readers import holds
from pixpnet.data.spec import DatasetSpec, ImageSet, Progress
from pixpnet.data.synthbirds import GENERATOR_VERSION, is_rendered, render_dataset
from pixpnet.errors import DataError

__all__ = ["open_synthbirds"]


def open_synthbirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """Read the set from a folder of `root` that names what it was rendered with; render it, if need be.

    Raises:
        ConfigError: A parameter out of range.
        DataError: `root` itself holds a rendered set, but not the one that the options describe.
    """
    root = Path(config.root)
    size, _ = spec.image_size(config.size)
    if holds(root, spec.markers):
        _check(root, config, size)
        return read_cub(root, spec=spec)
    folder = (
        root
        / spec.folder
        / (
            f"classes{config.classes}-size{size}-train{config.train_images}-test{config.test_images}"
            f"-seed{config.seed}-v{GENERATOR_VERSION}"
        )
    )
    _render(folder, config, size, progress)
    return read_cub(folder, spec=spec)


def _check(root: Path, config: DatasetConfig, size: int) -> None:
    """Hold what a folder was rendered with against what is wanted."""
    path = root / "attributes.json"
    wanted = {
        "classes": config.classes,
        "size": size,
        "train_images": config.train_images,
        "test_images": config.test_images,
        "seed": config.seed,
    }
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["parameters"]
        different = [name for name, value in wanted.items() if found[name] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not tell what SynthBirds was rendered with: {error!r}.") from error
    if different:
        options = " ".join(f"--dataset.{name.replace('_', '-')} {found[name]}" for name in different)
        raise DataError(
            f"{root} holds another SynthBirds than the options describe; "
            f"give {options}, or another dataset.root."
        )


def _render(folder: Path, config: DatasetConfig, size: int, progress: Progress | None) -> None:
    """Render the folder, unless it is there; another run may do the same at the same time."""
    try:
        render_dataset(
            folder,
            classes=config.classes,
            size=size,
            train_images=config.train_images,
            test_images=config.test_images,
            seed=config.seed,
            progress=progress,
        )
    except DataError:
        another_run_was_first = is_rendered(
            folder,
            classes=config.classes,
            size=size,
            train_images=config.train_images,
            test_images=config.test_images,
            seed=config.seed,
        )
        if not another_run_was_first:
            raise
