"""A tensor as the propagation sees it: where rows, columns and channels lie, and what each channel sees.

Every dimension of the tensor is a word of atoms: ``c`` (channels, or anything that is neither rows nor
columns), ``h`` (rows) and ``w`` (columns). A feature map is ``("", "c", "h", "w")``, channels-last is
``("", "h", "w", "c")``, flattened it is ``("", "chw")``. Atoms of size 1 are left out. The batch has size 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int64

from pixpnet.receptive_fields.intervals import Axis, Taps
from pixpnet.receptive_fields.terms import Field, Term, change, through, unite

Atom = tuple[str, int]
"""Kind (c, h or w) and size."""


class NotKnown(Exception):
    """Why the receptive field of an operation isn't known; the propagation adds which node it is."""


class DoesNotFit(Exception):
    """Why the operation cannot run on this image at all."""


@dataclass(frozen=True, eq=False)
class FieldTensor:
    """A tensor with a receptive field.

    Attributes:
        dims: The atoms of each dimension.
        labels: For every channel, the index of its field; one axis for each atom ``c`` in order.
        fields: The different receptive fields of the channels.
        grid: Rows and columns of the feature map that the fields describe.
        alias: Tensors that may share memory have the same alias.
    """

    dims: tuple[str, ...]
    labels: Int64[np.ndarray, "..."]
    fields: tuple[Field, ...]
    grid: tuple[int, int]
    alias: object = field(default_factory=object)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(math.prod(size for _, size in atoms) for atoms in self.atoms())

    def atoms(self) -> list[list[Atom]]:
        """The atoms of each dimension, with their sizes."""
        channels = iter(self.labels.shape)
        sizes = {"h": self.grid[0], "w": self.grid[1]}
        return [
            [(kind, next(channels) if kind == "c" else sizes[kind]) for kind in word] for word in self.dims
        ]

    def channel_axes(self) -> list[list[int]]:
        """For each dimension, the axes of ``labels`` that lie in it."""
        axes = iter(range(self.labels.ndim))
        return [[next(axes) for kind in word if kind == "c"] for word in self.dims]

    def dim(self, index: int) -> int:
        """A dimension, counted from the front."""
        if not -len(self.dims) <= index < len(self.dims):
            raise NotKnown(f"dimension {index} of a tensor of {len(self.dims)} dimensions")
        return index % len(self.dims)

    @property
    def is_map(self) -> bool:
        """Whether this is a feature map [1 c h w]."""
        return len(self.dims) == 4 and all(
            word in ("", kind) for word, kind in zip(self.dims, ("", "c", "h", "w"), strict=True)
        )

    @property
    def is_pooled(self) -> bool:
        """Whether rows and columns are gone."""
        return self.grid == (1, 1)

    def channels(self) -> Int64[np.ndarray, "c"]:
        """Labels of a feature map's channels."""
        return self.labels.reshape(-1)

    def moved(self, rows: Taps | None, columns: Taps | None) -> FieldTensor:
        """Through taps over rows and columns (None: left as they are)."""
        grid = (
            self.grid[0] if rows is None else len(rows.indices),
            self.grid[1] if columns is None else len(columns.indices),
        )
        fields = tuple(through(old, rows, columns) for old in self.fields)
        return arrange_words(self.dims, self.labels, fields, grid, self)

    def changed(self, move: Callable[[Term], Term], grid: tuple[int, int]) -> FieldTensor:
        """Every term replaced."""
        fields = tuple(change(old, move) for old in self.fields)
        return arrange_words(self.dims, self.labels, fields, grid, self)

    def spread(self, rows: bool, columns: bool) -> FieldTensor:
        """Every cell sees what all cells of its column (``rows``), its row (``columns``), or all see."""
        if not (rows or columns):
            return self

        def whole(axis: Axis, wanted: bool) -> Axis:
            return axis.whole() if wanted else axis

        return self.changed(
            lambda term: Term(whole(term.rows, rows), whole(term.columns, columns)), self.grid
        )

    def mixed(self, axes: Sequence[int]) -> FieldTensor:
        """Every channel sees what all channels along these axes of ``labels`` see."""
        if not axes or len(self.fields) == 1:
            return self
        front = np.moveaxis(self.labels, list(axes), range(len(axes)))
        rest = front.shape[len(axes) :]
        labels, fields = combine(front.reshape(-1, math.prod(rest)), self.fields)
        everywhere = np.broadcast_to(labels.reshape(rest), front.shape)
        labels = np.moveaxis(everywhere, range(len(axes)), list(axes))
        return replace(self, labels=labels, fields=fields, alias=object())


def image(channels: int, size: tuple[int, int]) -> FieldTensor:
    """The image itself: every pixel sees itself."""
    term = Term(Axis.of_image(size[0]), Axis.of_image(size[1]))
    return arrange_words(("", "c", "h", "w"), np.zeros(channels, dtype=np.int64), ((term,),), size, None)


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


def used(
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
    source: FieldTensor | None,
) -> FieldTensor:
    """A tensor of these atoms in canonical form: none of size 1, neighbouring channel atoms merged.

    ``labels`` may have any shape whose row-major order is that of the channel atoms. ``source`` is the tensor
    whose memory the result may share.
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
    labels, fields = used(labels.reshape(sizes), fields)
    return FieldTensor(tuple(words), labels, fields, grid, object() if source is None else source.alias)


def arrange_words(
    words: Sequence[str],
    labels: Int64[np.ndarray, "..."],
    fields: tuple[Field, ...],
    grid: tuple[int, int],
    source: FieldTensor | None,
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
    channels = iter(labels.shape)
    sizes = {"h": grid[0], "w": grid[1]}
    atoms = [[(kind, next(channels) if kind == "c" else sizes[kind]) for kind in word] for word in words]
    return arrange(atoms, labels, fields, grid, source)
