"""``pixpnet rf``: the receptive fields of a backbone's layers, or of the stages of all backbones."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from pixpnet.cli.console import print_table, say
from pixpnet.cli.parser import Parser, image_size
from pixpnet.errors import ConfigError, PixPNetError

if TYPE_CHECKING:
    from pixpnet.receptive_fields import ReceptiveField

Size = tuple[int, int]
"""(height, width)"""

LAYER_HEADINGS = ("layer", "grid", "stride", "mean RF, pixels", "max RF, pixels", "mean RF, %", "max RF, %")
STAGE_HEADINGS = ("backbone", "stage", "grid", "stride", "mean RF, %", "max RF, %")

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

    grid: Size
    """In cells."""
    stride: tuple[float | None, float | None]
    """Pixels from one cell to the next, in height and width; None where there is one cell only."""
    mean_percent: float
    """Mean over the cells of their box's area, in percent of the image's."""
    max_percent: float

    @classmethod
    def of(cls, field: ReceptiveField) -> StageField:
        strides = _stride(field.unclipped_rows), _stride(field.unclipped_columns)
        return cls(field.grid_size, strides, field.mean_percent, field.max_percent)

    @property
    def words(self) -> tuple[str, str, str, str]:
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
    tile_help = "of tiles of this side, in pixels or below 1 as a share, in place of layers (model.tile)"
    parser.add_argument("--tile", type=float, help=tile_help)
    parser.add_argument("--tile-stride", type=float, help="from one tile to the next; default: half a tile")
    parser.add_argument("--tile-input", type=int, help="side that each tile is resized to")
    parser.add_argument("--layer", help="with --tile: a layer whose grid lies within each tile")
    json_help = "as JSON: the interval of pixels of each row and column of cells; with --all, the table"
    parser.add_argument("--json", action="store_true", help=json_help)
    markdown_help = "with --all: the text of docs/receptive_fields.md"
    parser.add_argument("--markdown", action="store_true", help=markdown_help)
    options = parser.parse(arguments)
    _check(options)
    (_print_stages if options.all else _print_layers)(options)
    return 0


def _check(options: Namespace) -> None:
    if options.all == (options.backbone is not None):
        given = f"{options.backbone} and --all" if options.all else "neither"
        raise ConfigError(f"rf: give a BACKBONE or --all, not {given}")
    of_tiles = ("tile_stride", "tile_input", "layer")
    if options.tile is None and any(getattr(options, name) is not None for name in of_tiles):
        raise ConfigError("rf: --tile-stride, --tile-input and --layer are for --tile SIDE")
    if options.all and options.tile is not None:
        raise ConfigError("rf: --tile is for one BACKBONE, not for --all")
    if options.markdown and (options.json or not options.all):
        raise ConfigError("rf: --markdown is for --all, without --json")


def _print_layers(options: Namespace) -> None:
    """The receptive field of each layer that has a name, in order."""
    fields = _layer_fields(options) if options.tile is None else _tile_fields(options)
    if options.json:
        print(json.dumps({name: field.to_dict() for name, field in fields.items() if field}))
        return
    title = f"{options.backbone} at {times(*options.size)} (height × width)"
    rows = [(name, *(_layer_words(field) if field else ("no grid",))) for name, field in fields.items()]
    print_table(title, LAYER_HEADINGS, [rows], right=LAYER_HEADINGS[1:])


def _layer_fields(options: Namespace) -> dict[str, ReceptiveField | None]:
    from pixpnet.backbones import build_skeleton, named_layers
    from pixpnet.receptive_fields import receptive_fields

    every = receptive_fields(build_skeleton(options.backbone), options.size)
    return {layer.name: every.get(layer.node) for layer in named_layers(options.backbone)}


def _tile_fields(options: Namespace) -> dict[str, ReceptiveField | None]:
    from accelerate import init_empty_weights

    from pixpnet.backbones import build_tiled
    from pixpnet.receptive_fields import receptive_field

    with init_empty_weights():
        backbone = build_tiled(
            options.backbone,
            tile=options.tile,
            tile_stride=options.tile_stride,
            tile_input=options.tile_input,
            layer=options.layer,
            pretrained=False,
        )
    return {backbone.layer: receptive_field(backbone, options.size)}


def _layer_words(field: ReceptiveField) -> tuple[str, ...]:
    heights, widths = np.diff(field.rows)[:, 0], np.diff(field.columns)[:, 0]
    grid, stride, mean_percent, max_percent = StageField.of(field).words
    mean, largest = (times(float(of(heights)), float(of(widths))) for of in (np.mean, np.max))
    return grid, stride, mean, largest, mean_percent, max_percent


def _print_stages(options: Namespace) -> None:
    """The receptive field of each stage of all backbones."""
    fields = stage_fields(backbones(), options.size)
    if options.json:
        plain = {
            name: {stage: field._asdict() for stage, field in stages.items()}
            for name, stages in fields.items()
        }
        print(json.dumps(plain))
    elif options.markdown:
        print(as_markdown(fields, options.size))
    else:
        title = f"Goldilocks stages at {times(*options.size)} (height × width)"
        right, wrapped = STAGE_HEADINGS[2:], STAGE_HEADINGS[:1]
        print_table(title, STAGE_HEADINGS, _grouped(fields), right=right, wrapped=wrapped)


def backbones() -> list[str]:
    """The backbones of the Goldilocks experiments and ours; their numbers in order."""
    from pixpnet.goldilocks import zoo

    parts = {name: re.split(r"(\d+)", name) for name in [*zoo(), "small_resnet"]}
    return sorted(parts, key=lambda name: [int(part) if part.isdigit() else part for part in parts[name]])


def stage_fields(names: Iterable[str], size: Size) -> dict[str, dict[str, StageField]]:
    """The receptive field of each stage of each backbone; on stderr, those that don't take such images."""
    from pixpnet.backbones import build_skeleton, named_layers
    from pixpnet.receptive_fields import receptive_fields

    found = {}
    for name in names:
        try:
            stages = {layer.node: layer.name for layer in named_layers(name) if layer.is_stage}
            fields = receptive_fields(build_skeleton(name), size, stages)
        except PixPNetError as error:
            say(f"{name} is left out: {error}", error=True)
        else:
            found[name] = {stages[node]: StageField.of(field) for node, field in fields.items()}
    return found


def as_markdown(fields: Mapping[str, Mapping[str, StageField]], size: Size) -> str:
    """The text of docs/receptive_fields.md."""
    option = "" if size == (224, 224) else f"--size {size[0]}x{size[1]} "
    rows = [row for group in _grouped(fields) for row in group]
    lines = [f"| {' | '.join(STAGE_HEADINGS)} |", "|---|---|---|---|--:|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return PREFACE.format(height=size[0], width=size[1], size_option=option) + "\n".join(lines)


def _grouped(fields: Mapping[str, Mapping[str, StageField]]) -> list[list[tuple[str, ...]]]:
    """The rows of each group of backbones that have the same stages, where the first of them stands."""
    groups: dict[tuple[tuple[str, StageField], ...], list[str]] = {}
    for name, stages in fields.items():
        groups.setdefault(tuple(stages.items()), []).append(name)
    return [
        [
            ("" if number else ", ".join(names), stage, *field.words)
            for number, (stage, field) in enumerate(stages)
        ]
        for stages, names in groups.items()
    ]


def _stride(intervals: Int64[np.ndarray, "n 2"]) -> float | None:
    """Pixels from one cell's centre to the next one's; None where there is one cell only."""
    return float(np.median(np.diff(intervals.mean(axis=1)))) if len(intervals) > 1 else None


def times(height: float | None, width: float | None) -> str:
    """
    >>> times(2, 1.5), times(None, 4)
    ('2×1.5', '–×4')
    """
    return "×".join("–" if side is None else f"{side:.4g}" for side in (height, width))
