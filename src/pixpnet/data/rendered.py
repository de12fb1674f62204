"""SynthBirds, rendered on first use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.cub import read_cub
from pixpnet.data.readers import holds
from pixpnet.data.spec import DatasetSpec, ImageSet, Progress
from pixpnet.errors import DataError
from pixpnet.synthbirds import GENERATOR_VERSION, render_dataset

__all__ = ["open_synthbirds"]


def open_synthbirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """Read the set from a folder of `root` that names what it was rendered with; render it, if need be.

    Raises:
        ConfigError: A parameter out of range.
        DataError: `root` itself holds a rendered set, but not the one that the options describe.
    """
    root = Path(config.root)
    size, _ = spec.image_size(config.size)
    wanted = _parameters(config, size)
    if holds(root, spec.markers):
        _check(root, wanted)
        return read_cub(root, spec=spec)
    name = "-".join(f"{option.removesuffix('_images')}{value}" for option, value in wanted.items())
    folder = render_dataset(root / spec.folder / f"{name}-v{GENERATOR_VERSION}", **wanted, progress=progress)
    return read_cub(folder, spec=spec)


def _check(root: Path, wanted: Mapping[str, int]) -> None:
    """Hold what a folder was rendered with against what is wanted."""
    path = root / "attributes.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["parameters"]
        different = [name for name, value in wanted.items() if found[name] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not tell what SynthBirds was rendered with: {error!r}.") from error
    if different:
        values = ", ".join(f"{name.replace('_', '-')} {found[name]}" for name in different)
        raise DataError(
            f"{root} holds another SynthBirds than the options describe: it has {values}. Ask for these, or "
            "for another root."
        )


def _parameters(config: DatasetConfig, size: int) -> dict[str, int]:
    """What the pixels depend on."""
    return {
        "classes": config.classes,
        "size": size,
        "train_images": config.train_images,
        "test_images": config.test_images,
        "seed": config.seed,
    }
