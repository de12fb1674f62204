"""What a person sees of a run: a progress bar, one line per epoch, a closing table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from pixpnet.training.measures import EpochMeter
from pixpnet.training.stages import EpochPlan
from pixpnet.types import Progress

if TYPE_CHECKING:
    from pixpnet.training.run import Training

SHOW_EVERY = 8
"""Steps between looks at the loss: each look waits for the device."""


@dataclass
class Display:
    """A run's progress on a console; silent if ``progress`` is off."""

    console: Console
    progress: bool

    @contextmanager
    def training(self, *, total: int, done: int) -> Iterator[EpochBar]:
        """A bar over all training steps of the run, with loss, accuracy and time left."""
        bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}"),
            bars.TimeRemainingColumn(),
            console=self.console,
            disable=not self.progress or not self.console.is_terminal,
        )
        task = bar.add_task("training", total=total, completed=done, loss=float("nan"), accuracy=0.0)
        with bar:
            yield EpochBar(bar, task)

    @contextmanager
    def rendering(self) -> Iterator[Progress]:
        """A bar that appears when a data set is rendered or downloaded; tell it (done, total)."""
        bar = bars.Progress(console=self.console, disable=not self.progress or not self.console.is_terminal)
        task = bar.add_task("preparing images", total=None, visible=False)
        with bar:
            yield lambda done, total, doing="", /: bar.update(task, completed=done, total=total, visible=True)

    def line(self, text: str) -> None:
        """One line that stays."""
        if self.progress:
            self.console.print(text, highlight=False, soft_wrap=True)

    def closing_table(self, title: str, rows: Mapping[str, str]) -> None:
        """The run's figures."""
        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, value)
        if self.progress:
            self.console.print(table)


@dataclass
class EpochBar:
    """The bar during one run."""

    bar: bars.Progress
    task: TaskID
    seen: int = 0

    def describe(self, text: str) -> None:
        """Name the epoch."""
        self.bar.update(self.task, description=text)

    def step(self, meter: EpochMeter) -> None:
        """One batch is done."""
        self.seen += 1
        if self.bar.disable or self.seen % SHOW_EVERY:
            self.bar.advance(self.task)
            return
        self.bar.update(
            self.task,
            advance=1,
            loss=meter.total_loss,
            accuracy=meter.accuracy,
        )


def announcement(run: Training) -> list[str]:
    """What is said before the first epoch."""
    field = run.receptive_field.for_kernel(run.network.kernel_size)
    height, width = run.splits.image_size
    lines = [
        f"{len(run.splits.train.records)} training images, {len(run.splits.class_names)} classes; "
        f"{run.backbone.name}/{run.backbone.layer}: {field.grid_size[0]}×"
        f"{field.grid_size[1]} patches with a mean receptive field of {field.mean_percent:.1f} % of the "
        f"{height}×{width} image; run {run.directory.path}"
    ]
    if field.mean_percent >= 50:
        lines.append("A patch sees half of the image or more: what a prototype shows is not a part.")
    return lines


def epoch_line(plan: EpochPlan, values: Mapping[str, float], *, seconds: float, epochs: int) -> str:
    """What is said of an epoch at its end."""
    parts = [f"epoch {plan.epoch:>3}/{epochs}  {plan.stage:<8}"]
    parts += [f"loss {values['train_total_loss']:.3f}  train {values['train_accuracy']:.3f}"]
    if "val_accuracy" in values:
        parts.append(f"val {values['val_accuracy']:.3f}")
    parts += ["averaged"] if plan.average else []
    parts += ["projected"] if plan.project else []
    return "  ".join([*parts, f"{seconds:.1f} s"])
