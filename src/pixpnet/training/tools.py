"""What a run works with and no checkpoint holds: processes and devices, display, logs, profiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from jaxtyping import Float
from rich import progress as bars
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from pixpnet.config import Config, config_to_yaml
from pixpnet.files import write_yaml
from pixpnet.modes import evaluating
from pixpnet.runs import MetricsFile, RunDirectory
from pixpnet.training.loop import Execution
from pixpnet.training.objective import EpochMeter
from pixpnet.training.profiling import Profiler
from pixpnet.types import Progress
from pixpnet.words import visible


@dataclass(frozen=True)
class Tools:
    """The tools of one run in one process."""

    execution: Execution
    display: Display
    logs: RunLogs
    profiler: Profiler


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
            bars.TextColumn("{task.description}", markup=False),
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
            self.console.print(Text(visible(text)), soft_wrap=True)

    def closing_table(self, title: str, rows: Mapping[str, str]) -> None:
        """The run's figures."""
        table = Table(title=Text(visible(title)), show_header=False, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(Text(name), Text(visible(value)))
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


def flat_options(config: Config) -> dict[str, Any]:
    """Every option under the name that it has on the command line."""
    options: dict[str, Any] = {}
    for name, value in yaml.safe_load(config_to_yaml(config)).items():
        if isinstance(value, Mapping):
            options |= {f"{name}.{key}": option for key, option in value.items()}
        else:
            options[name] = value
    return options


class RunLogs:
    """Where a run's figures go; does nothing in processes that are not the main one."""

    def __init__(
        self,
        directory: RunDirectory,
        config: Config,
        *,
        columns: Sequence[str],
        active: bool,
        resumed_at: int | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.active = active
        self._last: dict[str, float] = {}
        if not active:
            return
        hparams = flat_options(config)
        for folder in (directory.csv, directory.tensorboard):
            folder.mkdir(parents=True, exist_ok=True)
            write_yaml(folder / "hparams.yaml", hparams)
        self.metrics = MetricsFile(directory.metrics_file, columns)
        # TensorBoard forgets what an interrupted run logged after the step that it goes on from.
        purge = None if resumed_at is None else resumed_at + 1
        self.writer = SummaryWriter(str(directory.tensorboard), purge_step=purge)

    @property
    def metrics_bytes(self) -> int:
        return self.metrics.size if self.active else 0

    def cut_back(self, size: int) -> None:
        """Forget what metrics.csv holds beyond its first ``size`` bytes."""
        if self.active:
            self.metrics.cut_back(size)

    def log(self, values: Mapping[str, float], *, epoch: int, step: int) -> None:
        """One row of metrics.csv, one point per figure in TensorBoard."""
        self._last |= values
        if not self.active:
            return
        self.metrics.append(epoch=epoch, step=step, values=values)
        for name, value in values.items():
            self.writer.add_scalar(name, value, global_step=step)
        self.writer.flush()

    def last(self, name: str) -> float | None:
        """The figure's latest value, if it was ever logged."""
        return self._last.get(name)

    @torch.no_grad()
    def histograms(self, network: nn.Module, images: Float[Tensor, "b _ H W"], *, step: int) -> None:
        """Histograms of the last step's gradients and of the similarities of some images."""
        if not self.active:
            return
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                self.writer.add_histogram(f"gradients/{name}", parameter.grad, global_step=step)
        with evaluating(network):
            output = network(images)
        self.writer.add_histogram("activations/similarities", output.similarities, global_step=step)
        self.writer.add_histogram("activations/logits", output.logits, global_step=step)

    def close(self) -> None:
        """Close the files."""
        if self.active:
            self.writer.close()
