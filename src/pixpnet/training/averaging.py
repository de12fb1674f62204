"""Stochastic weight averaging (Izmailov et al., 2018): the mean of the weights of a run's last epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from pixpnet.data import Sample
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.training.loop import to_device
from pixpnet.training.setup import agree_on_buffers


def add_to_average(average: AveragedModel | None, network: PrototypeNetwork) -> AveragedModel:
    """The running mean with the network's weights taken in; none so far: a new one."""
    average = AveragedModel(network) if average is None else average
    average.update_parameters(network)
    return average


def restore_average(state: Mapping[str, Tensor], network: PrototypeNetwork) -> AveragedModel:
    """The running mean that a checkpoint holds."""
    average = AveragedModel(network)
    average.load_state_dict(state)
    return average


def adopt_average(
    network: PrototypeNetwork,
    average: AveragedModel,
    batches: Iterable[Sample],
    *,
    accelerator: Accelerator,
) -> None:
    """Give the network the averaged weights, in place, and batch norm the statistics that these make.

    The statistics are the means over the training batches: a mean of weights has none of its own.
    """
    network.load_state_dict(average.module.state_dict())
    update_bn((images for images, _, _ in to_device(batches, accelerator.device)), network)
    agree_on_buffers(network, accelerator)
