"""metrics.csv, TensorBoard and hparams.yaml of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

from pixpnet.config import Config, config_to_yaml
from pixpnet.files import write_yaml
from pixpnet.modes import evaluating
from pixpnet.runs import MetricsFile, RunDirectory
from pixpnet.training.measures import COLUMNS


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


class RunLogs:
    """Where a run's figures go; does nothing in processes that are not the main one."""

    def __init__(
        self, directory: RunDirectory, config: Config, *, active: bool, resumed_at: int | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.active = active
        self._last: dict[str, float] = {}
        if not active:
            return
        hparams = _flat(yaml.safe_load(config_to_yaml(config)))
        for folder in (directory.csv, directory.tensorboard):
            folder.mkdir(parents=True, exist_ok=True)
            write_yaml(folder / "hparams.yaml", hparams)
        self.metrics = MetricsFile(directory.metrics_file, COLUMNS)
        # TensorBoard forgets what an interrupted run logged after the step that it goes on from.
        purge = None if resumed_at is None else resumed_at + 1
        self.writer = SummaryWriter(str(directory.tensorboard), purge_step=purge)

    @property
    def metrics_bytes(self) -> int:
        return self.metrics.size

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
    def histograms(self, network: nn.Module, images: Float[Tensor, "b 3 H W"], *, step: int) -> None:
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
