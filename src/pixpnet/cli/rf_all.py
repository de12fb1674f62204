"""``pixpnet rf --all``: the receptive fields of every stage of the Goldilocks experiments."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pixpnet.cli.rf import stride, times
from pixpnet.errors import PixPNetError

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.receptive_fields import ReceptiveField

__all__ = ["StageField", "as_json", "as_markdown", "as_table", "backbones", "stage_fields"]

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


def backbones() -> list[str]:
    """The backbones of the Goldilocks experiments and ours; their numbers in order."""
    from pixpnet.goldilocks import zoo

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


def as_table(fields: Mapping[str, Mapping[str, StageField]], size: tuple[int, int]) -> Table:
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
