"""``pixpnet rf``: the receptive fields of a backbone's layers, or of the stages of all backbones."""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from pixpnet.cli.console import print_table
from pixpnet.cli.parser import Parser, image_size
from pixpnet.errors import ConfigError, PixPNetError

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.receptive_fields import ReceptiveField

HEADINGS = ("backbone", "stage", "grid", "stride", "mean RF, %", "max RF, %")

PREFACE = """\
# Receptive fields of the backbones

What a feature cell sees at each stage of the Goldilocks experiments, the layers at which `pixpnet goldilocks`
cuts a backbone, for images of {height}×{width} pixels. Mean and max RF are the area of a cell's box, in
percent of the image's: the mean over the cells, and the largest. Backbones that agree in all of this share
their rows. Other backbones, layers and sizes: `pixpnet rf BACKBONE --size SIZE`.

This file is what `pixpnet rf --all {size_option}--markdown` prints.

"""


class StageField(NamedTuple):
    """The receptive field of one stage, in numbers."""

    grid: tuple[int, int]
    """(height, width) in cells."""
    stride: tuple[float | None, float | None]
    """Pixels from one cell to the next, in height and width; None where there is one cell only."""
    mean_percent: float
    """Mean over the cells of their box's area, in percent of the image's."""
    max_percent: float

    @property
    def words(self) -> tuple[str, ...]:
        """As a table shows it."""
        return times(*self.grid), times(*self.stride), f"{self.mean_percent:.2f}", f"{self.max_percent:.2f}"


def rf(arguments: Sequence[str]) -> int:
    """Print a table, or JSON, of every layer that has a feature grid, or of all backbones' stages."""
    parser = Parser("pixpnet rf", "Receptive fields of every named layer of a backbone.")
    backbone_help = "e.g. resnet18, timm/tf_efficientnet_lite0"
    parser.add_argument("backbone", metavar="BACKBONE", nargs="?", help=backbone_help)
    all_help = "the stages of all backbones of the Goldilocks experiments, in place of one backbone's layers"
    parser.add_argument("--all", action="store_true", help=all_help)
    size_help = "of the image: 224, or 160x224 (height x width); default: 224"
    parser.add_argument("--size", type=image_size, default=(224, 224), help=size_help)
    json_help = "as JSON: the interval of pixels of each row and column of cells; with --all, the table"
    parser.add_argument("--json", action="store_true", help=json_help)
    markdown_help = "with --all: the text of docs/receptive_fields.md"
    parser.add_argument("--markdown", action="store_true", help=markdown_help)
    options = parser.parse(arguments)
    _check(options)
    if options.all:
        return _print_all(options.size, json_wanted=options.json, markdown_wanted=options.markdown)
    fields = _fields(options.backbone, options.size)
    if options.json:
        print(json.dumps({name: field.to_dict() for name, field in fields.items() if field}))
    else:
        print_table(_table(fields, backbone=options.backbone, size=options.size))
    return 0


def _check(options: Namespace) -> None:
    if options.all == (options.backbone is not None):
        given = f"{options.backbone} and --all" if options.all else "neither"
        raise ConfigError(f"rf: give a BACKBONE or --all, not {given}")
    if options.markdown and (options.json or not options.all):
        raise ConfigError("rf: --markdown is for --all, without --json")


def _print_all(size: tuple[int, int], *, json_wanted: bool, markdown_wanted: bool) -> int:
    fields = stage_fields(backbones(), size)
    if json_wanted:
        print(as_json(fields))
    elif markdown_wanted:
        print(as_markdown(fields, size))
    else:
        print_table(_table_of_all(fields, size))
    return 0


def _fields(backbone: str, size: tuple[int, int]) -> dict[str, ReceptiveField | None]:
    """The receptive field of each layer that has a name, in order; None where a layer has no grid."""
    from pixpnet.backbones import build_skeleton, named_layers
    from pixpnet.receptive_fields import receptive_fields

    every = receptive_fields(build_skeleton(backbone), size)
    return {layer.name: every.get(layer.node) for layer in named_layers(backbone)}


def _table(fields: Mapping[str, ReceptiveField | None], *, backbone: str, size: tuple[int, int]) -> Table:
    from rich.table import Table

    table = Table(title=f"{backbone} at {size[0]}×{size[1]} (height × width)", title_justify="left")
    table.add_column("layer", no_wrap=True)
    for heading in ("grid", "stride", "mean RF, pixels", "max RF, pixels", "mean RF, %", "max RF, %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, field in fields.items():
        table.add_row(name, *(_row(field) if field else ("no grid",)))
    return table


def _row(field: ReceptiveField) -> tuple[str, ...]:
    heights, widths = np.diff(field.rows)[:, 0], np.diff(field.columns)[:, 0]
    return (
        times(*field.grid_size),
        times(stride(field.unclipped_rows), stride(field.unclipped_columns)),
        times(float(heights.mean()), float(widths.mean())),
        times(float(heights.max()), float(widths.max())),
        f"{field.mean_percent:.2f}",
        f"{field.max_percent:.2f}",
    )


def stride(intervals: Int64[np.ndarray, "n 2"]) -> float | None:
    """Pixels from one cell's centre to the next one's; none where there is one cell only."""
    return float(np.median(np.diff(intervals.mean(axis=1)))) if len(intervals) > 1 else None


def times(height: float | None, width: float | None) -> str:
    """
    >>> times(2, 1.5), times(None, 4)
    ('2×1.5', '–×4')
    """
    return "×".join("–" if side is None else f"{side:.4g}" for side in (height, width))


def backbones() -> list[str]:
    """The backbones of the Goldilocks experiments and ours; their numbers in order."""
    from pixpnet.goldilocks.tasks import zoo

    parts = {name: re.split(r"(\d+)", name) for name in [*zoo(), "small_resnet"]}
    return sorted(parts, key=lambda name: [int(part) if part.isdigit() else part for part in parts[name]])


def stage_fields(names: Iterable[str], size: tuple[int, int]) -> dict[str, dict[str, StageField]]:
    """The receptive field of each stage of each backbone; on stderr, those that don't take such images."""
    found = {}
    for name in names:
        try:
            found[name] = _fields_of(name, size)
        except PixPNetError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def _fields_of(name: str, size: tuple[int, int]) -> dict[str, StageField]:
    from pixpnet.backbones import build_skeleton, named_layers
    from pixpnet.receptive_fields import receptive_fields

    stages = {layer.node: layer.name for layer in named_layers(name) if layer.is_stage}
    fields = receptive_fields(build_skeleton(name), size, stages)
    return {stages[node]: _numbers(field) for node, field in fields.items()}


def _numbers(field: ReceptiveField) -> StageField:
    strides = stride(field.unclipped_rows), stride(field.unclipped_columns)
    return StageField(field.grid_size, strides, field.mean_percent, field.max_percent)


def as_json(fields: Mapping[str, Mapping[str, StageField]]) -> str:
    """Backbone -> stage -> grid, stride, mean_percent and max_percent."""
    plain = {
        name: {stage: field._asdict() for stage, field in stages.items()} for name, stages in fields.items()
    }
    return json.dumps(plain)


def _table_of_all(fields: Mapping[str, Mapping[str, StageField]], size: tuple[int, int]) -> Table:
    """For the terminal."""
    from rich.table import Table

    table = Table(title=f"Goldilocks stages at {size[0]}×{size[1]} (height × width)", title_justify="left")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number > 0)
    for names, stages in _grouped(fields):
        for number, (stage, field) in enumerate(stages.items()):
            table.add_row(
                "" if number else ", ".join(names),
                *(stage, *field.words),
                end_section=number == len(stages) - 1,
            )
    return table


def as_markdown(fields: Mapping[str, Mapping[str, StageField]], size: tuple[int, int]) -> str:
    """The text of docs/receptive_fields.md."""
    option = "" if size == (224, 224) else f"--size {size[0]}x{size[1]} "
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---|--:|--:|"]
    for names, stages in _grouped(fields):
        for number, (stage, field) in enumerate(stages.items()):
            lines.append(f"| {' | '.join(('' if number else ', '.join(names), stage, *field.words))} |")
    return PREFACE.format(height=size[0], width=size[1], size_option=option) + "\n".join(lines)


def _grouped(
    fields: Mapping[str, Mapping[str, StageField]],
) -> list[tuple[list[str], Mapping[str, StageField]]]:
    """Backbones with the same stages together, where the first of them stands."""
    groups: dict[tuple[tuple[str, StageField], ...], list[str]] = {}
    for name, stages in fields.items():
        groups.setdefault(tuple(stages.items()), []).append(name)
    return [(names, dict(stages)) for stages, names in groups.items()]
