"""``pixpnet rf``: the receptive fields of a backbone's layers."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from pixpnet.cli.arguments import Parser, image_size
from pixpnet.cli.console import print_table
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.receptive_fields import ReceptiveField

__all__ = ["run", "stride", "times"]


def run(arguments: Sequence[str]) -> int:
    """Print a table, or JSON, of every layer that has a feature grid, or of all backbones' stages."""
    parser = Parser(prog="pixpnet rf", description="Receptive fields of every named layer of a backbone.")
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
    from pixpnet.cli.rf_all import as_json, as_markdown, as_table, backbones, stage_fields

    fields = stage_fields(backbones(), size)
    if json_wanted:
        print(as_json(fields))
    elif markdown_wanted:
        print(as_markdown(fields, size))
    else:
        print_table(as_table(fields, size))
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
