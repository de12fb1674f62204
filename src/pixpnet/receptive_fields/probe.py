"""The independent check of receptive fields: put NaN into one row of pixels and see where it arrives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.propagate import Layers

BATCH = 32

Cells = Bool[np.ndarray, "b h w"]
Run = Callable[[Float[Tensor, "b c H W"]], list[Cells]]
"""From images to the cells that are NaN, for every layer."""
Lines = Int64[np.ndarray, "h w 2"]
"""First and one past the last row (column) of pixels that each cell sees; 0, 0 if none."""


def probe_receptive_field(
    module: nn.Module, image_size: tuple[int, int], layer: str | None = None, *, channels: int = 3
) -> ReceptiveField:
    """The clipped receptive field, found by running a copy of the network on images with NaN.

    One image per row and per column of pixels: slow, and independent of every rule of `receptive_field`. What
    an operation that swallows NaN (a comparison, say) sees is missed. The unclipped field is not known: it is
    given as the clipped one.

    Args:
        module: Any network; for a layer, one that torch.fx can trace. It is not changed.
        image_size: (height, width) in pixels.
        layer: As in `receptive_field`.
        channels: Channels of the image.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> pixpnet.probe_receptive_field(network, (8, 8)).box(0, 1)
    Box(left=2, top=0, right=6, bottom=4)

    Raises:
        UnsupportedOperationError: The network gives NaN also for images without.
        ConfigError: There is no such layer.
    """
    return probe_receptive_fields(module, image_size, [layer], channels=channels)[layer]


def probe_receptive_fields(
    module: nn.Module, image_size: tuple[int, int], layers: Sequence[str | None], *, channels: int = 3
) -> dict[str | None, ReceptiveField]:
    """As `probe_receptive_field`, for many layers in the same passes."""
    network = harmless(module)
    run = _runner(network, image_size, layers, channels)
    plain = torch.ones(2, channels, *image_size)
    plain[0] = torch.nan
    with torch.no_grad(), _plain_convolutions(), _Interpolations():
        batch = 1 if _mixes_images(run, plain) else BATCH
        if any(cells.any() for cells in run(plain[1:])):
            raise UnsupportedOperationError(
                f"{type(module).__name__} cannot be probed: with all weights positive it gives NaN for an "
                "image without any"
            )
        rows = _arrivals(run, plain[1], axis=1, batch=batch)
        columns = _arrivals(run, plain[1], axis=2, batch=batch)
    return {
        layer: _field(seen_rows, seen_columns, image_size)
        for layer, seen_rows, seen_columns in zip(layers, rows, columns, strict=True)
    }


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """Without the libraries whose Winograd transforms would carry NaN to neighbouring cells."""
    with warnings.catch_warnings():
        # torch sets every flag of oneDNN at once and warns of one that the machine lacks.
        warnings.simplefilter("ignore", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
            yield


class _Interpolations(TorchDispatchMode):
    """Where an interpolation reads NaN with weight 0, NaN does not arrive."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if not func._schema.name.removeprefix("aten::_").removeprefix("aten::").startswith("upsample_"):
            return func(*args, **kwargs)
        images, *options = args
        # Of random size, so that what cubic kernels weigh negatively cancels nothing.
        wrong = images.isnan() * torch.rand(images.shape).add(1.0)
        arrives = func(wrong, *options, **kwargs) != 0
        return func(images.nan_to_num(), *options, **kwargs).masked_fill(arrives, torch.nan)


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


def _runner(
    network: nn.Module, image_size: tuple[int, int], layers: Sequence[str | None], channels: int
) -> Run:
    if list(layers) == [None]:
        return lambda images: [_nan_cells(network(images))]
    known = Layers(network, image_size, channels)
    targets = [known.find(layer) for layer in layers]
    for name, constant in known.constants.items():
        network.register_buffer(name, constant, persistent=False)
    graph = fx.GraphModule(network, known.graph)

    def run(images: Float[Tensor, "b c H W"]) -> list[Cells]:
        recorder = _Recorder(graph, {target.name for target in targets})
        with suppress(_AllReached):
            recorder.run(images)
        return [recorder.cells[target.name] for target in targets]

    return run


class _AllReached(Exception):
    """The rest of the graph isn't wanted."""


class _Recorder(fx.Interpreter):
    """Runs a graph until some nodes are reached, and keeps what they give before it is changed in place."""

    def __init__(self, graph: fx.GraphModule, targets: set[str]) -> None:
        super().__init__(graph)
        self.cells: dict[str, Cells] = {}
        self._targets = targets

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self._targets:
            self.cells[n.name] = _nan_cells(value)
            if len(self.cells) == len(self._targets):
                raise _AllReached
        return value


def _nan_cells(output: Tensor) -> Cells:
    """The cells that are NaN in any channel; all of a tensor that is no feature map is one cell."""
    nan = output.isnan()
    if nan.ndim != 4:
        nan = nan.reshape(len(nan), -1, 1, 1)
    return nan.any(dim=1).numpy()


def _mixes_images(run: Run, images: Float[Tensor, "2 c H W"]) -> bool:
    """Whether the network works on single images only: NaN in the first one reaches the second."""
    try:
        outputs = run(images)
    except (RuntimeError, IndexError):
        return True
    return any(len(cells) != 2 or bool(cells[1].any()) for cells in outputs)


def _arrivals(run: Run, plain: Float[Tensor, "c H W"], *, axis: int, batch: int) -> list[Lines]:
    """For every layer and cell, the rows (columns) of pixels whose NaN arrives."""
    side = plain.shape[axis]
    arrived: list[list[Cells]] = []
    for start in range(0, side, batch):
        lines = torch.arange(start, min(start + batch, side))
        images = plain.repeat(len(lines), 1, 1, 1)
        for image, line in zip(images, lines.tolist(), strict=True):
            image.select(axis - 3, line).fill_(torch.nan)
        arrived.append(run(images))
    return [_first_and_last(np.concatenate(cells)) for cells in zip(*arrived, strict=True)]


def _first_and_last(arrived: Bool[np.ndarray, "side h w"]) -> Lines:
    side = len(arrived)
    seen = arrived.any(axis=0)
    first = np.where(seen, arrived.argmax(axis=0), 0)
    last = np.where(seen, side - arrived[::-1].argmax(axis=0), 0)
    return np.stack([first, last], axis=-1).astype(np.int64)


def _field(rows: Lines, columns: Lines, image_size: tuple[int, int]) -> ReceptiveField:
    cells = np.stack([columns[..., 0], rows[..., 0], columns[..., 1], rows[..., 1]], axis=-1)
    row_hull, column_hull = _hull(rows, axis=1), _hull(columns, axis=0)
    return ReceptiveField(image_size, row_hull, column_hull, row_hull, column_hull, cells)


def _hull(lines: Lines, *, axis: int) -> Int64[np.ndarray, "n 2"]:
    """Hull over the cells that see anything."""
    seen = lines[..., 1] > 0
    first = np.where(seen, lines[..., 0], np.iinfo(np.int64).max).min(axis=axis)
    last = lines[..., 1].max(axis=axis)
    return np.stack([np.where(last > 0, first, 0), last], axis=1)
