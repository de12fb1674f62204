"""Prototypes edited by hand: a run's append-only list of edits, and what stands when they are done.

Numbers of prototypes are those of the trained network, whatever else was done. What is undone stays in the
list, as does the undoing; each line holds the checksum of all lines before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import Any, NamedTuple

from jaxtyping import Bool
from torch import Tensor

from pixpnet.choices import choose, did_you_mean
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.files import is_there, read_text, write_text
from pixpnet.prototypes import describe_classes, is_class_specific
from pixpnet.records import checked
from pixpnet.runs.directory import RunDirectory


class Change(NamedTuple):
    """One thing that is done to prototypes.

    >>> print(Change("merge", (44, 49)))
    merge 49 into 44
    """

    do: str
    """One of CHANGES."""
    prototypes: tuple[int, ...] = ()
    text: str = ""
    """The class of relabel, the words of note."""

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.prototypes))
        return CHANGES[self.do].words.format(*self.prototypes[:2], all=numbers, text=self.text)


@dataclass(frozen=True)
class Standing:
    """What of the trained prototypes stands, and for which classes."""

    trained: Bool[Tensor, "p c"]
    """Whose they are in the trained network."""
    class_names: tuple[str, ...]
    heirs: Mapping[int, int | None] = field(default_factory=dict)
    """Those that are out, and what stands for each."""
    labels: Mapping[int, int] = field(default_factory=dict)
    """Those that have another class now."""
    notes: Mapping[int, str] = field(default_factory=dict)
    forbidden: frozenset[int] = frozenset()
    """Those whose patches a run that is trained on (``train --from``) keeps its prototypes away from."""

    @property
    def kept(self) -> list[int]:
        """The prototypes that are not out, in the order in which the edited network has them."""
        return [number for number in range(len(self.trained)) if number not in self.heirs]

    @property
    def own_class(self) -> Bool[Tensor, "p c"]:
        """Whose they are now, also those that are out."""
        own = self.trained.clone()
        for number, label in self.labels.items():
            own[number] = False
            own[number, label] = True
        return own

    def after(self, changes: Iterable[Change]) -> Standing:
        """When more is done.

        Raises:
            ConfigError: It can't be done; says why.
        """
        standing = self
        for change in changes:
            check_change(change)
            for number in change.prototypes:
                if not 0 <= number < len(self.trained):
                    raise ConfigError(
                        f"{change.do}: there is no prototype {number}; they are 0 to {len(self.trained) - 1}."
                    )
            standing = CHANGES[change.do].act(standing, change)
        left = standing.own_class[standing.kept].any(dim=0)
        lost = (self.trained.any(dim=0) & ~left).nonzero().flatten().tolist()
        if lost:
            raise ConfigError(f"{describe_classes(lost, self.class_names)} would lose the last prototype.")
        return standing

    def require_in(self, change: Change) -> None:
        """Raise ConfigError if a prototype of the change is out."""
        for number in change.prototypes:
            if number in self.heirs:
                raise ConfigError(f"{change.do}: prototype {number} is out already; enable brings it back.")


def _disable(standing: Standing, change: Change) -> Standing:
    standing.require_in(change)
    return replace(standing, heirs={**standing.heirs, **dict.fromkeys(change.prototypes)})


def _enable(standing: Standing, change: Change) -> Standing:
    for number in change.prototypes:
        if number not in standing.heirs:
            raise ConfigError(f"enable: prototype {number} is not out.")
    left = {number: heir for number, heir in standing.heirs.items() if number not in change.prototypes}
    return replace(standing, heirs=left)


def _merge(standing: Standing, change: Change) -> Standing:
    standing.require_in(change)
    heir, number = change.prototypes
    own = standing.own_class
    if heir == number or not own[heir].equal(own[number]):
        raise ConfigError(f"merge: {heir} and {number} should be two prototypes of one class, and are not.")
    return replace(standing, heirs={**standing.heirs, number: heir})


def _relabel(standing: Standing, change: Change) -> Standing:
    standing.require_in(change)
    (number,) = change.prototypes
    if not is_class_specific(standing.trained):
        raise ConfigError("relabel: every prototype belongs to every class here (model.no-class-specific).")
    if number in standing.heirs.values():
        raise ConfigError(f"relabel: prototype {number} stands for one that was merged; enable that before.")
    if change.text not in standing.class_names:
        raise ConfigError(
            f"relabel: there is no class {change.text!r}{did_you_mean(change.text, standing.class_names)}"
        )
    label = standing.class_names.index(change.text)
    if standing.own_class[number].nonzero().flatten().tolist() == [label]:
        raise ConfigError(f"relabel: prototype {number} is of {change.text} already.")
    return replace(standing, labels={**standing.labels, number: label})


def _note(standing: Standing, change: Change) -> Standing:
    (number,) = change.prototypes
    return replace(standing, notes={**standing.notes, number: change.text})


def _forbid(standing: Standing, change: Change) -> Standing:
    return replace(standing, forbidden=standing.forbidden.union(change.prototypes))


def _allow(standing: Standing, change: Change) -> Standing:
    for number in change.prototypes:
        if number not in standing.forbidden:
            raise ConfigError(f"allow: prototype {number} is not forbidden.")
    return replace(standing, forbidden=standing.forbidden.difference(change.prototypes))


def _of_whole_edits(standing: Standing, change: Change) -> Standing:
    raise ConfigError(f"{change.do} stands alone: it is of a whole edit.")


class ChangeKind(NamedTuple):
    """One kind of change."""

    act: Callable[[Standing, Change], Standing]
    words: str
    """How it is told; {0}, {1}: the prototypes, {all}: their list, {text}."""
    prototypes: int | None = None
    """How many it takes; None: one or more."""
    text: str = ""
    """What its text is, where it takes one."""
    edits: bool = True
    """Whether the network is another one by it; else it is only said."""


CHANGES: dict[str, ChangeKind] = {
    "disable": ChangeKind(_disable, "disable {all}"),
    "enable": ChangeKind(_enable, "enable {all}"),
    "merge": ChangeKind(_merge, "merge {1} into {0}", prototypes=2),
    "relabel": ChangeKind(_relabel, "give {0} to {text}", prototypes=1, text="CLASS"),
    "note": ChangeKind(_note, "note of {0}: {text}", prototypes=1, text="TEXT", edits=False),
    "forbid": ChangeKind(_forbid, "forbid {all}", edits=False),
    "allow": ChangeKind(_allow, "allow {all}", edits=False),
    "undo": ChangeKind(_of_whole_edits, "undo", prototypes=0),
    "redo": ChangeKind(_of_whole_edits, "redo", prototypes=0),
}
"""What can be done, by name."""


def check_change(change: Change) -> None:
    """Check that a change is one of CHANGES and has what that takes.

    Raises:
        ConfigError: It is not so.
    """
    kind = choose(CHANGES, change.do, what="do")
    count = len(change.prototypes)
    fits = count == kind.prototypes or (kind.prototypes is None and count > 0)
    if not fits or len(set(change.prototypes)) < count or bool(change.text) != bool(kind.text):
        numbers = ["P"] * (1 if kind.prototypes is None else kind.prototypes)
        wanted = [*numbers, *["[P ...]"] * (kind.prototypes is None), *[kind.text] * bool(kind.text)]
        raise ConfigError(f"{change.do} wants {' '.join(wanted) or 'nothing more'}, each prototype once.")


@dataclass(frozen=True)
class Edit:
    """What somebody did at once, and takes back at once."""

    changes: tuple[Change, ...]
    by: str
    when: str
    """ISO 8601."""
    why: str = ""

    def __str__(self) -> str:
        """One line."""
        why = f" ({self.why})" if self.why else ""
        told = []
        for do, alike in groupby(self.changes, key=lambda one: one.do):
            changes = [*alike]
            if CHANGES[do].prototypes is None:  # as many as there are, in one
                changes = [Change(do, tuple(number for one in changes for number in one.prototypes))]
            told += map(str, changes)
        return f"{self.when}, {self.by}: {'; '.join(told)}{why}"

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "changes": [one._asdict() for one in self.changes]}

    def check(self) -> None:
        """Raise ConfigError if a change is none."""
        for change in self.changes:
            check_change(change)


@dataclass(frozen=True)
class ListedEdit(Edit):
    """An edit in a run's list, with the network that it led to."""

    trained: str = ""
    """SHA-256 of the trained network's checkpoint."""
    network: str | None = None
    """SHA-256 of the edited network's; None: the trained one is in force."""
    accuracy: float = 0.0
    class_accuracy: float = 0.0
    images: int = 0
    """Test images, of which the network in force tells these shares."""
    follows: str = ""
    """SHA-256 of all lines before."""

    @property
    def alone(self) -> Edit:
        """Without the network."""
        return Edit(self.changes, self.by, self.when, self.why)


class History(NamedTuple):
    """A run's list of edits."""

    lines: tuple[ListedEdit, ...] = ()
    done: tuple[Edit, ...] = ()
    """In force."""
    undone: tuple[Edit, ...] = ()
    """Waiting for a redo, the next one last."""
    text: str = ""

    @property
    def checksum(self) -> str:
        """SHA-256 of its lines, which the next one holds."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def after(self, edit: Edit) -> History:
        """With one more edit in force.

        Raises:
            ConfigError: There is nothing to undo or redo.
        """
        what = [one.do for one in edit.changes]
        if what == ["undo"]:
            if not self.done:
                raise ConfigError("there is no edit to undo.")
            return self._replace(done=self.done[:-1], undone=(*self.undone, self.done[-1]))
        if what == ["redo"]:
            if not self.undone:
                raise ConfigError("there is nothing to redo: what was done last is no undo.")
            return self._replace(done=(*self.done, self.undone[-1]), undone=self.undone[:-1])
        return self._replace(done=(*self.done, edit), undone=())


def read_history(directory: RunDirectory) -> History:
    """A run's list of edits; an empty one where nothing was edited.

    Raises:
        CheckpointError: It is damaged.
        FileError: It can't be read.
    """
    path, history = directory.edits_file, History()
    text = read_text(path) if is_there(path) else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            edit: ListedEdit = checked(ListedEdit, json.loads(line))
            edit.check()
            if edit.follows != history.checksum:
                raise ValueError("the lines before it were changed")
            history = history.after(edit.alone)
        except (ValueError, RecursionError, ConfigError) as error:
            raise CheckpointError(f"{path} is damaged in line {number}: {error}") from error
        history = history._replace(lines=(*history.lines, edit), text=history.text + line)
    return history


def append_edit(directory: RunDirectory, history: History, edit: ListedEdit) -> None:
    """Write a run's list with one more edit; the caller is the run's only writer."""
    values = replace(edit, follows=history.checksum).plain()
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    write_text(directory.edits_file, f"{history.text}{line}\n")
