"""The independent check of receptive fields: put NaN into one row of pixels and see where it arrives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, fx, nn

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.propagate import Layers

BATCH = 32

Run = Callable[[Float[Tensor, "b c H W"]], Bool[np.ndarray, "b h w"]]
"""From images to the cells that are NaN."""


def probe_receptive_field(
    module: nn.Module, image_size: tuple[int, int], layer: str | None = None, *, channels: int = 3
) -> ReceptiveField:
    """The clipped receptive field, found by running a copy of the network on images with NaN.

    One pass per row and per column of the image: slow, and independent of every rule of `receptive_field`.
    What an operation that swallows NaN (a comparison, say) sees is missed. The unclipped field is not known: it
    is given as the clipped one.

    Args:
        module: Any network, for a layer one that torch.fx can trace; it is not changed.
        image_size: (height, width) in pixels.
        layer: As in `receptive_field`.
        channels: Channels of the image.

    Raises:
        UnsupportedOperationError: The network gives NaN also for images without.
    """
    network = harmless(module)
    run = _runner(network, image_size, layer, channels)
    plain = torch.ones(2, channels, *image_size)
    plain[0] = torch.nan
    with torch.no_grad(), _plain_convolutions():
        alone = _mixes_images(run, plain)
        if run(plain[1:]).any():
            raise UnsupportedOperationError(
                f"{type(module).__name__} cannot be probed: with all weights positive it gives NaN for an "
                "image without any"
            )
        rows = _arrivals(run, plain[1], axis=1, batch=1 if alone else BATCH)
        columns = _arrivals(run, plain[1], axis=2, batch=1 if alone else BATCH)
    return _field(rows, columns, image_size)


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """Without the libraries whose Winograd transforms would carry NaN to neighbouring cells."""
    with warnings.catch_warnings():
        # torch sets every flag of oneDNN at once and warns of one that the machine lacks.
        warnings.simplefilter("ignore", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
            yield


def harmless(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose weights are positive averages, so that nothing is 0 or overflows."""
    network = copy.deepcopy(module).eval().float().cpu()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.fill_(0.0 if name.endswith("bias") else 1 / max(inputs, 1))
        for part in network.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase):
                part.reset_running_stats()
    return network


def _runner(network: nn.Module, image_size: tuple[int, int], layer: str | None, channels: int) -> Run:
    if layer is None:
        return lambda images: _nan_cells(network(images))
    layers = Layers(network, image_size, channels)
    target = layers.find(layer)
    for name, constant in layers.constants.items():
        network.register_buffer(name, constant, persistent=False)
    graph = fx.GraphModule(network, layers.graph)

    def run(images: Float[Tensor, "b c H W"]) -> Bool[np.ndarray, "b h w"]:
        try:
            _UpTo(graph, target).run(images)
        except _Reached as reached:
            return _nan_cells(reached.value)
        raise AssertionError(f"the graph does not come to its node {target.name}")

    return run


class _Reached(Exception):
    """The value of the node that was wanted."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class _UpTo(fx.Interpreter):
    """Runs a graph up to one node, before later in-place operations change what it gives."""

    def __init__(self, graph: fx.GraphModule, target: fx.Node) -> None:
        super().__init__(graph)
        self._target = target.name

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name == self._target:
            raise _Reached(value)
        return value


def _nan_cells(output: Tensor) -> Bool[np.ndarray, "b h w"]:
    """The cells that are NaN in any channel; all of a tensor that is no feature map is one cell."""
    nan = output.isnan()
    if nan.ndim != 4:
        nan = nan.reshape(len(nan), -1, 1, 1)
    return nan.any(dim=1).numpy()


def _mixes_images(run: Run, images: Float[Tensor, "2 c H W"]) -> bool:
    """Whether the network works on single images only: NaN in the first one reaches the second."""
    try:
        cells = run(images)
    except (RuntimeError, IndexError):
        return True
    return len(cells) != 2 or bool(cells[1].any())


def _arrivals(
    run: Run, plain: Float[Tensor, "c H W"], *, axis: int, batch: int
) -> tuple[Int64[np.ndarray, "h w"], Int64[np.ndarray, "h w"]]:
    """First and one past the last row (column) of pixels whose NaN arrives, per cell; 0, 0 if none does."""
    side = plain.shape[axis]
    arrived = []
    for start in range(0, side, batch):
        lines = torch.arange(start, min(start + batch, side))
        images = plain.repeat(len(lines), 1, 1, 1)
        for image, line in zip(images, lines.tolist(), strict=True):
            image.select(axis, line).fill_(torch.nan)
        arrived.append(run(images))
    seen = np.concatenate(arrived)
    any_seen = seen.any(axis=0)
    first = np.where(any_seen, seen.argmax(axis=0), 0)
    last = np.where(any_seen, side - seen[::-1].argmax(axis=0), 0)
    return first, last


def _field(
    rows: tuple[Int64[np.ndarray, "h w"], Int64[np.ndarray, "h w"]],
    columns: tuple[Int64[np.ndarray, "h w"], Int64[np.ndarray, "h w"]],
    image_size: tuple[int, int],
) -> ReceptiveField:
    cells = np.stack([columns[0], rows[0], columns[1], rows[1]], axis=-1).astype(np.int64)
    seeing = cells[..., 2] > cells[..., 0]

    def hull(
        starts: Int64[np.ndarray, "h w"], stops: Int64[np.ndarray, "h w"], axis: int
    ) -> Int64[np.ndarray, "n 2"]:
        first = np.where(seeing, starts, np.iinfo(np.int64).max).min(axis=axis)
        last = np.where(seeing, stops, 0).max(axis=axis)
        return np.stack([np.where(last > 0, first, 0), last], axis=1).astype(np.int64)

    row_hull, column_hull = hull(*rows, axis=1), hull(*columns, axis=0)
    return ReceptiveField(image_size, row_hull, column_hull, row_hull, column_hull, cells)
