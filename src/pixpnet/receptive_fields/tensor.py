"""A tensor as the propagation sees it: where rows, columns and channels lie, and what each channel sees.

Every dimension of the tensor is a word of atoms: ``c`` (channels, or anything that is neither rows nor
columns), ``h`` (rows) and ``w`` (columns). A feature map is ``("", "c", "h", "w")``, channels-last is
``("", "h", "w", "c")``, flattened it is ``("", "chw")``. Atoms of size 1 are left out. The batch has size 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from pixpnet.receptive_fields.intervals import (
    NO_TAP,
    OUTSIDE,
    Axis,
    Field,
    Taps,
    Term,
    change,
    through,
    unite,
)

Atom = tuple[str, int]
"""Kind (c, h or w) and size."""

MOST_ELEMENTS = 20_000


class NotKnown(Exception):
    """Why the receptive field of an operation isn't known; the propagation adds which node it is."""


class DoesNotFit(Exception):
    """Why the operation cannot run on this image at all.

    Attributes:
        channels: Channels that the operation takes, where it got another number of them.
    """

    def __init__(self, reason: str, *, channels: int | None = None) -> None:
        super().__init__(reason)
        self.channels = channels


@dataclass(frozen=True, eq=False)
class FieldTensor:
    """A tensor with a receptive field.

    Attributes:
        dims: The atoms of each dimension.
        labels: For every channel, the index of its field; one axis for each atom ``c`` in order.
        fields: The different receptive fields of the channels.
        grid: Rows and columns of the feature map that the fields describe.
    """

    dims: tuple[str, ...]
    labels: Int64[np.ndarray, "..."]
    fields: tuple[Field, ...]
    grid: tuple[int, int]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(math.prod(size for _, size in atoms) for atoms in self.atoms())

    def atoms(self) -> list[list[Atom]]:
        """The atoms of each dimension, with their sizes."""
        return _atoms(self.dims, self.labels, self.grid)

    def channel_axes(self) -> list[list[int]]:
        """For each dimension, the axes of ``labels`` that lie in it."""
        axes = iter(range(self.labels.ndim))
        return [[next(axes) for kind in word if kind == "c"] for word in self.dims]

    def dim(self, index: int) -> int:
        """A dimension, counted from the front."""
        if not -len(self.dims) <= index < len(self.dims):
            raise NotKnown(f"dimension {index} of a tensor of {len(self.dims)} dimensions")
        return index % len(self.dims)

    @cached_property
    def is_map(self) -> bool:
        """Whether this is a feature map [1 c h w]."""
        return len(self.dims) == 4 and all(
            word in ("", kind) for word, kind in zip(self.dims, ("", "c", "h", "w"), strict=True)
        )

    def kind(self, dim: int) -> str:
        """Whether a dimension holds rows (h), columns (w) or channels (c)."""
        word = self.dims[dim]
        if word == "":
            return "hw"[dim - 2] if self.is_map and dim >= 2 else "c"
        if len(word) > 1:
            raise NotKnown(f"dimension {dim} holds rows or columns merged with others")
        return word

    def letters(self, dims: Sequence[int]) -> str:
        """The atoms of these dimensions; rows and columns of a feature map even where there is only one."""
        return "".join("hw"[dim - 2] if self.is_map and dim >= 2 else self.dims[dim] for dim in dims)

    def moved(self, rows: Taps | None, columns: Taps | None) -> FieldTensor:
        """Through taps over rows and columns (None: left as they are)."""
        grid = (
            self.grid[0] if rows is None else len(rows.indices),
            self.grid[1] if columns is None else len(columns.indices),
        )
        fields = tuple(through(old, rows, columns) for old in self.fields)
        return arrange_words(self.dims, self.labels, fields, grid)

    def changed(self, move: Callable[[Term], Term], grid: tuple[int, int]) -> FieldTensor:
        """Every term replaced."""
        fields = tuple(change(old, move) for old in self.fields)
        return arrange_words(self.dims, self.labels, fields, grid)

    def spread(self, dims: Sequence[int]) -> FieldTensor:
        """Every element sees what all elements along these dimensions see."""
        axes = self.channel_axes()
        mixed = self._mixed([axis for dim in dims for axis in axes[dim]])
        letters = self.letters(dims)
        return mixed._whole(letters, self.grid) if {"h", "w"} & set(letters) else mixed

    def _whole(self, letters: str, grid: tuple[int, int]) -> FieldTensor:
        """Every row, column or both, of those that the grid then has, sees what all see."""

        def whole(axis: Axis, letter: str, size: int) -> Axis:
            return axis.whole(size) if letter in letters else axis

        return self.changed(
            lambda term: Term(whole(term.rows, "h", grid[0]), whole(term.columns, "w", grid[1])), grid
        )

    def reduced(self, dims: Sequence[int], *, keepdim: bool = True) -> FieldTensor:
        """One element in place of all along these dimensions, which sees what they see."""
        axes = self.channel_axes()
        gone = {axis for dim in dims for axis in axes[dim]}
        letters = self.letters(dims)
        mixed = self._mixed(sorted(gone))
        first = tuple(0 if axis in gone else slice(None) for axis in range(self.labels.ndim))
        words = ("" if dim in dims else word for dim, word in enumerate(self.dims))
        rest = replace(mixed, labels=np.asarray(mixed.labels[first]), dims=tuple(words))
        grid = (1 if "h" in letters else self.grid[0], 1 if "w" in letters else self.grid[1])
        one = rest._whole(letters, grid)
        return one if keepdim else one.without(dims)

    def _mixed(self, axes: Sequence[int]) -> FieldTensor:
        """Every channel sees what all channels along these axes of ``labels`` see."""
        if not axes or len(self.fields) == 1:
            return self
        front = np.moveaxis(self.labels, list(axes), range(len(axes)))
        rest = front.shape[len(axes) :]
        labels, fields = combine(front.reshape(-1, math.prod(rest)), self.fields)
        everywhere = np.broadcast_to(labels.reshape(rest), front.shape)
        return replace(self, labels=np.moveaxis(everywhere, range(len(axes)), list(axes)), fields=fields)

    def between_groups(self, groups: int, outputs: int) -> FieldTensor:
        """With ``outputs`` channels (dimension 1) that see all channels of their group."""
        if self.kind(1) != "c":
            raise NotKnown("its channels (dimension 1) are rows or columns of the image")
        labels, axis = self.labels_along(1)
        inputs = np.moveaxis(labels, axis, 0)
        members = np.moveaxis(inputs.reshape(groups, -1, *inputs.shape[1:]), 1, 0)
        united, fields = combine(members.reshape(len(members), -1), self.fields)
        given = np.repeat(united.reshape(members.shape[1:]), outputs // groups, axis=0)
        return self.with_labels(1, np.moveaxis(given, 0, axis), fields)

    def without(self, dims: Iterable[int]) -> FieldTensor:
        """Without those of these dimensions that have size 1."""
        drop = {dim for dim in dims if self.shape[dim] == 1}
        return replace(self, dims=tuple(word for dim, word in enumerate(self.dims) if dim not in drop))

    def labels_along(self, dim: int) -> tuple[Int64[np.ndarray, "..."], int]:
        """The labels, and which of their axes is this dimension (of channels)."""
        axis = sum(word.count("c") for word in self.dims[:dim])
        return (self.labels if self.dims[dim] else np.expand_dims(self.labels, axis)), axis

    def with_labels(
        self, dim: int, labels: Int64[np.ndarray, "..."], fields: tuple[Field, ...]
    ) -> FieldTensor:
        """With other labels and fields, and the dimension one of channels."""
        return arrange_words([*self.dims[:dim], "c", *self.dims[dim + 1 :]], labels, fields, self.grid)

    def through(self, taps: dict[int, Taps]) -> FieldTensor:
        """Through taps over some dimensions."""
        if self.is_map and set(taps) == {2, 3}:
            return self.moved(taps[2], taps[3])
        x = self
        for dim, of_dim in taps.items():
            x = x.windows(dim, of_dim)
        return x

    def windows(self, dim: int, taps: Taps) -> FieldTensor:
        """Through taps over one dimension, whether it holds rows, columns or channels."""
        kind = self.kind(dim)
        if kind == "h":
            return self.moved(taps, None)
        if kind == "w":
            return self.moved(None, taps)
        labels, axis = self.labels_along(dim)
        nothing = np.full_like(labels.take([0], axis=axis), len(self.fields))
        fields = (*self.fields, ())
        seen = np.concatenate([labels, nothing], axis=axis).take(taps.indices.T, axis=axis)
        seen = np.moveaxis(seen, axis, 0)
        united, fields = combine(seen.reshape(len(seen), -1), fields) if len(seen) > 1 else (seen, fields)
        return self.with_labels(dim, united.reshape(seen.shape[1:]), fields)

    def take(self, dim: int, indices: Int64[np.ndarray, "n"]) -> FieldTensor:
        """The tensor at these indices of a dimension; ``OUTSIDE`` gives zeros that see nothing.

        Without the border of rows or columns, evenly spaced indices go on evenly and others repeat.
        """
        if np.array_equal(indices, np.arange(self.shape[dim])):
            return self
        steps = np.unique(np.diff(indices))
        if (indices != OUTSIDE).all() and len(steps) <= 1:
            step = int(steps[0]) if len(steps) else 1
            return self.windows(dim, Taps(indices[:, None], indices[:1, None], step))
        pattern = np.where(indices == OUTSIDE, NO_TAP, indices)
        return self.windows(dim, Taps(indices[:, None], pattern[:, None], len(indices)))

    def elements(self) -> FieldTensor:
        """The same tensor, every cell of which counts as a channel of its own."""
        height, width = self.grid
        if height * width * len(self.fields) > MOST_ELEMENTS:
            raise NotKnown(f"it would take more than {MOST_ELEMENTS} single cells")

        def only(index: int) -> Taps:
            return Taps(np.array([[index]]), np.array([[index]]), 0)

        fields = tuple(
            through(field, only(row), only(column))
            for field in self.fields
            for row in range(height)
            for column in range(width)
        )
        atoms = [atom for dim in self.atoms() for atom in dim]
        cells = [axis for axis, (kind, _) in enumerate(atoms) if kind != "c"]
        labels = np.expand_dims(self.labels * (height * width), cells)
        for axis in cells:
            kind, size = atoms[axis]
            place = np.arange(size) * (width if kind == "h" else 1)
            labels = labels + place.reshape([-1 if other == axis else 1 for other in range(len(atoms))])
        return arrange([[("c", size) for _, size in dim] for dim in self.atoms()], labels, fields, (1, 1))


def _atoms(words: Sequence[str], labels: Int64[np.ndarray, "..."], grid: tuple[int, int]) -> list[list[Atom]]:
    channels = iter(labels.shape)
    sizes = {"h": grid[0], "w": grid[1]}
    return [[(kind, next(channels) if kind == "c" else sizes[kind]) for kind in word] for word in words]


def image(channels: int, size: tuple[int, int]) -> FieldTensor:
    """The image itself: every pixel sees itself."""
    rows = Axis.of_image(size[0])
    term = Term(rows, rows if size[0] == size[1] else Axis.of_image(size[1]))
    return arrange_words(("", "c", "h", "w"), np.zeros(channels, dtype=np.int64), ((term,),), size)


def combine(
    labels: Int64[np.ndarray, "k n"], fields: tuple[Field, ...]
) -> tuple[Int64[np.ndarray, "n"], tuple[Field, ...]]:
    """Unite, for each of n channels, the k fields that it sees."""
    if labels.min() == labels.max():
        return np.zeros(labels.shape[1], dtype=np.int64), (fields[int(labels.flat[0])],)
    if labels.shape[1] == 1:
        return np.zeros(1, dtype=np.int64), (unite([fields[label] for label in np.unique(labels)]),)
    if (labels == labels[:, :1]).all():
        united, field = combine(labels[:, :1], fields)
        return np.broadcast_to(united, labels.shape[1]), field
    sets, inverse = np.unique(np.sort(labels, axis=0), axis=1, return_inverse=True)
    united = tuple(unite([fields[label] for label in np.unique(column)]) for column in sets.T)
    return inverse.reshape(-1).astype(np.int64), united


def _used(
    labels: Int64[np.ndarray, "..."], fields: tuple[Field, ...]
) -> tuple[Int64[np.ndarray, "..."], tuple[Field, ...]]:
    """Drop the fields that no channel has, and merge those that are one object."""
    if len(fields) == 1:
        return labels, fields
    position: dict[int, int] = {}
    kept: list[Field] = []
    renumber = np.zeros(len(fields), dtype=np.int64)
    for label in np.unique(labels):
        key = id(fields[label])
        if key not in position:
            position[key] = len(kept)
            kept.append(fields[label])
        renumber[label] = position[key]
    return np.asarray(renumber[labels]), tuple(kept)


def arrange(
    dims: Iterable[Sequence[Atom]],
    labels: Int64[np.ndarray, "..."],
    fields: tuple[Field, ...],
    grid: tuple[int, int],
) -> FieldTensor:
    """A tensor of these atoms in canonical form: none of size 1, neighbouring channel atoms merged.

    ``labels`` may have any shape whose row-major order is that of the channel atoms.
    """
    words: list[str] = []
    sizes: list[int] = []
    for dim in dims:
        word = ""
        for kind, size in dim:
            if size == 1:
                continue
            if kind == "c" and word.endswith("c"):
                sizes[-1] *= size
                continue
            if kind == "c":
                sizes.append(size)
            word += kind
        words.append(word)
    labels, fields = _used(labels.reshape(sizes), fields)
    return FieldTensor(tuple(words), labels, fields, grid)


def arrange_words(
    words: Sequence[str],
    labels: Int64[np.ndarray, "..."],
    fields: tuple[Field, ...],
    grid: tuple[int, int],
) -> FieldTensor:
    """As `arrange`, the sizes taken from ``labels`` and ``grid``.

    Rows and columns that grew from size 1 find their places in a feature map.
    """
    words = list(words)
    for axis, kind in enumerate("hw"):
        if grid[axis] > 1 and not any(kind in word for word in words):
            if len(words) != 4 or words[2 + axis]:
                raise NotKnown("rows or columns grow in a tensor that isn't a feature map [b d h w]")
            words[2 + axis] = kind
    return arrange(_atoms(words, labels, grid), labels, fields, grid)
